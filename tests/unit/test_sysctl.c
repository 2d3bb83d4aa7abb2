// SPDX-License-Identifier: Apache-2.0
/*
 * test_sysctl.c - the kernel's settings, read below another root.
 */
#include "base/sysctl.h"

#include "suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *wanted; /* NULL: there is no such file */
    const char *most;
    unsigned timeout;
} rows[] = {
    {NULL, NULL, 0},           {"0\n", "0\n", 0},    {"60\n", "0\n", 60}, {"0\n", "100\n", 100},
    {"60\n", "100\n", 60},     {"60\n", "30\n", 30}, {"1\n", "0\n", 15},  {"0\n", "7\n", 15},
    {"65535\n", "0\n", 65535}, {"60\n", NULL, 60},   {NULL, "60\n", 60},  {"", "", 0},
};

static void put(const char *root, const char *name, const char *text)
{
    char path[200];
    FILE *file;

    snprintf(path, sizeof(path), "%s/fs/fuse/%s", root, name);
    unlink(path);
    if (!text)
        return;
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(test_request_timeout)
{
    char root[] = "/tmp/pyrmapfs-sysctl-XXXXXX", path[100];

    ck_assert_ptr_nonnull(mkdtemp(root));
    ck_assert_uint_eq(sysctl_request_timeout(root), 0);
    snprintf(path, sizeof(path), "%s/fs", root);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/fs/fuse", root);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        put(root, "default_request_timeout", rows[i].wanted);
        put(root, "max_request_timeout", rows[i].most);
        ck_assert_uint_eq(sysctl_request_timeout(root), rows[i].timeout);
    }
    put(root, "default_request_timeout", NULL);
    put(root, "max_request_timeout", NULL);
    ck_assert_int_eq(rmdir(path), 0);
    snprintf(path, sizeof(path), "%s/fs", root);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rmdir(root), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sysctl");
    TCase *tests = tcase_create("sysctl");

    tcase_add_test(tests, test_request_timeout);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
