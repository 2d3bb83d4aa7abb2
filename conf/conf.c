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

#include "value.h"
#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <string.h>

/*
 * SLOTS_MOST is digits only, because the documentation quotes it. "path = " and a path must fit the 199 bytes
 * that inih takes, or it could not read conf_print's output.
 */
#define SLOTS_MOST     262142 /* what a nodeid of the filesystem has room for */
#define PATH_MOST      190
#define CAPACITY_LEAST (UINT64_C(1) << 20)
#define SIZE_MOST      (UINT64_C(1) << 60)
#define WAIT_MOST_MS   (UINT64_C(365) * 24 * 3600 * VALUE_MS_PER_SECOND)
#define OPEN_LEAST     16
#define OPEN_MOST      16777216
#define QUOTE(macro)   QUOTE_(macro)
#define QUOTE_(text)   #text

enum { FILE_MOST = 1 << 16 };

static_assert(PATH_MOST < PATH_MAX, "struct conf has room for the longest path");

static_assert((int)CONF_ERROR_MAX == (int)VALUE_ERROR_MAX, "one message has room for the other");
static_assert(CONF_WARM_AUTO == VALUE_AUTO, "conf_check knows what a value says");

struct key {
    struct conf_doc doc; /* doc.values are the words of its kind */
    uint64_t min, max;   /* see value.h */
    size_t offset;       /* where struct conf has it */
    size_t size;
    enum value_type type;
    bool live; /* see conf_is_live */
};

#define FIELD(field) .offset = offsetof(struct conf, field), .size = sizeof(((struct conf *)NULL)->field)
#define LIVE(field)  FIELD(field), .live = true

static const struct key KEYS[] = {
    {{"mount", "allow_other", "auto|yes|no", "auto", "let users other than the mounting one use the mount",
      "Whether users other than the one who mounts may use the mount.\n"
      "auto is yes for root and no for everybody else.\n"
      "Without root, yes needs the line user_allow_other in /etc/fuse.conf.\n"},
     .type = VALUE_WORD,
     FIELD(allow_other)},
    {{"mount", "root_mode", "mode", "1777", "permissions of the mount's root directory, octal",
      "The permissions of the root directory of the mount, in octal.\n"
      "The default is that of /tmp: everybody makes slots and removes only their own.\n"},
     .type = VALUE_MODE,
     .max = 07777,
     FIELD(root_mode)},
    {{"arena", "kind", "auto|tmpfs|dir|memfd", "auto", "where the arrays live",
      "Where the arrays live.\n"
      "tmpfs: a private tmpfs that the daemon mounts for itself; it needs root.\n"
      "dir: files below path, for exchanges that must survive a reboot.\n"
      "memfd: anonymous memory, which needs no privileges.\n"
      "auto is tmpfs for root and memfd for everybody else.\n"},
     .type = VALUE_WORD,
     FIELD(arena_kind)},
    {{"arena", "path", "path", "", "directory of the arrays if kind is dir",
      "The directory of the arrays: an absolute path of up to " QUOTE(
          PATH_MOST) " bytes.\n"
                     "kind = dir needs it; tmpfs and memfd ignore it.\n"
                     "It must not lie below the mount point, which would hide it.\n"
                     "With kind = auto it is an error, because it would have no effect.\n"},
     .type = VALUE_PATH,
     .max = PATH_MOST,
     FIELD(arena_path)},
    {{"arena", "capacity", "size", "50%", "bytes that all arrays together may take",
      "How much all arrays together may take, at least 1M.\n"
      "% is of the machine's memory, or of what the daemon's memory cgroup may have if that is less.\n"
      "What does not fit is refused with ENOSPC when a file is given its size.\n"},
     .type = VALUE_SIZE,
     .min = CAPACITY_LEAST,
     .max = SIZE_MOST,
     FIELD(capacity)},
    {{"arena", "warm", "auto|size", "auto", "freed memory kept ready for the next array",
      "How much freed memory is zeroed and kept ready for the next array.\n"
      "It is a part of the capacity; 0 gives all freed memory back at once.\n"
      "auto is one eighth of the capacity.\n"},
     .type = VALUE_AUTO_SIZE,
     .max = SIZE_MOST,
     FIELD(warm)},
    {{"arena", "huge_pages", "no|yes", "yes", "ask for huge pages",
      "Whether to ask for huge pages, which make first writes and reads faster.\n"
      "In an arena of kind memfd it takes Linux 6.1, and a client that maps at a multiple of 2 MiB.\n"},
     .type = VALUE_WORD,
     FIELD(huge_pages)},
    {{"handshake", "wait", "no|yes", "yes", "let an open wait for its turn",
      "Whether an open of data.bin or result.bin that comes too early waits for its turn.\n"
      "no answers it with EAGAIN at once, as if it had O_NONBLOCK: for machines where\n"
      "crawlers (tar, grep -r, scanners) walk the mount.\n"},
     .type = VALUE_WORD,
     LIVE(wait)},
    {{"handshake", "wait_timeout", "seconds", "0", "how long a request waits for a peer; 0: for ever",
      "How many seconds a request waits for another process: an open for its turn,\n"
      "a publish for a follower.\n"
      "Waiting for the disk has no limit.\n"
      "Up to three decimals are taken: 2.5 is two and a half seconds.\n"
      "After that time it fails with ETIMEDOUT; 0 waits for ever.\n"},
     .type = VALUE_SECONDS,
     .max = WAIT_MOST_MS,
     LIVE(wait_timeout_ms)},
    {{"limits", "slots", "number", "65536", "slots in all",
      "The most slots in all, from 1 to " QUOTE(SLOTS_MOST) ".\n"},
     .type = VALUE_NUMBER,
     .min = 1,
     .max = SLOTS_MOST,
     FIELD(slots)},
    {{"limits", "slots_per_user", "number", "16384", "slots of one user",
      "The most slots that one user may have, from 1 to " QUOTE(SLOTS_MOST) ".\n"},
     .type = VALUE_NUMBER,
     .min = 1,
     .max = SLOTS_MOST,
     LIVE(slots_per_user)},
    {{"limits", "bytes_per_user", "size", "0", "bytes of one user's slots; 0: no limit",
      "How much the slots of one user may take; more is refused with EDQUOT.\n"
      "Arrays, texts and record pages count, and so do arrays of earlier rounds that are still mapped.\n"
      "0 sets no limit but the capacity.\n"},
     .type = VALUE_SIZE,
     .max = SIZE_MOST,
     LIVE(bytes_per_user)},
    {{"limits", "bytes_per_job", "size", "0", "bytes of the slots made in one job; 0: no limit",
      "How much the slots that were made in one job may take, whoever owns them.\n"
      "More is refused with EDQUOT.\n"
      "A job is Slurm's job_N, a container, or a service or scope of systemd: see job in metadata.txt.\n"
      "What a login session makes counts for its user only.\n"
      "The same bytes count as for bytes_per_user; 0 sets no limit.\n"},
     .type = VALUE_SIZE,
     .max = SIZE_MOST,
     LIVE(bytes_per_job)},
    {{"limits", "remove_with_job", "no|slurm|all", "slurm", "remove the slots of jobs that are over",
      "Whether the slots that were made in a job are removed when the job is over: when its cgroup\n"
      "is gone, of which the daemon learns within a second or two.\n"
      "slurm: those of Slurm's jobs, so that a cluster needs no epilog.\n"
      "all: also those of containers and of systemd's services and scopes, which may start again.\n"
      "Slots that a login session has made stay in any case.\n"},
     .type = VALUE_WORD,
     LIVE(remove_with_job)},
    {{"limits", "open_per_user", "number", "65536", "files that one user may have open",
      "How many files one user may have open at a time, from 16 to 16777216; more is refused with EMFILE.\n"
      "An open that waits for its turn counts, and with kind = memfd an array of an earlier\n"
      "round that a process still maps. root may have any number.\n"},
     .type = VALUE_NUMBER,
     .min = OPEN_LEAST,
     .max = OPEN_MOST,
     LIVE(open_per_user)},
    {{"limits", "memory_per_user", "size", "64M",
      "memory of the daemon for one user's open texts; 0: no limit",
      "How much memory the daemon keeps for one user: texts that are open, such as\n"
      "metadata.txt and .pyrmap/graph, and writes that wait; more is refused with EDQUOT.\n"
      "A text counts once, however often it is open. root may have any amount; 0 sets no limit.\n"},
     .type = VALUE_SIZE,
     .max = SIZE_MOST,
     LIVE(memory_per_user)},
    {{"path", "passthrough", "auto|on|off", "auto", "let the kernel read and write arrays without the daemon",
      "Whether the kernel goes straight to the pages of an array (FUSE passthrough).\n"
      "It needs root (CAP_SYS_ADMIN) and Linux 6.9.\n"
      "auto uses it where it works; on refuses to mount where it does not.\n"
      "off takes links, as on a kernel that has none.\n"},
     .type = VALUE_WORD,
     FIELD(passthrough)},
    {{"path", "links", "auto|off", "auto", "where there is no passthrough: links to the pages themselves",
      "Whether a mount without passthrough offers data.mem, result.mem and metadata.mem as\n"
      "symlinks to the pages themselves, as fast as passthrough. auto does so for clients\n"
      "that can follow them: with arena.kind = memfd the user who mounted, with tmpfs and dir\n"
      "all (but in a directory others only read so, and only if it has mode 0711).\n"
      "off leaves it at the page cache of FUSE.\n"},
     .type = VALUE_WORD,
     FIELD(links)},
    {{"log", "level", "error|warning|info|debug", "info", "the least severe message that is logged",
      "The least severe message that is logged.\n"},
     .type = VALUE_WORD,
     LIVE(log_level)},
};

enum { KEY_COUNT = sizeof(KEYS) / sizeof(KEYS[0]) };

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

static struct value_kind kind_of(const struct key *key)
{
    return (struct value_kind){key->type, key->doc.values, key->min, key->max};
}

/* Defaults, files and -o all set keys here. */
static int set(struct conf *conf, const struct key *key, const char *text, char error[CONF_ERROR_MAX])
{
    const struct value_kind kind = kind_of(key);
    uint64_t value = 0;
    int rc = 0;

    if (text[0] == '\0')
        return value_refuse(error, "the value is empty");
    if (key->type == VALUE_PATH) {
        rc = value_check_path(&kind, text, error);
        if (rc == 0)
            memcpy((char *)conf + key->offset, text, strlen(text) + 1);
        return rc;
    }
    rc = value_parse(&kind, text, &value, error);
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
        return value_refuse(error, "'%.60s' has no closing ]", line);
    if (find_key(name, length, NULL, 0) == NULL)
        return value_refuse(error, "unknown section [%.*s]", length < 60 ? (int)length : 60, name);
    rest += 1 + strspn(rest + 1, " \t");
    if (*rest != '\0' && *rest != ';')
        return value_refuse(error, "'%.60s' behind the section", rest);
    return 0;
}

/* inih takes "key: value" as well. We take one form: YAML may have been meant for another program. */
static int check_equals(const char *line, char error[CONF_ERROR_MAX])
{
    size_t length = strcspn(line, "=:");

    if (line[length] != ':')
        return 0;
    return value_refuse(error, "a colon behind '%.*s': write key = value", length < 60 ? (int)length : 60,
                        line);
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
        if (value_is_control(start[i]) && start[i] != '\t') {
            value_refuse(reader->error, "control character 0x%02x in the line",
                         (unsigned)(unsigned char)start[i]);
            goto failed;
        }
    for (; length > 0 && (*start == ' ' || *start == '\t'); length--)
        start++;
    if (length > 0 && (*start == '#' || *start == ';'))
        length = 0;
    if (length >= (size_t)size) {
        value_refuse(reader->error, "a line of %zu bytes is longer than %d", length, size - 1);
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
        rc = value_refuse(reader->error, "'%.60s' stands before the first [section]", name);
    else if (key == NULL)
        rc = value_refuse(reader->error, "unknown key '%.60s' in [%s]", name, section);
    else if (reader->set_on[key - KEYS] != 0)
        rc = value_refuse(reader->error, "%s.%s is already set on line %d", section, name,
                          reader->set_on[key - KEYS]);
    else if (set(reader->conf, key, value, why) != 0)
        rc = value_refuse(reader->error, "%s.%s: %s", section, name, why);
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
        return value_refuse(error, "%.200s:%d: neither [section] nor key = value", path, rc);
    if (reader.failed_on != 0)
        return value_refuse(error, "%.200s:%d: %s", path, reader.failed_on, reader.error);
    if (rc < 0)
        return value_refuse(error, "%.200s: %s", path, strerror(ENOMEM));
    return 0;
}

int conf_read(struct conf *conf, const char *path, char error[CONF_ERROR_MAX])
{
    FILE *file = fopen(path, "re");
    char text[FILE_MOST + 1];
    size_t size = 0;
    int rc = -1;

    if (file == NULL)
        return value_refuse(error, "%.200s: %s", path, strerror(errno));
    size = fread(text, 1, sizeof(text), file);
    if (ferror(file))
        value_refuse(error, "%.200s: %s", path, strerror(errno));
    else if (size > FILE_MOST)
        value_refuse(error, "%.200s: more than %d bytes: this is no configuration file", path, FILE_MOST);
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
        return value_refuse(error, "-o %.200s: expected section.key=value", assignment);
    key = find_key(assignment, dot, assignment + dot + 1, name_end - dot - 1);
    if (key == NULL)
        return value_refuse(error, "-o %.200s: %s", assignment,
                            find_key(assignment, dot, NULL, 0) != NULL ? "unknown key" : "unknown section");
    if (set(conf, key, assignment + name_end + 1, why) != 0)
        return value_refuse(error, "-o %.200s: %s", assignment, why);
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
        return value_refuse(error, "arena.kind = dir needs arena.path");
    if (conf->arena_kind == CONF_ARENA_AUTO && conf->arena_path[0] != '\0')
        return value_refuse(error, "arena.path has no effect with arena.kind = auto: set arena.kind = dir");
    if (conf->warm > conf->capacity)
        return value_refuse(error,
                            "arena.warm (%" PRIu64 " bytes) is more than arena.capacity (%" PRIu64 " bytes)",
                            conf->warm, conf->capacity);
    return 0;
}

void conf_set_memory(uint64_t bytes)
{
    value_set_memory(bytes);
}

void conf_init(struct conf *conf)
{
    char error[CONF_ERROR_MAX];

    memset(conf, 0, sizeof(*conf));
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (KEYS[i].doc.fallback[0] != '\0')
            set(conf, &KEYS[i], KEYS[i].doc.fallback, error);
}

/* The value as the file has it; "" is a path that is not given. */
static void print_value(const struct conf *conf, const struct key *key, char text[PATH_MOST + 1])
{
    const struct value_kind kind = kind_of(key);

    if (key->type == VALUE_PATH)
        snprintf(text, PATH_MOST + 1, "%s", (const char *)conf + key->offset);
    else
        value_format(&kind, key->type == VALUE_AUTO_SIZE ? warm_in_effect(conf) : load(conf, key), text);
}

void conf_print(const struct conf *conf, FILE *out)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct key *key = &KEYS[i];
        char text[PATH_MOST + 1];

        if (i == 0 || strcmp(key->doc.section, KEYS[i - 1].doc.section) != 0)
            fprintf(out, "%s[%s]\n", i == 0 ? "" : "\n", key->doc.section);
        print_value(conf, key, text);
        fprintf(out, text[0] != '\0' ? "%s = %s\n" : "#%s =%s\n", key->doc.key, text);
    }
}

void conf_hold(struct conf *conf, const struct conf *in_effect, void (*held)(const char *line))
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct key *key = &KEYS[i];
        char wanted[PATH_MOST + 1], has[PATH_MOST + 1], line[CONF_ERROR_MAX];

        if (key->live)
            continue;
        print_value(conf, key, wanted);
        print_value(in_effect, key, has);
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
