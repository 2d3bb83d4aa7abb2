// SPDX-License-Identifier: Apache-2.0
/*
 * store.h - the place of an arena's files: a private tmpfs, a directory, or nothing but memfds.
 *
 * Between store_open and store_close only its named files change, so the helper thread may read a store.
 */
#ifndef PYRMAPFS_STORE_H
#define PYRMAPFS_STORE_H

#include "arena/hidden.h"
#include "arena/kept.h"
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum arena_kind { ARENA_TMPFS, ARENA_DIR, ARENA_MEMFD };

enum { ARENA_ERROR_MAX = 512 };

struct background;
struct segment;

struct arena_options {
    enum arena_kind kind;
    const char *path;  /* ARENA_DIR only: must exist or be creatable */
    uint64_t capacity; /* bytes that segments (and the index) may take */
    uint64_t warm;     /* bytes kept allocated for new segments */
    uint64_t files;    /* bytes that the index and the record pages may take */
    bool huge_pages;
    struct hidden_key key; /* of the names; ARENA_DIR keeps one with the files */
    struct kept *kept; /* what an earlier server left, and the next one gets; NULL: there is no next one */
    pid_t holder;      /* by whose descriptors clients reach memfds; 0: ours */
    struct background *background;
    /*
     * Called in the loop before a backing file is recycled or removed, so that its backing id is closed: first the
     * one, which tells the next server of it, then we note that it is gone, then the other. The first may be NULL.
     */
    void (*leave_backing)(void *context, int32_t backing_id);
    void (*forget_backing)(void *context, int32_t backing_id);
    /* Called in the loop when a segment is gone, so that accounts can be settled. May be NULL. */
    void (*freed)(void *context, struct segment *segment);
    /* Called in the loop when only clients that map it are left, and we keep a descriptor until `freed`. */
    void (*keeps_descriptor)(void *context, struct segment *segment);
    /*
     * Makes a directory reachable by a path, which it fills in, for all users; called when links are used.
     * Returns 0 or -errno. NULL: it cannot be done.
     */
    int (*attach)(void *context, int directory, char path[PATH_MAX]);
    void *context;
};

/* What store_close does to the directory, where there is one. */
enum arena_end { ARENA_KEEP, ARENA_REMOVE, ARENA_UNDO };

struct store;
struct named_file;

/* The properties of a kind. The arena's other files ask for a property, never for the kind. */
struct store_kind {
    enum arena_kind kind;
    const char *name;
    bool has_names;     /* a segment's file is found by its name; else we keep a descriptor of it */
    bool kernel_counts; /* the kernel holds segments to the capacity, and has the daemon's files elsewhere */
    bool is_lasting;    /* files outlast the daemon, on a disk: fsync is worth its time */
    bool takes_memory;  /* the kernel cannot reclaim pages: the machine must spare them, and warm ones pay */
    /* NULL: there is nothing to open */
    int (*open)(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX]);
};

struct store {
    const struct store_kind *kind;
    int dirfd;   /* -1 without names */
    int filesfd; /* the named files'; ARENA_TMPFS: of a second mount, so that full segments leave them room */
    int lockfd;  /* ARENA_DIR */
    char *path;  /* ARENA_DIR: absolute */
    bool made_directory;
    bool made_lock;
    bool made_key;
    bool open_above;       /* ARENA_DIR: other users may go through all directories above it */
    struct hidden_key key; /* with names */
    struct {
        char *segments, *files; /* with names: the directories as clients name them. NULL: nobody does */
    } reach;
    bool lets_others_in; /* of other users, by those paths */
    int (*attach)(void *context, int directory, char path[PATH_MAX]);
    void *context;
    uint32_t found_files; /* segments and named files that were there before us */
    bool has_leases;
    bool wants_huge;           /* memfds: we ask for huge pages ourselves, see huge.h */
    uint64_t page;             /* bytes */
    struct named_file **named; /* without names */
    struct kept *kept;         /* may be NULL */
    bool was_open;             /* by an earlier server, which was killed */
    pid_t holder;
};

/* The longest name of a segment's file. */
enum { STORE_NAME_MAX = 48 };
/* The number of a file made to try something out. No segment has it, so it may go. */
enum { STORE_PROBE = 0 };
void store_segment_name(const struct store *store, char name[STORE_NAME_MAX], uint64_t id);
/* How the names of the daemon's own files begin, and no segment's: see named.h. */
extern const char store_named_prefix[];

/* "tmpfs", "dir", "memfd" */
const char *store_kind_name(enum arena_kind kind);

/* Goes on with the place that an earlier server had open, if options->kept knows it. */
int store_open(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX]);
/* Idempotent. */
void store_close(struct store *store, enum arena_end end);

/* Bytes that all texts together may take in an arena of that capacity. */
uint64_t store_text_bytes(uint64_t capacity);

/* Calls visit for each segment file in the directory; visit may remove it. */
int store_scan(const struct store *store, void (*visit)(void *context, uint64_t id), void *context);

/* Calls visit for each name in a directory. Returns 0 or -errno. */
int store_scan_names(int directory_fd, void (*visit)(void *context, const char *name), void *context);

uint64_t store_round_up(const struct store *store, uint64_t size);

/* Lets clients reach the files by a path, of other users if that can be. Returns 0 or -errno. */
int store_share(struct store *store);
/* Whether the user of that uid reaches them, if they may be reached at all. */
bool store_links(const struct store *store, uid_t uid);
/* DIRECTORY/NAME. -ENOENT if directory is NULL, -ENAMETOOLONG. */
int store_path_of(const char *directory, const char *name, char *path, size_t size);
/* The path by which other processes of the same user open what fd is open on. -ENAMETOOLONG. */
int store_memfd_path(const struct store *store, int fd, char *path, size_t size);

/* A new memfd; returns it or -errno. */
int store_memfd(const char *name);
/* Another descriptor of an open file, with its own access and offset. Returns it or -errno. */
int store_reopen(int fd, int flags);

#endif
