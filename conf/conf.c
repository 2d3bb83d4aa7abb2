// SPDX-License-Identifier: Apache-2.0
/*
 * conf.c - the table of keys, and everything that is driven by it.
 *
 * inih splits the lines into section, key and value. The reader that feeds it (next_line) refuses what inih
 * would let pass: lines that it would cut in two, indented lines that it would append to the previous value,
 * text behind a section, sections without keys, control characters. inih goes on after an error, so the
 * reader also ends the input at the first one.
 */
#include "conf.h"
#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/sysinfo.h>

/*
 * SLOTS_MOST is digits only, because the documentation quotes it. "path = " and a path must fit the 199 bytes
 * that inih takes, or it could not read conf_print's output.
 */
#define SLOTS_MOST     262142 /* what a nodeid of the filesystem has room for */
#define PATH_MOST      190
#define CAPACITY_LEAST (UINT64_C(1) << 20)
#define SIZE_MOST      (UINT64_C(1) << 60)
#define WAIT_MOST_MS   (UINT64_C(365) * 24 * 3600 * MS_PER_SECOND)
#define OPEN_LEAST     16
#define OPEN_MOST      16777216
#define QUOTE(macro)   QUOTE_(macro)
#define QUOTE_(text)   #text

enum { FILE_MOST = 1 << 16, VALUE_TEXT_MAX = 32, MS_PER_SECOND = 1000 };

static_assert(PATH_MOST < PATH_MAX, "struct conf has room for the longest path");

static const char SUFFIXES[] = "KMGT";

enum key_type {
    KEY_WORD, /* one of values, stored as its index there, which is the enum's number */
    KEY_MODE,
    KEY_SIZE,
    KEY_AUTO_SIZE, /* a size, or `auto` stored as CONF_WARM_AUTO */
    KEY_SECONDS,   /* stored in milliseconds */
    KEY_NUMBER,
    KEY_PATH,
};

struct key {
    struct conf_doc doc;
    enum key_type type;
    bool live;    /* see conf_is_live */
    uint64_t min; /* as stored; of a path its length */
    uint64_t max;
    size_t offset; /* where struct conf has it */
    size_t size;
};

#define FIELD(field) .offset = offsetof(struct conf, field), .size = sizeof(((struct conf *)NULL)->field)

static const struct key KEYS[] = {
    {{"mount", "allow_other", "auto|yes|no", "auto", "let users other than the mounting one use the mount",
      "Whether users other than the one who mounts may use the mount.\n"
      "auto is yes for root and no for everybody else.\n"
      "Without root, yes needs the line user_allow_other in /etc/fuse.conf.\n"},
     .type = KEY_WORD,
     FIELD(allow_other)},
    {{"mount", "root_mode", "mode", "1777", "permissions of the mount's root directory, octal",
      "The permissions of the root directory of the mount, in octal.\n"
      "The default is that of /tmp: everybody makes slots and removes only their own.\n"},
     .type = KEY_MODE,
     .max = 07777,
     FIELD(root_mode)},
    {{"arena", "kind", "auto|tmpfs|dir|memfd", "auto", "where the arrays live",
      "Where the arrays live.\n"
      "tmpfs: a private tmpfs that the daemon mounts for itself; it needs root.\n"
      "dir: files below path, for exchanges that must survive a reboot.\n"
      "memfd: anonymous memory, which needs no privileges.\n"
      "auto is tmpfs for root and memfd for everybody else.\n"},
     .type = KEY_WORD,
     FIELD(arena_kind)},
    {{"arena", "path", "path", "", "directory of the arrays if kind is dir",
      "The directory of the arrays: an absolute path of up to " QUOTE(
          PATH_MOST) " bytes.\n"
                     "kind = dir needs it; tmpfs and memfd ignore it.\n"
                     "It must not lie below the mount point, which would hide it.\n"
                     "With kind = auto it is an error, because it would have no effect.\n"},
     .type = KEY_PATH,
     .max = PATH_MOST,
     FIELD(arena_path)},
    {{"arena", "capacity", "size", "50%", "bytes that all arrays together may take",
      "How much all arrays together may take, at least 1M.\n"
      "% is of the machine's memory, or of what the daemon's memory cgroup may have if that is less.\n"
      "What does not fit is refused with ENOSPC when a file is given its size.\n"},
     .type = KEY_SIZE,
     .min = CAPACITY_LEAST,
     .max = SIZE_MOST,
     FIELD(capacity)},
    {{"arena", "warm", "auto|size", "auto", "freed memory kept ready for the next array",
      "How much freed memory is zeroed and kept ready for the next array.\n"
      "It is a part of the capacity; 0 gives all freed memory back at once.\n"
      "auto is one eighth of the capacity.\n"},
     .type = KEY_AUTO_SIZE,
     .max = SIZE_MOST,
     FIELD(warm)},
    {{"arena", "huge_pages", "no|yes", "yes", "ask for huge pages",
      "Whether to ask for huge pages, which make first writes and reads faster.\n"
      "In an arena of kind memfd it takes Linux 6.1, and a client that maps at a multiple of 2 MiB.\n"},
     .type = KEY_WORD,
     FIELD(huge_pages)},
    {{"handshake", "wait", "no|yes", "yes", "let an open wait for its turn",
      "Whether an open of data.bin or result.bin that comes too early waits for its turn.\n"
      "no answers it with EAGAIN at once, as if it had O_NONBLOCK: for machines where\n"
      "crawlers (tar, grep -r, scanners) walk the mount.\n"},
     .type = KEY_WORD,
     FIELD(wait),
     .live = true},
    {{"handshake", "wait_timeout", "seconds", "0", "how long a request waits for a peer; 0: for ever",
      "How many seconds a request waits for another process: an open for its turn,\n"
      "a publish for a follower.\n"
      "Waiting for the disk has no limit.\n"
      "Up to three decimals are taken: 2.5 is two and a half seconds.\n"
      "After that time it fails with ETIMEDOUT; 0 waits for ever.\n"},
     .type = KEY_SECONDS,
     .max = WAIT_MOST_MS,
     FIELD(wait_timeout_ms),
     .live = true},
    {{"limits", "slots", "number", "65536", "slots in all",
      "The most slots in all, from 1 to " QUOTE(SLOTS_MOST) ".\n"},
     .type = KEY_NUMBER,
     .min = 1,
     .max = SLOTS_MOST,
     FIELD(slots)},
    {{"limits", "slots_per_user", "number", "16384", "slots of one user",
      "The most slots that one user may have, from 1 to " QUOTE(SLOTS_MOST) ".\n"},
     .type = KEY_NUMBER,
     .min = 1,
     .max = SLOTS_MOST,
     FIELD(slots_per_user),
     .live = true},
    {{"limits", "bytes_per_user", "size", "0", "bytes of one user's slots; 0: no limit",
      "How much the slots of one user may take; more is refused with EDQUOT.\n"
      "Arrays, texts and record pages count, and so do arrays of earlier rounds that are still mapped.\n"
      "0 sets no limit but the capacity.\n"},
     .type = KEY_SIZE,
     .max = SIZE_MOST,
     FIELD(bytes_per_user),
     .live = true},
    {{"limits", "bytes_per_job", "size", "0", "bytes of the slots made in one job; 0: no limit",
      "How much the slots that were made in one job may take, whoever owns them.\n"
      "More is refused with EDQUOT.\n"
      "A job is Slurm's job_N, a container, or a service or scope of systemd: see job in metadata.txt.\n"
      "What a login session makes counts for its user only.\n"
      "The same bytes count as for bytes_per_user; 0 sets no limit.\n"},
     .type = KEY_SIZE,
     .max = SIZE_MOST,
     FIELD(bytes_per_job),
     .live = true},
    {{"limits", "remove_with_job", "no|slurm|all", "slurm", "remove the slots of jobs that are over",
      "Whether the slots that were made in a job are removed when the job is over: when its cgroup\n"
      "is gone, of which the daemon learns within a second or two.\n"
      "slurm: those of Slurm's jobs, so that a cluster needs no epilog.\n"
      "all: also those of containers and of systemd's services and scopes, which may start again.\n"
      "Slots that a login session has made stay in any case.\n"},
     .type = KEY_WORD,
     FIELD(remove_with_job),
     .live = true},
    {{"limits", "open_per_user", "number", "65536", "files that one user may have open",
      "How many files one user may have open at a time, from 16 to 16777216; more is refused with EMFILE.\n"
      "An open that waits for its turn counts, and with kind = memfd an array of an earlier\n"
      "round that a process still maps. root may have any number.\n"},
     .type = KEY_NUMBER,
     .min = OPEN_LEAST,
     .max = OPEN_MOST,
     FIELD(open_per_user),
     .live = true},
    {{"limits", "memory_per_user", "size", "64M",
      "memory of the daemon for one user's open texts; 0: no limit",
      "How much memory the daemon keeps for one user: texts that are open, such as\n"
      "metadata.txt and .pyrmap/graph, and writes that wait; more is refused with EDQUOT.\n"
      "A text counts once, however often it is open. root may have any amount; 0 sets no limit.\n"},
     .type = KEY_SIZE,
     .max = SIZE_MOST,
     FIELD(memory_per_user),
     .live = true},
    {{"path", "passthrough", "auto|on|off", "auto", "let the kernel read and write arrays without the daemon",
      "Whether the kernel goes straight to the pages of an array (FUSE passthrough).\n"
      "It needs root (CAP_SYS_ADMIN) and Linux 6.9.\n"
      "auto uses it where it works; on refuses to mount where it does not.\n"
      "off takes links, as on a kernel that has none.\n"},
     .type = KEY_WORD,
     FIELD(passthrough)},
    {{"path", "links", "auto|off", "auto", "where there is no passthrough: links to the pages themselves",
      "Whether a mount without passthrough offers data.mem, result.mem and metadata.mem as\n"
      "symlinks to the pages themselves, as fast as passthrough. auto does so for clients\n"
      "that can follow them: with arena.kind = memfd the user who mounted, with tmpfs and dir\n"
      "all (but in a directory others only read so, and only if it has mode 0711).\n"
      "off leaves it at the page cache of FUSE.\n"},
     .type = KEY_WORD,
     FIELD(links)},
    {{"log", "level", "error|warning|info|debug", "info", "the least severe message that is logged",
      "The least severe message that is logged.\n"},
     .type = KEY_WORD,
     FIELD(log_level),
     .live = true},
};

enum { KEY_COUNT = sizeof(KEYS) / sizeof(KEYS[0]) };

static int is_control(char c)
{
    return (unsigned char)c < ' ' || c == '\x7f';
}

/* The text of a number as the key's parser takes it. */
static void format_value(const struct key *key, uint64_t value, char text[VALUE_TEXT_MAX])
{
    const char *suffix = SUFFIXES;
    const char *word = key->doc.values;

    switch (key->type) {
    case KEY_WORD:
        for (; value > 0; value--)
            word += strcspn(word, "|") + 1;
        snprintf(text, VALUE_TEXT_MAX, "%.*s", (int)strcspn(word, "|"), word);
        return;
    case KEY_MODE:
        snprintf(text, VALUE_TEXT_MAX, "%04" PRIo64, value);
        return;
    case KEY_SIZE:
    case KEY_AUTO_SIZE:
        if (value == 0 || value % 1024 != 0) {
            snprintf(text, VALUE_TEXT_MAX, "%" PRIu64, value);
            return;
        }
        for (value /= 1024; suffix[1] != '\0' && value % 1024 == 0; value /= 1024)
            suffix++;
        snprintf(text, VALUE_TEXT_MAX, "%" PRIu64 "%c", value, *suffix);
        return;
    case KEY_SECONDS:
        if (value % MS_PER_SECOND == 0)
            snprintf(text, VALUE_TEXT_MAX, "%" PRIu64, value / MS_PER_SECOND);
        else
            snprintf(text, VALUE_TEXT_MAX, "%" PRIu64 ".%03" PRIu64, value / MS_PER_SECOND,
                     value % MS_PER_SECOND);
        return;
    case KEY_NUMBER:
        snprintf(text, VALUE_TEXT_MAX, "%" PRIu64, value);
        return;
    case KEY_PATH:
        text[0] = '\0';
        return;
    }
}

/*
 * Writes the one line that says what is wrong, and returns -1. Replaces control characters in quoted text, so
 * that the message stays one line.
 */
__attribute__((format(printf, 2, 3))) static int refuse(char error[CONF_ERROR_MAX], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, CONF_ERROR_MAX, format, arguments);
    va_end(arguments);
    for (char *c = error; *c != '\0'; c++)
        if (is_control(*c))
            *c = '?';
    return -1;
}

/* Takes the digits that *text begins with. Returns their count, or -1 if their value does not fit. */
static int take_digits(const char **text, unsigned base, uint64_t *value)
{
    int count = 0;

    *value = 0;
    for (; **text >= '0' && (unsigned)(**text - '0') < base; (*text)++, count++)
        if (__builtin_mul_overflow(*value, base, value) ||
            __builtin_add_overflow(*value, (unsigned)(**text - '0'), value))
            return -1;
    return count;
}

static uint64_t memory_most = UINT64_MAX;

void conf_set_memory(uint64_t bytes)
{
    memory_most = bytes;
}

/*
 * Takes K, M, G, T or % behind a size. Returns -1 if the value does not fit; leaves an unknown unit in *text.
 */
static int take_unit(const char **text, uint64_t *value)
{
    const char *suffix = strchr(SUFFIXES, **text & ~0x20);

    if (**text == '%' && *value <= 100) {
        struct sysinfo info = {0};
        uint64_t ram = 0;

        sysinfo(&info);
        ram = (uint64_t)info.totalram * info.mem_unit;
        ram = ram < memory_most ? ram : memory_most;
        *value = ram / 100 * *value + ram % 100 * *value / 100;
        ++*text;
    } else if (suffix != NULL && *suffix != '\0') {
        if (__builtin_mul_overflow(*value, UINT64_C(1024) << (10 * (suffix - SUFFIXES)), value))
            return -1;
        ++*text;
    }
    return 0;
}

/*
 * Makes milliseconds of seconds and their decimals. Leaves a fourth decimal in *text, where it is an error:
 * without it 0.0001 would become 0, which waits for ever.
 */
static int take_decimals(const char **text, uint64_t *value)
{
    const char *point = *text;

    if (__builtin_mul_overflow(*value, MS_PER_SECOND, value))
        return -1;
    if (*point != '.' || point[1] < '0' || point[1] > '9')
        return 0;
    ++*text;
    for (uint64_t unit = MS_PER_SECOND / 10; unit > 0 && **text >= '0' && **text <= '9'; unit /= 10, ++*text)
        if (__builtin_add_overflow(*value, unit * (uint64_t)(**text - '0'), value))
            return -1;
    return 0;
}

static int parse_number(const struct key *key, const char *text, uint64_t *value, char error[CONF_ERROR_MAX])
{
    const char *expected = "a whole number";
    const char *rest = text;
    int digits = take_digits(&rest, key->type == KEY_MODE ? 8 : 10, value);
    int rc = digits;

    if (key->type == KEY_MODE) {
        expected = "an octal mode such as 1777";
    } else if (key->type == KEY_SIZE || key->type == KEY_AUTO_SIZE) {
        expected = "a size: whole bytes, K, M, G or T, or up to 100% of the RAM";
        if (digits > 0)
            rc = take_unit(&rest, value);
    } else if (key->type == KEY_SECONDS) {
        expected = "a number of seconds with up to three decimals";
        if (digits > 0)
            rc = take_decimals(&rest, value);
    }
    if (rc >= 0 && (digits == 0 || *rest != '\0'))
        return refuse(error, "'%.60s' is not %s", text, expected);
    if (rc < 0 || *value < key->min || *value > key->max) {
        char least[VALUE_TEXT_MAX];
        char most[VALUE_TEXT_MAX];

        format_value(key, key->min, least);
        format_value(key, key->max, most);
        return refuse(error, "'%.60s' is out of range: from %s to %s", text, least, most);
    }
    return 0;
}

static int parse_word(const struct key *key, const char *text, uint64_t *value, char error[CONF_ERROR_MAX])
{
    size_t length = strlen(text);
    const char *word = key->doc.values;

    for (*value = 0;; (*value)++) {
        size_t span = strcspn(word, "|");

        if (span == length && memcmp(word, text, span) == 0)
            return 0;
        if (word[span] == '\0')
            return refuse(error, "'%.60s' is not one of %s", text, key->doc.values);
        word += span + 1;
    }
}

/*
 * Refuses a path that the file could not hold, or would read back as something else: conf_print has to print
 * each value that -o can set. "# ..." behind a path is more likely meant as a comment than as a part of it.
 */
static int check_path(const struct key *key, const char *text, char error[CONF_ERROR_MAX])
{
    size_t length = strlen(text);

    if (text[0] != '/')
        return refuse(error, "'%.60s' is not an absolute path", text);
    if (length > key->max)
        return refuse(error, "a path of %zu bytes is longer than %" PRIu64, length, key->max);
    for (const char *c = text; *c != '\0'; c++) {
        if (is_control(*c))
            return refuse(error, "a path must not have control characters");
        if (*c == ' ' && (c[1] == ';' || c[1] == '#' || c[1] == '\0'))
            return refuse(error, "a path must not %s",
                          c[1] == '\0' ? "end in a space"
                                       : "have ' ;' or ' #' in it; comments go on a separate line");
    }
    return 0;
}

/* Copies the low bytes of value, which come first here; the largest value allowed fits the field. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields take the first bytes of an uint64_t");

static void store(struct conf *conf, const struct key *key, uint64_t value)
{
    memcpy((char *)conf + key->offset, &value, key->size);
}

static uint64_t load(const struct conf *conf, const struct key *key)
{
    uint64_t value = 0;

    memcpy(&value, (const char *)conf + key->offset, key->size);
    return value;
}

/* Defaults, files and -o all set keys here. */
static int set(struct conf *conf, const struct key *key, const char *text, char error[CONF_ERROR_MAX])
{
    uint64_t value = 0;
    int rc = 0;

    if (text[0] == '\0')
        return refuse(error, "the value is empty");
    if (key->type == KEY_PATH) {
        rc = check_path(key, text, error);
        if (rc == 0)
            memcpy((char *)conf + key->offset, text, strlen(text) + 1);
        return rc;
    }
    if (key->type == KEY_AUTO_SIZE && strcmp(text, "auto") == 0)
        value = CONF_WARM_AUTO;
    else if (key->type == KEY_WORD)
        rc = parse_word(key, text, &value, error);
    else
        rc = parse_number(key, text, &value, error);
    if (rc == 0)
        store(conf, key, value);
    return rc;
}

/* Finds the key; a null name finds the first one of the section. section need not end in a NUL. */
static const struct key *find_key(const char *section, size_t length, const char *name, size_t name_length)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct conf_doc *doc = &KEYS[i].doc;

        if (strlen(doc->section) != length || memcmp(doc->section, section, length) != 0)
            continue;
        if (name == NULL || (strlen(doc->key) == name_length && memcmp(doc->key, name, name_length) == 0))
            return &KEYS[i];
    }
    return NULL;
}

struct reader {
    struct conf *conf;
    const char *next;
    const char *end;
    int line;                   /* that inih has now; it counts the same */
    int set_on[KEY_COUNT];      /* the line that set each key, or 0 */
    int failed_on;              /* the line of the error, or 0 */
    char error[CONF_ERROR_MAX]; /* why */
};

/* inih takes "[name] anything" for a section, and does not report a section without keys. */
static int check_section(const char *line, char error[CONF_ERROR_MAX])
{
    const char *name = line + 1;
    size_t length = strcspn(name, "]");
    const char *rest = name + length;

    if (*rest == '\0')
        return refuse(error, "'%.60s' has no closing ]", line);
    if (find_key(name, length, NULL, 0) == NULL)
        return refuse(error, "unknown section [%.*s]", length < 60 ? (int)length : 60, name);
    rest += 1 + strspn(rest + 1, " \t");
    if (*rest != '\0' && *rest != ';')
        return refuse(error, "'%.60s' behind the section", rest);
    return 0;
}

/* inih takes "key: value" as well. We take one form: YAML may have been meant for another program. */
static int check_equals(const char *line, char error[CONF_ERROR_MAX])
{
    size_t length = strcspn(line, "=:");

    if (line[length] != ':')
        return 0;
    return refuse(error, "a colon behind '%.*s': write key = value", length < 60 ? (int)length : 60, line);
}

/* An ini_reader: one whole line a call, or NULL at the end and after the first mistake. */
static char *next_line(char *line, int size, void *stream)
{
    struct reader *reader = stream;
    const char *start = reader->next;
    const char *newline = NULL;
    size_t length = 0;

    if (reader->failed_on != 0 || start == reader->end)
        return NULL;
    reader->line++;
    newline = memchr(start, '\n', (size_t)(reader->end - start));
    length = (size_t)((newline != NULL ? newline : reader->end) - start);
    reader->next = newline != NULL ? newline + 1 : reader->end;
    if (length > 0 && start[length - 1] == '\r')
        length--;
    for (size_t i = 0; i < length; i++)
        if (is_control(start[i]) && start[i] != '\t') {
            refuse(reader->error, "control character 0x%02x in the line", (unsigned)(unsigned char)start[i]);
            goto failed;
        }
    for (; length > 0 && (*start == ' ' || *start == '\t'); length--)
        start++;
    if (length > 0 && (*start == '#' || *start == ';'))
        length = 0;
    if (length >= (size_t)size) {
        refuse(reader->error, "a line of %zu bytes is longer than %d", length, size - 1);
        goto failed;
    }
    memcpy(line, start, length);
    line[length] = '\0';
    if (line[0] == '[' ? check_section(line, reader->error) != 0 : check_equals(line, reader->error) != 0)
        goto failed;
    return line;
failed:
    reader->failed_on = reader->line;
    return NULL;
}

/* An ini_handler: 0 is a mistake. */
static int take_value(void *user, const char *section, const char *name, const char *value)
{
    struct reader *reader = user;
    const struct key *key = find_key(section, strlen(section), name, strlen(name));
    char why[CONF_ERROR_MAX];
    int rc = 0;

    if (section[0] == '\0')
        rc = refuse(reader->error, "'%.60s' stands before the first [section]", name);
    else if (key == NULL)
        rc = refuse(reader->error, "unknown key '%.60s' in [%s]", name, section);
    else if (reader->set_on[key - KEYS] != 0)
        rc = refuse(reader->error, "%s.%s is already set on line %d", section, name,
                    reader->set_on[key - KEYS]);
    else if (set(reader->conf, key, value, why) != 0)
        rc = refuse(reader->error, "%s.%s: %s", section, name, why);
    if (rc != 0) {
        reader->failed_on = reader->line;
        return 0;
    }
    reader->set_on[key - KEYS] = reader->line;
    return 1;
}

static int parse(struct conf *conf, const char *path, const char *text, size_t size,
                 char error[CONF_ERROR_MAX])
{
    struct reader reader = {.conf = conf, .next = text, .end = text + size};
    int rc = 0;

    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        reader.next += 3;
    rc = ini_parse_stream(next_line, &reader, take_value, &reader);
    if (rc > 0 && (reader.failed_on == 0 || rc < reader.failed_on))
        return refuse(error, "%.200s:%d: neither [section] nor key = value", path, rc);
    if (reader.failed_on != 0)
        return refuse(error, "%.200s:%d: %s", path, reader.failed_on, reader.error);
    if (rc < 0)
        return refuse(error, "%.200s: %s", path, strerror(ENOMEM));
    return 0;
}

int conf_read(struct conf *conf, const char *path, char error[CONF_ERROR_MAX])
{
    FILE *file = fopen(path, "re");
    char text[FILE_MOST + 1];
    size_t size = 0;
    int rc = -1;

    if (file == NULL)
        return refuse(error, "%.200s: %s", path, strerror(errno));
    size = fread(text, 1, sizeof(text), file);
    if (ferror(file))
        refuse(error, "%.200s: %s", path, strerror(errno));
    else if (size > FILE_MOST)
        refuse(error, "%.200s: more than %d bytes: this is no configuration file", path, FILE_MOST);
    else
        rc = parse(conf, path, text, size, error);
    fclose(file);
    return rc;
}

int conf_override(struct conf *conf, const char *assignment, char error[CONF_ERROR_MAX])
{
    size_t name_end = strcspn(assignment, "=");
    size_t dot = strcspn(assignment, ".=");
    const struct key *key = NULL;
    char why[CONF_ERROR_MAX];

    if (assignment[name_end] == '\0' || dot == name_end)
        return refuse(error, "-o %.200s: expected section.key=value", assignment);
    key = find_key(assignment, dot, assignment + dot + 1, name_end - dot - 1);
    if (key == NULL)
        return refuse(error, "-o %.200s: %s", assignment,
                      find_key(assignment, dot, NULL, 0) != NULL ? "unknown key" : "unknown section");
    if (set(conf, key, assignment + name_end + 1, why) != 0)
        return refuse(error, "-o %.200s: %s", assignment, why);
    return 0;
}

static uint64_t warm_in_effect(const struct conf *conf)
{
    return conf->warm == CONF_WARM_AUTO ? conf->capacity / 8 : conf->warm;
}

int conf_check(struct conf *conf, char error[CONF_ERROR_MAX])
{
    conf->warm = warm_in_effect(conf);
    if (conf->arena_kind == CONF_ARENA_DIR && conf->arena_path[0] == '\0')
        return refuse(error, "arena.kind = dir needs arena.path");
    if (conf->arena_kind == CONF_ARENA_AUTO && conf->arena_path[0] != '\0')
        return refuse(error, "arena.path has no effect with arena.kind = auto: set arena.kind = dir");
    if (conf->warm > conf->capacity)
        return refuse(error, "arena.warm (%" PRIu64 " bytes) is more than arena.capacity (%" PRIu64 " bytes)",
                      conf->warm, conf->capacity);
    return 0;
}

void conf_init(struct conf *conf)
{
    char error[CONF_ERROR_MAX];

    memset(conf, 0, sizeof(*conf));
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (KEYS[i].doc.fallback[0] != '\0')
            set(conf, &KEYS[i], KEYS[i].doc.fallback, error);
}

void conf_print(const struct conf *conf, FILE *out)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct key *key = &KEYS[i];
        char text[VALUE_TEXT_MAX];

        if (i == 0 || strcmp(key->doc.section, KEYS[i - 1].doc.section) != 0)
            fprintf(out, "%s[%s]\n", i == 0 ? "" : "\n", key->doc.section);
        if (key->type == KEY_PATH) {
            const char *path = (const char *)conf + key->offset;

            fprintf(out, path[0] != '\0' ? "%s = %s\n" : "#%s =%s\n", key->doc.key, path);
            continue;
        }
        format_value(key, key->type == KEY_AUTO_SIZE ? warm_in_effect(conf) : load(conf, key), text);
        fprintf(out, "%s = %s\n", key->doc.key, text);
    }
}

/* The value as conf_print writes it. */
static void print_value(const struct conf *conf, const struct key *key, char *text, size_t size)
{
    char number[VALUE_TEXT_MAX];

    if (key->type == KEY_PATH) {
        snprintf(text, size, "%s", (const char *)conf + key->offset);
        return;
    }
    format_value(key, key->type == KEY_AUTO_SIZE ? warm_in_effect(conf) : load(conf, key), number);
    snprintf(text, size, "%s", number);
}

void conf_hold(struct conf *conf, const struct conf *in_effect, void (*held)(const char *line))
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct key *key = &KEYS[i];
        char wanted[PATH_MOST + 1], has[PATH_MOST + 1], line[CONF_ERROR_MAX];

        if (key->live)
            continue;
        print_value(conf, key, wanted, sizeof(wanted));
        print_value(in_effect, key, has, sizeof(has));
        memcpy((char *)conf + key->offset, (const char *)in_effect + key->offset, key->size);
        if (strcmp(wanted, has) == 0)
            continue;
        snprintf(line, sizeof(line), "%s.%s = %s needs another start of the mount; until then it is %s",
                 key->doc.section, key->doc.key, wanted, has);
        held(line);
    }
}

void conf_print_help(FILE *out)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct conf_doc *doc = &KEYS[i].doc;
        int width = fprintf(out, "  %s.%s=%s", doc->section, doc->key, doc->fallback);

        fprintf(out, "%*s%s\n", width < 34 ? 34 - width : 1, "", doc->help);
    }
}

const struct conf_doc *conf_doc(size_t index)
{
    return index < KEY_COUNT ? &KEYS[index].doc : NULL;
}

bool conf_is_live(size_t index)
{
    return index < KEY_COUNT && KEYS[index].live;
}
