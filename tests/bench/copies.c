// SPDX-License-Identifier: Apache-2.0
/*
 * copies SLOT SIZE ROUNDS - the least that an unmodified array needs which lies in the memory of one program and comes back from
 * another: one copy into data.bin, one into result.bin, a write and a wake-up for each. Prints the seconds of each round.
 */
#include "client.h"
#include <linux/futex.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define HUGE_PAGE ((size_t)2 << 20)

enum { PATIENCE_S = 20 };

struct side {
    size_t size;
    bool links; /* the pages are reached through data.mem and result.mem */
    int metadata;
    const struct record *record; /* in the mapped page */
};

/* Maps an array of the slot in the directory at which we are, on a boundary of huge pages; lets go of the file. */
static void *map(const struct side *side, const char *array, int flags)
{
    char name[16], link[16];
    snprintf(name, sizeof(name), "%s.bin", array);
    snprintf(link, sizeof(link), "%s.mem", array);
    int fd = open_in(".", name, flags);
    if (flags == O_RDWR && ftruncate(fd, (off_t)side->size) != 0)
        fail(name);
    int pages = side->links ? open_in(".", link, flags) : fd;
    char *place =
        mmap(NULL, side->size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        fail("mmap");
    place += (HUGE_PAGE - (uintptr_t)place % HUGE_PAGE) % HUGE_PAGE;
    int protection = flags == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;
    int kind = flags == O_RDWR ? MAP_SHARED | MAP_POPULATE : MAP_PRIVATE;
    if (mmap(place, side->size, protection, kind | MAP_FIXED, pages, 0) == MAP_FAILED)
        fail("mmap");
    if (side->links)
        close_fd(pages);
    close_fd(fd);
    return place;
}

static void unmap(const struct side *side, void *address)
{
    if (munmap(address, side->size) != 0)
        fail("munmap");
}

static void step(const struct side *side, enum record_flag flag)
{
    struct record record = {.flag = flag,
                            .version = RECORD_VERSION,
                            .dtype = RECORD_UINT8,
                            .input_length = RECORD_LENGTH_ALL,
                            .result_length = RECORD_LENGTH_ALL};
    publish(side->metadata, &record, sizeof(record));
}

static void await(const struct side *side, enum record_flag flag)
{
    const struct timespec patience = {.tv_sec = PATIENCE_S};
    for (;;) {
        uint32_t change = __atomic_load_n(&side->record->change, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&side->record->flag, __ATOMIC_ACQUIRE) == (int32_t)flag)
            return;
        if (syscall(SYS_futex, &side->record->change, FUTEX_WAIT, change, &patience, NULL, 0) != 0 &&
            errno != EAGAIN && errno != EINTR)
            fail("futex");
    }
}

static void worker(const struct side *side, long rounds)
{
    while (rounds-- > 0) {
        await(side, RECORD_FLAG_INPUT);
        void *input = map(side, "data", O_RDONLY), *result = map(side, "result", O_RDWR);
        memcpy(result, input, side->size);
        unmap(side, result);
        unmap(side, input);
        step(side, RECORD_FLAG_RESULT);
    }
}

static double round_trip(const struct side *side, const void *array)
{
    double begin = seconds();
    void *input = map(side, "data", O_RDWR);
    memcpy(input, array, side->size);
    unmap(side, input);
    step(side, RECORD_FLAG_INPUT);
    await(side, RECORD_FLAG_RESULT);
    void *result = map(side, "result", O_RDONLY);
    double end = seconds();
    if (memcmp(result, array, side->size) != 0) {
        errno = EIO;
        fail("result.bin");
    }
    unmap(side, result);
    return end - begin;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    struct side side = {.size = (size_t)positive(argv[2])};
    long rounds = positive(argv[3]);
    struct stat link;
    if (chdir(argv[1]) != 0)
        fail(argv[1]);
    side.links = lstat("data.mem", &link) == 0;
    side.metadata = open_in(".", "metadata.bin", O_RDWR);
    int page = open_in(".", "metadata.mem", O_RDONLY);
    side.record = mmap(NULL, sizeof(struct record_page), PROT_READ, MAP_SHARED, page, 0);
    char *array = malloc(side.size);
    if (side.record == MAP_FAILED || !array)
        fail("memory");
    for (size_t i = 0; i < side.size; i++)
        array[i] = (char)(i * 31);
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
            _exit(1);
        worker(&side, rounds);
        _exit(0);
    }
    for (long round = 0; round < rounds; round++)
        printf("%.9f\n", round_trip(&side, array));
    int status;
    return waitpid(child, &status, 0) != child || status != 0;
}
