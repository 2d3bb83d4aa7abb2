// SPDX-License-Identifier: Apache-2.0
#include "caller.h"

#include "process.h"

pid_t caller_process(const struct caller *caller)
{
    pid_t process = caller->process ? caller->process : process_of_thread(caller->thread);

    return process ? process : caller->thread;
}
