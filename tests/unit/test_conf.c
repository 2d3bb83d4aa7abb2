// SPDX-License-Identifier: Apache-2.0
/*
 * test_conf.c - the configuration: each key, each mistake with its place, and that the documents say what the table
 * says. test_value.c has the values.
 */
#include "conf_fixture.h"
#include "suite.h"
#include <string.h>

START_TEST(test_defaults)
{
    struct conf expected = {.root_mode = 01777,
                            .warm = CONF_WARM_AUTO,
                            .huge_pages = true,
                            .wait = true,
                            .slots = 65536,
                            .slots_per_user = 16384,
                            .open_per_user = 65536,
                            .remove_with_job = CONF_JOBS_SLURM,
                            .memory_per_user = 64 << 20,
                            .log_level = CONF_LOG_INFO};
    struct conf conf;

    conf_init(&conf);
    ck_assert_uint_le(conf.capacity, conf_ram_bytes() / 2);
    ck_assert_uint_ge(conf.capacity, conf_ram_bytes() / 2 - 1);
    expected.capacity = conf.capacity;
    conf_expect_same(&conf, &expected);
    conf_expect_checked(&conf);
    ck_assert_uint_eq(conf.warm, conf.capacity / 8);
}
END_TEST

static const char every_key[] = "[mount]\nallow_other = yes\nroot_mode = 0755\n"
                                "[arena]\nkind = dir\npath = /srv/my arrays;1#2=3:4\n"
                                "capacity = 8G\nwarm = 1000000\nhuge_pages = no\n"
                                "[handshake]\nwait = no\nwait_timeout = 2.05\n"
                                "[limits]\nslots = 100\nslots_per_user = 7\nbytes_per_user = "
                                "3M\nbytes_per_job = 2M\nremove_with_job = all\n"
                                "open_per_user = 16\nmemory_per_user = 5M\n"
                                "[path]\npassthrough = off\n"
                                "[log]\nlevel = debug\n";

static void expect_every_key(const struct conf *conf)
{
    const struct conf expected = {.allow_other = CONF_ON,
                                  .root_mode = 0755,
                                  .arena_kind = CONF_ARENA_DIR,
                                  .arena_path = "/srv/my arrays;1#2=3:4",
                                  .capacity = 8 * gibibyte,
                                  .warm = 1000000,
                                  .huge_pages = false,
                                  .wait = false,
                                  .wait_timeout_ms = 2050,
                                  .slots = 100,
                                  .slots_per_user = 7,
                                  .bytes_per_user = 3 << 20,
                                  .bytes_per_job = 2 << 20,
                                  .remove_with_job = CONF_JOBS_ALL,
                                  .open_per_user = 16,
                                  .memory_per_user = 5 << 20,
                                  .passthrough = CONF_OFF,
                                  .log_level = CONF_LOG_DEBUG};

    conf_expect_same(conf, &expected);
}

/* Then the same file as other editors would save it. */
START_TEST(test_every_key)
{
    struct conf conf;
    char text[2 * sizeof(every_key)] = "\xef\xbb\xbf";
    size_t size = 3;

    conf_expect_read(&conf, every_key, strlen(every_key));
    conf_expect_checked(&conf);
    expect_every_key(&conf);
    conf_expect_round_trip(&conf);
    for (const char *c = every_key; *c != '\0'; c++) {
        if (*c == '\n')
            text[size++] = '\r';
        text[size++] = *c;
    }
    for (size_t missing = 0; missing <= 2; missing++) {
        conf_expect_read(&conf, text, size - missing);
        expect_every_key(&conf);
    }
    conf_expect_read(&conf, text + 3, size - 3);
    expect_every_key(&conf);
}
END_TEST

START_TEST(test_layout)
{
    static const char text[] = "\xef\xbb\xbf# mark\n"
                               "\t; indented comment\n"
                               "  [arena]  ; behind the section\n"
                               "  capacity=2G\n"
                               "\n \t \n"
                               "[limits];tight\n"
                               "slots \t=  3  ; three\n"
                               "  slots_per_user =2\n"
                               "[arena]\n"
                               "warm =\t0\t;none";
    struct conf conf;

    conf_expect_read(&conf, text, strlen(text));
    ck_assert_uint_eq(conf.capacity, 2 * gibibyte);
    ck_assert_uint_eq(conf.slots, 3);
    ck_assert_uint_eq(conf.slots_per_user, 2);
    ck_assert_uint_eq(conf.warm, 0);
    conf_expect_read(&conf, "", 0);
    conf_expect_read(&conf, "\xef\xbb\xbf", 3);
    conf_expect_read(&conf, "\n", 1);
}
END_TEST

static const struct {
    const char *text;
    const char *error;
} mistakes[] = {
    {"[arena]\nsize = 3\n", ":2: unknown key 'size' in [arena]"},
    {"[arena]\nCapacity = 1G\n", ":2: unknown key 'Capacity' in [arena]"},
    {"[mount]\ncapacity = 1G\n", ":2: unknown key 'capacity' in [mount]"},
    {"[arena]\n= 1G\n", ":2: unknown key '' in [arena]"},
    {"# one\n[arenas]\ncapacity = 1G\n", ":2: unknown section [arenas]"},
    {"[arena]\nwarm = 0\n[Arena]", ":3: unknown section [Arena]"},
    {"\xef\xbb\xbf[nope]\n", ":1: unknown section [nope]"},
    {"[]\n", ":1: unknown section []"},
    {"[ arena ]\n", ":1: unknown section [ arena ]"},
    {"\n[arena\ncapacity = 1G\n", ":2: '[arena' has no closing ]"},
    {"[arena ;]\n", ":1: unknown section [arena ;]"},
    {"[arena] capacity = 1G\n", ":1: 'capacity = 1G' behind the section"},
    {"[arena] # comment\n", ":1: '# comment' behind the section"},
    {"[arena]]\n", ":1: ']' behind the section"},
    {"\n\ncapacity = 1G\n[arena]\n", ":3: 'capacity' stands before the first [section]"},
    {"[arena]\ncapacity\n", ":2: neither [section] nor key = value"},
    {"[arena]\ncapacity ; = 1G\n", ":2: neither [section] nor key = value"},
    {"[log]\nlevel = info\n  debug\n", ":3: neither [section] nor key = value"},
    {"[log]\nlevel = info\n  x = debug\n", ":3: unknown key 'x' in [log]"},
    {"[arena]\nwarm = 1\n[log]\n[arena]\nwarm = 1\n", ":5: arena.warm is already set on line 2"},
    {"[arena]\ncapacity: 1G\n", ":2: a colon behind 'capacity': write key = value"},
    {"[arena]\ncapacity : 1G\n", ":2: a colon behind 'capacity ': write key = value"},
    {"[arena]\ncapacity:= 1G\n", ":2: a colon behind 'capacity': write key = value"},
    {"[arena]\n: 1G\n", ":2: a colon behind '': write key = value"},
    {"[arena]\ncapacity = : 1G\n",
     ":2: arena.capacity: ': 1G' is not a size: whole bytes, K, M, G or T, or up to 100% of the RAM"},
    {"[arena]\ncapacity =\n", ":2: arena.capacity: the value is empty"},
    {"[arena]\ncapacity = ; none\n", ":2: arena.capacity: the value is empty"},
    {"[arena]\npath =\n", ":2: arena.path: the value is empty"},
    {"[log]\nlevel = loud\nlevel = info\n[x]\n",
     ":2: log.level: 'loud' is not one of error|warning|info|debug"},
    {"[log]\nlevel\nlevel = loud\n[x]\n", ":2: neither [section] nor key = value"},
    {"[log]\nlevel = info # noise\n", ":2: log.level: 'info # noise' is not one of error|warning|info|debug"},
    {"[log]\r\nlevel = a\rb\r\n", ":2: control character 0x0d in the line"},
    {"# old\r[log]\rlevel = debug\r", ":1: control character 0x0d in the line"},
    {"[log]\n# \x1b[2J\n", ":2: control character 0x1b in the line"},
    {"[log]\nlevel = info\x7f\n", ":2: control character 0x7f in the line"},
    {"[limits]\nslots = 3;three\n", ":2: limits.slots: '3;three' is not a whole number"},
    {"\n\xef\xbb\xbf[log]\n", ":2: neither [section] nor key = value"},
};

START_TEST(test_mistake)
{
    conf_expect_error(mistakes[_i].text, strlen(mistakes[_i].text), mistakes[_i].error);
}
END_TEST

START_TEST(test_not_text)
{
    static const char utf16[] = "\xff\xfe[\0l\0o\0g\0]\0\n";
    static const char tail[] = "[log]\nlevel = info\0 and more\n";
    char *big = malloc(65537);

    conf_expect_error(utf16, sizeof(utf16) - 1, ":1: control character 0x00 in the line");
    conf_expect_error(tail, sizeof(tail) - 1, ":2: control character 0x00 in the line");
    memset(big, '\n', 65537);
    conf_expect_error(big, 65537, ": more than 65536 bytes: this is no configuration file");
    memcpy(big + 65536 - 6, "[nono]", 6);
    conf_expect_error(big, 65536, ":65531: unknown section [nono]");
    free(big);
}
END_TEST

/* inih would cut such a line in two and read the rest as another key. */
START_TEST(test_long_lines)
{
    static const struct {
        const char *format;
        const char *error;
    } rows[] = {
        {"[arena]\npath = %.190s\n", NULL},
        {"[arena]\n   path = %.190s  \r\n", NULL},
        {"[arena]\npath = %.190s   \n", ":2: a line of 200 bytes is longer than 199"},
        {"[arena]\npath = %.191s\n", ":2: arena.path: a path of 191 bytes is longer than 190"},
        {"[arena]\npath = %.300s\nwarm = x\n", ":2: a line of 307 bytes is longer than 199"},
        {"# %1$.300s capacity = x\n[arena]\npath = %1$.190s", NULL},
        {"[%.190s]\n", ":1: unknown section [/00000000000000000000000000000000000000000000000000000000000]"},
    };
    char path[301];
    char text[1024];

    snprintf(path, sizeof(path), "/%0299d", 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct conf conf;

        snprintf(text, sizeof(text), rows[i].format, path);
        if (rows[i].error != NULL) {
            conf_expect_error(text, strlen(text), rows[i].error);
            continue;
        }
        conf_expect_read(&conf, text, strlen(text));
        ck_assert_uint_eq(strlen(conf.arena_path), 190);
    }
}
END_TEST

START_TEST(test_unreadable)
{
    struct conf conf;
    char error[CONF_ERROR_MAX];
    char path[1024];

    conf_init(&conf);
    ck_assert_int_eq(conf_read(&conf, "/nonexistent/file", error), -1);
    ck_assert_str_eq(error, "/nonexistent/file: No such file or directory");
    ck_assert_int_eq(conf_read(&conf, "/", error), -1);
    ck_assert_str_eq(error, "/: Is a directory");
    ck_assert_int_eq(conf_read(&conf, "/dev/zero", error), -1);
    ck_assert_str_eq(error, "/dev/zero: more than 65536 bytes: this is no configuration file");
    memset(path, 'x', sizeof(path));
    path[1] = '\n';
    path[sizeof(path) - 1] = '\0';
    ck_assert_int_eq(conf_read(&conf, path, error), -1);
    ck_assert_ptr_nonnull(strstr(error, ": File name too long"));
    ck_assert_ptr_null(strchr(error, '\n'));
}
END_TEST

START_TEST(test_warm_follows)
{
    static const char text[] = "[arena]\nwarm = 2G\ncapacity = 16G\n";
    char error[CONF_ERROR_MAX];
    struct conf conf;

    conf_init(&conf);
    conf_expect_override(&conf, "arena.capacity=64M");
    conf_expect_checked(&conf);
    ck_assert_uint_eq(conf.warm, 8 << 20);
    conf_expect_read(&conf, text, strlen(text));
    conf_expect_override(&conf, "arena.capacity=4G");
    conf_expect_checked(&conf);
    ck_assert_uint_eq(conf.warm, 2 * gibibyte);
    conf_expect_override(&conf, "arena.capacity=1G");
    ck_assert_int_eq(conf_check(&conf, error), -1);
    ck_assert_str_eq(error, "arena.warm (2147483648 bytes) is more than arena.capacity (1073741824 bytes)");
    conf_expect_override(&conf, "arena.warm=auto");
    conf_expect_checked(&conf);
    ck_assert_uint_eq(conf.warm, gibibyte / 8);
    conf_expect_override(&conf, "arena.warm=1G");
    conf_expect_checked(&conf);
}
END_TEST

START_TEST(test_check_path)
{
    char error[CONF_ERROR_MAX];
    struct conf conf;

    conf_init(&conf);
    conf_expect_override(&conf, "arena.kind=dir");
    ck_assert_int_eq(conf_check(&conf, error), -1);
    ck_assert_str_eq(error, "arena.kind = dir needs arena.path");
    conf_expect_override(&conf, "arena.path=/srv/arrays");
    conf_expect_checked(&conf);
    conf_expect_override(&conf, "arena.kind=memfd");
    conf_expect_checked(&conf);
    conf_expect_override(&conf, "arena.kind=auto");
    ck_assert_int_eq(conf_check(&conf, error), -1);
    ck_assert_str_eq(error, "arena.path has no effect with arena.kind = auto: set arena.kind = dir");
}
END_TEST

/* Before conf_check the size of the warm pool is open, but conf_print prints what it will be. */
START_TEST(test_print_unchecked)
{
    struct conf conf;
    char *text;

    conf_init(&conf);
    conf_expect_override(&conf, "arena.capacity=8G");
    text = conf_printed(&conf);
    ck_assert_ptr_nonnull(strstr(text, "\ncapacity = 8G\nwarm = 1G\n"));
    ck_assert_ptr_nonnull(strstr(text, "[mount]\nallow_other = auto\nroot_mode = 1777\n\n[arena]\n"));
    ck_assert_ptr_nonnull(strstr(text, "\n#path =\n"));
    free(text);
}
END_TEST

/* Tests run in the root of the source tree. */
static char *source(const char *path)
{
    char *text = calloc(1, 65536);
    FILE *file = fopen(path, "re");

    if (file == NULL)
        ck_abort_msg("%s is not there: tests run in the root of the source tree", path);
    ck_assert_uint_lt(fread(text, 1, 65535, file), 65535);
    fclose(file);
    return text;
}

static unsigned occurrences(const char *text, const char *part)
{
    unsigned count = 0;

    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void expect_part(const char *path, const char *text, const char *part)
{
    if (occurrences(text, part) != 1)
        ck_abort_msg("%s does not have, once, what the table says:\n%s", path, part);
}

static char held[4 * CONF_ERROR_MAX];

static void note_held(const char *line)
{
    strcat(strcat(held, line), "\n");
}

/* What a reload may change and what not. */
START_TEST(test_hold)
{
    struct conf in_effect, conf;

    conf_init(&in_effect);
    conf_expect_override(&in_effect, "arena.capacity=8G");
    conf_expect_override(&in_effect, "arena.kind=dir");
    conf_expect_override(&in_effect, "arena.path=/srv/arena");
    conf_init(&conf);
    conf_expect_override(&conf, "arena.capacity=8G");
    conf_expect_override(&conf, "arena.kind=dir");
    conf_expect_override(&conf, "arena.path=/srv/other");
    conf_expect_override(&conf, "limits.slots=7");
    conf_expect_override(&conf, "limits.slots_per_user=3");
    conf_expect_override(&conf, "handshake.wait_timeout=1.5");
    conf_hold(&conf, &in_effect, note_held);
    ck_assert_str_eq(held,
                     "arena.path = /srv/other needs another start of the mount; until then it is /srv/arena\n"
                     "limits.slots = 7 needs another start of the mount; until then it is 65536\n");
    ck_assert_uint_eq(conf.slots_per_user, 3);
    ck_assert_uint_eq(conf.wait_timeout_ms, 1500);
    conf.slots_per_user = in_effect.slots_per_user;
    conf.wait_timeout_ms = in_effect.wait_timeout_ms;
    conf_expect_same(&conf, &in_effect);
}
END_TEST

START_TEST(test_file)
{
    static const char path[] = "conf/pyrmapfs.conf";
    char *text = source(path);
    struct conf conf;
    struct conf defaults;

    conf_init(&defaults);
    conf_expect_read(&conf, text, strlen(text));
    conf_expect_same(&conf, &defaults);
    free(text);
}
END_TEST

/* mandoc must not take any line of the texts for a request. */
START_TEST(test_manual)
{
    const struct conf_doc *doc;

    for (size_t i = 0; (doc = conf_doc(i)) != NULL; i++) {
        ck_assert_int_ne(doc->text[0], '.');
        ck_assert_ptr_null(strstr(doc->text, "\n."));
        ck_assert_ptr_null(strchr(doc->text, '\\'));
    }
}
END_TEST

START_TEST(test_help)
{
    const struct conf_doc *doc;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    unsigned lines = 0;

    conf_print_help(out);
    ck_assert_int_eq(fclose(out), 0);
    for (; (doc = conf_doc(lines)) != NULL; lines++) {
        char part[128];

        snprintf(part, sizeof(part), "  %s.%s=%s ", doc->section, doc->key, doc->fallback);
        expect_part("--help", text, part);
        expect_part("--help", text, doc->help);
    }
    ck_assert_uint_eq(occurrences(text, "\n"), lines);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conf");
    TCase *tcase = tcase_create("conf");

    tcase_add_test(tcase, test_defaults);
    tcase_add_test(tcase, test_every_key);
    tcase_add_test(tcase, test_layout);
    tcase_add_loop_test(tcase, test_mistake, 0, (int)COUNT(mistakes));
    tcase_add_test(tcase, test_not_text);
    tcase_add_test(tcase, test_long_lines);
    tcase_add_test(tcase, test_unreadable);
    tcase_add_test(tcase, test_warm_follows);
    tcase_add_test(tcase, test_check_path);
    tcase_add_test(tcase, test_print_unchecked);
    tcase_add_test(tcase, test_hold);
    tcase_add_test(tcase, test_file);
    tcase_add_test(tcase, test_manual);
    tcase_add_test(tcase, test_help);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
