// SPDX-License-Identifier: Apache-2.0
/*
 * page.h - the pages that clients map: live copies of the record.
 *
 * The record in the index is the truth. There are two pages of it: a client that may write metadata.bin can
 * map it for writing, and so store into what others read. metadata.mem cannot be forged.
 *
 *     SLOT_PAGE_BIN   metadata.bin; stores into it are requests (see stored.h)
 *     SLOT_PAGE_MEM   metadata.mem, with the inline arrays; nobody opens it for writing
 *
 * A page's file is made when it is first opened, lives as long as the slot (a client may keep a mapping after
 * close), and is mapped here while handles are open.
 *
 * A client may sleep on `change` in its mapping for as long as it likes. So a page is retired before
 * its updates end: we set its version to 0, bump change and wake all sleepers. The server does so when a slot
 * goes and when the server ends, the supervisor when the server was killed, the keeper when both were, and in
 * an arena of memfds the pin (daemon/pin.h).
 */
#ifndef PYRMAPFS_PAGE_H
#define PYRMAPFS_PAGE_H

#include "arena/arena.h"
#include "slot/slot.h"

/* Count one open handle more or less. page_open returns 0 or -errno. */
int page_open(struct arena *arena, struct slot *slot, enum slot_page_kind kind);
void page_close(struct slot *slot, enum slot_page_kind kind);

/*
 * Reads what clients have stored into metadata.bin. A handle of it must be open. Returns 0 or -errno; -ESTALE: it
 * shows an older record, because the last change of it could not be written.
 */
int page_read(const struct slot *slot, struct record *copy);

/* Fills in what the page of metadata.mem must show now. */
void page_show(const struct slot *slot, struct record_page *page);

/*
 * The path by which a user opens the file of metadata.mem, which is open here: see arena_file_link.
 * page_revoke shuts all users out again.
 */
int page_link(struct arena *arena, const struct slot *slot, uid_t uid, char *path, size_t size);
void page_revoke(const struct slot *slot);

/* The record changed: stores it, as record.h says, and wakes futex waiters on `change`. */
void page_update(struct arena *arena, struct slot *slot);

/* After a takeover: the files that the last server made are the pages still. */
void page_take_over(struct arena *arena, struct slot *slot);
/* Removes files that an earlier server may have left, and that no client has open. */
void page_discard(struct arena *arena, const struct slot *slot);

/* Retires the pages because the server ends. The slot stays in the index. */
void page_retire(struct arena *arena, struct slot *slot);
/* Retires all pages in the directory of arena_files, or that this process has, after the server has gone. */
enum { PAGE_OF_THIS_PROCESS = -1 };
void page_retire_all(int directory);

/* Retires the pages and removes their files because the slot goes. */
void page_remove(struct arena *arena, struct slot *slot);

#endif
