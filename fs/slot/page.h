// SPDX-License-Identifier: Apache-2.0
/*
 * page.h - the pages that clients map: live copies of the record.
 *
 * The record in the index is the truth. There are two pages of it, because a client that may write
 * metadata.bin can map it for writing, and so store into what others read:
 *
 *     SLOT_PAGE_BIN   metadata.bin; stores into it are requests (see stored.h)
 *     SLOT_PAGE_MEM   metadata.mem, with the inline arrays; nobody opens it for writing
 *
 * A page's file is made when it is first opened, lives as long as the slot (a client may keep a mapping after
 * close), and is mapped here while handles are open.
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
int page_open(struct arena *arena, struct slot *slot, enum slot_page_kind kind);
void page_close(struct slot *slot, enum slot_page_kind kind);

/*
 * What clients have stored into metadata.bin; only while a handle of it is open. 0 or -errno. Its descriptor
 * may be registered for passthrough.
 */
int page_read(const struct slot *slot, struct record *copy);

/* The page of metadata.mem as it is to be now. */
void page_show(const struct slot *slot, struct record_page *page);

/* The record changed: stores it, as record.h says, and wakes futex waiters on `change`. */
void page_update(struct arena *arena, struct slot *slot);

/* Removes files that an earlier server may have left; nobody of now has them. */
void page_discard(struct arena *arena, const struct slot *slot);

/* Retires the pages, whose slot stays in the index: the server ends. */
void page_retire(struct arena *arena, struct slot *slot);
/* Retires all pages in the directory of arena_files, whose server is gone. */
void page_retire_all(int directory);

/* The slot is going: retires the pages and removes the files. */
void page_remove(struct arena *arena, struct slot *slot);

#endif
