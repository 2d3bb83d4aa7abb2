// SPDX-License-Identifier: Apache-2.0
#include "fuse/nodeid.h"

#include "exchange/step.h"
#include "files/daemon_files.h"
#include <errno.h>

enum { SLOT_BITS = 18, FILE_BITS = 5 };

static const uint64_t slot_mask = (UINT64_C(1) << SLOT_BITS) - 1;
static const uint64_t file_mask = (UINT64_C(1) << FILE_BITS) - 1;

/* .pyrmap and its files have slot index 0, which no slot has, and a serial, so no nodeid is the root's 1. */
enum { DAEMON_SERIAL = 1 };

/* The last two codes of the five bits, behind all files of a slot. */
enum { ASIDE_BIN = 30, ASIDE_TXT = 31 };
static_assert((int)SLOT_FILES <= (int)ASIDE_BIN, "a nodeid has five bits for the file");

static uint64_t pack(uint64_t slot, uint64_t file, uint64_t serial)
{
    return serial << (SLOT_BITS + FILE_BITS) | file << SLOT_BITS | slot;
}

uint64_t nodeid_serial(uint64_t nodeid)
{
    return nodeid >> (SLOT_BITS + FILE_BITS);
}

/* The serial in the nodeid that a file has now. */
static uint64_t current_serial(const struct slot *slot, enum slot_file file)
{
    if (file == SLOT_DATA_BIN || file == SLOT_RESULT_BIN)
        return slot->arrays[slot_file_side(file)].inode;
    if (slot_file_has_side(file))
        return slot->arrays[slot_file_side(file)].serial;
    if (file == SLOT_SOURCE)
        return slot->source ? slot->source_serial : 0;
    return slot->serial;
}

static int has_array(struct slot *slot, const struct slot_array *wanted, struct nodeid_target *inode)
{
    for (int side = 0; slot && !slot->leaving && side < 2; side++) {
        const struct slot_array *array = &slot->arrays[side];

        if (array->number == wanted->number && array->home == wanted->home &&
            array->home_side == wanted->home_side) {
            *inode = (struct nodeid_target){NODEID_SLOT, slot, slot_file_of_side((enum record_side)side), 0};
            return 1;
        }
    }
    return 0;
}

/*
 * Page-cache path: finds any slot that has the array. Looks at its home first, which has it most of the time.
 */
static int decode_shared(struct exchange *exchange, const struct slot_array *wanted,
                         struct nodeid_target *inode)
{
    struct slot *slot = slot_at(exchange_slots(exchange), wanted->home);

    if (has_array(slot, wanted, inode))
        return 0;
    for (uint32_t at = slot ? slot->first_follower : 0; at;
         at = slot_at(exchange_slots(exchange), at)->next_follower) {
        if (has_array(slot_at(exchange_slots(exchange), at), wanted, inode))
            return 0;
    }
    for (slot = slot_after(exchange_slots(exchange), 0); slot;
         slot = slot_after(exchange_slots(exchange), slot_index(exchange_slots(exchange), slot))) {
        if (has_array(slot, wanted, inode))
            return 0;
    }
    return -ESTALE;
}

int nodeid_decode(struct exchange *exchange, uint64_t nodeid, struct nodeid_target *inode)
{
    uint32_t index = (uint32_t)(nodeid & slot_mask);
    unsigned file = (unsigned)(nodeid >> SLOT_BITS & file_mask);
    uint64_t serial = nodeid_serial(nodeid);
    struct slot *slot = slot_at(exchange_slots(exchange), index);

    *inode = (struct nodeid_target){.kind = NODEID_ROOT};
    if (nodeid == NODEID_ROOT_ID)
        return 0;
    if (index == 0) {
        *inode = (struct nodeid_target){.kind = NODEID_DAEMON, .number = file};
        return serial == DAEMON_SERIAL && (file == 0 || daemon_files_name(file)) ? 0 : -ESTALE;
    }
    if (exchange_data_path(exchange) != DATA_PATH_PASSTHROUGH &&
        (file == SLOT_DATA_BIN || file == SLOT_RESULT_BIN))
        return decode_shared(exchange,
                             &(struct slot_array){.number = serial,
                                                  .home = index,
                                                  .home_side = slot_file_side((enum slot_file)file)},
                             inode);
    if (file == ASIDE_BIN || file == ASIDE_TXT)
        file = file == ASIDE_BIN ? SLOT_METADATA_BIN : SLOT_METADATA_TXT;
    if (!slot || slot->leaving || file >= SLOT_FILES || current_serial(slot, (enum slot_file)file) != serial)
        return -ESTALE;
    *inode = (struct nodeid_target){NODEID_SLOT, slot, (enum slot_file)file, 0};
    return 0;
}

uint64_t nodeid_aside(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    return pack(slot_index(exchange_slots(exchange), slot), file == SLOT_METADATA_BIN ? ASIDE_BIN : ASIDE_TXT,
                slot->serial);
}

uint64_t nodeid_of(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    if (exchange_data_path(exchange) != DATA_PATH_PASSTHROUGH &&
        (file == SLOT_DATA_BIN || file == SLOT_RESULT_BIN)) {
        enum record_side side = slot_file_side(file);
        const struct slot_array *array = &slot->arrays[side];
        return pack(array->home, slot_file_of_side((enum record_side)array->home_side),
                    step_array_identity(exchange, slot, side));
    }
    return pack(slot_index(exchange_slots(exchange), slot), file, current_serial(slot, file));
}

uint64_t nodeid_encode(struct exchange *exchange, const struct nodeid_target *inode)
{
    switch (inode->kind) {
    case NODEID_ROOT:
        return NODEID_ROOT_ID;
    case NODEID_DAEMON:
        return pack(0, inode->number, DAEMON_SERIAL);
    case NODEID_SLOT:
        break;
    }
    return nodeid_of(exchange, inode->slot, inode->file);
}

uint64_t nodeid_number(struct exchange *exchange, const struct nodeid_target *inode)
{
    if (inode->kind == NODEID_SLOT && (inode->file == SLOT_DATA_BIN || inode->file == SLOT_RESULT_BIN))
        return inode->slot->arrays[slot_file_side(inode->file)].number;
    return nodeid_encode(exchange, inode);
}
