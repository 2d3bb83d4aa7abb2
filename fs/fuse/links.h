// SPDX-License-Identifier: Apache-2.0
/*
 * links.h - data.mem, result.mem and metadata.mem where the data path is links: symlinks to the pages.
 *
 *   a client has                  what data.mem is for it, at this READLINK
 *   data.bin open                 a path of the segment itself, which may be written while data.bin may
 *   not that, or may not go       data.bin
 *     there (arena_links), or
 *     has another /proc
 *
 * So the open of data.bin is judged as ever, and a client that follows the link without it is judged
 * now. The kernel keeps no target. The file is the daemon's: before we name it to a client of another user, we
 * grant that user what the slot's mode gives him now, and no more than his open has; when owner or mode of
 * the slot change, we take that back from all. metadata.mem needs no open; for clients that may not or cannot
 * reach the page it is a link to .metadata.mem, which no listing shows: the file that metadata.mem is on the
 * other data paths.
 *
 * The page cache of FUSE knows nothing of stores by these paths. So the kernel keeps no size of an array that
 * may be written, and drops its pages at each open, up to the first one after it was published. An array that has
 * several inodes (nodeid.h) has pages in each, so an open by another inode than the last one drops them too.
 */
#ifndef PYRMAPFS_LINKS_H
#define PYRMAPFS_LINKS_H

#include "fuse/request.h"

/* Room for a target, with its zero. */
enum { LINKS_TARGET_MAX = PATH_MAX };

/* What a name in a slot stands for on this mount: SLOT_FILES if there is nothing. */
enum slot_file links_find(const struct request_ops *ops, const struct slot *slot, const char *name);
/* Whether a listing shows the file. */
bool links_shows(const struct request_ops *ops, const struct slot *slot, enum slot_file file);

/* Whether an array may change without the kernel seeing it. */
bool links_changes(const struct request_ops *ops, const struct slot *slot, enum slot_file file);
/* Whether the kernel's pages of an array that this handle opens now are those of the arena. */
bool links_keeps_pages(const struct request_ops *ops, const struct handle *handle);

bool links_is_link(enum slot_file file);
/* As READLINK answers this caller. */
void links_target(struct request_ops *ops, struct slot *slot, enum slot_file file,
                  const struct caller *caller, char target[LINKS_TARGET_MAX]);
/* The slot's owner or mode changed: every user but ours has to follow the links again. */
void links_revoke(struct request_ops *ops, struct slot *slot);
/* The length of the target for clients that reach no pages: st_size. */
off_t links_size(enum slot_file file);

#endif
