// SPDX-License-Identifier: Apache-2.0
#include "slot_files_fixture.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct handle *open_file(struct world *world, struct slot *slot, enum slot_file file,
                         enum handle_access access)
{
    const struct slot_files_row *row = slot_files_row(file);
    struct handle *handle = calloc(1, sizeof(*handle));

    ck_assert_ptr_nonnull(handle);
    handle->file = file;
    handle->access = access;
    handle->process = world->caller.thread;
    if (row->open)
        ck_assert_int_eq(row->open(world->exchange, slot, handle), 0);
    handle_enlist(handle, slot);
    return handle;
}

void close_file(struct world *world, struct handle *handle)
{
    handle_delist(handle);
    slot_files_close(world->exchange, handle);
    free(handle);
}

size_t read_open(struct world *world, struct handle *handle, size_t step, char content[CONTENT_MAX])
{
    size_t size = 0;
    ssize_t got;

    do {
        got = slot_files_row(handle->file)->read(world->exchange, handle, content + size, step, (off_t)size);
        ck_assert_int_ge(got, 0);
        size += (size_t)got;
        ck_assert_uint_lt(size + step, CONTENT_MAX);
    } while (got > 0);
    content[size] = '\0';
    return size;
}

size_t read_file(struct world *world, struct slot *slot, enum slot_file file, char content[CONTENT_MAX])
{
    struct handle *handle = open_file(world, slot, file, HANDLE_READS);
    size_t size = read_open(world, handle, 61, content);

    close_file(world, handle);
    return size;
}

void expect_content(struct world *world, struct slot *slot, enum slot_file file, const char *expected)
{
    static char content[CONTENT_MAX];

    ck_assert_uint_eq(read_file(world, slot, file, content), strlen(expected));
    ck_assert_str_eq(content, expected);
    ck_assert_int_eq(slot_files_row(file)->size(world->exchange, slot, file), (off_t)strlen(expected));
}

int write_at(struct world *world, struct slot *slot, enum slot_file file, const void *bytes, size_t size,
             off_t offset)
{
    struct handle *handle = open_file(world, slot, file, HANDLE_WRITES);
    int result = slot_files_row(file)->write(world->exchange, handle, &world->caller, bytes, size, offset);

    close_file(world, handle);
    world_check(world);
    return result;
}

int write_text(struct world *world, struct slot *slot, enum slot_file file, const char *text)
{
    return write_at(world, slot, file, text, strlen(text), 0);
}

int remove_file(struct world *world, struct slot *slot, enum slot_file file)
{
    return slot_files_row(file)->unlink(world->exchange, slot, file, &world->caller);
}
