// SPDX-License-Identifier: Apache-2.0
#include "slot/index.h"

#include "base/checksum.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    HEADERS = 2,
    COPIES = 2,
    NONE = COPIES, /* of the copies */
    INDEX_VERSION = 7,
    ALIGNMENT = 64,
};

static const uint64_t headers_size = (uint64_t)HEADERS * PAGE;
static const char index_magic[8] = "pyrmapix";
static const char index_name[] = "index";

struct header {
    char magic[8];
    uint32_t version;
    uint32_t entry_size; /* with its tail */
    uint64_t checksum;   /* of what stands before it */
};

/* What stands before each copy of an entry. */
struct copy {
    uint64_t checksum; /* of all that follows, seeded with the entry's number; set last */
    uint64_t sequence; /* of the change that wrote it */
    uint32_t members;  /* entries that this change wrote */
    uint32_t size;     /* bytes of the entry that follow; 0: the entry is free */
    uint32_t tail;     /* and of its tail */
    uint32_t unused;
    unsigned char entry[];
};

struct index {
    struct arena *arena;
    struct index_sizes sizes;
    size_t mapped; /* address space, in bytes; the file is shorter */
    uint64_t size; /* of the file: nobody touches what is mapped beyond it */
    char *map;
    int fd; /* -1: there is no file yet */
    uint32_t limit;
    bool has_more; /* the file has entries beyond the limit */
    uint32_t blocks;
    uint64_t sequence; /* of the last change */
    uint32_t members;  /* of the one under way */
    uint8_t *counts;   /* by entry: which copy does, or NONE */
};

/* --- places --- */

static size_t stride_of(struct index_sizes sizes)
{
    return (sizeof(struct copy) + sizes.entry + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

static size_t block_of(struct index_sizes sizes)
{
    return (size_t)COPIES * INDEX_STEP * (stride_of(sizes) + sizes.tail);
}

static uint32_t blocks_for(uint32_t entries)
{
    return (entries + INDEX_STEP - 1) / INDEX_STEP;
}

static uint64_t size_of_blocks(struct index_sizes sizes, uint32_t blocks)
{
    return headers_size + (uint64_t)blocks * block_of(sizes);
}

uint64_t index_bytes(struct index_sizes sizes, uint32_t entries)
{
    return size_of_blocks(sizes, blocks_for(entries));
}

static uint64_t place_of(const struct index *index, uint32_t number, unsigned which)
{
    return size_of_blocks(index->sizes, number / INDEX_STEP) +
           ((uint64_t)which * INDEX_STEP + number % INDEX_STEP) * stride_of(index->sizes);
}

static uint64_t place_of_tail(const struct index *index, uint32_t number, unsigned which)
{
    return size_of_blocks(index->sizes, number / INDEX_STEP) +
           (uint64_t)COPIES * INDEX_STEP * stride_of(index->sizes) +
           ((uint64_t)which * INDEX_STEP + number % INDEX_STEP) * index->sizes.tail;
}

static struct copy *copy_at(const struct index *index, uint32_t number, unsigned which)
{
    return (struct copy *)(void *)(index->map + place_of(index, number, which));
}

static char *tail_at(const struct index *index, uint32_t number, unsigned which)
{
    return index->map + place_of_tail(index, number, which);
}

/* A file that was cut short ends before it. */
static bool is_there(const struct index *index, uint32_t number, unsigned which)
{
    return place_of(index, number, which) + stride_of(index->sizes) <= index->size;
}

static bool is_tail_there(const struct index *index, uint32_t number, unsigned which)
{
    return place_of_tail(index, number, which) + index->sizes.tail <= index->size;
}

uint32_t index_room(const struct index *index)
{
    uint32_t room = index->blocks * INDEX_STEP;

    return room < index->limit ? room : index->limit;
}

bool index_exists(const struct index *index)
{
    return index->fd >= 0;
}

bool index_exceeds_limit(const struct index *index)
{
    return index->has_more;
}

int index_fd(const struct index *index)
{
    return index->fd;
}

/* --- copies --- */

/* A tail that is too long, or not there, is not looked at. */
static uint64_t checksum_of_copy(const struct index *index, uint32_t number, unsigned which)
{
    const struct copy *copy = copy_at(index, number, which);
    const size_t skipped = sizeof(copy->checksum);
    uint64_t sum = checksum_of((const char *)copy + skipped, sizeof(*copy) - skipped + copy->size, number);

    return copy->tail ? checksum_of(tail_at(index, number, which), copy->tail, sum) : sum;
}

static bool is_whole(const struct index *index, uint32_t number, unsigned which)
{
    const struct copy *copy = copy_at(index, number, which);

    return is_there(index, number, which) && copy->sequence != 0 && copy->size <= index->sizes.entry &&
           (copy->tail == 0 || (copy->tail <= index->sizes.tail && is_tail_there(index, number, which))) &&
           checksum_of_copy(index, number, which) == copy->checksum;
}

/* The server was killed while it wrote this one. */
static bool is_torn(const struct index *index, uint32_t number, unsigned which)
{
    return is_there(index, number, which) && copy_at(index, number, which)->checksum == 0;
}

/* The file is allocated with zeros, and a copy is never written as zeros. */
static bool is_untouched(const struct index *index, uint32_t number, unsigned which)
{
    static const struct copy zeros;

    return is_there(index, number, which) &&
           memcmp(copy_at(index, number, which), &zeros, sizeof(zeros)) == 0;
}

/*
 * The order of the stores is what makes a copy whole or not, for a server that takes over from one that was
 * killed: first it is none, then it has its bytes, then its checksum.
 */
static void write_copy(struct index *index, uint32_t number, unsigned which, const struct copy *head,
                       const void *entry, const void *tail)
{
    struct copy *copy = copy_at(index, number, which);

    copy->checksum = 0;
    atomic_thread_fence(memory_order_seq_cst);
    copy->sequence = head->sequence;
    copy->members = head->members;
    copy->size = head->size;
    copy->tail = head->tail;
    if (head->size)
        memcpy(copy->entry, entry, head->size);
    if (head->tail)
        memcpy(tail_at(index, number, which), tail, head->tail);
    atomic_thread_fence(memory_order_seq_cst);
    copy->checksum = checksum_of_copy(index, number, which);
}

static void write_free(struct index *index, uint32_t number, unsigned which)
{
    write_copy(index, number, which, &(struct copy){.sequence = 1, .members = 1}, NULL, NULL);
}

/* --- changes --- */

void index_change(struct index *index, uint32_t members)
{
    index->sequence++;
    index->members = members;
}

void index_put(struct index *index, uint32_t number, const void *entry, size_t size, const void *tail,
               size_t tail_size)
{
    const struct copy head = {.sequence = index->sequence,
                              .members = index->members,
                              .size = (uint32_t)size,
                              .tail = (uint32_t)tail_size};
    uint8_t *counts = &index->counts[number];

    /* Its first change has to leave a free entry if it is torn. */
    if (*counts == NONE)
        write_free(index, number, *counts = 1);
    write_copy(index, number, 1U - *counts, &head, entry, tail);
    *counts = (uint8_t)(1U - *counts);
}

void index_clear(struct index *index, uint32_t number)
{
    index_put(index, number, NULL, 0, NULL, 0);
}

void index_forget(struct index *index, uint32_t number)
{
    write_free(index, number, 1U - index->counts[number]);
}

/* --- a file that exists: we look at it and change nothing --- */

int index_refuse(const struct index *index, char error[ARENA_ERROR_MAX], const char *format, ...)
{
    char path[ARENA_ERROR_MAX / 2], what[ARENA_ERROR_MAX / 2];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    arena_file_path(index->arena, index_name, path, sizeof(path));
    snprintf(error, ARENA_ERROR_MAX, "%s%s", path, what);
    return -EINVAL;
}

static const char damaged_remedy[] =
    "put back a copy of the directory, or use another arena.path; nothing was changed";

static const struct header *header_at(const struct index *index, int which)
{
    return (const struct header *)(const void *)(index->map + (size_t)which * PAGE);
}

static uint64_t checksum_of_header(const struct header *header)
{
    return checksum_of(header, offsetof(struct header, checksum), 0);
}

static bool is_whole_header(const struct header *header)
{
    return memcmp(header->magic, index_magic, sizeof(index_magic)) == 0 &&
           header->checksum == checksum_of_header(header);
}

static int refuse_layout(const struct index *index, const struct header *header, char error[ARENA_ERROR_MAX])
{
    return index_refuse(index, error,
                        " has the layout of another version of pyrmapfs (%u, this one has %u): start that "
                        "version, or use another arena.path; nothing was changed",
                        header->version, (unsigned)INDEX_VERSION);
}

/* Earlier versions have one header, without a checksum. */
static int check_headers(const struct index *index, char error[ARENA_ERROR_MAX])
{
    const struct header *header = header_at(index, 0);
    bool is_ours = memcmp(header->magic, index_magic, sizeof(index_magic)) == 0;

    for (int which = 0; which < HEADERS && (uint64_t)(which + 1) * PAGE <= index->size; which++) {
        if (!is_whole_header(header_at(index, which)))
            continue;
        header = header_at(index, which);
        if (header->version != INDEX_VERSION || header->entry_size != index->sizes.entry + index->sizes.tail)
            return refuse_layout(index, header, error);
        return 0;
    }
    if (is_ours && header->version != INDEX_VERSION)
        return refuse_layout(index, header, error);
    return index_refuse(index, error, " is damaged, or no index of pyrmapfs: %s", damaged_remedy);
}

/* Whether the server that made the file ended before it wrote anything into it. */
static bool is_blank(const struct index *index)
{
    for (uint64_t at = 0; at < index->size && at < headers_size; at++) {
        if (index->map[at])
            return false;
    }
    return true;
}

/* Chooses the copy that counts, the last change aside. */
static void choose(struct index *index, uint32_t number)
{
    uint64_t newest = 0;

    index->counts[number] = NONE;
    for (unsigned which = 0; which < COPIES; which++) {
        if (!is_whole(index, number, which) || copy_at(index, number, which)->sequence <= newest)
            continue;
        newest = copy_at(index, number, which)->sequence;
        index->counts[number] = (uint8_t)which;
    }
    if (newest > index->sequence)
        index->sequence = newest;
}

static const struct copy *counting(const struct index *index, uint32_t number)
{
    return index->counts[number] == NONE ? NULL : copy_at(index, number, index->counts[number]);
}

static bool is_of_last_change(const struct index *index, uint32_t number)
{
    const struct copy *copy = counting(index, number);

    return copy && copy->sequence == index->sequence;
}

/*
 * A server that ends within a change leaves the older copy of each entry whole. So an entry that has none was damaged
 * by something else, whatever it was a member of.
 */
static bool is_destroyed(const struct index *index, uint32_t number)
{
    return index->counts[number] == NONE && !is_untouched(index, number, 0) &&
           !is_untouched(index, number, 1);
}

/*
 * If the last change lacks members, those that it has written do not count. A destroyed entry may have been a member:
 * a change that was complete must not be lost with it.
 */
static void drop_half_change(struct index *index)
{
    uint32_t found = 0, destroyed = 0, members = 0;

    for (uint32_t number = 0; number < index_room(index); number++) {
        destroyed += is_destroyed(index, number);
        if (is_of_last_change(index, number)) {
            found++;
            members = counting(index, number)->members;
        }
    }
    for (uint32_t number = 0; found + destroyed < members && number < index_room(index); number++) {
        unsigned other = 1U - index->counts[number];

        if (is_of_last_change(index, number))
            index->counts[number] = (uint8_t)(is_whole(index, number, other) ? other : NONE);
    }
}

static void look_at_entries(struct index *index)
{
    const uint64_t block = block_of(index->sizes);

    index->has_more = index->size > index->mapped;
    if (index->has_more)
        index->size = index->mapped;
    index->blocks = (uint32_t)((index->size - headers_size + block - 1) / block);
    index->sequence = 1; /* of entries that were never written */
    for (uint32_t number = 0; number < index_room(index); number++)
        choose(index, number);
    drop_half_change(index);
}

enum index_health index_health(const struct index *index, uint32_t number)
{
    const struct copy *copy = counting(index, number);
    unsigned other = 1U - index->counts[number];

    if (!copy && !is_there(index, number, 0) && !is_there(index, number, 1))
        return INDEX_CUT_OFF;
    if (!copy)
        return is_untouched(index, number, 0) &&
                       (is_untouched(index, number, 1) || !is_there(index, number, 1))
                   ? INDEX_FREE
                   : INDEX_DAMAGED;
    if (copy->size == 0)
        return INDEX_FREE;
    return is_whole(index, number, other) || is_torn(index, number, other) ? INDEX_WHOLE : INDEX_EARLIER;
}

/* Zeros behind them. */
static void take(const void *from, size_t size, void *to, size_t room)
{
    memcpy(to, from, size);
    memset((char *)to + size, 0, room - size);
}

void index_read(const struct index *index, uint32_t number, void *entry, void *tail)
{
    const struct copy *copy = counting(index, number);

    take(copy->entry, copy->size, entry, index->sizes.entry);
    take(tail_at(index, number, index->counts[number]), copy->tail, tail, index->sizes.tail);
}

void index_remains(const struct index *index, uint32_t number, unsigned which, void *entry, void *tail)
{
    const size_t size = is_there(index, number, which) ? index->sizes.entry : 0;
    const size_t tail_size = is_tail_there(index, number, which) ? index->sizes.tail : 0;

    take(copy_at(index, number, which)->entry, size, entry, index->sizes.entry);
    take(tail_at(index, number, which), tail_size, tail, index->sizes.tail);
}

static int map_file(struct index *index)
{
    void *map = mmap(NULL, index->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, index->fd, 0);

    if (map == MAP_FAILED)
        return -errno;
    index->map = map;
    return 0;
}

static void forget_file(struct index *index)
{
    if (index->map)
        munmap(index->map, index->mapped);
    if (index->fd >= 0)
        close(index->fd);
    index->map = NULL;
    index->fd = -1;
}

static int look(struct index *index, char error[ARENA_ERROR_MAX])
{
    const uint32_t others = arena_found_files(index->arena);
    struct stat status;
    int result;

    index->fd = arena_file_open(index->arena, index_name, O_RDWR);
    if (index->fd == -ENOENT && others > 0)
        return index_refuse(index, error, " is missing, but %u other files of an arena are there: %s", others,
                            damaged_remedy);
    if (index->fd == -ENOENT)
        return 0;
    if (index->fd < 0 || fstat(index->fd, &status) < 0) {
        result = index->fd < 0 ? index->fd : -errno;
        index_refuse(index, error, " cannot be opened: %s", strerror(-result));
        return result;
    }
    index->size = (uint64_t)status.st_size;
    result = map_file(index);
    if (!index->map) {
        index_refuse(index, error, " cannot be mapped: %s", strerror(-result));
        return result;
    }
    if (is_blank(index) && others <= 1) {
        forget_file(index);
        return 0;
    }
    if (index->size < PAGE)
        return index_refuse(index, error, " is cut short at %llu bytes: %s", (unsigned long long)index->size,
                            damaged_remedy);
    result = check_headers(index, error);
    if (result == 0 && index->size <= headers_size)
        return index_refuse(index, error, " is cut short at %llu bytes: %s", (unsigned long long)index->size,
                            damaged_remedy);
    if (result == 0)
        look_at_entries(index);
    return result;
}

int index_open(struct index **out, struct arena *arena, struct index_sizes sizes, uint32_t limit,
               char error[ARENA_ERROR_MAX])
{
    struct index *index = calloc(1, sizeof(*index));
    int result = -ENOMEM;

    *out = NULL;
    snprintf(error, ARENA_ERROR_MAX, "out of memory");
    if (!index)
        return -ENOMEM;
    index->arena = arena;
    index->sizes = sizes;
    index->fd = -1;
    index->limit = limit;
    index->mapped = size_of_blocks(index->sizes, blocks_for(limit));
    index->counts = malloc(blocks_for(limit) * (size_t)INDEX_STEP);
    if (index->counts) {
        memset(index->counts, NONE, blocks_for(limit) * (size_t)INDEX_STEP);
        result = look(index, error);
    }
    if (result < 0) {
        index_close(index);
        return result;
    }
    *out = index;
    return 0;
}

void index_close(struct index *index)
{
    if (!index)
        return;
    forget_file(index);
    free(index->counts);
    free(index);
}

/* --- from here on we change the file --- */

/* Allocate pages before we touch them: a full arena gives -ENOSPC here instead of SIGBUS in a change. */
static int allocate(struct index *index, uint32_t blocks)
{
    uint64_t size = size_of_blocks(index->sizes, blocks);
    int result;

    do
        result = fallocate(index->fd, 0, 0, (off_t)size);
    while (result < 0 && errno == EINTR);
    if (result < 0 && (errno != EOPNOTSUPP || ftruncate(index->fd, (off_t)size) < 0))
        return -errno;
    ledger_file_resized(index->arena, index->blocks ? size_of_blocks(index->sizes, index->blocks) : 0, size);
    index->blocks = blocks;
    index->size = size;
    return 0;
}

static void write_headers(struct index *index)
{
    struct header header = {.version = INDEX_VERSION, .entry_size = index->sizes.entry + index->sizes.tail};

    memcpy(header.magic, index_magic, sizeof(index_magic));
    header.checksum = checksum_of_header(&header);
    for (int which = 0; which < HEADERS; which++) {
        if (!is_whole_header(header_at(index, which)))
            memcpy(index->map + (size_t)which * PAGE, &header, sizeof(header));
    }
}

/* A copy that does not count must not count later, when other changes have followed. */
static void mend(struct index *index, uint32_t number)
{
    const struct copy *copy = counting(index, number);
    unsigned other = 1U - index->counts[number];

    if (copy && (!is_whole(index, number, other) || copy_at(index, number, other)->sequence > copy->sequence))
        write_copy(index, number, other, copy, copy->entry, tail_at(index, number, 1U - other));
}

int index_begin(struct index *index)
{
    uint32_t blocks = index->blocks;
    bool is_new = false;
    int result;

    if (index->fd < 0) {
        index->fd = arena_file_open(index->arena, index_name, O_RDWR | O_CREAT);
        if (index->fd < 0)
            return index->fd;
        result = map_file(index);
        if (result < 0)
            return result;
        index->sequence = 1;
        blocks = 1;
        is_new = true;
    }
    index->blocks = 0; /* the ledger does not know of it yet */
    result = allocate(index, blocks);
    if (result < 0)
        return result;
    write_headers(index);
    for (uint32_t number = 0; number < index_room(index); number++)
        mend(index, number);
    return is_new ? arena_sync_names(index->arena) : 0;
}

int index_grow(struct index *index)
{
    return index_room(index) < index->limit ? allocate(index, index->blocks + 1) : -ENOSPC;
}

void index_shrink(struct index *index)
{
    uint64_t before = size_of_blocks(index->sizes, index->blocks);
    uint64_t after = size_of_blocks(index->sizes, 1);

    if (index->blocks <= 1)
        return;
    memset(index->counts + INDEX_STEP, NONE, (size_t)(index->blocks - 1) * INDEX_STEP);
    index->blocks = 1;
    index->size = after;
    if (ftruncate(index->fd, (off_t)after) == 0) /* if it fails, a longer file does no harm */
        ledger_file_resized(index->arena, before, after);
}
