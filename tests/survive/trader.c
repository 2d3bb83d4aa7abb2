// SPDX-License-Identifier: Apache-2.0
/*
 * trader.c - a client in C that exchanges arrays and checks every byte: trader ROLE SLOT SEED DIARY.
 *
 * It does what the producer and the worker of trader.py do, whose peer it can be, and says the same about its end. Like those it
 * may be killed at any moment: the diary, a mapped file, tells its successor how far it was.
 */
#include "protocol/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LARGEST = 2000000,
    ONE_WRITE = (1 << 20) - 4096 - RECORD_SIZE, /* an array of so many bytes can go with its record */
    PATIENCE_MS = 1000,
    TRIES = 2000,
};

/* trader.py has the same. A round has the number of its array: the first one of a slot is 1. */
struct diary {
    uint64_t steps;
    uint8_t is_over;
    uint8_t unused[7];
    uint64_t published; /* the last array that the client has published, as it was told, */
    uint64_t begun;     /* the last one that it may have published, */
    uint64_t ended;     /* and, of a producer, the last one whose result it has */
};

struct trader {
    const char *role;
    const char *slot;
    uint64_t seed;
    uint64_t random;
    struct diary *diary;
    const struct diary *worker; /* the peer of a producer */
    uint8_t data[LARGEST];
    uint8_t answer[LARGEST];
    uint8_t message[RECORD_SIZE + ONE_WRITE];
};

static struct trader trader;

static _Noreturn void surprised(const char *what, uint64_t round)
{
    fprintf(stderr, "%s of %s: Surprise: round %" PRIu64 ": %s\n", trader.role, trader.slot, round, what);
    exit(EXIT_FAILURE);
}

static _Noreturn void failed(const char *call)
{
    fprintf(stderr, "%s of %s: %s: %s, round %" PRIu64 "\n", trader.role, trader.slot, call, strerror(errno),
            trader.diary ? trader.diary->begun : 0);
    exit(EXIT_FAILURE);
}

/* --- arrays --- */

static uint64_t draw(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t value = *state;
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static bool happens(unsigned percent)
{
    return draw(&trader.random) % 100 < percent;
}

/* The array of this number, the same for the successor of a client that was killed. */
static size_t array_of(uint64_t number)
{
    static const size_t sizes[] = {1,     8,      100,    RECORD_INLINE_MAX, RECORD_INLINE_MAX + 1, 5000,
                                   70000, 300000, LARGEST};
    uint64_t state = trader.seed * UINT64_C(0x2545f4914f6cdd1d) + number;
    size_t size = sizes[draw(&state) % (sizeof(sizes) / sizeof(*sizes))];

    for (size_t at = 0; at < size; at += sizeof(state)) {
        uint64_t word = draw(&state);
        memcpy(trader.data + at, &word, size - at < sizeof(word) ? size - at : sizeof(word));
    }
    return size;
}

static uint32_t crc32_of(const uint8_t *bytes, size_t size)
{
    static uint32_t table[256];
    uint32_t crc = UINT32_MAX;

    for (uint32_t n = 0; n < 256 && !table[255]; n++) {
        uint32_t value = n;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xedb88320U : value >> 1;
        table[n] = value;
    }
    for (size_t n = 0; n < size; n++)
        crc = crc >> 8 ^ table[(crc ^ bytes[n]) & 0xff];
    return ~crc;
}

/* What a worker makes of an input: its bytes turned round, and in front what tells all of them. */
static void answer_to(const uint8_t *data, size_t size)
{
    uint32_t crc = crc32_of(data, size);

    for (size_t n = 0; n < size; n++)
        trader.answer[n] = (uint8_t)~data[n];
    memcpy(trader.answer, &crc, size < sizeof(crc) ? size : sizeof(crc));
}

/* --- a slot's files --- */

static int open_in(const char *name, int flags)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s", trader.slot, name) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, flags | O_CLOEXEC);
}

static int opened(const char *name, int flags)
{
    int fd = open_in(name, flags);

    if (fd < 0)
        failed(name);
    return fd;
}

static void close_fd(int fd)
{
    if (close(fd) != 0)
        failed("close");
}

static struct record record_from(int fd)
{
    struct record record;

    if (pread(fd, &record, sizeof(record), 0) != sizeof(record))
        failed("read of metadata.bin");
    return record;
}

static struct record record_now(void)
{
    int fd = opened("metadata.bin", O_RDONLY);
    struct record record = record_from(fd);

    close_fd(fd);
    return record;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/*
 * Writes the record, and the array with it if there is one. What a client has let go of, or a predecessor that was killed, may count as
 * written for a moment longer: EBUSY.
 */
static void write_record(enum record_flag flag, const uint8_t *array, size_t attached, size_t length)
{
    int fd = opened("metadata.bin", O_RDWR);
    struct record record = record_from(fd);
    ssize_t done = -1;

    record.flag = flag;
    if (flag == RECORD_FLAG_INPUT) {
        record.input_length = (int64_t)length;
        record.dtype = record.result_dtype = RECORD_UINT8;
    } else {
        record.result_length = (int64_t)length;
    }
    memcpy(trader.message, &record, sizeof(record));
    if (attached)
        memcpy(trader.message + sizeof(record), array, attached);
    for (int n = 0; n < TRIES; n++) {
        done = pwrite(fd, trader.message, sizeof(record) + attached, 0);
        if (done >= 0 || errno != EBUSY)
            break;
        pause_ms(1);
    }
    if (done != (ssize_t)(sizeof(record) + attached))
        failed("write of metadata.bin");
    close_fd(fd);
}

static int open_to_write(const char *name, int flags)
{
    for (int n = 0; n < TRIES; n++) {
        int fd = open_in(name, flags | O_TRUNC);
        if (fd >= 0 || errno != EBUSY)
            return fd;
        pause_ms(1);
    }
    return -1;
}

static void write_array(const char *name, const uint8_t *array, size_t size)
{
    bool stores = happens(60);
    int fd = open_to_write(name, stores ? O_RDWR : O_WRONLY);

    if (fd < 0)
        failed(name);
    if (stores) {
        if (ftruncate(fd, (off_t)size) != 0)
            failed("ftruncate");
        uint8_t *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (pages == MAP_FAILED)
            failed("mmap");
        memcpy(pages, array, size);
        munmap(pages, size);
    } else {
        static const size_t pieces[] = {100, 4096, 65536};
        for (size_t at = 0; at < size;) {
            size_t piece = size > 100000 ? 65536 : pieces[draw(&trader.random) % 3];
            ssize_t done = pwrite(fd, array + at, size - at < piece ? size - at : piece, (off_t)at);
            if (done <= 0)
                failed("write of an array");
            at += (size_t)done;
        }
    }
    close_fd(fd);
}

static void publish(enum record_flag flag, const uint8_t *array, size_t size)
{
    if (size <= ONE_WRITE && happens(size <= RECORD_INLINE_MAX ? 70 : 30)) {
        write_record(flag, array, size, size);
        return;
    }
    write_array(flag == RECORD_FLAG_INPUT ? "data.bin" : "result.bin", array, size);
    write_record(flag, NULL, 0, size);
}

/* Compares an open file with an array, by calls or through a mapping. */
static bool is_same(int fd, const uint8_t *array, size_t size)
{
    bool same = true;
    struct stat stat;

    if (fstat(fd, &stat) != 0)
        failed("fstat");
    if (stat.st_size != (off_t)size)
        return false;
    if (happens(50)) {
        void *pages = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (pages == MAP_FAILED)
            failed("mmap");
        same = memcmp(pages, array, size) == 0;
        munmap(pages, size);
        return same;
    }
    for (size_t at = 0; at < size && same;) {
        static uint8_t piece[1 << 20];
        ssize_t done = read(fd, piece, sizeof(piece));
        if (done < 0)
            failed("read");
        same = done > 0 && (size_t)done <= size - at && memcmp(piece, array + at, (size_t)done) == 0;
        at += (size_t)done;
    }
    return same;
}

static size_t read_input(size_t size)
{
    int fd = opened("data.bin", O_RDONLY);
    size_t at = 0;

    while (at < sizeof(trader.data)) {
        ssize_t done = read(fd, trader.data + at, sizeof(trader.data) - at);
        if (done < 0)
            failed("read of data.bin");
        if (done == 0)
            break;
        at += (size_t)done;
    }
    close_fd(fd);
    if (at != size)
        surprised("an input of another size", trader.diary->begun);
    return at;
}

/* --- roles --- */

/* The only failure that a producer may see. What the worker has published, as it was told, cannot have failed. */
static void check_failure(uint64_t round)
{
    char text[65536];
    int fd = opened("metadata.txt", O_RDONLY);
    ssize_t size = read(fd, text, sizeof(text) - 1);

    close_fd(fd);
    text[size < 0 ? 0 : size] = '\0';
    if (!strstr(text, "\nfailure=worker-died pid="))
        surprised("a failure that is not a worker's death", round);
    if (__atomic_load_n(&trader.worker->published, __ATOMIC_ACQUIRE) >= round)
        surprised("a result that was published is gone", round);
}

static void produce(void)
{
    struct diary *diary = trader.diary;
    uint64_t number = diary->ended + 1;
    size_t size = array_of(number);
    int fd;

    if (diary->published < number) {
        bool is_resumed = diary->begun == number;
        struct record record = record_now();
        bool is_there = is_resumed && record.round == number;
        if (!is_there && record.round != (number > 1 ? number - 1 : 1))
            surprised("the record says another round", number);
        diary->begun = number;
        /* The predecessor that was killed may have published it, without being told. */
        if (!is_there || record.flag == RECORD_FLAG_NONE)
            publish(RECORD_FLAG_INPUT, trader.data, size);
        diary->published = number;
    }
    while ((fd = open_in("result.bin", O_RDONLY)) < 0 && errno == EIO) {
        check_failure(number);
        write_record(RECORD_FLAG_INPUT, NULL, 0, size);
    }
    if (fd < 0)
        failed("result.bin");
    answer_to(trader.data, size);
    if (!is_same(fd, trader.answer, size))
        surprised("the result is not the answer", number);
    close_fd(fd);
    if (record_now().round != number)
        surprised("the record says another round", number);
    diary->ended = number;
}

/* Returns false at the end. */
static bool wait_for_input(struct record *record)
{
    int fd = opened("metadata.bin", O_RDONLY);

    for (;;) {
        *record = record_from(fd);
        bool is_new = record->flag == RECORD_FLAG_INPUT && record->round > trader.diary->published;
        if (is_new || trader.diary->is_over) {
            close_fd(fd);
            return is_new;
        }
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, PATIENCE_MS) < 0)
            failed("poll");
    }
}

static void work(void)
{
    struct diary *diary = trader.diary;
    struct record record;

    if (!wait_for_input(&record))
        return;
    /* The predecessor may have published the round before, without being told. */
    if (record.round != diary->published + 1 && record.round != diary->begun + 1)
        surprised("a round was left out", record.round);
    diary->begun = record.round;
    size_t size = read_input((size_t)record.input_length);
    answer_to(trader.data, size);
    publish(RECORD_FLAG_RESULT, trader.answer, size);
    __atomic_store_n(&diary->published, record.round, __ATOMIC_RELEASE);
}

static void *map_diary(const char *path, int protection)
{
    int fd = open(path, protection & PROT_WRITE ? O_RDWR : O_RDONLY);
    void *diary = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct diary), protection, MAP_SHARED, fd, 0);

    if (diary == MAP_FAILED)
        failed(path);
    return diary;
}

int main(int argc, char **argv)
{
    if (argc != 5 || (strcmp(argv[1], "producer") != 0 && strcmp(argv[1], "worker") != 0)) {
        fprintf(stderr, "usage: %s producer|worker SLOT SEED DIARY\n", argv[0]);
        return 2;
    }
    trader.role = argv[1];
    trader.slot = argv[2];
    trader.seed = strtoull(argv[3], NULL, 10);
    trader.random = trader.seed ^ (uint64_t)getpid();
    trader.diary = map_diary(argv[4], PROT_READ | PROT_WRITE);
    if (strcmp(trader.role, "worker") == 0) {
        int fd = opened("worker", O_WRONLY);
        if (write(fd, "self", 4) != 4)
            failed("worker");
        close_fd(fd);
    } else {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%.*sworker", (int)(strlen(argv[4]) - strlen("producer")), argv[4]);
        trader.worker = map_diary(path, PROT_READ);
    }
    while (!trader.diary->is_over) {
        if (trader.worker)
            produce();
        else
            work();
        trader.diary->steps++;
    }
    return 0;
}
