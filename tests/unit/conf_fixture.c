// SPDX-License-Identifier: Apache-2.0
#include "conf_fixture.h"

#include "suite.h"
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

void conf_expect_same(const struct conf *a, const struct conf *b)
{
    ck_assert_int_eq(a->allow_other, b->allow_other);
    ck_assert_uint_eq(a->root_mode, b->root_mode);
    ck_assert_int_eq(a->arena_kind, b->arena_kind);
    ck_assert_str_eq(a->arena_path, b->arena_path);
    ck_assert_uint_eq(a->capacity, b->capacity);
    ck_assert_uint_eq(a->warm, b->warm);
    ck_assert_int_eq(a->huge_pages, b->huge_pages);
    ck_assert_int_eq(a->wait, b->wait);
    ck_assert_uint_eq(a->wait_timeout_ms, b->wait_timeout_ms);
    ck_assert_uint_eq(a->slots, b->slots);
    ck_assert_uint_eq(a->slots_per_user, b->slots_per_user);
    ck_assert_uint_eq(a->bytes_per_user, b->bytes_per_user);
    ck_assert_uint_eq(a->bytes_per_job, b->bytes_per_job);
    ck_assert_int_eq(a->remove_with_job, b->remove_with_job);
    ck_assert_uint_eq(a->open_per_user, b->open_per_user);
    ck_assert_uint_eq(a->memory_per_user, b->memory_per_user);
    ck_assert_int_eq(a->passthrough, b->passthrough);
    ck_assert_int_eq(a->log_level, b->log_level);
}

/* Reads bytes as a file over *conf. Cuts the file's name off the error. */
static int read_bytes(struct conf *conf, const void *bytes, size_t size, char error[CONF_ERROR_MAX])
{
    char path[64];
    int fd = memfd_create("conf", MFD_CLOEXEC);
    int rc = 0;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    memset(error, 'x', CONF_ERROR_MAX);
    rc = conf_read(conf, path, error);
    close(fd);
    if (rc != 0) {
        ck_assert_int_eq(rc, -1);
        ck_assert_ptr_nonnull(memchr(error, '\0', CONF_ERROR_MAX));
        ck_assert_int_eq(strncmp(error, path, strlen(path)), 0);
        memmove(error, error + strlen(path), strlen(error + strlen(path)) + 1);
    }
    return rc;
}

void conf_expect_error(const void *bytes, size_t size, const char *expected)
{
    struct conf conf;
    char error[CONF_ERROR_MAX];

    conf_init(&conf);
    ck_assert_int_eq(read_bytes(&conf, bytes, size, error), -1);
    ck_assert_str_eq(error, expected);
}

void conf_expect_read(struct conf *conf, const void *bytes, size_t size)
{
    char error[CONF_ERROR_MAX];

    conf_init(conf);
    if (read_bytes(conf, bytes, size, error) != 0)
        ck_abort_msg("%s", error);
}

void conf_expect_checked(struct conf *conf)
{
    char error[CONF_ERROR_MAX];

    if (conf_check(conf, error) != 0)
        ck_abort_msg("%s", error);
}

void conf_expect_override(struct conf *conf, const char *assignment)
{
    char error[CONF_ERROR_MAX];

    if (conf_override(conf, assignment, error) != 0)
        ck_abort_msg("%s", error);
}

char *conf_printed(const struct conf *conf)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(out);
    conf_print(conf, out);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

void conf_expect_round_trip(const struct conf *conf)
{
    struct conf checked = *conf;
    struct conf back;
    char *text = conf_printed(conf);

    conf_expect_checked(&checked);
    conf_expect_read(&back, text, strlen(text));
    conf_expect_same(&back, &checked);
    free(text);
}

uint64_t conf_ram_bytes(void)
{
    struct sysinfo info;

    ck_assert_int_eq(sysinfo(&info), 0);
    return (uint64_t)info.totalram * info.mem_unit;
}
