// SPDX-License-Identifier: Apache-2.0
/*
 * conf.h - the configuration: /etc/pyrmapfs.conf, -c FILE, and -o section.key=value on top.
 *
 * One table in conf.c (section, key, type, default, bounds, help text) drives parsing,
 * .pyrmap/config, --help and the manual page.
 */
#ifndef PYRMAPFS_CONF_H
#define PYRMAPFS_CONF_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum { CONF_ERROR_MAX = 512 };

#define CONF_DEFAULT_FILE "/etc/pyrmapfs.conf"

enum conf_tristate { CONF_AUTO, CONF_ON, CONF_OFF };

enum conf_arena_kind { CONF_ARENA_AUTO, CONF_ARENA_TMPFS, CONF_ARENA_DIR, CONF_ARENA_MEMFD };

enum conf_log_level { CONF_LOG_ERROR, CONF_LOG_WARNING, CONF_LOG_INFO, CONF_LOG_DEBUG };

struct conf {
    enum conf_tristate allow_other; /* [mount] */
    mode_t root_mode;
    enum conf_arena_kind arena_kind; /* [arena] */
    char arena_path[PATH_MAX];       /* "" unless the kind is dir */
    uint64_t capacity;               /* bytes; a percentage of RAM is resolved while parsing */
    uint64_t warm;                   /* bytes */
    bool huge_pages;
    uint64_t wait_timeout_ms; /* [handshake]; 0 waits for ever */
    uint32_t slots;           /* [limits] */
    uint32_t slots_per_user;
    uint64_t bytes_per_user;       /* 0: no limit but the capacity */
    enum conf_tristate passthrough; /* [path] */
    enum conf_log_level log_level;  /* [log] */
};

/* Fills *conf with the defaults of this machine (capacity depends on its RAM). */
void conf_init(struct conf *conf);

/*
 * Reads FILE over *conf. Returns 0, or -1 with one line "FILE:LINE: what is wrong" in error:
 * the first mistake is reported and *conf is then not to be used. ENOENT is an error too; main asks first
 * whether the default file exists.
 */
int conf_read(struct conf *conf, const char *path, char error[CONF_ERROR_MAX]);

/* Applies one "section.key=value" of the command line; returns as conf_read does. */
int conf_override(struct conf *conf, const char *assignment, char error[CONF_ERROR_MAX]);

/* Checks what no single key can tell (kind = dir needs a path, warm <= capacity); returns as conf_read. */
int conf_check(const struct conf *conf, char error[CONF_ERROR_MAX]);

/* Prints the configuration in effect in the syntax of the file: reading it back gives the same *conf. */
void conf_print(const struct conf *conf, FILE *out);

/* Prints every key, its default and one line of help: for --help. */
void conf_print_help(FILE *out);

#endif
