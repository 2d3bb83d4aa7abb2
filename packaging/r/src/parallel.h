// SPDX-License-Identifier: Apache-2.0
/*
 * parallel.h - work on large arrays in several threads, which live no longer than the call.
 *
 * One processor cannot move as many bytes as the memory can deliver. The work must not call R.
 */
#ifndef PYRMAP_PARALLEL_H
#define PYRMAP_PARALLEL_H

#include <stddef.h>

enum { PARTS_MAX = 4 };

/* How many processors this process may use; at least 1. */
int processors(void);

/* In how many parts work that touches so many bytes is worth doing: 1 to PARTS_MAX. */
int parts_for(size_t bytes);

/* Calls work(context, part) for each part, and returns when all are done. parts: 1 to PARTS_MAX. */
void in_parallel(int parts, void (*work)(void *context, int part), void *context);

#endif
