// SPDX-License-Identifier: Apache-2.0
/*
 * handshake.h - whose turn it is: a pure function from state x event x facts to a verdict.
 *
 * It knows no slots, files or requests. The caller makes the checks that a verdict asks for, in the order of
 * their bits, and only then takes the next state and the effects. Every rule of the handshake, of chains and
 * of workers stands here; no other code takes a step that was not judged here.
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
    EVENT_PUT_INPUT,         /* flag 0, and the array follows the record in the same write */
    EVENT_PUT_RESULT,        /* the same with flag 1 */
    EVENT_EDIT_INPUT,        /* change input fields of the record, leave the flag */
    EVENT_EDIT_RESULT,       /* change result fields of the record, leave the flag */
    EVENT_RESIZE_INPUT,      /* ftruncate, fallocate on data.bin */
    EVENT_RESIZE_RESULT,     /* the same on result.bin */
    EVENT_UNLINK,            /* unlink data.bin, result.bin or metadata.bin */
    EVENT_TAKE_RESULT,       /* rename result.bin away */
    EVENT_GIVE_INPUT,        /* rename another result onto data.bin */
    EVENT_LINK,              /* chain the slot to a source */
    EVENT_FOLLOW_INPUT,      /* a follower asks for data.bin; a refusal is a failure for the follower */
    EVENT_FOLLOW_RESULT,     /* a follower asks for result.bin */
    EVENT_DELIVER,           /* the source has an array for the slot */
    EVENT_SOURCE_FAILED,     /* the source failed, or the owner of the slot may not read it any more */
    EVENT_SOURCE_RETRIES,    /* the source takes back the failure that the slot has from it */
    EVENT_SOURCE_REMOVED,    /* nothing more comes from the source */
    EVENT_OUTCOME_READ,      /* a reader closed result.bin, or got its EIO, or closed `error` */
    EVENT_WORKER_DIED,       /* the process in `worker` is gone */
    EVENT_RESTART,           /* a server starts on slots that another server left */
    EVENT_LOST,              /* the slot is new, and stands for those that a damaged index has lost */
    HANDSHAKE_EVENTS,
};

enum handshake_verdict {
    VERDICT_PROCEED,
    VERDICT_WAIT,   /* park the caller until the state changes */
    VERDICT_REFUSE, /* answer `error`, change nothing */
};

/* Facts about the slot, the process that asks and the record that it proposes. */
enum handshake_fact {
    FACT_CALLER_FILLS = 1u << 0,        /* the caller is the process that is writing data.bin */
    FACT_OTHERS_WRITE_RESULT = 1u << 1, /* a process that is no relative has result.bin open for writing */
    FACT_EMPTY_RESULT = 1u << 2,        /* the proposed result_length is 0 */
    FACT_FED = 1u << 3,                 /* the slot has a source */
    FACT_SHARED = 1u << 4,              /* the inode stands for names of other slots as well */
    FACT_HAS_INPUT = 1u << 5,           /* this round has an input: published, or delivered by the source */
    /* All followers have taken the outcome, or at the end of a chain a reader has; in an IDLE slot: all followers of
       the result have taken the last round's failure. */
    FACT_TAKEN = 1u << 6,
    FACT_FAILURE = 1u << 7,     /* the last round failed, and followers may still have to take that */
    FACT_BY_SOURCE = 1u << 8,   /* the slot failed because its source did */
    FACT_BOUND = 1u << 9,       /* the worker is bound to this round */
    FACT_LOOP = 1u << 10,       /* the link would close the chain on itself */
    FACT_UNREADABLE = 1u << 11, /* the caller, or the slot's owner, may not read the source */
    HANDSHAKE_FACTS = 1u << 12, /* above all facts */
};

/* The caller makes them in this order. The first that fails decides the errno, or that the event waits. */
enum handshake_check {
    CHECK_INPUT_RELEASED = 1u << 0,  /* no process has data.bin open or mapped for writing, else EBUSY */
    CHECK_RESULT_RELEASED = 1u << 1, /* the same for result.bin */
    CHECK_INPUT_FITS = 1u << 2,      /* the record describes data.bin exactly, else EINVAL */
    CHECK_RESULT_FITS = 1u << 3,
    CHECK_INPUT_UNREAD = 1u << 4,     /* no process reads the pages that will be written again, else EBUSY */
    CHECK_FAILURE_TAKEN = 1u << 5,    /* all followers have taken the last round's failure, else wait */
    CHECK_INPUT_FOLLOWERS = 1u << 6,  /* all followers of data.bin can take a new one, else wait */
    CHECK_RESULT_FOLLOWERS = 1u << 7, /* the same for result.bin */
};

enum handshake_effect {
    EFFECT_NEW_ROUND = 1u << 0,      /* round + 1 */
    EFFECT_FRESH_INPUT = 1u << 1,    /* data.bin becomes a fresh, empty inode; input fields reset */
    EFFECT_FRESH_RESULT = 1u << 2,   /* result.bin likewise */
    EFFECT_CANCEL_WAITERS = 1u << 3, /* every request that waits in this slot gets ECANCELED */
    EFFECT_FAIL_WAITERS = 1u << 4,   /* ... gets EIO */
    EFFECT_CLEAR_ERROR = 1u << 5,    /* remove the error text, whose failure is over */
    EFFECT_INPUT =
        1u << 6, /* the round has an input now; followers need not take an earlier failure any more */
    EFFECT_OUTCOME = 1u << 7, /* the round has an outcome now, not taken yet */
    EFFECT_FAILURE = 1u << 8, /* the outcome is a failure, a new one for the followers */
    EFFECT_RECALL = 1u << 9,  /* take the failure back: followers that took it wait again */
    EFFECT_TAKEN = 1u << 10,  /* a reader has taken the outcome */
};

struct handshake_step {
    enum handshake_verdict verdict;
    int error; /* positive errno of a refusal; for a wait, the errno with O_NONBLOCK */
    enum handshake_state next;
    uint32_t checks;    /* enum handshake_check */
    uint32_t effects;   /* enum handshake_effect */
    const char *reason; /* why the event is refused or waits, in words; NULL if it proceeds */
};

/* Judges one event; facts are enum handshake_fact bits. A pure function. */
struct handshake_step handshake_judge(enum handshake_state state, enum handshake_event event, uint32_t facts);

/* The flag that clients see for a state (enum record_flag). */
int32_t handshake_flag(enum handshake_state state);

/* "IDLE", ... and what it means in a few words, for people. */
const char *handshake_state_name(enum handshake_state state);
const char *handshake_state_meaning(enum handshake_state state);

/* The event in words, as a refusal names it: "open data.bin for writing". */
const char *handshake_event_name(enum handshake_event event);

/* Why a check failed, in words. Only for checks whose words do not depend on the array. */
const char *handshake_check_reason(enum handshake_check check);

#endif
