// SPDX-License-Identifier: Apache-2.0
/*
 * test_handshake.c - every state x every event x every combination of facts against a second copy of the
 * handshake's table, which is ordered by state and has all checks and effects of a step.
 */
#include "protocol/handshake.h"
#include "slot/slot.h"
#include "suite.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { SAME_STATE = HANDSHAKE_STATES, ALL_FACTS = HANDSHAKE_FACTS };

/* The expected answer of one cell, and the exceptions: the first whose fact holds decides. */
struct answer {
    enum handshake_verdict verdict;
    int error;
    int next;
    uint32_t checks;
    uint32_t effects;
};

struct cell {
    struct answer usual;
    struct {
        uint32_t fact, without;
        struct answer answer;
    } instead[3];
};

/* clang-format off */
#define GO(next, checks, effects) {VERDICT_PROCEED, 0, next, checks, effects}
#define NO(error)                 {VERDICT_REFUSE, error, SAME_STATE, 0, 0}
#define PARK                      {VERDICT_WAIT, EAGAIN, SAME_STATE, 0, 0}

#define IF(holds, ...)  {.fact = FACT_##holds, .answer = __VA_ARGS__}
#define IF_BOTH(one, other, ...) {.fact = FACT_##one | FACT_##other, .answer = __VA_ARGS__}
#define IF_WITHOUT(one, other, ...) {.fact = FACT_##one, .without = FACT_##other, .answer = __VA_ARGS__}

#define OK             {.usual = GO(SAME_STATE, 0, 0)}
#define WAITS          {.usual = PARK}
#define WAITS_UNLESS_IT_FILLS \
                       {.usual = PARK, .instead = {IF(CALLER_FILLS, GO(SAME_STATE, 0, 0))}}
#define IS_EBUSY       {.usual = NO(EBUSY)}
#define IS_EPROTO      {.usual = NO(EPROTO)}
#define IS_EIO         {.usual = NO(EIO)}
#define TO_IF(next, checks, effects) \
                       {.usual = GO(STATE_##next, checks, effects)}
#define ONLY_IF_EMPTY(next, checks) \
                       {.usual = NO(EPROTO), .instead = {IF(EMPTY_RESULT, GO(STATE_##next, checks, EFFECT_OUTCOME))}}

/* Only the source may write the input, if there is one; and nobody while the inode has other names. */
#define OWN_INPUT(next, checks, effects) \
                       {.usual = GO(next, checks, effects), .instead = {IF(FED, NO(EBUSY)), IF(SHARED, NO(EBUSY))}}
#define OWN_RESULT(next, ...) \
                       {.usual = GO(next, 0, 0), .instead = {IF(SHARED, NO(EBUSY)), __VA_ARGS__}}
#define NOT_IF_FED(next, checks, effects) \
                       {.usual = GO(STATE_##next, checks, effects), .instead = {IF(FED, NO(EBUSY))}}
#define LINK_IFS       {IF(UNREADABLE, NO(EACCES)), IF(FED, NO(EEXIST)), IF(LOOP, NO(ELOOP))}
#define LINKS          {.usual = GO(SAME_STATE, 0, 0), .instead = LINK_IFS}
#define LINKS_NOT      {.usual = NO(EBUSY), .instead = LINK_IFS}
#define ONLY_IF(holds, next, checks, effects, otherwise) \
                       {.usual = otherwise, .instead = {IF(holds, GO(next, checks, effects))}}

#define FRESH          (EFFECT_FRESH_INPUT | EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR)
#define NEXT_ROUND     (FRESH | EFFECT_NEW_ROUND)
#define DROPPED        (FRESH | EFFECT_CANCEL_WAITERS)
#define CANCELLED      (DROPPED | EFFECT_NEW_ROUND)
#define INPUT_DONE     (CHECK_INPUT_RELEASED | CHECK_INPUT_FITS | CHECK_FAILURE_TAKEN | CHECK_INPUT_FOLLOWERS)
#define RESULT_DONE    (CHECK_RESULT_RELEASED | CHECK_RESULT_FITS | CHECK_RESULT_FOLLOWERS)
#define AGAIN          (EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR | EFFECT_INPUT | EFFECT_RECALL)
#define FAILURE        (EFFECT_OUTCOME | EFFECT_FAILURE | EFFECT_FAIL_WAITERS)
#define DELIVERED      (EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR | EFFECT_INPUT)

/* The failure of a cancelled round comes first. */
#define UNLESS_IT_OWES(next, effects, ...) \
                       {.usual = GO(STATE_##next, CHECK_INPUT_FOLLOWERS, effects), \
                        .instead = {IF_WITHOUT(FAILURE, TAKEN, PARK), __VA_ARGS__}}
#define NEXT_DELIVERY  {.usual = PARK, \
                        .instead = {IF_BOTH(TAKEN, UNREADABLE, GO(STATE_FAILED, CHECK_INPUT_FOLLOWERS, FAILURE | NEXT_ROUND)), \
                                    IF(TAKEN, GO(STATE_READY, CHECK_INPUT_FOLLOWERS, DELIVERED | EFFECT_NEW_ROUND))}}

static const struct cell table[HANDSHAKE_STATES][HANDSHAKE_EVENTS] = {
    [STATE_IDLE] = {
        [EVENT_OPEN_INPUT_WRITE]  = OWN_INPUT(STATE_FILLING, 0, 0),
        [EVENT_OPEN_INPUT_READ]   = WAITS,
        [EVENT_OPEN_RESULT_WRITE] = IS_EBUSY,
        [EVENT_OPEN_RESULT_READ]  = WAITS,
        [EVENT_FLAG_INPUT]        = NOT_IF_FED(READY, INPUT_DONE, EFFECT_INPUT),
        [EVENT_FLAG_RESULT]       = IS_EPROTO,
        [EVENT_FLAG_FAILED]       = IS_EPROTO,
        [EVENT_FLAG_NONE]         = OK,
        [EVENT_PUT_INPUT]         = NOT_IF_FED(READY, INPUT_DONE, EFFECT_INPUT),
        [EVENT_PUT_RESULT]        = IS_EBUSY,
        [EVENT_EDIT_INPUT]        = OK,
        [EVENT_EDIT_RESULT]       = IS_EBUSY,
        [EVENT_RESIZE_INPUT]      = OWN_INPUT(STATE_FILLING, 0, 0),
        [EVENT_RESIZE_RESULT]     = IS_EBUSY,
        [EVENT_UNLINK]            = OK,
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = NOT_IF_FED(FILLING, 0, EFFECT_FRESH_INPUT),
        [EVENT_WORKER_DIED]       = OK,
        [EVENT_SOURCE_RETRIES]    = OK,
        [EVENT_SOURCE_REMOVED]    = TO_IF(FAILED, 0, FAILURE),
        [EVENT_OUTCOME_READ]      = OK,
        [EVENT_RESTART]           = OK,
        [EVENT_LOST]              = TO_IF(FAILED, 0, FAILURE),
        [EVENT_LINK]              = LINKS,
        [EVENT_FOLLOW_INPUT]      = WAITS,
        [EVENT_FOLLOW_RESULT]     = {.usual = PARK, .instead = {IF(FAILURE, NO(EIO))}},
        [EVENT_DELIVER]           = UNLESS_IT_OWES(READY, DELIVERED, IF(UNREADABLE, GO(STATE_FAILED, CHECK_INPUT_FOLLOWERS, FAILURE))),
        [EVENT_SOURCE_FAILED]     = UNLESS_IT_OWES(FAILED, FAILURE),
    },
    [STATE_FILLING] = {
        [EVENT_OPEN_INPUT_WRITE]  = OWN_INPUT(SAME_STATE, CHECK_INPUT_UNREAD, 0),
        [EVENT_OPEN_INPUT_READ]   = WAITS_UNLESS_IT_FILLS,
        [EVENT_OPEN_RESULT_WRITE] = IS_EBUSY,
        [EVENT_OPEN_RESULT_READ]  = WAITS,
        [EVENT_FLAG_INPUT]        = NOT_IF_FED(READY, INPUT_DONE, EFFECT_INPUT),
        [EVENT_FLAG_RESULT]       = IS_EPROTO,
        [EVENT_FLAG_FAILED]       = IS_EPROTO,
        [EVENT_FLAG_NONE]         = TO_IF(IDLE, 0, DROPPED),
        [EVENT_PUT_INPUT]         = NOT_IF_FED(READY, INPUT_DONE, EFFECT_FRESH_INPUT | EFFECT_INPUT),
        [EVENT_PUT_RESULT]        = IS_EBUSY,
        [EVENT_EDIT_INPUT]        = OK,
        [EVENT_EDIT_RESULT]       = IS_EBUSY,
        [EVENT_RESIZE_INPUT]      = OWN_INPUT(SAME_STATE, CHECK_INPUT_UNREAD, 0),
        [EVENT_RESIZE_RESULT]     = IS_EBUSY,
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, DROPPED),
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = IS_EBUSY,
        [EVENT_WORKER_DIED]       = OK,
        [EVENT_SOURCE_RETRIES]    = OK,
        [EVENT_SOURCE_REMOVED]    = OK,
        [EVENT_OUTCOME_READ]      = OK,
        [EVENT_RESTART]           = OK,
        [EVENT_LOST]              = OK,
        [EVENT_LINK]              = LINKS_NOT,
        [EVENT_FOLLOW_INPUT]      = WAITS,
        [EVENT_FOLLOW_RESULT]     = {.usual = PARK, .instead = {IF(FAILURE, NO(EIO))}},
        [EVENT_DELIVER]           = WAITS,
        [EVENT_SOURCE_FAILED]     = WAITS,
    },
    [STATE_READY] = {
        [EVENT_OPEN_INPUT_WRITE]  = IS_EBUSY,
        [EVENT_OPEN_INPUT_READ]   = OK,
        [EVENT_OPEN_RESULT_WRITE] = OWN_RESULT(STATE_COMPUTING),
        [EVENT_OPEN_RESULT_READ]  = WAITS,
        [EVENT_FLAG_INPUT]        = IS_EPROTO,
        [EVENT_FLAG_RESULT]       = ONLY_IF_EMPTY(DONE, RESULT_DONE),
        [EVENT_FLAG_FAILED]       = TO_IF(FAILED, 0, FAILURE),
        [EVENT_FLAG_NONE]         = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_PUT_INPUT]         = IS_EBUSY,
        [EVENT_PUT_RESULT]        = TO_IF(DONE, RESULT_DONE, EFFECT_OUTCOME),
        [EVENT_EDIT_INPUT]        = IS_EBUSY,
        [EVENT_EDIT_RESULT]       = OK,
        [EVENT_RESIZE_INPUT]      = IS_EBUSY,
        [EVENT_RESIZE_RESULT]     = OWN_RESULT(STATE_COMPUTING),
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = IS_EBUSY,
        [EVENT_WORKER_DIED]       = ONLY_IF(BOUND, STATE_FAILED, 0, FAILURE, GO(SAME_STATE, 0, 0)),
        [EVENT_SOURCE_RETRIES]    = OK,
        [EVENT_SOURCE_REMOVED]    = OK,
        [EVENT_OUTCOME_READ]      = OK,
        [EVENT_RESTART]           = ONLY_IF(BOUND, STATE_FAILED, 0, FAILURE, GO(SAME_STATE, 0, 0)),
        [EVENT_LOST]              = OK,
        [EVENT_LINK]              = LINKS_NOT,
        [EVENT_FOLLOW_INPUT]      = OK,
        [EVENT_FOLLOW_RESULT]     = WAITS,
        [EVENT_DELIVER]           = WAITS,
        [EVENT_SOURCE_FAILED]     = WAITS,
    },
    [STATE_COMPUTING] = {
        [EVENT_OPEN_INPUT_WRITE]  = IS_EBUSY,
        [EVENT_OPEN_INPUT_READ]   = OK,
        [EVENT_OPEN_RESULT_WRITE] = OWN_RESULT(SAME_STATE, IF(OTHERS_WRITE_RESULT, NO(EBUSY))),
        [EVENT_OPEN_RESULT_READ]  = WAITS,
        [EVENT_FLAG_INPUT]        = IS_EPROTO,
        [EVENT_FLAG_RESULT]       = TO_IF(DONE, RESULT_DONE, EFFECT_OUTCOME),
        [EVENT_FLAG_FAILED]       = TO_IF(FAILED, 0, FAILURE),
        [EVENT_FLAG_NONE]         = IS_EBUSY,
        [EVENT_PUT_INPUT]         = IS_EBUSY,
        [EVENT_PUT_RESULT]        = TO_IF(DONE, RESULT_DONE, EFFECT_FRESH_RESULT | EFFECT_OUTCOME),
        [EVENT_EDIT_INPUT]        = IS_EBUSY,
        [EVENT_EDIT_RESULT]       = OK,
        [EVENT_RESIZE_INPUT]      = IS_EBUSY,
        [EVENT_RESIZE_RESULT]     = OWN_RESULT(SAME_STATE, IF(OTHERS_WRITE_RESULT, NO(EBUSY))),
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = IS_EBUSY,
        [EVENT_WORKER_DIED]       = ONLY_IF(BOUND, STATE_FAILED, 0, FAILURE, GO(SAME_STATE, 0, 0)),
        [EVENT_SOURCE_RETRIES]    = OK,
        [EVENT_SOURCE_REMOVED]    = OK,
        [EVENT_OUTCOME_READ]      = OK,
        [EVENT_RESTART]           = TO_IF(FAILED, 0, FAILURE),
        [EVENT_LOST]              = OK,
        [EVENT_LINK]              = LINKS_NOT,
        [EVENT_FOLLOW_INPUT]      = OK,
        [EVENT_FOLLOW_RESULT]     = WAITS,
        [EVENT_DELIVER]           = WAITS,
        [EVENT_SOURCE_FAILED]     = WAITS,
    },
    [STATE_DONE] = {
        [EVENT_OPEN_INPUT_WRITE]  = OWN_INPUT(STATE_FILLING, 0, NEXT_ROUND),
        [EVENT_OPEN_INPUT_READ]   = OK,
        [EVENT_OPEN_RESULT_WRITE] = IS_EBUSY,
        [EVENT_OPEN_RESULT_READ]  = OK,
        [EVENT_FLAG_INPUT]        = IS_EPROTO,
        [EVENT_FLAG_RESULT]       = OK,
        [EVENT_FLAG_FAILED]       = IS_EPROTO,
        [EVENT_FLAG_NONE]         = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_PUT_INPUT]         = NOT_IF_FED(READY, INPUT_DONE, NEXT_ROUND | EFFECT_INPUT),
        [EVENT_PUT_RESULT]        = IS_EBUSY,
        [EVENT_EDIT_INPUT]        = IS_EBUSY,
        [EVENT_EDIT_RESULT]       = IS_EBUSY,
        [EVENT_RESIZE_INPUT]      = OWN_INPUT(STATE_FILLING, 0, NEXT_ROUND),
        [EVENT_RESIZE_RESULT]     = IS_EBUSY,
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_TAKE_RESULT]       = TO_IF(IDLE, 0, NEXT_ROUND),
        [EVENT_GIVE_INPUT]        = NOT_IF_FED(FILLING, 0, NEXT_ROUND),
        [EVENT_WORKER_DIED]       = OK,
        [EVENT_SOURCE_RETRIES]    = OK,
        [EVENT_SOURCE_REMOVED]    = OK,
        [EVENT_OUTCOME_READ]      = TO_IF(DONE, 0, EFFECT_TAKEN),
        [EVENT_RESTART]           = OK,
        [EVENT_LOST]              = OK,
        [EVENT_LINK]              = LINKS,
        [EVENT_FOLLOW_INPUT]      = OK,
        [EVENT_FOLLOW_RESULT]     = OK,
        [EVENT_DELIVER]           = NEXT_DELIVERY,
        [EVENT_SOURCE_FAILED]     = ONLY_IF(TAKEN, STATE_FAILED, CHECK_INPUT_FOLLOWERS, FAILURE | NEXT_ROUND, PARK),
    },
    [STATE_FAILED] = {
        [EVENT_OPEN_INPUT_WRITE]  = OWN_INPUT(STATE_FILLING, 0, NEXT_ROUND),
        [EVENT_OPEN_INPUT_READ]   = OK,
        [EVENT_OPEN_RESULT_WRITE] = IS_EBUSY,
        [EVENT_OPEN_RESULT_READ]  = IS_EIO,
        [EVENT_FLAG_INPUT]        = {.usual = NO(EPROTO),
                                     .instead = {IF(HAS_INPUT, GO(STATE_READY, CHECK_INPUT_FITS | CHECK_INPUT_FOLLOWERS, AGAIN)),
                                                 IF(FED, NO(EBUSY))}},
        [EVENT_FLAG_RESULT]       = IS_EPROTO,
        [EVENT_FLAG_FAILED]       = OK,
        [EVENT_FLAG_NONE]         = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_PUT_INPUT]         = NOT_IF_FED(READY, INPUT_DONE, NEXT_ROUND | EFFECT_INPUT),
        [EVENT_PUT_RESULT]        = IS_EBUSY,
        [EVENT_EDIT_INPUT]        = IS_EBUSY,
        [EVENT_EDIT_RESULT]       = IS_EBUSY,
        [EVENT_RESIZE_INPUT]      = OWN_INPUT(STATE_FILLING, 0, NEXT_ROUND),
        [EVENT_RESIZE_RESULT]     = IS_EBUSY,
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = NOT_IF_FED(FILLING, 0, NEXT_ROUND),
        [EVENT_WORKER_DIED]       = OK,
        [EVENT_SOURCE_RETRIES]    = ONLY_IF(BY_SOURCE, STATE_IDLE, 0, FRESH | EFFECT_RECALL, GO(SAME_STATE, 0, 0)),
        [EVENT_SOURCE_REMOVED]    = OK,
        [EVENT_OUTCOME_READ]      = TO_IF(FAILED, 0, EFFECT_TAKEN),
        [EVENT_RESTART]           = OK,
        [EVENT_LOST]              = OK,
        [EVENT_LINK]              = LINKS,
        [EVENT_FOLLOW_INPUT]      = ONLY_IF(HAS_INPUT, SAME_STATE, 0, 0, NO(EIO)),
        [EVENT_FOLLOW_RESULT]     = IS_EIO,
        [EVENT_DELIVER]           = NEXT_DELIVERY,
        [EVENT_SOURCE_FAILED]     = ONLY_IF(TAKEN, STATE_FAILED, CHECK_INPUT_FOLLOWERS, FAILURE | NEXT_ROUND, PARK),
    },
};
/* clang-format on */

/* No fact, each, each two of them, and all: no cell but that of a delivery to an IDLE slot depends on more than two. */
static bool is_worth_asking(uint32_t facts)
{
    return __builtin_popcount(facts) <= 2 || facts == ALL_FACTS - 1;
}

typedef void visit_function(enum handshake_state state, enum handshake_event event, uint32_t facts,
                            const struct handshake_step *step);

static void visit_all(visit_function *visit)
{
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        for (int event = 0; event < HANDSHAKE_EVENTS; event++) {
            for (uint32_t facts = 0; facts < ALL_FACTS; facts++) {
                struct handshake_step step =
                    handshake_judge((enum handshake_state)state, (enum handshake_event)event, facts);
                if (is_worth_asking(facts))
                    visit((enum handshake_state)state, (enum handshake_event)event, facts, &step);
            }
        }
    }
}

static const struct answer *answer_of(const struct cell *cell, uint32_t facts)
{
    for (size_t i = 0; i < sizeof(cell->instead) / sizeof(cell->instead[0]) && cell->instead[i].fact; i++) {
        if ((facts & (cell->instead[i].fact | cell->instead[i].without)) == cell->instead[i].fact)
            return &cell->instead[i].answer;
    }
    return &cell->usual;
}

static void compare(enum handshake_state state, enum handshake_event event, uint32_t facts,
                    const struct handshake_step *step)
{
    const struct answer *answer = answer_of(&table[state][event], facts);
    enum handshake_state next = answer->next == SAME_STATE ? state : (enum handshake_state)answer->next;

#define SAME(field, expected)                                                                                \
    ck_assert_msg(step->field == (expected), "%s, %s, facts %u: " #field " is %ld and not %ld",              \
                  handshake_state_name(state), handshake_event_name(event), facts, (long)step->field,        \
                  (long)(expected))
    SAME(verdict, answer->verdict);
    SAME(error, answer->error);
    SAME(next, next);
    SAME(checks, answer->checks);
    SAME(effects, answer->effects);
#undef SAME
}

START_TEST(test_table)
{
    visit_all(compare);
}
END_TEST

/* Asks backwards and with other questions in between: an answer does not depend on earlier questions. */
START_TEST(test_purity)
{
    for (int cell = HANDSHAKE_STATES * HANDSHAKE_EVENTS * ALL_FACTS - 1; cell >= 0; cell--) {
        enum handshake_state state = (enum handshake_state)(cell % HANDSHAKE_STATES);
        enum handshake_event event =
            (enum handshake_event)((unsigned)(cell / HANDSHAKE_STATES) % HANDSHAKE_EVENTS);
        uint32_t facts = (uint32_t)cell / (HANDSHAKE_STATES * HANDSHAKE_EVENTS);
        struct handshake_step first = handshake_judge(state, event, facts);
        struct handshake_step again;

        if (!is_worth_asking(facts))
            continue;
        handshake_judge(first.next, event, ~facts);
        again = handshake_judge(state, event, facts);
        ck_assert_int_eq(first.verdict, again.verdict);
        ck_assert_ptr_eq(first.reason, again.reason);
        compare(state, event, facts, &again);
    }
}
END_TEST

static void only_proceeding_does_something(enum handshake_state state, enum handshake_event event,
                                           uint32_t facts, const struct handshake_step *step)
{
    (void)event;
    (void)facts;
    ck_assert_int_eq(step->error == 0, step->verdict == VERDICT_PROCEED);
    ck_assert_int_eq(step->reason == NULL, step->verdict == VERDICT_PROCEED);
    if (step->reason) {
        ck_assert_str_ne(step->reason, "");
        ck_assert_uint_lt(strlen(step->reason), SLOT_REASON_MAX);
    }
    if (step->verdict == VERDICT_PROCEED)
        return;
    ck_assert_int_eq(step->next, state);
    ck_assert_uint_eq(step->checks, 0);
    ck_assert_uint_eq(step->effects, 0);
}

/* A round begins with fresh arrays, or with what a source delivers. */
static void rounds_change_with_arrays(enum handshake_state state, enum handshake_event event, uint32_t facts,
                                      const struct handshake_step *step)
{
    bool had_input = state != STATE_IDLE && state != STATE_FILLING;
    bool without = step->next == STATE_IDLE || step->next == STATE_FILLING;
    bool from_source = event == EVENT_DELIVER || event == EVENT_SOURCE_FAILED;
    bool is_put = event == EVENT_PUT_INPUT;
    bool proceeds = step->verdict == VERDICT_PROCEED;
    bool is_over = state == STATE_DONE || state == STATE_FAILED;

    (void)facts;
    if (event != EVENT_SOURCE_RETRIES) /* the same round, as the source's */
        ck_assert_int_eq((step->effects & EFFECT_NEW_ROUND) != 0,
                         (had_input && without) || (proceeds && (from_source || is_put) && is_over));
    if (step->effects & EFFECT_NEW_ROUND && step->next != STATE_READY)
        ck_assert_uint_eq(step->effects & FRESH, FRESH);
    if (step->next == STATE_IDLE && state != STATE_IDLE)
        ck_assert_uint_eq(step->effects & FRESH, FRESH);
    if (!without && !from_source && !is_put) /* a published input stays until its round has ended */
        ck_assert_uint_eq(step->effects & EFFECT_FRESH_INPUT, 0);
}

static void publishing_is_checked(enum handshake_state state, enum handshake_event event, uint32_t facts,
                                  const struct handshake_step *step)
{
    bool gets_input = step->next == STATE_READY && state != STATE_READY;
    bool publishes_input = gets_input && event != EVENT_DELIVER;
    bool publishes_result = step->next == STATE_DONE && state != STATE_DONE;

    (void)facts;
    ck_assert_int_eq((step->checks & CHECK_INPUT_FITS) != 0, publishes_input);
    ck_assert_int_eq((step->checks & CHECK_RESULT_FITS) != 0, publishes_result);
    /* The writers of a failed round's input let go when it was published. */
    ck_assert_int_eq((step->checks & CHECK_INPUT_RELEASED) != 0,
                     publishes_input && (state != STATE_FAILED || event == EVENT_PUT_INPUT));
    ck_assert_int_eq((step->checks & CHECK_RESULT_RELEASED) != 0, publishes_result);
    ck_assert_int_eq((step->effects & EFFECT_INPUT) != 0, gets_input);
    /* No input reaches a follower that cannot take it. */
    ck_assert_int_eq((step->checks & CHECK_INPUT_FOLLOWERS) != 0,
                     gets_input ||
                         ((event == EVENT_SOURCE_FAILED || event == EVENT_DELIVER) && step->effects));
    ck_assert_int_eq((step->checks & CHECK_RESULT_FOLLOWERS) != 0, publishes_result);
}

/* Each outcome is new and untaken, and no source overwrites an untaken one. */
static void outcomes_are_taken(enum handshake_state state, enum handshake_event event, uint32_t facts,
                               const struct handshake_step *step)
{
    bool fails = step->effects & EFFECT_FAILURE;
    bool is_over = state == STATE_DONE || state == STATE_FAILED;

    ck_assert_int_eq((step->effects & EFFECT_OUTCOME) != 0,
                     fails || (step->next == STATE_DONE && state != STATE_DONE));
    ck_assert_int_eq(fails, step->next == STATE_FAILED &&
                                (state != STATE_FAILED || step->effects & EFFECT_NEW_ROUND));
    if ((event == EVENT_DELIVER || event == EVENT_SOURCE_FAILED) && is_over && !(facts & FACT_TAKEN))
        ck_assert_int_eq(step->verdict, VERDICT_WAIT);
    if (step->effects & EFFECT_TAKEN)
        ck_assert_int_eq(step->next, state);
}

static void waiters_learn_of_the_end(enum handshake_state state, enum handshake_event event, uint32_t facts,
                                     const struct handshake_step *step)
{
    bool is_empty = event == EVENT_TAKE_RESULT || event == EVENT_SOURCE_RETRIES; /* no request waits for it */

    (void)facts;
    ck_assert_int_eq((step->effects & EFFECT_CANCEL_WAITERS) != 0,
                     step->next == STATE_IDLE && state != STATE_IDLE && !is_empty);
    ck_assert_int_eq((step->effects & EFFECT_FAIL_WAITERS) != 0, (step->effects & EFFECT_FAILURE) != 0);
    if (state == STATE_FAILED && step->next != STATE_FAILED)
        ck_assert_uint_ne(step->effects & EFFECT_CLEAR_ERROR, 0);
}

START_TEST(test_laws)
{
    visit_all(only_proceeding_does_something);
    visit_all(rounds_change_with_arrays);
    visit_all(publishing_is_checked);
    visit_all(outcomes_are_taken);
    visit_all(waiters_learn_of_the_end);
}
END_TEST

START_TEST(test_flags)
{
    static const int32_t flags[HANDSHAKE_STATES] = {-1, -1, 0, 0, 1, 2};

    for (int state = 0; state < HANDSHAKE_STATES; state++)
        ck_assert_int_eq(handshake_flag((enum handshake_state)state), flags[state]);
}
END_TEST

START_TEST(test_words)
{
    static const char *const states[HANDSHAKE_STATES] = {"IDLE",      "FILLING", "READY",
                                                         "COMPUTING", "DONE",    "FAILED"};

    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        ck_assert_str_eq(handshake_state_name((enum handshake_state)state), states[state]);
        ck_assert_str_ne(handshake_state_meaning((enum handshake_state)state), "");
    }
    for (int event = 0; event < HANDSHAKE_EVENTS; event++) {
        const char *name = handshake_event_name((enum handshake_event)event);

        ck_assert_str_ne(name, "");
        ck_assert_uint_lt(strlen(name), sizeof(((struct slot_refusal *)NULL)->operation));
        for (int other = 0; other < event; other++)
            ck_assert_str_ne(name, handshake_event_name((enum handshake_event)other));
    }
    for (uint32_t check = 1; check <= CHECK_RESULT_FOLLOWERS; check <<= 1) {
        const char *why = handshake_check_reason((enum handshake_check)check);

        ck_assert_str_ne(why, "");
        ck_assert_uint_lt(strlen(why), SLOT_REASON_MAX);
    }
    ck_assert_str_ne(handshake_judge(STATE_READY, EVENT_FLAG_RESULT, 0).reason,
                     handshake_judge(STATE_READY, EVENT_FLAG_INPUT, 0).reason);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("handshake");
    TCase *tests = tcase_create("table");

    tcase_add_test(tests, test_table);
    tcase_add_test(tests, test_purity);
    tcase_add_test(tests, test_laws);
    tcase_add_test(tests, test_flags);
    tcase_add_test(tests, test_words);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
