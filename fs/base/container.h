// SPDX-License-Identifier: Apache-2.0
/*
 * container.h - from a member to the struct that contains it.
 */
#ifndef PYRMAPFS_CONTAINER_H
#define PYRMAPFS_CONTAINER_H

#include <stddef.h>

/* The type * whose `member` this points to. */
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
