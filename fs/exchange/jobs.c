// SPDX-License-Identifier: Apache-2.0
#include "exchange/jobs.h"

#include "base/process.h"

void jobs_find(pid_t process, char job[CGROUP_JOB_MAX + 1])
{
    enum { MEMBERSHIP_MAX = 4096 };
    char membership[MEMBERSHIP_MAX];

    job[0] = '\0';
    if (process_cgroup(process, membership, sizeof(membership)))
        cgroup_job(membership, job);
}
