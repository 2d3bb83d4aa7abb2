// SPDX-License-Identifier: Apache-2.0
/*
 * entry.h - one slot, and which part of it the index keeps.
 *
 * What the next server has to know of a slot stands in the first part of its struct; the fields under "runtime"
 * end with the process (open handles, waiters, pidfds) or follow from the others. Whoever changes a field of
 * the first part calls slot_mark, or a function that does so.
 */
#ifndef PYRMAPFS_ENTRY_H
#define PYRMAPFS_ENTRY_H

#include "base/job.h"
#include "base/process.h"
#include "protocol/handshake.h"
#include "protocol/record.h"
#include "slot/slot_file.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

enum {
    SLOT_NAME_MAX = 255,
    TEXT_TASK_MAX = 4096,
    TEXT_ERROR_MAX = 65536,
    SLOT_REASON_MAX = 120,      /* bytes of the reason for a refusal or a wait */
    SLOT_LIMIT = (1 << 18) - 2, /* a nodeid has room for no more */
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
    int32_t backing_id;  /* of the segment, as in struct segment; 0: none. slots_commit sets it */
    struct slot_times times;
};

/* How the bytes of an array came to clients and from them, as far as we see it. */
struct slot_traffic {
    uint64_t serial;   /* the array's. Another one: we have not seen the array from its beginning */
    uint64_t copied;   /* bytes that went through our requests */
    uint64_t in_place; /* opens and links that were given the pages themselves */
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
    CAUSE_DAMAGE,  /* its entry in the index, or the pages of an array, are lost */
    SLOT_CAUSES,
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
    uint32_t exists; /* the file is there: clients may have it mapped */
    uint32_t linked; /* a client has a path to it, and one of `handles` is for that */
    uint32_t behind; /* the last change could not be written: what it says is no client's wish */
    struct record_backing *backing; /* passthrough: its registration, for the layer above */
};

/* Whether the exchange works on the slot's waiters and followers, in perhaps several turns of the loop. */
enum slot_work { AT_WORK_NOT, AT_WORK, AT_WORK_AND_AGAIN };

struct handle;
struct jobs_group;
struct record_backing;
struct wait;

/* What the index had of a slot when we read it. */
enum slot_damage {
    SLOT_WHOLE,
    SLOT_EARLIER,   /* as it was one step before */
    SLOT_SET_ASIDE, /* its entry is lost: this slot stands for it, with the arrays that could be told */
};

/* The slots that differ from the index. */
struct slot_marks {
    struct slot *first;
    uint32_t count;
};

struct slot {
    uint64_t serial; /* of its nodeids; 0: the entry is free */
    char name[SLOT_NAME_MAX + 1];
    char job[JOB_NAME_MAX + 1];        /* that its maker was in; "": none */
    char job_group[JOB_GROUP_MAX + 1]; /* and its cgroup: see job.h */
    uint64_t job_id;                   /* the number of that; 0: we have not seen it */
    uid_t uid;
    gid_t gid;
    uint16_t modes[SLOT_FILES];          /* permission bits */
    uint32_t leaving;                    /* it has no name any more: see slot_leave */
    uint32_t state;                      /* enum handshake_state */
    struct slot_times times[SLOT_FILES]; /* see slot_times */
    struct timespec entered;             /* when the slot came into this state */
    struct record record;
    struct slot_array arrays[2]; /* by enum record_side */
    uint64_t task_file;          /* numbers of the texts' files, which are there while they are not empty */
    uint64_t error_file;
    uint32_t task_size; /* bytes */
    uint32_t error_size;
    pid_t owner;          /* 0: none */
    pid_t worker;         /* 0: none */
    uint64_t owner_start; /* when these began, which tells them from others that have their pid later */
    uint64_t worker_start;
    uint64_t worker_once; /* the only round that worker is bound to; 0: this one and all later ones */
    uint64_t refusals;
    struct slot_refusal refusal;
    int32_t page_backing[SLOT_PAGES]; /* passthrough: registrations of the pages; for the layer above */

    /* chain */
    uint32_t source;            /* index of the slot that feeds this one; 0: none */
    uint32_t source_side;       /* enum record_side: which of its arrays */
    uint64_t source_slot;       /* and its serial */
    uint64_t source_serial;     /* of the symlink's nodeid */
    pid_t filler;               /* the process that last opened data.bin for writing in this round */
    gid_t source_group;         /* a group of the owner when the link was made */
    uint64_t source_taken;      /* number of the last array, or failure, taken from it */
    uint64_t failure;           /* its number while followers have to take it; 0 once a round has an input */
    uint64_t recalled;          /* number of the last failure that another try took back */
    uint32_t has_input;         /* this round has an input: published, or delivered by the source */
    uint32_t outcome_taken;     /* a reader has had the result, or the failure */
    struct slot_failure failed; /* the last one */

    /* runtime */
    struct slots *table;
    uint8_t (
        *inline_bytes)[RECORD_INLINE_MAX]; /* by enum record_side: see slot_inline_size. In the index they are
                                                   the entry's tail. Zeros behind the last byte */
    struct slot_marks *marks;
    uint32_t marked; /* it is in that list */
    uint32_t damage; /* enum slot_damage */
    struct slot *next_marked;
    uint32_t first_follower; /* chain: indices into the table, 0 is no slot */
    uint32_t next_follower;
    uint32_t previous_follower;
    uint32_t next_in_bucket;
    uint64_t ready_stamp; /* chain_followers_ready looked at it in the walk of that number */
    uint32_t queued;      /* in the exchange's list of slots to look at */
    uint32_t next_queued;
    uint32_t at_work;            /* enum slot_work */
    uint32_t follower_cursor;    /* the follower that is next */
    struct wait *cursor;         /* and the waiter */
    struct segment *segments[2]; /* by enum record_side */
    struct segment *kept_open;   /* see array_open */
    struct handle *handles;
    uint32_t handle_count, record_handles; /* all of them; those of metadata.bin and metadata.mem */
    LIST_HEAD(slot_polls, handle) polls;   /* handles of clients that poll */
    LIST_HEAD(slot_waits, wait) waiters;
    struct jobs_group *group; /* whose end is the end of the slot */
    LIST_ENTRY(slot) in_group;
    struct process_bond owner_bond;
    struct process_bond worker_bond;
    struct slot_page pages[SLOT_PAGES]; /* by enum slot_page_kind */
    struct slot_traffic traffic[2];     /* by enum record_side */
    uint32_t dated[2];       /* by enum record_side: utimensat set the time, after all changes that we saw */
    uint64_t text_serial[2]; /* by enum record_side: serial of the array whose text has text_size bytes */
    off_t text_size[2];
    uint32_t known[2];     /* by enum record_side: the kernel may have the array's attributes */
    uint32_t wait_count;   /* waiters */
    uint32_t refreshing;   /* enum slot_refresh */
    uint32_t page_shown;   /* the kernel may have a page of the record that it read from us */
    uint32_t settling[2];  /* by enum record_side: background work on the segment before it is published */
    int32_t settled[2];    /* how that ended: 0 or -errno */
    uint32_t sizing[2];    /* by enum record_side: reservations under way */
    uint64_t last_size[2]; /* bytes of the last published array: our guess for the next */
};

/* The slot differs from what the index has: slots_commit will write it. */
void slot_mark(struct slot *slot);

/* What the index keeps of a slot: the bytes before this, and as a tail those of both inline arrays. */
enum { ENTRY_SIZE = offsetof(struct slot, table), ENTRY_TAIL = 2 * RECORD_INLINE_MAX };
/* Puts the tail together, or takes it apart, as the record says. Returns its bytes. */
size_t entry_tail(const struct slot *slot, uint8_t tail[ENTRY_TAIL]);
void entry_set_tail(struct slot *slot, const uint8_t tail[ENTRY_TAIL]);

/*
 * 0, or -ENAMETOOLONG, -EPERM (leading dot), -EINVAL (empty, or a path).
 */
int slot_name_check(const char *name);

enum handshake_state slot_state(const struct slot *slot);

/*
 * What a user may do with the file, entering the slot first: bit 4 read, bit 2 write. in_group: the user is in
 * the slot's group.
 */
unsigned slot_permits(const struct slot *slot, enum slot_file file, uid_t uid, bool in_group);
bool slot_may_read(const struct slot *slot, enum slot_file file, uid_t uid, bool in_group);

/* Derives the modes of all files from the directory's. */
void slot_chmod(struct slot *slot, mode_t mode);
void slot_chown(struct slot *slot, uid_t uid, gid_t gid);

/* Count traffic of the present array. */
void slot_count_copied(struct slot *slot, enum record_side side, uint64_t bytes);
void slot_count_in_place(struct slot *slot, enum record_side side);
/* NULL if we do not know all of it, because the array is older than this server. */
const struct slot_traffic *slot_traffic(const struct slot *slot, enum record_side side);

/* The times of a file that comes to be now, or is changed now. */
struct slot_times slot_times_now(void);
void slot_times_touch(struct slot_times *times);
/* A file's times. An array and its views have the same, and so have the record and its text. Mark a change. */
struct slot_times *slot_times(struct slot *slot, enum slot_file file);
/* Notes that the file's content changed now; for the directory, its names. */
void slot_touch(struct slot *slot, enum slot_file file);
/* Notes that mode, owner or name changed now. */
void slot_touch_attributes(struct slot *slot, enum slot_file file);

/* Whether the slot has this file now. Only a chained slot has `source`; every slot has all others. */
bool slot_file_exists(const struct slot *slot, enum slot_file file);

/*
 * Bytes of an inline array: a small one that was published in one write and stands in the slot's entry and in
 * the page of metadata.mem. 0: the array has a segment, or is empty. An inline array may have a segment as
 * well, made when a client opened it: a copy, which the index does not name.
 */
size_t slot_inline_size(const struct slot *slot, enum record_side side);
/* Sets an inline array of at most RECORD_INLINE_MAX bytes; 0 removes it and clears its bytes. */
void slot_set_inline(struct slot *slot, enum record_side side, const void *bytes, size_t size);

#endif
