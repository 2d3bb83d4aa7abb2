// SPDX-License-Identifier: Apache-2.0
/*
 * named.h - the daemon's own files in the arena (index, texts, record pages), under names that no segment has.
 */
#ifndef PYRMAPFS_NAMED_H
#define PYRMAPFS_NAMED_H

#include "arena/store.h"

/* Flags as for open(2). Returns a descriptor or -errno. */
int named_open(struct store *store, const char *name, int flags);
int named_unlink(struct store *store, const char *name);
/* As arena_files_visit. */
int named_visit(int directory, void (*visit)(void *context, const char *name, int fd), void *context);
/* As arena_file_path. */
void named_path(const struct store *store, const char *name, char *path, size_t size);
/* The path by which clients that store_links lets in reach the file. 0 or -errno. */
int named_link(struct store *store, const char *name, char *path, size_t size);

/* After a takeover: the memfds that the last server had. Returns 0 or -ENOMEM. */
int named_take_over(struct store *store);
/* Forgets those that have no name in a directory. Idempotent. */
void named_close(struct store *store);

#endif
