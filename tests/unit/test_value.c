// SPDX-License-Identifier: Apache-2.0
/*
 * test_value.c - the values of the configuration: what each type takes and refuses, and that what is printed is read
 * back.
 */
#include "conf_fixture.h"
#include "suite.h"
#include <string.h>

/* The values that each kind refuses: the error is "-o section.key=value: " and this text. */
static const struct {
    const char *key; /* with the = */
    const char *error;
    const char *values[24];
} refused[] = {
    {"arena.capacity=",
     "'%s' is not a size: whole bytes, K, M, G or T, or up to 100%% of the RAM",
     {"-1", "+1G", " 1G", "1G ", "1 G", "1.5G", "1GB", "1GiB", "1P", "G", "%", "KG", "101%", "50%%", "50K%",
      "0x100000", "1\xcb", "auto", "1G\n"}},
    {"arena.capacity=",
     "'%s' is out of range: from 1M to 1048576T",
     {"0", "0%", "1023K", "1048575", "1048577T", "16777216T", "18014398509481985K", "18446744073709551615",
      "18446744073709551616"}},
    {"arena.warm=",
     "'%s' is not a size: whole bytes, K, M, G or T, or up to 100%% of the RAM",
     {"Auto", "1/8", "auto|size", "size"}},
    {"arena.warm=", "'%s' is out of range: from 0 to 1048576T", {"18446744073709551615", "1048577T"}},
    {"mount.root_mode=",
     "'%s' is not an octal mode such as 1777",
     {"0888", "rwx", "-755", "755 ", "0o755", "1777/"}},
    {"mount.root_mode=", "'%s' is out of range: from 0000 to 7777", {"10000", "7777777777777777777777"}},
    {"handshake.wait_timeout=",
     "'%s' is not a number of seconds with up to three decimals",
     {"-1", ".5", "5.", "5.x", "1.2.3", "0.0001", "0.1234", "1,5", "1s", "inf", "1e3", "1.-5", "auto"}},
    {"handshake.wait_timeout=",
     "'%s' is out of range: from 0 to 31536000",
     {"31536000.001", "18446744073709551", "18446744073709551.999", "18446744073709552",
      "99999999999999999999"}},
    {"limits.slots=", "'%s' is out of range: from 1 to 262142", {"0", "262143", "4294967297"}},
    {"limits.slots=", "'%s' is not a whole number", {"1K", "-1", "1.0", "50%"}},
    {"limits.slots_per_user=", "'%s' is out of range: from 1 to 262142", {"0", "262143"}},
    {"mount.allow_other=", "'%s' is not one of auto|yes|no", {"on", "ye", "yess", "yes|no", "|", "YES"}},
    {"arena.kind=", "'%s' is not one of auto|tmpfs|dir|memfd", {"Dir", "mem", "dir "}},
    {"arena.huge_pages=", "'%s' is not one of no|yes", {"1", "auto"}},
    {"handshake.wait=", "'%s' is not one of no|yes", {"0", "never"}},
    {"path.passthrough=", "'%s' is not one of auto|on|off", {"yes", "of"}},
    {"log.level=", "'%s' is not one of error|warning|info|debug", {"warn", "7"}},
    {"arena.path=", "'%s' is not an absolute path", {"arrays", "\"/srv/arrays\"", " /srv", "./a"}},
    {"arena.path=", "a path must not end in a space", {"/srv ", "/ "}},
    {"arena.path=",
     "a path must not have ' ;' or ' #' in it; comments go on a separate line",
     {"/srv ;x", "/srv # x"}},
    {"arena.path=", "a path must not have control characters", {"/srv\tx", "/srv\nwarm = 0", "/\x7f"}},
    {"arena.capacity=", "the value is empty", {""}},
    {"arena.path=", "the value is empty", {""}},
    {"log.level=", "the value is empty", {""}},
    {"arena.size=", "unknown key", {"1G"}},
    {"arena.capacity.x=", "unknown key", {"1G"}},
    {"arena. capacity=", "unknown key", {"1G"}},
    {"arena.=", "unknown key", {"1G"}},
    {"arenas.capacity=", "unknown section", {"1G"}},
    {".capacity=", "unknown section", {"1G"}},
    {"capacity=", "expected section.key=value", {"1G", "1.5G", ""}},
    {"=", "expected section.key=value", {"", "a.b"}},
    {"", "expected section.key=value", {"arena.capacity", "arena", "."}},
};

START_TEST(test_refused)
{
    for (const char *const *value = refused[_i].values; *value != NULL; value++) {
        char assignment[128];
        char reason[256];
        char expected[CONF_ERROR_MAX];
        char error[CONF_ERROR_MAX];
        struct conf conf;
        struct conf before;

        conf_init(&conf);
        before = conf;
        snprintf(assignment, sizeof(assignment), "%s%s", refused[_i].key, *value);
        ck_assert_int_eq(conf_override(&conf, assignment, error), -1);
        snprintf(reason, sizeof(reason), refused[_i].error, *value);
        snprintf(expected, sizeof(expected), "-o %s: %s", assignment, reason);
        for (char *c = expected; *c != '\0'; c++)
            if (*c == '\n' || *c == '\t' || *c == '\x7f')
                *c = '?';
        ck_assert_str_eq(error, expected);
        conf_expect_same(&conf, &before);
    }
}
END_TEST

START_TEST(test_numbers)
{
    const struct {
        const char *assignment;
        uint64_t value;
    } rows[] = {
        {"arena.capacity=1M", 1 << 20},
        {"arena.capacity=1048577", (1 << 20) + 1},
        {"arena.capacity=0002048k", 2 << 20},
        {"arena.capacity=1025K", 1025 << 10},
        {"arena.capacity=3g", 3 * gibibyte},
        {"arena.capacity=1t", gibibyte << 10},
        {"arena.capacity=1048576T", gibibyte << 30},
        {"arena.capacity=100%", conf_ram_bytes()},
        {"arena.capacity=33%", conf_ram_bytes() / 100 * 33 + conf_ram_bytes() % 100 * 33 / 100},
        {"handshake.wait_timeout=0", 0},
        {"handshake.wait_timeout=0.000", 0},
        {"handshake.wait_timeout=0.001", 1},
        {"handshake.wait_timeout=0.02", 20},
        {"handshake.wait_timeout=007.3", 7300},
        {"handshake.wait_timeout=60", 60000},
        {"handshake.wait_timeout=31536000.000", UINT64_C(31536000000)},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct conf conf;

        conf_init(&conf);
        conf_expect_override(&conf, rows[i].assignment);
        ck_assert_uint_eq(rows[i].assignment[0] == 'a' ? conf.capacity : conf.wait_timeout_ms, rows[i].value);
        conf_expect_round_trip(&conf);
    }
}
END_TEST

/* The least and the greatest values of the other kinds. */
START_TEST(test_limits)
{
    char longest[256];
    const char *const rows[] = {"arena.path=/;#=:[x]",  longest,
                                "arena.path=/a=b.c  d", "mount.root_mode=7777",
                                "mount.root_mode=0",    "limits.slots=262142",
                                "limits.slots=1",       "limits.slots_per_user=1",
                                "arena.warm=0",         "limits.bytes_per_user=1"};
    struct conf conf;

    conf_init(&conf);
    conf_expect_override(&conf, "arena.kind=dir");
    snprintf(longest, sizeof(longest), "arena.path=/%0189d", 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        conf_expect_override(&conf, rows[i]);
        if (strchr(rows[i], '/') != NULL)
            ck_assert_str_eq(conf.arena_path, strchr(rows[i], '/'));
        conf_expect_round_trip(&conf);
    }
    ck_assert_uint_eq(conf.root_mode, 0);
    ck_assert_uint_eq(conf.warm, 0);
    ck_assert_uint_eq(conf.slots, 1);
    ck_assert_uint_eq(conf.slots_per_user, 1);
    ck_assert_uint_eq(conf.bytes_per_user, 1);
}
END_TEST

/* Every word of every key can be set, printed and read back. */
START_TEST(test_words)
{
    const struct conf_doc *doc;
    unsigned words = 0;

    for (size_t i = 0; (doc = conf_doc(i)) != NULL; i++) {
        if (strchr(doc->values, '|') == NULL || strcmp(doc->key, "warm") == 0)
            continue;
        for (const char *word = doc->values; word != NULL; words++) {
            int length = (int)strcspn(word, "|");
            char line[128];
            struct conf conf;
            char *text;

            conf_init(&conf);
            snprintf(line, sizeof(line), "%s.%s=%.*s", doc->section, doc->key, length, word);
            conf_expect_override(&conf, line);
            text = conf_printed(&conf);
            snprintf(line, sizeof(line), "\n%s = %.*s\n", doc->key, length, word);
            ck_assert_ptr_nonnull(strstr(text, line));
            free(text);
            word = word[length] == '|' ? word + length + 1 : NULL;
        }
    }
    ck_assert_uint_eq(words, 3 + 4 + 2 + 2 + 3 + 3 + 2 + 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("value");
    TCase *tcase = tcase_create("value");

    tcase_add_loop_test(tcase, test_refused, 0, (int)COUNT(refused));
    tcase_add_test(tcase, test_numbers);
    tcase_add_test(tcase, test_limits);
    tcase_add_test(tcase, test_words);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
