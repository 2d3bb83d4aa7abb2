// SPDX-License-Identifier: Apache-2.0
/*
 * An index that anybody may have written: any bytes in its entries, half of the time with checksums that are right.
 * Whatever is in it, a start refuses it or makes a table in which every slot has its place.
 */
#include "table.h"

#include "arena/arena.h"
#include "base/background.h"
#include "base/checksum.h"
#include "base/log.h"
#include "exchange/exchange.h"
#include "slot/restore.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LIMIT = 100, USED = 8, HEADERS = 8192, HEAD = 32, CAPACITY = 32 << 20 };

static struct background *background;
static struct arena *arena;

static size_t stride(void)
{
    return (HEAD + ENTRY_SIZE + 63) / 64 * 64;
}

static off_t place(unsigned number, unsigned copy)
{
    return HEADERS + (off_t)(((size_t)copy * INDEX_STEP + number) * stride());
}

static off_t place_of_tail(unsigned number, unsigned copy)
{
    return place(0, 2) + (off_t)(((size_t)copy * INDEX_STEP + number) * ENTRY_TAIL);
}

static void begin(void)
{
    struct arena_options options = {.kind = ARENA_MEMFD, .capacity = CAPACITY};
    char error[ARENA_ERROR_MAX];

    if (arena)
        return;
    log_open(LOG_TO_STDERR, LOG_LEVEL_ERROR);
    INVARIANT(background_init(&background) == 0);
    options.background = background;
    INVARIANT(arena_open(&arena, &options, error) == 0);
}

/* A slot of each kind that the fuzzer then changes. */
static void make_index(void)
{
    char error[ARENA_ERROR_MAX], name[8];
    struct slots *slots;
    struct slot *slot, *last = NULL;

    arena_file_unlink(arena, "index");
    INVARIANT(slots_open(&slots, arena, LIMIT, error) == 0);
    INVARIANT(slots_begin(slots) == 0);
    for (int i = 0; i < USED - 2; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        INVARIANT(slot_create(slots, name, 1, 1, 0700, &slot) == 0);
        if (last && i % 2) {
            slot->source = slot_index(slots, last);
            slot->source_slot = last->serial;
        }
        slots_commit(slots);
        last = slot;
    }
    slots_close(slots);
}

/* One change of a copy: where, and by what. */
static void change(struct stream *stream, int fd)
{
    unsigned number = stream_byte(stream) % USED;
    unsigned choice = stream_byte(stream);
    unsigned copy = choice & 1;
    uint16_t at = 0;
    uint8_t bytes[16];
    size_t length = stream_byte(stream) % (sizeof(bytes) + 1);
    static uint8_t whole[HEAD + ENTRY_SIZE + 64], tail[ENTRY_TAIL];
    uint32_t size, tail_size;
    uint64_t sum;

    stream_take(stream, &at, sizeof(at));
    memset(bytes, 0, sizeof(bytes));
    stream_take(stream, bytes, length);
    INVARIANT(pread(fd, whole, stride(), place(number, copy)) == (ssize_t)stride());
    at = (uint16_t)(at % (stride() - sizeof(bytes)));
    memcpy(whole + at, bytes, length);
    memcpy(&size, whole + 20, sizeof(size));
    memcpy(&tail_size, whole + 24, sizeof(tail_size));
    if (choice & 2 && size <= ENTRY_SIZE && tail_size <= ENTRY_TAIL) {
        INVARIANT(pread(fd, tail, ENTRY_TAIL, place_of_tail(number, copy)) == ENTRY_TAIL);
        sum = checksum_of(whole + 8, HEAD - 8 + size, number);
        if (tail_size)
            sum = checksum_of(tail, tail_size, sum);
        memcpy(whole, &sum, sizeof(sum));
    }
    INVARIANT(pwrite(fd, whole, stride(), place(number, copy)) == (ssize_t)stride());
}

static off_t size_of(int fd)
{
    struct stat status;

    INVARIANT(fstat(fd, &status) == 0);
    return status.st_size;
}

static uint64_t sum_of(int fd)
{
    size_t size = (size_t)size_of(fd);
    uint8_t *bytes = malloc(size);
    uint64_t sum;

    INVARIANT(bytes && pread(fd, bytes, size, 0) == (ssize_t)size);
    sum = checksum_of(bytes, size, 0);
    free(bytes);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream stream = {data, size};
    char error[ARENA_ERROR_MAX];
    struct slots *slots;
    bool is_refused;
    uint64_t sum;
    int fd;

    begin();
    make_index();
    fd = arena_file_open(arena, "index", O_RDWR);
    INVARIANT(fd >= 0);
    while (stream.size)
        change(&stream, fd);
    sum = sum_of(fd);
    is_refused = slots_open(&slots, arena, LIMIT, error) < 0;
    if (is_refused) /* it says that it has more slots than we allow */
        INVARIANT(strstr(error, "limits.slots") && sum_of(fd) == sum);
    close(fd);
    if (is_refused)
        return 0;
    INVARIANT(slots_begin(slots) == 0);
    check_table(slots);
    slots_close(slots);
    /* What the start has made of it is whole. */
    INVARIANT(slots_open(&slots, arena, LIMIT, error) == 0);
    INVARIANT(slots_begin(slots) == 0);
    check_table(slots);
    slots_close(slots);
    return 0;
}
