// SPDX-License-Identifier: Apache-2.0
#include "daemon/service.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A manager that does not listen is no reason to stop: it ends us when its time for a start is over. */
static void notify(const char *text)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = getenv("NOTIFY_SOCKET");
    size_t length = name ? strlen(name) : 0;
    int fd;

    if (length < 2 || length >= sizeof(address.sun_path) || (name[0] != '/' && name[0] != '@'))
        return;
    memcpy(address.sun_path, name, length);
    if (name[0] == '@')
        address.sun_path[0] =
            '\0'; /* a name in the abstract namespace, which is as long as the address says */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&address,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    close(fd);
}

void service_ready(const char *mountpoint)
{
    char text[4200];

    snprintf(text, sizeof(text), "READY=1\nSTATUS=Mounted at %s", mountpoint);
    notify(text);
}

void service_stopping(void)
{
    notify("STOPPING=1\nSTATUS=Unmounting");
}

void service_failed(const char *error)
{
    char text[1200];

    snprintf(text, sizeof(text), "STATUS=%s", error);
    notify(text);
}
