// SPDX-License-Identifier: Apache-2.0
/*
 * shared.h - the inside of an exchange: what its modules share, and nobody above them includes.
 *
 * The modules stand on each other in this order, and none calls one that comes after it:
 *
 *     events    what happens to slots, for readers of it
 *     jobs      the jobs that slots were made in, and their end
 *     refuse    counts, remembers and tells what was refused
 *     wait      the queue of slots to look at, and the requests that are parked in slots
 *     account   charges the bytes of slots to their users and jobs
 *     durable   commits to the index, and to the disk
 *     step      takes a step that the handshake's verdict allows: state, round, arrays
 *     copy      makes the segment of an inline array
 *     chain     links between slots, and what goes along them
 *     run       works off the queue: lets everything happen that can
 *     array     opens, sizes and moves data.bin and result.bin
 *     publish   judges writes of the record and of `error`
 *     put       publishes an array that comes along with the record
 *     exchange  slots: how they come, change hands and go
 */
#ifndef PYRMAPFS_SHARED_H
#define PYRMAPFS_SHARED_H

#include "arena/arena.h"
#include "base/deadline.h"
#include "base/process.h"
#include "base/turn.h"
#include "exchange/events.h"
#include "exchange/jobs.h"
#include "exchange/terms.h"
#include "slot/quota.h"

struct wait;
struct durable;

/* Slots whose waiters and followers have to be looked at, and how far that is. */
enum shared_stage { RUN_PULLS, RUN_TRIES_WAITERS, RUN_LOOKS_AT_FOLLOWERS };

struct shared_run {
    uint32_t first_queued, last_queued;
    uint32_t at; /* the slot that it is at; 0: none */
    enum shared_stage stage;
    bool has_queued;      /* a follower of that slot */
    uint64_t ready_stamp; /* of the last walk of chain_followers_ready in this step */
    struct exchange *exchange;
    struct turn turn; /* of one that goes on in turns */
};

struct exchange {
    struct slots *slots;
    struct arena *arena;
    struct processes *processes;
    struct deadlines *deadlines;
    struct quota *quota;
    struct durable *durable;
    enum exchange_data_path data_path;
    struct exchange_limits limits;
    struct exchange_hooks hooks;
    struct exchange_counts counts;
    struct events events;
    struct jobs *jobs;
    struct loop *loop;
    struct turn_queue *turns;
    struct shared_run fresh; /* the work that the present operation begins */
    struct shared_run *run;  /* the one that is worked on now, else &fresh: slots are queued there */
    uint32_t runs;           /* that go on in turns */
    bool running;
    uint64_t ready_stamp;               /* the last one given */
    const struct slot *blocker;         /* the slot that it found not ready */
    char wait_reason[SLOT_REASON_MAX];  /* of the operation that has to wait now */
    char share_reason[SLOT_REASON_MAX]; /* of the operation that gets EDQUOT now */
    uint64_t last_size[2];              /* bytes, by enum record_side: of what was published last */
    uint64_t log_second;                /* refusals are logged at a bounded rate */
    uint32_t log_lines;
};

#endif
