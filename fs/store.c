// SPDX-License-Identifier: Apache-2.0
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { NAMED_BUCKETS = 4096, NAMED_MAX = 64 };
static const char lock_name[] = "lock";
static const char named_prefix[] = "f-";

/* A file of the daemon itself; known here for what it takes and, without a directory, to be found again. */
struct named_file {
    struct named_file *next;
    struct named_file *next_changed;
    bool changed;
    uint64_t bytes; /* when last measured */
    int fd;         /* ARENA_MEMFD */
    char name[NAMED_MAX];
};

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

void store_segment_name(char name[STORE_NAME_MAX], uint64_t id)
{
    snprintf(name, STORE_NAME_MAX, "s%llu", (unsigned long long)id);
}

/* The number in a segment's name; -1 for any other name. */
static int parse_segment_name(const char *name, uint64_t *id)
{
    char canonical[STORE_NAME_MAX];

    if (name[0] != 's' || name[1] < '0' || name[1] > '9')
        return -1;
    *id = strtoull(name + 1, NULL, 10);
    store_segment_name(canonical, *id);
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

int store_memfd(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* ---- The private tmpfs ---- */

/* Bytes for the index, texts and record pages of a small arena; tmpfs takes what is used. */
static const uint64_t files_capacity = UINT64_C(64) << 20;

/* Returns its descriptor or -errno. */
static int mount_tmpfs(uint64_t capacity, const struct arena_options *options)
{
    char size[32];
    int mount = -1;
    int error = 0;
    int context = fsopen("tmpfs", FSOPEN_CLOEXEC);

    if (context < 0)
        return -errno;
    snprintf(size, sizeof(size), "%llu", (unsigned long long)capacity);
    if (fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0)
        error = -errno;
    /* A kernel without huge pages for tmpfs knows no such option; small pages do as well. */
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

int store_mount_tmpfs(const struct arena_options *options, struct arena_mounts *mounts)
{
    mounts->files = -1;
    mounts->segments = mount_tmpfs(options->capacity, options);
    if (mounts->segments < 0)
        return mounts->segments;
    mounts->files = mount_tmpfs(files_capacity + options->capacity / 8, options);
    if (mounts->files < 0) {
        close(mounts->segments);
        mounts->segments = -1;
    }
    return mounts->files < 0 ? mounts->files : 0;
}

static int copy_mounts(struct store *store, const struct arena_mounts *mounts)
{
    store->dirfd = fcntl(mounts->segments, F_DUPFD_CLOEXEC, 0);
    if (store->dirfd < 0)
        return -errno;
    store->filesfd = fcntl(mounts->files, F_DUPFD_CLOEXEC, 0);
    return store->filesfd < 0 ? -errno : 0;
}

static int open_tmpfs(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX])
{
    struct arena_mounts mounts;
    int code;

    if (options->mounts)
        code = copy_mounts(store, options->mounts);
    else {
        code = store_mount_tmpfs(options, &mounts);
        store->dirfd = mounts.segments;
        store->filesfd = mounts.files;
    }
    if (code == 0)
        return 0;
    return explain(error, code, "cannot mount a private tmpfs: %s; use arena kind memfd or dir%s",
                   strerror(-code), code == -EPERM ? ", or run as root" : "");
}

/* ---- The directory ---- */

static int lock_directory(struct store *store, char error[ARENA_ERROR_MAX])
{
    int code;

    store->lockfd = openat(store->dirfd, lock_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lockfd < 0) {
        code = -errno;
        return explain(error, code, "cannot write in %s: %s", store->path, strerror(-code));
    }
    if (flock(store->lockfd, LOCK_EX | LOCK_NB) < 0) {
        code = -errno;
        if (code == -EWOULDBLOCK)
            return explain(error, -EBUSY, "%s is in use by another pyrmapfs; give this one another directory",
                           store->path);
        return explain(error, code, "cannot lock %s/%s: %s", store->path, lock_name, strerror(-code));
    }
    return 0;
}

static int open_directory(struct store *store, const struct arena_options *options,
                          char error[ARENA_ERROR_MAX])
{
    struct stat status;
    int code;

    if (!options->path || !options->path[0])
        return explain(error, -EINVAL, "arena kind dir needs a path");
    store->path = strdup(options->path);
    if (!store->path)
        return explain(error, -ENOMEM, "out of memory");
    if (mkdir(store->path, 0700) == 0)
        store->made_directory = true;
    else if (errno != EEXIST) {
        code = -errno;
        return explain(error, code, "cannot make the directory %s: %s", store->path, strerror(-code));
    }
    store->dirfd = open(store->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (store->dirfd < 0 || fstat(store->dirfd, &status) < 0) {
        code = -errno;
        return explain(error, code, "cannot open the directory %s: %s", store->path, strerror(-code));
    }
    /* Whoever can make names here can make the daemon write to any file of theirs. */
    if (status.st_uid != geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)))
        return explain(error, -EACCES,
                       "%s has to be owned by uid %u and writable by nobody else: chmod 700 it", store->path,
                       (unsigned)geteuid());
    return lock_directory(store, error);
}

/* Calls visit for each name in the directory. */
static int scan_names(const struct store *store, void (*visit)(void *context, const char *name),
                      void *context)
{
    int fd = openat(store->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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

struct segment_scan {
    void (*visit)(void *context, uint64_t id);
    void *context;
};

static void visit_segment(void *context, const char *name)
{
    const struct segment_scan *scan = context;
    uint64_t id;

    if (parse_segment_name(name, &id) == 0)
        scan->visit(scan->context, id);
}

int store_scan(const struct store *store, void (*visit)(void *context, uint64_t id), void *context)
{
    struct segment_scan scan = {.visit = visit, .context = context};

    return store->kind == ARENA_MEMFD ? 0 : scan_names(store, visit_segment, &scan);
}

/* Only names that the daemon gives are its own; a stranger's file stays, and with it the directory. */
static void remove_name(void *context, const char *name)
{
    const struct store *store = context;
    uint64_t id;

    if (parse_segment_name(name, &id) == 0 || strncmp(name, named_prefix, strlen(named_prefix)) == 0)
        unlinkat(store->dirfd, name, 0);
}

static void remove_directory(struct store *store)
{
    scan_names(store, remove_name, store);
    unlinkat(store->dirfd, lock_name, 0);
    if (store->made_directory)
        rmdir(store->path);
}

/* ---- Named files ---- */

/* Where the link to the file of this name is, or would be. */
static struct named_file **named_link(const struct store *store, const char *name)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    struct named_file **link;

    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    link = &store->named[hash % NAMED_BUCKETS];
    while (*link && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

static int check_name(const char *name, char path[NAMED_MAX])
{
    size_t length = strlen(name);

    if (length == 0 || strchr(name, '/'))
        return -EINVAL;
    if (length + strlen(named_prefix) >= NAMED_MAX)
        return -ENAMETOOLONG;
    snprintf(path, NAMED_MAX, "%s%s", named_prefix, name);
    return 0;
}

static int named_add(struct named_file **link, const char *name, int fd)
{
    struct named_file *file = calloc(1, sizeof(*file));

    if (!file)
        return -ENOMEM;
    file->fd = fd;
    memcpy(file->name, name, strlen(name) + 1);
    file->next = *link;
    *link = file;
    return 0;
}

static int open_in_memory(struct named_file **link, const char *name, int flags)
{
    int fd, error;

    if (*link && (flags & O_EXCL))
        return -EEXIST;
    if (!*link && !(flags & O_CREAT))
        return -ENOENT;
    if (!*link) {
        fd = store_memfd(name);
        if (fd < 0)
            return fd;
        error = named_add(link, name, fd);
        if (error) {
            close(fd);
            return error;
        }
    }
    return store_reopen((*link)->fd, flags & ~(O_CREAT | O_EXCL));
}

static int open_in_directory(const struct store *store, struct named_file **link, const char *name, int flags)
{
    int fd = openat(store->filesfd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = 0;

    if (fd < 0)
        return -errno;
    if (store->kind == ARENA_DIR && !*link)
        error = named_add(link, name, -1);
    if (error)
        close(fd);
    return error ? error : fd;
}

static void measure(struct store *store, struct named_file *file)
{
    struct stat status;
    int failed = file->fd >= 0 ? fstat(file->fd, &status)
                               : fstatat(store->filesfd, file->name, &status, AT_SYMLINK_NOFOLLOW);
    uint64_t bytes = failed ? 0 : (uint64_t)status.st_blocks * 512;

    store->named_bytes += bytes - file->bytes;
    file->bytes = bytes;
}

static void measure_changed(struct store *store)
{
    struct named_file *file;

    while ((file = store->changed)) {
        store->changed = file->next_changed;
        file->changed = false;
        measure(store, file);
    }
}

/* An earlier daemon's files count as well. */
static void know_name(void *context, const char *name)
{
    struct store *store = context;
    struct named_file **link;

    if (strncmp(name, named_prefix, strlen(named_prefix)) != 0 || strlen(name) >= NAMED_MAX)
        return;
    link = named_link(store, name);
    if (!*link && named_add(link, name, -1) == 0)
        measure(store, *link);
}

int store_file_open(struct store *store, const char *name, int flags)
{
    char path[NAMED_MAX];
    struct named_file **link, *file;
    int error = check_name(name, path);
    int fd;

    if (error)
        return error;
    link = named_link(store, path);
    fd = store->kind == ARENA_MEMFD ? open_in_memory(link, path, flags)
                                    : open_in_directory(store, link, path, flags);
    file = *link;
    if (fd >= 0 && file && (flags & O_ACCMODE) != O_RDONLY && !file->changed) {
        file->changed = true;
        file->next_changed = store->changed;
        store->changed = file;
    }
    return fd;
}

int store_file_unlink(struct store *store, const char *name)
{
    char path[NAMED_MAX];
    struct named_file **link, *file;
    int error = check_name(name, path);

    if (error)
        return error;
    if (store->kind != ARENA_MEMFD && unlinkat(store->filesfd, path, 0) < 0)
        return -errno;
    link = named_link(store, path);
    file = *link;
    if (file) {
        measure_changed(store);
        store->named_bytes -= file->bytes;
        *link = file->next;
        if (file->fd >= 0)
            close(file->fd);
        free(file);
    } else if (store->kind == ARENA_MEMFD)
        return -ENOENT;
    return 0;
}

uint64_t store_file_bytes(struct store *store, enum store_measure what)
{
    measure_changed(store);
    for (int bucket = 0; what == STORE_ALL && bucket < NAMED_BUCKETS; bucket++) {
        for (struct named_file *file = store->named[bucket]; file; file = file->next)
            measure(store, file);
    }
    return store->named_bytes;
}

/* ---- Open and close ---- */

int store_open(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX])
{
    int code = 0;

    *store = (struct store){.kind = options->kind,
                            .dirfd = -1,
                            .filesfd = -1,
                            .lockfd = -1,
                            .page = (uint64_t)sysconf(_SC_PAGESIZE)};
    error[0] = 0;
    /* Somebody who opens a file while its lease is asked for makes the kernel send this. */
    if (signal(SIGIO, SIG_IGN) == SIG_ERR)
        return explain(error, -errno, "cannot ignore SIGIO");
    store->named = calloc(NAMED_BUCKETS, sizeof(struct named_file *));
    if (!store->named)
        return explain(error, -ENOMEM, "out of memory");
    switch (options->kind) {
    case ARENA_TMPFS:
        code = open_tmpfs(store, options, error);
        break;
    case ARENA_DIR:
        code = open_directory(store, options, error);
        store->filesfd = store->dirfd;
        if (code == 0)
            scan_names(store, know_name, store);
        break;
    case ARENA_MEMFD:
        break;
    }
    if (code)
        store_close(store, ARENA_KEEP);
    return code;
}

void store_close(struct store *store, enum arena_end end)
{
    if (end == ARENA_REMOVE && store->kind == ARENA_DIR && store->lockfd >= 0)
        remove_directory(store);
    for (int bucket = 0; store->named && bucket < NAMED_BUCKETS; bucket++) {
        struct named_file *file;
        while ((file = store->named[bucket])) {
            store->named[bucket] = file->next;
            if (file->fd >= 0)
                close(file->fd);
            free(file);
        }
    }
    free(store->named);
    store->named = NULL;
    if (store->lockfd >= 0)
        close(store->lockfd);
    if (store->filesfd >= 0 && store->filesfd != store->dirfd)
        close(store->filesfd);
    if (store->dirfd >= 0)
        close(store->dirfd);
    store->lockfd = store->filesfd = store->dirfd = -1;
    free(store->path);
    store->path = NULL;
}
