// SPDX-License-Identifier: Apache-2.0
/*
 * page.h - the page behind metadata.bin that clients map: a live copy of the record.
 *
 * The record in the index is the truth. The backing file is made when metadata.bin is first opened, lives as
 * long as the slot (a client may keep a mapping after close), and is mapped here while handles are open.
 */
#ifndef PYRMAPFS_PAGE_H
#define PYRMAPFS_PAGE_H

#include "arena/arena.h"
#include "slot/slot.h"

/* One open handle more or less. Return 0 or -errno. */
int page_open(struct arena *arena, struct slot *slot);
void page_close(struct slot *slot);

/* What clients have stored there; only while a handle is open. 0 or -errno. slot->page_fd may be registered
 * for passthrough. */
int page_read(const struct slot *slot, struct record *copy);

/* The record changed: stores it, `change` last, and wakes futex waiters on that. */
void page_update(struct arena *arena, struct slot *slot);

/* Removes a file that an earlier server may have left; nobody of now has it. */
void page_discard(struct arena *arena, const struct slot *slot);

/* The slot is going: removes the file. */
void page_remove(struct arena *arena, struct slot *slot);

#endif
