// SPDX-License-Identifier: Apache-2.0
/*
 * worker SLOT ROUNDS - a whole consumer in C: waits for the input of each round, maps it, maps the result,
 * stores the doubled input there, and publishes. float64 only.
 */
#include "protocol/record.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int fail(const char *what)
{
    fprintf(stderr, "worker: %s: %s\n", what, strerror(errno));
    return -1;
}

/* Sleeps until the record shows an input of another round than `last`. The first poll says "readable". */
static int wait_for_input(int metadata, uint64_t last, struct record *record)
{
    struct pollfd changes = {.fd = metadata, .events = POLLIN};
    do {
        if (poll(&changes, 1, -1) < 0 || pread(metadata, record, sizeof *record, 0) != sizeof *record) {
            return fail("metadata.bin");
        }
    } while (record->flag != RECORD_FLAG_INPUT || record->round == last);
    return 0;
}

static int double_it(int data, int result, size_t length)
{
    size_t size = length * sizeof(double);
    if (ftruncate(result, (off_t)size) != 0) {
        return fail("ftruncate result.bin");
    }
    const double *input = mmap(NULL, size, PROT_READ, MAP_SHARED, data, 0);
    double *output = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, result, 0);
    if (input == MAP_FAILED || output == MAP_FAILED) {
        return fail("mmap");
    }
    for (size_t i = 0; i < length; i++) {
        output[i] = 2 * input[i];
    }
    munmap((void *)(uintptr_t)input, size);
    munmap(output, size);
    return 0;
}

static int compute(int slot, size_t length)
{
    int data = openat(slot, "data.bin", O_RDONLY | O_CLOEXEC);
    int result = openat(slot, "result.bin", O_RDWR | O_CLOEXEC);
    int error = data < 0 || result < 0 ? fail("open") : double_it(data, result, length);
    close(data);
    close(result);
    return error;
}

int main(int argc, char **argv)
{
    const int32_t done = RECORD_FLAG_RESULT;
    struct record record = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: worker SLOT ROUNDS\n");
        return 2;
    }
    int slot = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    int metadata = openat(slot, "metadata.bin", O_RDWR | O_CLOEXEC);
    if (slot < 0 || metadata < 0) {
        fail(argv[1]);
        return EXIT_FAILURE;
    }
    for (long rounds = strtol(argv[2], NULL, 10); rounds > 0; rounds--) {
        if (wait_for_input(metadata, record.round, &record) != 0 ||
            compute(slot, (size_t)record.input_length) != 0) {
            return EXIT_FAILURE;
        }
        /* Both files are closed and unmapped by now, or publishing would be refused. */
        if (pwrite(metadata, &done, sizeof done, 0) != sizeof done) {
            fail("publish");
            return EXIT_FAILURE;
        }
    }
    close(metadata);
    close(slot);
    return EXIT_SUCCESS;
}
