// SPDX-License-Identifier: Apache-2.0
/*
 * test_array.c - data.bin and result.bin: opens and sizes that are legal, and segments that
 * move from slot to slot.
 */
#include "exchange_fixture.h"
#include "slot/text.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COUNT = WORLD_COUNT };

static void begin_with(struct world *world, enum exchange_data_path data_path, uint64_t capacity)
{
    struct world_options options = world_defaults();

    options.data_path = data_path;
    options.capacity = capacity;
    ck_assert(world_try_begin(world, &options));
}

/* --- opens --- */

START_TEST(test_one_process_writes_the_result)
{
    const pid_t other = getppid();
    struct handle *first, *second;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    world_publish(&world, slot, COUNT, 1);
    first = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    second = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    ck_assert_ptr_eq(first->segment, second->segment);
    world_close(&world, first);
    world.caller.thread = world.caller.process = other;
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES, &first), -EBUSY);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_RESULT_BIN, NULL, RESERVE_RESIZE, 8), -EBUSY);
    world_close(&world, second);
    first = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    world_close(&world, first);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_RESULT_BIN, NULL, RESERVE_RESIZE, 8), 0);
    world_end(&world);
}
END_TEST

static void become(struct world *world, pid_t process)
{
    world->caller.thread = world->caller.process = process;
}

START_TEST(test_children_write_the_result_with_their_parent)
{
    pid_t child = idler_start(0), sibling = idler_start(0);
    struct handle *of_parent, *of_child, *of_sibling;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    world_publish(&world, slot, COUNT, 1);
    of_parent = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    become(&world, child);
    of_child = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    ck_assert_ptr_eq(of_child->segment, of_parent->segment);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_RESULT_BIN, NULL, RESERVE_RESIZE, 8), 0);
    /* A sibling is a stranger to the child, unless both belong to the slot's worker. */
    become(&world, sibling);
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES, &of_sibling), -EBUSY);
    become(&world, getpid());
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES, &of_sibling), -EBUSY);
    ck_assert_int_eq(exchange_bind(world.exchange, slot, ROLE_WORKER, getpid(), &world.caller), 0);
    become(&world, sibling);
    of_sibling = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    become(&world, getppid());
    ck_assert_int_eq(world_resize(&world, slot, SLOT_RESULT_BIN, NULL, RESERVE_RESIZE, 8), -EBUSY);
    become(&world, getpid());
    ck_assert_int_eq(world_resize(&world, slot, SLOT_RESULT_BIN, NULL, RESERVE_RESIZE, 0), 0);
    /* The last one that lets go makes room for the publisher. */
    world_close(&world, of_parent);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), -EBUSY);
    world_close(&world, of_sibling);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), -EBUSY);
    world_close(&world, of_child);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), 0);
    world_end(&world);
    idler_end(child);
    idler_end(sibling);
}
END_TEST

/* Between the end of a process and the RELEASE of its files /proc does not know it any more. */
START_TEST(test_a_child_that_has_ended_was_the_workers)
{
    pid_t child = idler_start(0), sibling = idler_start(0);
    struct handle *of_child, *of_sibling;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    ck_assert_int_eq(exchange_bind(world.exchange, slot, ROLE_WORKER, getpid(), &world.caller), 0);
    world_publish(&world, slot, COUNT, 1);
    become(&world, child);
    of_child = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    idler_end(child);
    become(&world, getppid());
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES, &of_sibling), -EBUSY);
    become(&world, sibling);
    of_sibling = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    world_close(&world, of_child);
    world_close(&world, of_sibling);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), 0);
    world_end(&world);
    idler_end(sibling);
}
END_TEST

START_TEST(test_filler_may_read)
{
    pid_t other = idler_start(0);
    struct handle *writer, *reader;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    writer = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    reader = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS);
    ck_assert_ptr_eq(writer->segment, reader->segment);
    world_close(&world, reader);
    world.caller.thread = world.caller.process = other;
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS, &reader), WAIT_FOR_PEER);
    world_close(&world, writer);
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS, &reader), WAIT_FOR_PEER);
    writer = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES); /* several may fill */
    world_close(&world, writer);
    reader = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS);
    world_close(&world, reader);
    world_end(&world);
    idler_end(other);
}
END_TEST

/* The daemon cannot tell apart two clients in a pid namespace that it cannot see. */
START_TEST(test_invisible_client)
{
    struct handle *writer, *reader;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    world.caller.thread = world.caller.process = 0;
    writer = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, writer, RESERVE_RESIZE, 8), 0);
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS, &reader), WAIT_FOR_PEER);
    if (_i != DATA_PATH_PASSTHROUGH)
        ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), -EBUSY);
    world_close(&world, writer);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    writer = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES, &reader), -EBUSY);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_RESULT_BIN, NULL, RESERVE_RESIZE, 8), -EBUSY);
    /* But through its own handle a client is always itself. */
    ck_assert_int_eq(world_resize(&world, slot, SLOT_RESULT_BIN, writer, RESERVE_RESIZE, 8), 0);
    world_close(&world, writer);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), 0);
    world_end(&world);
}
END_TEST

/* The kernel must look a path up again that it knows from an earlier round and that is still open. */
START_TEST(test_known_by_an_old_identity)
{
    struct handle handle = {.file = SLOT_DATA_BIN, .access = HANDLE_WRITES};
    struct handle *old;
    struct world world;
    struct slot *slot;
    uint64_t identity;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_DONE);
    old = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS);
    identity = step_array_identity(world.exchange, slot, RECORD_SIDE_INPUT);
    ck_assert_int_eq(array_open(world.exchange, slot, &handle, &world.caller, identity), -ESTALE);
    world_close(&world, old);
    expect_state(slot, STATE_FILLING, 2);
    ck_assert_ptr_null(handle.segment);
    ck_assert_int_eq(array_open(world.exchange, slot, &handle, &world.caller, identity), -ESTALE);
    handle.access = HANDLE_READS;
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, NULL, RESERVE_RESIZE, 8), 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    ck_assert_int_eq(array_open(world.exchange, slot, &handle, &world.caller, identity), -ESTALE);
    ck_assert_ptr_null(slot->handles);
    world_end(&world);
}
END_TEST

/* --- sizes --- */

START_TEST(test_resize)
{
    struct handle *handle, *old;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, NULL, RESERVE_RESIZE, 80), 0);
    expect_state(slot, STATE_FILLING, 1);
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 80);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_RESIZE, 8), 0);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 8);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_RESIZE, UINT64_C(1) << 62),
                     -ENOSPC);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 8);

    /* The round was cancelled, so the handle's array is gone. */
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    old = handle;
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, old, RESERVE_RESIZE, 16), -EBUSY);
    expect_state(slot, STATE_IDLE, 1);
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, old, RESERVE_RESIZE, 16), -EBUSY);
    expect_refusal(slot, EBUSY, "earlier round");
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 0);
    world_close(&world, old);
    world_close(&world, handle);
    world_end(&world);
}
END_TEST

/* Writes until a write fails, and returns its error. */
static int fill_up(struct world *world, struct handle *handle)
{
    static const char bytes[64 * KIB];
    off_t offset = (off_t)MIB;
    ssize_t put;

    do {
        put = world_write_array(world, handle, bytes, sizeof(bytes), offset);
        offset += put;
    } while (put > 0);
    return (int)put;
}

START_TEST(test_full_arena)
{
    struct handle *handle;
    struct world world;
    struct slot *slot, *other;

    begin_with(&world, (enum exchange_data_path)_i, 4 * MIB);
    slot = world_slot(&world, "job");
    other = world_slot(&world, "other");
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_RESIZE, MIB), 0);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_RESIZE, 5 * MIB), -ENOSPC);
    expect_refusal(slot, ENOSPC, "5242880 bytes do not fit");
    expect_state(slot, STATE_FILLING, 1);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), MIB);
    ck_assert_int_eq(world_resize(&world, other, SLOT_DATA_BIN, NULL, RESERVE_PAGES, 3 * MIB), -ENOSPC);
    ck_assert_int_eq(world_resize(&world, other, SLOT_DATA_BIN, NULL, RESERVE_GROW, 3 * MIB), -ENOSPC);
    ck_assert_uint_eq(world_size(&world, other, SLOT_DATA_BIN), 0);
    ck_assert_int_eq(fill_up(&world, handle), -ENOSPC);
    expect_refusal(slot, ENOSPC, "do not fit");
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_RESIZE, 2 * MIB), 0);
    world_close(&world, handle);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    ck_assert_int_eq(slot->record.input_length, 2 * MIB / 8);
    world_end(&world);
}
END_TEST

START_TEST(test_reserve_and_grow)
{
    struct handle *handle;
    struct world world;
    struct slot *slot;
    uint64_t size, allocated;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_PAGES, MIB), 0);
    ck_assert_int_eq(step_array_stat(world.exchange, slot, RECORD_SIDE_INPUT, &size, &allocated), 0);
    ck_assert_uint_eq(size, 0);
    ck_assert_uint_ge(allocated, MIB);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_GROW, 2 * MIB), 0);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 2 * MIB);
    ck_assert_uint_eq(handle->segment->charged, 2 * MIB);
    /* Growing to less than the size changes nothing. */
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_GROW, 4 * KIB), 0);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_PAGES, 4 * KIB), 0);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 2 * MIB);
    ck_assert_uint_eq(handle->segment->charged, 2 * MIB);
    world_close(&world, handle);
    world_end(&world);
}
END_TEST

struct answer {
    int calls;
    int result;
};

static void answered(void *context, int result)
{
    struct answer *answer = context;

    answer->calls++;
    answer->result = result;
}

static int fill_holes(struct world *world, struct slot *slot)
{
    struct answer answer = {0};

    array_fill_holes(world->exchange, slot, RECORD_SIDE_INPUT, &world->caller, answered, &answer);
    background_drain(world->bench.background);
    ck_assert_int_eq(answer.calls, 1);
    return answer.result;
}

/* A client changes a passthrough file without the daemon. */
START_TEST(test_holes)
{
    struct handle *handle;
    struct world world;
    struct slot *slot;
    int fd;

    begin_with(&world, DATA_PATH_PASSTHROUGH, 8 * MIB);
    slot = world_slot(&world, "job");
    ck_assert(!array_has_holes(world.exchange, slot, RECORD_SIDE_INPUT));
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, handle, RESERVE_RESIZE, 2 * MIB), 0);
    ck_assert(!array_has_holes(world.exchange, slot, RECORD_SIDE_INPUT));
    fd = client_open(handle->segment, O_RDWR);
    ck_assert_int_eq(pwrite(fd, "x", 1, 3 * (off_t)MIB), 1);
    ck_assert(array_has_holes(world.exchange, slot, RECORD_SIDE_INPUT));
    ck_assert_int_eq(fill_holes(&world, slot), 0);
    ck_assert(!array_has_holes(world.exchange, slot, RECORD_SIDE_INPUT));
    client_fill(fd, 0, 3 * MIB, 1);

    /* Pages that do not fit are not there, and the client that asks for them gets the error. */
    ck_assert_int_eq(pwrite(fd, "x", 1, 20 * (off_t)MIB), 1);
    ck_assert_int_eq(fill_holes(&world, slot), -ENOSPC);
    expect_refusal(slot, ENOSPC, "do not fit");
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 20 * MIB + 1);
    ck_assert_uint_eq(client_differs(fd, 3 * MIB, 1), 3 * MIB);
    close(fd);
    world_close(&world, handle);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), -EINVAL); /* no whole number of elements */

    /* A published array has no holes. */
    ck_assert_int_eq(world_resize(&world, slot, SLOT_DATA_BIN, NULL, RESERVE_RESIZE, 800), 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    ck_assert(!array_has_holes(world.exchange, slot, RECORD_SIDE_INPUT));
    world_end(&world);
}
END_TEST

START_TEST(test_growth_that_nobody_saw)
{
    struct handle *handle;
    struct world world;
    struct slot *slot;
    double values[2] = {1, 2};
    int fd;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "job");
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    fd = client_open(handle->segment, O_WRONLY);
    ck_assert_int_eq(pwrite(fd, values, sizeof(values), 400000), sizeof(values));
    close(fd);
    world_close(&world, handle);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    ck_assert_int_eq(slot->record.input_length, 50002);
    ck_assert_uint_eq(slot->segments[RECORD_SIDE_INPUT]->charged, 400016);
    world_end(&world);
}
END_TEST

/* The answer comes once, whatever happened to the slot meanwhile. */
START_TEST(test_resize_of_what_goes)
{
    static const uint64_t sizes[] = {16 * MIB, 640 * MIB};
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (size_t i = 0; i < 2; i++) {
        struct slot *slot = world_slot(&world, "removed"), *other = world_slot(&world, "dropped");
        struct answer one = {0}, two = {0};

        array_resize(world.exchange, slot, RECORD_SIDE_INPUT, NULL, &world.caller, RESERVE_RESIZE, sizes[i],
                     answered, &one);
        array_resize(world.exchange, other, RECORD_SIDE_INPUT, NULL, &world.caller, RESERVE_RESIZE, sizes[i],
                     answered, &two);
        exchange_remove(world.exchange, slot);
        ck_assert_int_eq(world_flag(&world, other, RECORD_FLAG_NONE), 0);
        slot = world_slot(&world, "removed"); /* takes its place in the table */
        background_drain(world.bench.background);
        ck_assert_int_eq(one.calls, 1);
        ck_assert_int_eq(two.calls, 1);
        ck_assert_uint_eq(slot->refusals, 0);
        ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 0);
        world_check(&world);
        exchange_remove(world.exchange, slot);
        exchange_remove(world.exchange, other);
    }
    world_end(&world);
}
END_TEST

START_TEST(test_write_with_an_old_handle)
{
    struct handle *filler, *worker;
    struct world world;
    struct slot *slot;
    double value = 9;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    filler = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    world_publish(&world, slot, COUNT, 1);
    worker = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    ck_assert_int_eq(exchange_unlink(world.exchange, slot, &world.caller), 0);
    ck_assert_int_eq(world_write_array(&world, filler, &value, sizeof(value), 0), -ESTALE);
    ck_assert_int_eq(world_write_array(&world, worker, &value, sizeof(value), 0), -ESTALE);
    exchange_remove(world.exchange, slot);
    ck_assert_int_eq(world_write_array(&world, worker, &value, sizeof(value), 0), -ESTALE);
    world_close(&world, filler);
    world_close(&world, worker);
    world_end(&world);
}
END_TEST

/* --- removal --- */

START_TEST(test_remove_with_open_handles)
{
    struct handle *input, *result;
    struct world world;
    struct slot *slot;
    double value;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_DONE);
    input = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS);
    result = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_READS);
    exchange_remove(world.exchange, slot);
    ck_assert_int_eq(world.removals, 1);
    ck_assert_ptr_null(slot_find(world.slots, "job"));
    ck_assert_ptr_null(input->slot);
    ck_assert_ptr_null(result->slot);
    slot = world_slot_in(&world, "job", STATE_DONE);
    ck_assert_int_eq(segment_read(world.bench.arena, input->segment, &value, sizeof(value), 0),
                     sizeof(value));
    ck_assert_double_eq(value, 1);
    ck_assert_int_eq(segment_read(world.bench.arena, result->segment, &value, sizeof(value), 0),
                     sizeof(value));
    ck_assert_double_eq(value, 2);
    world_close(&world, input);
    world_close(&world, result);
    world_end(&world);
}
END_TEST

/* --- rename of a result onto an input --- */

static int move(struct world *world, struct slot *from, struct slot *to)
{
    int result = array_move_result(world->exchange, from, to, &world->caller);

    world_check(world);
    return result;
}

START_TEST(test_move)
{
    static const enum handshake_state states[] = {STATE_IDLE, STATE_DONE, STATE_FAILED};
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (int i = 0; i < 3; i++) {
        struct slot *a = world_slot(&world, "a"), *b = world_slot(&world, "b");
        struct record record;
        const struct segment *segment;
        struct handle *reader;

        if (states[i] != STATE_IDLE) {
            world_publish(&world, b, 1, 5);
            ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_FAILED), 0);
        }
        if (states[i] == STATE_DONE) {
            ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_INPUT), 0);
            world_finish(&world, b, 1, 6);
        }
        ck_assert_int_eq(slot_state(b), states[i]);
        world_publish(&world, a, 6, 1);
        world_put(&world, a, SLOT_RESULT_BIN, 6, 2);
        record = a->record;
        record.flag = RECORD_FLAG_RESULT;
        record.result_dtype = RECORD_INT32;
        record.result_ndim = 2;
        record.result_shape[0] = 3;
        record.result_shape[1] = 4;
        record.order = RECORD_ORDER_RESULT_F | RECORD_ORDER_RESULT_LOGICAL;
        ck_assert_int_eq(world_write(&world, a, &record, sizeof(record), 0), 0);
        segment = a->segments[RECORD_SIDE_RESULT];

        ck_assert_int_eq(move(&world, a, b), 0);
        expect_state(a, STATE_IDLE, 2);
        expect_state(b, STATE_FILLING, states[i] == STATE_IDLE ? 1 : 2);
        ck_assert_ptr_eq(b->segments[RECORD_SIDE_INPUT], segment);
        ck_assert_uint_eq(world_size(&world, a, SLOT_RESULT_BIN), 0);
        ck_assert_uint_eq(world_size(&world, a, SLOT_DATA_BIN), 0);
        ck_assert_int_eq(b->record.dtype, RECORD_INT32);
        ck_assert_int_eq(b->record.input_length, 12);
        ck_assert_int_eq(b->record.input_ndim, 2);
        ck_assert_int_eq(b->record.input_shape[1], 4);
        ck_assert_uint_eq(b->record.order, RECORD_ORDER_INPUT_F | RECORD_ORDER_INPUT_LOGICAL);
        ck_assert_int_eq(b->record.result_length, -1);
        ck_assert_uint_eq(text_size(b, SLOT_ERROR), 0);
        reader = world_open(&world, b, SLOT_DATA_BIN, HANDLE_READS); /* the process that moved it fills it */
        world_close(&world, reader);
        ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_INPUT), 0);
        world_expect(&world, b, SLOT_DATA_BIN, 6, 2);
        world_publish(&world, a, 1, 8);
        world_expect(&world, b, SLOT_DATA_BIN, 6, 2);
        exchange_remove(world.exchange, a);
        exchange_remove(world.exchange, b);
    }
    world_end(&world);
}
END_TEST

START_TEST(test_move_within_a_slot)
{
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_DONE);
    ck_assert_int_eq(move(&world, slot, slot), 0);
    expect_state(slot, STATE_FILLING, 2);
    ck_assert_int_eq(slot->record.input_length, COUNT);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    world_expect(&world, slot, SLOT_DATA_BIN, COUNT, 2);
    world_finish(&world, slot, COUNT, 3);
    world_end(&world);
}
END_TEST

/* A client may not write to pages that others still read, wherever they were moved. */
START_TEST(test_moved_pages_that_are_read)
{
    struct handle *reader, *writer;
    struct client client;
    struct world world;
    struct slot *a, *b;
    int fd;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot_in(&world, "a", STATE_DONE);
    b = world_slot(&world, "b");
    reader = world_open(&world, a, SLOT_RESULT_BIN, HANDLE_READS);
    ck_assert_int_eq(move(&world, a, b), 0);
    ck_assert_int_eq(world_try_open(&world, b, SLOT_DATA_BIN, HANDLE_WRITES, &writer), -EBUSY);
    expect_refusal(b, EBUSY, "still being read");
    ck_assert_int_eq(world_resize(&world, b, SLOT_DATA_BIN, NULL, RESERVE_RESIZE, 0), -EBUSY);
    fd = client_open(reader->segment, O_RDONLY);
    client = client_start(fd, PROT_READ);
    close(fd);
    world_close(&world, reader);
    if (world.exchange->data_path == DATA_PATH_PASSTHROUGH) /* where a mapping needs no handle */
        ck_assert_int_eq(world_try_open(&world, b, SLOT_DATA_BIN, HANDLE_WRITES, &writer), -EBUSY);
    client_end(&client);
    world_put(&world, b, SLOT_DATA_BIN, 1, 9);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_INPUT), -EINVAL); /* the record says what was moved */
    ck_assert_int_eq(world_write(&world, b, &(int64_t){-1}, 8, offsetof(struct record, input_length)), 0);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_INPUT), 0);
    world_expect(&world, b, SLOT_DATA_BIN, 1, 9);
    world_end(&world);
}
END_TEST

/* An open gives an empty result a segment, and rename moves that one, too. */
START_TEST(test_moved_empty_result_that_is_read)
{
    struct handle *reader, *writer;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    world_publish(&world, slot, 3, 1);
    ck_assert_int_eq(world_write(&world, slot, &(int64_t){0}, 8, offsetof(struct record, result_length)), 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), 0);
    reader = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_READS);
    ck_assert_int_eq(move(&world, slot, slot), 0);
    ck_assert_int_eq(world_try_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES, &writer), -EBUSY);
    world_close(&world, reader);
    world_put(&world, slot, SLOT_DATA_BIN, 1, 9);
    world_end(&world);
}
END_TEST

START_TEST(test_move_refused)
{
    struct world world;
    struct slot *a, *b, *source;
    struct record before;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot_in(&world, "a", STATE_DONE);
    b = world_slot(&world, "b");
    source = world_slot(&world, "source");
    before = a->record;
    ck_assert_int_eq(world_link(&world, b, source, RECORD_SIDE_RESULT), 0);
    ck_assert_int_eq(move(&world, a, b), -EBUSY);
    expect_refusal(b, EBUSY, "chained");
    world_publish(&world, source, 1, 1);
    ck_assert_int_eq(move(&world, a, source), -EBUSY);
    ck_assert_int_eq(move(&world, source, a), -EBUSY);
    expect_state(a, STATE_DONE, 1);
    ck_assert_mem_eq(&a->record, &before, sizeof(before));
    world_expect(&world, a, SLOT_RESULT_BIN, COUNT, 2);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("array");
    TCase *tests = tcase_create("both data paths");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_one_process_writes_the_result, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_children_write_the_result_with_their_parent, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_a_child_that_has_ended_was_the_workers, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_filler_may_read, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_invisible_client, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_known_by_an_old_identity, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_resize, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_full_arena, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_reserve_and_grow, 0, DATA_PATHS);
    tcase_add_test(tests, test_holes);
    tcase_add_test(tests, test_growth_that_nobody_saw);
    tcase_add_loop_test(tests, test_resize_of_what_goes, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_write_with_an_old_handle, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_remove_with_open_handles, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_move, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_move_within_a_slot, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_moved_pages_that_are_read, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_moved_empty_result_that_is_read, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_move_refused, 0, DATA_PATHS);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
