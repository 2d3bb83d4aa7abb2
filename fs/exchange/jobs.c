// SPDX-License-Identifier: Apache-2.0
#include "exchange/jobs.h"

#include "base/container.h"
#include "base/deadline.h"
#include "base/log.h"
#include "base/process.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct jobs_group {
    LIST_ENTRY(jobs_group) link;
    LIST_HEAD(jobs_slots, slot) slots; /* never empty */
    uint64_t id;
    int fd; /* negative: the job is over */
};

struct jobs {
    LIST_HEAD(jobs_groups, jobs_group) groups;
    enum exchange_jobs which;
    bool has_complained;
    struct deadlines *looks;
    struct deadline look;
    struct turn_queue *turns;
    struct turn removal;
    bool removes; /* `removal` is in the queue */
    void (*over)(void *context, struct slot *slot);
    void *context;
};

/* --- looking --- */

static void look_again(struct jobs *jobs)
{
    if (!jobs->look.set && !LIST_EMPTY(&jobs->groups))
        deadline_set(jobs->looks, &jobs->look, JOBS_LOOK_MS);
}

static struct jobs_group *next_over(const struct jobs *jobs)
{
    struct jobs_group *group;

    LIST_FOREACH (group, &jobs->groups, link) {
        if (group->fd < 0)
            break;
    }
    return group;
}

static enum turn_progress remove_some(struct turn *turn)
{
    struct jobs *jobs = container_of(turn, struct jobs, removal);
    const struct jobs_group *group;

    for (int removed = 0; removed < JOBS_SLOTS_A_TURN && (group = next_over(jobs)); removed++)
        jobs->over(jobs->context, LIST_FIRST(&group->slots)); /* the group goes with the last one */
    if (next_over(jobs))
        return TURN_AGAIN;
    jobs->removes = false;
    return TURN_DONE;
}

static void give_up(struct turn *turn)
{
    container_of(turn, struct jobs, removal)->removes = false;
}

void jobs_begin(struct jobs *jobs)
{
    if (jobs->removes || !next_over(jobs))
        return;
    jobs->removes = true;
    turn_add(jobs->turns, &jobs->removal);
}

static void look(struct deadline *deadline)
{
    struct jobs *jobs = container_of(deadline, struct jobs, look);
    struct jobs_group *group;

    LIST_FOREACH (group, &jobs->groups, link) {
        if (group->fd < 0 || !job_is_over(group->fd))
            continue;
        log_info("%s is over: its slots are removed", LIST_FIRST(&group->slots)->job);
        close(group->fd);
        group->fd = -1;
    }
    jobs_begin(jobs);
    look_again(jobs);
}

int jobs_init(struct jobs **out, struct loop *loop, struct turn_queue *turns, enum exchange_jobs which,
              void (*over)(void *context, struct slot *slot), void *context)
{
    struct jobs *jobs = calloc(1, sizeof(*jobs));
    int result;

    *out = NULL;
    if (!jobs)
        return -ENOMEM;
    LIST_INIT(&jobs->groups);
    jobs->which = which;
    jobs->look.expired = look;
    jobs->turns = turns;
    jobs->removal.take = remove_some;
    jobs->removal.give_up = give_up;
    jobs->over = over;
    jobs->context = context;
    result = deadline_init(&jobs->looks, loop);
    if (result < 0)
        free(jobs);
    else
        *out = jobs;
    return result;
}

static void free_group(struct jobs_group *group)
{
    if (group->fd >= 0)
        close(group->fd);
    free(group);
}

void jobs_deinit(struct jobs *jobs)
{
    struct jobs_group *next;

    if (!jobs)
        return;
    for (struct jobs_group *group = LIST_FIRST(&jobs->groups); group; group = next) {
        next = LIST_NEXT(group, link);
        free_group(group);
    }
    if (jobs->removes)
        turn_remove(jobs->turns, &jobs->removal);
    deadline_clear(&jobs->look);
    deadline_deinit(jobs->looks);
    free(jobs);
}

/* --- slots --- */

void jobs_find(pid_t process, struct job *job)
{
    enum { MEMBERSHIP_MAX = 4096 };
    char membership[MEMBERSHIP_MAX];

    *job = (struct job){0};
    if (process_cgroup(process, membership, sizeof(membership)))
        job_find(membership, job);
}

static bool goes_with_job(const struct jobs *jobs, const struct slot *slot)
{
    switch (jobs->which) {
    case JOBS_NONE:
        return false;
    case JOBS_OF_SLURM:
        return slot->job_group[0] && job_is_slurms(slot->job);
    case JOBS_ALL:
        break;
    }
    return slot->job_group[0];
}

static void complain(struct jobs *jobs, const struct slot *slot, int result)
{
    if (!jobs->has_complained)
        log_warning("%s: the end of %s cannot be seen, and the slot stays when it is over (%s); of other "
                    "jobs the same is not said again",
                    slot->name, slot->job,
                    result == -EOPNOTSUPP ? "its hierarchy of cgroups is not mounted here"
                                          : strerror(-result));
    jobs->has_complained = true;
}

/* Takes over the descriptor. NULL: no memory. */
static struct jobs_group *group_of(struct jobs *jobs, uint64_t id, int fd)
{
    struct jobs_group *group;

    LIST_FOREACH (group, &jobs->groups, link) {
        if (group->id == id)
            break;
    }
    if (group || !(group = calloc(1, sizeof(*group)))) {
        if (fd >= 0)
            close(fd);
        return group;
    }
    LIST_INIT(&group->slots);
    group->id = id;
    group->fd = fd;
    LIST_INSERT_HEAD(&jobs->groups, group, link);
    return group;
}

void jobs_join(struct jobs *jobs, struct slot *slot)
{
    uint64_t id = 0;
    int fd;

    if (!goes_with_job(jobs, slot))
        return;
    fd = job_open_group(slot->job_group, &id);
    /* The maker of a new slot is still in its cgroup: what we cannot see then is not gone. */
    if (fd < 0 && (fd != -ENOENT || !slot->job_id)) {
        complain(jobs, slot, fd);
        return;
    }
    if (!slot->job_id) {
        slot->job_id = id;
        slot_mark(slot);
    }
    if (fd >= 0 && id != slot->job_id) { /* another cgroup has its name by now */
        close(fd);
        fd = -ENOENT;
    }
    slot->group = group_of(jobs, slot->job_id, fd);
    if (!slot->group) {
        complain(jobs, slot, -ENOMEM);
        return;
    }
    LIST_INSERT_HEAD(&slot->group->slots, slot, in_group);
    look_again(jobs);
}

void jobs_leave(struct slot *slot)
{
    struct jobs_group *group = slot->group;

    if (!group)
        return;
    slot->group = NULL;
    LIST_REMOVE(slot, in_group);
    if (LIST_EMPTY(&group->slots)) {
        LIST_REMOVE(group, link);
        free_group(group);
    }
}
