// SPDX-License-Identifier: Apache-2.0
#include "base/cgroup.h"

#include "base/hierarchy.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX_BYTES = 1 << 16, STAT_MAX_BYTES = 4096, UNLIMITED_SHIFT = 62 };

/* More than comes to be used between two looks: see memory_spares_some. */
static const uint64_t least_reserve = (uint64_t)8 << 20;

/* Open for good: when a limit is asked for, the process may not open files any more. */
struct level {
    int limit, usage, stat;
};

static struct level levels[CGROUP_LEVELS];
static unsigned level_count;
static bool is_v2;

/* --- where it is --- */

/* The path of the cgroup in its hierarchy: on the line N:memory:PATH, or for v2 on 0::PATH. */
static bool find_group(const char *membership, char group[PATH_MAX], bool *v2)
{
    char controllers[256];

    *v2 = true;
    group[0] = '\0';
    for (const char *line = membership; line; line = hierarchy_next_line(line)) {
        if (sscanf(line, "%*d:%255[^:\n]:%4095[^\n]", controllers, group) == 2 &&
            hierarchy_lists(controllers, "memory")) {
            *v2 = false;
            return true;
        }
    }
    for (const char *line = membership; line; line = hierarchy_next_line(line)) {
        if (sscanf(line, "0::%4095[^\n]", group) == 1)
            return true;
    }
    return false;
}

bool cgroup_find(const char *membership, const char *mountinfo, struct cgroup_place *place)
{
    struct hierarchy hierarchy;
    char group[PATH_MAX];

    if (!find_group(membership, group, &place->is_v2))
        return false;
    for (const char *at = mountinfo; (at = hierarchy_next(at, &hierarchy));) {
        const char *rest = hierarchy_has(&hierarchy, place->is_v2 ? "" : "memory")
                               ? hierarchy_below(&hierarchy, group)
                               : NULL;

        if (!rest || snprintf(place->path, sizeof(place->path), "%s%s", hierarchy.place, rest) >=
                         (int)sizeof(place->path))
            continue;
        place->levels = 1;
        for (; *rest; rest++)
            place->levels += *rest == '/';
        return true;
    }
    return false;
}

/* --- what it allows --- */

static int open_file(const char *folder, const char *name)
{
    char path[PATH_MAX + 40];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void close_level(const struct level *level)
{
    const int fds[] = {level->limit, level->usage, level->stat};

    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

void cgroup_open_place(const struct cgroup_place *place)
{
    char path[PATH_MAX];

    cgroup_close();
    is_v2 = place->is_v2;
    snprintf(path, sizeof(path), "%s", place->path);
    for (unsigned i = 0; i < place->levels && level_count < CGROUP_LEVELS; i++) {
        struct level level = {open_file(path, is_v2 ? "memory.max" : "memory.limit_in_bytes"),
                              open_file(path, is_v2 ? "memory.current" : "memory.usage_in_bytes"),
                              open_file(path, "memory.stat")};
        char *slash = strrchr(path, '/');

        if (level.limit >= 0 && level.usage >= 0)
            levels[level_count++] = level;
        else
            close_level(&level); /* the root has none */
        if (slash)
            *slash = '\0';
    }
}

void cgroup_close(void)
{
    while (level_count > 0)
        close_level(&levels[--level_count]);
}

static bool read_text(int fd, char *text, size_t size)
{
    ssize_t got;

    do
        got = pread(fd, text, size - 1, 0);
    while (got < 0 && errno == EINTR);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

static bool read_file(const char *path, char *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t got = 1;

    if (fd < 0)
        return false;
    while (got > 0 && size < TEXT_MAX_BYTES - 1) {
        got = read(fd, text + size, TEXT_MAX_BYTES - 1 - size);
        size += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    text[size] = '\0';
    return size > 0;
}

void cgroup_open(void)
{
    char *membership = malloc(TEXT_MAX_BYTES), *mountinfo = malloc(TEXT_MAX_BYTES);
    struct cgroup_place place;

    if (membership && mountinfo && read_file("/proc/self/cgroup", membership) &&
        read_file("/proc/self/mountinfo", mountinfo) && cgroup_find(membership, mountinfo, &place))
        cgroup_open_place(&place);
    free(membership);
    free(mountinfo);
}

/* "max", and what v1 says for none, is no limit. */
static uint64_t read_limit(const struct level *level)
{
    char text[32];
    uint64_t limit;

    if (!read_text(level->limit, text, sizeof(text)) || strncmp(text, "max", 3) == 0)
        return UINT64_MAX;
    limit = strtoull(text, NULL, 10);
    return limit >> UNLIMITED_SHIFT ? UINT64_MAX : limit;
}

/* What the kernel would give back before it kills: pages of files on a disk. */
static uint64_t read_reclaimable(const struct level *level)
{
    const char *const key = is_v2 ? "inactive_file " : "total_inactive_file ";
    char text[STAT_MAX_BYTES];
    const char *line;

    if (level->stat < 0 || !read_text(level->stat, text, sizeof(text)))
        return 0;
    line = strstr(text, key);
    if (line && line != text && line[-1] != '\n')
        line = NULL;
    return line ? strtoull(line + strlen(key), NULL, 10) : 0;
}

uint64_t cgroup_limit(void)
{
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < level_count; i++) {
        uint64_t limit = read_limit(&levels[i]);

        least = limit < least ? limit : least;
    }
    return least;
}

bool cgroup_spares(uint64_t bytes)
{
    for (unsigned i = 0; i < level_count; i++) {
        uint64_t limit = read_limit(&levels[i]), reserve = limit / 16, used, reclaimable;
        char text[32];

        if (limit == UINT64_MAX || !read_text(levels[i].usage, text, sizeof(text)))
            continue;
        reserve = reserve < least_reserve ? least_reserve : reserve;
        used = strtoull(text, NULL, 10);
        reclaimable = read_reclaimable(&levels[i]);
        used = used > reclaimable ? used - reclaimable : 0;
        if (used > limit || bytes > limit - used || limit - used - bytes < reserve)
            return false;
    }
    return true;
}
