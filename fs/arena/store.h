// SPDX-License-Identifier: Apache-2.0
/*
 * store.h - the place of an arena's files: a private tmpfs, a directory, or nothing but memfds.
 *
 * Between store_open and store_close only its named files change, so the helper thread may read a store.
 */
#ifndef PYRMAPFS_STORE_H
#define PYRMAPFS_STORE_H

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
    struct background *background;
    /* Called in the loop before a backing file is recycled or removed, so that its backing id is closed. */
    void (*forget_backing)(void *context, int32_t backing_id);
    /* Called in the loop when a segment is gone, so that accounts can be settled. May be NULL. */
    void (*freed)(void *context, struct segment *segment);
    /* Called in the loop when only clients that map it are left, and we keep a descriptor until `freed`. */
    void (*keeps_descriptor)(void *context, struct segment *segment);
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
    uint32_t found_files; /* segments and named files that were there before us */
    bool has_leases;
    uint64_t page;             /* bytes */
    struct named_file **named; /* without names */
};

/* The longest name of a segment's file. */
enum { STORE_NAME_MAX = 24 };
/* The number of a file made to try something out. No segment has it, so it may go. */
enum { STORE_PROBE = 0 };
void store_segment_name(char name[STORE_NAME_MAX], uint64_t id);

/* "tmpfs", "dir", "memfd" */
const char *store_kind_name(enum arena_kind kind);

int store_open(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX]);
/* Idempotent. */
void store_close(struct store *store, enum arena_end end);

/* The daemon's own files, under names that no segment can have. */
int store_file_open(struct store *store, const char *name, int flags);
int store_file_unlink(struct store *store, const char *name);
/* As arena_files_visit. */
int store_files_visit(int directory, void (*visit)(void *context, const char *name, int fd), void *context);
/* As arena_file_path. */
void store_file_path(const struct store *store, const char *name, char *path, size_t size);

/* Bytes that all texts together may take in an arena of that capacity. */
uint64_t store_text_bytes(uint64_t capacity);

/* Calls visit for each segment file in the directory; visit may remove it. */
int store_scan(const struct store *store, void (*visit)(void *context, uint64_t id), void *context);

uint64_t store_round_up(const struct store *store, uint64_t size);

/*
 * Whether the user of that uid reaches the files by a path: of a memfd and in a directory the daemon's own.
 */
bool store_links(const struct store *store, uid_t uid);
/* As arena_file_link. */
int store_file_link(const struct store *store, const char *name, char *path, size_t size);
/* The path by which other processes of the same user open what fd is open on. -ENAMETOOLONG. */
int store_memfd_path(int fd, char *path, size_t size);

/* A new memfd; returns it or -errno. */
int store_memfd(const char *name);
/* Another descriptor of an open file, with its own access and offset. Returns it or -errno. */
int store_reopen(int fd, int flags);

#endif
