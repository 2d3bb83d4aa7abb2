// SPDX-License-Identifier: Apache-2.0
#include "exchange/jobs.h"

#include <stdlib.h>
#include <string.h>

struct jobs_entry {
    struct jobs_entry *next;
    uint32_t slots;
    char name[CGROUP_JOB_MAX + 1];
};

/* Where the job is in its list, or would be. */
static struct jobs_entry **find(struct jobs *jobs, const char *name)
{
    uint32_t hash = 2166136261;
    struct jobs_entry **at;

    for (const char *byte = name; *byte; byte++)
        hash = (hash ^ (unsigned char)*byte) * 16777619;
    at = &jobs->buckets[hash % JOBS_BUCKETS];
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

void jobs_add(struct jobs *jobs, const struct slot *slot)
{
    struct jobs_entry **at = find(jobs, slot->job);

    if (!slot->job[0])
        return;
    if (!*at)
        *at = calloc(1, sizeof(**at));
    if (!*at)
        return; /* a number is missing in the metrics */
    memcpy((*at)->name, slot->job, sizeof((*at)->name));
    (*at)->slots++;
}

void jobs_note(struct jobs *jobs, struct slot *slot, pid_t process)
{
    enum { MEMBERSHIP_MAX = 4096 };
    char membership[MEMBERSHIP_MAX];

    if (!process_cgroup(process, membership, sizeof(membership)) || !cgroup_job(membership, slot->job))
        return;
    slot_mark(slot);
    jobs_add(jobs, slot);
}

void jobs_drop(struct jobs *jobs, const struct slot *slot)
{
    struct jobs_entry **at = find(jobs, slot->job);
    struct jobs_entry *entry = *at;

    if (!entry || --entry->slots > 0)
        return;
    *at = entry->next;
    free(entry);
}

void jobs_deinit(struct jobs *jobs)
{
    for (int i = 0; i < JOBS_BUCKETS; i++) {
        while (jobs->buckets[i]) {
            struct jobs_entry *entry = jobs->buckets[i];

            jobs->buckets[i] = entry->next;
            free(entry);
        }
    }
}

void jobs_visit(const struct jobs *jobs, void (*visit)(void *context, const char *job, uint32_t slots),
                void *context)
{
    for (int i = 0; i < JOBS_BUCKETS; i++) {
        for (const struct jobs_entry *entry = jobs->buckets[i]; entry; entry = entry->next)
            visit(context, entry->name, entry->slots);
    }
}
