// SPDX-License-Identifier: Apache-2.0
/*
 * text.h - the texts of a slot, task and error: files of the arena while they are not empty.
 */
#ifndef PYRMAPFS_TEXT_H
#define PYRMAPFS_TEXT_H

#include "arena/arena.h"
#include "slot/slot.h"

/* Only SLOT_TASK and SLOT_ERROR are texts. Sizes are bytes. */
size_t text_size(const struct slot *slot, enum slot_file file);
/* Bytes that a text of that size takes. */
uint64_t text_bytes(uint64_t size);
/* How many more the text takes after that write. */
uint64_t text_growth(const struct slot *slot, enum slot_file file, size_t size, off_t offset);
/* Bytes read, 0 at the end, or -errno. */
ssize_t text_read(struct arena *arena, const struct slot *slot, enum slot_file file, void *buffer,
                  size_t size, off_t offset);
/* Returns bytes written, all or none: -EFBIG beyond the text's limit, -ENOSPC or another -errno. */
ssize_t text_write(struct arena *arena, struct slot *slot, enum slot_file file, const void *buffer,
                   size_t size, off_t offset);
/* Cuts or extends (with NULs) to size: 0, -EFBIG or -errno. */
int text_resize(struct arena *arena, struct slot *slot, enum slot_file file, uint64_t size);

/* Of a slot that an earlier server left: it has no more of the text than its file. */
void text_restore(struct arena *arena, struct slot *slot, enum slot_file file);
/* Removes files that no slot names. The number of slots times that of texts. */
void text_sweep(struct arena *arena, struct slots *slots);

#endif
