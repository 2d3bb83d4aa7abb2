// SPDX-License-Identifier: Apache-2.0
#include "daemon/launch.h"

#include "conf.h"
#include "daemon/service.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

void launch_read_line(int fd, char *line, size_t size)
{
    size_t used = 0;

    while (used < size - 1) {
        ssize_t got = read(fd, line + used, size - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || memchr(line + used, '\n', (size_t)got)) {
            used += got > 0 ? (size_t)got : 0;
            break;
        }
        used += (size_t)got;
    }
    line[used] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

void launch_announce(const char *line, const char *mountpoint, int launcher)
{
    if (launcher >= 0) {
        dprintf(launcher, "%s\n", line);
    } else if (strcmp(line, "ready") == 0) {
        dprintf(STDOUT_FILENO, "ready %s\n", mountpoint);
        service_ready(mountpoint);
    } else {
        dprintf(STDERR_FILENO, "pyrmapfs: %s\n", line);
        service_failed(line);
    }
}

void launch_leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    if (null > STDERR_FILENO)
        close(null);
}

int launch_in_background(const char *mountpoint, int (*supervise)(int launcher))
{
    char line[CONF_ERROR_MAX];
    struct statvfs filesystem;
    int word[2];
    pid_t child = pipe2(word, O_CLOEXEC) < 0 ? -1 : fork();

    if (child < 0) {
        launch_announce("cannot fork", mountpoint, -1);
        return 1;
    }
    if (child == 0) {
        close(word[0]);
        setsid();
        if (chdir("/") < 0)
            exit(1);
        exit(supervise(word[1]));
    }
    close(word[1]);
    launch_read_line(word[0], line, sizeof(line));
    close(word[0]);
    if (strcmp(line, "ready") != 0) {
        launch_announce(line[0] ? line : "it ended at once: see the log", mountpoint, -1);
        return 1;
    }
    if (statvfs(mountpoint, &filesystem) < 0) {
        launch_announce("mounted, but the mount does not answer: see the log", mountpoint, -1);
        return 1;
    }
    return 0;
}
