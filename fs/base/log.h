// SPDX-License-Identifier: Apache-2.0
/*
 * log.h - state changes at debug, refusals at info, trouble at warning and error; nothing per request.
 *
 * Lines go to stderr in the foreground and to syslog otherwise. Where stderr is systemd's journal they go there as
 * entries with fields: PRIORITY, and what a line is about.
 */
#ifndef PYRMAPFS_LOG_H
#define PYRMAPFS_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TO_STDERR, LOG_TO_SYSLOG };

void log_open(enum log_target where, enum log_level level);
enum log_level log_threshold(void);

/* What a line is about: the fields SLOT, ROUND and ERRNO of the journal. NULL and 0 are left out. */
struct log_subject {
    const char *slot;
    uint64_t round;
    int error; /* positive errno */
};

/* One line; control characters (a slot may have any name) are replaced. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_about(enum log_level level, const struct log_subject *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                                       \
    do {                                                                                                     \
        if (log_threshold() >= LOG_LEVEL_DEBUG)                                                              \
            log_line(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                          \
    } while (0)

#endif
