// SPDX-License-Identifier: Apache-2.0
#include "slot/slot.h"

#include "slot/index.h"
#include "slot/table.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SERIALS = 1024 };

/* --- commit --- */

void slots_mark(struct slots *slots)
{
    slots->table_marked = true;
}

/* What follows from others. */
static void complete(struct slot *slot)
{
    for (int side = 0; side < 2; side++)
        slot->arrays[side].backing_id = slot->segments[side] ? slot->segments[side]->backing_id : 0;
}

static void put_table(struct slots *slots)
{
    slots->table.slots = slots->count + slots->leaving;
    slots->table.room = slots->room;
    index_put(slots->index, 0, &slots->table, sizeof(slots->table), NULL, 0);
}

void slots_commit(struct slots *slots)
{
    uint8_t tail[ENTRY_TAIL];
    struct slot *slot;

    if (!slots->room || slots->marks.count + slots->table_marked == 0)
        return;
    index_change(slots->index, slots->marks.count + slots->table_marked);
    for (slot = slots->marks.first; slot; slot = slot->next_marked) {
        if (slot->serial) {
            complete(slot);
            index_put(slots->index, slot_index(slots, slot), slot, ENTRY_SIZE, tail, entry_tail(slot, tail));
        } else {
            index_clear(slots->index, slot_index(slots, slot));
        }
    }
    if (slots->table_marked)
        put_table(slots);
    while ((slot = slots->marks.first)) {
        slots->marks.first = slot->next_marked;
        slot->next_marked = NULL;
        slot->marked = 0;
        if (!slot->serial)
            index_forget(slots->index, slot_index(slots, slot));
    }
    slots->marks.count = 0;
    slots->table_marked = false;
    slots->commits++;
}

uint64_t slots_commits(const struct slots *slots)
{
    return slots->commits;
}

int slots_fd(const struct slots *slots)
{
    return index_fd(slots->index);
}

const struct slot *slots_forgotten(struct slots *slots)
{
    static struct slot kept;
    uint8_t tail[ENTRY_TAIL], kept_tail[ENTRY_TAIL];

    for (uint32_t i = 1; i < slots->room; i++) {
        const struct slot *slot = &slots->entries[i];
        bool is_free = index_health(slots->index, i) == INDEX_FREE;

        if (slot->marked)
            continue;
        if (!is_free)
            index_read(slots->index, i, &kept, kept_tail);
        if (is_free != (slot->serial == 0))
            return slot;
        if (!is_free &&
            (memcmp(&kept, slot, ENTRY_SIZE) != 0 || memcmp(kept_tail, tail, entry_tail(slot, tail)) != 0))
            return slot;
    }
    return NULL;
}

static int grow(struct slots *slots)
{
    int result = index_grow(slots->index);

    if (result < 0)
        return result;
    slots->room = index_room(slots->index);
    slots_mark(slots);
    return 0;
}

/* --- the table --- */

void slots_close(struct slots *slots)
{
    if (!slots)
        return;
    if (slots->entries && slots->index)
        slots_commit(slots);
    if (slots->entries)
        munmap(slots->entries, ((size_t)slots->limit + 1) * sizeof(struct slot));
    if (slots->inline_bytes)
        munmap(slots->inline_bytes, ((size_t)slots->limit + 1) * ENTRY_TAIL);
    index_close(slots->index);
    free(slots->bucket);
    free(slots);
}

uint64_t slots_bytes(uint32_t limit)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE); /* a slot's record page is one */

    return index_bytes(table_sizes, limit + 1) + limit * page;
}

uint32_t slots_count(const struct slots *slots)
{
    return slots->count;
}

uint32_t slots_limit(const struct slots *slots)
{
    return slots->limit;
}

uint32_t slots_end(const struct slots *slots)
{
    return slots->room ? slots->room : slots->found;
}

uint32_t slots_in_state(const struct slots *slots, enum handshake_state state)
{
    return slots->in_state[state];
}

uint64_t slots_changes(const struct slots *slots)
{
    return slots->changes;
}

void slots_changed(struct slots *slots)
{
    slots->changes++;
}

uint64_t slots_serial(struct slots *slots)
{
    if (slots->next_serial >= slots->table.serials) {
        slots->table.serials = slots->next_serial + SERIALS;
        slots_mark(slots);
    }
    return slots->next_serial++;
}

struct slot *slot_at(struct slots *slots, uint32_t index)
{
    if (index == 0 || index >= slots->room || slots->entries[index].serial == 0)
        return NULL;
    return &slots->entries[index];
}

uint32_t slot_index(const struct slots *slots, const struct slot *slot)
{
    return (uint32_t)(slot - slots->entries);
}

struct slot *slot_after(struct slots *slots, uint32_t index)
{
    while (++index < slots->room) {
        if (slots->entries[index].serial && !slots->entries[index].leaving)
            return &slots->entries[index];
    }
    return NULL;
}

struct slot *slots_leaving(struct slots *slots, uint32_t index)
{
    while (slots->leaving && ++index < slots->room) {
        if (slots->entries[index].serial && slots->entries[index].leaving)
            return &slots->entries[index];
    }
    return NULL;
}

struct slot *slot_find(struct slots *slots, const char *name)
{
    uint32_t index = slots->bucket[table_bucket(slots, name)];

    while (index && strcmp(slots->entries[index].name, name) != 0)
        index = slots->entries[index].next_in_bucket;
    return index ? &slots->entries[index] : NULL;
}

static struct slot *take_entry(struct slots *slots)
{
    while (slots->first_free < slots->room) {
        struct slot *slot = &slots->entries[slots->first_free++];
        if (!slot->serial)
            return slot;
    }
    return NULL;
}

/* It may still be marked, as the slot that it was. */
static void clear_entry(struct slots *slots, struct slot *slot)
{
    const uint32_t marked = slot->marked;
    struct slot *next = slot->next_marked;

    memset(slot, 0, sizeof(*slot));
    table_attach(slots, slot);
    slot->marked = marked;
    slot->next_marked = next;
    slot_mark(slot);
}

int slot_create(struct slots *slots, const char *name, uid_t uid, gid_t gid, mode_t mode, struct slot **out)
{
    struct slot *slot;
    int result = slot_name_check(name);

    if (result < 0)
        return result;
    if (slot_find(slots, name))
        return -EEXIST;
    if (slots->count + slots->leaving >= slots->limit)
        return -ENOSPC;
    slot = take_entry(slots);
    if (!slot) {
        result = grow(slots);
        if (result < 0)
            return result;
        slot = take_entry(slots);
        if (!slot)
            return -ENOSPC;
    }
    clear_entry(slots, slot);
    strcpy(slot->name, name);
    slot->uid = uid;
    slot->gid = gid;
    slot_chmod(slot, mode);
    slot->state = STATE_IDLE;
    record_init(&slot->record);
    for (int file = 0; file < SLOT_FILES; file++)
        slot->times[file] = slot_times_now();
    slot->entered = slot->times[SLOT_DIRECTORY].modified;
    slot_fresh_array(slots, slot, RECORD_SIDE_INPUT);
    slot_fresh_array(slots, slot, RECORD_SIDE_RESULT);
    slot->serial = slots_serial(slots); /* set it last: it makes the entry a slot */
    table_enlist(slots, slot);
    slots->count++;
    slot_times_touch(&slots->table.root);
    slots_mark(slots);
    slots->in_state[STATE_IDLE]++;
    slots->changes++;
    *out = slot;
    return 0;
}

static void give_back(void *memory, size_t used, size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    used = (used + page - 1) / page * page;
    madvise((char *)memory + used, size - used, MADV_DONTNEED);
}

/* Give back the pages when the last of many slots is gone. */
static void shrink(struct slots *slots)
{
    const size_t entries = (size_t)slots->limit + 1;

    slots_mark(slots);
    slots->room = INDEX_STEP;
    slots_commit(slots); /* of entries that the file will not have */
    index_shrink(slots->index);
    give_back(slots->entries, INDEX_STEP * sizeof(struct slot), entries * sizeof(struct slot));
    give_back(slots->inline_bytes, (size_t)INDEX_STEP * ENTRY_TAIL, entries * ENTRY_TAIL);
}

void slot_leave(struct slots *slots, struct slot *slot)
{
    slot->leaving = 1;
    slot_mark(slot);
    table_delist(slots, slot);
    slots->count--;
    slots->leaving++;
    slot_times_touch(&slots->table.root);
    slots_mark(slots);
    slots->in_state[slot->state]--;
    slots->changes++;
}

void slot_destroy(struct slots *slots, struct slot *slot)
{
    uint32_t index = slot_index(slots, slot);

    if (!slot->leaving)
        slot_leave(slots, slot);
    slot->serial = 0;
    slot_mark(slot);
    slots_mark(slots);
    slots->leaving--;
    if (index < slots->first_free)
        slots->first_free = index;
    if (slots->count + slots->leaving == 0 && slots->room > INDEX_STEP)
        shrink(slots);
}

void slot_rename(struct slots *slots, struct slot *slot, const char *name)
{
    table_delist(slots, slot);
    memset(slot->name, 0, sizeof(slot->name));
    strcpy(slot->name, name);
    table_enlist(slots, slot);
    slot_times_touch(&slots->table.root);
    slots_mark(slots);
    slot_touch_attributes(slot, SLOT_DIRECTORY);
    slots->changes++;
}

void slot_enter_state(struct slots *slots, struct slot *slot, enum handshake_state state)
{
    slots->in_state[slot->state]--;
    slots->in_state[state]++;
    slot->state = state;
    slot_mark(slot);
    slots->changes++;
}

struct slot_times *slots_times(struct slots *slots)
{
    return &slots->table.root;
}

void slot_fresh_array(struct slots *slots, struct slot *slot, enum record_side side)
{
    struct slot_array *array = &slot->arrays[side];

    array->serial = slots_serial(slots);
    array->inode = array->serial;
    array->number = array->serial;
    array->segment_id = 0;
    array->home = slot_index(slots, slot);
    array->home_side = side;
    array->borrowed = 0;
    array->times = slot_times_now();
    slot->traffic[side] = (struct slot_traffic){.serial = array->serial};
    slot->dated[side] = 0;
    slot_mark(slot);
}
