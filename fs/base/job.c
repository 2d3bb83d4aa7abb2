// SPDX-License-Identifier: Apache-2.0
#include "base/job.h"

#include "base/hierarchy.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- its name --- */

enum { CONTAINER_ID = 64, CONTAINER_SHOWN = 12 };

/* What a component of a path says; the larger counts more. */
enum rank { RANK_NONE, RANK_UNIT, RANK_CONTAINER, RANK_SLURM };

static bool begins(const char *text, size_t size, const char *with)
{
    return size >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, size_t size, const char *with)
{
    return size >= strlen(with) && memcmp(text + size - strlen(with), with, strlen(with)) == 0;
}

/* Where 64 hexadecimal digits begin, as in docker-ID.scope; NULL: nowhere. */
static const char *find_id(const char *text, size_t size)
{
    size_t digits = 0;

    for (size_t i = 0; i < size; i++) {
        digits = strchr("0123456789abcdef", text[i]) ? digits + 1 : 0;
        if (digits == CONTAINER_ID)
            return text + i + 1 - CONTAINER_ID;
    }
    return NULL;
}

static bool is_slurm(const char *text, size_t size)
{
    size_t i = strlen("job_");

    if (!begins(text, size, "job_") || size == i)
        return false;
    while (i < size && text[i] >= '0' && text[i] <= '9')
        i++;
    return i == size;
}

/* Sessions, and the managers of users and machines, are no jobs. */
static bool is_unit(const char *text, size_t size)
{
    return (ends(text, size, ".service") || ends(text, size, ".scope")) && !begins(text, size, "session-") &&
           !begins(text, size, "user@") && !begins(text, size, "init.scope");
}

static enum rank judge(const char *text, size_t size, char name[JOB_NAME_MAX + 1])
{
    const char *id = find_id(text, size);
    enum rank rank = is_slurm(text, size)  ? RANK_SLURM
                     : id                  ? RANK_CONTAINER
                     : is_unit(text, size) ? RANK_UNIT
                                           : RANK_NONE;

    if (rank == RANK_CONTAINER)
        snprintf(name, JOB_NAME_MAX + 1, "container-%.*s", (int)CONTAINER_SHOWN, id);
    else
        snprintf(name, JOB_NAME_MAX + 1, "%.*s", (int)size, text);
    for (const char *at = name; *at; at++) {
        if (*at <= ' ' || *at > '~')
            return RANK_NONE;
    }
    return rank;
}

bool job_is_slurms(const char *name)
{
    return is_slurm(name, strlen(name));
}

/* The part of a line N:CONTROLLERS:PATH that names the cgroup, up to the component which ends there. */
static void keep_group(const char *line, const char *end, struct job *job)
{
    const char *group = strchr(line, ':') + 1;

    job->group[0] = '\0';
    if (end - group <= JOB_GROUP_MAX)
        snprintf(job->group, sizeof(job->group), "%.*s", (int)(end - group), group);
}

bool job_find(const char *membership, struct job *job)
{
    enum rank best = RANK_NONE;

    *job = (struct job){0};
    for (const char *line = membership; line; line = hierarchy_next_line(line)) {
        const char *end = strchr(line, '\n') ? strchr(line, '\n') : line + strlen(line);
        const char *at = memchr(line, '/', (size_t)(end - line));

        if (!memchr(line, ':', (size_t)(end - line)))
            continue;
        while (at && at < end) {
            char found[JOB_NAME_MAX + 1];
            const char *next = memchr(at + 1, '/', (size_t)(end - at - 1));
            enum rank rank;

            next = next ? next : end;
            rank = judge(at + 1, (size_t)(next - at - 1), found);
            if (rank != RANK_NONE && rank >= best) {
                best = rank;
                memcpy(job->name, found, sizeof(found));
                keep_group(line, next, job);
            }
            at = next;
        }
    }
    return best != RANK_NONE;
}

/* --- its cgroup --- */

struct opened {
    struct hierarchy hierarchy;
    int fd;
};

static struct opened *opened;
static size_t opened_count;

void job_open_hierarchies_of(const char *mountinfo)
{
    struct hierarchy hierarchy;

    while (opened_count > 0)
        close(opened[--opened_count].fd);
    free(opened);
    opened = calloc(JOB_HIERARCHIES, sizeof(*opened));
    for (const char *at = mountinfo;
         opened && opened_count < JOB_HIERARCHIES && (at = hierarchy_next(at, &hierarchy));) {
        struct opened *next = &opened[opened_count];

        next->fd = open(hierarchy.place, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (next->fd < 0)
            continue;
        next->hierarchy = hierarchy;
        opened_count++;
    }
}

void job_open_hierarchies(void)
{
    enum { TEXT_MAX_BYTES = 1 << 18 };
    char *text = malloc(TEXT_MAX_BYTES);
    FILE *file = fopen("/proc/self/mountinfo", "re");

    if (text && file) {
        text[fread(text, 1, TEXT_MAX_BYTES - 1, file)] = '\0';
        job_open_hierarchies_of(text);
    }
    if (file)
        fclose(file);
    free(text);
}

size_t job_hierarchies(int fds[JOB_HIERARCHIES])
{
    for (size_t i = 0; i < opened_count; i++)
        fds[i] = opened[i].fd;
    return opened_count;
}

/* A file that each cgroup but the root has, and that is quickly read. */
static const char *file_of(const struct hierarchy *hierarchy)
{
    return hierarchy_has(hierarchy, "") ? "cgroup.events" : "notify_on_release";
}

int job_open_group(const char *group, uint64_t *id)
{
    char controllers[256], path[JOB_GROUP_MAX + sizeof("/notify_on_release")];
    const char *colon = strchr(group, ':');

    snprintf(controllers, sizeof(controllers), "%.*s", colon ? (int)(colon - group) : 0, group);
    for (size_t i = 0; colon && i < opened_count; i++) {
        const struct hierarchy *hierarchy = &opened[i].hierarchy;
        const char *rest =
            hierarchy_has(hierarchy, controllers) ? hierarchy_below(hierarchy, colon + 1) : NULL;
        struct stat status;
        int fd, error;

        if (!rest || *rest != '/')
            continue;
        snprintf(path, sizeof(path), "%s/%s", rest + 1, file_of(hierarchy));
        fd = openat(opened[i].fd, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return errno == ENODEV ? -ENOENT : -errno;
        if (fstat(fd, &status) == 0) {
            *id = status.st_ino;
            return fd;
        }
        error = -errno;
        close(fd);
        return error;
    }
    return -EOPNOTSUPP;
}

bool job_is_over(int fd)
{
    char byte;

    return pread(fd, &byte, 1, 0) < 0 && errno == ENODEV;
}
