// SPDX-License-Identifier: Apache-2.0
#include "fuse/journal.h"

/* The kernel marks a request that it sends again by this bit of its number (FUSE_UNIQUE_RESEND). */
static uint64_t plain(uint64_t unique)
{
    return unique & ~(UINT64_C(1) << 63);
}

void journal_init(struct journal *journal, struct session *session)
{
    *journal = (struct journal){.session = session, .head = session_head(session)};
    journal->current = journal->head->current;
    journal->retried = journal->head->retried;
}

static void clear(struct session_cell *cell)
{
    __atomic_store_n(&cell->unique, 0, __ATOMIC_RELEASE);
    cell->serial = 0;
}

/* The slot is not there any more if the request removed it; then it is asked for names, not for changes. */
static bool was_done(struct slots *slots, const struct session_cell *cell)
{
    const struct slot *slot = cell->serial ? slot_at(slots, cell->slot) : NULL;

    return slot && slot->serial == cell->serial && slot->record.change != cell->change;
}

static uint32_t note(struct journal *journal, uint64_t unique, enum session_known known)
{
    uint32_t number = keep_take(&journal->session->known);
    struct session_known_request *request;

    if (number == KEEP_NONE)
        return KEEP_NONE;
    request = keep_fresh(&journal->session->known, number);
    request->known = known;
    __atomic_store_n(&request->unique, plain(unique), __ATOMIC_RELEASE);
    return number;
}

static bool is_known(const struct journal *journal, uint64_t unique, enum session_known known)
{
    const struct session_known_request *request;

    unique = plain(unique);
    for (uint32_t i = 0; (request = keep_next(&journal->session->known, &i)); i++) {
        if (request->unique == unique && request->known == known)
            return true;
    }
    return false;
}

void journal_look(struct journal *journal, struct slots *slots, enum journal_death how)
{
    enum { WEIGHT_OF_KILL = 1, WEIGHT_OF_CRASH = 5, POISON = 10 };
    const uint32_t weight = how == JOURNAL_CRASHED ? WEIGHT_OF_CRASH : WEIGHT_OF_KILL;
    struct session_head *head = journal->head;
    const struct session_cell current = journal->current, retried = journal->retried;

    if (was_done(slots, &current))
        note(journal, current.unique, SESSION_DONE);
    if (was_done(slots, &retried))
        note(journal, retried.unique, SESSION_DONE);
    if (current.unique)
        note(journal, current.unique, SESSION_DOUBTFUL);
    if (current.unique && head->suspect == current.unique) {
        head->deaths += weight;
    } else {
        head->suspect = current.unique;
        head->deaths = current.unique ? weight : 0;
    }
    journal->poison = head->deaths >= POISON ? head->suspect : 0;
    /* From here on the slots change: the cells would tell the next server of other changes than their requests'. */
    clear(&head->current);
    clear(&head->retried);
}

/* Sets unique last: before, the cell tells nothing. */
static void aim(struct session_cell *cell, struct slots *slots, const struct slot *slot, uint64_t unique)
{
    clear(cell);
    if (slot) {
        cell->slot = slot_index(slots, slot);
        cell->change = slot->record.change;
        cell->serial = slot->serial;
    }
    __atomic_store_n(&cell->unique, unique, __ATOMIC_RELEASE);
}

void journal_begin(struct journal *journal, uint64_t unique)
{
    journal->serving = plain(unique);
    aim(&journal->head->current, NULL, NULL, journal->serving);
}

void journal_end(struct journal *journal)
{
    journal->serving = 0;
    clear(&journal->head->current);
}

void journal_try(struct journal *journal, struct slots *slots, const struct slot *slot)
{
    aim(&journal->head->current, slots, slot, journal->serving);
}

void journal_try_again(struct journal *journal, struct slots *slots, const struct slot *slot, uint64_t unique)
{
    aim(&journal->head->retried, slots, slot, plain(unique));
}

void journal_tried_again(struct journal *journal)
{
    clear(&journal->head->retried);
}

uint32_t journal_hold(struct journal *journal, uint64_t unique)
{
    return note(journal, unique, SESSION_DONE);
}

void journal_drop(struct journal *journal, uint32_t number)
{
    keep_drop(&journal->session->known, number);
}

bool journal_was_done(const struct journal *journal, uint64_t unique)
{
    return is_known(journal, unique, SESSION_DONE);
}

bool journal_is_doubtful(const struct journal *journal, uint64_t unique)
{
    return is_known(journal, unique, SESSION_DOUBTFUL);
}

bool journal_is_poison(const struct journal *journal, uint64_t unique)
{
    return journal->poison && journal->poison == plain(unique);
}

void journal_sweep(struct journal *journal, bool (*has_answer)(void *context, uint64_t unique), void *context)
{
    const struct session_known_request *request;

    for (uint32_t i = 0; (request = keep_next(&journal->session->known, &i)); i++) {
        if (has_answer(context, request->unique))
            keep_drop(&journal->session->known, i);
    }
}
