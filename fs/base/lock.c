// SPDX-License-Identifier: Apache-2.0
#include "base/lock.h"

#include <errno.h>
#include <sys/file.h>
#include <time.h>

enum { STEP_MS = 5 };

int lock_take(int fd, unsigned patience_ms)
{
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000L};

    for (unsigned waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += STEP_MS) {
        if (errno != EINTR && (errno != EWOULDBLOCK || waited >= patience_ms))
            return -errno;
        nanosleep(&step, NULL);
    }
    return 0;
}
