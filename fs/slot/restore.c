// SPDX-License-Identifier: Apache-2.0
#include "slot/restore.h"

#include "base/log.h"
#include "slot/index.h"
#include "slot/sound.h"
#include "slot/table.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* --- an index that exists: we look at it and change nothing --- */

static void set_aside(struct slots *slots, uint32_t number)
{
    struct slot *slot = &slots->entries[number];
    uint8_t tail[ENTRY_TAIL];

    for (unsigned copy = 0; copy < 2; copy++) {
        index_remains(slots->index, number, copy, slot, tail);
        if (sound_check(slot, slots->found))
            break; /* all but the checksum is right */
    }
    sound_salvage(slot, tail);
}

/* What we can't believe of the table is found from its entries. */
static void read_table(struct slots *slots)
{
    enum index_health health = index_health(slots->index, 0);
    uint8_t tail[ENTRY_TAIL];

    if (health == INDEX_WHOLE || health == INDEX_EARLIER)
        index_read(slots->index, 0, slots->entries, tail); /* it has room for a slot */
    memcpy(&slots->table, slots->entries, sizeof(slots->table));
    memset(slots->entries, 0, sizeof(*slots->entries));
    if (!sound_check_table(&slots->table))
        slots->table = (struct table_entry){0};
    if (slots->table.serials > slots->next_serial)
        slots->next_serial = slots->table.serials;
    slots->found = index_room(slots->index);
}

/* Which slots there are, and are to be set aside. */
static void read_entries(struct slots *slots)
{
    const bool is_known = index_health(slots->index, 0) == INDEX_WHOLE && slots->table.room;
    uint32_t slots_found = 0, bad = 0;
    uint8_t tail[ENTRY_TAIL];
    struct record record;
    bool missing = true, cut_off = false;

    for (uint32_t i = 1; i < slots->found; i++) {
        struct slot *slot = &slots->entries[i];
        enum index_health health = index_health(slots->index, i);

        cut_off = cut_off || health == INDEX_CUT_OFF;
        if (health == INDEX_FREE || health == INDEX_CUT_OFF)
            continue;
        table_attach(slots, slot);
        if (health != INDEX_DAMAGED)
            index_read(slots->index, i, slot, tail);
        record = slot->record;
        if (health == INDEX_DAMAGED || !sound_check(slot, slots->found)) {
            slot->damage = SLOT_SET_ASIDE;
            bad++;
            continue;
        }
        if (memcmp(&record, &slot->record, sizeof(record)) != 0)
            slot_mark(slot); /* what follows from others did not */
        slot->damage = health == INDEX_EARLIER ? SLOT_EARLIER : SLOT_WHOLE;
        entry_set_tail(slot, tail);
        slots_found++;
        if (sound_last_serial(slot) >= slots->next_serial)
            slots->next_serial = sound_last_serial(slot) + 1;
    }
    if (is_known && slots_found >= slots->table.slots)
        missing = 0;
    for (uint32_t i = 1; bad && i < slots->found; i++) {
        if (slots->entries[i].damage != SLOT_SET_ASIDE)
            continue;
        if (missing)
            set_aside(slots, i);
        else
            memset(&slots->entries[i], 0, sizeof(slots->entries[i])); /* it was free */
    }
    if (slots->table.slots > slots_found + bad)
        slots->lost = slots->table.slots - slots_found - bad;
    else if (cut_off && !is_known)
        slots->lost = SLOTS_LOST_UNKNOWN;
}

static int look_at_index(struct slots *slots, char error[ARENA_ERROR_MAX])
{
    int result = index_open(&slots->index, slots->arena, table_sizes, slots->limit + 1, error);

    slots->next_serial = 16; /* the daemon's own files have the numbers below */
    if (result < 0 || !index_exists(slots->index))
        return result;
    read_table(slots);
    if (slots->table.room > slots->limit + 1 || index_exceeds_limit(slots->index))
        return index_refuse(
            slots->index, error,
            " has room for %u slots: raise limits.slots from %u to at least that; nothing was "
            "changed",
            slots->table.room ? slots->table.room - 1 : SLOT_LIMIT, slots->limit);
    read_entries(slots);
    return 0;
}

/* Only what is used of it has memory. */
static void *map_zeros(size_t size)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return map == MAP_FAILED ? NULL : map;
}

int slots_open(struct slots **out, struct arena *arena, uint32_t limit, char error[ARENA_ERROR_MAX])
{
    struct slots *slots = calloc(1, sizeof(*slots));
    int result = -ENOMEM;

    *out = NULL;
    snprintf(error, ARENA_ERROR_MAX, "out of memory");
    if (!slots)
        return -ENOMEM;
    slots->arena = arena;
    slots->limit = limit < SLOT_LIMIT ? limit : SLOT_LIMIT;
    slots->first_free = 1;
    slots->buckets = 64;
    while (slots->buckets < slots->limit && slots->buckets < 1u << 17)
        slots->buckets *= 2;
    slots->bucket = calloc(slots->buckets, sizeof(*slots->bucket));
    slots->entries = map_zeros(((size_t)slots->limit + 1) * sizeof(struct slot));
    slots->inline_bytes = map_zeros(((size_t)slots->limit + 1) * ENTRY_TAIL);
    if (slots->bucket && slots->entries && slots->inline_bytes)
        result = look_at_index(slots, error);
    if (result < 0) {
        slots_close(slots);
        return result;
    }
    *out = slots;
    return 0;
}

int slots_visit_segments(const struct slots *slots,
                         int (*visit)(void *context, const char *name, uint64_t id), void *context)
{
    int result = 0;

    for (uint32_t i = 1; i < slots_end(slots) && result == 0; i++) {
        const struct slot *slot = &slots->entries[i];

        for (int side = 0; side < 2 && slot->serial && result == 0; side++) {
            if (slot->arrays[side].segment_id)
                result = visit(context, slot->name, slot->arrays[side].segment_id);
        }
    }
    return result;
}

/* --- from here on we change the index --- */

/* A name that no other slot has. */
static void rename_aside(struct slots *slots, struct slot *slot, const char *kind)
{
    unsigned number = slot_index(slots, slot);
    char name[SLOT_NAME_MAX + 1];

    snprintf(name, sizeof(name), "%s-%u", kind, number);
    for (unsigned more = 2; slot_find(slots, name); more++)
        snprintf(name, sizeof(name), "%s-%u-%u", kind, number, more);
    memset(slot->name, 0, sizeof(slot->name));
    strcpy(slot->name, name);
    slot_mark(slot);
}

static void give_serials(struct slots *slots, struct slot *slot)
{
    for (int side = 0; side < 2; side++) {
        struct slot_array *array = &slot->arrays[side];

        array->serial = array->inode = array->number = slots_serial(slots);
        array->home = slot_index(slots, slot);
        array->home_side = (uint32_t)side;
        array->times = slot_times_now();
    }
    slot->serial = slots_serial(slots);
}

/* Two slots can have one name only if one of them is as it was before. */
static void restore_name(struct slots *slots, struct slot *slot)
{
    struct slot *other = slot_find(slots, slot->name);
    struct slot *aside = other && other->damage == SLOT_EARLIER ? other : slot;

    if (other && aside == other)
        table_delist(slots, other);
    if (other) {
        log_warning("%s: two slots have this name since the index was damaged", slot->name);
        rename_aside(slots, aside, "damaged");
    }
    if (other && aside == other)
        table_enlist(slots, other);
    table_enlist(slots, slot);
}

static void restore_entry(struct slots *slots, struct slot *slot)
{
    table_attach(slots, slot);
    if (slot->damage == SLOT_SET_ASIDE)
        give_serials(slots, slot);
    if (!slot->serial && index_health(slots->index, slot_index(slots, slot)) != INDEX_FREE)
        slot_mark(slot); /* it was a free one, and does not look like that */
    if (!slot->serial)
        return;
    ledger_text_resized(slots->arena, 0, slot->task_size);
    ledger_text_resized(slots->arena, 0, slot->error_size);
    if (slot->leaving) {
        slots->leaving++;
        return;
    }
    slots->count++;
    slots->in_state[slot->state]++;
    if (slot->damage == SLOT_SET_ASIDE)
        rename_aside(slots, slot, "damaged");
    if (slot->damage == SLOT_EARLIER)
        log_warning("%s: the last change of its entry in the index is damaged: it is as it was before",
                    slot->name);
    restore_name(slots, slot);
}

/* The source is one that was, if one of the two entries is not the newest. */
static bool has_source(struct slots *slots, const struct slot *slot)
{
    const struct slot *source = slot_at(slots, slot->source);

    return source && source != slot &&
           (source->serial == slot->source_slot || source->damage == SLOT_SET_ASIDE);
}

static void unchain(struct slot *slot)
{
    log_warning("%s: its source is lost", slot->name);
    slot->source = 0;
    slot_mark(slot);
}

/* Marks each slot with the first one from which the walk came here: coming upon it again closes a circle. */
static void break_circles(struct slots *slots)
{
    for (uint32_t i = 1; i < slots->room; i++) {
        struct slot *slot = slot_at(slots, i);

        for (; slot && !slot->ready_stamp; slot = slot_at(slots, slot->source)) {
            const struct slot *source = slot_at(slots, slot->source);

            slot->ready_stamp = i;
            if (source && source->ready_stamp == i)
                unchain(slot);
        }
    }
    for (uint32_t i = 1; i < slots->room; i++)
        slots->entries[i].ready_stamp = 0;
}

static void restore_chains(struct slots *slots)
{
    struct slot *slot, *source;

    for (uint32_t i = 1; i < slots->room; i++) {
        slot = slot_at(slots, i);
        if (slot && slot->source && !has_source(slots, slot))
            unchain(slot);
    }
    break_circles(slots);
    for (uint32_t i = 1; i < slots->room; i++) {
        slot = slot_at(slots, i);
        source = slot ? slot_at(slots, slot->source) : NULL;
        if (!source)
            continue;
        if (slot->source_slot != source->serial) { /* it was set aside */
            slot->source_slot = source->serial;
            slot_mark(slot);
        }
        slot_at(slots, i)->next_follower = source->first_follower;
        if (source->first_follower)
            slots->entries[source->first_follower].previous_follower = i;
        source->first_follower = i;
    }
}

int slots_begin(struct slots *slots)
{
    bool is_new = !index_exists(slots->index);
    int result = index_begin(slots->index);

    if (result < 0)
        return result;
    slots->room = index_room(slots->index);
    if (is_new || slots->table.room == 0)
        slots->table.root = slot_times_now();
    slots_mark(slots);
    for (uint32_t i = 1; i < slots->room; i++)
        restore_entry(slots, &slots->entries[i]);
    restore_chains(slots);
    slots->table.serials = slots->next_serial;
    slots_commit(slots);
    return 0;
}

uint32_t slots_lost(const struct slots *slots)
{
    return slots->lost;
}
