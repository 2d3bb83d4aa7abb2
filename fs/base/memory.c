// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include "base/cgroup.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MEMINFO_MAX = 4096 };
static const uint64_t least_reserve = (uint64_t)64 << 20, most_reserve = (uint64_t)1 << 30;

/* The number of bytes on the line that begins with this name. */
static int look_up(const char *text, const char *name, uint64_t *bytes)
{
    const char *line = strstr(text, name);

    if (!line)
        return -ENOENT;
    *bytes = strtoull(line + strlen(name), NULL, 10) * 1024;
    return 0;
}

static bool machine_spares(uint64_t bytes)
{
    char text[MEMINFO_MAX];
    uint64_t total, available, swap, reserve;
    ssize_t size;
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return true;
    do
        size = read(fd, text, sizeof(text) - 1);
    while (size < 0 && errno == EINTR);
    close(fd);
    if (size < 0)
        return true;
    text[size] = '\0';
    if (look_up(text, "MemTotal:", &total) < 0 || look_up(text, "MemAvailable:", &available) < 0 ||
        look_up(text, "SwapFree:", &swap) < 0)
        return true;
    reserve = total / 32;
    if (reserve < least_reserve)
        reserve = least_reserve;
    if (reserve > most_reserve)
        reserve = most_reserve;
    return bytes <= available + swap && available + swap - bytes >= reserve;
}

bool memory_spares(uint64_t bytes)
{
    return machine_spares(bytes) && cgroup_spares(bytes);
}

bool memory_spares_some(uint64_t bytes)
{
    static atomic_uint_fast64_t unasked;

    if (atomic_fetch_add(&unasked, bytes) + bytes < MEMORY_ASK)
        return true;
    if (!memory_spares(MEMORY_ASK + bytes))
        return false; /* the next one asks again */
    atomic_store(&unasked, 0);
    return true;
}
