// SPDX-License-Identifier: Apache-2.0
#include "spare.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* R collects when some tens of megabytes of results have come together. */
enum { SPARES_MAX = 16 };

static struct slot *spares;

static int count(void)
{
    int number = 0;
    for (const struct slot *slot = spares; slot; slot = slot->next)
        number++;
    return number;
}

/* The path of data.bin, in R_alloc's memory. */
static char *input_path(const struct slot *slot)
{
    size_t size = strlen(slot->path) + sizeof("/data.bin");
    char *path = R_alloc(size, 1);
    snprintf(path, size, "%s/data.bin", slot->path);
    return path;
}

bool spare_keep(struct slot *slot)
{
    /* A forked child lets its parent's slots alone. */
    if (!slot->holds_result || !slot->parked || slot->creator != getpid() || count() >= SPARES_MAX)
        return false;
    const void *mark = vmaxget();
    bool emptied = unlink(input_path(slot)) == 0;
    vmaxset(mark);
    if (!emptied)
        return false;
    slot->next = spares;
    spares = slot;
    return true;
}

/* One that lies in the same directory of the same mount, or NULL. */
static struct slot *take(const struct slot *like)
{
    size_t root = (size_t)(strrchr(like->path, '/') - like->path) + 1;
    for (struct slot **at = &spares; *at; at = &(*at)->next) {
        struct slot *slot = *at;
        if (slot->creator == getpid() && slot->device == like->device &&
            strncmp(slot->path, like->path, root) == 0 && !strchr(slot->path + root, '/')) {
            *at = slot->next;
            slot->next = NULL;
            return slot;
        }
    }
    return NULL;
}

struct slot *spare_fill(const struct slot *from)
{
    struct slot *slot = take(from);
    if (!slot || renameat(from->directory, "result.bin", AT_FDCWD, input_path(slot)) == 0)
        return slot;
    /* Somebody has removed it, or put something into it. */
    slot_free(slot);
    return NULL;
}

SEXP pyrmap_spares_end(void)
{
    while (spares) {
        struct slot *slot = spares;
        spares = slot->next;
        slot_free(slot);
    }
    return R_NilValue;
}
