// SPDX-License-Identifier: Apache-2.0
#include "arena/kept.h"

#include <stddef.h>

enum {
    PLACES = 1,
    FILES = 1 << 20,    /* two pages and two texts of each slot */
    SEGMENTS = 1 << 22, /* more than a process has descriptors or memory for */
};

int kept_open(struct kept *kept)
{
    int result = keep_open(&kept->places, "kept-place", sizeof(struct kept_place), PLACES);

    if (result == 0)
        result = keep_open(&kept->files, "kept-files", sizeof(struct kept_file), FILES);
    if (result == 0)
        result = keep_open(&kept->segments, "kept-segments", sizeof(struct kept_segment), SEGMENTS);
    return result;
}

int kept_attach(struct kept *kept, const int fds[KEPT_TABLES])
{
    int result = keep_attach(&kept->places, fds[0], sizeof(struct kept_place), PLACES);

    if (result == 0)
        result = keep_attach(&kept->files, fds[1], sizeof(struct kept_file), FILES);
    if (result == 0)
        result = keep_attach(&kept->segments, fds[2], sizeof(struct kept_segment), SEGMENTS);
    return result;
}

void kept_tables(const struct kept *kept, int fds[KEPT_TABLES])
{
    fds[0] = kept->places.fd;
    fds[1] = kept->files.fd;
    fds[2] = kept->segments.fd;
}

struct kept_place *kept_place(const struct kept *kept)
{
    return keep_at(&kept->places, 0);
}

void kept_visit(const struct kept *kept, void (*visit)(void *context, int fd), void *context)
{
    const struct kept_place *place = kept_place(kept);
    const struct kept_file *file;
    const struct kept_segment *segment;

    if (place) {
        visit(context, place->dirfd);
        visit(context, place->filesfd);
        visit(context, place->lockfd);
    }
    for (uint32_t i = 0; (file = keep_next(&kept->files, &i)); i++)
        visit(context, file->fd);
    for (uint32_t i = 0; (segment = keep_next(&kept->segments, &i)); i++)
        visit(context, segment->fd);
}
