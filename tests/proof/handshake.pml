/* SPDX-License-Identifier: Apache-2.0
 *
 * handshake.pml - the slots and the daemon: what a request does, and what follows from it along the chains.
 *
 * The table of protocol/handshake.c, each state against each event, stands in table.pml, which tests/proof/table.c writes by
 * asking handshake_judge: it is the shipped one, and check.pml compares them. Here stand the facts that the table asks for, the checks and effects that it
 * names, and the queue of fs/exchange/run.c: the names are those of step.c, chain.c, run.c, array.c and publish.c. What the
 * clients do stands in anybody.pml and stream.pml, each of which includes this file.
 *
 * For clients a step is one step, so all that follows from a request happens in one transition. The model leaves out what
 * decides nothing about turns: bytes, sizes, records that do not fit (they are refused and change nothing), quotas, the disk.
 * An open file and a mapping are the same thing here, because the daemon asks the kernel for both. A client has one of them
 * at a time.
 *
 * Numbers are replaced by what they are compared for: `took` says whether what a follower took last is what its source has
 * now. Pages are numbered anew after each step, because only which names and clients share them matters. So the model has no
 * bound on rounds.
 *
 * What is proved stands in assertions, each with a word in front: LOST, DOUBLED, UNPUBLISHED, FORGOTTEN.
 */

#include "judge.pml"

#define NONE      0

/* The shapes of chains. Slots are A = 0, B = 1, C = 2. */
#define CHAIN     1 /* A/result.bin -> B, B/result.bin -> C */
#define FORK      2 /* A/result.bin -> B and C */
#define SHARED    3 /* A/result.bin -> B, B/data.bin -> C */
#define WORKERS   4 /* A/data.bin -> B and C */

#ifndef SLOTS
#define SLOTS     3
#endif
#define CLIENTS   (2 * SLOTS)
#define OF(c)     ((c) / 2) /* the slot of a client */

#define INPUT     0
#define RESULT    1

#define HAS_SOURCE(s)  ((s) > 0)
#if SHAPE == CHAIN
#define SOURCE(s)      ((s) - 1)
#define SIDE(s)        RESULT
#elif SHAPE == FORK
#define SOURCE(s)      0
#define SIDE(s)        RESULT
#elif SHAPE == SHARED
#define SOURCE(s)      ((s) - 1)
#define SIDE(s)        ((s) == 2 -> INPUT : RESULT)
#elif SHAPE == WORKERS
#define SOURCE(s)      0
#define SIDE(s)        INPUT
#endif
/* Nobody follows the slot's result: a reader takes it. */
#if SHAPE == CHAIN
#define IS_END(s)      ((s) == SLOTS - 1)
#else
#define IS_END(s)      HAS_SOURCE(s)
#endif
#define FOLLOWS(f, s)  (HAS_SOURCE(f) && SOURCE(f) == (s))

/* --- what there is --- */

/* What a slot took last from its source is... */
#define TOOK_OLD       0 /* nothing that the source has now */
#define TOOK_ARRAY     1 /* the array that it has now */
#define TOOK_FAILURE   2 /* its failure */
#define TOOK_RECALLED  3 /* the failure that it took back last, to try again */

byte state[SLOTS];          /* struct slot */
bool has_input[SLOTS];
bool failure[SLOTS];
bool by_source[SLOTS];
bool outcome_taken[SLOTS];
byte took[SLOTS];
byte filler[SLOTS];         /* a client + 1 */

#define NAMES          (2 * SLOTS)
#define NAME(s, side)  (2 * (s) + (side))
#define PAGES          (NAMES + CLIENTS + 1)
byte pages[NAMES];          /* behind each data.bin and result.bin; NONE: empty */
short published;            /* a bit for each of them */
#define IS_PUBLISHED(p) ((published >> (p)) & 1)

#define WRITES         1
#define READS          2
#define READS_OWN      3 /* as the process that fills data.bin */
byte holds[CLIENTS];        /* what a client has open or mapped, if anything */
byte held[CLIENTS];         /* these pages */
byte parked[CLIENTS];       /* the event that waits; opening data.bin for writing, event 0, never does */

/* Not an event of the table: EVENT_FLAG_RESULT with a result_length of 0. */
#define EVENT_FLAG_RESULT_0 HANDSHAKE_EVENTS

/* A follower has not taken yet what its source has offered. */
bool owed[SLOTS];

#define IS_OVER(s) (state[s] == STATE_DONE || state[s] == STATE_FAILED)

/* --- the queue; it is empty between two steps --- */

chan line = [SLOTS] of { byte };
bool queued[SLOTS];

inline queue(q) {
    if
    :: !queued[q] -> queued[q] = 1; line!q
    :: else
    fi
}

/* --- the table --- */

/* Whether taking it would change anything. */
#define IS_CHANGE(s, step)       (VERDICT(step) == VERDICT_PROCEED && (NEXT(step) != state[s] || EFFECTS(step)))

hidden short facts;
hidden int step, judged, pulled;

/* The facts that the slot itself tells: step_judge. */
#define FACTS(s) ((HAS_SOURCE(s) -> FACT_FED : 0) | (has_input[s] -> FACT_HAS_INPUT : 0) | \
                  (failure[s] -> FACT_FAILURE : 0) | (by_source[s] -> FACT_BY_SOURCE : 0))

/* --- chains: chain.c --- */

hidden byte w, f1, f2, f3, f4, f5, n1, c1, c2, c3;
hidden byte is_taken, followed, is_free, ready, pulls, is_read;
hidden byte offer;
#define OFFER_NOTHING 0
#define OFFER_ARRAY   1
#define OFFER_FAILURE 2

/* -> is_taken: the outcome went to every follower, or at the end of a chain to a reader. Between two rounds: the last failure. */
inline outcome_was_taken(s) {
    is_taken = true;
    followed = false;
    f1 = 0;
    do
    :: f1 < SLOTS ->
        if
        :: FOLLOWS(f1, s) && (SIDE(f1) == RESULT || (state[s] == STATE_FAILED && !has_input[s])) ->
            is_taken = is_taken && (state[s] == STATE_DONE -> took[f1] == TOOK_ARRAY : took[f1] == TOOK_FAILURE || !failure[s]);
            followed = followed || SIDE(f1) == RESULT
        :: else
        fi;
        f1++
    :: else -> break
    od;
    is_taken = is_taken && (followed || outcome_taken[s] || !IS_OVER(s))
}

/* -> is_free: the slot can take an input. */
inline find_free(s) {
    outcome_was_taken(s);
    facts = FACTS(s) | (is_taken -> FACT_TAKEN : 0);
    judged = JUDGE_EVENT_DELIVER(state[s], facts);
    is_free = VERDICT(judged) == VERDICT_PROCEED
}

/* -> ready: all that follow this array can take a new one, and all that share the input of these. Those that have the
 * array already do not count, if it is still the same: `again`. */
inline followers_ready(s, side, again) {
    ready = true;
    f2 = 0;
    do
    :: f2 < SLOTS ->
        if
        :: FOLLOWS(f2, s) && SIDE(f2) == side && !(again && took[f2] == TOOK_ARRAY) ->
            find_free(f2);
            ready = ready && is_free;
            f3 = 0;
            do
            :: f3 < SLOTS ->
                if
                :: FOLLOWS(f3, f2) && SIDE(f3) == INPUT -> find_free(f3); ready = ready && is_free
                :: else
                fi;
                f3++
            :: else -> break
            od
        :: else
        fi;
        f2++
    :: else -> break
    od
}

/* -> ready: all that follow the result have the last round's failure. */
inline failure_taken(s) {
    ready = true;
    f2 = 0;
    do
    :: f2 < SLOTS ->
        if
        :: FOLLOWS(f2, s) && SIDE(f2) == RESULT && failure[s] -> ready = ready && took[f2] == TOOK_FAILURE
        :: else
        fi;
        f2++
    :: else -> break
    od
}

/* -> pulls, offer, pulled: what the slot would take from its source now. */
inline find_pull(s) {
    pulls = false;
    offer = OFFER_NOTHING;
    facts = FACTS(s);
    pulled = JUDGE_EVENT_SOURCE_RETRIES(state[s], facts);
    if
    :: took[s] == TOOK_RECALLED && IS_CHANGE(s, pulled) -> pulls = true
    :: else ->
        facts = FACTS(SOURCE(s));
        judged = (SIDE(s) == INPUT -> JUDGE_EVENT_FOLLOW_INPUT(state[SOURCE(s)], facts)
                                    : JUDGE_EVENT_FOLLOW_RESULT(state[SOURCE(s)], facts));
        offer = (VERDICT(judged) == VERDICT_PROCEED && took[s] != TOOK_ARRAY -> OFFER_ARRAY :
                 (VERDICT(judged) == VERDICT_REFUSE && took[s] != TOOK_FAILURE -> OFFER_FAILURE : OFFER_NOTHING));
        outcome_was_taken(s);
        facts = FACTS(s) | (is_taken -> FACT_TAKEN : 0);
        pulled = (offer == OFFER_ARRAY -> JUDGE_EVENT_DELIVER(state[s], facts) :
                  (offer == OFFER_FAILURE -> JUDGE_EVENT_SOURCE_FAILED(state[s], facts) : WAIT));
        pulls = VERDICT(pulled) == VERDICT_PROCEED;
        if
        :: pulls && (CHECKS(pulled) & CHECK_INPUT_FOLLOWERS) -> followers_ready(s, INPUT, true); pulls = ready
        :: else
        fi
    fi
}

inline pull(s) {
    find_pull(s);
    if
    :: pulls ->
        if
        :: offer == OFFER_NOTHING -> take(s, pulled, false)
        :: else ->
            assert(owed[s]); /* DOUBLED: a follower takes what it has taken already */
            if
            :: IS_OVER(s) ->
                outcome_was_taken(s);
                assert(is_taken) /* LOST: the source overwrites an outcome that nobody has taken */
            :: else
            fi;
            owed[s] = false;
            took[s] = (offer == OFFER_ARRAY -> TOOK_ARRAY : TOOK_FAILURE);
            take(s, pulled, true);
            if
            :: EFFECTS(pulled) & EFFECT_FAILURE -> by_source[s] = true
            :: else ->
                pages[NAME(s, INPUT)] = pages[NAME(SOURCE(s), SIDE(s))];
                LABEL_INPUT(s)
            fi
        fi;
        announce(s, pulled);
        if
        :: offer != OFFER_NOTHING -> queue(SOURCE(s))
        :: else
        fi
    :: else
    fi
}

/* --- steps: step.c --- */

/* The state and arrays change. from_source: no client of the slot has asked for it. */
hidden short does;

inline take(s, taken, from_source) {
    does = EFFECTS(taken);
    f4 = 0;
    do
    :: f4 < SLOTS ->
        if
        :: FOLLOWS(f4, s) ->
            if
            :: ((does & EFFECT_FRESH_INPUT) && SIDE(f4) == INPUT) || ((does & EFFECT_FRESH_RESULT) && SIDE(f4) == RESULT) ->
                if
                :: took[f4] == TOOK_ARRAY -> took[f4] = TOOK_OLD
                :: else
                fi;
                if
                :: SIDE(f4) == INPUT ->
                    assert(!(from_source && owed[f4])); /* LOST: an input goes that a follower has not taken */
                    owed[f4] = false /* a client has withdrawn it */
                :: else
                fi
            :: else
            fi;
            if
            :: does & EFFECT_RECALL ->
                if
                :: took[f4] == TOOK_FAILURE -> took[f4] = TOOK_RECALLED
                :: took[f4] == TOOK_RECALLED -> took[f4] = TOOK_OLD
                :: else
                fi;
                owed[f4] = owed[f4] && !failure[s] /* a client tries the input again, and that is its outcome */
            :: else ->
                if
                :: (does & (EFFECT_INPUT | EFFECT_FAILURE)) && took[f4] == TOOK_FAILURE -> took[f4] = TOOK_OLD
                :: else
                fi
            fi;
            if
            :: (SIDE(f4) == RESULT && (does & EFFECT_OUTCOME)) ||
               (SIDE(f4) == INPUT && (does & EFFECT_INPUT) && took[f4] != TOOK_ARRAY) ||
               (SIDE(f4) == INPUT && (does & EFFECT_FAILURE) && (!has_input[s] || (does & EFFECT_FRESH_INPUT))) ->
                assert(!owed[f4]); /* LOST: something new comes before a follower has taken the last one */
                owed[f4] = true
            :: else
            fi
        :: else
        fi;
        f4++
    :: else -> break
    od;
    if
    :: does & EFFECT_FRESH_INPUT -> pages[NAME(s, INPUT)] = NONE; has_input[s] = false
    :: else
    fi;
    if
    :: does & EFFECT_FRESH_RESULT -> pages[NAME(s, RESULT)] = NONE
    :: else
    fi;
    if
    :: does & EFFECT_CLEAR_ERROR -> by_source[s] = false
    :: else
    fi;
    if
    :: does & (EFFECT_RECALL | EFFECT_INPUT) -> failure[s] = false
    :: else
    fi;
    if
    :: does & EFFECT_INPUT ->
        /* DOUBLED: the round has an input that is still without its outcome */
        assert(state[s] != STATE_READY && state[s] != STATE_COMPUTING);
        has_input[s] = true
    :: else
    fi;
    if
    :: does & EFFECT_OUTCOME ->
        /* DOUBLED: an outcome without an input, or a second one */
        assert(from_source || state[s] == STATE_READY || state[s] == STATE_COMPUTING);
        outcome_taken[s] = false;
        NEW_OUTCOME(s, from_source)
    :: else
    fi;
    if
    :: does & EFFECT_FAILURE -> failure[s] = true; by_source[s] = false
    :: else
    fi;
    if
    :: does & EFFECT_TAKEN -> outcome_taken[s] = true
    :: else
    fi;
    state[s] = NEXT(taken);
    if
    :: state[s] != STATE_FILLING -> filler[s] = 0
    :: else
    fi
}

/* A reader has had the outcome. */
inline outcome_read(s) {
    facts = FACTS(s);
    judged = JUDGE_EVENT_OUTCOME_READ(state[s], facts);
    if
    :: (EFFECTS(judged) & EFFECT_TAKEN) && !outcome_taken[s] ->
        outcome_taken[s] = true;
        if
        :: HAS_SOURCE(s) -> queue(s)
        :: else
        fi
    :: else
    fi
}

inline announce(s, taken) {
    queue(s);
    does = EFFECTS(taken);
    if
    :: does & (EFFECT_CANCEL_WAITERS | EFFECT_FAIL_WAITERS) ->
        is_read = false;
        c1 = 2 * (s);
        do
        :: c1 <= 2 * (s) + 1 ->
            if
            :: parked[c1] == EVENT_OPEN_RESULT_READ && (does & EFFECT_FAIL_WAITERS) ->
                is_read = true;
                HAS_READ(c1)
            :: else
            fi;
            parked[c1] = NONE;
            c1++
        :: else -> break
        od;
        if
        :: is_read -> outcome_read(s)
        :: else
        fi
    :: else
    fi
}

/* --- requests: array.c, publish.c, put.c --- */

hidden byte answer, page, who, is_change, asked;
#define GOES    0
#define PARKS   1
#define REFUSED 2

/* -> page: pages that nobody has. */
inline make_pages() {
    page = 1;
    do
    :: n1 = 0;
       do
       :: n1 < NAMES && pages[n1] != page -> n1++
       :: else -> break
       od;
       c1 = 0;
       do
       :: c1 < CLIENTS && held[c1] != page -> c1++
       :: else -> break
       od;
       if
       :: n1 == NAMES && c1 == CLIENTS -> break
       :: else -> page++
       fi
    od;
    assert(page <= PAGES);
    published = published & ~(1 << page)
}

/* -> c1: a client that holds the pages `as` it is said (NONE: in any way), other than `but`; CLIENTS if there is none. */
inline find_holder(p, as, but) {
    c1 = 0;
    do
    :: c1 < CLIENTS && !(held[c1] == p && c1 != but && holds[c1] != NONE && (as == NONE || holds[c1] == as)) -> c1++
    :: else -> break
    od
}

/* -> answer, step: what the daemon says to a request now. */
inline examine(c, s, event) {
    facts = FACTS(s);
    if
    :: event == EVENT_OPEN_INPUT_READ && filler[s] == c + 1 -> facts = facts | FACT_CALLER_FILLS
    :: (event == EVENT_OPEN_RESULT_WRITE || event == EVENT_RESIZE_RESULT) && state[s] == STATE_COMPUTING ->
        find_holder(pages[NAME(s, RESULT)], WRITES, c);
        facts = facts | (c1 < CLIENTS && pages[NAME(s, RESULT)] != NONE -> FACT_OTHERS_WRITE_RESULT : 0)
    :: event == EVENT_FLAG_RESULT_0 -> facts = facts | FACT_EMPTY_RESULT
    :: else
    fi;
    who = (event == EVENT_FLAG_RESULT_0 -> EVENT_FLAG_RESULT : event);
    step = JUDGE(who, state[s], facts);
    answer = (VERDICT(step) == VERDICT_PROCEED -> GOES : (VERDICT(step) == VERDICT_WAIT -> PARKS : REFUSED));
    if
    :: CHECKS(step) & (CHECK_INPUT_RELEASED | CHECK_RESULT_RELEASED) ->
        page = pages[NAME(s, ((CHECKS(step) & CHECK_INPUT_RELEASED) -> INPUT : RESULT))];
        find_holder(page, WRITES, CLIENTS);
        answer = (page != NONE && !IS_PUBLISHED(page) && c1 < CLIENTS -> REFUSED : answer)
    :: else
    fi;
    if
    :: (CHECKS(step) & CHECK_INPUT_UNREAD) && IS_PUBLISHED(pages[NAME(s, INPUT)]) ->
        page = pages[NAME(s, INPUT)];
        find_holder(page, NONE, CLIENTS);
        n1 = 0;
        do
        :: n1 < NAMES && (pages[n1] != page || n1 == NAME(s, INPUT)) -> n1++
        :: else -> break
        od;
        answer = (n1 < NAMES || c1 < CLIENTS -> REFUSED : answer)
    :: else
    fi;
    if
    :: answer == GOES && (CHECKS(step) & CHECK_FAILURE_TAKEN) ->
        failure_taken(s);
        answer = (ready -> GOES : PARKS)
    :: else
    fi;
    if
    :: answer == GOES && (CHECKS(step) & (CHECK_INPUT_FOLLOWERS | CHECK_RESULT_FOLLOWERS)) ->
        followers_ready(s, ((CHECKS(step) & CHECK_INPUT_FOLLOWERS) -> INPUT : RESULT), event != EVENT_PUT_INPUT);
        answer = (ready -> GOES : PARKS)
    :: else
    fi
}

/* The pages of this name are published: their writers have let go. */
inline publish(s, side) {
    if
    :: pages[NAME(s, side)] == NONE -> make_pages(); pages[NAME(s, side)] = page
    :: else -> page = pages[NAME(s, side)]
    fi;
    find_holder(page, WRITES, CLIENTS);
    assert(c1 == CLIENTS); /* UNPUBLISHED: there is a writer left */
    published = published | (1 << page);
    c1 = 0;
    do
    :: c1 < CLIENTS ->
        if
        :: holds[c1] == READS_OWN && held[c1] == page -> holds[c1] = READS
        :: else
        fi;
        c1++
    :: else -> break
    od
}

/* A request is examined: it is refused, or parked, or done. */
inline try(c, s, event) {
    examine(c, s, event);
    parked[c] = (answer == PARKS -> event : NONE);
    if
    :: answer == REFUSED && ERRNO(step) == EIO -> /* it has read that the round failed */
        HAS_READ(c);
        outcome_read(s)
    :: answer == GOES ->
        is_change = IS_CHANGE(s, step);
        if
        :: is_change -> take(s, step, false)
        :: else
        fi;
        if
        :: event == EVENT_OPEN_INPUT_WRITE || event == EVENT_RESIZE_INPUT || event == EVENT_OPEN_RESULT_WRITE ||
           event == EVENT_RESIZE_RESULT ->
            n1 = NAME(s, (event == EVENT_OPEN_INPUT_WRITE || event == EVENT_RESIZE_INPUT -> INPUT : RESULT));
            who = n1;
            page = pages[who];
            if
            :: page == NONE -> make_pages(); pages[who] = page
            :: else -> published = published & ~(1 << page) /* it was moved here, and is not read elsewhere */
            fi;
            if
            :: event == EVENT_OPEN_INPUT_WRITE || event == EVENT_OPEN_RESULT_WRITE ->
                holds[c] = WRITES;
                held[c] = page
            :: else
            fi;
            if
            :: event == EVENT_OPEN_INPUT_WRITE -> filler[s] = c + 1
            :: else
            fi;
            if
            :: event == EVENT_OPEN_INPUT_WRITE || event == EVENT_OPEN_RESULT_WRITE -> queue(s)
            :: else
            fi
        :: event == EVENT_OPEN_INPUT_READ || event == EVENT_OPEN_RESULT_READ ->
            page = pages[NAME(s, (event == EVENT_OPEN_INPUT_READ -> INPUT : RESULT))];
            if
            :: page == NONE -> assert(state[s] == STATE_FAILED) /* it failed before it had an input: an empty file */
            :: else ->
                assert(IS_PUBLISHED(page) || filler[s] == c + 1); /* UNPUBLISHED: somebody else is writing it */
                if
                :: KEEPS_OPEN -> holds[c] = (IS_PUBLISHED(page) -> READS : READS_OWN); held[c] = page
                :: else -> /* it reads, and closes it at once */
                    if
                    :: event == EVENT_OPEN_RESULT_READ -> HAS_READ(c); outcome_read(s)
                    :: else
                    fi
                fi
            fi
        :: event == EVENT_FLAG_INPUT -> publish(s, INPUT)
        :: event == EVENT_FLAG_RESULT || event == EVENT_FLAG_RESULT_0 -> publish(s, RESULT)
        :: event == EVENT_PUT_INPUT -> pages[NAME(s, INPUT)] = NONE; publish(s, INPUT)
        :: event == EVENT_PUT_RESULT -> pages[NAME(s, RESULT)] = NONE; publish(s, RESULT)
        :: else
        fi;
        ANSWERED(c, s, event);
        if
        :: is_change -> announce(s, step)
        :: else
        fi
    :: else
    fi
}

/* --- what follows: run.c --- */

hidden byte at, up;
hidden byte has_queued;

/* Queues the slots that feed this one, if a publisher waits in them for it. */
inline queue_sources(s) {
    find_free(s);
    up = s;
    do
    :: is_free && HAS_SOURCE(up) ->
        f5 = up;
        up = SOURCE(up);
        if
        :: parked[2 * up] != NONE || parked[2 * up + 1] != NONE -> queue(up)
        :: else ->
            if
            :: HAS_SOURCE(up) ->
                find_pull(up);
                if
                :: pulls -> queue(up)
                :: else
                fi
            :: else
            fi;
            is_free = true
        fi;
        if
        :: SIDE(f5) == RESULT -> break
        :: else
        fi
    :: else -> break
    od
}

inline work(s) {
    if
    :: HAS_SOURCE(s) -> pull(s)
    :: else
    fi;
    c2 = 0;
    do
    :: c2 < 2 ->
        c3 = 2 * (s) + (c2 == newest -> 0 : 1);
        if
        :: parked[c3] != NONE -> asked = parked[c3]; try(c3, s, asked)
        :: else
        fi;
        c2++
    :: else -> break
    od;
    has_queued = false;
    w = 0;
    do
    :: w < SLOTS ->
        if
        :: FOLLOWS(w, s) ->
            find_pull(w);
            if
            :: pulls -> has_queued = true; queue(w)
            :: else
            fi
        :: else
        fi;
        w++
    :: else -> break
    od;
    if
    :: HAS_SOURCE(s) -> queue_sources(s)
    :: else
    fi;
    if
    :: has_queued -> queue(s)
    :: else
    fi
}

/*
 * What nobody will ask for again is forgotten, or the same situation would count as several: pages that no name has, whether an
 * outcome was read that followers take or that is gone, which failure was taken back from a slot that is past it. Pages are numbered
 * in the order of names.
 */
hidden byte number[PAGES + 1];
hidden short published_now;

inline tidy() {
    page = 0;
    do
    :: page <= PAGES -> number[page] = NONE; page++
    :: else -> break
    od;
    page = 0;
    published_now = 0;
    n1 = 0;
    do
    :: n1 < NAMES ->
        if
        :: pages[n1] != NONE ->
            if
            :: number[pages[n1]] == NONE ->
                page++;
                number[pages[n1]] = page;
                published_now = published_now | (IS_PUBLISHED(pages[n1]) << page)
            :: else
            fi;
            pages[n1] = number[pages[n1]]
        :: else
        fi;
        n1++
    :: else -> break
    od;
    published = published_now;
    c1 = 0;
    do
    :: c1 < CLIENTS ->
        held[c1] = number[held[c1]];
        if
        :: held[c1] == NONE -> holds[c1] = NONE
        :: else
        fi;
        c1++
    :: else -> break
    od;
    w = 0;
    do
    :: w < SLOTS ->
        if
        :: !IS_OVER(w) || !IS_END(w) -> outcome_taken[w] = false
        :: else
        fi;
        if
        :: took[w] == TOOK_RECALLED && !(state[w] == STATE_FAILED && by_source[w]) -> took[w] = TOOK_OLD
        :: else
        fi;
        w++
    :: else -> break
    od;
    SWAP_CLIENTS
}

/* What holds between two steps. */
inline check_all() {
    c2 = 0;
    do
    :: c2 < CLIENTS ->
        if
        :: holds[c2] == READS ->
            assert(IS_PUBLISHED(held[c2])); /* UNPUBLISHED: the pages of a reader can change */
            find_holder(held[c2], WRITES, c2);
            assert(c1 == CLIENTS)           /* UNPUBLISHED: a reader has a writer beside it */
        :: holds[c2] == WRITES -> assert(!IS_PUBLISHED(held[c2])) /* UNPUBLISHED: published pages have a writer */
        :: else
        fi;
        if
        :: parked[c2] != NONE ->
            examine(c2, OF(c2), parked[c2]);
            assert(answer == PARKS) /* FORGOTTEN: a request waits that could be answered */
        :: else
        fi;
        c2++
    :: else -> break
    od;
    w = 0;
    do
    :: w < SLOTS ->
        if
        :: HAS_SOURCE(w) ->
            find_pull(w);
            assert(!pulls) /* FORGOTTEN: a slot could take what its source offers */
        :: else
        fi;
        assert((state[w] != STATE_READY && state[w] != STATE_COMPUTING && state[w] != STATE_DONE) ||
               IS_PUBLISHED(pages[NAME(w, INPUT)]));
        assert(state[w] != STATE_DONE || IS_PUBLISHED(pages[NAME(w, RESULT)]));
        w++
    :: else -> break
    od
}

/* All that follows from a request, before anybody else has a turn. */
inline settle() {
    do
    :: nempty(line) ->
        line?at;
        queued[at] = 0;
        work(at)
    :: empty(line) -> break
    od;
    tidy()
}

/* A client lets go of what it has open: array_close. */
inline close(c, s) {
    if
    :: holds[c] == READS && held[c] == pages[NAME(s, RESULT)] -> HAS_READ(c); outcome_read(s)
    :: else
    fi;
    holds[c] = NONE;
    held[c] = NONE
}

/* It is killed. The worker of a slot is bound to it. */
inline die(c, s, is_worker) {
    parked[c] = NONE;
    close(c, s);
    if
    :: filler[s] == c + 1 -> filler[s] = NONE
    :: else
    fi;
    if
    :: is_worker ->
        facts = FACTS(s) | FACT_BOUND;
        step = JUDGE_EVENT_WORKER_DIED(state[s], facts);
        if
        :: IS_CHANGE(s, step) ->
            take(s, step, false);
            announce(s, step)
        :: else
        fi
    :: else
    fi
}

/* The result of a slot is renamed to data.bin of A, which has no source: array_move_result. */
inline move(c, s) {
    facts = FACTS(s);
    pulled = JUDGE_EVENT_TAKE_RESULT(state[s], facts);
    if
    :: VERDICT(pulled) == VERDICT_PROCEED ->
        facts = FACTS(0);
        who = ((s) == 0 -> NEXT(pulled) : state[0]);
        step = JUDGE_EVENT_GIVE_INPUT(who, facts);
        if
        :: VERDICT(step) == VERDICT_PROCEED ->
            who = pages[NAME(s, RESULT)];
            take(s, pulled, false);
            take(0, step, false);
            pages[NAME(0, INPUT)] = who;
            filler[0] = c + 1;
            if
            :: (s) != 0 -> announce(s, pulled)
            :: else
            fi;
            announce(0, step)
        :: else
        fi
    :: else
    fi
}

/* Supervisor, server and all clients are gone, and a server starts on what they left: exchange_go_on. */
inline restart() {
    c1 = 0;
    do
    :: c1 < CLIENTS -> parked[c1] = NONE; holds[c1] = NONE; held[c1] = NONE; c1++
    :: else -> break
    od;
    w = 0;
    do
    :: w < SLOTS ->
        facts = FACTS(w) | FACT_BOUND;
        step = JUDGE_EVENT_RESTART(state[w], facts);
        if
        :: IS_CHANGE(w, step) ->
            take(w, step, false);
            announce(w, step)
        :: else
        fi;
        filler[w] = 0;
        w++
    :: else -> break
    od;
    w = 0;
    do
    :: w < SLOTS -> queue(w); w++
    :: else -> break
    od
}
