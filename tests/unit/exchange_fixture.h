// SPDX-License-Identifier: Apache-2.0
/*
 * exchange_fixture.h - an exchange without a mount, and what clients do to it.
 *
 * It does what the kernel and the layers above do: it looks a stale path up again, waits for work of the
 * background and records hooks. Functions without a result fail the test if the operation fails.
 */
#ifndef PYRMAPFS_EXCHANGE_FIXTURE_H
#define PYRMAPFS_EXCHANGE_FIXTURE_H

#include "arena_fixture.h"
#include "base/container.h"
#include "exchange/array.h"
#include "exchange/chain.h"
#include "exchange/copy.h"
#include "exchange/exchange.h"
#include "exchange/publish.h"
#include "exchange/put.h"
#include "exchange/refuse.h"
#include "exchange/run.h"
#include "exchange/shared.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include "process_fixture.h"

enum {
    DATA_PATHS = DATA_PATH_LINKS + 1,
    VANISHED_MAX = 64,
    FEW_SLOTS = 200, /* with more, a check of all slots after each step would take too long */
};

struct world {
    struct bench bench; /* first: the arena's callbacks get the world back from it */
    struct slots *slots;
    struct loop *loop;
    struct exchange *exchange;
    struct exchange_limits limits;
    uint32_t slots_max;
    enum exchange_data_path data_path; /* while it is stopped */
    struct caller caller;              /* this process; tests change it */

    /* what the hooks were told */
    int changes;
    int replaced[2]; /* arrays, by enum record_side */
    int removals;
    char vanished[VANISHED_MAX][SLOT_NAME_MAX + 1];
    int vanished_count;
    int sources_removed;

    int done;        /* changes of records, ends of waits, sources lost: each takes system calls */
    int done_before; /* at the last pass of the loop in world_rest */
    int most_a_turn; /* in one pass of the loop in world_rest */

    int registered;      /* segments */
    int cannot_register; /* the errno with which the next one is refused, or 0 */
};

struct world_options {
    enum arena_kind kind; /* the test finds out by world_try_begin whether the machine has it */
    uint64_t capacity;
    uint32_t slots_max;
    enum exchange_data_path data_path;
    struct exchange_limits limits;
};

/* A memfd arena of a size that no test fills, and no limits. */
struct world_options world_defaults(void);
/* False if the machine cannot have this kind of arena. */
bool world_try_begin(struct world *world, const struct world_options *options);
void world_begin(struct world *world, enum exchange_data_path data_path);
/* Checks it, removes all slots, and checks that the arena is empty. */
void world_end(struct world *world);
/* The server ends, and another one starts on its files; handles must be closed. */
void world_stop(struct world *world);
void world_start(struct world *world);
void world_restart(struct world *world);
/*
 * The server is killed, so it closes nothing, and the next one has its descriptors: bench.options.kept tells where they
 * are. Handles must be closed.
 */
void world_take_over(struct world *world);
/* Serves the loop until all that was set going is done. */
void world_rest(struct world *world);
/* Checks the invariants that hold between two requests, once all is at rest. */
void world_check(struct world *world);
/* The parts of it that concern one slot, in exchange_invariants.c. */
void check_arrays(struct world *world, const struct slot *slot);
void check_chain(struct world *world, const struct slot *slot);
/* Bytes that the quota has on that user's account. */
uint64_t world_charged(struct world *world, uid_t uid);

/* --- slots --- */

struct slot *world_slot(struct world *world, const char *name);
void expect_state(const struct slot *slot, enum handshake_state state, uint64_t round);
/* The last refusal, which metadata.txt shows. */
void expect_refusal(const struct slot *slot, int error, const char *reason);
/* The text of the file error or task, with a NUL. */
enum { WORLD_TEXT_MAX = 66000 };
void world_text(struct world *world, const struct slot *slot, enum slot_file file, char text[WORLD_TEXT_MAX]);

/* --- arrays --- */

struct handle *world_handle(enum slot_file file, enum handle_access access);
/* 0 with an open handle, WAIT_FOR_PEER, or -errno without one. */
int world_try_open(struct world *world, struct slot *slot, enum slot_file file, enum handle_access access,
                   struct handle **handle);
struct handle *world_open(struct world *world, struct slot *slot, enum slot_file file,
                          enum handle_access access);
void world_close(struct world *world, struct handle *handle);

/* handle may be NULL: by path. Returns the result. */
int world_resize(struct world *world, struct slot *slot, enum slot_file file, struct handle *handle,
                 enum reserve_mode mode, uint64_t size);
uint64_t world_size(struct world *world, const struct slot *slot, enum slot_file file);
/* write(2) as a client sees it: gets room first if need be. Returns bytes or -errno. */
ssize_t world_write_array(struct world *world, struct handle *handle, const void *buffer, size_t size,
                          off_t offset);

/* Opens, writes that many doubles of this value, closes. */
void world_put(struct world *world, struct slot *slot, enum slot_file file, uint64_t count, double value);
/* Opens, checks that these are the bytes, closes. */
void world_expect(struct world *world, struct slot *slot, enum slot_file file, uint64_t count, double value);

/* --- steps --- */

/* One attempt to write a part of metadata.bin. 0, WAIT_FOR_PEER, WAIT_FOR_WORK or -errno. */
int world_try_write(struct world *world, struct slot *slot, const struct caller *caller, const void *bytes,
                    size_t size, size_t offset);
/* write(2) of a part of metadata.bin. 0, WAIT_FOR_PEER (for a follower) or -errno. */
int world_write(struct world *world, struct slot *slot, const void *bytes, size_t size, size_t offset);
int world_flag(struct world *world, struct slot *slot, int32_t flag);
/* put and flag 0; put and flag 1. */
void world_publish(struct world *world, struct slot *slot, uint64_t count, double value);
void world_finish(struct world *world, struct slot *slot, uint64_t count, double value);

/*
 * Flag 0 or 1 and that many doubles in one write, whose record says `length`. Waits for
 * the background. 0, WAIT_FOR_PEER (then it is given up) or -errno.
 */
int world_send(struct world *world, struct slot *slot, int32_t flag, uint64_t count, double value,
               int64_t length);

/* A reader of result.bin gets its EIO. */
void world_take_failure(struct world *world, struct slot *slot);

/* A slot in this state of its first round: WORLD_COUNT doubles of 1 and of 2. */
enum { WORLD_COUNT = 4 };
struct slot *world_slot_in(struct world *world, const char *name, enum handshake_state state);
/* The same, in one that has an input, with arrays that were published in one write each. */
struct slot *world_slot_sent_in(struct world *world, const char *name, enum handshake_state state);

/* A client's mapping of the page, which is open: RECORD_SIZE bytes of it, to be unmapped. */
struct record *world_map_page(const struct slot *slot, enum slot_page_kind kind, int flags, int protection);

/* --- chains --- */

int world_link(struct world *world, struct slot *slot, struct slot *source, enum record_side side);
/* Creates a slot and chains it. */
struct slot *world_follow(struct world *world, const char *name, struct slot *source, enum record_side side);

#endif
