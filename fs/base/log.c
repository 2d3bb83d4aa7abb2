// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

static enum log_target target = LOG_TO_STDERR;
static enum log_level threshold = LOG_LEVEL_INFO;
static bool to_journal;
static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

/* Whether systemd's journal reads our standard error: then a number in front of a line is its priority. */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat status;
    char own[64];

    if (!stream || fstat(STDERR_FILENO, &status) < 0)
        return false;
    snprintf(own, sizeof(own), "%llu:%llu", (unsigned long long)status.st_dev,
             (unsigned long long)status.st_ino);
    return strcmp(stream, own) == 0;
}

void log_open(enum log_target where, enum log_level level)
{
    target = where;
    threshold = level;
    if (where == LOG_TO_SYSLOG)
        openlog("pyrmapfs", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    else
        to_journal = is_journal();
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
static void print_line(enum log_level level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    static unsigned dropped;
    char priority[8] = "";
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT)) {
        dropped++;
        return;
    }
    if (dropped)
        dprintf(STDERR_FILENO, "pyrmapfs: warning: %u lines were dropped\n", dropped);
    dropped = 0;
    if (to_journal)
        snprintf(priority, sizeof(priority), "<%d>", priorities[level]);
    dprintf(STDERR_FILENO, "%spyrmapfs: %s: %s\n", priority, names[level], line);
}

void log_line(enum log_level level, const char *format, ...)
{
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
        print_line(level, line);
}
