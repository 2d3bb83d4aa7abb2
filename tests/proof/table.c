// SPDX-License-Identifier: Apache-2.0
/*
 * table.c - writes the table of protocol/handshake.c in Promela, for handshake.pml to include.
 *
 * It asks handshake_judge for every state x event x combination of facts, and writes down what it was told: an expression
 * for each event, in it a case for each state, in that the facts on which the answer depends.
 */
#include "protocol/handshake.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct name {
    uint32_t value;
    const char *name;
};

#define NAME(value)                                                                                          \
    {                                                                                                        \
        value, #value                                                                                        \
    }

static const struct name states[] = {
    NAME(STATE_IDLE),      NAME(STATE_FILLING), NAME(STATE_READY),
    NAME(STATE_COMPUTING), NAME(STATE_DONE),    NAME(STATE_FAILED),
};

static const struct name events[] = {
    NAME(EVENT_OPEN_INPUT_WRITE),
    NAME(EVENT_OPEN_INPUT_READ),
    NAME(EVENT_OPEN_RESULT_WRITE),
    NAME(EVENT_OPEN_RESULT_READ),
    NAME(EVENT_FLAG_INPUT),
    NAME(EVENT_FLAG_RESULT),
    NAME(EVENT_FLAG_FAILED),
    NAME(EVENT_FLAG_NONE),
    NAME(EVENT_PUT_INPUT),
    NAME(EVENT_PUT_RESULT),
    NAME(EVENT_EDIT_INPUT),
    NAME(EVENT_EDIT_RESULT),
    NAME(EVENT_RESIZE_INPUT),
    NAME(EVENT_RESIZE_RESULT),
    NAME(EVENT_UNLINK),
    NAME(EVENT_TAKE_RESULT),
    NAME(EVENT_GIVE_INPUT),
    NAME(EVENT_LINK),
    NAME(EVENT_FOLLOW_INPUT),
    NAME(EVENT_FOLLOW_RESULT),
    NAME(EVENT_DELIVER),
    NAME(EVENT_SOURCE_FAILED),
    NAME(EVENT_SOURCE_RETRIES),
    NAME(EVENT_SOURCE_REMOVED),
    NAME(EVENT_OUTCOME_READ),
    NAME(EVENT_WORKER_DIED),
    NAME(EVENT_RESTART),
    NAME(EVENT_LOST),
};

static const struct name verdicts[] = {NAME(VERDICT_PROCEED), NAME(VERDICT_WAIT), NAME(VERDICT_REFUSE)};

static const struct name facts[] = {
    NAME(FACT_CALLER_FILLS), NAME(FACT_OTHERS_WRITE_RESULT),
    NAME(FACT_EMPTY_RESULT), NAME(FACT_FED),
    NAME(FACT_SHARED),       NAME(FACT_HAS_INPUT),
    NAME(FACT_TAKEN),        NAME(FACT_FAILURE),
    NAME(FACT_BY_SOURCE),    NAME(FACT_BOUND),
    NAME(FACT_LOOP),         NAME(FACT_UNREADABLE),
};

static const struct name checks[] = {
    NAME(CHECK_INPUT_RELEASED),  NAME(CHECK_RESULT_RELEASED),  NAME(CHECK_INPUT_FITS),
    NAME(CHECK_RESULT_FITS),     NAME(CHECK_INPUT_UNREAD),     NAME(CHECK_FAILURE_TAKEN),
    NAME(CHECK_INPUT_FOLLOWERS), NAME(CHECK_RESULT_FOLLOWERS),
};

static const struct name effects[] = {
    NAME(EFFECT_NEW_ROUND),      NAME(EFFECT_FRESH_INPUT),  NAME(EFFECT_FRESH_RESULT),
    NAME(EFFECT_CANCEL_WAITERS), NAME(EFFECT_FAIL_WAITERS), NAME(EFFECT_CLEAR_ERROR),
    NAME(EFFECT_INPUT),          NAME(EFFECT_OUTCOME),      NAME(EFFECT_FAILURE),
    NAME(EFFECT_RECALL),         NAME(EFFECT_TAKEN),
};

static const struct name errnos[] = {NAME(EAGAIN), NAME(EBUSY),  NAME(EPROTO), NAME(EIO),
                                     NAME(EACCES), NAME(EEXIST), NAME(ELOOP)};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

_Static_assert(COUNT(states) == HANDSHAKE_STATES, "every state has a name");
_Static_assert(COUNT(events) == HANDSHAKE_EVENTS, "every event has a name");
_Static_assert(1u << COUNT(facts) == HANDSHAKE_FACTS, "every fact has a name");

static void define(const struct name *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("#define %-24s %u\n", names[i].name, names[i].value);
    printf("\n");
}

static void print_bits(const struct name *names, size_t count, uint32_t bits)
{
    const char *separator = "";

    for (size_t i = 0; i < count; i++) {
        if (!(bits & names[i].value))
            continue;
        printf("%s%s", separator, names[i].name);
        separator = " | ";
        bits &= ~names[i].value;
    }
    if (bits) {
        fprintf(stderr, "a check or an effect has no name here: %#x\n", bits);
        exit(EXIT_FAILURE);
    }
    if (!*separator)
        printf("0");
}

static const char *errno_name(int error)
{
    for (size_t i = 0; i < COUNT(errnos); i++) {
        if (errnos[i].value == (uint32_t)error)
            return errnos[i].name;
    }
    fprintf(stderr, "an errno has no name here: %d\n", error);
    exit(EXIT_FAILURE);
}

static void print_step(const struct handshake_step *step)
{
    switch (step->verdict) {
    case VERDICT_PROCEED:
        printf("PROCEED(%s, ", states[step->next].name);
        print_bits(checks, COUNT(checks), step->checks);
        printf(", ");
        print_bits(effects, COUNT(effects), step->effects);
        printf(")");
        break;
    case VERDICT_WAIT:
        printf("WAIT");
        break;
    case VERDICT_REFUSE:
        printf("REFUSE(%s)", errno_name(step->error));
        break;
    }
}

static bool are_same(const struct handshake_step *a, const struct handshake_step *b)
{
    return a->verdict == b->verdict && a->error == b->error && a->next == b->next && a->checks == b->checks &&
           a->effects == b->effects;
}

/* Whether the answer is the same for all facts that have `fixed` as in `value`. */
static bool is_settled(enum handshake_state state, enum handshake_event event, uint32_t fixed, uint32_t value)
{
    struct handshake_step first = handshake_judge(state, event, value);

    for (uint32_t all = 0; all < HANDSHAKE_FACTS; all++) {
        struct handshake_step step = handshake_judge(state, event, (all & ~fixed) | value);

        if (!are_same(&first, &step))
            return false;
    }
    return true;
}

/* Whether the answer depends on this fact, for facts that have `fixed` as in `value`. */
static bool matters(enum handshake_state state, enum handshake_event event, uint32_t fixed, uint32_t value,
                    uint32_t fact)
{
    for (uint32_t all = 0; all < HANDSHAKE_FACTS; all++) {
        uint32_t without = ((all & ~fixed) | value) & ~fact;
        struct handshake_step no = handshake_judge(state, event, without);
        struct handshake_step yes = handshake_judge(state, event, without | fact);

        if (!are_same(&no, &yes))
            return true;
    }
    return false;
}

/* A fact that settles the answer if it holds; failing that, one that matters at all. */
static uint32_t next_fact(enum handshake_state state, enum handshake_event event, uint32_t fixed,
                          uint32_t value)
{
    uint32_t found = 0;

    for (size_t i = 0; i < COUNT(facts); i++) {
        uint32_t fact = facts[i].value;

        if (fixed & fact || !matters(state, event, fixed, value, fact))
            continue;
        if (is_settled(state, event, fixed | fact, value | fact))
            return fact;
        found = fact;
    }
    return found;
}

static void print_cell(enum handshake_state state, enum handshake_event event, uint32_t fixed, uint32_t value)
{
    struct handshake_step step = handshake_judge(state, event, value);
    uint32_t fact;

    if (is_settled(state, event, fixed, value)) {
        print_step(&step);
        return;
    }
    fact = next_fact(state, event, fixed, value);
    printf("((facts & ");
    print_bits(facts, COUNT(facts), fact);
    printf(") -> ");
    print_cell(state, event, fixed | fact, value | fact);
    printf(" : \\\n            ");
    print_cell(state, event, fixed | fact, value);
    printf(")");
}

/* The last state and the last event need no question. */
static void print_event(enum handshake_event event)
{
    printf("/* %s */\n#define JUDGE_%s(state, facts) \\\n", handshake_event_name(event), events[event].name);
    for (uint32_t state = 0; state < HANDSHAKE_STATES; state++) {
        if (state < HANDSHAKE_STATES - 1)
            printf("    (state == %s -> ", states[state].name);
        else
            printf("    /* %s */ ", states[state].name);
        print_cell((enum handshake_state)state, event, 0, 0);
        printf(state < HANDSHAKE_STATES - 1 ? " : \\\n" : ")))))\n\n");
    }
}

static void print_all_events(void)
{
    printf("/* any of them */\n#define JUDGE(event, state, facts) \\\n");
    for (uint32_t event = 0; event < HANDSHAKE_EVENTS - 1; event++)
        printf("    (event == %s -> JUDGE_%s(state, facts) : \\\n", events[event].name, events[event].name);
    printf("    /* %1$s */ JUDGE_%1$s(state, facts)", events[HANDSHAKE_EVENTS - 1].name);
    for (uint32_t event = 0; event < HANDSHAKE_EVENTS - 1; event++)
        printf(")");
    printf("\n");
}

_Static_assert(HANDSHAKE_STATES == 6, "print_event closes five parentheses");

int main(void)
{
    printf("/* Written by tests/proof/table.c from fs/protocol/handshake.c. */\n\n");
    define(states, COUNT(states));
    define(events, COUNT(events));
    printf("#define HANDSHAKE_EVENTS %u\n\n", HANDSHAKE_EVENTS);
    define(verdicts, COUNT(verdicts));
    define(facts, COUNT(facts));
    define(checks, COUNT(checks));
    define(effects, COUNT(effects));
    define(errnos, COUNT(errnos));
    for (uint32_t event = 0; event < HANDSHAKE_EVENTS; event++)
        print_event((enum handshake_event)event);
    print_all_events();
    return ferror(stdout) || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
