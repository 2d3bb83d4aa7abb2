// SPDX-License-Identifier: Apache-2.0
#include "files/event_lines.h"

#include "protocol/json.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Six bytes for each byte of a text that has to be escaped, and the rest. */
enum { LINE_MAX_BYTES = 6 * sizeof(struct events_entry) + 512 };

struct line {
    size_t size;
    char text[LINE_MAX_BYTES];
};

__attribute__((format(printf, 2, 3))) static void put(struct line *line, const char *format, ...)
{
    va_list values;
    int size;

    va_start(values, format);
    size = vsnprintf(line->text + line->size, sizeof(line->text) - line->size, format, values);
    va_end(values);
    if (size > 0)
        line->size += (size_t)size;
}

/* A byte that is part of no character becomes half of a surrogate pair, as in Python: os.fsencode gives it back. */
static void put_text(struct line *line, const char *key, const char *text)
{
    const char *end = text + strlen(text);

    put(line, ",\"%s\":\"", key);
    while (text < end) {
        size_t size = json_character(text, end);
        unsigned char byte = (unsigned char)*text;

        if (size == 0)
            put(line, "\\udc%02x", byte);
        else if (size == 1 && (byte < 0x20 || byte == 0x7f))
            put(line, "\\u%04x", byte);
        else if (size == 1 && (byte == '"' || byte == '\\'))
            put(line, "\\%c", byte);
        else
            put(line, "%.*s", (int)size, text);
        text += size ? size : 1;
    }
    put(line, "\"");
}

static void put_time(struct line *line, const struct timespec *when)
{
    struct tm parts;
    char text[40];

    gmtime_r(&when->tv_sec, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    put(line, "{\"time\":\"%s.%06ldZ\"", text, when->tv_nsec / 1000);
}

static void put_event(struct line *line, const struct events_entry *entry)
{
    static const char *const names[] = {
        [EVENTS_MADE] = "made",       [EVENTS_REMOVED] = "removed", [EVENTS_TRANSITION] = "transition",
        [EVENTS_FAILURE] = "failure", [EVENTS_REFUSAL] = "refusal", [EVENTS_TAKEOVER] = "takeover",
    };
    const char *error = entry->kind == EVENTS_REFUSAL ? strerrorname_np(entry->error) : NULL;

    put_time(line, &entry->when);
    put(line, ",\"event\":\"%s\"", names[entry->kind]);
    if (entry->kind != EVENTS_TAKEOVER) {
        put_text(line, "slot", entry->slot);
        put(line, ",\"round\":%llu,\"uid\":%u", (unsigned long long)entry->round, (unsigned)entry->uid);
    }
    if (entry->kind == EVENTS_TRANSITION || entry->kind == EVENTS_FAILURE)
        put(line, ",\"from\":\"%s\",\"to\":\"%s\"", handshake_state_name(entry->from),
            handshake_state_name(entry->to));
    if (entry->kind == EVENTS_REFUSAL) {
        put_text(line, "operation", entry->operation);
        if (error)
            put(line, ",\"errno\":\"%s\"", error);
        else
            put(line, ",\"errno\":\"%d\"", entry->error);
    }
    if (entry->reason[0])
        put_text(line, "reason", entry->reason);
    if (entry->pid)
        put(line, ",\"pid\":%d", (int)entry->pid);
    put(line, "}\n");
}

static bool may_see(const struct event_lines *lines, const struct events_entry *entry)
{
    return lines->uid == 0 || entry->uid == lines->uid || entry->kind == EVENTS_TAKEOVER;
}

void event_lines_begin(struct event_lines *lines, const struct events *events, uid_t uid)
{
    *lines = (struct event_lines){.next = events->next, .uid = uid};
}

/* Goes on to what the reader may see. NULL: nothing is next, or it has to be told first what it missed. */
static const struct events_entry *find_next(struct event_lines *lines, const struct events *events)
{
    const struct events_entry *entry;

    if (events->next - lines->next > EVENTS_KEPT) {
        if (lines->given && !lines->missed) {
            lines->broken = true;
            lines->given = 0;
        }
        /* A line that says how many is not changed while it is read: what comes to it is another one. */
        if (lines->given == 0) {
            lines->missed += events->next - EVENTS_KEPT - lines->next;
            lines->next = events->next - EVENTS_KEPT;
        }
    }
    if (lines->missed || lines->broken)
        return NULL;
    for (; lines->next < events->next; lines->next++) {
        entry = events_get(events, lines->next);
        if (may_see(lines, entry))
            return entry;
    }
    return NULL;
}

bool event_lines_ready(struct event_lines *lines, const struct events *events)
{
    return find_next(lines, events) || lines->missed || lines->broken;
}

/* The line that is next. Returns false if there is none. */
static bool get_line(struct event_lines *lines, const struct events *events, struct line *line)
{
    const struct events_entry *entry = find_next(lines, events);

    line->size = 0;
    if (lines->broken)
        put(line, "\n");
    else if (lines->missed)
        put(line, "{\"missed\":%llu}\n", (unsigned long long)lines->missed);
    else if (entry)
        put_event(line, entry);
    return line->size > 0;
}

static void line_was_given(struct event_lines *lines)
{
    lines->given = 0;
    if (lines->broken)
        lines->broken = false;
    else if (lines->missed)
        lines->missed = 0;
    else
        lines->next++;
}

size_t event_lines_read(struct event_lines *lines, const struct events *events, char *buffer, size_t size)
{
    struct line line;
    size_t got = 0;

    while (got < size && get_line(lines, events, &line)) {
        size_t part = line.size - lines->given;

        /* A whole line, unless the buffer has no room for one at all. */
        if (part > size - got && got > 0)
            break;
        part = part < size - got ? part : size - got;
        memcpy(buffer + got, line.text + lines->given, part);
        got += part;
        lines->given += part;
        if (lines->given == line.size)
            line_was_given(lines);
    }
    return got;
}
