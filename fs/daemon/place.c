// SPDX-License-Identifier: Apache-2.0
#include "daemon/place.h"

#include "base/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char base[] = "/run/pyrmapfs";
static const char *const names[] = {"arrays", "records"};
enum { NAMES = sizeof(names) / sizeof(names[0]), REACHED_NOT_LISTED = 0711 };

void place_init(struct place *place)
{
    uint64_t number;

    *place = (struct place){.lock = -1};
    if (getrandom(&number, sizeof(number), 0) == sizeof(number))
        snprintf(place->path, sizeof(place->path), "%s/%016llx", base, (unsigned long long)number);
}

/* Unmounts and removes what is at this path below the base. */
static void clear(const char *path)
{
    char mount[PATH_MAX];

    for (int i = 0; i < NAMES; i++) {
        snprintf(mount, sizeof(mount), "%s/%s", path, names[i]);
        while (umount2(mount, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
            continue;
        rmdir(mount);
    }
    rmdir(path);
}

/* Returns a descriptor of the directory of all daemons, which nobody else may change; or -errno. */
static int open_base(void)
{
    struct stat status;
    int fd;

    if (mkdir(base, REACHED_NOT_LISTED) < 0 && errno != EEXIST)
        return -errno;
    fd = open(base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) == 0 && status.st_uid == geteuid() && !(status.st_mode & (S_IWGRP | S_IWOTH)) &&
        fchmod(fd, REACHED_NOT_LISTED) == 0)
        return fd;
    close(fd);
    return -EPERM;
}

static void sweep(int base_fd)
{
    int again = fcntl(base_fd, F_DUPFD_CLOEXEC, 0);
    DIR *directory = again < 0 ? NULL : fdopendir(again);
    const struct dirent *entry;
    char path[PATH_MAX];

    if (!directory && again >= 0)
        close(again);
    while (directory && (entry = readdir(directory))) {
        int fd = entry->d_name[0] == '.'
                     ? -1
                     : openat(base_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            snprintf(path, sizeof(path), "%s/%s", base, entry->d_name);
            clear(path);
            log_info("%s, which a daemon that was killed had left, was cleared", path);
        }
        close(fd);
    }
    if (directory)
        closedir(directory);
}

/* Another daemon's sweep may remove our directory before we have the lock: then we make it again. */
static int make(struct place *place)
{
    struct stat status;

    for (;;) {
        if (mkdir(place->path, REACHED_NOT_LISTED) < 0)
            return -errno;
        place->lock = open(place->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (place->lock >= 0 && flock(place->lock, LOCK_EX | LOCK_NB) == 0 &&
            fstat(place->lock, &status) == 0 && status.st_nlink > 0)
            return 0;
        if (place->lock >= 0)
            close(place->lock);
        place->lock = -1;
        rmdir(place->path);
    }
}

static int open_place(struct place *place)
{
    int fd = open_base();
    int error;

    if (fd < 0)
        return fd;
    sweep(fd);
    error = make(place);
    close(fd);
    return error;
}

void place_path(const struct place *place, unsigned number, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", place->path, names[number]);
}

int place_attach(struct place *place, int mount, char path[PATH_MAX])
{
    int error = 0;

    if (!place->path[0] || place->attached == NAMES)
        return -ENOSPC;
    if (place->lock < 0)
        error = open_place(place);
    if (error)
        return error;
    place_path(place, place->attached, path);
    if (mkdir(path, REACHED_NOT_LISTED) < 0 ||
        move_mount(mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return -errno;
    place->attached++;
    return 0;
}

void place_clear(struct place *place)
{
    if (place->path[0])
        clear(place->path);
    if (place->lock >= 0)
        close(place->lock);
    place->lock = -1;
}
