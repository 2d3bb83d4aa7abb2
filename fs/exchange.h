// SPDX-License-Identifier: Apache-2.0
/*
 * exchange.h - applies the verdicts of the handshake to slots and segments, wakes those who wait, follows
 * chains.
 *
 * One struct exchange holds the parts together. Functions return 0 or -errno; EXCHANGE_WAITS means that the
 * caller is to park the request in a struct waiter. After any change the public functions run exchange_run
 * themselves, so that all that follows from it has happened before they return: a publisher is answered last.
 */
#ifndef PYRMAPFS_EXCHANGE_H
#define PYRMAPFS_EXCHANGE_H

#include "arena.h"
#include "caller.h"
#include "deadline.h"
#include "handle.h"
#include "handshake.h"
#include "slot.h"
#include <stdint.h>

enum {
    EXCHANGE_WAITS = 1, /* for a peer; -EAGAIN to O_NONBLOCK */
    EXCHANGE_WORKS = 2, /* for the background; O_NONBLOCK is no reason to give up */
};

enum exchange_data_path { DATA_PATH_PAGE_CACHE, DATA_PATH_PASSTHROUGH };

/* What the layers above do for the exchange. */
struct exchange_hooks {
    /* The record changed: polls are answered, and on the page-cache path mappings are refreshed. */
    void (*record_changed)(void *context, struct slot *slot);
    /* The file has another array under the inode that it had. */
    void (*array_replaced)(void *context, struct slot *slot, enum slot_file file);
    /* The daemon is about to remove the slot, and no client: what the kernel knows of it is to be forgotten.
     */
    void (*slot_vanished)(void *context, const char *name);
    /* The slot is about to go, its handles are still in it. */
    void (*slot_removing)(void *context, struct slot *slot);
    void *context;
};

struct exchange_limits {
    uint64_t wait_timeout_ms; /* 0: for ever */
    uint32_t slots_per_user;
    uint64_t bytes_per_user; /* 0: no limit of its own */
};

struct exchange {
    struct slots *slots;
    struct arena *arena;
    struct processes *processes;
    struct deadlines *deadlines;
    struct quota *quota;
    enum exchange_data_path data_path;
    struct exchange_limits limits;
    struct exchange_hooks hooks;
    uint32_t first_queued, last_queued; /* slots whose waiters and followers have to be looked at */
    bool running;
    uint64_t ready_stamp;  /* of the last walk of chain_followers_ready */
    struct waiter *cursor; /* exchange_run is about to look at this one */
    uint32_t waiters;
    uint64_t last_size[2]; /* bytes, by enum record_side: of what was published last */
    uint64_t rounds;       /* published results */
    uint64_t refusals;     /* of all slots */
    uint64_t refusals_by_errno[256];
    uint64_t takeovers;
    uint64_t log_second; /* refusals are logged at a bounded rate */
    uint32_t log_lines;
};

int exchange_init(struct exchange **out, struct slots *slots, struct arena *arena, struct loop *loop,
                  const struct exchange_limits *limits, const struct exchange_hooks *hooks);
/*
 * Takes over the slots that an earlier server left, once nothing else can keep this one from starting.
 * -errno, with a line in error, refuses the start. What cannot be read is not taken for gone.
 */
int exchange_restore(struct exchange *exchange, char error[ARENA_ERROR_MAX]);
/* Removes nothing: slots stay in the index. */
void exchange_deinit(struct exchange *exchange);

/* --- slots --- */

int exchange_mkdir(struct exchange *exchange, const char *name, const struct caller *caller, mode_t mode,
                   struct slot **slot);
/* Ends waits with ECANCELED; followers that wait fail; open handles keep their pages. */
void exchange_remove(struct exchange *exchange, struct slot *slot);
void exchange_chown(struct exchange *exchange, struct slot *slot, uid_t uid, gid_t gid);

/* --- data.bin and result.bin --- */

/*
 * Judges and takes the open of an array that the caller knows by this identity. On 0 the handle has its
 * segment (with one handle counted) and is in the slot's list. -ESTALE: the open began a new round, the name
 * has another inode now.
 */
int exchange_open_array(struct exchange *exchange, struct slot *slot, struct handle *handle,
                        const struct caller *caller, uint64_t identity);

/*
 * What an array's nodeid carries: on the page-cache path the number that it shares with all names of its
 * pages.
 */
uint64_t exchange_array_identity(const struct exchange *exchange, const struct slot *slot,
                                 enum record_side side);

/*
 * Page-cache path: whether this inode stands for several names. They have one owner and mode in the kernel
 * and one state here, so through it nothing but reading is allowed.
 */
bool exchange_array_is_shared(const struct exchange *exchange, const struct slot *slot,
                              enum record_side side);

/* Gives the slot's input, and that of those who follow it, an inode of their own: same pages, but not for the
 * kernel. */
void exchange_unshare(struct exchange *exchange, struct slot *slot);

/* The arena tells that nobody has the segment any more. */
void exchange_segment_freed(struct exchange *exchange, struct segment *segment);

/* Gives back what exchange_open_array (or a view's open) took. */
void exchange_close_array(struct exchange *exchange, struct handle *handle);

/* Page-cache path: a write of the daemon itself, on behalf of a client. Returns bytes or -errno. */
ssize_t exchange_write_array(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                             const void *buffer, size_t size, off_t offset);

/*
 * Sets the size of an array, or reserves its pages, in the background; done(context, 0 or -errno) exactly
 * once. handle may be NULL (truncate by path).
 */
void exchange_resize(struct exchange *exchange, struct slot *slot, enum record_side side,
                     struct handle *handle, const struct caller *caller, enum reserve_mode mode,
                     uint64_t size, void (*done)(void *context, int result), void *context);

/* The array's size and allocated bytes; both 0 without a segment. */
int exchange_array_stat(struct exchange *exchange, const struct slot *slot, enum record_side side,
                        uint64_t *size, uint64_t *allocated);

/*
 * A segment that a client grew by writing past its end has holes, and a store into one could meet a full
 * arena. Fills them before the client learns the size; what does not fit is cut off again. done as in
 * exchange_resize.
 */
bool exchange_has_holes(struct exchange *exchange, const struct slot *slot, enum record_side side);
void exchange_fill_holes(struct exchange *exchange, struct slot *slot, enum record_side side,
                         void (*done)(void *context, int result), void *context);

/* rename A/result.bin B/data.bin. */
int exchange_move_result(struct exchange *exchange, struct slot *from, struct slot *to,
                         const struct caller *caller);

/* --- steps --- */

/*
 * A write of the record, merged and checked by record_merge; touched as it says. May have to wait for the
 * disk or for followers: then EXCHANGE_WAITS. handle-less.
 */
int exchange_write_record(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                          const struct record *proposed, uint32_t touched);
/* unlink of data.bin, result.bin or metadata.bin. */
int exchange_unlink(struct exchange *exchange, struct slot *slot, const struct caller *caller);
/* The first text written into error. */
int exchange_fail(struct exchange *exchange, struct slot *slot, const struct caller *caller, const char *text,
                  size_t size);

/* --- waiting --- */

/*
 * A parked request, embedded in whoever parks. retry is called whenever the slot changed: it tries again and
 * returns EXCHANGE_WAITS to stay parked, or any other result, upon which end(waiter, result) is called, once.
 * end(waiter, -ECANCELED), -EIO, -ETIMEDOUT come without a retry.
 */
struct waiter {
    struct deadline deadline;       /* first: expired() gets it back */
    struct waiter *next, *previous; /* in slot->waiters */
    struct exchange *exchange;
    struct slot *slot;
    enum handshake_event event;
    pid_t process;
    uint64_t since_ms;
    int (*retry)(struct waiter *waiter);
    void (*end)(struct waiter *waiter, int result);
};

/* Whether a write of the record is parked in the slot. */
bool exchange_has_parked_step(const struct slot *slot);

void exchange_park(struct exchange *exchange, struct waiter *waiter, struct slot *slot);
/* A waiter that was interrupted: unlinks it, calls nothing. */
void exchange_unpark(struct waiter *waiter);

/* --- owner and worker --- */

enum exchange_role { ROLE_OWNER, ROLE_WORKER };

/* pid 0 clears it. -ESRCH, -EPERM as process_bind. */
int exchange_bind(struct exchange *exchange, struct slot *slot, enum exchange_role role, pid_t pid,
                  const struct caller *caller);

/* --- refusals --- */

/* Counts and remembers a refusal (result: -errno) and returns it. */
int exchange_refuse(struct exchange *exchange, struct slot *slot, const struct caller *caller,
                    const char *operation, int result, const char *reason);

/* --- for chain.c, publish.c and page.c --- */

/* The record or state changed: bumps change, updates the mapped page, queues the slot. */
void exchange_changed(struct exchange *exchange, struct slot *slot);
/* Works off the queue; does nothing if it is running already. */
void exchange_run(struct exchange *exchange);
/* Has exchange_run look at this slot. */
void exchange_queue(struct exchange *exchange, struct slot *slot);
/*
 * Takes a step that was judged and checked: state, round, arrays; then tells everybody. In two halves for who
 * has more to change in between: a client must not see the flag before the fields that belong to it.
 */
void exchange_apply(struct exchange *exchange, struct slot *slot, const struct handshake_step *step);
void exchange_take_step(struct exchange *exchange, struct slot *slot, const struct handshake_step *step);
void exchange_announce(struct exchange *exchange, struct slot *slot, const struct handshake_step *step);
/* FAILED with this text, whoever is to blame. */
void exchange_set_failed(struct exchange *exchange, struct slot *slot, const char *text, size_t size);
/* Ends every wait in a slot with one result. */
void exchange_end_waiters(struct slot *slot, int result);
/* Gives the array the segment of another one (one name more). */
void exchange_adopt(struct exchange *exchange, struct slot *slot, enum record_side side, struct slot *from,
                    enum record_side from_side);
/* Makes sure that the array has a segment, an empty one if it had none. -ENOSPC, -EDQUOT. */
int exchange_need_segment(struct exchange *exchange, struct slot *slot, enum record_side side);
/* Drops an array's segment; another array takes its place, empty. */
void exchange_drop_array(struct exchange *exchange, struct slot *slot, enum record_side side);
/* Gives an array that was just made empty an inode of its own, whoever knows the old one. */
void exchange_renew_inode(struct slot *slot, enum record_side side);
enum handshake_state slot_state(const struct slot *slot);

#endif
