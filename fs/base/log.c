// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

static enum log_target target = LOG_TO_STDERR;
static enum log_level threshold = LOG_LEVEL_INFO;
static bool to_journal;
static int journal = -1; /* connected for good: later we may not look for its socket any more */
static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

/* Whether systemd's journal reads our standard error. */
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

static void connect_journal(void)
{
    static const struct sockaddr_un address = {.sun_family = AF_UNIX,
                                               .sun_path = "/run/systemd/journal/socket"};

    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (journal < 0 || connect(journal, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return;
    close(journal);
    journal = -1;
}

void log_open(enum log_target where, enum log_level level)
{
    target = where;
    threshold = level;
    if (where == LOG_TO_SYSLOG)
        openlog("pyrmapfs", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    else
        to_journal = is_journal();
    if (to_journal && journal < 0)
        connect_journal();
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
 * A stalled reader must not stop the filesystem: we drop lines for a full pipe and report their number later. The
 * journal takes a number in front of a line for its priority.
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

/* An entry in the journal's own protocol: lines KEY=value. False: it was not taken. */
static bool send_entry(enum log_level level, const struct log_subject *subject, const char *line)
{
    char entry[2048], slot[512];
    size_t size;

    size = (size_t)snprintf(entry, sizeof(entry), "MESSAGE=%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=pyrmapfs\n",
                            line, priorities[level]);
    if (subject->slot) {
        snprintf(slot, sizeof(slot), "%s", subject->slot);
        make_printable(slot);
        size += (size_t)snprintf(entry + size, sizeof(entry) - size, "SLOT=%s\n", slot);
    }
    if (subject->round)
        size += (size_t)snprintf(entry + size, sizeof(entry) - size, "ROUND=%llu\n",
                                 (unsigned long long)subject->round);
    if (subject->error)
        size += (size_t)snprintf(entry + size, sizeof(entry) - size, "ERRNO=%d\n", subject->error);
    return send(journal, entry, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

__attribute__((format(printf, 3, 0))) static void
write_line(enum log_level level, const struct log_subject *subject, const char *format, va_list arguments)
{
    char line[1024];

    vsnprintf(line, sizeof(line), format, arguments);
    make_printable(line);
    if (target == LOG_TO_SYSLOG)
        syslog(priorities[level], "%s", line);
    else if (journal < 0 || !send_entry(level, subject, line))
        print_line(level, line);
}

void log_line(enum log_level level, const char *format, ...)
{
    static const struct log_subject nothing;
    va_list arguments;

    if (level > threshold)
        return;
    va_start(arguments, format);
    write_line(level, &nothing, format, arguments);
    va_end(arguments);
}

void log_about(enum log_level level, const struct log_subject *subject, const char *format, ...)
{
    va_list arguments;

    if (level > threshold)
        return;
    va_start(arguments, format);
    write_line(level, subject, format, arguments);
    va_end(arguments);
}
