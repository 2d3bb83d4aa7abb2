// SPDX-License-Identifier: Apache-2.0
/*
 * write.c - how fast write(2) makes a file longer: write w|rw PATH PIECE TOTAL REPEATS
 *
 * Prints the seconds of each repeat. The file is emptied before each.
 */
#include "client.h"

static double write_once(const char *path, int flags, const char *bytes, size_t piece, size_t total)
{
    int fd = open(path, flags | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    double begin = seconds(), end;

    if (fd < 0)
        fail(path);
    for (size_t done = 0; done < total; done += piece) {
        if (write(fd, bytes, piece) != (ssize_t)piece)
            fail("write");
    }
    end = seconds();
    close_fd(fd);
    return end - begin;
}

int main(int argc, char **argv)
{
    size_t piece, total;
    char *bytes;
    int flags, repeats;

    if (argc != 6) {
        fprintf(stderr, "usage: write w|rw PATH PIECE TOTAL REPEATS\n");
        return EXIT_FAILURE;
    }
    flags = strcmp(argv[1], "rw") == 0 ? O_RDWR : O_WRONLY;
    piece = strtoul(argv[3], NULL, 10);
    total = strtoul(argv[4], NULL, 10);
    repeats = (int)strtol(argv[5], NULL, 10);
    bytes = malloc(piece);
    if (!bytes)
        fail("malloc");
    memset(bytes, 1, piece);
    for (int i = 0; i < repeats; i++)
        printf("%.9f\n", write_once(argv[2], flags, bytes, piece, total));
    free(bytes);
    return EXIT_SUCCESS;
}
