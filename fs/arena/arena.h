// SPDX-License-Identifier: Apache-2.0
/*
 * arena.h - where segments live: one backing file each, on a private tmpfs, in a directory, or as memfds.
 *
 * Sizes are bytes. Functions return 0 or -errno unless they say otherwise. Everything here runs in the loop,
 * except the bodies of background jobs. Each of these includes only what stands to its right:
 * arena -> reserve (jobs on segments) -> segment -> ledger (accounts) -> warm (files between two segments)
 * -> backing (one file) -> store (the place).
 */
#ifndef PYRMAPFS_ARENA_H
#define PYRMAPFS_ARENA_H

#include "arena/reserve.h"

/*
 * Opens the arena; an existing ARENA_DIR keeps its segments (see segment_restore). error gets one line with
 * the remedy. A lock refuses a second daemon on the same directory.
 */
int arena_open(struct arena **arena, const struct arena_options *options, char error[ARENA_ERROR_MAX]);
/*
 * For a process that only looks at the index of an arena which a server has open, and then ends: changes nothing.
 * options->kept tells where it is.
 */
int arena_look(struct arena **arena, const struct arena_options *options, char error[ARENA_ERROR_MAX]);

/*
 * Waits for reservations under way and closes the arena; call it before background_deinit. A tmpfs vanishes
 * with its last descriptor. A directory stays with ARENA_KEEP, goes with ARENA_REMOVE (its index was read and
 * holds no slot), and with ARENA_UNDO (the start was refused) loses what arena_open made. NULL is fine.
 */
void arena_close(struct arena *arena, enum arena_end end);

enum arena_kind arena_kind(const struct arena *arena);
/* "tmpfs", "dir", "memfd" */
const char *arena_kind_name(enum arena_kind kind);

/* Whether the kernel refuses every write that exceeds the capacity. */
bool arena_is_bounded_by_kernel(const struct arena *arena);

/* Looks first which retired segments are still mapped. */
void arena_usage(struct arena *arena, struct ledger_usage *usage);

/*
 * Opens one of the daemon's own named files (index, texts, record pages); flags as for open(2). Returns a
 * descriptor or -errno. A caller that changes the file's size tells ledger_file_resized.
 */
int arena_file_open(struct arena *arena, const char *name, int flags);
int arena_file_unlink(struct arena *arena, const char *name);
/*
 * The same, and segment_unname_later, with the arena_let_go of this epoch or a later one: until the index does not
 * name it any more, also on the disk, the next server may need it.
 */
void arena_unlink_later(struct arena *arena, const char *name);
void arena_let_go(struct arena *arena, uint64_t epoch);
bool arena_has_leaving(const struct arena *arena);
/* Ends the epoch, and returns it. */
uint64_t arena_end_epoch(struct arena *arena);

/* Brings the names of the files to the disk, where there is one. 0 or -errno. */
int arena_sync_names(const struct arena *arena);

/* Whether files outlast the machine: see struct store_kind. */
bool arena_is_lasting(const struct arena *arena);
/*
 * Takes over the descriptor of one of the daemon's own files, to be brought to the disk by who takes it from here:
 * arena_take_unsynced returns how many there are. Where nothing lasts it is closed.
 */
enum { ARENA_UNSYNCED_MAX = 64 };
void arena_sync_later(struct arena *arena, int fd);
unsigned arena_take_unsynced(struct arena *arena, int fds[ARENA_UNSYNCED_MAX]);
/*
 * For a process that outlives the arena's: the directory of these files (-1 for a memfd arena), and a visit
 * to each of them, open for reading and writing. directory -1: those that this process has open as memfds.
 * Returns 0 or -errno.
 */
int arena_files(const struct arena *arena);
int arena_files_visit(int directory, void (*visit)(void *context, const char *name, int fd), void *context);
/* The name of such a file in a message: its path, or "the arena's NAME". */
void arena_file_path(const struct arena *arena, const char *name, char *path, size_t size);
/*
 * Links: clients reach the files past the mount. Nobody may write a published segment: segment_publish sees to
 * that once arena_use_links was called. -EOPNOTSUPP: the kernel cannot tell who has a file open, or nobody can
 * reach the files; another -errno: why they could not be made reachable.
 */
int arena_use_links(struct arena *arena);
/* Whether a user reaches them, and whether we let him write: not where he could exceed the capacity. */
bool arena_links(const struct arena *arena, uid_t uid);
bool arena_links_writers(const struct arena *arena, uid_t uid);
/*
 * The path of such a file, of which only the daemon has another descriptor that may write, after letting the
 * user read it. arena_file_revoke shuts all users out again. 0 or -errno.
 */
int arena_file_link(struct arena *arena, const char *name, int fd, uid_t uid, char *path, size_t size);
int arena_file_revoke(int fd);
/* How many segments and named files an earlier daemon left to this one. */
uint32_t arena_found_files(const struct arena *arena);
/* The directories of the arena's files, -1 if it has none. The arena keeps them open. */
void arena_directories(const struct arena *arena, int fds[2]);
/* Opens an empty file without a name, to try something out on. Returns a descriptor or -errno. */
int arena_probe_file(struct arena *arena);

#endif
