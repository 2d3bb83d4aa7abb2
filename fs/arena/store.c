// SPDX-License-Identifier: Apache-2.0
#include "arena/store.h"

#include "base/lock.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Others reach the files in a directory of this mode, but cannot list them. */
enum { SHARED_MODE = 0711 };
static const char lock_name[] = "lock";
const char store_named_prefix[] = "f-";

static int explain(char error[ARENA_ERROR_MAX], int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int explain(char error[ARENA_ERROR_MAX], int code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, ARENA_ERROR_MAX, format, arguments);
    va_end(arguments);
    return code;
}

void store_segment_name(const struct store *store, char name[STORE_NAME_MAX], uint64_t id)
{
    int length = snprintf(name, STORE_NAME_MAX, "s%llu", (unsigned long long)id);

    if (store->kind->has_names)
        snprintf(name + length, STORE_NAME_MAX - (size_t)length, "-%016llx",
                 (unsigned long long)hidden_hash(&store->key, name));
}

/* Whether the name begins as a segment's does. */
static bool is_numbered(const char *name)
{
    return name[0] == 's' && name[1] >= '0' && name[1] <= '9';
}

/* The number in a segment's name; -1 for any other name. */
static int parse_segment_name(const struct store *store, const char *name, uint64_t *id)
{
    char canonical[STORE_NAME_MAX];

    if (!is_numbered(name))
        return -1;
    *id = strtoull(name + 1, NULL, 10);
    store_segment_name(store, canonical, *id);
    return strcmp(canonical, name) == 0 ? 0 : -1;
}

uint64_t store_round_up(const struct store *store, uint64_t size)
{
    return (size + store->page - 1) & ~(store->page - 1);
}

int store_reopen(int fd, int flags)
{
    char link[STORE_NAME_MAX * 2];
    int again;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    again = open(link, flags | O_CLOEXEC);
    return again < 0 ? -errno : again;
}

int store_path_of(const char *directory, const char *name, char *path, size_t size)
{
    int length = directory ? snprintf(path, size, "%s/%s", directory, name) : -1;

    return length < 0 ? -ENOENT : (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int store_memfd_path(const struct store *store, int fd, char *path, size_t size)
{
    int length = snprintf(path, size, "/proc/%d/fd/%d", (int)store->holder, fd);

    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int store_memfd(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, 0600) < 0) { /* the kernel gives all to everybody */
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

/* ---- The private tmpfs ---- */

/* A small arena has as many files as a large one; a tmpfs takes only what is used. */
static const uint64_t least_files = UINT64_C(64) << 20;

uint64_t store_text_bytes(uint64_t capacity)
{
    return least_files + capacity / 8;
}

/*
 * Returns its descriptor or -errno. Nobody gets there by a path until somebody attaches it, and then nobody can
 * list it.
 */
static int mount_tmpfs(uint64_t capacity, const struct arena_options *options)
{
    char size[32];
    int mount = -1;
    int error = 0;
    int context = fsopen("tmpfs", FSOPEN_CLOEXEC);

    if (context < 0)
        return -errno;
    snprintf(size, sizeof(size), "%llu", (unsigned long long)capacity);
    if (fsconfig(context, FSCONFIG_SET_STRING, "source", "pyrmapfs", 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "mode", "0711", 0) < 0)
        error = -errno;
    /* A kernel without huge pages for tmpfs does not know the option; small pages do as well. */
    if (!error && options->huge_pages)
        fsconfig(context, FSCONFIG_SET_STRING, "huge", "within_size", 0);
    if (!error && fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        error = -errno;
    if (!error) {
        mount = fsmount(context, FSMOUNT_CLOEXEC,
                        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME);
        error = mount < 0 ? -errno : 0;
    }
    close(context);
    return error ? error : mount;
}

static int open_tmpfs(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX])
{
    struct arena_options small = *options;
    int code = 0;

    small.huge_pages = false; /* few of the daemon's own files are read or written as a whole */
    store->dirfd = mount_tmpfs(options->capacity, options);
    if (store->dirfd >= 0)
        store->filesfd =
            mount_tmpfs(store_text_bytes(options->capacity) + least_files + options->files, &small);
    if (store->dirfd < 0 || store->filesfd < 0)
        code = store->dirfd < 0 ? store->dirfd : store->filesfd;
    store->key = options->key;
    if (code == 0)
        return 0;
    return explain(error, code, "cannot mount a private tmpfs: %s; use arena kind memfd or dir%s",
                   strerror(-code), code == -EPERM ? ", or run as root" : "");
}

/* ---- The directory ---- */

/* The keeper of a daemon that was killed has the lock until it has told all who wait for that daemon. */
enum { PATIENCE_MS = 1000 };

/*
 * A daemon removes the lock file only while it holds its lock. So our lock is worth something only if the
 * file still has its name; otherwise we begin again. Returns -EAGAIN then.
 */
static int lock_directory(struct store *store, char error[ARENA_ERROR_MAX])
{
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
    struct stat locked, named;
    bool made = true;
    int code;

    store->lockfd = openat(store->dirfd, lock_name, flags | O_CREAT | O_EXCL, 0600);
    if (store->lockfd < 0 && errno == EEXIST) {
        made = false;
        store->lockfd = openat(store->dirfd, lock_name, flags);
    }
    if (store->lockfd < 0) {
        code = -errno;
        if (code == -ENOENT) /* a daemon has removed the file or the whole directory meanwhile */
            return -EAGAIN;
        return explain(error, code, "cannot write in %s: %s", store->path, strerror(-code));
    }
    code = lock_take(store->lockfd, PATIENCE_MS);
    if (code < 0) {
        if (code == -EWOULDBLOCK)
            code = explain(error, -EBUSY,
                           "%s is in use by another pyrmapfs; give this one another arena.path", store->path);
        else
            explain(error, code, "cannot lock %s/%s: %s", store->path, lock_name, strerror(-code));
        close(store->lockfd); /* it is not ours: store_close must undo nothing that another daemon made */
        store->lockfd = -1;
        return code;
    }
    if (fstat(store->lockfd, &locked) < 0 ||
        fstatat(store->dirfd, lock_name, &named, AT_SYMLINK_NOFOLLOW) < 0 || locked.st_dev != named.st_dev ||
        locked.st_ino != named.st_ino)
        return -EAGAIN;
    store->made_lock = made;
    return 0;
}

static int try_directory(struct store *store, char error[ARENA_ERROR_MAX])
{
    struct stat status;
    int code;

    if (mkdir(store->path, 0700) == 0)
        store->made_directory = true;
    else if (errno != EEXIST) {
        code = -errno;
        return explain(error, code, "cannot make the directory %s: %s", store->path, strerror(-code));
    }
    store->dirfd = open(store->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (store->dirfd < 0 || fstat(store->dirfd, &status) < 0) {
        code = -errno;
        if (code == -ENOENT)
            return -EAGAIN;
        return explain(error, code, "cannot open the directory %s: %s", store->path, strerror(-code));
    }
    /* A user who can make names here can make the daemon write to any file of theirs. */
    if (status.st_uid != geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)))
        return explain(error, -EACCES,
                       "%s has to be owned by uid %u and writable by nobody else: chmod 700 it", store->path,
                       (unsigned)geteuid());
    store->filesfd = store->dirfd;
    return lock_directory(store, error);
}

static void close_directory(struct store *store)
{
    if (store->lockfd >= 0)
        close(store->lockfd);
    if (store->dirfd >= 0)
        close(store->dirfd);
    store->lockfd = store->dirfd = -1;
    store->made_directory = false;
}

int store_scan_names(int directory_fd, void (*visit)(void *context, const char *name), void *context)
{
    int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    int error;

    if (!directory) {
        error = -errno;
        if (fd >= 0)
            close(fd);
        return error;
    }
    while (errno = 0, (entry = readdir(directory)))
        visit(context, entry->d_name);
    error = -errno;
    closedir(directory);
    return error;
}

/* Counts the files that an earlier daemon left. */
static void count_found(void *context, const char *name)
{
    struct store *store = context;

    /* The key may be lost, so any hash counts. */
    if ((is_numbered(name) && strtoull(name + 1, NULL, 10) != STORE_PROBE) ||
        strncmp(name, store_named_prefix, strlen(store_named_prefix)) == 0)
        store->found_files++;
}

static int open_key(struct store *store, char error[ARENA_ERROR_MAX])
{
    int code = -EEXIST;

    if (store->found_files == 0) {
        code = hidden_key_open(store->dirfd, HIDDEN_NEW, &store->key);
        store->made_key = code == 0;
    }
    if (code == -EEXIST)
        code = hidden_key_open(store->dirfd, HIDDEN_FOUND, &store->key);
    if (code == -ENOENT)
        explain(error, code,
                "%s/key is missing, but %u other files of an arena are there: put back a copy of the "
                "directory, or use another arena.path; nothing was changed",
                store->path, store->found_files);
    else if (code)
        explain(error, code,
                "%s/key cannot be used: %s: put back a copy of the directory, or use another "
                "arena.path; nothing was changed",
                store->path, strerror(-code));
    return code;
}

/* Whether other users may go through all directories above it, as far as modes tell. */
static bool is_open_above(const char *path)
{
    char above[PATH_MAX];
    struct stat status;

    snprintf(above, sizeof(above), "%s", path);
    do {
        if (stat(dirname(above), &status) < 0 || !(status.st_mode & S_IXOTH))
            return false;
    } while (strcmp(above, "/") != 0);
    return true;
}

static int look_at_directory(struct store *store, char error[ARENA_ERROR_MAX])
{
    int code = store_scan_names(store->dirfd, count_found, store);

    if (code) {
        store->found_files = UINT32_MAX; /* unread is not empty */
        return explain(error, code, "cannot read the directory %s: %s", store->path, strerror(-code));
    }
    code = open_key(store, error);
    store->reach.segments = realpath(store->path, NULL);
    store->reach.files = store->reach.segments;
    store->open_above = store->reach.segments && is_open_above(store->reach.segments);
    return code;
}

static int open_directory(struct store *store, const struct arena_options *options,
                          char error[ARENA_ERROR_MAX])
{
    int code;

    if (!options->path || !options->path[0])
        return explain(error, -EINVAL, "arena kind dir needs a path");
    store->path = strdup(options->path);
    if (!store->path)
        return explain(error, -ENOMEM, "out of memory");
    /* We try again only after another daemon has finished a removal. */
    while ((code = try_directory(store, error)) == -EAGAIN)
        close_directory(store);
    if (code)
        return code;
    store->filesfd = store->dirfd;
    return look_at_directory(store, error);
}

struct segment_scan {
    const struct store *store;
    void (*visit)(void *context, uint64_t id);
    void *context;
};

static void visit_segment(void *context, const char *name)
{
    const struct segment_scan *scan = context;
    uint64_t id;

    if (parse_segment_name(scan->store, name, &id) == 0)
        scan->visit(scan->context, id);
}

int store_scan(const struct store *store, void (*visit)(void *context, uint64_t id), void *context)
{
    struct segment_scan scan = {.store = store, .visit = visit, .context = context};

    return store->kind->has_names ? store_scan_names(store->dirfd, visit_segment, &scan) : 0;
}

/* We remove only names that the daemon gives; a stranger's file stays, and with it the directory. */
static void remove_name(void *context, const char *name)
{
    const struct store *store = context;
    uint64_t id;

    if (parse_segment_name(store, name, &id) == 0 ||
        strncmp(name, store_named_prefix, strlen(store_named_prefix)) == 0)
        unlinkat(store->dirfd, name, 0);
}

static void remove_directory(struct store *store, enum arena_end end)
{
    store_scan_names(store->dirfd, remove_name, store);
    if (end == ARENA_REMOVE || store->made_key)
        hidden_key_remove(store->dirfd);
    unlinkat(store->dirfd, lock_name, 0);
    if (store->made_directory)
        rmdir(store->path);
}

/* Files that were there before us stay as they were; in an empty directory all files are ours. */
static void undo_directory(struct store *store)
{
    if (store->lockfd >= 0 && store->found_files == 0)
        remove_directory(store, ARENA_UNDO);
    else if (store->made_lock)
        unlinkat(store->dirfd, lock_name, 0);
    else if (store->made_directory)
        rmdir(store->path);
}

/* ---- Open and close ---- */

/* clang-format off */
static const struct store_kind kinds[] = {
    /*                kind         name     has_names kernel_counts is_lasting takes_memory open */
    [ARENA_TMPFS] = { ARENA_TMPFS, "tmpfs", true,     true,         false,     true,        open_tmpfs },
    [ARENA_DIR]   = { ARENA_DIR,   "dir",   true,     false,        true,      false,       open_directory },
    [ARENA_MEMFD] = { ARENA_MEMFD, "memfd", false,    false,        false,     true,        NULL },
};
/* clang-format on */

const char *store_kind_name(enum arena_kind kind)
{
    return kinds[kind].name;
}

/* The place as an earlier server had it. Its lock is ours, with the descriptor. */
static int go_on(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX])
{
    const struct kept_place *place = kept_place(options->kept);

    store->was_open = true;
    store->dirfd = place->dirfd;
    store->filesfd = place->filesfd;
    store->lockfd = place->lockfd;
    store->made_directory = place->made_directory;
    store->made_lock = place->made_lock;
    store->made_key = place->made_key;
    store->key = options->key;
    if (!store->kind->is_lasting)
        return 0;
    store->path = strdup(options->path);
    return store->path ? look_at_directory(store, error) : explain(error, -ENOMEM, "out of memory");
}

/* Notes where the next server finds the place. */
static int keep_place(const struct store *store)
{
    struct kept_place *place;
    uint32_t number;

    if (!store->kept || store->was_open)
        return 0;
    number = keep_take(&store->kept->places);
    if (number == KEEP_NONE)
        return -ENOMEM;
    place = keep_fresh(&store->kept->places, number);
    *place = (struct kept_place){.dirfd = store->dirfd,
                                 .filesfd = store->filesfd,
                                 .lockfd = store->lockfd,
                                 .kind = store->kind->kind,
                                 .made_directory = store->made_directory,
                                 .made_lock = store->made_lock,
                                 .made_key = store->made_key};
    __atomic_store_n(&place->is_open, 1, __ATOMIC_RELEASE);
    return 0;
}

int store_open(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX])
{
    int code = 0;

    *store = (struct store){.kind = &kinds[options->kind],
                            .dirfd = -1,
                            .filesfd = -1,
                            .lockfd = -1,
                            .page = (uint64_t)sysconf(_SC_PAGESIZE),
                            .wants_huge = !kinds[options->kind].has_names && options->huge_pages,
                            .attach = options->attach,
                            .context = options->context,
                            .kept = options->kept,
                            .holder = options->holder ? options->holder : getpid()};
    error[0] = 0;
    /* The kernel sends this when a process opens a file while we ask for its lease. */
    if (signal(SIGIO, SIG_IGN) == SIG_ERR)
        return explain(error, -errno, "cannot ignore SIGIO");
    if (options->kept && kept_place(options->kept))
        code = go_on(store, options, error);
    else if (store->kind->open)
        code = store->kind->open(store, options, error);
    if (code == 0 && keep_place(store) < 0)
        code = explain(error, -ENOMEM, "out of memory");
    if (code && !store->was_open) /* else the next server tries again */
        store_close(store, ARENA_UNDO);
    return code;
}

/* ---- Links ---- */

static int attach(const struct store *store, int directory, char **path)
{
    char found[PATH_MAX];
    int error = store->attach ? store->attach(store->context, directory, found) : -EOPNOTSUPP;

    if (error)
        return error;
    *path = strdup(found);
    return *path ? 0 : -ENOMEM;
}

static int share_directory(struct store *store)
{
    struct stat status;

    if (store->made_directory && fchmod(store->dirfd, SHARED_MODE) < 0)
        return -errno;
    if (!store->reach.segments || fstat(store->dirfd, &status) < 0)
        return -EACCES;
    store->lets_others_in = store->open_above && (status.st_mode & 0777) == SHARED_MODE;
    return 0;
}

int store_share(struct store *store)
{
    int error;

    if (!store->kind->has_names)
        return 0;
    if (store->kind->is_lasting)
        return share_directory(store);
    error = attach(store, store->dirfd, &store->reach.segments);
    if (!error)
        error = attach(store, store->filesfd, &store->reach.files);
    store->lets_others_in = !error;
    return error;
}

bool store_links(const struct store *store, uid_t uid)
{
    return uid == geteuid() || store->lets_others_in;
}

void store_close(struct store *store, enum arena_end end)
{
    if (end == ARENA_REMOVE && store->kind->is_lasting && store->lockfd >= 0)
        remove_directory(store, end);
    if (end == ARENA_UNDO && store->kind->is_lasting && store->path)
        undo_directory(store);
    if (store->kept)
        keep_drop(&store->kept->places, 0);
    if (store->lockfd >= 0)
        close(store->lockfd);
    if (store->filesfd >= 0 && store->filesfd != store->dirfd)
        close(store->filesfd);
    if (store->dirfd >= 0)
        close(store->dirfd);
    store->lockfd = store->filesfd = store->dirfd = -1;
    if (store->reach.files != store->reach.segments)
        free(store->reach.files);
    free(store->reach.segments);
    free(store->path);
    store->reach.files = store->reach.segments = store->path = NULL;
}
