// SPDX-License-Identifier: Apache-2.0
#include "arena/backing.h"

#include "arena/grant.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct backing *new_backing(uint64_t id, int fd)
{
    struct backing *backing = calloc(1, sizeof(*backing));

    if (backing) {
        backing->id = id;
        backing->fd = fd;
    }
    return backing;
}

/* We keep an O_RDONLY descriptor: a writable one would hide whether a client can write. */
static int create_memfd(const struct store *store, uint64_t id, struct backing **backing)
{
    char name[STORE_NAME_MAX];
    int writable, fd;

    store_segment_name(store, name, id);
    writable = store_memfd(name);
    if (writable < 0)
        return writable;
    fd = store_reopen(writable, O_RDONLY);
    close(writable);
    if (fd < 0)
        return fd;
    *backing = new_backing(id, fd);
    if (!*backing)
        close(fd);
    return *backing ? 0 : -ENOMEM;
}

int backing_create(const struct store *store, uint64_t id, struct backing **backing)
{
    char name[STORE_NAME_MAX];

    *backing = NULL;
    if (!store->kind->has_names)
        return create_memfd(store, id, backing);
    *backing = new_backing(id, -1);
    if (!*backing)
        return -ENOMEM;
    store_segment_name(store, name, id);
    if (mknodat(store->dirfd, name, S_IFREG | 0600, 0) < 0) {
        int error = -errno;
        backing_free(*backing);
        *backing = NULL;
        return error;
    }
    return 0;
}

int backing_find(const struct store *store, uint64_t id, struct backing **backing)
{
    uint64_t size;
    int error;

    *backing = NULL;
    if (!store->kind->has_names)
        return -ENOENT;
    *backing = new_backing(id, -1);
    if (!*backing)
        return -ENOMEM;
    error = backing_stat(store, *backing, &size, &(*backing)->allocated);
    (*backing)->sealed = true; /* perhaps */
    if (error) {
        backing_free(*backing);
        *backing = NULL;
    }
    return error;
}

int backing_take_over(const struct store *store, uint64_t id, int fd, struct backing **backing)
{
    uint64_t size;
    int error;

    /* The server may have been killed while it asked for a lease, which our descriptor would hold for ever. */
    fcntl(fd, F_SETLEASE, F_UNLCK);
    *backing = new_backing(id, fd);
    if (!*backing)
        return -ENOMEM;
    error = backing_stat(store, *backing, &size, &(*backing)->allocated);
    (*backing)->sealed = true; /* perhaps */
    if (error) {
        free(*backing);
        *backing = NULL;
    }
    return error;
}

int backing_open(const struct store *store, const struct backing *backing, int flags)
{
    char name[STORE_NAME_MAX];
    int fd;

    if (!store->kind->has_names)
        return store_reopen(backing->fd, flags);
    store_segment_name(store, name, backing->id);
    fd = openat(store->dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

static void take_status(const struct stat *status, uint64_t *size, uint64_t *allocated)
{
    *size = (uint64_t)status->st_size;
    *allocated = (uint64_t)status->st_blocks * 512;
}

int backing_measure(int fd, uint64_t *size, uint64_t *allocated)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    take_status(&status, size, allocated);
    return 0;
}

int backing_stat(const struct store *store, const struct backing *backing, uint64_t *size,
                 uint64_t *allocated)
{
    char name[STORE_NAME_MAX];
    struct stat status;

    if (!store->kind->has_names)
        return backing_measure(backing->fd, size, allocated);
    store_segment_name(store, name, backing->id);
    if (fstatat(store->dirfd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EIO;
    take_status(&status, size, allocated);
    return 0;
}

int backing_rename(const struct store *store, struct backing *backing, uint64_t id)
{
    char from[STORE_NAME_MAX], to[STORE_NAME_MAX];

    if (store->kind->has_names) {
        store_segment_name(store, from, backing->id);
        store_segment_name(store, to, id);
        if (renameat(store->dirfd, from, store->dirfd, to) < 0)
            return -errno;
    }
    backing->id = id;
    return 0;
}

static int borrow(const struct store *store, const struct backing *backing)
{
    return backing->fd >= 0 ? backing->fd : backing_open(store, backing, O_RDONLY);
}

static void give_back(const struct backing *backing, int fd)
{
    if (fd >= 0 && fd != backing->fd)
        close(fd);
}

static int set_sealed(const struct store *store, struct backing *backing, bool sealed)
{
    int fd = borrow(store, backing);
    int error = fd < 0 ? fd : grant_set_mode(fd, sealed ? GRANT_SEALED : GRANT_WRITABLE);

    give_back(backing, fd);
    if (!error)
        backing->sealed = sealed;
    return error;
}

int backing_seal(const struct store *store, struct backing *backing)
{
    return backing->sealed ? 0 : set_sealed(store, backing, true);
}

int backing_unseal(const struct store *store, struct backing *backing)
{
    return backing->sealed ? set_sealed(store, backing, false) : 0;
}

int backing_grant(const struct store *store, const struct backing *backing, uid_t uid, unsigned bits)
{
    int fd = borrow(store, backing);
    int error = fd < 0 ? fd : grant_user(fd, uid, bits);

    give_back(backing, fd);
    return error;
}

int backing_revoke(const struct store *store, const struct backing *backing)
{
    int fd;
    int error;

    if (!store->kind->has_names)
        return 0;
    fd = borrow(store, backing);
    error = fd < 0 ? fd : grant_nobody(fd);
    give_back(backing, fd);
    return error;
}

int backing_clean(const struct store *store, const struct backing *backing)
{
    int fd = borrow(store, backing);
    int error = fd < 0 ? fd : grant_is_clean(fd);

    give_back(backing, fd);
    return error;
}

int backing_link(const struct store *store, const struct backing *backing, char *path, size_t size)
{
    char name[STORE_NAME_MAX];

    if (!store->kind->has_names)
        return store_memfd_path(store, backing->fd, path, size);
    store_segment_name(store, name, backing->id);
    return store_path_of(store->reach.segments, name, path, size);
}

void backing_remove(const struct store *store, struct backing *backing)
{
    char name[STORE_NAME_MAX];

    if (!backing)
        return;
    if (store->kind->has_names) {
        store_segment_name(store, name, backing->id);
        unlinkat(store->dirfd, name, 0);
    }
    backing_free(backing);
}

void backing_free(struct backing *backing)
{
    if (!backing)
        return;
    if (backing->fd >= 0)
        close(backing->fd);
    free(backing);
}

bool backing_leased(int fd, enum backing_lease lease)
{
    if (fcntl(fd, F_SETLEASE, lease == LEASE_READ ? F_RDLCK : F_WRLCK) < 0)
        return true;
    /* Unlock at once: a client that opens the file meanwhile sleeps until then. */
    fcntl(fd, F_SETLEASE, F_UNLCK);
    return false;
}

bool backing_used(const struct store *store, const struct backing *backing)
{
    int fd = borrow(store, backing);
    bool used = fd < 0 || backing_leased(fd, LEASE_WRITE);

    give_back(backing, fd);
    return used;
}

int backing_probe_leases(struct store *store)
{
    struct backing *backing;
    int error = backing_create(store, STORE_PROBE, &backing);

    if (error == -EEXIST)
        error = backing_find(store, STORE_PROBE, &backing);
    if (!backing)
        return error;
    store->has_leases = !backing_used(store, backing);
    backing_remove(store, backing);
    return 0;
}
