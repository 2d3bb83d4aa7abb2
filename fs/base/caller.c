// SPDX-License-Identifier: Apache-2.0
#include "base/caller.h"

#include "base/process.h"

struct caller caller_of(uid_t uid, gid_t gid, pid_t thread)
{
    pid_t process = process_of_thread(thread);

    return (struct caller){.uid = uid, .gid = gid, .thread = thread, .process = process ? process : thread};
}
