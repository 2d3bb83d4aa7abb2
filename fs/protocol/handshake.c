// SPDX-License-Identifier: Apache-2.0
#include "protocol/handshake.h"

#include "protocol/record.h"
#include <errno.h>

/* Names that keep the table below as wide as a page. */
enum answer {
    OK,         /* proceed, same state */
    WAIT,       /* park */
    WAIT_IF,    /* park, unless the caller is the one who fills */
    BUSY,       /* not your turn */
    PROTO,      /* no such transition */
    FAILED_EIO, /* the round failed */
    SHARED,     /* proceed, unless another process writes the result: then not your turn */
    FILL,       /* -> FILLING, the round goes on */
    REFILL,     /* -> FILLING, next round */
    PUBLISH,    /* -> READY, if data.bin was let go and the record fits it */
    RETRY,      /* -> READY with the same input */
    COMPUTE,    /* -> COMPUTING */
    FINISH,     /* -> DONE, if the record fits result.bin and that was let go */
    FINISH_0,   /* the same with an empty result, else no such transition */
    FAIL,       /* -> FAILED */
    DROP,       /* -> IDLE, data dropped, the round number stays */
    CANCEL,     /* -> IDLE, round over */
    MOVED,      /* -> IDLE, its result has gone elsewhere */
    RECEIVE,    /* -> FILLING with somebody's result as input, the round goes on */
    RECEIVE_ON, /* the same in the next round */
};

/* clang-format off */
static const unsigned char table[HANDSHAKE_EVENTS][HANDSHAKE_STATES] = {
    /*                            IDLE     FILLING     READY     COMPUTING  DONE        FAILED */
    [EVENT_OPEN_INPUT_WRITE]  = { FILL,    OK,         BUSY,     BUSY,      REFILL,     REFILL },
    [EVENT_OPEN_INPUT_READ]   = { WAIT,    WAIT_IF,    OK,       OK,        OK,         OK },
    [EVENT_OPEN_RESULT_WRITE] = { BUSY,    BUSY,       COMPUTE,  SHARED,    BUSY,       BUSY },
    [EVENT_OPEN_RESULT_READ]  = { WAIT,    WAIT,       WAIT,     WAIT,      OK,         FAILED_EIO },
    [EVENT_FLAG_INPUT]        = { PUBLISH, PUBLISH,    PROTO,    PROTO,     PROTO,      RETRY },
    [EVENT_FLAG_RESULT]       = { PROTO,   PROTO,      FINISH_0, FINISH,    OK,         PROTO },
    [EVENT_FLAG_FAILED]       = { PROTO,   PROTO,      FAIL,     FAIL,      PROTO,      OK },
    [EVENT_FLAG_NONE]         = { OK,      DROP,       CANCEL,   BUSY,      CANCEL,     CANCEL },
    [EVENT_EDIT_INPUT]        = { OK,      OK,         BUSY,     BUSY,      BUSY,       BUSY },
    [EVENT_EDIT_RESULT]       = { BUSY,    BUSY,       OK,       OK,        BUSY,       BUSY },
    [EVENT_RESIZE_INPUT]      = { FILL,    OK,         BUSY,     BUSY,      REFILL,     REFILL },
    [EVENT_RESIZE_RESULT]     = { BUSY,    BUSY,       COMPUTE,  SHARED,    BUSY,       BUSY },
    [EVENT_UNLINK]            = { OK,      DROP,       CANCEL,   CANCEL,    CANCEL,     CANCEL },
    [EVENT_TAKE_RESULT]       = { BUSY,    BUSY,       BUSY,     BUSY,      MOVED,      BUSY },
    [EVENT_GIVE_INPUT]        = { RECEIVE, BUSY,       BUSY,     BUSY,      RECEIVE_ON, RECEIVE_ON },
    [EVENT_WORKER_DIED]       = { OK,      OK,         FAIL,     FAIL,      OK,         OK },
};
/* clang-format on */

static struct handshake_step proceed(enum handshake_state next, uint32_t checks, uint32_t effects)
{
    return (struct handshake_step){VERDICT_PROCEED, 0, next, checks, effects};
}

static struct handshake_step refuse(enum handshake_state state, int error)
{
    return (struct handshake_step){VERDICT_REFUSE, error, state, 0, 0};
}

static struct handshake_step park(enum handshake_state state)
{
    return (struct handshake_step){VERDICT_WAIT, EAGAIN, state, 0, 0};
}

struct handshake_step handshake_judge(enum handshake_state state, enum handshake_event event, uint32_t facts)
{
    const uint32_t fresh = EFFECT_FRESH_INPUT | EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR;

    switch ((enum answer)table[event][state]) {
    case OK:
        return proceed(state, 0, 0);
    case WAIT:
        return park(state);
    case WAIT_IF:
        return facts & FACT_CALLER_FILLS ? proceed(state, 0, 0) : park(state);
    case BUSY:
        return refuse(state, EBUSY);
    case PROTO:
        return refuse(state, EPROTO);
    case FAILED_EIO:
        return refuse(state, EIO);
    case SHARED:
        return facts & FACT_OTHERS_WRITE_RESULT ? refuse(state, EBUSY) : proceed(state, 0, 0);
    case FILL:
        return proceed(STATE_FILLING, 0, 0);
    case REFILL:
        return proceed(STATE_FILLING, 0, fresh | EFFECT_NEW_ROUND);
    case PUBLISH:
        return proceed(STATE_READY, CHECK_INPUT_RELEASED | CHECK_INPUT_FITS, 0);
    case RETRY:
        return proceed(STATE_READY, CHECK_INPUT_FITS, EFFECT_FRESH_RESULT | EFFECT_CLEAR_ERROR);
    case COMPUTE:
        return proceed(STATE_COMPUTING, 0, 0);
    case FINISH_0:
        if (!(facts & FACT_EMPTY_RESULT))
            return refuse(state, EPROTO);
        return proceed(STATE_DONE, CHECK_RESULT_RELEASED | CHECK_RESULT_FITS, 0);
    case FINISH:
        return proceed(STATE_DONE, CHECK_RESULT_RELEASED | CHECK_RESULT_FITS, 0);
    case FAIL:
        return proceed(STATE_FAILED, 0, EFFECT_FAIL_WAITERS);
    case DROP:
        return proceed(STATE_IDLE, 0, fresh | EFFECT_CANCEL_WAITERS);
    case CANCEL:
        return proceed(STATE_IDLE, 0, fresh | EFFECT_CANCEL_WAITERS | EFFECT_NEW_ROUND);
    case MOVED:
        return proceed(STATE_IDLE, 0, fresh | EFFECT_NEW_ROUND);
    case RECEIVE:
        return proceed(STATE_FILLING, 0, EFFECT_FRESH_INPUT);
    case RECEIVE_ON:
        return proceed(STATE_FILLING, 0, fresh | EFFECT_NEW_ROUND);
    }
    return refuse(state, EPROTO);
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

static const struct {
    const char *name;
    const char *meaning;
    const char *busy; /* why somebody has to wait or is refused in this state */
} states[HANDSHAKE_STATES] = {
    [STATE_IDLE] = {"IDLE", "no input yet", "there is no input yet: write data.bin, then flag 0"},
    [STATE_FILLING] = {"FILLING", "the input is being written", "the input is still being written"},
    [STATE_READY] = {"READY", "input ready, nobody has begun the result",
                     "the input is published and waits for a worker"},
    [STATE_COMPUTING] = {"COMPUTING", "the result is being written", "the result is being written"},
    [STATE_DONE] = {"DONE", "result ready", "the round is done: write data.bin to begin the next"},
    [STATE_FAILED] = {"FAILED", "the round failed, see error", "the round failed, see error"},
};

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
        [EVENT_EDIT_INPUT] = "change input fields",
        [EVENT_EDIT_RESULT] = "change result fields",
        [EVENT_RESIZE_INPUT] = "resize data.bin",
        [EVENT_RESIZE_RESULT] = "resize result.bin",
        [EVENT_UNLINK] = "unlink",
        [EVENT_TAKE_RESULT] = "rename result.bin away",
        [EVENT_GIVE_INPUT] = "receive an input",
        [EVENT_WORKER_DIED] = "lose the worker",
    };
    return names[event];
}

const char *handshake_reason(enum handshake_state state, enum handshake_event event)
{
    if (event == EVENT_FLAG_RESULT && state == STATE_READY)
        return "result.bin was never opened for writing, and the result is not empty";
    return states[state].busy;
}
