// SPDX-License-Identifier: Apache-2.0
/*
 * slot.h - one exchange slot of the mount, as this R session uses it.
 *
 * data.bin and result.bin are opened anew for each use: a round gets fresh inodes for them. What stays from
 * call to call is the directory, metadata.bin, for writing steps and for poll, and the page of metadata.mem.
 */
#ifndef PYRMAP_SLOT_H
#define PYRMAP_SLOT_H

#define R_NO_REMAP
#include "protocol/record.h"
#include <R.h>
#include <Rinternals.h>
#include <stdbool.h>
#include <sys/types.h>

/* Whether pages are the filesystem's, and futex wakes arrive on them; else we poll and read. */
enum slot_live {
    LIVE_NOT,   /* the page cache */
    LIVE,       /* passthrough: mappings of the files */
    LIVE_LINKS, /* mappings of what their names with .mem lead to */
};

struct slot {
    pid_t creator; /* a forked child leaves its parent's slots alone; 0: somebody else made it */
    int directory; /* O_PATH: a path from the root is looked up again where a round's files are new */
    int record_fd; /* metadata.bin, -1 if it is parked or removed */
    int page_fd;   /* metadata.mem, where its pages are not live; else -1 */
    bool parked;   /* nothing is open: see slot_park() */
    dev_t device;  /* of the mount that it lies in */
    const struct record_page
        *page; /* metadata.mem, mapped when it is first looked at; NULL if it is not live */
    enum slot_live live;
    bool chained;        /* it has a source */
    bool running;        /* this session published its round: flag -1 means cancelled */
    bool idle;           /* nothing was put into it since it was made, or emptied */
    SEXP lent;           /* see lend.h; NULL: nothing is */
    bool holds_result;   /* made by slot_move_result() */
    struct slot *next;   /* among the spare ones */
    size_t capacity;     /* of the mount's arena, in bytes */
    size_t result_bytes; /* of the last result */
    uint64_t seen;       /* the last round whose outcome was taken */
    char path[];
};

/* The slot of an external pointer; raises an R error if it was removed. */
struct slot *slot_get(SEXP pointer);

/* Whether there is a slot at its path. */
bool slot_exists(const struct slot *slot);

/* Whether the slot is in the filesystem that is mounted at root now. The kernel does not ask the daemon. */
bool slot_on_mount(const struct slot *slot, const char *root);

/* Whether this session has removed it. */
bool slot_is_removed(const struct slot *slot);

/*
 * slot_park() closes all descriptors and the page of a slot that is kept, slot_wake() opens them again, or
 * returns -errno and leaves it parked. A session can have more parked slots than descriptors. slot_get() takes
 * no parked slot.
 */
void slot_park(struct slot *slot);
int slot_wake(struct slot *slot);

/* Opens a file of the slot. A descriptor that no program inherits, or -1 with errno set. */
int slot_open_file(const struct slot *slot, const char *name, int flags);

/*
 * A descriptor for the pages of data.bin or result.bin, which fd is: fd itself, or what data.mem or result.mem
 * leads to; or -1 with errno set. slot_close_pages() closes both, where they are open.
 */
int slot_open_pages(const struct slot *slot, int fd, const char *name, int flags);
void slot_close_pages(int fd, int pages);

/* The record as the filesystem has it now. Re-arms poll. 0 or -errno. */
int slot_read_record(const struct slot *slot, struct record *record);

/* Whether the page is live, and mapped now. */
bool slot_is_live(struct slot *slot);

/* The record as a live page shows it, whole. */
void slot_look(const struct slot *slot, struct record *record);

/* The record, and the result if that is inline; no request where the page is live. 0 or -errno. */
int slot_outcome(struct slot *slot, struct record_page *page);

/*
 * The record and, behind it, the result, in one request that stands for an open and a close of result.bin; size
 * bytes in all, else it is an error. 0 or -errno.
 */
int slot_take_result(const struct slot *slot, void *image, size_t size);

/*
 * The record that publishes an input. order: 0 or RECORD_ORDER_INPUT_LOGICAL. dim: R's attribute, or
 * R_NilValue for a plain vector.
 */
struct record slot_input(int32_t dtype, uint32_t order, R_xlen_t length, SEXP dim);

/*
 * Publishes an input in one write: of the record if data.bin holds the input, or of the record and the input
 * behind it. 0 or -errno; R's interrupt leaves by longjmp.
 */
int slot_publish(struct slot *slot, const void *bytes, size_t size);

/* IDLE again, data dropped; not while a worker computes. 0 or -errno. */
int slot_reset(struct slot *slot);

/*
 * Moves the result of a slot, which is IDLE then, into data.bin of another one that is parked: no byte is copied. NULL: it cannot
 * be moved, and nothing has changed.
 */
SEXP slot_move_result(struct slot *slot);

/* Removes a slot that no pointer has. */
void slot_free(struct slot *slot);

/* The mount that the slot of this path lies in. R frees it. */
const char *slot_root(const char *path);

/*
 * Makes a slot that has the input of this one, the same pages, and is no follower of it. This process is its owner, and nobody
 * here removes it: that is for whoever adopts it. Its path, which R frees; NULL: it cannot be made.
 */
const char *slot_share_input(const struct slot *slot);

/* Makes this process the owner of a slot that another one made: it goes with the struct. */
bool slot_adopt(struct slot *slot);

/* Whether an error (-errno) says that the slot, or its mount, is gone. */
bool slot_is_lost(int error);

/* Calls a function of the R package that raises a condition. arguments: a pairlist. */
_Noreturn void raise_in_r(const char *function, SEXP arguments);

/* Raises the R condition pyrmap_system_error. error is a positive errno. */
_Noreturn void raise_system(int error, const char *operation, const char *path);

/* live: of enum slot_live. */
SEXP pyrmap_slot_new(SEXP mount, SEXP live);
/* Opens a slot that somebody else made, and will remove. */
SEXP pyrmap_slot_open(SEXP path, SEXP live);
/* Locks the slot against other clients that ask for the lock, until we let go of it. FALSE: one of them has it. */
SEXP pyrmap_slot_lock(SEXP slot);
SEXP pyrmap_slot_remove(SEXP slot);
/* The path, a parked slot's too; NULL once the slot was removed. */
SEXP pyrmap_slot_path(SEXP slot);
SEXP pyrmap_slot_current(SEXP slot, SEXP root);
/* NULL, or the name of the errno. */
SEXP pyrmap_slot_text(SEXP slot, SEXP name, SEXP text);
SEXP pyrmap_slot_read(SEXP slot, SEXP name);
SEXP pyrmap_slot_source(SEXP slot, SEXP target);
SEXP pyrmap_slot_state(SEXP slot);
/* slot_reset(): TRUE or FALSE. */
SEXP pyrmap_slot_reset(SEXP slot);
/* The same where something was put into it. */
SEXP pyrmap_slot_empty(SEXP slot);
/* Bytes of the last result. */
SEXP pyrmap_slot_bytes(SEXP slot);

#endif
