// SPDX-License-Identifier: Apache-2.0
/*
 * page.h - the page behind metadata.bin that clients map: a live copy of the record.
 *
 * The record in the index is the truth. The backing file is made when metadata.bin is first opened, lives as
 * long as the slot (a client may keep a mapping after close), and is mapped here while handles are open.
 *
 * A client may sleep on `change` in its mapping for as long as it likes. So a page is retired before it is
 * left alone, whatever the reason: its version becomes 0, change is bumped, and all who sleep are woken. The
 * server does so when a slot goes and when it ends; the supervisor does when the server was killed, and the
 * keeper when both were.
 */
#ifndef PYRMAPFS_PAGE_H
#define PYRMAPFS_PAGE_H

#include "arena/arena.h"
#include "slot/slot.h"

/* One open handle more or less. Return 0 or -errno. */
int page_open(struct arena *arena, struct slot *slot);
void page_close(struct slot *slot);

/*
 * What clients have stored there; only while a handle is open. 0 or -errno. slot->page_fd may be registered
 * for passthrough.
 */
int page_read(const struct slot *slot, struct record *copy);

/* The record changed: stores it, `change` last, and wakes futex waiters on that. */
void page_update(struct arena *arena, struct slot *slot);

/* Removes a file that an earlier server may have left; nobody of now has it. */
void page_discard(struct arena *arena, const struct slot *slot);

/* Retires the page, whose slot stays in the index: the server ends. */
void page_retire(struct arena *arena, struct slot *slot);
/* Retires all pages in the directory of arena_files, whose server is gone. */
void page_retire_all(int directory);

/* The slot is going: retires the page and removes the file. */
void page_remove(struct arena *arena, struct slot *slot);

#endif
