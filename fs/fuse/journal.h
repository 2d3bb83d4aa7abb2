// SPDX-License-Identifier: Apache-2.0
/*
 * journal.h - what became of the requests that had no answer when a server was killed.
 *
 * The kernel sends them again. Most of them had changed nothing, or change nothing more. These are the others:
 *
 *   current   the one request that the loop was serving: it was done, or not
 *   retried   the parked write that the loop was trying again meanwhile: the same
 *   held      writes that were done and whose answer waits until a slot is at rest
 *
 * Whether a write of the record was done we see from the slot: each step changes record.change, in the same
 * step, so we note its value before we try. Names tell for themselves: what mkdir was to make is there. What we
 * know stays in the session until the request has its answer, for the next server can be killed as well before
 * that.
 *
 * A request that two servers crashed at gets EIO instead of a third. SIGKILL may come from anywhere, so it takes
 * ten of these.
 */
#ifndef PYRMAPFS_JOURNAL_H
#define PYRMAPFS_JOURNAL_H

#include "fuse/session.h"
#include <stdbool.h>

struct exchange;

struct journal {
    struct session *session;
    struct session_head *head;
    uint64_t serving;                     /* the request that the loop serves; 0: none */
    struct session_cell current, retried; /* as the last server left them */
    uint64_t poison;                      /* the one that two servers died of; 0: none */
};

/* Starts a journal, or goes on with one. Call it before the first request. */
void journal_init(struct journal *journal, struct session *session);
/* Call it after a takeover, once the index is there and before any step: finds out what was done. `how` it ended. */
enum journal_death { JOURNAL_CRASHED, JOURNAL_KILLED, JOURNAL_HANDED_OVER };
void journal_look(struct journal *journal, struct slots *slots, enum journal_death how);

/* Around each request that the loop serves. */
void journal_begin(struct journal *journal, uint64_t unique);
void journal_end(struct journal *journal);
/* Before a write of the record is tried, for the first time or again; and after that. */
void journal_try(struct journal *journal, struct slots *slots, const struct slot *slot);
void journal_try_again(struct journal *journal, struct slots *slots, const struct slot *slot,
                       uint64_t unique);
void journal_tried_again(struct journal *journal);

/* Notes a write that was done; returns its number for journal_drop, which its answer makes obsolete. */
uint32_t journal_hold(struct journal *journal, uint64_t unique);
void journal_drop(struct journal *journal, uint32_t number);

/*
 * Of a request that the kernel sends again: whether it was done, and whether a server was serving it when it died.
 * Linear in what is known.
 */
bool journal_was_done(const struct journal *journal, uint64_t unique);
bool journal_is_doubtful(const struct journal *journal, uint64_t unique);
bool journal_is_poison(const struct journal *journal, uint64_t unique);
/* Forgets the requests that have their answer. */
void journal_sweep(struct journal *journal, bool (*has_answer)(void *context, uint64_t unique),
                   void *context);

#endif
