// SPDX-License-Identifier: Apache-2.0
/*
 * take.h - taking an array in one read of metadata.bin, the mirror image of publishing it in one write.
 *
 * The answer is the record and, behind it, the array, both of one moment: a client that reads so need not ask
 * which round the bytes belong to. To the handshake it is an open for reading, with O_NONBLOCK, and a close.
 */
#ifndef PYRMAPFS_TAKE_H
#define PYRMAPFS_TAKE_H

#include "exchange/exchange.h"
#include "slot/handle.h"

/*
 * Answers a read through this handle of metadata.bin. Of an array that size has no room for it answers the
 * beginning, and does not count it as taken. Returns bytes, or -errno; call exchange_run after the answer.
 */
ssize_t take_read(struct exchange *exchange, struct handle *handle, enum record_side side, char *buffer,
                  size_t size);

#endif
