// SPDX-License-Identifier: Apache-2.0
/*
 * futex PATH FLAG... - maps a metadata.bin and waits for each of these flags in turn, sleeping on the word
 * `change`. Prints "waiting" before each and then "woken", or "seen" if it did not have to sleep. The flag
 * "gone" stands for a page that will not change any more.
 */
#include "protocol/record.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 20 };

/* Sleeps until *word is not `seen`. Returns 1 if a wake-up ended the sleep, 0 if it was not, or -1. */
static int wait_for_change(const struct record *record, uint32_t seen)
{
    const struct timespec patience = {.tv_sec = PATIENCE_SECONDS};
    long result = syscall(SYS_futex, &record->change, FUTEX_WAIT, seen, &patience, NULL, 0);
    if (result == 0) {
        return 1;
    }
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static int is_there(const struct record *record, const char *wanted)
{
    int gone = __atomic_load_n(&record->version, __ATOMIC_ACQUIRE) == RECORD_VERSION_GONE;
    if (strcmp(wanted, "gone") == 0) {
        return gone;
    }
    return !gone && __atomic_load_n(&record->flag, __ATOMIC_ACQUIRE) == (int32_t)strtol(wanted, NULL, 10);
}

/* Load `change` before the rest: then a later change makes the sleep return at once. */
static int wait_for(const struct record *record, const char *wanted)
{
    int woken = 0;
    for (;;) {
        uint32_t seen = __atomic_load_n(&record->change, __ATOMIC_ACQUIRE);
        if (is_there(record, wanted)) {
            return woken;
        }
        int result = wait_for_change(record, seen);
        if (result < 0) {
            return -1;
        }
        woken |= result;
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: futex PATH FLAG...\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        perror(argv[1]);
        return EXIT_FAILURE;
    }
    const struct record *record = mmap(NULL, RECORD_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (record == MAP_FAILED) {
        perror("mmap");
        return EXIT_FAILURE;
    }
    for (int i = 2; i < argc; i++) {
        puts("waiting");
        int woken = wait_for(record, argv[i]);
        if (woken < 0) {
            perror("futex");
            return EXIT_FAILURE;
        }
        puts(woken > 0 ? "woken" : "seen");
    }
    return EXIT_SUCCESS;
}
