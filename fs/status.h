// SPDX-License-Identifier: Apache-2.0
/*
 * status.h - the daemon's own files in .pyrmap, all read-only and made when they are opened.
 */
#ifndef PYRMAPFS_STATUS_H
#define PYRMAPFS_STATUS_H

#include "conf.h"
#include "exchange.h"

/* Where the numbers come from. Owned by the caller. */
struct status {
    struct exchange *exchange;
    const struct conf *conf;
    char data_path[200];              /* "passthrough", or "page cache (why)" */
    uint64_t started_ms;              /* deadline_now_ms() */
    const char *const *request_names; /* requests by kind */
    const uint64_t *request_counts;
    size_t request_kinds;
};

/* The name of the n-th file, from 1; NULL beyond the last. */
const char *status_file_name(unsigned number);
/* 0 if there is none of that name. */
unsigned status_file_find(const char *name);

/* The file's text from malloc, and its size in bytes; NULL if there is no memory. */
char *status_file_text(const struct status *status, unsigned number, size_t *size);

#endif
