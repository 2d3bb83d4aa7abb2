// SPDX-License-Identifier: Apache-2.0
/*
 * test_cgroup.c - the memory cgroup: where it is, what it allows, and what of that is left.
 */
#include "base/cgroup.h"

#include "suite.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static const char mounts_v2[] = "24 1 0:21 / /proc rw - proc proc rw\n"
                                "30 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
static const char mounts_hybrid[] =
    "31 24 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 24 0:29 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
    "33 24 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
static const char mounts_container[] = "40 24 0:27 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";

START_TEST(test_where)
{
    static const struct {
        const char *membership, *mounts;
        const char *path; /* NULL: not to be found */
        unsigned levels;
        bool is_v2;
    } rows[] = {
        {"0::/\n", mounts_v2, "/sys/fs/cgroup", 1, true},
        {"0::/system.slice/pyrmapfs.service\n", mounts_v2, "/sys/fs/cgroup/system.slice/pyrmapfs.service", 3,
         true},
        {"9:name=systemd:/\n4:memory:/job_7/step_0\n0::/\n", mounts_hybrid,
         "/sys/fs/cgroup/memory/job_7/step_0", 3, false},
        {"1:cpu,memory,io:/a\n", mounts_hybrid, "/sys/fs/cgroup/memory/a", 2, false},
        {"1:memoryless:/a\n0::/b\n", mounts_hybrid, "/sys/fs/cgroup/unified/b", 2, true},
        {"0::/docker/abc\n", mounts_container, "/sys/fs/cgroup", 1, true},
        {"0::/docker/abc/x", mounts_container, "/sys/fs/cgroup/x", 2, true},
        {"0::/docker/abcd\n", mounts_container, NULL, 0, true},
        {"0::/../other\n", mounts_v2, NULL, 0, true},
        {"4:memory:/a\n", mounts_v2, NULL, 0, false},
        {"0::/a\n", "", NULL, 0, true},
        {"", mounts_v2, NULL, 0, true},
    };
    struct cgroup_place place;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool found = cgroup_find(rows[i].membership, rows[i].mounts, &place);

        ck_assert_msg(found == (rows[i].path != NULL), "row %zu", i);
        if (!found)
            continue;
        ck_assert_str_eq(place.path, rows[i].path);
        ck_assert_uint_eq(place.levels, rows[i].levels);
        ck_assert(place.is_v2 == rows[i].is_v2);
    }
}
END_TEST

static void store(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

/* Removes a directory of those files. */
static void clear(const char *folder)
{
    static const char *const names[] = {"memory.max", "memory.current", "memory.stat"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        ck_assert_int_eq(unlink(path), 0);
    }
    ck_assert_int_eq(rmdir(folder), 0);
}

/* A tree of files as the kernel has them: the numbers decide, at the moment of the question. */
START_TEST(test_what_is_left)
{
    char root[] = "/tmp/pyrmapfs-cgroup-XXXXXX", inner[PATH_MAX];
    struct cgroup_place place = {.levels = 2, .is_v2 = true};

    ck_assert_uint_eq(cgroup_limit(), UINT64_MAX);
    ck_assert(cgroup_spares(UINT64_MAX));
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(inner, sizeof(inner), "%s/inner", root);
    ck_assert_int_eq(mkdir(inner, 0700), 0);
    store(root, "memory.max", "268435456\n");
    store(root, "memory.current", "0\n");
    store(root, "memory.stat", "inactive_file 0\n");
    store(inner, "memory.max", "max\n");
    store(inner, "memory.current", "104857600\n");
    store(inner, "memory.stat", "anon 5\ninactive_file 10485760\nactive_file 7\n");
    snprintf(place.path, sizeof(place.path), "%s", inner);
    cgroup_open_place(&place);
    ck_assert_uint_eq(cgroup_limit(), (uint64_t)256 * MIB);
    ck_assert(cgroup_spares((uint64_t)240 * MIB));
    ck_assert(!cgroup_spares((uint64_t)241 * MIB)); /* a sixteenth stays free */
    ck_assert(!cgroup_spares(UINT64_MAX));
    /* 100 used, of which 10 are given back; and 8 stay free of a small limit. */
    store(inner, "memory.max", "134217728\n");
    ck_assert_uint_eq(cgroup_limit(), (uint64_t)128 * MIB);
    ck_assert(cgroup_spares((uint64_t)30 * MIB));
    ck_assert(!cgroup_spares((uint64_t)31 * MIB));
    store(root, "memory.current", "267386880\n");
    ck_assert(!cgroup_spares(0));
    cgroup_close();
    ck_assert_uint_eq(cgroup_limit(), UINT64_MAX);
    clear(inner);
    clear(root);
}
END_TEST

START_TEST(test_of_this_process)
{
    cgroup_open();
    ck_assert_uint_gt(cgroup_limit(), (uint64_t)16 * MIB);
    ck_assert(cgroup_spares(4096));
    cgroup_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cgroup");
    TCase *tests = tcase_create("cgroup");

    tcase_add_test(tests, test_where);
    tcase_add_test(tests, test_what_is_left);
    tcase_add_test(tests, test_of_this_process);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
