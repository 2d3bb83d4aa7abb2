// SPDX-License-Identifier: Apache-2.0
/*
 * array.h - opens, sizes and moves data.bin and result.bin.
 */
#ifndef PYRMAPFS_ARRAY_H
#define PYRMAPFS_ARRAY_H

#include "base/caller.h"
#include "exchange/terms.h"
#include "slot/handle.h"

/* The event that opening an array of this side stands for. */
enum handshake_event array_open_event(enum record_side side, enum handle_access access);

/*
 * Judges and takes the open of an array that the caller knows by this identity. On 0 the handle has its
 * segment (with one handle counted) and is in the slot's list. -ESTALE: the open began a new round, so the
 * name has another inode now. The kernel tries again with that one at once, and must not be refused then: the
 * slot keeps open what this try has opened. -EIO: the reader has the failure with it; call exchange_run after the
 * answer.
 */
int array_open(struct exchange *exchange, struct slot *slot, struct handle *handle,
               const struct caller *caller, uint64_t identity);
/* Gives back what array_open (or a view's open) took. */
void array_close(struct exchange *exchange, struct handle *handle);

/*
 * Judges a read that takes a published array: as an open for reading with O_NONBLOCK, but that nobody takes
 * what is still being written. Returns 0 or -errno.
 */
int array_may_take(struct exchange *exchange, struct slot *slot, enum record_side side,
                   const struct caller *caller);

/* read(2) as the daemon does it on behalf of a client: bytes, or -errno. */
ssize_t array_read(struct exchange *exchange, const struct handle *handle, void *buffer, size_t size,
                   off_t offset);

/*
 * write(2) as the daemon does it on behalf of a client. Returns bytes, perhaps fewer than asked for, or
 * -errno. -EAGAIN: call array_reserve_write, which makes room and fills the hole before it, and try again.
 */
ssize_t array_write(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                    const void *buffer, size_t size, off_t offset);

void array_reserve_write(struct exchange *exchange, struct handle *handle, size_t size, off_t offset,
                         void (*done)(void *context, int result), void *context);

/*
 * Whether a handle that cannot be mapped may write past the daemon: the kernel must hold the arena to its
 * capacity, no user may have a limit, and nobody may have the array open or mapped for writing, because such
 * a write may leave holes.
 */
bool array_may_write_unseen(struct exchange *exchange, struct segment *segment);

/*
 * Sets the size of an array, or reserves its pages, in the background; done(context, 0 or -errno) exactly
 * once. handle may be NULL (truncate by path).
 */
void array_resize(struct exchange *exchange, struct slot *slot, enum record_side side, struct handle *handle,
                  const struct caller *caller, enum reserve_mode mode, uint64_t size,
                  void (*done)(void *context, int result), void *context);

/*
 * A segment that a client wrote to past the daemon may have holes, and a store into a hole could meet a full
 * arena; the copy of an inline array may lack its bytes. array_fill_holes fills both, before a client maps the
 * array or learns its size. done as in array_resize.
 */
bool array_has_holes(struct exchange *exchange, const struct slot *slot, enum record_side side);
void array_fill_holes(struct exchange *exchange, struct slot *slot, enum record_side side,
                      const struct caller *caller, void (*done)(void *context, int result), void *context);

/* rename A/result.bin B/data.bin. */
int array_move_result(struct exchange *exchange, struct slot *from, struct slot *to,
                      const struct caller *caller);

#endif
