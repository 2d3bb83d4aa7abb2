// SPDX-License-Identifier: Apache-2.0
#include "exchange/refuse.h"

#include "base/log.h"
#include "exchange/shared.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * Rate-limit refusals so that a client retrying in a loop cannot flood the log. EAGAIN (polling) is logged at
 * debug only.
 */
static enum log_level refusal_level(struct exchange *exchange, int error)
{
    enum { LINES_A_SECOND = 20 };
    uint64_t second = deadline_now_ms() / 1000;

    if (error == EAGAIN)
        return LOG_LEVEL_DEBUG;
    if (second != exchange->log_second) {
        if (exchange->log_lines > LINES_A_SECOND)
            log_info("%u more refusals were not logged", exchange->log_lines - LINES_A_SECOND);
        exchange->log_second = second;
        exchange->log_lines = 0;
    }
    return ++exchange->log_lines > LINES_A_SECOND ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
}

static int refuse(struct exchange *exchange, const char *name, uid_t uid, uint64_t round,
                  const struct caller *caller, const char *operation, int result, const char *reason)
{
    size_t kind = (size_t)-result;

    if (events_wanted(&exchange->events))
        events_of_refusal(&exchange->events, name, uid, round, caller, operation, -result, reason);
    exchange->counts.refusals++;
    if (kind < EXCHANGE_ERRNOS)
        exchange->counts.refusals_by_errno[kind]++;
    log_about(refusal_level(exchange, -result), &(struct log_subject){name, round, -result},
              "%s: refused to %s for process %d: %s (%s)", name, operation, (int)caller->process,
              strerror(-result), reason);
    return result;
}

int refuse_by_name(struct exchange *exchange, const char *name, const struct caller *caller,
                   const char *operation, int result, const char *reason)
{
    return refuse(exchange, name, caller->uid, 0, caller, operation, result, reason);
}

int refuse_operation(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                     const char *operation, int result, const char *reason)
{
    struct slot_refusal *refusal = &slot->refusal;

    slot_mark(slot);
    slot->refusals++;
    clock_gettime(CLOCK_REALTIME, &refusal->when);
    refusal->pid = caller->process;
    refusal->error = -result;
    snprintf(refusal->operation, sizeof(refusal->operation), "%s", operation);
    snprintf(refusal->reason, sizeof(refusal->reason), "%s", reason);
    return refuse(exchange, slot->name, slot->uid, slot->record.round, caller, operation, result, reason);
}

int refuse_event(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                 enum handshake_event event, int result, const char *reason)
{
    return refuse_operation(exchange, slot, caller, handshake_event_name(event), result, reason);
}

const char *refuse_what_is_lacking(const struct exchange *exchange, int result)
{
    switch (-result) {
    case EDQUOT:
        return exchange->share_reason;
    case EMFILE:
    case ENFILE:
        return "the daemon has no file descriptor left: raise its limit of open files (LimitNOFILE=)";
    case ENOMEM:
        return "the daemon has no memory left";
    case ENOSPC:
        return "the arena is full";
    default:
        return "the arena cannot give the array its pages";
    }
}
