// SPDX-License-Identifier: Apache-2.0
/*
 * test_jobs.c - slots that go with the job that they were made in, over a restart of the server.
 *
 * Directories stand for cgroups: the server asks them for no more than their number and whether they are there.
 */
#include "exchange/jobs.h"

#include "base/container.h"
#include "exchange_fixture.h"
#include "slot/slot.h"
#include "suite.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANY = JOBS_SLOTS_A_TURN + 8 };

struct cluster {
    struct world world;
    char root[40];
};

static void path_in(const struct cluster *cluster, const char *group, const char *file, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s%s", cluster->root, group, file);
}

static void make_group(const struct cluster *cluster, const char *group)
{
    char path[PATH_MAX];
    FILE *file;

    path_in(cluster, group, "", path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    path_in(cluster, group, "/cgroup.events", path);
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    fputs("populated 1\n", file);
    ck_assert_int_eq(fclose(file), 0);
}

static void remove_group(const struct cluster *cluster, const char *group)
{
    char path[PATH_MAX];

    path_in(cluster, group, "/cgroup.events", path);
    ck_assert_int_eq(unlink(path), 0);
    path_in(cluster, group, "", path);
    ck_assert_int_eq(rmdir(path), 0);
}

static void begin(struct cluster *cluster, enum exchange_jobs which, const char *const *groups)
{
    struct world_options options = world_defaults();
    char mounts[128];

    strcpy(cluster->root, "/tmp/pyrmapfs-jobs-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(cluster->root));
    for (; *groups; groups++)
        make_group(cluster, *groups);
    snprintf(mounts, sizeof(mounts), "30 24 0:27 / %s rw - cgroup2 cgroup2 rw\n", cluster->root);
    job_open_hierarchies_of(mounts);
    options.kind = ARENA_DIR;
    options.data_path = DATA_PATH_PAGE_CACHE;
    options.limits.remove_with_job = which;
    ck_assert(world_try_begin(&cluster->world, &options));
}

static void end(struct cluster *cluster, const char *const *groups)
{
    world_end(&cluster->world);
    for (; *groups; groups++)
        remove_group(cluster, *groups);
    ck_assert_int_eq(rmdir(cluster->root), 0);
    job_open_hierarchies_of("");
}

/* As mkdir in a process of that job does. */
static struct slot *slot_in_job(struct world *world, const char *name, const char *job)
{
    struct slot *slot = world_slot(world, name);

    jobs_leave(slot);
    snprintf(slot->job, sizeof(slot->job), "%s", job);
    snprintf(slot->job_group, sizeof(slot->job_group), ":/%s", job);
    slot->job_id = 0;
    slot_mark(slot);
    jobs_join(world->exchange->jobs, slot);
    return slot;
}

struct pass {
    struct loop_source source;
    struct world *world;
    uint32_t wanted;
    int passes;
};

static void look(struct loop_source *source)
{
    struct pass *pass = container_of(source, struct pass, source);

    if (slots_count(pass->world->slots) == pass->wanted || ++pass->passes == 1000)
        loop_stop(pass->world->loop, 0);
}

/* Lets the loop turn until there are so many slots. */
static void expect_slots(struct world *world, uint32_t wanted)
{
    struct pass pass = {.source = {.ready = look}, .world = world, .wanted = wanted};

    pass.source.fd = eventfd(1, EFD_CLOEXEC); /* readable for good */
    ck_assert_int_ge(pass.source.fd, 0);
    ck_assert_int_eq(loop_add(world->loop, &pass.source), 0);
    ck_assert_int_eq(loop_run(world->loop), 0);
    loop_remove(world->loop, &pass.source);
    close(pass.source.fd);
    ck_assert_uint_eq(slots_count(world->slots), wanted);
}

/* A job that ended while no server ran takes its slots with it at the next start; all others stay. */
START_TEST(test_over_before_the_start)
{
    static const char *const groups[] = {"job_1", "job_2", "job_3", "x.service", "job_2.old", NULL};
    static const enum exchange_jobs which[] = {JOBS_NONE, JOBS_OF_SLURM, JOBS_ALL};
    static const uint32_t left[] = {MANY + 4, 3, 2};
    char name[32], from[PATH_MAX], to[PATH_MAX];
    struct cluster cluster;
    struct world *world = &cluster.world;

    begin(&cluster, which[_i], groups);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "over-%d", i);
        slot_in_job(world, name, "job_1");
    }
    slot_in_job(world, "replaced", "job_2");
    slot_in_job(world, "lasts", "job_3");
    slot_in_job(world, "service", "x.service");
    world_slot(world, "login");
    world_stop(world);
    remove_group(&cluster, "job_1");
    remove_group(&cluster, "x.service");
    for (int i = 0; i < 3; i++) { /* another cgroup has the name of the second job now */
        path_in(&cluster, (const char *[]){"job_2", "job_2.old", "third"}[i], "", from);
        path_in(&cluster, (const char *[]){"third", "job_2", "job_2.old"}[i], "", to);
        ck_assert_int_eq(rename(from, to), 0);
    }
    world_start(world);
    expect_slots(world, left[_i]);
    ck_assert_ptr_nonnull(slot_find(world->slots, "lasts"));
    ck_assert_ptr_nonnull(slot_find(world->slots, "login"));
    ck_assert_int_eq(slot_find(world->slots, "service") != NULL, which[_i] != JOBS_ALL);
    ck_assert_int_eq(slot_find(world->slots, "replaced") != NULL, which[_i] == JOBS_NONE);
    make_group(&cluster, "job_1");
    make_group(&cluster, "x.service");
    end(&cluster, groups);
}
END_TEST

/* The end of a job that cannot be seen from here does not come: its slots stay, at the next start as well. */
START_TEST(test_cannot_be_seen)
{
    static const char *const groups[] = {"job_1", NULL};
    struct cluster cluster;
    struct world *world = &cluster.world;

    begin(&cluster, JOBS_OF_SLURM, groups);
    ck_assert_ptr_null(
        slot_in_job(world, "no-group", "job_99")->group); /* its maker is in it: it is elsewhere */
    ck_assert_ptr_nonnull(slot_in_job(world, "seen", "job_1")->group);
    world_stop(world);
    job_open_hierarchies_of("");
    world_start(world);
    ck_assert_uint_eq(slots_count(world->slots), 2);
    ck_assert_ptr_null(slot_find(world->slots, "seen")->group);
    ck_assert_ptr_null(slot_in_job(world, "later", "job_1")->group);
    ck_assert_uint_eq(slots_count(world->slots), 3);
    end(&cluster, groups);
}
END_TEST

/* Slots of a job share its group, which goes with the last of them. */
START_TEST(test_group_of_many)
{
    static const char *const groups[] = {"job_1", "job_2", NULL};
    struct cluster cluster;
    struct world *world = &cluster.world;
    struct slot *a, *b, *c;

    begin(&cluster, JOBS_ALL, groups);
    a = slot_in_job(world, "a", "job_1");
    b = slot_in_job(world, "b", "job_1");
    c = slot_in_job(world, "c", "job_2");
    ck_assert_ptr_nonnull(a->group);
    ck_assert_ptr_eq(a->group, b->group);
    ck_assert_ptr_ne(a->group, c->group);
    exchange_remove(world->exchange, a);
    ck_assert_ptr_nonnull(b->group);
    exchange_remove(world->exchange, b);
    world_restart(world);
    ck_assert_uint_eq(slots_count(world->slots), 1);
    ck_assert_ptr_nonnull(slot_find(world->slots, "c")->group);
    end(&cluster, groups);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("jobs");
    TCase *tests = tcase_create("jobs");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_over_before_the_start, 0, 3);
    tcase_add_test(tests, test_cannot_be_seen);
    tcase_add_test(tests, test_group_of_many);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
