// SPDX-License-Identifier: Apache-2.0
/*
 * exchange.h - slots: how they come, change hands and go, and the exchange that they belong to.
 *
 * One struct exchange holds the parts together; shared.h says which modules there are. Functions return 0 or
 * -errno. After any change the public functions of exchange, array and publish run the queue themselves, so
 * that all consequences have happened before they return: a publisher is answered last.
 */
#ifndef PYRMAPFS_EXCHANGE_H
#define PYRMAPFS_EXCHANGE_H

#include "arena/arena.h"
#include "base/caller.h"
#include "exchange/events.h"
#include "exchange/terms.h"
#include "slot/quota.h"

int exchange_init(struct exchange **out, struct slots *slots, struct arena *arena, struct loop *loop,
                  const struct exchange_limits *limits, const struct exchange_hooks *hooks);
/*
 * Takes the slots that an earlier server left, once nothing else can keep this one from starting. -errno, with
 * a line in error, refuses the start. A slot that we cannot read is not taken for gone.
 *
 * After a restart nobody is there any more: rounds that were computed under a worker have failed, and a slot
 * with an owner goes. After a takeover all clients are there, with what they have open and mapped.
 */
enum exchange_start { EXCHANGE_RESTARTS, EXCHANGE_TAKES_OVER };
int exchange_restore(struct exchange *exchange, enum exchange_start start, char error[ARENA_ERROR_MAX]);
/* Then, when open files are known again: drops what nobody has, and goes on with what the last server began. */
void exchange_go_on(struct exchange *exchange, enum exchange_start start);
/* Removes nothing: slots stay in the index. */
void exchange_deinit(struct exchange *exchange);

/*
 * Writes what has changed into the index. Steps do that by themselves; call it before any other answer to a
 * client, so that nobody knows what the next server does not.
 */
void exchange_commit(struct exchange *exchange);

struct slots *exchange_slots(const struct exchange *exchange);
struct arena *exchange_arena(const struct exchange *exchange);
const struct exchange_counts *exchange_counts(const struct exchange *exchange);
struct events *exchange_events(struct exchange *exchange);
const struct quota *exchange_quota(const struct exchange *exchange);
enum exchange_data_path exchange_data_path(const struct exchange *exchange);
/* Before the first request. */
void exchange_set_data_path(struct exchange *exchange, enum exchange_data_path data_path);

int exchange_mkdir(struct exchange *exchange, const char *name, const struct caller *caller, mode_t mode,
                   struct slot **slot);
/* Ends waits with ECANCELED; followers that wait fail; open handles keep their pages. */
void exchange_remove(struct exchange *exchange, struct slot *slot);
/* -ENOMEM. */
int exchange_chown(struct exchange *exchange, struct slot *slot, uid_t uid, gid_t gid);
/*
 * A reader has the outcome of the round, or has it with our answer. exchange_run lets those go on that wait for
 * that: not before the answer, or the reader of a server that is killed in between would get the next round's.
 */
void exchange_outcome_read(struct exchange *exchange, struct slot *slot);
void exchange_run(struct exchange *exchange);
/* unlink of data.bin, result.bin or metadata.bin. */
int exchange_unlink(struct exchange *exchange, struct slot *slot, const struct caller *caller);

/* The slot follows an array of `source` from now on. Results as chain_link's. */
int exchange_chain(struct exchange *exchange, struct slot *slot, struct slot *source, enum record_side side,
                   const struct caller *caller);
/* What the slot has taken stays. Does nothing if it has no source. */
void exchange_unchain(struct exchange *exchange, struct slot *slot);

enum exchange_role {
    ROLE_OWNER,
    ROLE_WORKER,      /* of this round and those to come */
    ROLE_WORKER_ONCE, /* of one round: cleared when that ends */
};

/* pid 0 clears it. -ESRCH, -EPERM as process_bind. */
int exchange_bind(struct exchange *exchange, struct slot *slot, enum exchange_role role, pid_t pid,
                  const struct caller *caller);

#endif
