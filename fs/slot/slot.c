// SPDX-License-Identifier: Apache-2.0
#include "slot/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    INDEX_HEADER = 4096,
    INDEX_STEP = 128, /* entries by which the file grows */
    INDEX_VERSION = 4,
};

static const char *const file_names[SLOT_FILES] = {
    [SLOT_DIRECTORY] = "",
    [SLOT_METADATA_BIN] = "metadata.bin",
    [SLOT_METADATA_MEM] = "metadata.mem",
    [SLOT_METADATA_TXT] = "metadata.txt",
    [SLOT_DATA_BIN] = "data.bin",
    [SLOT_RESULT_BIN] = "result.bin",
    [SLOT_DATA_TXT] = "data.txt",
    [SLOT_RESULT_TXT] = "result.txt",
    [SLOT_DATA_NPY] = "data.npy",
    [SLOT_RESULT_NPY] = "result.npy",
    [SLOT_TASK] = "task",
    [SLOT_ERROR] = "error",
    [SLOT_OWNER] = "owner",
    [SLOT_WORKER] = "worker",
    [SLOT_SOURCE] = "source",
    [SLOT_DATA_LINK] = "data.mem",
    [SLOT_RESULT_LINK] = "result.mem",
    [SLOT_METADATA_LINK] = "metadata.mem",
};

static const char index_magic[8] = "pyrmapix";
static const char index_name[] = "index";

/* The first page of the file. */
struct index_header {
    char magic[8];
    uint32_t version;
    uint32_t entry_size;
    uint64_t next_serial;
    uint32_t entries; /* the file has room for so many, with entry 0, which is never used */
    struct slot_times root;
};

struct slots {
    struct arena *arena;
    struct index_header *header;
    struct slot *entries;
    size_t mapped; /* address space, in bytes; the file is shorter */
    int fd;        /* -1: there is no index yet */
    uint32_t limit;
    uint32_t room; /* entries that this process may touch: 0 until slots_begin */
    uint32_t count;
    uint32_t leaving;    /* slots that we do not count any more, though their entries are not free */
    uint32_t first_free; /* entries below it are in use */
    uint32_t in_state[HANDSHAKE_STATES];
    uint64_t changes;
    uint32_t buckets; /* a power of two */
    uint32_t *bucket;
};

struct slot_times slot_times_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (struct slot_times){now, now, now};
}

static void times_touch(struct slot_times *times)
{
    clock_gettime(CLOCK_REALTIME, &times->modified);
    times->changed = times->modified;
}

static uint32_t bucket_of(const struct slots *slots, const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash & (slots->buckets - 1);
}

static void enlist(struct slots *slots, struct slot *slot)
{
    uint32_t *bucket = &slots->bucket[bucket_of(slots, slot->name)];

    slot->next_in_bucket = *bucket;
    *bucket = slot_index(slots, slot);
}

static void delist(struct slots *slots, struct slot *slot)
{
    uint32_t *link = &slots->bucket[bucket_of(slots, slot->name)];
    uint32_t index = slot_index(slots, slot);

    while (*link && *link != index)
        link = &slots->entries[*link].next_in_bucket;
    if (*link)
        *link = slot->next_in_bucket;
}

static off_t index_size(uint32_t entries)
{
    return INDEX_HEADER + (off_t)entries * (off_t)sizeof(struct slot);
}

/* Allocate pages before we touch them: a full arena gives -ENOSPC here instead of SIGBUS in slot_create. */
static int allocate(struct slots *slots, uint32_t entries)
{
    off_t size = index_size(entries);
    int result;

    do
        result = fallocate(slots->fd, 0, 0, size);
    while (result < 0 && errno == EINTR);
    return result < 0 && (errno != EOPNOTSUPP || ftruncate(slots->fd, size) < 0) ? -errno : 0;
}

static int grow(struct slots *slots)
{
    uint32_t entries = slots->room + INDEX_STEP;
    int result;

    if (entries > slots->limit + 1)
        entries = slots->limit + 1;
    result = allocate(slots, entries);
    if (result < 0)
        return result;
    ledger_file_resized(slots->arena, (uint64_t)index_size(slots->room), (uint64_t)index_size(entries));
    slots->header->entries = slots->room = entries;
    return 0;
}

/* --- an index that exists: we look at it and change nothing --- */

static int refuse(const struct slots *slots, char error[ARENA_ERROR_MAX], const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The error line names the file and says what is wrong with it. */
static int refuse(const struct slots *slots, char error[ARENA_ERROR_MAX], const char *format, ...)
{
    char path[ARENA_ERROR_MAX / 2], what[ARENA_ERROR_MAX / 2];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    arena_file_path(slots->arena, index_name, path, sizeof(path));
    snprintf(error, ARENA_ERROR_MAX, "%s%s", path, what);
    return -EINVAL;
}

static const char damaged_remedy[] =
    "put back a copy of the directory, or use another arena.path; nothing was changed";

static int check_header(const struct slots *slots, off_t size, char error[ARENA_ERROR_MAX])
{
    const struct index_header *header = slots->header;

    if (memcmp(header->magic, index_magic, sizeof(index_magic)) != 0)
        return refuse(slots, error, " is damaged, or no index of pyrmapfs: %s", damaged_remedy);
    if (header->version != INDEX_VERSION || header->entry_size != sizeof(struct slot))
        return refuse(slots, error,
                      " has the layout of another version of pyrmapfs (%u, this one has %u): start that "
                      "version, or use another arena.path; nothing was changed",
                      header->version, (unsigned)INDEX_VERSION);
    if (size < index_size(header->entries))
        return refuse(slots, error, " is cut short at %lld bytes: %s", (long long)size, damaged_remedy);
    if (header->entries > slots->limit + 1)
        return refuse(slots, error,
                      " has room for %u slots: raise limits.slots from %u to at least that; nothing was "
                      "changed",
                      header->entries - 1, slots->limit);
    return 0;
}

static bool is_name(const char name[SLOT_NAME_MAX + 1])
{
    return memchr(name, '\0', SLOT_NAME_MAX + 1) && !strchr(name, '/') && slot_name_check(name) == 0;
}

static bool is_whole(const struct slots *slots, const struct slot *slot)
{
    const uint64_t fresh = slots->header->next_serial;

    for (int side = 0; side < 2; side++) {
        const struct slot_array *array = &slot->arrays[side];
        if (array->serial >= fresh || array->inode >= fresh || array->number >= fresh ||
            array->home >= slots->header->entries || array->home_side > RECORD_SIDE_RESULT)
            return false;
    }
    return slot->serial < fresh && slot->source_serial < fresh && slot->failure < fresh &&
           slot->record.input_inline <= RECORD_INLINE_MAX &&
           slot->record.result_inline <= RECORD_INLINE_MAX && is_name(slot->name) &&
           slot->state < HANDSHAKE_STATES && slot->source_side <= RECORD_SIDE_RESULT &&
           slot->source < slots->header->entries && slot->first_follower < slots->header->entries &&
           slot->next_follower < slots->header->entries && slot->previous_follower < slots->header->entries;
}

/* An entry that the header does not count must be a free one, or the header is wrong. */
static int check_entries(const struct slots *slots, off_t size, char error[ARENA_ERROR_MAX])
{
    uint64_t entries = (uint64_t)(size - INDEX_HEADER) / sizeof(struct slot);

    if (entries > slots->limit + (uint64_t)1)
        entries = slots->limit + (uint64_t)1;
    for (uint32_t i = 1; i < entries; i++) {
        const struct slot *slot = &slots->entries[i];

        if (slot->serial != 0 && (i >= slots->header->entries || !is_whole(slots, slot)))
            return refuse(slots, error, " is damaged in the entry of slot %u: %s", i, damaged_remedy);
    }
    return 0;
}

/* Whether the server that made the index ended before it wrote anything into it. */
static bool is_blank(const struct slots *slots, off_t size)
{
    static const char zeros[INDEX_HEADER];

    return size == 0 ||
           (size == INDEX_HEADER && memcmp((const char *)slots->header, zeros, sizeof(zeros)) == 0);
}

static int look_at_index(struct slots *slots, char error[ARENA_ERROR_MAX])
{
    const uint32_t others = arena_found_files(slots->arena);
    struct stat status;
    void *map;
    int result;

    slots->fd = arena_file_open(slots->arena, index_name, O_RDWR);
    if (slots->fd == -ENOENT) {
        if (others > 0)
            return refuse(slots, error, " is missing, but %u other files of an arena are there: %s", others,
                          damaged_remedy);
        return 0;
    }
    if (slots->fd < 0 || fstat(slots->fd, &status) < 0) {
        result = slots->fd < 0 ? slots->fd : -errno;
        refuse(slots, error, " cannot be opened: %s", strerror(-result));
        return result;
    }
    map = mmap(NULL, slots->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, slots->fd, 0);
    if (map == MAP_FAILED) {
        result = -errno;
        refuse(slots, error, " cannot be mapped: %s", strerror(-result));
        return result;
    }
    slots->header = map;
    slots->entries = (struct slot *)((char *)map + INDEX_HEADER);
    if (is_blank(slots, status.st_size) && others <= 1) {
        munmap(map, slots->mapped);
        close(slots->fd);
        slots->header = NULL;
        slots->fd = -1;
        return 0;
    }
    if (status.st_size < INDEX_HEADER)
        return refuse(slots, error, " is cut short at %lld bytes: %s", (long long)status.st_size,
                      damaged_remedy);
    result = check_header(slots, status.st_size, error);
    return result < 0 ? result : check_entries(slots, status.st_size, error);
}

int slots_open(struct slots **out, struct arena *arena, uint32_t limit, char error[ARENA_ERROR_MAX])
{
    struct slots *slots = calloc(1, sizeof(*slots));
    int result = -ENOMEM;

    *out = NULL;
    snprintf(error, ARENA_ERROR_MAX, "out of memory");
    if (!slots)
        return -ENOMEM;
    slots->arena = arena;
    slots->fd = -1;
    slots->limit = limit < SLOT_LIMIT ? limit : SLOT_LIMIT;
    slots->mapped = INDEX_HEADER + ((size_t)slots->limit + 1) * sizeof(struct slot);
    slots->first_free = 1;
    slots->buckets = 64;
    while (slots->buckets < slots->limit && slots->buckets < 1u << 17)
        slots->buckets *= 2;
    slots->bucket = calloc(slots->buckets, sizeof(*slots->bucket));
    if (slots->bucket)
        result = look_at_index(slots, error);
    if (result < 0) {
        slots_close(slots);
        return result;
    }
    *out = slots;
    return 0;
}

/* --- from here on we change the index --- */

static int create_index(struct slots *slots)
{
    void *map;
    int result;

    slots->fd = arena_file_open(slots->arena, index_name, O_RDWR | O_CREAT);
    if (slots->fd < 0)
        return slots->fd;
    result = allocate(slots, 0);
    if (result < 0)
        return result;
    map = mmap(NULL, slots->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, slots->fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    slots->header = map;
    slots->entries = (struct slot *)((char *)map + INDEX_HEADER);
    slots->header->version = INDEX_VERSION;
    slots->header->entry_size = sizeof(struct slot);
    slots->header->next_serial = 16; /* the daemon's own files have the numbers below */
    slots->header->entries = 0;
    slots->header->root = slot_times_now();
    memcpy(slots->header->magic, index_magic, sizeof(index_magic));
    return 0;
}

static void restore_entry(struct slots *slots, struct slot *slot)
{
    const size_t runtime = offsetof(struct slot, next_in_bucket);

    memset((char *)slot + runtime, 0, sizeof(*slot) - runtime);
    if (!slot->serial)
        return;
    ledger_text_resized(slots->arena, 0, slot->task_size);
    ledger_text_resized(slots->arena, 0, slot->error_size);
    slots->count++;
    slots->in_state[slot->state]++;
    enlist(slots, slot);
}

int slots_begin(struct slots *slots)
{
    if (!slots->header) {
        int result = create_index(slots);
        if (result < 0)
            return result;
    }
    slots->room = slots->header->entries;
    ledger_file_resized(slots->arena, 0, (uint64_t)index_size(slots->room));
    for (uint32_t i = 1; i < slots->room; i++)
        restore_entry(slots, &slots->entries[i]);
    return 0;
}

int slots_visit_segments(const struct slots *slots,
                         int (*visit)(void *context, const char *name, uint64_t id), void *context)
{
    int result = 0;

    for (uint32_t i = 1; slots->header && i < slots->header->entries && result == 0; i++) {
        const struct slot *slot = &slots->entries[i];

        for (int side = 0; side < 2 && slot->serial && result == 0; side++) {
            if (slot->arrays[side].segment_id)
                result = visit(context, slot->name, slot->arrays[side].segment_id);
        }
    }
    return result;
}

void slots_close(struct slots *slots)
{
    if (!slots)
        return;
    if (slots->header)
        munmap(slots->header, slots->mapped);
    if (slots->fd >= 0)
        close(slots->fd);
    free(slots->bucket);
    free(slots);
}

uint64_t slots_bytes(uint32_t limit)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE); /* a slot's record page is one */

    return (uint64_t)index_size(limit + 1) + limit * page;
}

uint32_t slots_count(const struct slots *slots)
{
    return slots->count;
}

uint32_t slots_limit(const struct slots *slots)
{
    return slots->limit;
}

uint32_t slots_end(const struct slots *slots)
{
    return slots->header ? slots->header->entries : 0;
}

uint32_t slots_in_state(const struct slots *slots, enum handshake_state state)
{
    return slots->in_state[state];
}

uint64_t slots_changes(const struct slots *slots)
{
    return slots->changes;
}

void slots_changed(struct slots *slots)
{
    slots->changes++;
}

uint64_t slots_serial(struct slots *slots)
{
    return slots->header->next_serial++;
}

struct slot *slot_at(struct slots *slots, uint32_t index)
{
    if (index == 0 || index >= slots->room || slots->entries[index].serial == 0)
        return NULL;
    return &slots->entries[index];
}

uint32_t slot_index(const struct slots *slots, const struct slot *slot)
{
    return (uint32_t)(slot - slots->entries);
}

struct slot *slot_after(struct slots *slots, uint32_t index)
{
    while (++index < slots->room) {
        if (slots->entries[index].serial && !slots->entries[index].leaving)
            return &slots->entries[index];
    }
    return NULL;
}

struct slot *slot_find(struct slots *slots, const char *name)
{
    uint32_t index = slots->bucket[bucket_of(slots, name)];

    while (index && strcmp(slots->entries[index].name, name) != 0)
        index = slots->entries[index].next_in_bucket;
    return index ? &slots->entries[index] : NULL;
}

int slot_name_check(const char *name)
{
    if (!*name)
        return -EINVAL;
    if (strlen(name) > SLOT_NAME_MAX)
        return -ENAMETOOLONG;
    return *name == '.' ? -EPERM : 0;
}

static struct slot *take_entry(struct slots *slots)
{
    while (slots->first_free < slots->room) {
        struct slot *slot = &slots->entries[slots->first_free++];
        if (!slot->serial)
            return slot;
    }
    return NULL;
}

int slot_create(struct slots *slots, const char *name, uid_t uid, gid_t gid, mode_t mode, struct slot **out)
{
    struct slot *slot;
    int result = slot_name_check(name);

    if (result < 0)
        return result;
    if (slot_find(slots, name))
        return -EEXIST;
    if (slots->count + slots->leaving >= slots->limit)
        return -ENOSPC;
    slot = take_entry(slots);
    if (!slot) {
        result = grow(slots);
        if (result < 0)
            return result;
        slot = take_entry(slots);
        if (!slot)
            return -ENOSPC;
    }
    memset(slot, 0, sizeof(*slot));
    strcpy(slot->name, name);
    slot->uid = uid;
    slot->gid = gid;
    slot_chmod(slot, mode);
    slot->state = STATE_IDLE;
    record_init(&slot->record);
    for (int file = 0; file < SLOT_FILES; file++)
        slot->times[file] = slot_times_now();
    slot->entered = slot->times[SLOT_DIRECTORY].modified;
    slot_fresh_array(slots, slot, RECORD_SIDE_INPUT);
    slot_fresh_array(slots, slot, RECORD_SIDE_RESULT);
    slot->serial = slots_serial(slots); /* set it last: it makes the entry a slot */
    enlist(slots, slot);
    slots->count++;
    times_touch(&slots->header->root);
    slots->in_state[STATE_IDLE]++;
    slots->changes++;
    *out = slot;
    return 0;
}

/* Give back the pages when the last of many slots is gone. The mapping reaches beyond the file, as before. */
static void shrink(struct slots *slots)
{
    off_t before = index_size(slots->room);

    slots->header->entries = slots->room = INDEX_STEP;
    if (ftruncate(slots->fd, index_size(INDEX_STEP)) == 0) /* if it fails, a longer file does no harm */
        ledger_file_resized(slots->arena, (uint64_t)before, (uint64_t)index_size(INDEX_STEP));
}

void slot_leave(struct slots *slots, struct slot *slot)
{
    slot->owner = getpid();
    slot->leaving = 1;
    delist(slots, slot);
    slots->count--;
    slots->leaving++;
    times_touch(&slots->header->root);
    slots->in_state[slot->state]--;
    slots->changes++;
}

void slot_destroy(struct slots *slots, struct slot *slot)
{
    uint32_t index = slot_index(slots, slot);

    if (!slot->leaving)
        slot_leave(slots, slot);
    slot->serial = 0;
    slots->leaving--;
    if (index < slots->first_free)
        slots->first_free = index;
    if (slots->count + slots->leaving == 0 && slots->room > INDEX_STEP)
        shrink(slots);
}

void slot_rename(struct slots *slots, struct slot *slot, const char *name)
{
    delist(slots, slot);
    memset(slot->name, 0, sizeof(slot->name));
    strcpy(slot->name, name);
    enlist(slots, slot);
    times_touch(&slots->header->root);
    slot_touch_attributes(slot, SLOT_DIRECTORY);
    slots->changes++;
}

void slot_enter_state(struct slots *slots, struct slot *slot, enum handshake_state state)
{
    slots->in_state[slot->state]--;
    slots->in_state[state]++;
    slot->state = state;
    slots->changes++;
}

bool slot_may_read(const struct slot *slot, enum slot_file file, uid_t uid, bool in_group)
{
    unsigned shift = uid == slot->uid ? 6 : in_group ? 3 : 0;

    return uid == 0 || (slot->modes[SLOT_DIRECTORY] >> shift & 1 && slot->modes[file] >> shift & 4);
}

enum handshake_state slot_state(const struct slot *slot)
{
    return (enum handshake_state)slot->state;
}

void slot_chmod(struct slot *slot, mode_t mode)
{
    for (int file = 0; file < SLOT_FILES; file++) {
        mode_t derived = mode & 0666;

        switch ((enum slot_file)file) {
        case SLOT_DIRECTORY:
            derived = mode & 07777;
            break;
        case SLOT_METADATA_MEM:
        case SLOT_DATA_TXT:
        case SLOT_RESULT_TXT:
        case SLOT_DATA_NPY:
        case SLOT_RESULT_NPY:
            derived = mode & 0444;
            break;
        case SLOT_SOURCE:
        case SLOT_DATA_LINK:
        case SLOT_RESULT_LINK:
        case SLOT_METADATA_LINK:
            derived = 0777;
            break;
        case SLOT_METADATA_BIN:
        case SLOT_METADATA_TXT:
        case SLOT_DATA_BIN:
        case SLOT_RESULT_BIN:
        case SLOT_TASK:
        case SLOT_ERROR:
        case SLOT_OWNER:
        case SLOT_WORKER:
        case SLOT_FILES:
            break;
        }
        slot->modes[file] = (uint16_t)derived;
        slot_touch_attributes(slot, (enum slot_file)file);
    }
}

void slot_chown(struct slot *slot, uid_t uid, gid_t gid)
{
    slot->uid = uid;
    slot->gid = gid;
    for (int file = 0; file < SLOT_FILES; file++)
        slot_touch_attributes(slot, (enum slot_file)file);
}

struct slot_times *slot_times(struct slot *slot, enum slot_file file)
{
    if (slot_file_has_side(file))
        return &slot->arrays[slot_file_side(file)].times;
    return &slot->times[file == SLOT_METADATA_TXT || file == SLOT_METADATA_MEM ? SLOT_METADATA_BIN : file];
}

struct slot_times *slots_times(struct slots *slots)
{
    return &slots->header->root;
}

void slot_touch(struct slot *slot, enum slot_file file)
{
    times_touch(slot_times(slot, file));
    if (slot_file_has_side(file))
        slot->dated[slot_file_side(file)] = 0;
}

void slot_touch_attributes(struct slot *slot, enum slot_file file)
{
    clock_gettime(CLOCK_REALTIME, &slot_times(slot, file)->changed);
}

const char *slot_file_name(enum slot_file file)
{
    return file_names[file];
}

enum slot_file slot_file_find(const char *name)
{
    int file = SLOT_DIRECTORY + 1;

    while (file < SLOT_FILES && strcmp(file_names[file], name) != 0)
        file++;
    return (enum slot_file)file;
}

bool slot_file_exists(const struct slot *slot, enum slot_file file)
{
    return file < SLOT_FILES && (file != SLOT_SOURCE || slot->source);
}

bool slot_file_has_side(enum slot_file file)
{
    return file >= SLOT_DATA_BIN && file <= SLOT_RESULT_NPY;
}

enum record_side slot_file_side(enum slot_file file)
{
    return slot_file_has_side(file) && (file - SLOT_DATA_BIN) % 2 ? RECORD_SIDE_RESULT : RECORD_SIDE_INPUT;
}

enum slot_file slot_file_of_side(enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? SLOT_DATA_BIN : SLOT_RESULT_BIN;
}

static uint16_t *inline_size(struct slot *slot, enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? &slot->record.input_inline : &slot->record.result_inline;
}

size_t slot_inline_size(const struct slot *slot, enum record_side side)
{
    return side == RECORD_SIDE_INPUT ? slot->record.input_inline : slot->record.result_inline;
}

void slot_set_inline(struct slot *slot, enum record_side side, const void *bytes, size_t size)
{
    size_t before = slot_inline_size(slot, side);

    if (size)
        memcpy(slot->inline_bytes[side], bytes, size);
    if (before > size)
        memset(slot->inline_bytes[side] + size, 0, before - size);
    *inline_size(slot, side) = (uint16_t)size;
}

void slot_fresh_array(struct slots *slots, struct slot *slot, enum record_side side)
{
    struct slot_array *array = &slot->arrays[side];

    array->serial = slots_serial(slots);
    array->inode = array->serial;
    array->number = array->serial;
    array->segment_id = 0;
    array->home = slot_index(slots, slot);
    array->home_side = side;
    array->borrowed = 0;
    array->times = slot_times_now();
    slot->dated[side] = 0;
}
