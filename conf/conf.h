// SPDX-License-Identifier: Apache-2.0
/*
 * conf.h - the configuration: /etc/pyrmapfs.conf, -c FILE, and -o section.key=value on top.
 *
 * One table in conf.c (section, key, type, default, bounds, help, documentation) drives parsing,
 * .pyrmap/config, --help, conf/pyrmapfs.conf and the manual page.
 *
 * The order of calls: conf_init, conf_read, conf_override for each -o, conf_check once, then use it.
 */
#ifndef PYRMAPFS_CONF_H
#define PYRMAPFS_CONF_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum { CONF_ERROR_MAX = 512 };

#define CONF_DEFAULT_FILE "/etc/pyrmapfs.conf"

/* warm before conf_check: it depends on the capacity, which a later file or option may still change. */
#define CONF_WARM_AUTO UINT64_MAX

enum conf_tristate { CONF_AUTO, CONF_ON, CONF_OFF };

enum conf_arena_kind { CONF_ARENA_AUTO, CONF_ARENA_TMPFS, CONF_ARENA_DIR, CONF_ARENA_MEMFD };

enum conf_links { CONF_LINKS_AUTO, CONF_LINKS_OFF };

enum conf_jobs { CONF_JOBS_NO, CONF_JOBS_SLURM, CONF_JOBS_ALL };

enum conf_log_level { CONF_LOG_ERROR, CONF_LOG_WARNING, CONF_LOG_INFO, CONF_LOG_DEBUG };

struct conf {
    enum conf_tristate allow_other; /* [mount] */
    mode_t root_mode;
    enum conf_arena_kind arena_kind; /* [arena] */
    char arena_path[PATH_MAX];       /* absolute; "" if not given: only kind = dir needs it */
    uint64_t capacity;               /* bytes; a percentage of RAM is resolved while parsing */
    uint64_t warm;                   /* bytes; CONF_WARM_AUTO until conf_check */
    bool huge_pages;
    bool wait;                /* [handshake] */
    uint64_t wait_timeout_ms; /* 0 waits for ever */
    uint32_t slots;           /* [limits] */
    uint32_t slots_per_user;
    uint64_t bytes_per_user; /* 0: no limit but the capacity */
    uint64_t bytes_per_job;  /* the same */
    enum conf_jobs remove_with_job;
    uint32_t open_per_user;
    uint64_t memory_per_user;       /* 0: no limit */
    enum conf_tristate passthrough; /* [path] */
    enum conf_links links;
    enum conf_log_level log_level; /* [log] */
};

/* Fills *conf with the defaults of this machine (capacity depends on its RAM). */
void conf_init(struct conf *conf);
/* Before that: percentages are of so many bytes, if the machine has more. */
void conf_set_memory(uint64_t bytes);

/*
 * Reads the file over *conf. Returns 0, or -1 with one line "FILE:LINE: what is wrong" about the first
 * mistake; then do not use *conf. A missing file is an error: main looks first.
 */
int conf_read(struct conf *conf, const char *path, char error[CONF_ERROR_MAX]);

/*
 * Applies one "section.key=value" of the command line; a later one wins. Returns as conf_read does; the line
 * then begins with "-o section.key=value: ".
 */
int conf_override(struct conf *conf, const char *assignment, char error[CONF_ERROR_MAX]);

/*
 * Resolves `auto` of warm, which depends on the capacity, and checks keys against each other (kind = dir
 * needs a path, warm <= capacity). Returns as conf_read does; its line names no place.
 */
int conf_check(struct conf *conf, char error[CONF_ERROR_MAX]);

/*
 * Prints the configuration in effect in the syntax of the file: reading it back gives the same *conf. Before
 * conf_check it prints what conf_check would make of it.
 */
void conf_print(const struct conf *conf, FILE *out);

/*
 * Gives *conf the values in effect of all keys that a running mount cannot change. held gets a line for each that
 * had another value.
 */
void conf_hold(struct conf *conf, const struct conf *in_effect, void (*held)(const char *line));

/* Prints every key, its default and one line of help: for --help. */
void conf_print_help(FILE *out);

/* A key as the documents show it. */
struct conf_doc {
    const char *section;
    const char *key;
    const char *values;   /* "auto|yes|no", or the name of what is expected: "size" */
    const char *fallback; /* the default; "" if it has none */
    const char *help;     /* one line */
    const char *text;     /* whole lines, as in conf/pyrmapfs.conf and the manual page */
};

/* The table, row by row, in the order of the documents; NULL beyond the last one. */
const struct conf_doc *conf_doc(size_t index);
/* Whether a running mount can change the value. */
bool conf_is_live(size_t index);

#endif
