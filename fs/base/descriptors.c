// SPDX-License-Identifier: Apache-2.0
#include "base/descriptors.h"

#include <sys/resource.h>

/* The helper thread may take some of them while the reserve is open. */
static const rlim_t reserve = 16;

static struct rlimit usual; /* while the reserve is open */

void descriptors_claim(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max > 2 * reserve ? limit.rlim_max - reserve : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void descriptors_open_reserve(void)
{
    struct rlimit all;

    if (getrlimit(RLIMIT_NOFILE, &usual) < 0)
        return;
    all = usual;
    all.rlim_cur = all.rlim_max;
    setrlimit(RLIMIT_NOFILE, &all);
}

void descriptors_close_reserve(void)
{
    if (usual.rlim_max > 0)
        setrlimit(RLIMIT_NOFILE, &usual);
}
