// SPDX-License-Identifier: Apache-2.0
/*
 * least MOUNT ROUNDS - the least that an exchange of 8 MB asks of the filesystem when the input lies in a slot, as a pyrmap_array
 * does: both sides in one process, and no call more than the handshake needs.
 *
 * The producer chains the worker's slot to the array's, which delivers it once more. The worker maps it, gives the result its size,
 * and publishes; the producer maps the result. Names of arrays are looked up each time: the next round's are other files.
 */
#include "client.h"
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { SIZE = 8 << 20 };

/* Maps a file of the slot in the directory at which we are, and lets go of it; links: by what leads to its pages. */
static void map(const char *side, int flags, bool links)
{
    char name[16], link[16];
    snprintf(name, sizeof(name), "%s.bin", side);
    snprintf(link, sizeof(link), "%s.mem", side);
    int fd = open_in(".", name, flags);
    if (flags == O_RDWR && ftruncate(fd, SIZE) != 0)
        fail(name);
    int pages = links ? open_in(".", link, flags) : fd;
    int protection = flags == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;
    void *address = mmap(NULL, SIZE, protection, MAP_SHARED, pages, 0);
    if (address == MAP_FAILED || munmap(address, SIZE) != 0)
        fail("mmap");
    if (links)
        close_fd(pages);
    close_fd(fd);
}

/* Of all bytes of the file, as doubles. */
static void publish_all(int metadata, enum record_flag flag)
{
    struct record record = {.flag = flag,
                            .version = RECORD_VERSION,
                            .dtype = RECORD_FLOAT64,
                            .input_length = RECORD_LENGTH_ALL,
                            .result_length = RECORD_LENGTH_ALL};
    publish(metadata, &record, sizeof(record));
}

static void enter(const char *slot)
{
    if (mkdir(slot, 0700) != 0 || chdir(slot) != 0)
        fail(slot);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    if (chdir(argv[1]) != 0)
        fail(argv[1]);
    enter("bench-input");
    struct stat link;
    const bool links = lstat("data.mem", &link) == 0;
    map("data", O_RDWR, links);
    int metadata = open_in(".", "metadata.bin", O_RDWR);
    publish_all(metadata, RECORD_FLAG_INPUT);
    if (chdir("..") != 0)
        fail("..");
    enter("bench");
    metadata = open_in(".", "metadata.bin", O_RDWR);
    for (long round = 0; round < positive(argv[2]); round++) {
        if ((round > 0 && unlink("source") != 0) || symlink("../bench-input/data.bin", "source") != 0)
            fail("source");
        map("data", O_RDONLY, links);
        map("result", O_RDWR, links);
        publish_all(metadata, RECORD_FLAG_RESULT);
        map("result", O_RDONLY, links);
    }
    return chdir("..") != 0 || rmdir("bench") != 0 || rmdir("bench-input") != 0;
}
