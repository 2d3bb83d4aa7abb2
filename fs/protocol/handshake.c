// SPDX-License-Identifier: Apache-2.0
#include "protocol/handshake.h"

#include "protocol/record.h"
#include <errno.h>
#include <stdbool.h>

/* Names that keep the table below as wide as a page. */
enum answer {
    OK,         /* proceed, same state */
    WAIT,       /* park */
    WAIT_IF,    /* park, unless the caller fills data.bin itself */
    BUSY,       /* refuse: not your turn */
    PROTO,      /* refuse: no such transition */
    FAILED_EIO, /* refuse: the round failed */
    SOLE,       /* proceed, unless a stranger writes the result: then BUSY */
    FILL,       /* -> FILLING, the round goes on */
    FILL_ON,    /* stay FILLING, if no client reads the array that was moved here */
    REFILL,     /* -> FILLING, next round */
    PUBLISH,  /* -> READY, if data.bin was released and the record fits it; not if a source feeds the slot */
    RETRY,    /* -> READY with the same input, if the round had one */
    COMPUTE,  /* -> COMPUTING */
    FINISH,   /* -> DONE, if result.bin was released and the record fits it */
    FINISH_0, /* the same if the result is empty, else PROTO */
    PUT,      /* -> READY with the array of this write, as PUBLISH */
    PUT_OVER, /* the same in place of what was written */
    PUT_ON,   /* the same in the next round */
    ANSWER,   /* -> DONE with the array of this write, as FINISH */
    ANSWER_OVER, /* the same in place of what was written */
    FAIL,        /* -> FAILED */
    DIE,         /* -> FAILED, if the worker is bound to this round */
    DROP,        /* -> IDLE, data dropped, the round number stays */
    CANCEL,      /* -> IDLE, round over */
    MOVED,       /* -> IDLE, its result was moved to another name */
    RECEIVE,     /* -> FILLING with a moved result as input, the round goes on */
    RECEIVE_ON,  /* the same in the next round */
    HELD,        /* refuse: the slot cannot be chained now */
    OWED,        /* proceed with the last round's failure, if it failed, else park */
    GIVEN,       /* proceed if the round had an input, else its failure */
    /* -> READY with the source's array, the round goes on; -> FAILED if the owner may not read it. Park if a
       follower has still to take the failure of a round that was cancelled since. */
    TAKE,
    TAKE_ON,    /* the same in the next round, if the outcome of this one was taken, else park */
    INHERIT,    /* -> FAILED as the source did, the round goes on; parks as TAKE */
    INHERIT_ON, /* the same in the next round, if the outcome of this one was taken, else park */
    RECALL,     /* -> IDLE, if the slot failed because its source did: the source tries again */
    READ,       /* same state, a reader has taken the outcome */
};

/* clang-format off */
static const unsigned char table[HANDSHAKE_EVENTS][HANDSHAKE_STATES] = {
    /*                            IDLE     FILLING     READY     COMPUTING  DONE        FAILED */
    [EVENT_OPEN_INPUT_WRITE]  = { FILL,    FILL_ON,    BUSY,     BUSY,      REFILL,     REFILL },
    [EVENT_OPEN_INPUT_READ]   = { WAIT,    WAIT_IF,    OK,       OK,        OK,         OK },
    [EVENT_OPEN_RESULT_WRITE] = { BUSY,    BUSY,       COMPUTE,  SOLE,      BUSY,       BUSY },
    [EVENT_OPEN_RESULT_READ]  = { WAIT,    WAIT,       WAIT,     WAIT,      OK,         FAILED_EIO },
    [EVENT_FLAG_INPUT]        = { PUBLISH, PUBLISH,    PROTO,    PROTO,     PROTO,      RETRY },
    [EVENT_FLAG_RESULT]       = { PROTO,   PROTO,      FINISH_0, FINISH,    OK,         PROTO },
    [EVENT_FLAG_FAILED]       = { PROTO,   PROTO,      FAIL,     FAIL,      PROTO,      OK },
    [EVENT_FLAG_NONE]         = { OK,      DROP,       CANCEL,   BUSY,      CANCEL,     CANCEL },
    [EVENT_PUT_INPUT]         = { PUT,     PUT_OVER,   BUSY,     BUSY,      PUT_ON,     PUT_ON },
    [EVENT_PUT_RESULT]        = { BUSY,    BUSY,       ANSWER,   ANSWER_OVER, BUSY,     BUSY },
    [EVENT_EDIT_INPUT]        = { OK,      OK,         BUSY,     BUSY,      BUSY,       BUSY },
    [EVENT_EDIT_RESULT]       = { BUSY,    BUSY,       OK,       OK,        BUSY,       BUSY },
    [EVENT_RESIZE_INPUT]      = { FILL,    FILL_ON,    BUSY,     BUSY,      REFILL,     REFILL },
    [EVENT_RESIZE_RESULT]     = { BUSY,    BUSY,       COMPUTE,  SOLE,      BUSY,       BUSY },
    [EVENT_UNLINK]            = { OK,      DROP,       CANCEL,   CANCEL,    CANCEL,     CANCEL },
    [EVENT_TAKE_RESULT]       = { BUSY,    BUSY,       BUSY,     BUSY,      MOVED,      BUSY },
    [EVENT_GIVE_INPUT]        = { RECEIVE, BUSY,       BUSY,     BUSY,      RECEIVE_ON, RECEIVE_ON },
    [EVENT_LINK]              = { OK,      HELD,       HELD,     HELD,      OK,         OK },
    [EVENT_FOLLOW_INPUT]      = { WAIT,    WAIT,       OK,       OK,        OK,         GIVEN },
    [EVENT_FOLLOW_RESULT]     = { OWED,    OWED,       WAIT,     WAIT,      OK,         FAILED_EIO },
    [EVENT_DELIVER]           = { TAKE,    WAIT,       WAIT,     WAIT,      TAKE_ON,    TAKE_ON },
    [EVENT_SOURCE_FAILED]     = { INHERIT, WAIT,       WAIT,     WAIT,      INHERIT_ON, INHERIT_ON },
    [EVENT_SOURCE_RETRIES]    = { OK,      OK,         OK,       OK,        OK,         RECALL },
    [EVENT_SOURCE_REMOVED]    = { FAIL,    OK,         OK,       OK,        OK,         OK },
    [EVENT_OUTCOME_READ]      = { OK,      OK,         OK,       OK,        READ,       READ },
    [EVENT_WORKER_DIED]       = { OK,      OK,         DIE,      DIE,       OK,         OK },
    [EVENT_RESTART]           = { OK,      OK,         DIE,      FAIL,      OK,         OK },
    [EVENT_LOST]              = { FAIL,    OK,         OK,       OK,        OK,         OK },
};
/* clang-format on */

static const char fed[] = "the slot is chained: its input comes from its source";

/* Facts that refuse an event in every state. */
static const struct {
    enum handshake_event event;
    uint32_t fact;
    int error;
    const char *reason;
} refusals[] = {
    {EVENT_OPEN_INPUT_WRITE, FACT_FED, EBUSY, fed},
    {EVENT_RESIZE_INPUT, FACT_FED, EBUSY, fed},
    {EVENT_GIVE_INPUT, FACT_FED, EBUSY, fed},
    {EVENT_PUT_INPUT, FACT_FED, EBUSY, fed},
    {EVENT_OPEN_INPUT_WRITE, FACT_SHARED, EBUSY, "a chained slot has the same pages"},
    {EVENT_RESIZE_INPUT, FACT_SHARED, EBUSY, "a chained slot has the same pages"},
    {EVENT_OPEN_RESULT_WRITE, FACT_SHARED, EBUSY, "a chained slot has the same pages"},
    {EVENT_RESIZE_RESULT, FACT_SHARED, EBUSY, "a chained slot has the same pages"},
    {EVENT_LINK, FACT_UNREADABLE, EACCES, "the source may not be read"},
    {EVENT_LINK, FACT_FED, EEXIST, "it has a source already"},
    {EVENT_LINK, FACT_LOOP, ELOOP, "the chain would close on itself"},
};

static const struct {
    const char *name;
    const char *meaning;
    const char *busy; /* why a request waits or is refused in this state */
} states[HANDSHAKE_STATES] = {
    [STATE_IDLE] = {"IDLE", "no input yet", "there is no input yet: write data.bin, then flag 0"},
    [STATE_FILLING] = {"FILLING", "the input is being written", "the input is still being written"},
    [STATE_READY] = {"READY", "input ready, nobody has begun the result",
                     "the input is published and waits for a worker"},
    [STATE_COMPUTING] = {"COMPUTING", "the result is being written", "the result is being written"},
    [STATE_DONE] = {"DONE", "result ready", "the round is done: write data.bin to begin the next"},
    [STATE_FAILED] = {"FAILED", "the round failed, see error", "the round failed, see error"},
};

static struct handshake_step proceed(enum handshake_state next, uint32_t checks, uint32_t effects)
{
    return (struct handshake_step){VERDICT_PROCEED, 0, next, checks, effects, NULL};
}

static struct handshake_step refuse(enum handshake_state state, int error, const char *reason)
{
    return (struct handshake_step){VERDICT_REFUSE, error, state, 0, 0, reason};
}

static struct handshake_step park(enum handshake_state state, const char *reason)
{
    return (struct handshake_step){VERDICT_WAIT, EAGAIN, state, 0, 0, reason};
}

enum {
    FRESH = EFFECT_FRESH_INPUT | EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR,
    FAILURE = EFFECT_OUTCOME | EFFECT_FAILURE | EFFECT_FAIL_WAITERS,
};

static struct handshake_step fail(uint32_t checks, uint32_t effects)
{
    return proceed(STATE_FAILED, checks, FAILURE | effects);
}

/* Park the delivery: the slot has an outcome that no reader or follower has taken yet. */
static struct handshake_step park_untaken(enum handshake_state state)
{
    if (state == STATE_IDLE)
        return park(state, handshake_check_reason(CHECK_FAILURE_TAKEN));
    return park(state, state == STATE_DONE ? "its result was not taken yet"
                                           : "its failure was not taken yet: read result.bin or error");
}

/* A client has cancelled the round that failed, and a follower was not ready to learn that it did. */
static bool owes_failure(uint32_t facts)
{
    return facts & FACT_FAILURE && !(facts & FACT_TAKEN);
}

struct handshake_step handshake_judge(enum handshake_state state, enum handshake_event event, uint32_t facts)
{
    const uint32_t input_checks =
        CHECK_INPUT_RELEASED | CHECK_INPUT_FITS | CHECK_FAILURE_TAKEN | CHECK_INPUT_FOLLOWERS;
    const uint32_t result_checks = CHECK_RESULT_RELEASED | CHECK_RESULT_FITS | CHECK_RESULT_FOLLOWERS;
    const char *busy = states[state].busy;

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        if (refusals[i].event == event && refusals[i].fact & facts)
            return refuse(state, refusals[i].error, refusals[i].reason);
    }
    switch ((enum answer)table[event][state]) {
    case OK:
        return proceed(state, 0, 0);
    case WAIT:
        return park(state, busy);
    case WAIT_IF:
        return facts & FACT_CALLER_FILLS ? proceed(state, 0, 0) : park(state, busy);
    case BUSY:
        return refuse(state, EBUSY, busy);
    case PROTO:
        return refuse(state, EPROTO, busy);
    case FAILED_EIO:
        return refuse(state, EIO, busy);
    case SOLE:
        return facts & FACT_OTHERS_WRITE_RESULT ? refuse(state, EBUSY, busy) : proceed(state, 0, 0);
    case FILL:
        return proceed(STATE_FILLING, 0, 0);
    case FILL_ON:
        return proceed(STATE_FILLING, CHECK_INPUT_UNREAD, 0);
    case REFILL:
        return proceed(STATE_FILLING, 0, FRESH | EFFECT_NEW_ROUND);
    case PUBLISH:
        if (facts & FACT_FED)
            return refuse(state, EBUSY, fed);
        return proceed(STATE_READY, input_checks, EFFECT_INPUT);
    case RETRY:
        if (facts & FACT_HAS_INPUT)
            return proceed(STATE_READY, CHECK_INPUT_FITS | CHECK_INPUT_FOLLOWERS,
                           EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR | EFFECT_RECALL | EFFECT_INPUT);
        return facts & FACT_FED ? refuse(state, EBUSY, fed)
                                : refuse(state, EPROTO, "the round failed before it had an input");
    case COMPUTE:
        return proceed(STATE_COMPUTING, 0, 0);
    case FINISH_0:
        if (!(facts & FACT_EMPTY_RESULT))
            return refuse(state, EPROTO,
                          "result.bin was never opened for writing, and the result is not empty");
        return proceed(STATE_DONE, result_checks, EFFECT_OUTCOME);
    case FINISH:
        return proceed(STATE_DONE, result_checks, EFFECT_OUTCOME);
    case PUT:
        return proceed(STATE_READY, input_checks, EFFECT_INPUT);
    case PUT_OVER:
        return proceed(STATE_READY, input_checks, EFFECT_FRESH_INPUT | EFFECT_INPUT);
    case PUT_ON:
        return proceed(STATE_READY, input_checks, FRESH | EFFECT_NEW_ROUND | EFFECT_INPUT);
    case ANSWER:
        return proceed(STATE_DONE, result_checks, EFFECT_OUTCOME);
    case ANSWER_OVER:
        return proceed(STATE_DONE, result_checks, EFFECT_FRESH_RESULT | EFFECT_OUTCOME);
    case FAIL:
        return fail(0, 0);
    case DIE:
        return facts & FACT_BOUND ? fail(0, 0) : proceed(state, 0, 0);
    case DROP:
        return proceed(STATE_IDLE, 0, FRESH | EFFECT_CANCEL_WAITERS);
    case CANCEL:
        return proceed(STATE_IDLE, 0, FRESH | EFFECT_CANCEL_WAITERS | EFFECT_NEW_ROUND);
    case MOVED:
        return proceed(STATE_IDLE, 0, FRESH | EFFECT_NEW_ROUND);
    case RECEIVE:
        return proceed(STATE_FILLING, 0, EFFECT_FRESH_INPUT);
    case RECEIVE_ON:
        return proceed(STATE_FILLING, 0, FRESH | EFFECT_NEW_ROUND);
    case HELD:
        return refuse(state, EBUSY, "it has an input on its way already");
    case OWED:
        return facts & FACT_FAILURE ? refuse(state, EIO, "the last round failed") : park(state, busy);
    case GIVEN:
        return facts & FACT_HAS_INPUT ? proceed(state, 0, 0) : refuse(state, EIO, busy);
    case TAKE:
        if (owes_failure(facts))
            return park_untaken(state);
        if (facts & FACT_UNREADABLE)
            return fail(CHECK_INPUT_FOLLOWERS, 0);
        return proceed(STATE_READY, CHECK_INPUT_FOLLOWERS,
                       EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR | EFFECT_INPUT);
    case TAKE_ON:
        if (!(facts & FACT_TAKEN))
            return park_untaken(state);
        if (facts & FACT_UNREADABLE)
            return fail(CHECK_INPUT_FOLLOWERS, FRESH | EFFECT_NEW_ROUND);
        return proceed(STATE_READY, CHECK_INPUT_FOLLOWERS,
                       EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR | EFFECT_INPUT | EFFECT_NEW_ROUND);
    case INHERIT:
        return owes_failure(facts) ? park_untaken(state) : fail(CHECK_INPUT_FOLLOWERS, 0);
    case INHERIT_ON:
        return facts & FACT_TAKEN ? fail(CHECK_INPUT_FOLLOWERS, FRESH | EFFECT_NEW_ROUND)
                                  : park_untaken(state);
    case RECALL:
        return facts & FACT_BY_SOURCE ? proceed(STATE_IDLE, 0, FRESH | EFFECT_RECALL) : proceed(state, 0, 0);
    case READ:
        break;
    }
    return proceed(state, 0, EFFECT_TAKEN);
}

int32_t handshake_flag(enum handshake_state state)
{
    switch (state) {
    case STATE_IDLE:
    case STATE_FILLING:
        return RECORD_FLAG_NONE;
    case STATE_READY:
    case STATE_COMPUTING:
        return RECORD_FLAG_INPUT;
    case STATE_DONE:
        return RECORD_FLAG_RESULT;
    case STATE_FAILED:
    case HANDSHAKE_STATES:
        break;
    }
    return RECORD_FLAG_FAILED;
}

const char *handshake_state_name(enum handshake_state state)
{
    return states[state].name;
}

const char *handshake_state_meaning(enum handshake_state state)
{
    return states[state].meaning;
}

const char *handshake_event_name(enum handshake_event event)
{
    static const char *const names[HANDSHAKE_EVENTS] = {
        [EVENT_OPEN_INPUT_WRITE] = "open data.bin for writing",
        [EVENT_OPEN_INPUT_READ] = "open data.bin for reading",
        [EVENT_OPEN_RESULT_WRITE] = "open result.bin for writing",
        [EVENT_OPEN_RESULT_READ] = "open result.bin for reading",
        [EVENT_FLAG_INPUT] = "write flag 0",
        [EVENT_FLAG_RESULT] = "write flag 1",
        [EVENT_FLAG_FAILED] = "fail the round",
        [EVENT_FLAG_NONE] = "write flag -1",
        [EVENT_PUT_INPUT] = "write flag 0 and the input",
        [EVENT_PUT_RESULT] = "write flag 1 and the result",
        [EVENT_EDIT_INPUT] = "change input fields",
        [EVENT_EDIT_RESULT] = "change result fields",
        [EVENT_RESIZE_INPUT] = "resize data.bin",
        [EVENT_RESIZE_RESULT] = "resize result.bin",
        [EVENT_UNLINK] = "unlink",
        [EVENT_TAKE_RESULT] = "rename result.bin away",
        [EVENT_GIVE_INPUT] = "receive an input",
        [EVENT_LINK] = "chain the slot",
        [EVENT_FOLLOW_INPUT] = "give data.bin to a follower",
        [EVENT_FOLLOW_RESULT] = "give result.bin to a follower",
        [EVENT_DELIVER] = "take the source's array",
        [EVENT_SOURCE_FAILED] = "take the source's failure",
        [EVENT_SOURCE_RETRIES] = "wait for the source's next try",
        [EVENT_SOURCE_REMOVED] = "lose the source",
        [EVENT_OUTCOME_READ] = "have the outcome read",
        [EVENT_WORKER_DIED] = "lose the worker",
        [EVENT_RESTART] = "start again",
        [EVENT_LOST] = "stand for lost slots",
    };
    return names[event];
}

const char *handshake_check_reason(enum handshake_check check)
{
    switch (check) {
    case CHECK_INPUT_RELEASED:
        return "data.bin is still open or mapped for writing: munmap and close it first";
    case CHECK_RESULT_RELEASED:
        return "result.bin is still open or mapped for writing: munmap and close it first";
    case CHECK_INPUT_FITS:
        return "the record does not describe data.bin";
    case CHECK_RESULT_FITS:
        return "the record does not describe result.bin";
    case CHECK_INPUT_UNREAD:
        return "the input that was moved here is still being read elsewhere";
    case CHECK_FAILURE_TAKEN:
        return "a follower has not taken the failure of the last round yet";
    case CHECK_INPUT_FOLLOWERS:
    case CHECK_RESULT_FOLLOWERS:
        break;
    }
    return "a follower has not taken the last one yet";
}
