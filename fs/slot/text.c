// SPDX-License-Identifier: Apache-2.0
#include "slot/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct text_name {
    char text[24];
};

static struct text_name name_of(const struct slot *slot, enum slot_file file)
{
    struct text_name name;

    snprintf(name.text, sizeof(name.text), "%c%llx", file == SLOT_TASK ? 't' : 'e',
             (unsigned long long)slot->serial);
    return name;
}

static uint32_t *size_of(struct slot *slot, enum slot_file file)
{
    return file == SLOT_TASK ? &slot->task_size : &slot->error_size;
}

static void set_size(struct arena *arena, uint32_t *current, uint32_t size)
{
    ledger_text_resized(arena, *current, size);
    *current = size;
}

static uint64_t limit_of(enum slot_file file)
{
    return file == SLOT_TASK ? TEXT_TASK_MAX : TEXT_ERROR_MAX;
}

size_t text_size(const struct slot *slot, enum slot_file file)
{
    return file == SLOT_TASK ? slot->task_size : slot->error_size;
}

uint64_t text_bytes(uint64_t size)
{
    const uint64_t page = 4096;

    return (size + page - 1) / page * page;
}

uint64_t text_growth(const struct slot *slot, enum slot_file file, size_t size, off_t offset)
{
    uint64_t now = text_size(slot, file);
    uint64_t end = (uint64_t)offset + size;

    /* text_write refuses a text that is too long, with another error. */
    return end > now && end <= limit_of(file) ? text_bytes(end) - text_bytes(now) : 0;
}

ssize_t text_read(struct arena *arena, const struct slot *slot, enum slot_file file, void *buffer,
                  size_t size, off_t offset)
{
    ssize_t got;
    int fd;

    if (text_size(slot, file) == 0)
        return 0;
    fd = arena_file_open(arena, name_of(slot, file).text, O_RDONLY);
    if (fd < 0)
        return fd;
    got = pread(fd, buffer, size, offset);
    if (got < 0)
        got = -errno;
    close(fd);
    return got;
}

/* Remove the file of an empty text: nothing else would. */
static void remove_empty(struct arena *arena, const struct slot *slot, enum slot_file file)
{
    if (text_size(slot, file) == 0)
        arena_file_unlink(arena, name_of(slot, file).text);
}

static int create(struct arena *arena, const struct slot *slot, enum slot_file file)
{
    int fd = arena_file_open(arena, name_of(slot, file).text, O_RDWR | O_CREAT);

    if (fd < 0)
        remove_empty(arena, slot, file);
    return fd;
}

ssize_t text_write(struct arena *arena, struct slot *slot, enum slot_file file, const void *buffer,
                   size_t size, off_t offset)
{
    uint32_t *current = size_of(slot, file);
    ssize_t put;
    int fd;

    if ((uint64_t)offset > limit_of(file) || size > limit_of(file) - (uint64_t)offset)
        return -EFBIG;
    if (size == 0)
        return 0;
    if (!ledger_has_text_room(arena, *current, (uint64_t)offset + size))
        return -ENOSPC;
    fd = create(arena, slot, file);
    if (fd < 0)
        return fd;
    put = pwrite(fd, buffer, size, offset);
    if (put < 0)
        put = -errno;
    else if ((size_t)put < size)
        put = ftruncate(fd, (off_t)*current) < 0 ? -EIO : -ENOSPC; /* never keep half a text */
    else if ((uint64_t)offset + (uint64_t)put > *current)
        set_size(arena, current, (uint32_t)(offset + put));
    close(fd);
    if (put > 0)
        slot_touch(slot, file);
    else
        remove_empty(arena, slot, file);
    return put;
}

int text_resize(struct arena *arena, struct slot *slot, enum slot_file file, uint64_t size)
{
    uint32_t *current = size_of(slot, file);
    int result = 0;
    int fd;

    if (size > limit_of(file))
        return -EFBIG;
    if (size == *current)
        return 0;
    if (!ledger_has_text_room(arena, *current, size))
        return -ENOSPC;
    if (size == 0) {
        result = arena_file_unlink(arena, name_of(slot, file).text);
        if (result < 0 && result != -ENOENT)
            return result;
        set_size(arena, current, 0);
        slot_touch(slot, file);
        return 0;
    }
    fd = create(arena, slot, file);
    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)size) < 0)
        result = -errno;
    else
        set_size(arena, current, (uint32_t)size);
    close(fd);
    if (result == 0)
        slot_touch(slot, file);
    else
        remove_empty(arena, slot, file);
    return result;
}
