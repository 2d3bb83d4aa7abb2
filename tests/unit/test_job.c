// SPDX-License-Identifier: Apache-2.0
/*
 * test_job.c - the job of a process: its name and its cgroup, in hierarchies that are directories as the kernel's are.
 */
#include "base/job.h"

#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(test_jobs)
{
#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static const struct {
        const char *membership;
        const char *job; /* NULL: none */
    } rows[] = {
        {"0::/\n", NULL},
        {"9:name=systemd:/\n4:memory:/process/1f\n0::/\n", NULL},
        {"0::/user.slice/user-1000.slice/session-3.scope\n", NULL},
        {"0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", NULL},
        {"0::/init.scope", NULL},
        {"0::/system.slice/predict.service\n", "predict.service"},
        {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-u5.scope\n", "run-u5.scope"},
        {"0::/system.slice/outer.service/inner.scope\n", "inner.scope"},
        {"0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0\n", "job_4711"},
        {"5:memory:/slurm/uid_1000/job_42/step_batch\n1:name=systemd:/system.slice/slurmd.service\n0::/\n",
         "job_42"},
        {"0::/system.slice/job_.scope/job_x/job_1x\n", "job_.scope"},
        {"0::/docker/" ID "\n", "container-0123456789ab"},
        {"0::/system.slice/docker-" ID ".scope/init.scope\n", "container-0123456789ab"},
        {"0::/kubepods/pod1/cri-containerd-" ID ".scope\n", "container-0123456789ab"},
        {"0::/docker/" ID "/system.slice/x.service\n", "container-0123456789ab"},
        {"0::/docker/" ID "/job_5/step_1\n", "job_5"},
        {"0::/a name with blanks.service\n", NULL},
        {"0::/" ID ID ".service\n", "container-0123456789ab"},
        {"0::/x"
         "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy.service\n",
         "xyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"},
        {"", NULL},
        {"nonsense", NULL},
    };
    struct job job;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool found = job_find(rows[i].membership, &job);

        ck_assert_msg(found == (rows[i].job != NULL), "%s: %s", rows[i].membership, job.name);
        if (found)
            ck_assert_str_eq(job.name, rows[i].job);
    }
}
END_TEST

/* Up to the component that is the job: steps come and go. */
START_TEST(test_groups)
{
    static const struct {
        const char *membership, *group;
    } rows[] = {
        {"0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0\n",
         ":/system.slice/slurmstepd.scope/job_4711"},
        {"5:memory:/slurm/uid_1000/job_42/step_batch\n1:name=systemd:/system.slice/slurmd.service\n0::/\n",
         "memory:/slurm/uid_1000/job_42"},
        {"7:cpu,cpuacct:/slurm/job_42\n", "cpu,cpuacct:/slurm/job_42"},
        {"0::/docker/" ID "/system.slice/x.service\n", ":/docker/" ID},
        {"0::/" ID ID ID ID "/job_5/x\n", ""}, /* too long to be kept */
        {"0::/user.slice/user-1000.slice/session-3.scope\n", ""},
    };
    struct job job;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        job_find(rows[i].membership, &job);
        ck_assert_str_eq(job.group, rows[i].group);
    }
    ck_assert(job_is_slurms("job_7"));
    ck_assert(!job_is_slurms("job_"));
    ck_assert(!job_is_slurms("job_7.scope"));
    ck_assert(!job_is_slurms("predict.service"));
}
END_TEST

static void make(const char *root, const char *path)
{
    char full[PATH_MAX];
    int fd;

    snprintf(full, sizeof(full), "%s/%s", root, path);
    if (path[strlen(path) - 1] == '/') {
        ck_assert_int_eq(mkdir(full, 0700), 0);
        return;
    }
    fd = open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "0\n", 2), 2);
    close(fd);
}

START_TEST(test_where_a_group_is)
{
    static const char *const paths[] = {"two/", "two/a/", "two/a/cgroup.events",
                                        "one/", "one/b/", "one/b/notify_on_release"};
    char root[] = "/tmp/pyrmapfs-job-XXXXXX", mounts[4 * PATH_MAX], path[PATH_MAX];
    int fds[JOB_HIERARCHIES];
    uint64_t id = 0, other = 0;
    int fd;

    ck_assert_ptr_nonnull(mkdtemp(root));
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        make(root, paths[i]);
    snprintf(mounts, sizeof(mounts),
             "24 1 0:21 / /proc rw - proc proc rw\n"
             "30 24 0:27 / %s/two rw - cgroup2 cgroup2 rw\n"
             "31 24 0:28 / %s/missing rw - cgroup cgroup rw,pids\n"
             "32 24 0:29 /in %s/one rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n",
             root, root, root);
    job_open_hierarchies_of(mounts);
    ck_assert_uint_eq(job_hierarchies(fds), 2);
    fd = job_open_group(":/a", &id);
    ck_assert_int_ge(fd, 0);
    ck_assert(!job_is_over(fd));
    close(fd);
    fd = job_open_group("cpu,cpuacct:/in/b", &other);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_ne(id, other);
    close(fd);
    ck_assert_int_eq(job_open_group(":/gone", &id), -ENOENT);
    ck_assert_int_eq(job_open_group(":/", &id), -EOPNOTSUPP);      /* the root is no job */
    ck_assert_int_eq(job_open_group(":/../a", &id), -EOPNOTSUPP);  /* in another namespace */
    ck_assert_int_eq(job_open_group("cpu:/b", &id), -EOPNOTSUPP);  /* it lies above what is mounted here */
    ck_assert_int_eq(job_open_group("pids:/a", &id), -EOPNOTSUPP); /* not to be seen */
    ck_assert_int_eq(job_open_group("freezer:/a", &id), -EOPNOTSUPP);
    ck_assert_int_eq(job_open_group("nonsense", &id), -EOPNOTSUPP);
    job_open_hierarchies_of("");
    ck_assert_uint_eq(job_hierarchies(fds), 0);
    ck_assert_int_eq(job_open_group(":/a", &id), -EOPNOTSUPP);
    for (size_t i = sizeof(paths) / sizeof(paths[0]); i-- > 0;) {
        snprintf(path, sizeof(path), "%s/%s", root, paths[i]);
        ck_assert_int_eq(remove(path), 0);
    }
    ck_assert_int_eq(rmdir(root), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("job");
    TCase *tests = tcase_create("job");

    tcase_add_test(tests, test_jobs);
    tcase_add_test(tests, test_groups);
    tcase_add_test(tests, test_where_a_group_is);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
