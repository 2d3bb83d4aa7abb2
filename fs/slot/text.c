// SPDX-License-Identifier: Apache-2.0
#include "slot/text.h"

#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct text_name {
    char text[24];
};

static struct text_name name_of(const struct slot *slot, enum slot_file file)
{
    struct text_name name;

    snprintf(name.text, sizeof(name.text), "%c%llx", file == SLOT_TASK ? 't' : 'e',
             (unsigned long long)(file == SLOT_TASK ? slot->task_file : slot->error_file));
    return name;
}

static uint64_t *number_of(struct slot *slot, enum slot_file file)
{
    return file == SLOT_TASK ? &slot->task_file : &slot->error_file;
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

/*
 * Opens the file to write. An empty text gets a new one: the index may still name the last, until the next
 * commit.
 */
static int open_to_write(struct arena *arena, struct slot *slot, enum slot_file file)
{
    uint64_t before = *number_of(slot, file);
    int fd;

    if (text_size(slot, file))
        return arena_file_open(arena, name_of(slot, file).text, O_RDWR);
    *number_of(slot, file) = slots_serial(slot->table);
    fd = arena_file_open(arena, name_of(slot, file).text, O_RDWR | O_CREAT);
    if (fd >= 0)
        return fd;
    arena_file_unlink(arena, name_of(slot, file).text);
    *number_of(slot, file) = before;
    return fd;
}

static void done_with(struct arena *arena, int fd, int result)
{
    if (result == 0)
        arena_sync_later(arena, fd);
    else
        close(fd);
}

/* The text that the caller has just made is still empty: nothing else would remove the file. */
static void give_up(struct arena *arena, struct slot *slot, enum slot_file file, uint64_t before)
{
    if (text_size(slot, file))
        return;
    arena_file_unlink(arena, name_of(slot, file).text);
    *number_of(slot, file) = before;
}

ssize_t text_write(struct arena *arena, struct slot *slot, enum slot_file file, const void *buffer,
                   size_t size, off_t offset)
{
    const uint64_t before = *number_of(slot, file);
    uint32_t *current = size_of(slot, file);
    ssize_t put;
    int fd;

    if ((uint64_t)offset > limit_of(file) || size > limit_of(file) - (uint64_t)offset)
        return -EFBIG;
    if (size == 0)
        return 0;
    if (!ledger_has_text_room(arena, *current, (uint64_t)offset + size))
        return -ENOSPC;
    fd = open_to_write(arena, slot, file);
    if (fd < 0)
        return fd;
    put = pwrite(fd, buffer, size, offset);
    if (put < 0)
        put = -errno;
    else if ((size_t)put < size)
        put = ftruncate(fd, (off_t)*current) < 0 ? -EIO : -ENOSPC; /* never keep half a text */
    else if ((uint64_t)offset + (uint64_t)put > *current)
        set_size(arena, current, (uint32_t)(offset + put));
    done_with(arena, fd, put > 0 ? 0 : -1);
    if (put > 0)
        slot_touch(slot, file);
    else
        give_up(arena, slot, file, before);
    return put;
}

int text_resize(struct arena *arena, struct slot *slot, enum slot_file file, uint64_t size)
{
    const uint64_t before = *number_of(slot, file);
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
        arena_unlink_later(arena, name_of(slot, file).text);
        set_size(arena, current, 0);
        slot_touch(slot, file);
        return 0;
    }
    fd = open_to_write(arena, slot, file);
    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)size) < 0)
        result = -errno;
    else
        set_size(arena, current, (uint32_t)size);
    done_with(arena, fd, result);
    if (result == 0)
        slot_touch(slot, file);
    else
        give_up(arena, slot, file, before);
    return result;
}

void text_restore(struct arena *arena, struct slot *slot, enum slot_file file)
{
    uint32_t *current = size_of(slot, file);
    int fd = *current ? arena_file_open(arena, name_of(slot, file).text, O_RDONLY) : -ENOENT;
    struct stat status = {0};

    if (fd >= 0 && fstat(fd, &status) < 0)
        status.st_size = 0;
    if (fd >= 0)
        close(fd);
    if (*current <= status.st_size)
        return;
    log_warning("%s: %s is cut short: the disk had not got all of it", slot->name, slot_file_name(file));
    set_size(arena, current, (uint32_t)status.st_size);
    slot_mark(slot);
}

/* Whether the name is one that we give, and of what text. */
static bool parse_name(const char *name, uint64_t *number)
{
    char *end;

    if (name[0] != 't' && name[0] != 'e')
        return false;
    *number = strtoull(name + 1, &end, 16);
    return end > name + 1 && !*end;
}

struct sweep {
    struct arena *arena;
    struct slots *slots;
};

static void sweep_one(void *context, const char *name, int fd)
{
    const struct sweep *sweep = context;
    const size_t length = strcspn(name, "-"); /* in a directory a hash follows */
    char plain[24];
    uint64_t number;

    (void)fd;
    if (length >= sizeof(plain))
        return;
    memcpy(plain, name, length);
    plain[length] = '\0';
    if (!parse_name(plain, &number))
        return;
    for (uint32_t i = 1; i < slots_end(sweep->slots); i++) {
        const struct slot *slot = slot_at(sweep->slots, i);

        if (slot && ((name[0] == 't' && slot->task_size && slot->task_file == number) ||
                     (name[0] == 'e' && slot->error_size && slot->error_file == number)))
            return;
    }
    arena_unlink_later(sweep->arena, plain);
}

void text_sweep(struct arena *arena, struct slots *slots)
{
    struct sweep sweep = {arena, slots};

    arena_files_visit(arena_files(arena), sweep_one, &sweep);
}
