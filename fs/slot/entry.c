// SPDX-License-Identifier: Apache-2.0
#include "slot/entry.h"

#include <errno.h>
#include <string.h>

void slot_mark(struct slot *slot)
{
    struct slot_marks *marks = slot->marks;

    if (slot->marked || !marks) /* a slot that is in no table is a test's */
        return;
    slot->marked = 1;
    slot->next_marked = marks->first;
    marks->first = slot;
    marks->count++;
}

size_t entry_tail(const struct slot *slot, uint8_t tail[ENTRY_TAIL])
{
    size_t input = slot->record.input_inline;
    size_t result = slot->record.result_inline;

    if (input)
        memcpy(tail, slot->inline_bytes[RECORD_SIDE_INPUT], input);
    if (result)
        memcpy(tail + input, slot->inline_bytes[RECORD_SIDE_RESULT], result);
    return input + result;
}

void entry_set_tail(struct slot *slot, const uint8_t tail[ENTRY_TAIL])
{
    size_t input = slot->record.input_inline;

    memcpy(slot->inline_bytes[RECORD_SIDE_INPUT], tail, input);
    memcpy(slot->inline_bytes[RECORD_SIDE_RESULT], tail + input, slot->record.result_inline);
}

int slot_name_check(const char *name)
{
    if (!*name || strchr(name, '/'))
        return -EINVAL;
    if (strlen(name) > SLOT_NAME_MAX)
        return -ENAMETOOLONG;
    return *name == '.' ? -EPERM : 0;
}

struct slot_times slot_times_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (struct slot_times){now, now, now};
}

void slot_times_touch(struct slot_times *times)
{
    clock_gettime(CLOCK_REALTIME, &times->modified);
    times->changed = times->modified;
}

unsigned slot_permits(const struct slot *slot, enum slot_file file, uid_t uid, bool in_group)
{
    unsigned shift = uid == slot->uid ? 6 : in_group ? 3 : 0;

    if (uid == 0)
        return 6;
    return (unsigned)slot->modes[SLOT_DIRECTORY] >> shift & 1 ? (unsigned)slot->modes[file] >> shift & 6 : 0;
}

bool slot_may_read(const struct slot *slot, enum slot_file file, uid_t uid, bool in_group)
{
    return slot_permits(slot, file, uid, in_group) & 4;
}

enum handshake_state slot_state(const struct slot *slot)
{
    return (enum handshake_state)slot->state;
}

void slot_chmod(struct slot *slot, mode_t mode)
{
    for (int file = 0; file < SLOT_FILES; file++) {
        mode_t derived = mode & 0666;

        switch ((enum slot_file)file) {
        case SLOT_DIRECTORY:
            derived = mode & 07777;
            break;
        case SLOT_METADATA_MEM:
        case SLOT_DATA_TXT:
        case SLOT_RESULT_TXT:
        case SLOT_DATA_NPY:
        case SLOT_RESULT_NPY:
            derived = mode & 0444;
            break;
        case SLOT_SOURCE:
        case SLOT_DATA_LINK:
        case SLOT_RESULT_LINK:
        case SLOT_METADATA_LINK:
            derived = 0777;
            break;
        case SLOT_METADATA_BIN:
        case SLOT_METADATA_TXT:
        case SLOT_DATA_BIN:
        case SLOT_RESULT_BIN:
        case SLOT_TASK:
        case SLOT_ERROR:
        case SLOT_OWNER:
        case SLOT_WORKER:
        case SLOT_FILES:
            break;
        }
        slot->modes[file] = (uint16_t)derived;
        slot_touch_attributes(slot, (enum slot_file)file);
    }
}

void slot_chown(struct slot *slot, uid_t uid, gid_t gid)
{
    slot->uid = uid;
    slot->gid = gid;
    for (int file = 0; file < SLOT_FILES; file++)
        slot_touch_attributes(slot, (enum slot_file)file);
}

void slot_count_copied(struct slot *slot, enum record_side side, uint64_t bytes)
{
    slot->traffic[side].copied += bytes;
}

void slot_count_in_place(struct slot *slot, enum record_side side)
{
    slot->traffic[side].in_place++;
}

const struct slot_traffic *slot_traffic(const struct slot *slot, enum record_side side)
{
    const struct slot_traffic *traffic = &slot->traffic[side];

    return traffic->serial == slot->arrays[side].serial ? traffic : NULL;
}

struct slot_times *slot_times(struct slot *slot, enum slot_file file)
{
    if (slot_file_has_side(file))
        return &slot->arrays[slot_file_side(file)].times;
    return &slot->times[file == SLOT_METADATA_TXT || file == SLOT_METADATA_MEM ? SLOT_METADATA_BIN : file];
}

void slot_touch(struct slot *slot, enum slot_file file)
{
    slot_times_touch(slot_times(slot, file));
    slot_mark(slot);
    if (slot_file_has_side(file))
        slot->dated[slot_file_side(file)] = 0;
}

void slot_touch_attributes(struct slot *slot, enum slot_file file)
{
    clock_gettime(CLOCK_REALTIME, &slot_times(slot, file)->changed);
    slot_mark(slot);
}

bool slot_file_exists(const struct slot *slot, enum slot_file file)
{
    return file < SLOT_FILES && (file != SLOT_SOURCE || slot->source);
}

static uint16_t *inline_size(struct slot *slot, enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? &slot->record.input_inline : &slot->record.result_inline;
}

size_t slot_inline_size(const struct slot *slot, enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? slot->record.input_inline : slot->record.result_inline;
}

void slot_set_inline(struct slot *slot, enum record_side side, const void *bytes, size_t size)
{
    size_t before = slot_inline_size(slot, side);

    if (size)
        memcpy(slot->inline_bytes[side], bytes, size);
    if (before > size)
        memset(slot->inline_bytes[side] + size, 0, before - size);
    *inline_size(slot, side) = (uint16_t)size;
    slot_mark(slot);
}
