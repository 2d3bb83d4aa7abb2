// SPDX-License-Identifier: Apache-2.0
/*
 * sound.h - what the index says of a slot, before we believe it.
 *
 * A checksum tells damage from truth, not sense from nonsense: a disk, a copy of the directory or another
 * program may have put anything there. So each field is checked for its bounds before anybody uses it. What
 * follows from other fields is not read at all (flag, followers) or is checked against them by the caller
 * (sources, names).
 */
#ifndef PYRMAPFS_SOUND_H
#define PYRMAPFS_SOUND_H

#include "slot/entry.h"
#include "slot/table.h"

/* Serials are below this: a nodeid has no room for more. */
enum { SOUND_SERIAL_BITS = 41 };

/*
 * Whether every field is within its bounds, in a table of so many entries. Sets those that follow from others.
 */
bool sound_check(struct slot *slot, uint32_t entries);

/* The same for the table itself. A room that we refuse, because limits.slots is lower, is within its bounds. */
bool sound_check_table(const struct table_entry *table);

/* The largest serial in it. */
uint64_t sound_last_serial(const struct slot *slot);

/*
 * Makes `slot`, which is damaged, into one that is sound and empty, FAILED, and the daemon's own. It keeps the
 * arrays that the remains name as far as they can be told; the caller gives serials and a name.
 */
void sound_salvage(struct slot *slot, const uint8_t tail[ENTRY_TAIL]);

#endif
