/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.pml - two clients at each slot that keep to the protocol: a stream flows, and nobody waits for ever.
 *
 * A has a producer and a worker, the others a worker and a reader. Workers compute, fail and die. The producer stops at any
 * moment, or never. What it sends is white, but for one red input: as the daemon looks at no bytes, what holds
 * for this one holds for any. Each slot at the end of a chain has its outcome once.
 *
 * A state in which nobody can go on is a deadlock, unless each client is where it waits for a peer (a label that begins with
 * `end`): no producer and no worker that publishes.
 */
#define WHITE 0
#define RED   1

#define SWAP_CLIENTS             skip
#define KEEPS_OPEN               true
#define HAS_READ(c)              note_read(c)
#define LABEL_INPUT(s)           input_color[s] = (SIDE(s) == RESULT -> color[SOURCE(s)] : input_color[SOURCE(s)])
#define NEW_OUTCOME(s, from_source) note_outcome(s, from_source)
#define ANSWERED(c, s, event)    note_answer(s, event)

/* The newest waiter is tried first. */
#define newest true

#include "handshake.pml"

byte input_color[SLOTS], color[SLOTS]; /* of the input, and of the outcome */
bool seen[SLOTS];                 /* the reader knows this outcome: it looks at `round` */
bool sent_red, had_red[SLOTS];
byte sending;
bool is_sent;

inline note_outcome(s, from_source) {
    color[s] = (from_source && (does & EFFECT_FAILURE) -> color[SOURCE(s)] : input_color[s]);
    input_color[s] = WHITE;
    seen[s] = false
}

inline note_answer(s, event) {
    if
    :: event == EVENT_FLAG_INPUT || event == EVENT_PUT_INPUT ->
        input_color[s] = sending;
        sent_red = sent_red || sending == RED;
        is_sent = true
    :: else
    fi
}

inline note_read(c) {
    if
    :: !seen[OF(c)] ->
        seen[OF(c)] = true;
        assert(color[OF(c)] != RED || !had_red[OF(c)]); /* DOUBLED: a reader has the same outcome again */
        had_red[OF(c)] = had_red[OF(c)] || color[OF(c)] == RED;
        color[OF(c)] = (IS_END(OF(c)) -> WHITE : color[OF(c)])
    :: else
    fi
}

#define CLOSE      (HANDSHAKE_EVENTS + 1)
#define DIE        (HANDSHAKE_EVENTS + 2)
#define IS_OPEN(s) (state[s] == STATE_IDLE || IS_OVER(s))

/* A client asks within atomic, and the daemon has answered, or parked it, before anybody else has a turn. */
chan request = [0] of { byte, byte };

active proctype daemon() {
    byte c, does_now;

end:
    do
    :: atomic {
        request?c, does_now;
        d_step {
            printf("client %d: %d\n", c, does_now);
            if
            :: does_now == CLOSE -> close(c, OF(c))
            :: does_now == DIE -> die(c, OF(c), true)
            :: else -> try(c, OF(c), does_now)
            fi;
            skip
        };
        d_step { settle(); skip };
        d_step { check_all(); skip };
        c = 0;
        does_now = NONE
       }
    od
}

#define me 0
active proctype producer() {
    do
    :: atomic {
        IS_OPEN(0) -> /* it waits for the flag */
        is_sent = false;
        if
        :: sending = WHITE
        :: !sent_red -> sending = RED
        fi;
        if
        :: request!me, EVENT_PUT_INPUT
        :: request!me, EVENT_OPEN_INPUT_WRITE
        fi
       };
       if
       :: atomic { holds[me] == WRITES -> request!me, CLOSE }; request!me, EVENT_FLAG_INPUT
       :: holds[me] != WRITES
       fi;
       atomic {
        parked[me] == NONE ->
        assert(is_sent);
        sending = WHITE;
        is_sent = false
       }
    :: break
    od
}
#undef me

proctype worker(byte me) {
end:
    do
    :: atomic {
        state[OF(me)] == STATE_READY ->
        if
        :: request!me, EVENT_PUT_RESULT
        :: request!me, EVENT_OPEN_RESULT_WRITE
        :: request!me, EVENT_FLAG_FAILED
        :: request!me, DIE
        fi
       };
       if
       :: holds[me] == WRITES ->
            if
            :: request!me, CLOSE; request!me, EVENT_FLAG_RESULT
            :: request!me, EVENT_FLAG_FAILED; request!me, CLOSE
            :: request!me, DIE
            fi
       :: holds[me] != WRITES
       fi;
       if
       :: parked[me] == NONE
       :: atomic { parked[me] != NONE -> request!me, DIE }
       fi
    od
}

proctype reader(byte me) {
end:
    do
    :: atomic { !(seen[OF(me)] && IS_OVER(OF(me))) -> request!me, EVENT_OPEN_RESULT_READ };
end_parked:
       parked[me] == NONE;
       if
       :: atomic { holds[me] == READS -> request!me, CLOSE }
       :: holds[me] == NONE
       fi
    od
}

init {
    atomic {
        run worker(1);
        run worker(3);
        run reader(2);
#if SLOTS > 2
        run worker(5);
        run reader(4)
#endif
    }
}

#if SLOTS == 2
#define all_had(which) (which[1])
#elif SHAPE == CHAIN
#define all_had(which) (which[2])
#else
#define all_had(which) (which[1] && which[2])
#endif

/* No outcome is lost. */
ltl delivered { [] (sent_red -> <> all_had(had_red)) }
