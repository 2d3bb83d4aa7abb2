// SPDX-License-Identifier: Apache-2.0
/*
 * daemon_files.h - the daemon's own files in .pyrmap, all read-only and made when they are opened.
 */
#ifndef PYRMAPFS_DAEMON_FILES_H
#define PYRMAPFS_DAEMON_FILES_H

#include "conf.h"
#include "exchange/exchange.h"

/* Where the numbers come from. Owned by the caller. */
struct daemon_files {
    struct exchange *exchange;
    const struct conf *conf;
    char data_path[200];              /* "passthrough", or "page cache (why)" */
    uint64_t started_ms;              /* deadline_now_ms() */
    const char *const *request_names; /* requests by kind */
    const uint64_t *request_counts;
    size_t request_kinds;
};

/* The name of the n-th file, from 1; NULL beyond the last. */
const char *daemon_files_name(unsigned number);
/* 0 if there is none of that name. */
unsigned daemon_files_find(const char *name);

/* The file's text from malloc, and its size in bytes; NULL if there is no memory, or no file of that number.
 */
char *daemon_files_text(const struct daemon_files *files, unsigned number, size_t *size);

#endif
