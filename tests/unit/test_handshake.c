// SPDX-License-Identifier: Apache-2.0
/*
 * test_handshake.c - every state x every event x every combination of facts against the table of the
 * handshake, written down a second time: by state, and with all that a step asks for and causes.
 */
#include "protocol/handshake.h"
#include "slot/slot.h"
#include "suite.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { SAME_STATE = HANDSHAKE_STATES, ALL_FACTS = 8 };

/* What is expected of one cell, and what instead if the fact holds. */
struct answer {
    enum handshake_verdict verdict;
    int error;
    int next;
    uint32_t checks;
    uint32_t effects;
};

struct cell {
    struct answer usual;
    uint32_t fact;
    struct answer instead;
};

/* clang-format off */
#define GO(next, checks, effects) {VERDICT_PROCEED, 0, next, checks, effects}
#define NO(error)                 {VERDICT_REFUSE, error, SAME_STATE, 0, 0}
#define PARK                      {VERDICT_WAIT, EAGAIN, SAME_STATE, 0, 0}

#define OK             {.usual = GO(SAME_STATE, 0, 0)}
#define WAITS          {.usual = PARK}
#define WAITS_UNLESS_IT_FILLS \
                       {.usual = PARK, .fact = FACT_CALLER_FILLS, .instead = GO(SAME_STATE, 0, 0)}
#define IS_EBUSY       {.usual = NO(EBUSY)}
#define IS_EPROTO      {.usual = NO(EPROTO)}
#define IS_EIO         {.usual = NO(EIO)}
#define OK_UNLESS_OTHERS_WRITE \
                       {.usual = GO(SAME_STATE, 0, 0), .fact = FACT_OTHERS_WRITE_RESULT, .instead = NO(EBUSY)}
#define TO(next)       {.usual = GO(STATE_##next, 0, 0)}
#define TO_IF(next, checks, effects) \
                       {.usual = GO(STATE_##next, checks, effects)}
#define ONLY_IF_EMPTY(next, checks) \
                       {.usual = NO(EPROTO), .fact = FACT_EMPTY_RESULT, .instead = GO(STATE_##next, checks, 0)}

#define FRESH          (EFFECT_FRESH_INPUT | EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR)
#define NEXT_ROUND     (FRESH | EFFECT_NEW_ROUND)
#define DROPPED        (FRESH | EFFECT_CANCEL_WAITERS)
#define CANCELLED      (DROPPED | EFFECT_NEW_ROUND)
#define INPUT_DONE     (CHECK_INPUT_RELEASED | CHECK_INPUT_FITS)
#define RESULT_DONE    (CHECK_RESULT_RELEASED | CHECK_RESULT_FITS)
#define AGAIN          (EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR)

static const struct cell table[HANDSHAKE_STATES][HANDSHAKE_EVENTS] = {
    [STATE_IDLE] = {
        [EVENT_OPEN_INPUT_WRITE]  = TO(FILLING),
        [EVENT_OPEN_INPUT_READ]   = WAITS,
        [EVENT_OPEN_RESULT_WRITE] = IS_EBUSY,
        [EVENT_OPEN_RESULT_READ]  = WAITS,
        [EVENT_FLAG_INPUT]        = TO_IF(READY, INPUT_DONE, 0),
        [EVENT_FLAG_RESULT]       = IS_EPROTO,
        [EVENT_FLAG_FAILED]       = IS_EPROTO,
        [EVENT_FLAG_NONE]         = OK,
        [EVENT_EDIT_INPUT]        = OK,
        [EVENT_EDIT_RESULT]       = IS_EBUSY,
        [EVENT_RESIZE_INPUT]      = TO(FILLING),
        [EVENT_RESIZE_RESULT]     = IS_EBUSY,
        [EVENT_UNLINK]            = OK,
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = TO_IF(FILLING, 0, EFFECT_FRESH_INPUT),
        [EVENT_WORKER_DIED]       = OK,
    },
    [STATE_FILLING] = {
        [EVENT_OPEN_INPUT_WRITE]  = OK,
        [EVENT_OPEN_INPUT_READ]   = WAITS_UNLESS_IT_FILLS,
        [EVENT_OPEN_RESULT_WRITE] = IS_EBUSY,
        [EVENT_OPEN_RESULT_READ]  = WAITS,
        [EVENT_FLAG_INPUT]        = TO_IF(READY, INPUT_DONE, 0),
        [EVENT_FLAG_RESULT]       = IS_EPROTO,
        [EVENT_FLAG_FAILED]       = IS_EPROTO,
        [EVENT_FLAG_NONE]         = TO_IF(IDLE, 0, DROPPED),
        [EVENT_EDIT_INPUT]        = OK,
        [EVENT_EDIT_RESULT]       = IS_EBUSY,
        [EVENT_RESIZE_INPUT]      = OK,
        [EVENT_RESIZE_RESULT]     = IS_EBUSY,
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, DROPPED),
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = IS_EBUSY,
        [EVENT_WORKER_DIED]       = OK,
    },
    [STATE_READY] = {
        [EVENT_OPEN_INPUT_WRITE]  = IS_EBUSY,
        [EVENT_OPEN_INPUT_READ]   = OK,
        [EVENT_OPEN_RESULT_WRITE] = TO(COMPUTING),
        [EVENT_OPEN_RESULT_READ]  = WAITS,
        [EVENT_FLAG_INPUT]        = IS_EPROTO,
        [EVENT_FLAG_RESULT]       = ONLY_IF_EMPTY(DONE, RESULT_DONE),
        [EVENT_FLAG_FAILED]       = TO_IF(FAILED, 0, EFFECT_FAIL_WAITERS),
        [EVENT_FLAG_NONE]         = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_EDIT_INPUT]        = IS_EBUSY,
        [EVENT_EDIT_RESULT]       = OK,
        [EVENT_RESIZE_INPUT]      = IS_EBUSY,
        [EVENT_RESIZE_RESULT]     = TO(COMPUTING),
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = IS_EBUSY,
        [EVENT_WORKER_DIED]       = TO_IF(FAILED, 0, EFFECT_FAIL_WAITERS),
    },
    [STATE_COMPUTING] = {
        [EVENT_OPEN_INPUT_WRITE]  = IS_EBUSY,
        [EVENT_OPEN_INPUT_READ]   = OK,
        [EVENT_OPEN_RESULT_WRITE] = OK_UNLESS_OTHERS_WRITE,
        [EVENT_OPEN_RESULT_READ]  = WAITS,
        [EVENT_FLAG_INPUT]        = IS_EPROTO,
        [EVENT_FLAG_RESULT]       = TO_IF(DONE, RESULT_DONE, 0),
        [EVENT_FLAG_FAILED]       = TO_IF(FAILED, 0, EFFECT_FAIL_WAITERS),
        [EVENT_FLAG_NONE]         = IS_EBUSY,
        [EVENT_EDIT_INPUT]        = IS_EBUSY,
        [EVENT_EDIT_RESULT]       = OK,
        [EVENT_RESIZE_INPUT]      = IS_EBUSY,
        [EVENT_RESIZE_RESULT]     = OK_UNLESS_OTHERS_WRITE,
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = IS_EBUSY,
        [EVENT_WORKER_DIED]       = TO_IF(FAILED, 0, EFFECT_FAIL_WAITERS),
    },
    [STATE_DONE] = {
        [EVENT_OPEN_INPUT_WRITE]  = TO_IF(FILLING, 0, NEXT_ROUND),
        [EVENT_OPEN_INPUT_READ]   = OK,
        [EVENT_OPEN_RESULT_WRITE] = IS_EBUSY,
        [EVENT_OPEN_RESULT_READ]  = OK,
        [EVENT_FLAG_INPUT]        = IS_EPROTO,
        [EVENT_FLAG_RESULT]       = OK,
        [EVENT_FLAG_FAILED]       = IS_EPROTO,
        [EVENT_FLAG_NONE]         = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_EDIT_INPUT]        = IS_EBUSY,
        [EVENT_EDIT_RESULT]       = IS_EBUSY,
        [EVENT_RESIZE_INPUT]      = TO_IF(FILLING, 0, NEXT_ROUND),
        [EVENT_RESIZE_RESULT]     = IS_EBUSY,
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_TAKE_RESULT]       = TO_IF(IDLE, 0, NEXT_ROUND),
        [EVENT_GIVE_INPUT]        = TO_IF(FILLING, 0, NEXT_ROUND),
        [EVENT_WORKER_DIED]       = OK,
    },
    [STATE_FAILED] = {
        [EVENT_OPEN_INPUT_WRITE]  = TO_IF(FILLING, 0, NEXT_ROUND),
        [EVENT_OPEN_INPUT_READ]   = OK,
        [EVENT_OPEN_RESULT_WRITE] = IS_EBUSY,
        [EVENT_OPEN_RESULT_READ]  = IS_EIO,
        [EVENT_FLAG_INPUT]        = TO_IF(READY, CHECK_INPUT_FITS, AGAIN),
        [EVENT_FLAG_RESULT]       = IS_EPROTO,
        [EVENT_FLAG_FAILED]       = OK,
        [EVENT_FLAG_NONE]         = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_EDIT_INPUT]        = IS_EBUSY,
        [EVENT_EDIT_RESULT]       = IS_EBUSY,
        [EVENT_RESIZE_INPUT]      = TO_IF(FILLING, 0, NEXT_ROUND),
        [EVENT_RESIZE_RESULT]     = IS_EBUSY,
        [EVENT_UNLINK]            = TO_IF(IDLE, 0, CANCELLED),
        [EVENT_TAKE_RESULT]       = IS_EBUSY,
        [EVENT_GIVE_INPUT]        = TO_IF(FILLING, 0, NEXT_ROUND),
        [EVENT_WORKER_DIED]       = OK,
    },
};
/* clang-format on */

typedef void visit_function(enum handshake_state state, enum handshake_event event, uint32_t facts,
                            const struct handshake_step *step);

static void visit_all(visit_function *visit)
{
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        for (int event = 0; event < HANDSHAKE_EVENTS; event++) {
            for (uint32_t facts = 0; facts < ALL_FACTS; facts++) {
                struct handshake_step step =
                    handshake_judge((enum handshake_state)state, (enum handshake_event)event, facts);
                visit((enum handshake_state)state, (enum handshake_event)event, facts, &step);
            }
        }
    }
}

static void compare(enum handshake_state state, enum handshake_event event, uint32_t facts,
                    const struct handshake_step *step)
{
    const struct cell *cell = &table[state][event];
    const struct answer *answer = facts & cell->fact ? &cell->instead : &cell->usual;
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

/* Backwards and with other questions in between: the answers do not depend on what was asked before. */
START_TEST(test_purity)
{
    for (int cell = HANDSHAKE_STATES * HANDSHAKE_EVENTS * ALL_FACTS - 1; cell >= 0; cell--) {
        enum handshake_state state = (enum handshake_state)(cell % HANDSHAKE_STATES);
        enum handshake_event event =
            (enum handshake_event)((unsigned)(cell / HANDSHAKE_STATES) % HANDSHAKE_EVENTS);
        uint32_t facts = (uint32_t)cell / (HANDSHAKE_STATES * HANDSHAKE_EVENTS);
        struct handshake_step first = handshake_judge(state, event, facts);
        struct handshake_step again;

        handshake_judge(first.next, event, ~facts);
        again = handshake_judge(state, event, facts);
        ck_assert_mem_eq(&first, &again, sizeof(first));
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
    if (step->verdict == VERDICT_PROCEED)
        return;
    ck_assert_int_eq(step->next, state);
    ck_assert_uint_eq(step->checks, 0);
    ck_assert_uint_eq(step->effects, 0);
}

/* A round ends with the arrays of its states, and only then; a new one begins with fresh arrays. */
static void rounds_change_with_arrays(enum handshake_state state, enum handshake_event event, uint32_t facts,
                                      const struct handshake_step *step)
{
    bool had_input = state != STATE_IDLE && state != STATE_FILLING;
    bool without = step->next == STATE_IDLE || step->next == STATE_FILLING;

    (void)event;
    (void)facts;
    ck_assert_int_eq((step->effects & EFFECT_NEW_ROUND) != 0, had_input && without);
    if (step->effects & EFFECT_NEW_ROUND)
        ck_assert_uint_eq(step->effects & FRESH, FRESH);
    if (step->next == STATE_IDLE && state != STATE_IDLE)
        ck_assert_uint_eq(step->effects & FRESH, FRESH);
    if (!without) /* an input that is published stays until its round is over */
        ck_assert_uint_eq(step->effects & EFFECT_FRESH_INPUT, 0);
}

static void publishing_is_checked(enum handshake_state state, enum handshake_event event, uint32_t facts,
                                  const struct handshake_step *step)
{
    bool publishes_input = step->next == STATE_READY && state != STATE_READY;
    bool publishes_result = step->next == STATE_DONE && state != STATE_DONE;

    (void)event;
    (void)facts;
    ck_assert_int_eq((step->checks & CHECK_INPUT_FITS) != 0, publishes_input);
    ck_assert_int_eq((step->checks & CHECK_RESULT_FITS) != 0, publishes_result);
    /* The input of a failed round was let go when it was published. */
    ck_assert_int_eq((step->checks & CHECK_INPUT_RELEASED) != 0, publishes_input && state != STATE_FAILED);
    ck_assert_int_eq((step->checks & CHECK_RESULT_RELEASED) != 0, publishes_result);
}

static void waiters_learn_of_the_end(enum handshake_state state, enum handshake_event event, uint32_t facts,
                                     const struct handshake_step *step)
{
    bool moves = event == EVENT_TAKE_RESULT; /* nobody waits in a slot that is DONE */

    (void)facts;
    ck_assert_int_eq((step->effects & EFFECT_CANCEL_WAITERS) != 0,
                     step->next == STATE_IDLE && state != STATE_IDLE && !moves);
    ck_assert_int_eq((step->effects & EFFECT_FAIL_WAITERS) != 0,
                     step->next == STATE_FAILED && state != STATE_FAILED);
    if (state == STATE_FAILED && step->next != STATE_FAILED)
        ck_assert_uint_ne(step->effects & EFFECT_CLEAR_ERROR, 0);
}

START_TEST(test_laws)
{
    visit_all(only_proceeding_does_something);
    visit_all(rounds_change_with_arrays);
    visit_all(publishing_is_checked);
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
        for (int state = 0; state < HANDSHAKE_STATES; state++) {
            const char *why = handshake_reason((enum handshake_state)state, (enum handshake_event)event);

            ck_assert_str_ne(why, "");
            ck_assert_uint_lt(strlen(why), sizeof(((struct slot_refusal *)NULL)->reason));
        }
    }
    ck_assert_str_ne(handshake_reason(STATE_READY, EVENT_FLAG_RESULT),
                     handshake_reason(STATE_READY, EVENT_FLAG_INPUT));
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
