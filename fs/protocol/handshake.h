// SPDX-License-Identifier: Apache-2.0
/*
 * handshake.h - whose turn it is: a pure function from state x event x facts to a verdict.
 *
 * It knows no slots, files or requests. The caller makes the checks that a verdict asks for, in the order of
 * their bits, and only then takes the next state and the effects. Every rule of the handshake, of chains and
 * of workers stands here, and nobody takes a step that was not judged here.
 */
#ifndef PYRMAPFS_HANDSHAKE_H
#define PYRMAPFS_HANDSHAKE_H

#include <stdint.h>

enum handshake_state {
    STATE_IDLE,
    STATE_FILLING,
    STATE_READY,
    STATE_COMPUTING,
    STATE_DONE,
    STATE_FAILED,
    HANDSHAKE_STATES,
};

enum handshake_event {
    EVENT_OPEN_INPUT_WRITE,  /* open data.bin for writing */
    EVENT_OPEN_INPUT_READ,   /* open data.bin for reading */
    EVENT_OPEN_RESULT_WRITE, /* open result.bin for writing */
    EVENT_OPEN_RESULT_READ,  /* open result.bin for reading */
    EVENT_FLAG_INPUT,        /* flag 0: the input is complete */
    EVENT_FLAG_RESULT,       /* flag 1: the result is complete */
    EVENT_FLAG_FAILED,       /* flag 2, or text written into error */
    EVENT_FLAG_NONE,         /* flag -1: drop it all */
    EVENT_PUT_INPUT,         /* flag 0 with the array behind the record */
    EVENT_PUT_RESULT,        /* flag 1 with the array behind it */
    EVENT_EDIT_INPUT,        /* change input fields of the record, leave the flag */
    EVENT_EDIT_RESULT,       /* change result fields of the record, leave the flag */
    EVENT_RESIZE_INPUT,      /* ftruncate, fallocate on data.bin */
    EVENT_RESIZE_RESULT,     /* the same on result.bin */
    EVENT_UNLINK,            /* unlink data.bin, result.bin or metadata.bin */
    EVENT_TAKE_RESULT,       /* rename result.bin away */
    EVENT_GIVE_INPUT,        /* rename another result onto data.bin */
    EVENT_LINK,              /* the slot is to follow a source */
    EVENT_FOLLOW_INPUT,      /* a follower of data.bin asks for it; what is refused is a failure for it */
    EVENT_FOLLOW_RESULT,     /* a follower of result.bin asks for it */
    EVENT_DELIVER,           /* the source has an array for the slot */
    EVENT_SOURCE_FAILED,     /* the source has a failure for it, or may not be read any more */
    EVENT_SOURCE_RETRIES,    /* the source takes back the failure that the slot has from it */
    EVENT_SOURCE_REMOVED,    /* nothing more comes from it */
    EVENT_OUTCOME_READ,      /* a reader closed result.bin, or got its EIO, or closed `error` */
    EVENT_WORKER_DIED,       /* the process in `worker` is gone */
    EVENT_RESTART,           /* a server starts on what another one left */
    HANDSHAKE_EVENTS,
};

enum handshake_verdict {
    VERDICT_PROCEED,
    VERDICT_WAIT,   /* park the caller until the state changes */
    VERDICT_REFUSE, /* answer `error`, change nothing */
};

/* What the caller knows about the slot, the process that asks and the record that it proposes. */
enum handshake_fact {
    FACT_CALLER_FILLS = 1u << 0,        /* the caller is the process that is writing data.bin */
    FACT_OTHERS_WRITE_RESULT = 1u << 1, /* another process has result.bin open for writing */
    FACT_EMPTY_RESULT = 1u << 2,        /* the proposed result_length is 0 */
    FACT_FED = 1u << 3,                 /* the slot has a source */
    FACT_SHARED = 1u << 4,              /* the inode stands for names of other slots as well */
    FACT_HAS_INPUT = 1u << 5,           /* an input was published or delivered in this round */
    FACT_TAKEN = 1u << 6,               /* the outcome was: by all followers, or at the end by a reader */
    FACT_FAILURE = 1u << 7,             /* of the last round, which a follower may still have to take */
    FACT_BY_SOURCE = 1u << 8,           /* the failure is the source's */
    FACT_BOUND = 1u << 9,               /* this round is the worker's */
    FACT_LOOP = 1u << 10,               /* the link would close the chain on itself */
    FACT_UNREADABLE = 1u << 11,         /* the source may not be read: by the caller, or the slot's owner */
    HANDSHAKE_FACTS = 1u << 12,         /* all of them are below it */
};

/* In the order in which they are made; the first that fails decides the errno, or that the event waits. */
enum handshake_check {
    CHECK_INPUT_RELEASED = 1u << 0,  /* nobody has data.bin open or mapped for writing, else EBUSY */
    CHECK_RESULT_RELEASED = 1u << 1, /* the same for result.bin */
    CHECK_INPUT_FITS = 1u << 2,      /* the record describes data.bin exactly, else EINVAL */
    CHECK_RESULT_FITS = 1u << 3,
    CHECK_INPUT_UNREAD = 1u << 4,     /* nobody reads the pages that are written again, else EBUSY */
    CHECK_FAILURE_TAKEN = 1u << 5,    /* all followers have the last round's failure, else wait */
    CHECK_INPUT_FOLLOWERS = 1u << 6,  /* all followers of data.bin can take a new one, else wait */
    CHECK_RESULT_FOLLOWERS = 1u << 7, /* the same for result.bin */
};

enum handshake_effect {
    EFFECT_NEW_ROUND = 1u << 0,      /* round + 1 */
    EFFECT_FRESH_INPUT = 1u << 1,    /* data.bin becomes a fresh, empty inode; input fields reset */
    EFFECT_FRESH_RESULT = 1u << 2,   /* result.bin likewise */
    EFFECT_CANCEL_WAITERS = 1u << 3, /* every request that waits in this slot gets ECANCELED */
    EFFECT_FAIL_WAITERS = 1u << 4,   /* ... gets EIO */
    EFFECT_CLEAR_ERROR = 1u << 5,    /* the error text belongs to a failure that is over */
    EFFECT_INPUT = 1u << 6,   /* the round has an input now; no failure before it is owed to a follower */
    EFFECT_OUTCOME = 1u << 7, /* the round has an outcome now, which nobody has taken yet */
    EFFECT_FAILURE = 1u << 8, /* it is a failure, a new one for the followers */
    EFFECT_RECALL = 1u << 9,  /* the failure is taken back: followers that have it wait again */
    EFFECT_TAKEN = 1u << 10,  /* the outcome was taken by a reader */
};

struct handshake_step {
    enum handshake_verdict verdict;
    int error; /* positive errno when refused; what an O_NONBLOCK caller gets when it would wait */
    enum handshake_state next;
    uint32_t checks;    /* enum handshake_check */
    uint32_t effects;   /* enum handshake_effect */
    const char *reason; /* why it is refused or waits, in words; NULL if it proceeds */
};

/* Judges one event; facts are enum handshake_fact bits. Has no state of its own. */
struct handshake_step handshake_judge(enum handshake_state state, enum handshake_event event, uint32_t facts);

/* The flag that clients see for a state (enum record_flag). */
int32_t handshake_flag(enum handshake_state state);

/* "IDLE", ... and what it means in a few words, for people. */
const char *handshake_state_name(enum handshake_state state);
const char *handshake_state_meaning(enum handshake_state state);

/* What a refused client tried, in words: "open data.bin for writing". */
const char *handshake_event_name(enum handshake_event event);

/* What it means that a check failed, in words: for those whose words do not depend on the array. */
const char *handshake_check_reason(enum handshake_check check);

#endif
