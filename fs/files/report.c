// SPDX-License-Identifier: Apache-2.0
#include "files/report.h"

#include "base/deadline.h"
#include "exchange/chain.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include "files/shown.h"
#include "protocol/record_text.h"
#include "slot/handle.h"
#include <string.h>
#include <sys/wait.h>
#include <time.h>

void report_errno(int error, FILE *out)
{
    const char *name = strerrorname_np(error);

    if (name)
        fputs(name, out);
    else
        fprintf(out, "%d", error);
}

void report_name(const char *name, FILE *out)
{
    for (; *name; name++) {
        unsigned char byte = (unsigned char)*name;
        if (byte <= 0x20 || byte >= 0x7f || byte == '\\' || byte == '"')
            fprintf(out, "\\x%02x", byte);
        else
            putc(byte, out);
    }
}

static void report_time(const char *key, const struct timespec *when, FILE *out)
{
    struct tm parts;
    char text[40];

    gmtime_r(&when->tv_sec, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    fprintf(out, "%s%s.%03ldZ", key, text, when->tv_nsec / 1000000);
}

/* Thousands may have a slot open; a reader wants to see a page of them. */
enum { LINES_OF_A_KIND = 100 };

static void report_more(const char *key, uint32_t count, FILE *out)
{
    if (count > LINES_OF_A_KIND)
        fprintf(out, "%s=%u\n", key, count - LINES_OF_A_KIND);
}

static void report_handles(const struct slot *slot, FILE *out)
{
    unsigned count = 0;

    for (const struct handle *handle = slot->handles; handle && count < LINES_OF_A_KIND;
         handle = handle->next, count++)
        fprintf(out, "open=%d %s %c\n", handle->process, slot_file_name(handle->file),
                handle->access == HANDLE_WRITES ? 'w' : 'r');
    report_more("open_more", slot->handle_count, out);
}

static enum slot_file file_of_event(enum handshake_event event)
{
    switch (event) {
    case EVENT_OPEN_INPUT_WRITE:
    case EVENT_OPEN_INPUT_READ:
    case EVENT_RESIZE_INPUT:
    case EVENT_GIVE_INPUT:
        return SLOT_DATA_BIN;
    case EVENT_OPEN_RESULT_WRITE:
    case EVENT_OPEN_RESULT_READ:
    case EVENT_RESIZE_RESULT:
    case EVENT_TAKE_RESULT:
        return SLOT_RESULT_BIN;
    case EVENT_FLAG_INPUT:
    case EVENT_FLAG_RESULT:
    case EVENT_FLAG_FAILED:
    case EVENT_FLAG_NONE:
    case EVENT_PUT_INPUT:
    case EVENT_PUT_RESULT:
    case EVENT_EDIT_INPUT:
    case EVENT_EDIT_RESULT:
    case EVENT_UNLINK:
    case EVENT_LINK:
    case EVENT_FOLLOW_INPUT:
    case EVENT_FOLLOW_RESULT:
    case EVENT_DELIVER:
    case EVENT_SOURCE_FAILED:
    case EVENT_SOURCE_RETRIES:
    case EVENT_SOURCE_REMOVED:
    case EVENT_OUTCOME_READ:
    case EVENT_WORKER_DIED:
    case EVENT_RESTART:
    case EVENT_LOST:
    case HANDSHAKE_EVENTS:
        break;
    }
    return SLOT_METADATA_BIN;
}

static void report_waiter(const struct wait *wait, FILE *out)
{
    uint64_t waited = (deadline_now_us() - wait->since_us) / 1000;

    fprintf(out, "waiting=%d %s %llu.%03llus ", wait->process, slot_file_name(file_of_event(wait->event)),
            (unsigned long long)(waited / 1000), (unsigned long long)(waited % 1000));
    fprintf(out, "%s\n", wait->reason);
}

static void report_waiters(const struct slot *slot, FILE *out)
{
    const struct wait *wait;
    unsigned count = 0;

    LIST_FOREACH (wait, &slot->waiters, link) {
        if (++count > LINES_OF_A_KIND)
            break;
        report_waiter(wait, out);
    }
    report_more("waiting_more", slot->wait_count, out);
}

static void report_status(int status, FILE *out)
{
    const char *name =
        status != PROCESS_STATUS_UNKNOWN && WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;

    if (name)
        fprintf(out, "SIG%s\n", name);
    else if (status != PROCESS_STATUS_UNKNOWN && WIFEXITED(status))
        fprintf(out, "%d\n", WEXITSTATUS(status));
    else
        fputs("unknown\n", out);
}

static void report_failure(const struct slot_failure *failed, FILE *out)
{
    switch ((enum slot_cause)failed->cause) {
    case CAUSE_NONE:
        break;
    case CAUSE_CLIENT:
        fputs("failure=client\n", out);
        break;
    case CAUSE_WORKER:
        fprintf(out, "failure=worker-died pid=%d status=", failed->pid);
        report_status(failed->status, out);
        break;
    case CAUSE_SOURCE:
        fputs("failure=source ", out);
        report_name(failed->source, out);
        putc('\n', out);
        break;
    case CAUSE_DAMAGE:
        fputs("failure=damage\n", out);
        break;
    case SLOT_CAUSES:
        break;
    case CAUSE_RESTART:
        fputs("failure=restart\n", out);
        break;
    }
}

static void report_refusal(const struct slot *slot, FILE *out)
{
    const struct slot_refusal *refusal = &slot->refusal;

    if (refusal->error) {
        report_time("refused=", &refusal->when, out);
        fprintf(out, " %d %s ", refusal->pid, refusal->operation);
        report_errno(refusal->error, out);
        fprintf(out, " %s\n", refusal->reason);
    }
    fprintf(out, "refusals=%llu\n", (unsigned long long)slot->refusals);
}

static void report_bundle(struct exchange *exchange, const struct slot *slot, enum record_side side,
                          const char *key, FILE *out)
{
    struct bundle bundle;
    struct shown shown;
    int result;

    if (!shown_is(slot, side) || record_half(&slot->record, side).dtype != RECORD_BUNDLE)
        return;
    result = shown_bundle(exchange, slot, side, &shown, &bundle);
    if (result == 0)
        fprintf(out, "%s=%zu\n", key, bundle_entries(&bundle));
    else
        fprintf(out, "%s=damaged: %s\n", key, bundle.fault[0] ? bundle.fault : "its bytes cannot be read");
    bundle_close(&bundle);
}

static void report_array(struct exchange *exchange, const struct slot *slot, enum record_side side,
                         const char *name, FILE *out)
{
    const struct slot_traffic *traffic = slot_traffic(slot, side);
    uint64_t size, allocated, in_place;

    step_array_stat(exchange, slot, side, &size, &allocated);
    fprintf(out, "%s_size=%llu\n", name, (unsigned long long)size);
    if (!traffic)
        return;
    in_place = traffic->in_place * size;
    fprintf(out, "%s_copied=%llu\n%s_in_place=%llu\n", name, (unsigned long long)traffic->copied, name,
            (unsigned long long)in_place);
}

void report_slot(struct exchange *exchange, const struct slot *slot, FILE *out)
{
    char text[RECORD_TEXT_MAX];

    fprintf(out, "state=%s\n", handshake_state_name(slot_state(slot)));
    record_text_format(&slot->record, text, sizeof(text));
    fputs(text, out);
    report_time("since=", &slot->entered, out);
    putc('\n', out);
    report_array(exchange, slot, RECORD_SIDE_INPUT, "data", out);
    report_array(exchange, slot, RECORD_SIDE_RESULT, "result", out);
    report_bundle(exchange, slot, RECORD_SIDE_INPUT, "input_entries", out);
    report_bundle(exchange, slot, RECORD_SIDE_RESULT, "result_entries", out);
    if (slot->job[0])
        fprintf(out, "job=%s\n", slot->job);
    if (slot->owner)
        fprintf(out, "owner=%d\n", slot->owner);
    if (slot->worker)
        fprintf(out, "worker=%d\n", slot->worker);
    if (slot->source) {
        char target[CHAIN_TARGET_MAX];
        chain_target(exchange, slot, target);
        fputs("source=", out);
        report_name(target, out);
        putc('\n', out);
    }
    if (slot_state(slot) == STATE_FAILED)
        report_failure(&slot->failed, out);
    report_handles(slot, out);
    report_waiters(slot, out);
    report_refusal(slot, out);
}
