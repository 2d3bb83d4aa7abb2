// SPDX-License-Identifier: Apache-2.0
#include "daemon/pin.h"

#include "base/descriptors.h"
#include "slot/page.h"
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The signal comes after the kernel gave us another parent. Others may send it as well: ask for the parent. */
static void wait_for_end_of(pid_t server)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    while (getppid() == server)
        sigwaitinfo(&signals, NULL);
}

pid_t pin_start(void)
{
    struct clone_args arguments = {.flags = CLONE_FILES, .exit_signal = SIGCHLD};
    const pid_t server = getpid();
    long child = syscall(SYS_clone3, &arguments, sizeof(arguments));

    if (child != 0)
        return (pid_t)child;
    prctl(PR_SET_NAME, "pyrmapfs-pin");
    wait_for_end_of(server);
    descriptors_open_reserve(); /* to list the descriptors takes one */
    page_retire_all(PAGE_OF_THIS_PROCESS);
    _exit(0);
}

void pin_end(pid_t pin)
{
    if (pin > 0 && kill(pin, SIGKILL) == 0)
        waitpid(pin, NULL, 0);
}
