// SPDX-License-Identifier: Apache-2.0
/*
 * test_conf.c - the configuration: each type of value, each mistake with its place, and that the documents
 * say what the table says.
 */
#include "conf.h"
#include "suite.h"
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint64_t gibibyte = UINT64_C(1) << 30;

static void expect_same(const struct conf *a, const struct conf *b)
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

static void expect_error(const void *bytes, size_t size, const char *expected)
{
    struct conf conf;
    char error[CONF_ERROR_MAX];

    conf_init(&conf);
    ck_assert_int_eq(read_bytes(&conf, bytes, size, error), -1);
    ck_assert_str_eq(error, expected);
}

static void expect_read(struct conf *conf, const void *bytes, size_t size)
{
    char error[CONF_ERROR_MAX];

    conf_init(conf);
    if (read_bytes(conf, bytes, size, error) != 0)
        ck_abort_msg("%s", error);
}

static void expect_checked(struct conf *conf)
{
    char error[CONF_ERROR_MAX];

    if (conf_check(conf, error) != 0)
        ck_abort_msg("%s", error);
}

static void expect_override(struct conf *conf, const char *assignment)
{
    char error[CONF_ERROR_MAX];

    if (conf_override(conf, assignment, error) != 0)
        ck_abort_msg("%s", error);
}

static char *printed(const struct conf *conf)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(out);
    conf_print(conf, out);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

/* Expects that what conf_print prints reads back as *conf will be after conf_check. */
static void expect_round_trip(const struct conf *conf)
{
    struct conf checked = *conf;
    struct conf back;
    char *text = printed(conf);

    expect_checked(&checked);
    expect_read(&back, text, strlen(text));
    expect_same(&back, &checked);
    free(text);
}

static uint64_t ram_bytes(void)
{
    struct sysinfo info;

    ck_assert_int_eq(sysinfo(&info), 0);
    return (uint64_t)info.totalram * info.mem_unit;
}

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
    ck_assert_uint_le(conf.capacity, ram_bytes() / 2);
    ck_assert_uint_ge(conf.capacity, ram_bytes() / 2 - 1);
    expected.capacity = conf.capacity;
    expect_same(&conf, &expected);
    expect_checked(&conf);
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

    expect_same(conf, &expected);
}

/* Then the same file as other editors would save it. */
START_TEST(test_every_key)
{
    struct conf conf;
    char text[2 * sizeof(every_key)] = "\xef\xbb\xbf";
    size_t size = 3;

    expect_read(&conf, every_key, strlen(every_key));
    expect_checked(&conf);
    expect_every_key(&conf);
    expect_round_trip(&conf);
    for (const char *c = every_key; *c != '\0'; c++) {
        if (*c == '\n')
            text[size++] = '\r';
        text[size++] = *c;
    }
    for (size_t missing = 0; missing <= 2; missing++) {
        expect_read(&conf, text, size - missing);
        expect_every_key(&conf);
    }
    expect_read(&conf, text + 3, size - 3);
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

    expect_read(&conf, text, strlen(text));
    ck_assert_uint_eq(conf.capacity, 2 * gibibyte);
    ck_assert_uint_eq(conf.slots, 3);
    ck_assert_uint_eq(conf.slots_per_user, 2);
    ck_assert_uint_eq(conf.warm, 0);
    expect_read(&conf, "", 0);
    expect_read(&conf, "\xef\xbb\xbf", 3);
    expect_read(&conf, "\n", 1);
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
    expect_error(mistakes[_i].text, strlen(mistakes[_i].text), mistakes[_i].error);
}
END_TEST

START_TEST(test_not_text)
{
    static const char utf16[] = "\xff\xfe[\0l\0o\0g\0]\0\n";
    static const char tail[] = "[log]\nlevel = info\0 and more\n";
    char *big = malloc(65537);

    expect_error(utf16, sizeof(utf16) - 1, ":1: control character 0x00 in the line");
    expect_error(tail, sizeof(tail) - 1, ":2: control character 0x00 in the line");
    memset(big, '\n', 65537);
    expect_error(big, 65537, ": more than 65536 bytes: this is no configuration file");
    memcpy(big + 65536 - 6, "[nono]", 6);
    expect_error(big, 65536, ":65531: unknown section [nono]");
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
            expect_error(text, strlen(text), rows[i].error);
            continue;
        }
        expect_read(&conf, text, strlen(text));
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
        expect_same(&conf, &before);
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
        {"arena.capacity=100%", ram_bytes()},
        {"arena.capacity=33%", ram_bytes() / 100 * 33 + ram_bytes() % 100 * 33 / 100},
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
        expect_override(&conf, rows[i].assignment);
        ck_assert_uint_eq(rows[i].assignment[0] == 'a' ? conf.capacity : conf.wait_timeout_ms, rows[i].value);
        expect_round_trip(&conf);
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
    expect_override(&conf, "arena.kind=dir");
    snprintf(longest, sizeof(longest), "arena.path=/%0189d", 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        expect_override(&conf, rows[i]);
        if (strchr(rows[i], '/') != NULL)
            ck_assert_str_eq(conf.arena_path, strchr(rows[i], '/'));
        expect_round_trip(&conf);
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
            expect_override(&conf, line);
            text = printed(&conf);
            snprintf(line, sizeof(line), "\n%s = %.*s\n", doc->key, length, word);
            ck_assert_ptr_nonnull(strstr(text, line));
            free(text);
            word = word[length] == '|' ? word + length + 1 : NULL;
        }
    }
    ck_assert_uint_eq(words, 3 + 4 + 2 + 2 + 3 + 3 + 2 + 4);
}
END_TEST

START_TEST(test_warm_follows)
{
    static const char text[] = "[arena]\nwarm = 2G\ncapacity = 16G\n";
    char error[CONF_ERROR_MAX];
    struct conf conf;

    conf_init(&conf);
    expect_override(&conf, "arena.capacity=64M");
    expect_checked(&conf);
    ck_assert_uint_eq(conf.warm, 8 << 20);
    expect_read(&conf, text, strlen(text));
    expect_override(&conf, "arena.capacity=4G");
    expect_checked(&conf);
    ck_assert_uint_eq(conf.warm, 2 * gibibyte);
    expect_override(&conf, "arena.capacity=1G");
    ck_assert_int_eq(conf_check(&conf, error), -1);
    ck_assert_str_eq(error, "arena.warm (2147483648 bytes) is more than arena.capacity (1073741824 bytes)");
    expect_override(&conf, "arena.warm=auto");
    expect_checked(&conf);
    ck_assert_uint_eq(conf.warm, gibibyte / 8);
    expect_override(&conf, "arena.warm=1G");
    expect_checked(&conf);
}
END_TEST

START_TEST(test_check_path)
{
    char error[CONF_ERROR_MAX];
    struct conf conf;

    conf_init(&conf);
    expect_override(&conf, "arena.kind=dir");
    ck_assert_int_eq(conf_check(&conf, error), -1);
    ck_assert_str_eq(error, "arena.kind = dir needs arena.path");
    expect_override(&conf, "arena.path=/srv/arrays");
    expect_checked(&conf);
    expect_override(&conf, "arena.kind=memfd");
    expect_checked(&conf);
    expect_override(&conf, "arena.kind=auto");
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
    expect_override(&conf, "arena.capacity=8G");
    text = printed(&conf);
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
    expect_override(&in_effect, "arena.capacity=8G");
    expect_override(&in_effect, "arena.kind=dir");
    expect_override(&in_effect, "arena.path=/srv/arena");
    conf_init(&conf);
    expect_override(&conf, "arena.capacity=8G");
    expect_override(&conf, "arena.kind=dir");
    expect_override(&conf, "arena.path=/srv/other");
    expect_override(&conf, "limits.slots=7");
    expect_override(&conf, "limits.slots_per_user=3");
    expect_override(&conf, "handshake.wait_timeout=1.5");
    conf_hold(&conf, &in_effect, note_held);
    ck_assert_str_eq(held,
                     "arena.path = /srv/other needs another start of the mount; until then it is /srv/arena\n"
                     "limits.slots = 7 needs another start of the mount; until then it is 65536\n");
    ck_assert_uint_eq(conf.slots_per_user, 3);
    ck_assert_uint_eq(conf.wait_timeout_ms, 1500);
    conf.slots_per_user = in_effect.slots_per_user;
    conf.wait_timeout_ms = in_effect.wait_timeout_ms;
    expect_same(&conf, &in_effect);
}
END_TEST

START_TEST(test_file)
{
    static const char path[] = "conf/pyrmapfs.conf";
    char *text = source(path);
    struct conf conf;
    struct conf defaults;

    conf_init(&defaults);
    expect_read(&conf, text, strlen(text));
    expect_same(&conf, &defaults);
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
    tcase_add_loop_test(tcase, test_refused, 0, (int)COUNT(refused));
    tcase_add_test(tcase, test_numbers);
    tcase_add_test(tcase, test_limits);
    tcase_add_test(tcase, test_words);
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
