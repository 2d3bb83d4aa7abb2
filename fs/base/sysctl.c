// SPDX-License-Identifier: Apache-2.0
#include "base/sysctl.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KERNEL_LEAST = 15 };

/* 0 if there is no such setting. */
static unsigned read_number(const char *root, const char *name)
{
    char path[PATH_MAX], text[32];
    unsigned long number;
    ssize_t got;
    int fd;

    if (snprintf(path, sizeof(path), "%s/%s", root, name) >= (int)sizeof(path))
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    number = strtoul(text, NULL, 10);
    return number < UINT_MAX ? (unsigned)number : UINT_MAX;
}

unsigned sysctl_request_timeout(const char *root)
{
    unsigned wanted = read_number(root, "fs/fuse/default_request_timeout");
    unsigned most = read_number(root, "fs/fuse/max_request_timeout");

    if (!wanted && !most)
        return 0;
    if (!wanted || (most && most < wanted))
        wanted = most;
    return wanted < KERNEL_LEAST ? KERNEL_LEAST : wanted;
}
