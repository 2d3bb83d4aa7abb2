/* SPDX-License-Identifier: Apache-2.0
 *
 * anybody.pml - two clients at each slot, each of which does anything at any moment: what nobody may be able to break.
 *
 * One process is all of them: it picks one for each step. A client that was killed is a new one from then on, and may have been
 * the slot's worker or not. Where it makes no difference there are fewer clients than there could be:
 *  - The two of a slot are alike, so the one with the smaller numbers is the first: swap_clients.
 *  - All others that read do so in one step, but one client at a time keeps something open for reading (with ALL_READ each does).
 *    To break a rule for readers takes one of them; others only make the daemon refuse more.
 *  - Resizing does what opening for writing and dying does: with two slots it is there as well.
 *  - A slot has one client with something open for writing: a second one is refused, or makes the daemon refuse more.
 */
#define SWAP_CLIENTS                swap_clients()
#define HAS_READ(c)                 skip
#ifdef ALL_READ
#define KEEPS_OPEN                  true
#else
#define KEEPS_OPEN                  (!IS_READING)
#endif
#define LABEL_INPUT(s)              skip
#define NEW_OUTCOME(s, from_source) skip
#define ANSWERED(c, s, event)       skip

#define IS_READER(c)                (holds[c] == READS || holds[c] == READS_OWN)
#if SLOTS == 2
#define IS_READING                  (IS_READER(0) || IS_READER(1) || IS_READER(2) || IS_READER(3))
#else
#define IS_READING                  (IS_READER(0) || IS_READER(1) || IS_READER(2) || IS_READER(3) || IS_READER(4) || IS_READER(5))
#endif

/* Which client of a slot the daemon tries first, if both wait: the one that came last. */
bool newest;

#include "handshake.pml"

#define CLOSE       (HANDSHAKE_EVENTS + 1)
#define READ_ERROR  (HANDSHAKE_EVENTS + 2)
#define READ_RESULT (HANDSHAKE_EVENTS + 3)
#define MOVE        (HANDSHAKE_EVENTS + 4)
#define DIE         (HANDSHAKE_EVENTS + 5)
#define WORKER_DIES (HANDSHAKE_EVENTS + 6)
#define INTERRUPT   (HANDSHAKE_EVENTS + 7)
#define RESTART     (HANDSHAKE_EVENTS + 8)

#define RANK(c) (parked[c] + 64 * holds[c] + 256 * held[c])

inline swap_clients() {
    n1 = 0;
    do
    :: n1 < SLOTS ->
        c1 = 2 * n1;
        c2 = c1 + 1;
        if
        :: RANK(c1) > RANK(c2) || (RANK(c1) == RANK(c2) && filler[n1] == c2 + 1) ->
            who = parked[c1]; parked[c1] = parked[c2]; parked[c2] = who;
            who = holds[c1]; holds[c1] = holds[c2]; holds[c2] = who;
            who = held[c1]; held[c1] = held[c2]; held[c2] = who;
            filler[n1] = (filler[n1] == NONE -> NONE : c1 + c2 + 2 - filler[n1])
        :: else
        fi;
        n1++
    :: else -> break
    od
}

#define BUDDY(c)     (c ^ 1)
#define IS_LIKE_1(c) ((c & 1) && RANK(c) == RANK(c - 1) && filler[OF(c)] == NONE)

active proctype clients() {
    byte c, does_now;

    do
    :: atomic {
        if
        :: c = 0
        :: !IS_LIKE_1(1) -> c = 1
        :: c = 2
        :: !IS_LIKE_1(3) -> c = 3
#if SLOTS > 2
        :: c = 4
        :: !IS_LIKE_1(5) -> c = 5
#endif
        fi;
        if
        :: parked[c] != NONE ->
            if
            :: does_now = INTERRUPT
            :: holds[c] != NONE -> does_now = DIE
            :: does_now = WORKER_DIES
            fi
        :: else ->
            if
            :: holds[c] != NONE -> does_now = CLOSE
            :: holds[c] == NONE && holds[BUDDY(c)] != WRITES -> does_now = EVENT_OPEN_INPUT_WRITE
            :: holds[c] == NONE && holds[BUDDY(c)] != WRITES -> does_now = EVENT_OPEN_RESULT_WRITE
            :: holds[c] == NONE -> does_now = EVENT_OPEN_INPUT_READ
            :: holds[c] == NONE -> does_now = EVENT_OPEN_RESULT_READ
            :: state[OF(c)] == STATE_DONE -> does_now = READ_RESULT
            :: state[OF(c)] == STATE_FAILED -> does_now = READ_ERROR
            :: does_now = EVENT_FLAG_INPUT
            :: does_now = EVENT_FLAG_RESULT
            :: does_now = EVENT_FLAG_RESULT_0
            :: does_now = EVENT_FLAG_FAILED
            :: does_now = EVENT_FLAG_NONE
            :: does_now = EVENT_PUT_INPUT
            :: does_now = EVENT_PUT_RESULT
#if SLOTS == 2
            :: does_now = EVENT_RESIZE_INPUT
            :: does_now = EVENT_RESIZE_RESULT
#endif
            :: does_now = EVENT_UNLINK
            :: state[OF(c)] == STATE_DONE -> does_now = MOVE
            :: does_now = WORKER_DIES
            :: c == 0 -> does_now = RESTART
            fi
        fi;
        if
        :: newest = false
        :: parked[0] != NONE && parked[1] != NONE -> newest = true
        :: parked[2] != NONE && parked[3] != NONE -> newest = true
#if SLOTS > 2
        :: parked[4] != NONE && parked[5] != NONE -> newest = true
#endif
        fi;
        d_step {
            printf("client %d: %d\n", c, does_now);
            answer = GOES;
            if
            :: does_now == CLOSE -> close(c, OF(c))
            :: does_now == DIE -> die(c, OF(c), false)
            :: does_now == WORKER_DIES -> die(c, OF(c), true)
            :: does_now == INTERRUPT -> parked[c] = NONE
            :: does_now == READ_RESULT || does_now == READ_ERROR -> outcome_read(OF(c))
            :: does_now == MOVE -> move(c, OF(c))
            :: does_now == RESTART -> restart()
            :: else ->
                try(c, OF(c), does_now)
            fi;
            skip
        };
        if
        :: len(line) == 0 && answer != GOES -> skip
        :: else -> d_step { settle(); skip }; d_step { check_all(); skip }
        fi;
        newest = false;
        c = 0;
        does_now = NONE
    }
    od
}
