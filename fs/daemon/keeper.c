// SPDX-License-Identifier: Apache-2.0
#include "daemon/keeper.h"

#include "base/descriptors.h"
#include "base/log.h"
#include "daemon/mount.h"
#include "daemon/server.h"
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The signal comes after the kernel gave us another parent. Others may send it as well: ask for the parent. */
static void wait_for_parent(pid_t supervisor)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    while (getppid() == supervisor)
        sigwaitinfo(&signals, NULL);
}

/* It ends because the supervisor has, or was killed with it. */
static void wait_for_server(pid_t server)
{
    struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, server, 0), .events = POLLIN};

    if (end.fd < 0)
        return;
    while (poll(&end, 1, -1) < 0)
        continue;
    close(end.fd);
}

static void keep(struct request_ops *ops, struct place *place, pid_t supervisor)
{
    prctl(PR_SET_NAME, "pyrmapfs-keeper");
    wait_for_parent(supervisor);
    descriptors_open_reserve(); /* all others may be taken */
    wait_for_server(session_head(ops->kept)->server);
    server_clean_up(ops);
    place_clear(place);
    close(fuse_session_fd(ops->session)); /* the mount is not dead while we hold it */
    if (mount_clear(ops->mountpoint) == MOUNT_WAS_DEAD)
        log_warning("the daemon was killed: the mount at %s is cleared", ops->mountpoint);
}

pid_t keeper_start(struct request_ops *ops, struct place *place)
{
    const pid_t supervisor = getpid();
    pid_t keeper = descriptors_fork();

    if (keeper == 0) {
        keep(ops, place, supervisor);
        _exit(0);
    }
    if (keeper < 0)
        log_warning("no process is left to clear the mount if the daemon is killed");
    return keeper < 0 ? -1 : keeper;
}

void keeper_stop(pid_t keeper)
{
    if (keeper > 0 && kill(keeper, SIGKILL) == 0)
        waitpid(keeper, NULL, 0);
}
