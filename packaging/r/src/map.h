// SPDX-License-Identifier: Apache-2.0
/*
 * map.h - mapping a segment, aligned so that huge pages can serve it.
 */
#ifndef PYRMAP_MAP_H
#define PYRMAP_MAP_H

#include <stddef.h>

enum map_mode {
    MAP_FILL, /* shared and writable: stores are the segment's. The descriptor must be open for writing */
    MAP_VIEW, /* private: reads see the segment, a store copies its page. The descriptor is read-only */
};

/* The address, or NULL with errno set. size > 0. */
void *segment_map(int fd, size_t size, enum map_mode mode);

/* Turns a MAP_FILL mapping into a MAP_VIEW of fd in place: pointers into it stay good. 0 or -errno. */
int segment_settle_map(void *address, size_t size, int fd);

/*
 * Puts a private copy in the place of a mapping: from now on this process's stores do not reach the segment,
 * and nobody else's reach this process. 0 or -errno.
 */
int segment_leave(void *address, size_t size);

void segment_unmap(void *address, size_t size);

/* Bytes of a MAP_VIEW that stores have replaced by private pages. */
size_t segment_private_bytes(const void *address, size_t size);

#endif
