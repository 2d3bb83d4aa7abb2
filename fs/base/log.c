// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

static enum log_target target = LOG_TO_STDERR;
static enum log_level threshold = LOG_LEVEL_INFO;

void log_open(enum log_target where, enum log_level level)
{
    target = where;
    threshold = level;
    if (where == LOG_TO_SYSLOG)
        openlog("pyrmapfs", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

enum log_level log_threshold(void)
{
    return threshold;
}

/* Slot names are any bytes: a newline in one must not forge a second line. */
static void make_printable(char *line)
{
    for (; *line; line++) {
        if ((unsigned char)*line < 0x20 || *line == 0x7f)
            *line = '?';
    }
}

/*
 * A stalled reader must not stop the filesystem: we drop lines for a full pipe and report their number later.
 */
static void print_line(const char *level, const char *line)
{
    static unsigned dropped;
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT)) {
        dropped++;
        return;
    }
    if (dropped)
        dprintf(STDERR_FILENO, "pyrmapfs: warning: %u lines were dropped\n", dropped);
    dropped = 0;
    dprintf(STDERR_FILENO, "pyrmapfs: %s: %s\n", level, line);
}

void log_line(enum log_level level, const char *format, ...)
{
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char line[1024];
    va_list arguments;

    if (level > threshold)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    make_printable(line);
    if (target == LOG_TO_SYSLOG)
        syslog(priorities[level], "%s", line);
    else
        print_line(names[level], line);
}
