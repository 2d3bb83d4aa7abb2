// SPDX-License-Identifier: Apache-2.0
/*
 * daemon_files.h - the daemon's own files in .pyrmap, all read-only and made when a client opens them.
 *
 * Those that show all slots are large: they are drawn in turns and shared, see drawing.h.
 */
#ifndef PYRMAPFS_DAEMON_FILES_H
#define PYRMAPFS_DAEMON_FILES_H

#include "conf.h"
#include "exchange/exchange.h"
#include "files/drawing.h"

/* Where the numbers come from. Owned by the caller. */
struct daemon_files {
    struct exchange *exchange;
    const struct conf *conf;
    char data_path[400];              /* "passthrough", "links (why)" or "page cache (why)" */
    uint64_t started_ms;              /* deadline_now_ms() */
    const char *const *request_names; /* requests by kind */
    const uint64_t *request_counts;
    size_t request_kinds;
    const struct histogram *publishing;
    const uint32_t *takeovers; /* servers that another one has replaced */
    const struct histogram *takeover_times;
    bool can_take_over;   /* the kernel allows it */
    uint64_t patience_ms; /* after which we end a request, because the kernel would abort us; 0: never */

    /* daemon_files_init's */
    struct drawing drawings[GRAPH_KINDS];
    size_t config_size;
};

/* Call it when the fields above are filled in and the exchange exists. */
void daemon_files_init(struct daemon_files *files, struct turn_queue *turns);
/* Call it after the turns have ended. */
void daemon_files_deinit(struct daemon_files *files);

/* The name of the n-th file, from 1; NULL beyond the last. */
const char *daemon_files_name(unsigned number);
/* 0 if no file has that name. */
unsigned daemon_files_find(const char *name);
/* Whether it is `events`, which has no text: the layer above reads it. */
bool daemon_files_is_events(unsigned number);

/* The file's text as it is now: wait->ready is called once, at once or later. -ESTALE: no such file. */
enum drawing_progress daemon_files_get(struct daemon_files *files, unsigned number,
                                       struct drawing_wait *wait);

/*
 * The size of that text if it is known without making it, else 0, as of files in /proc: readers go on to the
 * end. status and metrics change with each look.
 */
size_t daemon_files_size(const struct daemon_files *files, unsigned number);

/* A client has closed one. */
void daemon_files_closed(struct daemon_files *files);

#endif
