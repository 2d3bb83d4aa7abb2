// SPDX-License-Identifier: Apache-2.0
/*
 * slot.h - the table of slots, their names, and the index that keeps them.
 *
 * The table is a mapped file of the arena. Everything that describes a slot stands in it and not on the heap,
 * so a server that starts on it finds the slots again. The fields under "runtime" below end with the process
 * (open handles, waiters, pidfds), and the next server sets them anew.
 */
#ifndef PYRMAPFS_SLOT_H
#define PYRMAPFS_SLOT_H

#include "arena/arena.h"
#include "base/process.h"
#include "protocol/handshake.h"
#include "protocol/record.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

enum {
    SLOT_NAME_MAX = 255,
    SLOT_REASON_MAX = 120,      /* bytes of the reason for a refusal or a wait */
    SLOT_LIMIT = (1 << 18) - 2, /* a nodeid has room for no more */
};

/* The files of a slot, in the order of a listing. */
enum slot_file {
    SLOT_DIRECTORY,
    SLOT_METADATA_BIN,
    SLOT_METADATA_MEM,
    SLOT_METADATA_TXT,
    SLOT_DATA_BIN,
    SLOT_RESULT_BIN,
    SLOT_DATA_TXT,
    SLOT_RESULT_TXT,
    SLOT_DATA_NPY,
    SLOT_RESULT_NPY,
    SLOT_TASK,
    SLOT_ERROR,
    SLOT_OWNER,
    SLOT_WORKER,
    SLOT_SOURCE,
    SLOT_DATA_LINK, /* these three only where the data path is links */
    SLOT_RESULT_LINK,
    SLOT_METADATA_LINK,
    SLOT_FILES,
};

/* As stat shows them. We do not see every read, so `accessed` is when the file came to be, or as set. */
struct slot_times {
    struct timespec accessed;
    struct timespec modified;
    struct timespec changed;
};

/* One array of the slot in this round: data.bin (RECORD_SIDE_INPUT) or result.bin (RECORD_SIDE_RESULT). */
struct slot_array {
    uint64_t serial;     /* fresh with each array */
    uint64_t inode;      /* serial of its nodeid: the last array's, unless a client had that open */
    uint64_t number;     /* st_ino; a chained input has its source's */
    uint64_t segment_id; /* 0: none yet, the array is empty */
    uint32_t home;       /* index of the slot in which the array came to be: see nodeid.h */
    uint32_t home_side;  /* and its side there */
    uint32_t borrowed;   /* another slot has the same pages, on its account */
    struct slot_times times;
};

/* The last operation that this slot refused. */
struct slot_refusal {
    struct timespec when;
    pid_t pid;
    int32_t error; /* positive errno; 0: none yet */
    char operation[40];
    char reason[SLOT_REASON_MAX];
};

/* Why a round failed, for programs. */
enum slot_cause {
    CAUSE_NONE,
    CAUSE_CLIENT,  /* flag 2, or a text written into `error` */
    CAUSE_WORKER,  /* pid exited with status */
    CAUSE_SOURCE,  /* source failed, may not be read any more, or was removed */
    CAUSE_RESTART, /* the server that it was computed under is gone */
};

struct slot_failure {
    uint32_t cause; /* enum slot_cause */
    pid_t pid;
    int32_t status; /* as waitpid has it, or PROCESS_STATUS_UNKNOWN */
    char source[SLOT_NAME_MAX + 1];
};

/* Page-cache path: whether we are making mappings of metadata.bin read it again. */
enum slot_refresh { REFRESH_NOT, REFRESH_UNDER_WAY, REFRESH_UNDER_WAY_AND_AGAIN };

/* The pages that clients map, and the files behind them: see page.h. */
enum slot_page_kind { SLOT_PAGE_BIN, SLOT_PAGE_MEM, SLOT_PAGES };

struct slot_page {
    void *map; /* the daemon's mapping while handles are open */
    int fd;    /* and its descriptor */
    uint32_t handles;
    uint32_t exists;                /* the file is there: clients may have it mapped */
    uint32_t linked;                /* a client has a path to it, and one of `handles` is for that */
    struct record_backing *backing; /* passthrough: its registration, for the layer above */
};

/* Whether the exchange works on the slot's waiters and followers, in perhaps several turns of the loop. */
enum slot_work { AT_WORK_NOT, AT_WORK, AT_WORK_AND_AGAIN };

struct handle;
struct record_backing;
struct wait;

struct slot {
    uint64_t serial; /* of its nodeids; 0: the entry is free */
    char name[SLOT_NAME_MAX + 1];
    uid_t uid;
    gid_t gid;
    uint16_t modes[SLOT_FILES];          /* permission bits */
    uint32_t state;                      /* enum handshake_state */
    struct slot_times times[SLOT_FILES]; /* see slot_times */
    struct timespec entered;             /* when the slot came into this state */
    struct record record;
    struct slot_array arrays[2];                /* by enum record_side */
    uint8_t inline_bytes[2][RECORD_INLINE_MAX]; /* by enum record_side: see slot_inline_size */
    uint32_t task_size; /* bytes of the texts, which are files of the arena while not empty */
    uint32_t error_size;
    pid_t owner;          /* 0: none */
    pid_t worker;         /* 0: none */
    uint64_t worker_once; /* the only round that worker is bound to; 0: this one and all later ones */
    uint64_t refusals;
    struct slot_refusal refusal;

    /* chain: indices into the table, 0 is no slot */
    uint32_t source;        /* the slot that feeds this one */
    uint32_t source_side;   /* enum record_side: which of its arrays */
    uint64_t source_serial; /* of the symlink's nodeid */
    gid_t source_group;     /* a group of the owner when the link was made */
    uint64_t source_taken;  /* number of the last array, or failure, taken from it */
    uint32_t first_follower;
    uint32_t next_follower;
    uint32_t previous_follower;
    uint64_t failure;           /* its number while followers have to take it; 0 once a round has an input */
    uint64_t recalled;          /* number of the last failure that another try took back */
    uint32_t has_input;         /* this round has an input: published, or delivered by the source */
    uint32_t outcome_taken;     /* a reader has had the result, or the failure */
    struct slot_failure failed; /* the last one */

    /* runtime */
    uint32_t next_in_bucket;
    uint64_t ready_stamp; /* chain_followers_ready looked at it in the walk of that number */
    uint32_t queued;      /* in the exchange's list of slots to look at */
    uint32_t next_queued;
    uint32_t at_work;            /* enum slot_work */
    struct wait *cursor;         /* the waiter that is next */
    uint32_t follower_cursor;    /* and the follower */
    uint32_t leaving;            /* it has no name any more, and its followers still have to hear of that */
    struct segment *segments[2]; /* by enum record_side */
    struct segment *kept_open;   /* see array_open */
    struct handle *handles;
    uint32_t handle_count, record_handles; /* all of them; those of metadata.bin and metadata.mem */
    LIST_HEAD(slot_polls, handle) polls;   /* handles of clients that poll */
    LIST_HEAD(slot_waits, wait) waiters;
    uint32_t wait_count;
    struct process_bond owner_bond;
    struct process_bond worker_bond;
    struct slot_page pages[SLOT_PAGES]; /* by enum slot_page_kind */
    uint32_t dated[2];       /* by enum record_side: utimensat set the time, after all changes that we saw */
    uint64_t text_serial[2]; /* by enum record_side: serial of the array whose text has text_size bytes */
    off_t text_size[2];
    uint32_t known[2];     /* by enum record_side: the kernel may have the array's attributes */
    uint32_t refreshing;   /* enum slot_refresh */
    uint32_t page_shown;   /* the kernel may have a page of the record that it read from us */
    pid_t filler;          /* the process that last opened data.bin for writing in this round */
    uint32_t settling[2];  /* by enum record_side: background work on the segment before it is published */
    int32_t settled[2];    /* how that ended: 0 or -errno */
    uint32_t sizing[2];    /* by enum record_side: reservations under way */
    uint64_t last_size[2]; /* bytes of the last published array: our guess for the next */
};

struct slots;

/*
 * Looks at the index in the arena. Refuses one that it cannot read, and an arena that has files but no index.
 * Changes nothing; the table is empty until slots_begin. error gets one line that names the file and the
 * remedy. Returns 0 or -errno.
 */
int slots_open(struct slots **out, struct arena *arena, uint32_t limit, char error[ARENA_ERROR_MAX]);

/*
 * Calls visit for each segment that a slot of the index names, before or after slots_begin, until it returns
 * something other than 0. Returns that, or 0.
 */
int slots_visit_segments(const struct slots *slots,
                         int (*visit)(void *context, const char *name, uint64_t segment_id), void *context);

/*
 * Takes the index over, or makes one. Call it when nothing can refuse the start any more. The table then has
 * the slots that an earlier server left, their runtime fields zeroed; the caller restores the rest. Returns 0
 * or -errno.
 */
int slots_begin(struct slots *slots);
void slots_close(struct slots *slots);

/* Bytes that the index and the record pages of so many slots take. */
uint64_t slots_bytes(uint32_t limit);
uint32_t slots_count(const struct slots *slots);
uint32_t slots_limit(const struct slots *slots);
/* A number above the index of every slot; 0 before slots_begin if there was no index. */
uint32_t slots_end(const struct slots *slots);
uint32_t slots_in_state(const struct slots *slots, enum handshake_state state);

/*
 * A count that grows whenever a slot comes or goes or changes its name, state or source: while it is the
 * same, a picture of the table is true.
 */
uint64_t slots_changes(const struct slots *slots);
/* Call it after a change that no function below makes. */
void slots_changed(struct slots *slots);

/* A fresh number, never given twice in this arena. */
uint64_t slots_serial(struct slots *slots);

/* The slot at an index, NULL if that is free or out of bounds. */
struct slot *slot_at(struct slots *slots, uint32_t index);
uint32_t slot_index(const struct slots *slots, const struct slot *slot);
/* The first slot with an index above this one, or NULL; start with 0. */
struct slot *slot_after(struct slots *slots, uint32_t index);

/* By name, NULL if there is none. */
struct slot *slot_find(struct slots *slots, const char *name);

/*
 * 0, or -ENAMETOOLONG, -EPERM (leading dot), -EINVAL (empty).
 */
int slot_name_check(const char *name);

/*
 * A fresh slot in state IDLE. Returns 0, -EEXIST, -ENOSPC (full table or arena) or slot_name_check's error.
 */
int slot_create(struct slots *slots, const char *name, uid_t uid, gid_t gid, mode_t mode, struct slot **out);
/* The caller has released segments, handles, waiters and chain links. */
void slot_destroy(struct slots *slots, struct slot *slot);
/*
 * The first half of slot_destroy, for a caller that has more to do before the second: the slot loses its name
 * and its place in the counts, and only slot_at finds it. If the server is killed in between, the next one
 * removes the slot, as it does when an owner is gone.
 */
void slot_leave(struct slots *slots, struct slot *slot);
/* The new name must be free and checked. */
void slot_rename(struct slots *slots, struct slot *slot, const char *name);

enum handshake_state slot_state(const struct slot *slot);

/* Whether a user may enter the slot and read the file; in_group: the user is in the slot's group. */
bool slot_may_read(const struct slot *slot, enum slot_file file, uid_t uid, bool in_group);

/* Derives the modes of all files from the directory's. */
void slot_chmod(struct slot *slot, mode_t mode);
void slot_chown(struct slot *slot, uid_t uid, gid_t gid);

/* Sets the state, and keeps the counts of the table right. */
void slot_enter_state(struct slots *slots, struct slot *slot, enum handshake_state state);

/* The times of a file that comes to be now. */
struct slot_times slot_times_now(void);
/* A file's times. An array and its views have the same, and so have the record and its text. */
struct slot_times *slot_times(struct slot *slot, enum slot_file file);
/* The root's, which slot_create, slot_destroy and slot_rename keep. */
struct slot_times *slots_times(struct slots *slots);

/* Notes that the file's content changed now; for the directory, its names. */
void slot_touch(struct slot *slot, enum slot_file file);
/* Notes that mode, owner or name changed now. */
void slot_touch_attributes(struct slot *slot, enum slot_file file);

/* "metadata.bin" and so on; "" for the slot's directory. */
const char *slot_file_name(enum slot_file file);
/* The file of that name, SLOT_FILES if a slot has no place for it. */
enum slot_file slot_file_find(const char *name);
/* Whether the slot has this file now. Only a chained slot has `source`; every slot has all others. */
bool slot_file_exists(const struct slot *slot, enum slot_file file);

/* Whether it is an array or a view of one; these six are in pairs, input and result. */
bool slot_file_has_side(enum slot_file file);

/* data.* -> input; result.* -> result. Only for those six. */
enum record_side slot_file_side(enum slot_file file);

/* The array's own file. */
enum slot_file slot_file_of_side(enum record_side side);

/*
 * Bytes of an inline array: a small one that was published in one write and stands in the slot's entry and in
 * the page of metadata.mem. 0: the array has a segment, or is empty. An inline array may have a segment as
 * well, made when a client opened it: a copy, which the index does not name.
 */
size_t slot_inline_size(const struct slot *slot, enum record_side side);
/* Sets an inline array of at most RECORD_INLINE_MAX bytes; 0 removes it and clears its bytes. */
void slot_set_inline(struct slot *slot, enum record_side side, const void *bytes, size_t size);

/* A new inode for one array; it has no segment. */
void slot_fresh_array(struct slots *slots, struct slot *slot, enum record_side side);

#endif
