// SPDX-License-Identifier: Apache-2.0
#include "files/daemon_files.h"

#include "base/deadline.h"
#include "files/report.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_bytes(FILE *out, const char *key, uint64_t bytes)
{
    static const char units[][4] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;

    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    fprintf(out, "%s: %llu (%.*f %s)\n", key, (unsigned long long)bytes, unit ? 1 : 0, value, units[unit]);
}

static uint64_t free_bytes(const struct ledger_usage *usage)
{
    return usage->capacity > usage->used ? usage->capacity - usage->used : 0;
}

static void print_status(const struct daemon_files *files, FILE *out)
{
    const struct exchange *exchange = files->exchange;
    const struct exchange_counts *counts = exchange_counts(exchange);
    const struct slots *slots = exchange_slots(exchange);
    uint64_t uptime = deadline_now_ms() - files->started_ms;
    struct ledger_usage usage;

    arena_usage(exchange_arena(exchange), &usage);
    fprintf(out, "version: %s\n", PYRMAPFS_VERSION);
    fprintf(out, "data path: %s\n", files->data_path);
    fprintf(out, "arena: %s\n", arena_kind_name(arena_kind(exchange_arena(exchange))));
    print_bytes(out, "capacity", usage.capacity);
    print_bytes(out, "used", usage.used);
    print_bytes(out, "warm", usage.warm);
    print_bytes(out, "free", free_bytes(&usage));
    print_bytes(out, "files", usage.files);
    fprintf(out, "slots: %u of %u (", slots_count(slots), slots_limit(slots));
    for (int state = 0; state < HANDSHAKE_STATES; state++)
        fprintf(out, "%s%s %u", state ? ", " : "", handshake_state_name((enum handshake_state)state),
                slots_in_state(slots, (enum handshake_state)state));
    fprintf(out, ")\nrounds: %llu\n", (unsigned long long)counts->rounds);
    fprintf(out, "waiters: %u\n", counts->waiters);
    fprintf(out, "refusals: %llu\n", (unsigned long long)counts->refusals);
    fprintf(out, "takeovers: %u%s\n", *files->takeovers,
            files->can_take_over
                ? ""
                : " (none is possible: this kernel cannot send requests again, Linux 6.9 can; "
                  "if the server dies the mount ends)");
    if (files->patience_ms)
        fprintf(out,
                "request timeout: waits end after %llu.%03llu s (sysctl fs.fuse.default_request_timeout, "
                "max_request_timeout)\n",
                (unsigned long long)(files->patience_ms / 1000),
                (unsigned long long)(files->patience_ms % 1000));
    fprintf(out, "uptime: %llu.%03llu s\n", (unsigned long long)(uptime / 1000),
            (unsigned long long)(uptime % 1000));
}

static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP pyrmapfs_%s %s\n# TYPE pyrmapfs_%s %s\n", name, help, name, type);
}

static void print_metric(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    print_head(out, name, type, help);
    fprintf(out, "pyrmapfs_%s %llu\n", name, (unsigned long long)value);
}

static void print_histogram(FILE *out, const char *name, const char *help, const struct histogram *histogram)
{
    uint64_t count = 0;

    print_head(out, name, "histogram", help);
    for (unsigned n = 0; n < HISTOGRAM_BOUNDS; n++) {
        count += histogram->counts[n];
        fprintf(out, "pyrmapfs_%s_bucket{le=\"%g\"} %llu\n", name, (double)histogram_bound_us(n) / 1e6,
                (unsigned long long)count);
    }
    count += histogram->counts[HISTOGRAM_BOUNDS];
    fprintf(out, "pyrmapfs_%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)count);
    fprintf(out, "pyrmapfs_%s_sum %.6f\n", name, (double)histogram->sum_us / 1e6);
    fprintf(out, "pyrmapfs_%s_count %llu\n", name, (unsigned long long)count);
}

/* The label of a job is not called job: that is what Prometheus calls its own jobs. */
static void print_label(FILE *out, const char *metric, const struct quota_share *share)
{
    if (!share->job[0]) {
        fprintf(out, "pyrmapfs_user_%s{uid=\"%u\"} ", metric, (unsigned)share->uid);
        return;
    }
    fprintf(out, "pyrmapfs_job_%s{made_in=\"", metric);
    for (const char *at = share->job; *at; at++)
        fprintf(out, *at == '\\' || *at == '"' ? "\\%c" : "%c", *at);
    fputs("\"} ", out);
}

static void print_count(void *context, const struct quota_share *share)
{
    print_label(context, "slots", share);
    fprintf(context, "%u\n", share->slots);
}

static void print_charge(void *context, const struct quota_share *share)
{
    print_label(context, "bytes", share);
    fprintf(context, "%llu\n", (unsigned long long)share->bytes);
}

static const char *const path_names[] = {
    [DATA_PATH_PAGE_CACHE] = "page cache",
    [DATA_PATH_PASSTHROUGH] = "passthrough",
    [DATA_PATH_LINKS] = "links",
};

static void print_metrics(const struct daemon_files *files, FILE *out)
{
    const struct exchange *exchange = files->exchange;
    const struct slots *slots = exchange_slots(exchange);
    const struct exchange_counts *counts = exchange_counts(exchange);
    struct ledger_usage usage;

    arena_usage(exchange_arena(exchange), &usage);
    print_head(out, "info", "gauge", "What serves this mount.");
    fprintf(out, "pyrmapfs_info{version=\"%s\",path=\"%s\",arena=\"%s\"} 1\n", PYRMAPFS_VERSION,
            path_names[exchange_data_path(exchange)], arena_kind_name(arena_kind(exchange_arena(exchange))));
    print_metric(out, "capacity_bytes", "gauge", "Size of the arena.", usage.capacity);
    print_metric(out, "used_bytes", "gauge", "Bytes of the arena in use.", usage.used);
    print_metric(out, "warm_bytes", "gauge", "Bytes kept allocated for new segments.", usage.warm);
    print_metric(out, "files_bytes", "gauge", "Bytes of the daemon's own files: index, texts, record pages.",
                 usage.files);
    print_metric(out, "free_bytes", "gauge", "Bytes of the arena that new segments can have.",
                 free_bytes(&usage));
    print_head(out, "slots", "gauge", "Slots by state of their handshake.");
    for (int state = 0; state < HANDSHAKE_STATES; state++)
        fprintf(out, "pyrmapfs_slots{state=\"%s\"} %u\n", handshake_state_name((enum handshake_state)state),
                slots_in_state(slots, (enum handshake_state)state));
    print_metric(out, "slots_limit", "gauge", "The most slots in all.", slots_limit(slots));
    print_head(out, "user_slots", "gauge", "Slots of each user.");
    quota_visit(exchange_quota(exchange), QUOTA_USER, print_count, out);
    print_head(out, "user_bytes", "gauge", "Bytes of the arena that each user is charged for.");
    quota_visit(exchange_quota(exchange), QUOTA_USER, print_charge, out);
    print_head(out, "job_slots", "gauge", "Slots of each job: see job in metadata.txt.");
    quota_visit(exchange_quota(exchange), QUOTA_JOB, print_count, out);
    print_head(out, "job_bytes", "gauge", "Bytes of the arena that each job is charged for.");
    quota_visit(exchange_quota(exchange), QUOTA_JOB, print_charge, out);
    print_metric(out, "rounds_total", "counter", "Published results.", counts->rounds);
    print_histogram(out, "wait_seconds", "How long requests were parked, however that ended.",
                    &counts->waiting);
    print_histogram(out, "publish_seconds", "From a publish to its answer.", files->publishing);
    print_histogram(out, "compute_seconds", "From the beginning of a result to the outcome of the round.",
                    &counts->computing);
    print_head(out, "refusals_total", "counter", "Refused operations by errno.");
    for (size_t error = 0; error < EXCHANGE_ERRNOS; error++) {
        if (!counts->refusals_by_errno[error])
            continue;
        fputs("pyrmapfs_refusals_total{errno=\"", out);
        report_errno((int)error, out);
        fprintf(out, "\"} %llu\n", (unsigned long long)counts->refusals_by_errno[error]);
    }
    print_head(out, "requests_total", "counter", "Requests of the kernel by kind.");
    for (size_t kind = 0; kind < files->request_kinds; kind++)
        fprintf(out, "pyrmapfs_requests_total{op=\"%s\"} %llu\n", files->request_names[kind],
                (unsigned long long)files->request_counts[kind]);
    print_metric(out, "waiters", "gauge", "Parked requests.", counts->waiters);
    print_metric(out, "takeovers_total", "counter", "Servers that died and were replaced by another one.",
                 *files->takeovers);
    print_histogram(out, "takeover_seconds", "From the death of a server until another one serves.",
                    files->takeover_times);
    print_head(out, "uptime_seconds", "gauge", "Since the mount.");
    fprintf(out, "pyrmapfs_uptime_seconds %.3f\n", (double)(deadline_now_ms() - files->started_ms) / 1000.0);
}

static void print_config(const struct daemon_files *files, FILE *out)
{
    conf_print(files->conf, out);
}

/* A row has one of the two: a text that is printed at once, or a drawing. `events` has neither. */
static const struct {
    const char *name;
    void (*print)(const struct daemon_files *files, FILE *out);
    enum graph_kind drawing;
} rows[] = {
    {"status", print_status, 0}, {"metrics", print_metrics, 0}, {"config", print_config, 0},
    {"graph", NULL, GRAPH_DOT},  {"chains", NULL, GRAPH_TREE},  {"events", NULL, GRAPH_KINDS},
};

enum { FILES = sizeof(rows) / sizeof(rows[0]) };

const char *daemon_files_name(unsigned number)
{
    return number >= 1 && number <= FILES ? rows[number - 1].name : NULL;
}

unsigned daemon_files_find(const char *name)
{
    for (unsigned i = 0; i < FILES; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return i + 1;
    }
    return 0;
}

bool daemon_files_is_events(unsigned number)
{
    return daemon_files_name(number) && !rows[number - 1].print && rows[number - 1].drawing == GRAPH_KINDS;
}

static struct snapshot *print(const struct daemon_files *files, unsigned number)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    rows[number - 1].print(files, out);
    if (fclose(out) == 0)
        return snapshot_new(text, size);
    free(text);
    return NULL;
}

enum drawing_progress daemon_files_get(struct daemon_files *files, unsigned number, struct drawing_wait *wait)
{
    struct snapshot *text;

    if (!daemon_files_name(number) || daemon_files_is_events(number)) {
        wait->ready(wait, -ESTALE, NULL);
        return DRAWING_READY;
    }
    if (!rows[number - 1].print)
        return drawing_get(&files->drawings[rows[number - 1].drawing], wait);
    text = print(files, number);
    wait->ready(wait, text ? 0 : -ENOMEM, text);
    snapshot_forget(text);
    return DRAWING_READY;
}

size_t daemon_files_size(const struct daemon_files *files, unsigned number)
{
    if (!daemon_files_name(number) || daemon_files_is_events(number))
        return 0;
    if (!rows[number - 1].print)
        return drawing_size(&files->drawings[rows[number - 1].drawing]);
    return rows[number - 1].print == print_config ? files->config_size : 0;
}

void daemon_files_closed(struct daemon_files *files)
{
    for (int kind = 0; kind < GRAPH_KINDS; kind++)
        drawing_closed(&files->drawings[kind]);
}

void daemon_files_init(struct daemon_files *files, struct turn_queue *turns)
{
    struct snapshot *config = print(files, daemon_files_find("config"));

    for (int kind = 0; kind < GRAPH_KINDS; kind++)
        drawing_init(&files->drawings[kind], (enum graph_kind)kind, exchange_slots(files->exchange), turns);
    files->config_size = config ? snapshot_size(config) : 0;
    snapshot_forget(config);
}

void daemon_files_deinit(struct daemon_files *files)
{
    for (int kind = 0; kind < GRAPH_KINDS; kind++)
        drawing_deinit(&files->drawings[kind]);
}
