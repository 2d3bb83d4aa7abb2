// SPDX-License-Identifier: Apache-2.0
#include "arena/grant.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { USERS_MAX = 64 };

/* The attribute as linux/posix_acl_xattr.h has it, little-endian. */
static const char attribute[] = "system.posix_acl_access";
enum { ACL_VERSION = 2, TAG_OWNER = 1, TAG_USER = 2, TAG_GROUP = 4, TAG_MASK = 16, TAG_OTHER = 32 };

struct acl_entry {
    uint16_t tag;
    uint16_t bits;
    uint32_t id;
};

/* The owner, the users by their numbers, then three more: the kernel wants them in this order. */
struct acl {
    uint32_t version;
    struct acl_entry entries[1 + USERS_MAX + 3];
};

static const struct acl_entry *end_of(const struct acl *acl, ssize_t size)
{
    return acl->entries + ((size_t)size - sizeof(acl->version)) / sizeof(acl->entries[0]);
}

/* Reads the users of the list. Returns how many, or -errno. */
static int read_users(int fd, struct acl_entry users[USERS_MAX])
{
    struct acl acl;
    ssize_t size = fgetxattr(fd, attribute, &acl, sizeof(acl));
    int count = 0;

    if (size < 0)
        return errno == ENODATA ? 0 : -errno;
    for (const struct acl_entry *entry = acl.entries; entry < end_of(&acl, size); entry++) {
        if (entry->tag == TAG_USER && count < USERS_MAX)
            users[count++] = *entry;
    }
    return count;
}

static int write_users(int fd, const struct acl_entry users[USERS_MAX], int count, mode_t mode)
{
    const uint16_t bits = mode & 0200 ? GRANT_READ | GRANT_WRITE : GRANT_READ;
    struct acl acl = {.version = ACL_VERSION};
    struct acl_entry *entry = acl.entries;

    *entry++ = (struct acl_entry){.tag = TAG_OWNER, .bits = bits, .id = UINT32_MAX};
    memcpy(entry, users, (size_t)count * sizeof(*entry));
    entry += count;
    *entry++ = (struct acl_entry){.tag = TAG_GROUP, .bits = 0, .id = UINT32_MAX};
    *entry++ = (struct acl_entry){.tag = TAG_MASK, .bits = bits, .id = UINT32_MAX};
    *entry++ = (struct acl_entry){.tag = TAG_OTHER, .bits = 0, .id = UINT32_MAX};
    return fsetxattr(fd, attribute, &acl, (size_t)((const char *)entry - (const char *)&acl), 0) < 0 ? -errno
                                                                                                     : 0;
}

int grant_user(int fd, uid_t uid, unsigned bits)
{
    struct acl_entry users[USERS_MAX] = {0};
    struct stat status;
    int count = read_users(fd, users);
    int place = 0;

    if (count < 0 || fstat(fd, &status) < 0)
        return count < 0 ? count : -errno;
    while (place < count && users[place].id < uid)
        place++;
    if (place == count || users[place].id != uid) {
        if (count == USERS_MAX)
            return -ENOSPC;
        memmove(&users[place + 1], &users[place], (size_t)(count - place) * sizeof(users[0]));
        users[place] = (struct acl_entry){.tag = TAG_USER, .id = uid};
        count++;
    } else if ((users[place].bits & bits) == bits) {
        return 0;
    }
    users[place].bits = (uint16_t)(users[place].bits | bits);
    return write_users(fd, users, count, status.st_mode);
}

int grant_nobody(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    if (!(status.st_mode & 0077))
        return 0;
    /* The mode first: it shuts all out, and without the list its group bits would be those of our group. */
    if (fchmod(fd, status.st_mode & 0700) < 0)
        return -errno;
    return fremovexattr(fd, attribute) < 0 && errno != ENODATA ? -errno : 0;
}

int grant_is_clean(int fd)
{
    static const char prefix[] = "user.";
    char names[1024]; /* ours and those of security modules are shorter */
    ssize_t size = flistxattr(fd, names, sizeof(names));

    if (size < 0)
        return errno == ENOTSUP ? 0 : -errno;
    for (const char *name = names; name < names + size; name += strlen(name) + 1) {
        if (strncmp(name, prefix, strlen(prefix)) == 0)
            return -EBUSY;
    }
    return 0;
}

int grant_set_mode(int fd, enum grant_mode mode)
{
    const mode_t owner = mode == GRANT_SEALED ? 0400 : 0600;
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    return fchmod(fd, status.st_mode & 0070 ? owner | owner >> 3 : owner) < 0 ? -errno : 0;
}
