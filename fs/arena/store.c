// SPDX-License-Identifier: Apache-2.0
#include "arena/store.h"

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
static const char memfd_prefix[] = "/memfd:";

/* A memfd has no name; this finds the daemon's own ones again. */
struct named_file {
    struct named_file *next;
    int fd;
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

int store_memfd_path(int fd, char *path, size_t size)
{
    int length = snprintf(path, size, "/proc/%d/fd/%d", (int)getpid(), fd);

    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int store_memfd(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* ---- The private tmpfs ---- */

/* A small arena has as many files as a large one; a tmpfs takes only what is used. */
static const uint64_t least_files = UINT64_C(64) << 20;

uint64_t store_text_bytes(uint64_t capacity)
{
    return least_files + capacity / 8;
}

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
    if (code == 0)
        return 0;
    return explain(error, code, "cannot mount a private tmpfs: %s; use arena kind memfd or dir%s",
                   strerror(-code), code == -EPERM ? ", or run as root" : "");
}

/* ---- The directory ---- */

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
    if (flock(store->lockfd, LOCK_EX | LOCK_NB) < 0) {
        code = -errno;
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

/* Calls visit for each name in the directory. */
static int scan_names(int directory_fd, void (*visit)(void *context, const char *name), void *context)
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
    uint64_t id;

    if ((parse_segment_name(name, &id) == 0 && id != STORE_PROBE) ||
        strncmp(name, named_prefix, strlen(named_prefix)) == 0)
        store->found_files++;
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
    code = scan_names(store->dirfd, count_found, store);
    if (code == 0)
        return 0;
    store->found_files = UINT32_MAX; /* unread is not empty */
    return explain(error, code, "cannot read the directory %s: %s", store->path, strerror(-code));
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

    return store->kind->has_names ? scan_names(store->dirfd, visit_segment, &scan) : 0;
}

/* We remove only names that the daemon gives; a stranger's file stays, and with it the directory. */
static void remove_name(void *context, const char *name)
{
    const struct store *store = context;
    uint64_t id;

    if (parse_segment_name(name, &id) == 0 || strncmp(name, named_prefix, strlen(named_prefix)) == 0)
        unlinkat(store->dirfd, name, 0);
}

static void remove_directory(struct store *store)
{
    scan_names(store->dirfd, remove_name, store);
    unlinkat(store->dirfd, lock_name, 0);
    if (store->made_directory)
        rmdir(store->path);
}

/* Files that were there before us stay as they were; in an empty directory all files are ours. */
static void undo_directory(struct store *store)
{
    if (store->lockfd >= 0 && store->found_files == 0)
        remove_directory(store);
    else if (store->made_lock)
        unlinkat(store->dirfd, lock_name, 0);
    else if (store->made_directory)
        rmdir(store->path);
}

/* ---- Named files ---- */

/* The place of the link to the file of this name, which may not be there. */
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
    fd = store_reopen((*link)->fd, flags & ~(O_CREAT | O_EXCL));
    if (fd != -EACCES)
        return fd;
    /* The mode of a page that clients reach allows nobody to open it for writing, us neither. */
    fd = fcntl((*link)->fd, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static int open_in_directory(const struct store *store, const char *name, int flags)
{
    int fd = openat(store->filesfd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? -errno : fd;
}

int store_file_open(struct store *store, const char *name, int flags)
{
    char path[NAMED_MAX];
    int error = check_name(name, path);

    if (error)
        return error;
    return store->kind->has_names ? open_in_directory(store, path, flags)
                                  : open_in_memory(named_link(store, path), path, flags);
}

void store_file_path(const struct store *store, const char *name, char *path, size_t size)
{
    if (store->kind->is_lasting)
        snprintf(path, size, "%s/%s%s", store->path, named_prefix, name);
    else
        snprintf(path, size, "the arena's %s", name);
}

bool store_links(const struct store *store, uid_t uid)
{
    return uid == geteuid() && (!store->kind->has_names || store->path);
}

int store_file_link(const struct store *store, const char *name, char *path, size_t size)
{
    char file[NAMED_MAX];
    int error = check_name(name, file);
    int length;

    if (error)
        return error;
    if (!store->kind->has_names) {
        const struct named_file *named = *named_link(store, file);
        return named ? store_memfd_path(named->fd, path, size) : -ENOENT;
    }
    length = snprintf(path, size, "%s/%s", store->path, file);
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int store_file_unlink(struct store *store, const char *name)
{
    char path[NAMED_MAX];
    struct named_file **link, *file;
    int error = check_name(name, path);

    if (error)
        return error;
    if (store->kind->has_names)
        return unlinkat(store->filesfd, path, 0) < 0 ? -errno : 0;
    link = named_link(store, path);
    file = *link;
    if (!file)
        return -ENOENT;
    *link = file->next;
    close(file->fd);
    free(file);
    return 0;
}

struct file_scan {
    int directory;
    void (*visit)(void *context, const char *name, int fd);
    void *context;
};

static void visit_file(void *context, const char *name)
{
    const struct file_scan *scan = context;
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    struct stat status;
    int fd;

    if (strncmp(name, named_prefix, strlen(named_prefix)) != 0)
        return;
    fd = openat(scan->directory, name, flags);
    /* A page that clients reach is 0400. */
    if (fd < 0 && errno == EACCES && fstatat(scan->directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(status.st_mode) && fchmodat(scan->directory, name, 0600, 0) == 0)
        fd = openat(scan->directory, name, flags);
    if (fd < 0)
        return;
    scan->visit(scan->context, name + strlen(named_prefix), fd);
    close(fd);
}

/* name: a descriptor of this process. A memfd's link reads "/memfd:f-NAME (deleted)". */
static void visit_memfd(void *context, const char *name)
{
    const struct file_scan *scan = context;
    char target[NAMED_MAX + 32];
    const size_t before = strlen(memfd_prefix) + strlen(named_prefix);
    ssize_t length = readlinkat(scan->directory, name, target, sizeof(target) - 1);

    target[length > 0 ? length : 0] = '\0';
    if (strncmp(target, memfd_prefix, strlen(memfd_prefix)) != 0 ||
        strncmp(target + strlen(memfd_prefix), named_prefix, strlen(named_prefix)) != 0)
        return;
    target[before + strcspn(target + before, " ")] = '\0';
    scan->visit(scan->context, target + before, (int)strtol(name, NULL, 10));
}

int store_files_visit(int directory, void (*visit)(void *context, const char *name, int fd), void *context)
{
    struct file_scan scan = {.directory = directory, .visit = visit, .context = context};
    int error;

    if (directory >= 0)
        return scan_names(directory, visit_file, &scan);
    scan.directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (scan.directory < 0)
        return -errno;
    error = scan_names(scan.directory, visit_memfd, &scan);
    close(scan.directory);
    return error;
}

/* ---- Open and close ---- */

static int open_memory(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX])
{
    (void)options;
    store->named = calloc(NAMED_BUCKETS, sizeof(struct named_file *));
    return store->named ? 0 : explain(error, -ENOMEM, "out of memory");
}

/* clang-format off */
static const struct store_kind kinds[] = {
    /*                kind         name     has_names kernel_counts is_lasting takes_memory open */
    [ARENA_TMPFS] = { ARENA_TMPFS, "tmpfs", true,     true,         false,     true,        open_tmpfs },
    [ARENA_DIR]   = { ARENA_DIR,   "dir",   true,     false,        true,      false,       open_directory },
    [ARENA_MEMFD] = { ARENA_MEMFD, "memfd", false,    false,        false,     true,        open_memory },
};
/* clang-format on */

const char *store_kind_name(enum arena_kind kind)
{
    return kinds[kind].name;
}

int store_open(struct store *store, const struct arena_options *options, char error[ARENA_ERROR_MAX])
{
    int code;

    *store = (struct store){.kind = &kinds[options->kind],
                            .dirfd = -1,
                            .filesfd = -1,
                            .lockfd = -1,
                            .page = (uint64_t)sysconf(_SC_PAGESIZE)};
    error[0] = 0;
    /* The kernel sends this when a process opens a file while we ask for its lease. */
    if (signal(SIGIO, SIG_IGN) == SIG_ERR)
        return explain(error, -errno, "cannot ignore SIGIO");
    code = store->kind->open(store, options, error);
    if (code)
        store_close(store, ARENA_UNDO);
    return code;
}

static void close_named(struct store *store)
{
    for (int bucket = 0; store->named && bucket < NAMED_BUCKETS; bucket++) {
        struct named_file *file;
        while ((file = store->named[bucket])) {
            store->named[bucket] = file->next;
            close(file->fd);
            free(file);
        }
    }
    free(store->named);
    store->named = NULL;
}

void store_close(struct store *store, enum arena_end end)
{
    if (end == ARENA_REMOVE && store->kind->is_lasting && store->lockfd >= 0)
        remove_directory(store);
    if (end == ARENA_UNDO && store->kind->is_lasting && store->path)
        undo_directory(store);
    close_named(store);
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
