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

/* All of it, or nothing of it. */
static int write_whole(int fd, const char *bytes, size_t size)
{
    const ssize_t put = pwrite(fd, bytes, size, 0);

    if (put < 0)
        return -errno;
    return (size_t)put == size ? 0 : -ENOSPC;
}

/*
 * Each change makes another file: until the next commit the index names the last one, and a server that starts
 * then finds that text as it was. The old file goes after the commit.
 */
static int replace(struct arena *arena, struct slot *slot, enum slot_file file, const char *bytes,
                   uint32_t size)
{
    const struct text_name old = name_of(slot, file);
    const uint64_t before = *number_of(slot, file);
    int result;
    int fd;

    *number_of(slot, file) = slots_serial(slot->table);
    fd = arena_file_open(arena, name_of(slot, file).text, O_RDWR | O_CREAT);
    result = fd < 0 ? fd : write_whole(fd, bytes, size);
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        arena_file_unlink(arena, name_of(slot, file).text);
        *number_of(slot, file) = before;
        return result;
    }
    arena_sync_later(arena, fd);
    if (text_size(slot, file))
        arena_unlink_later(arena, old.text);
    set_size(arena, size_of(slot, file), size);
    slot_touch(slot, file);
    return 0;
}

/* The text as it is, and zeros behind it. Returns 0 or -errno. */
static int read_whole(struct arena *arena, const struct slot *slot, enum slot_file file,
                      char bytes[TEXT_ERROR_MAX])
{
    const ssize_t got = text_read(arena, slot, file, bytes, TEXT_ERROR_MAX, 0);

    if (got < 0)
        return (int)got;
    memset(bytes + got, 0, (size_t)(TEXT_ERROR_MAX - got));
    return 0;
}

ssize_t text_write(struct arena *arena, struct slot *slot, enum slot_file file, const void *buffer,
                   size_t size, off_t offset)
{
    static char bytes[TEXT_ERROR_MAX];
    const uint64_t end = (uint64_t)offset + size;
    const uint64_t now = text_size(slot, file);
    int result;

    if ((uint64_t)offset > limit_of(file) || size > limit_of(file) - (uint64_t)offset)
        return -EFBIG;
    if (size == 0)
        return 0;
    if (!ledger_has_text_room(arena, now, end))
        return -ENOSPC;
    result = read_whole(arena, slot, file, bytes);
    if (result < 0)
        return result;
    memcpy(bytes + offset, buffer, size);
    result = replace(arena, slot, file, bytes, (uint32_t)(end > now ? end : now));
    return result < 0 ? result : (ssize_t)size;
}

int text_resize(struct arena *arena, struct slot *slot, enum slot_file file, uint64_t size)
{
    static char bytes[TEXT_ERROR_MAX];
    uint32_t *current = size_of(slot, file);
    int result;

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
    result = read_whole(arena, slot, file, bytes);
    return result < 0 ? result : replace(arena, slot, file, bytes, (uint32_t)size);
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
