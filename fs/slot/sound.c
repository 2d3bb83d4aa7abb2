// SPDX-License-Identifier: Apache-2.0
#include "slot/sound.h"

#include <string.h>
#include <unistd.h>

static const uint64_t serial_end = UINT64_C(1) << SOUND_SERIAL_BITS;

static bool is_text(const char *text, size_t size)
{
    return memchr(text, '\0', size);
}

static bool is_name(const char name[SLOT_NAME_MAX + 1])
{
    return is_text(name, SLOT_NAME_MAX + 1) && slot_name_check(name) == 0;
}

static bool is_job(const char job[JOB_NAME_MAX + 1])
{
    if (!is_text(job, JOB_NAME_MAX + 1))
        return false;
    while (*job > ' ' && *job <= '~')
        job++;
    return *job == '\0';
}

static bool is_time(const struct timespec *time)
{
    return time->tv_nsec >= 0 && time->tv_nsec < 1000000000;
}

static bool are_times(const struct slot_times *times)
{
    return is_time(&times->accessed) && is_time(&times->modified) && is_time(&times->changed);
}

static bool is_array(const struct slot_array *array, uint32_t entries)
{
    return array->serial && array->serial < serial_end && array->inode && array->inode < serial_end &&
           array->number && array->number < serial_end && array->segment_id < INT64_MAX &&
           array->home < entries && array->home_side <= RECORD_SIDE_RESULT && array->borrowed <= 1 &&
           are_times(&array->times);
}

static bool is_chain(const struct slot *slot, uint32_t entries)
{
    return slot->source < entries && slot->source_side <= RECORD_SIDE_RESULT &&
           slot->source_slot < serial_end && slot->source_serial < serial_end &&
           slot->source_taken < serial_end && slot->failure < serial_end && slot->recalled < serial_end &&
           slot->failed.cause < SLOT_CAUSES && is_text(slot->failed.source, sizeof(slot->failed.source));
}

static bool are_texts(const struct slot *slot)
{
    const struct slot_refusal *refusal = &slot->refusal;

    return slot->task_file < serial_end && slot->error_file < serial_end &&
           slot->task_size <= TEXT_TASK_MAX && slot->error_size <= TEXT_ERROR_MAX &&
           is_text(refusal->operation, sizeof(refusal->operation)) &&
           is_text(refusal->reason, sizeof(refusal->reason)) && is_time(&refusal->when) &&
           refusal->error >= 0;
}

static bool is_inline(const struct slot *slot, enum record_side side)
{
    size_t size = slot_inline_size(slot, side);

    return size == 0 || (size <= RECORD_INLINE_MAX && slot->arrays[side].segment_id == 0);
}

bool sound_check(struct slot *slot, uint32_t entries)
{
    if (!slot->serial || slot->serial >= serial_end || !is_name(slot->name) || !is_job(slot->job) ||
        !is_text(slot->job_group, sizeof(slot->job_group)) || slot->leaving > 1 ||
        slot->state >= HANDSHAKE_STATES || !is_time(&slot->entered) || slot->owner < 0 || slot->worker < 0 ||
        slot->has_input > 1 || slot->outcome_taken > 1)
        return false;
    for (int file = 0; file < SLOT_FILES; file++) {
        if (slot->modes[file] & ~07777 || !are_times(&slot->times[file]))
            return false;
    }
    slot->record.version = RECORD_VERSION;
    slot->record.flag = handshake_flag((enum handshake_state)slot->state);
    slot->record.change &= ~UINT32_C(1);
    return record_check(&slot->record) == 0 && is_chain(slot, entries) && are_texts(slot) &&
           is_array(&slot->arrays[0], entries) && is_array(&slot->arrays[1], entries) &&
           is_inline(slot, RECORD_SIDE_INPUT) && is_inline(slot, RECORD_SIDE_RESULT);
}

bool sound_check_table(const struct table_entry *table)
{
    return table->serials && table->serials < serial_end && table->room && table->room <= SLOT_LIMIT + 1 &&
           table->slots < table->room && are_times(&table->root);
}

uint64_t sound_last_serial(const struct slot *slot)
{
    const uint64_t all[] = {slot->serial,           slot->arrays[0].serial, slot->arrays[0].inode,
                            slot->arrays[0].number, slot->arrays[1].serial, slot->arrays[1].inode,
                            slot->arrays[1].number, slot->task_file,        slot->error_file,
                            slot->source_slot,      slot->source_serial,    slot->source_taken,
                            slot->failure,          slot->recalled};
    uint64_t last = 0;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        last = all[i] > last ? all[i] : last;
    return last;
}

/* Of one side: the number of its segment, or its bytes. */
static void keep_array(struct slot *slot, const struct slot *remains, enum record_side side,
                       const uint8_t *bytes)
{
    const uint64_t id = remains->arrays[side].segment_id;

    if (id && id < INT64_MAX)
        slot->arrays[side].segment_id = id;
    else if (!id && record_check(&slot->record) == 0 && is_inline(remains, side))
        slot_set_inline(slot, side, bytes, slot_inline_size(remains, side));
}

void sound_salvage(struct slot *slot, const uint8_t tail[ENTRY_TAIL])
{
    const struct slot remains = *slot;
    struct record record = remains.record;

    memset(slot, 0, sizeof(*slot));
    slot->inline_bytes = remains.inline_bytes;
    record.version = RECORD_VERSION;
    record.flag = RECORD_FLAG_FAILED;
    record.input_inline = record.result_inline = 0;
    if (record_check(&record) == 0)
        slot->record = record;
    else
        record_init(&slot->record);
    slot->record.flag = RECORD_FLAG_FAILED;
    slot->uid = geteuid();
    slot->gid = getegid();
    slot->state = STATE_FAILED;
    slot->has_input = 1;
    slot->outcome_taken = 1;
    slot->failed.cause = CAUSE_DAMAGE;
    slot_chmod(slot, 0700);
    for (int file = 0; file < SLOT_FILES; file++)
        slot->times[file] = slot_times_now();
    slot->entered = slot->times[SLOT_DIRECTORY].modified;
    keep_array(slot, &remains, RECORD_SIDE_INPUT, tail);
    if (is_inline(&remains, RECORD_SIDE_INPUT))
        keep_array(slot, &remains, RECORD_SIDE_RESULT, tail + remains.record.input_inline);
    slot->damage = SLOT_SET_ASIDE;
}
