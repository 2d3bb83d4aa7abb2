// SPDX-License-Identifier: Apache-2.0
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

/* Below this a thread costs more than it saves. */
enum { BYTES_ALONE = 1 << 22 };

struct helper {
    pthread_t thread;
    bool runs;
    int part;
    void (*work)(void *context, int part);
    void *context;
};

int processors(void)
{
    cpu_set_t set;
    int count =
        sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? count : 1;
}

int parts_for(size_t bytes)
{
    int count = bytes < BYTES_ALONE ? 1 : processors();
    return count < PARTS_MAX ? count : PARTS_MAX;
}

static void *help(void *argument)
{
    const struct helper *helper = argument;
    helper->work(helper->context, helper->part);
    return NULL;
}

void in_parallel(int parts, void (*work)(void *context, int part), void *context)
{
    struct helper helpers[PARTS_MAX];
    sigset_t all, before;
    /* R's signal handlers belong to its own thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int part = 1; part < parts; part++) {
        helpers[part] = (struct helper){.part = part, .work = work, .context = context};
        helpers[part].runs = pthread_create(&helpers[part].thread, NULL, help, &helpers[part]) == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    work(context, 0);
    for (int part = 1; part < parts; part++) {
        if (helpers[part].runs)
            pthread_join(helpers[part].thread, NULL);
        else
            work(context, part);
    }
}
