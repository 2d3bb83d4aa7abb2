// SPDX-License-Identifier: Apache-2.0
#include "arena/named.h"

#include "arena/grant.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUCKETS = 4096 };
static const char memfd_prefix[] = "/memfd:";
/* Nobody but us opens the index, and it is the one that people look for. */
static const char plain_name[] = "index";

/* A memfd has no name; this finds the daemon's own ones again. */
struct named_file {
    struct named_file *next;
    int fd;
    uint32_t record; /* struct kept_file */
    char name[KEPT_NAME_MAX];
};

/* The place of the link to the file of this name, which may not be there. NULL: out of memory. */
static struct named_file **find(struct store *store, const char *name)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    struct named_file **link;

    if (!store->named)
        store->named = calloc(BUCKETS, sizeof(struct named_file *));
    if (!store->named)
        return NULL;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    link = &store->named[hash % BUCKETS];
    while (*link && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

/* The name of the file in the directory, or of the memfd. */
static int name_in(const struct store *store, const char *name, char full[KEPT_NAME_MAX])
{
    int length;

    if (name[0] == '\0' || strchr(name, '/'))
        return -EINVAL;
    if (!store->kind->has_names || strcmp(name, plain_name) == 0)
        length = snprintf(full, KEPT_NAME_MAX, "%s%s", store_named_prefix, name);
    else
        length = snprintf(full, KEPT_NAME_MAX, "%s%s-%016llx", store_named_prefix, name,
                          (unsigned long long)hidden_hash(&store->key, name));
    return length >= KEPT_NAME_MAX ? -ENAMETOOLONG : 0;
}

static int add(struct named_file **link, const char *name, int fd, uint32_t record)
{
    struct named_file *file = calloc(1, sizeof(*file));

    if (!file)
        return -ENOMEM;
    file->fd = fd;
    file->record = record;
    memcpy(file->name, name, strlen(name) + 1);
    file->next = *link;
    *link = file;
    return 0;
}

/* Notes the memfd for the next server. */
static int note(struct kept *kept, const char *name, int fd, uint32_t *record)
{
    struct kept_file *file;

    *record = KEEP_NONE;
    if (!kept)
        return 0;
    *record = keep_take(&kept->files);
    if (*record == KEEP_NONE)
        return -ENOMEM;
    file = keep_fresh(&kept->files, *record);
    file->fd = fd;
    memcpy(file->name, name, strlen(name) + 1);
    __atomic_store_n(&file->is_there, 1, __ATOMIC_RELEASE);
    return 0;
}

static int create(const struct store *store, struct named_file **link, const char *name)
{
    uint32_t record;
    int fd = store_memfd(name);
    int result;

    if (fd < 0)
        return fd;
    result = note(store->kept, name, fd, &record);
    if (result == 0)
        result = add(link, name, fd, record);
    if (result == 0)
        return 0;
    if (store->kept)
        keep_drop(&store->kept->files, record);
    close(fd);
    return result;
}

/* The record first: a descriptor that is kept must be open. */
static void forget(const struct store *store, struct named_file **link)
{
    struct named_file *file = *link;

    *link = file->next;
    if (store->kept)
        keep_drop(&store->kept->files, file->record);
    close(file->fd);
    free(file);
}

int named_take_over(struct store *store)
{
    const struct keep *files = &store->kept->files;
    const struct kept_file *file;

    for (uint32_t i = 0; (file = keep_next(files, &i)); i++) {
        struct named_file **link = find(store, file->name);

        if (!link || add(link, file->name, file->fd, i) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int open_in_memory(const struct store *store, struct named_file **link, const char *name, int flags)
{
    int fd;

    if (!link)
        return -ENOMEM;
    if (*link && (flags & O_EXCL))
        return -EEXIST;
    if (!*link && !(flags & O_CREAT))
        return -ENOENT;
    if (!*link) {
        int result = create(store, link, name);
        if (result < 0)
            return result;
    }
    fd = store_reopen((*link)->fd, flags & ~(O_CREAT | O_EXCL));
    if (fd != -EACCES)
        return fd;
    /* The mode of a page that clients reach allows nobody to open it for writing, us neither. */
    fd = fcntl((*link)->fd, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

/* A page that clients reach is 0400. Nobody but its owner, us, may write it meanwhile. */
static int open_sealed(const struct store *store, const char *name, int flags)
{
    int sealed = openat(store->filesfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int fd = -1;

    if (sealed >= 0 && grant_set_mode(sealed, GRANT_WRITABLE) == 0) {
        fd = openat(store->filesfd, name, flags | O_CLOEXEC | O_NOFOLLOW);
        if (grant_set_mode(sealed, GRANT_SEALED) < 0 && fd >= 0) {
            close(fd);
            fd = -1;
        }
    }
    if (sealed >= 0)
        close(sealed);
    return fd < 0 ? -EACCES : fd;
}

static int open_in_directory(const struct store *store, const char *name, int flags)
{
    int fd = openat(store->filesfd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 && errno == EACCES)
        return open_sealed(store, name, flags);
    return fd < 0 ? -errno : fd;
}

int named_open(struct store *store, const char *name, int flags)
{
    char full[KEPT_NAME_MAX];
    int error = name_in(store, name, full);

    if (error)
        return error;
    return store->kind->has_names ? open_in_directory(store, full, flags)
                                  : open_in_memory(store, find(store, full), full, flags);
}

void named_path(const struct store *store, const char *name, char *path, size_t size)
{
    char full[KEPT_NAME_MAX];

    if (store->kind->is_lasting && name_in(store, name, full) == 0)
        snprintf(path, size, "%s/%s", store->path, full);
    else
        snprintf(path, size, "the arena's %s", name);
}

int named_link(struct store *store, const char *name, char *path, size_t size)
{
    char full[KEPT_NAME_MAX];
    struct named_file **link;
    int error = name_in(store, name, full);

    if (error)
        return error;
    if (store->kind->has_names)
        return store_path_of(store->reach.files, full, path, size);
    link = find(store, full);
    return link && *link ? store_memfd_path(store, (*link)->fd, path, size) : -ENOENT;
}

int named_unlink(struct store *store, const char *name)
{
    char full[KEPT_NAME_MAX];
    struct named_file **link;
    int error = name_in(store, name, full);

    if (error)
        return error;
    if (store->kind->has_names)
        return unlinkat(store->filesfd, full, 0) < 0 ? -errno : 0;
    link = find(store, full);
    if (!link || !*link)
        return -ENOENT;
    forget(store, link);
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

    if (strncmp(name, store_named_prefix, strlen(store_named_prefix)) != 0)
        return;
    fd = openat(scan->directory, name, flags);
    /* A page that clients reach is 0400. */
    if (fd < 0 && errno == EACCES && fstatat(scan->directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(status.st_mode) && fchmodat(scan->directory, name, 0600, 0) == 0)
        fd = openat(scan->directory, name, flags);
    if (fd < 0)
        return;
    scan->visit(scan->context, name + strlen(store_named_prefix), fd);
    close(fd);
}

/* name: a descriptor of this process. A memfd's link reads "/memfd:f-NAME (deleted)". */
static void visit_memfd(void *context, const char *name)
{
    const struct file_scan *scan = context;
    char target[KEPT_NAME_MAX + 32];
    const size_t before = strlen(memfd_prefix) + strlen(store_named_prefix);
    ssize_t length = readlinkat(scan->directory, name, target, sizeof(target) - 1);

    target[length > 0 ? length : 0] = '\0';
    if (strncmp(target, memfd_prefix, strlen(memfd_prefix)) != 0 ||
        strncmp(target + strlen(memfd_prefix), store_named_prefix, strlen(store_named_prefix)) != 0)
        return;
    target[before + strcspn(target + before, " ")] = '\0';
    scan->visit(scan->context, target + before, (int)strtol(name, NULL, 10));
}

int named_visit(int directory, void (*visit)(void *context, const char *name, int fd), void *context)
{
    struct file_scan scan = {.directory = directory, .visit = visit, .context = context};
    int error;

    if (directory >= 0)
        return store_scan_names(directory, visit_file, &scan);
    scan.directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (scan.directory < 0)
        return -errno;
    error = store_scan_names(scan.directory, visit_memfd, &scan);
    close(scan.directory);
    return error;
}

void named_close(struct store *store)
{
    for (int bucket = 0; store->named && bucket < BUCKETS; bucket++) {
        while (store->named[bucket])
            forget(store, &store->named[bucket]);
    }
    free(store->named);
    store->named = NULL;
}
