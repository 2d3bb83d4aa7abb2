// SPDX-License-Identifier: Apache-2.0
/*
 * test_exchange.c - rounds without a mount, on both data paths: what each operation does to record, arrays
 * and inodes, and that a refused one changes nothing.
 */
#include "exchange_fixture.h"
#include "slot/text.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COUNT = WORLD_COUNT, SIZE = COUNT * 8 };

/* How much of the record a test writes: up to and with this field. */
enum { UP_TO_FLAG = 4, UP_TO_LENGTH = 16, UP_TO_DTYPE = 20, UP_TO_RESULT_LENGTH = 32 };

/* The current record with a flag and what a test changes besides, written up to some field. */
static int write_up_to(struct world *world, struct slot *slot, const struct record *record, size_t size)
{
    return world_write(world, slot, record, size, 0);
}

static struct record with_flag(const struct slot *slot, int32_t flag)
{
    struct record record = slot->record;

    record.flag = flag;
    return record;
}

/* --- a round --- */

START_TEST(test_round)
{
    struct world world;
    struct slot *slot;
    struct slot_array before[2];
    int replaced[2];
    struct handle *old;
    double value;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    world_put(&world, slot, SLOT_DATA_BIN, COUNT, 1.5);
    expect_state(slot, STATE_FILLING, 1);
    ck_assert_int_eq(slot->record.input_length, -1);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_state(slot, STATE_READY, 1);
    ck_assert_int_eq(slot->record.input_length, COUNT);
    world_expect(&world, slot, SLOT_DATA_BIN, COUNT, 1.5);
    world_put(&world, slot, SLOT_RESULT_BIN, COUNT + 1, 2.5);
    expect_state(slot, STATE_COMPUTING, 1);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), 0);
    expect_state(slot, STATE_DONE, 1);
    ck_assert_int_eq(slot->record.result_length, COUNT + 1);
    ck_assert_int_eq(slot->record.result_dtype, RECORD_FLOAT64);
    ck_assert_uint_eq(world.exchange->counts.rounds, 1);
    ck_assert_int_eq(world.changes, 4);
    ck_assert_uint_eq(slot->record.change, 8);
    world_expect(&world, slot, SLOT_RESULT_BIN, COUNT + 1, 2.5);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), 0); /* stays */
    ck_assert_uint_eq(slot->record.change, 8);

    /* The next round has new arrays, and a new inode where a client still has the old one open. */
    old = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_READS);
    memcpy(before, slot->arrays, sizeof(before));
    memcpy(replaced, world.replaced, sizeof(replaced));
    slot->record.dtype = RECORD_INT64;
    world_put(&world, slot, SLOT_DATA_BIN, 2, 3.5);
    expect_state(slot, STATE_FILLING, 2);
    ck_assert_int_eq(slot->record.input_length, -1);
    ck_assert_int_eq(slot->record.result_length, -1);
    ck_assert_int_eq(slot->record.result_dtype, RECORD_DTYPE_SAME);
    ck_assert_int_eq(slot->record.dtype, RECORD_INT64);
    for (int side = 0; side < 2; side++) {
        bool kept = side == RECORD_SIDE_INPUT && world.exchange->data_path == DATA_PATH_PASSTHROUGH;
        ck_assert_uint_ne(before[side].serial, slot->arrays[side].serial);
        ck_assert_uint_ne(before[side].number, slot->arrays[side].number);
        ck_assert_int_eq(before[side].inode == slot->arrays[side].inode, kept);
        ck_assert_int_eq(world.replaced[side] - replaced[side], kept);
    }
    ck_assert_int_eq(segment_read(world.bench.arena, old->segment, &value, sizeof(value), 0), sizeof(value));
    ck_assert_double_eq(value, 2.5);
    world_close(&world, old);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    world_finish(&world, slot, 1, 4.5);
    expect_state(slot, STATE_DONE, 2);
    ck_assert_int_eq(slot->record.result_dtype, RECORD_INT64);
    world_expect(&world, slot, SLOT_DATA_BIN, 2, 3.5);
    world_end(&world);
}
END_TEST

START_TEST(test_empty_arrays)
{
    struct world world;
    struct record record;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_state(slot, STATE_READY, 1);
    ck_assert_int_eq(slot->record.input_length, 0);
    world_expect(&world, slot, SLOT_DATA_BIN, 0, 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), -EPROTO);
    expect_refusal(slot, EPROTO, "never opened");
    record = with_flag(slot, RECORD_FLAG_RESULT);
    record.result_length = 0;
    ck_assert_int_eq(write_up_to(&world, slot, &record, UP_TO_RESULT_LENGTH), 0);
    expect_state(slot, STATE_DONE, 1);
    world_expect(&world, slot, SLOT_RESULT_BIN, 0, 0);
    world_publish(&world, slot, 0, 0);
    expect_state(slot, STATE_READY, 2);
    world_finish(&world, slot, 0, 0);
    ck_assert_int_eq(slot->record.result_length, 0);
    world_end(&world);
}
END_TEST

/* --- every operation in every state --- */

static int operate(struct world *world, struct slot *slot, enum handshake_event event)
{
    static const int32_t flags[] = {0, 1, 2, -1};
    static const int32_t dtype = RECORD_INT64;
    bool of_input = event == EVENT_OPEN_INPUT_WRITE || event == EVENT_OPEN_INPUT_READ;
    bool writes = event == EVENT_OPEN_INPUT_WRITE || event == EVENT_OPEN_RESULT_WRITE;
    enum slot_file file = of_input || event == EVENT_RESIZE_INPUT ? SLOT_DATA_BIN : SLOT_RESULT_BIN;
    struct handle *handle;
    int result;

    switch (event) {
    case EVENT_OPEN_INPUT_WRITE:
    case EVENT_OPEN_INPUT_READ:
    case EVENT_OPEN_RESULT_WRITE:
    case EVENT_OPEN_RESULT_READ:
        result = world_try_open(world, slot, file, writes ? HANDLE_WRITES : HANDLE_READS, &handle);
        if (result == 0)
            world_close(world, handle);
        return result;
    case EVENT_FLAG_INPUT:
    case EVENT_FLAG_RESULT:
    case EVENT_FLAG_FAILED:
    case EVENT_FLAG_NONE:
        return world_flag(world, slot, flags[event - EVENT_FLAG_INPUT]);
    case EVENT_PUT_INPUT:
        return world_send(world, slot, RECORD_FLAG_INPUT, COUNT, 1, COUNT);
    case EVENT_PUT_RESULT:
        return world_send(world, slot, RECORD_FLAG_RESULT, COUNT, 1, COUNT);
    case EVENT_EDIT_INPUT:
        return world_write(world, slot, &dtype, sizeof(dtype), offsetof(struct record, dtype));
    case EVENT_EDIT_RESULT:
        return world_write(world, slot, &dtype, sizeof(dtype), offsetof(struct record, result_dtype));
    case EVENT_RESIZE_INPUT:
    case EVENT_RESIZE_RESULT:
        result = world_resize(world, slot, file, NULL, RESERVE_RESIZE, SIZE);
        return result == -ESTALE ? world_resize(world, slot, file, NULL, RESERVE_RESIZE, SIZE) : result;
    case EVENT_UNLINK:
        return exchange_unlink(world->exchange, slot, &world->caller);
    case EVENT_TAKE_RESULT:
        return array_move_result(world->exchange, slot, world_slot(world, "taker"), &world->caller);
    case EVENT_GIVE_INPUT:
        return array_move_result(world->exchange, world_slot_in(world, "giver", STATE_DONE), slot,
                                 &world->caller);
    case EVENT_LINK:
        return world_link(world, slot, world_slot(world, "source"), RECORD_SIDE_RESULT);
    case EVENT_FOLLOW_INPUT: /* from here on events, not operations of a client */
    case EVENT_FOLLOW_RESULT:
    case EVENT_DELIVER:
    case EVENT_SOURCE_FAILED:
    case EVENT_SOURCE_RETRIES:
    case EVENT_SOURCE_REMOVED:
    case EVENT_OUTCOME_READ:
    case EVENT_WORKER_DIED:
    case EVENT_RESTART:
    case EVENT_LOST:
    case HANDSHAKE_EVENTS:
        break;
    }
    return 0;
}

static void try_operation(struct world *world, enum handshake_state state, enum handshake_event event,
                          pid_t stranger)
{
    const struct handshake_step step = handshake_judge(state, event, FACT_HAS_INPUT);
    struct slot *slot = world_slot_in(world, "job", state);
    struct slot before = *slot;
    int result;

    world->caller.thread = world->caller.process = stranger; /* not the process that filled it */
    result = operate(world, slot, event);
    ck_assert_msg(result == (step.verdict == VERDICT_WAIT ? WAIT_FOR_PEER : -step.error), "%s, %s: %d",
                  handshake_state_name(state), handshake_event_name(event), result);
    expect_state(slot, step.next, 1 + (step.effects & EFFECT_NEW_ROUND ? 1 : 0));
    ck_assert_int_eq(slot->arrays[RECORD_SIDE_INPUT].serial != before.arrays[RECORD_SIDE_INPUT].serial,
                     (step.effects & EFFECT_FRESH_INPUT) != 0);
    ck_assert_int_eq(slot->arrays[RECORD_SIDE_RESULT].serial != before.arrays[RECORD_SIDE_RESULT].serial,
                     (step.effects & EFFECT_FRESH_RESULT) != 0);
    ck_assert_int_eq(slot->error_size != 0, step.next == STATE_FAILED);
    if (step.verdict == VERDICT_PROCEED) {
        ck_assert_uint_eq(slot->refusals, before.refusals);
    } else {
        ck_assert_mem_eq(&slot->record, &before.record, sizeof(before.record));
        ck_assert_uint_eq(slot->refusals, before.refusals + (step.verdict == VERDICT_REFUSE));
        if (step.verdict == VERDICT_REFUSE) {
            expect_refusal(slot, step.error, step.reason);
            ck_assert_str_eq(slot->refusal.operation, handshake_event_name(event));
            ck_assert_int_eq(slot->refusal.pid, stranger);
        }
    }
    world_check(world);
    world->caller.thread = world->caller.process = getpid();
    while ((slot = slot_after(world->slots, 0)))
        exchange_remove(world->exchange, slot);
}

START_TEST(test_every_operation)
{
    pid_t stranger = idler_start(0);
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        for (int event = 0; event <= EVENT_LINK; event++)
            try_operation(&world, (enum handshake_state)state, (enum handshake_event)event, stranger);
    }
    world_end(&world);
    idler_end(stranger);
}
END_TEST

/* --- publishing --- */

static void expect_refused(struct world *world, struct slot *slot, const struct record *record, size_t size,
                           int error, const char *reason)
{
    struct record before = slot->record;
    uint32_t state = slot->state;

    ck_assert_int_eq(write_up_to(world, slot, record, size), -error);
    ck_assert_mem_eq(&slot->record, &before, sizeof(before));
    ck_assert_uint_eq(slot->state, state);
    expect_refusal(slot, error, reason);
}

START_TEST(test_what_fits)
{
    static const struct {
        int64_t length;
        int32_t dtype;
        int32_t ndim;
        int64_t shape[RECORD_NDIM_MAX];
        int error;
    } rows[] = {
        {-1, RECORD_FLOAT64, 0, {0}, 0},
        {COUNT, RECORD_INT64, 0, {0}, 0},
        {COUNT - 1, RECORD_FLOAT64, 0, {0}, EINVAL},
        {COUNT + 1, RECORD_FLOAT64, 0, {0}, EINVAL},
        {0, RECORD_FLOAT64, 0, {0}, EINVAL},
        {COUNT, RECORD_INT32, 0, {0}, EINVAL},
        {2 * COUNT, RECORD_INT32, 0, {0}, 0},
        {SIZE, RECORD_UINT8, 0, {0}, 0},
        {-1, RECORD_FLOAT32, 2, {2, COUNT}, 0},
        {-1, RECORD_FLOAT32, 2, {3, COUNT}, EINVAL},
        {COUNT, RECORD_FLOAT64, 1, {COUNT}, 0},
        {COUNT, RECORD_FLOAT64, 4, {2, 1, 2, 1}, 0},
        {INT64_MAX, RECORD_FLOAT64, 0, {0}, EINVAL},
        {INT64_MAX / 8 + 1 + COUNT, RECORD_FLOAT64, 0, {0}, EINVAL},
    };
    struct world world;

    world_begin(&world, (enum exchange_data_path)_i);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slot *slot = world_slot_in(&world, "job", STATE_FILLING);
        struct record record = with_flag(slot, RECORD_FLAG_INPUT);

        record.input_length = rows[i].length;
        record.dtype = rows[i].dtype;
        record.input_ndim = rows[i].ndim;
        memcpy(record.input_shape, rows[i].shape, sizeof(record.input_shape));
        if (rows[i].error) {
            expect_refused(&world, slot, &record, sizeof(record), rows[i].error, "data.bin has 32 bytes");
            record.input_length = -1;
            record.dtype = RECORD_FLOAT64;
            record.input_ndim = 0;
            memset(record.input_shape, 0, sizeof(record.input_shape));
        }
        ck_assert_int_eq(write_up_to(&world, slot, &record, sizeof(record)), 0);
        expect_state(slot, STATE_READY, 1);
        exchange_remove(world.exchange, slot);

        slot = world_slot_in(&world, "job", STATE_COMPUTING);
        record = with_flag(slot, RECORD_FLAG_RESULT);
        record.result_length = rows[i].length;
        record.result_dtype = rows[i].dtype;
        record.result_ndim = rows[i].ndim;
        memcpy(record.result_shape, rows[i].shape, sizeof(record.result_shape));
        if (rows[i].error)
            expect_refused(&world, slot, &record, sizeof(record), rows[i].error, "result.bin has 32 bytes");
        else
            ck_assert_int_eq(write_up_to(&world, slot, &record, sizeof(record)), 0);
        exchange_remove(world.exchange, slot);
    }
    world_end(&world);
}
END_TEST

/* The checks come in this order: whose turn it is, whether writers let go, whether the record fits. */
START_TEST(test_order_of_checks)
{
    struct world world;
    struct handle *handle;
    struct record record;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_FILLING);
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    record = with_flag(slot, RECORD_FLAG_RESULT);
    record.input_length = 17;
    expect_refused(&world, slot, &record, UP_TO_LENGTH, EPROTO, "still being written");
    record.flag = RECORD_FLAG_INPUT;
    expect_refused(&world, slot, &record, UP_TO_LENGTH, EBUSY, "munmap and close");
    world_close(&world, handle);
    expect_refused(&world, slot, &record, UP_TO_LENGTH, EINVAL, "17 x float64");
    record.input_length = COUNT;
    ck_assert_int_eq(write_up_to(&world, slot, &record, UP_TO_LENGTH), 0);

    handle = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_WRITES);
    record = with_flag(slot, RECORD_FLAG_RESULT);
    record.result_length = 3;
    expect_refused(&world, slot, &record, UP_TO_RESULT_LENGTH, EBUSY, "munmap and close");
    world_close(&world, handle);
    expect_refused(&world, slot, &record, UP_TO_RESULT_LENGTH, EINVAL, "0 bytes");
    record.result_length = 0;
    ck_assert_int_eq(write_up_to(&world, slot, &record, UP_TO_RESULT_LENGTH), 0);
    world_end(&world);
}
END_TEST

/* On the passthrough path a mapping needs no handle, so RELEASE says nothing. */
START_TEST(test_mapped_for_writing)
{
    static const enum handshake_state states[] = {STATE_FILLING, STATE_COMPUTING};
    struct world world;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    for (int side = 0; side < 2; side++) {
        struct slot *slot = world_slot_in(&world, side ? "a" : "b", states[side]);
        enum slot_file file = side ? SLOT_RESULT_BIN : SLOT_DATA_BIN;
        struct handle *handle = world_open(&world, slot, file, HANDLE_WRITES);
        int fd = client_open(handle->segment, O_RDWR);
        struct client reader = client_start(fd, PROT_READ);
        struct client writer = client_start(fd, PROT_READ | PROT_WRITE);

        close(fd);
        world_close(&world, handle);
        ck_assert_int_eq(world_flag(&world, slot, side), -EBUSY);
        expect_refusal(slot, EBUSY, "mapped for writing");
        client_end(&writer);
        client_end(&reader); /* mprotect could make its shared mapping writable */
        ck_assert_int_eq(world_flag(&world, slot, side), 0);

        /* Readers do not matter. */
        handle = world_open(&world, slot, file, HANDLE_READS);
        world_close(&world, handle);
    }
    world_end(&world);
}
END_TEST

START_TEST(test_readers_do_not_matter)
{
    struct world world;
    struct handle *input, *again;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_FILLING);
    input = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS); /* its own process may */
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    again = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS);
    world_finish(&world, slot, COUNT, 2);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    world_close(&world, input);
    world_close(&world, again);
    world_end(&world);
}
END_TEST

/* --- fields --- */

START_TEST(test_edits)
{
    struct world world;
    struct record record;
    struct slot *slot;
    int64_t length = 4;
    uint32_t order;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    ck_assert_int_eq(
        world_write(&world, slot, &length, sizeof(length), offsetof(struct record, input_length)), 0);
    ck_assert_uint_eq(slot->record.change, 2);
    ck_assert_int_eq(
        world_write(&world, slot, &length, sizeof(length), offsetof(struct record, input_length)), 0);
    ck_assert_uint_eq(slot->record.change, 2); /* nothing has changed */
    world_put(&world, slot, SLOT_DATA_BIN, COUNT, 1);
    ck_assert_int_eq(slot->record.input_length, 4);

    /* Publishing the input keeps the result's fields, and flag -1 keeps the input's during a round. */
    record = with_flag(slot, RECORD_FLAG_INPUT);
    record.result_length = 77;
    record.result_dtype = RECORD_UINT8;
    record.order = RECORD_ORDER_INPUT_F | RECORD_ORDER_RESULT_F;
    ck_assert_int_eq(write_up_to(&world, slot, &record, sizeof(record)), 0);
    ck_assert_int_eq(slot->record.result_length, -1);
    ck_assert_int_eq(slot->record.result_dtype, RECORD_DTYPE_SAME);
    ck_assert_uint_eq(slot->record.order, RECORD_ORDER_INPUT_F);

    /* A write of the other side's bit alone touches the other side. */
    order = RECORD_ORDER_RESULT_F;
    ck_assert_int_eq(world_write(&world, slot, &order, sizeof(order), offsetof(struct record, order)),
                     -EBUSY);
    order = RECORD_ORDER_INPUT_F | RECORD_ORDER_RESULT_F;
    ck_assert_int_eq(world_write(&world, slot, &order, sizeof(order), offsetof(struct record, order)), 0);
    ck_assert_uint_eq(slot->record.order, order);
    world_finish(&world, slot, COUNT, 2);
    ck_assert_uint_eq(slot->record.order, order);
    world_put(&world, slot, SLOT_DATA_BIN, COUNT, 1);
    ck_assert_uint_eq(slot->record.order, 0);
    world_end(&world);
}
END_TEST

START_TEST(test_dropping)
{
    struct world world;
    struct record record;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_FILLING);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    expect_state(slot, STATE_IDLE, 1);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 0);
    ck_assert_int_eq(slot->record.input_length, -1);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    ck_assert_uint_eq(slot->record.round, 1);

    /* A record that announces the next input, as PyRMap writes it. */
    world_publish(&world, slot, COUNT, 1);
    record = with_flag(slot, RECORD_FLAG_NONE);
    record.input_length = 2;
    record.dtype = RECORD_FLOAT32;
    ck_assert_int_eq(write_up_to(&world, slot, &record, UP_TO_DTYPE), 0);
    expect_state(slot, STATE_IDLE, 2);
    ck_assert_int_eq(slot->record.input_length, 2);
    ck_assert_int_eq(slot->record.dtype, RECORD_FLOAT32);
    world_publish(&world, slot, 1, 1);
    expect_state(slot, STATE_READY, 2);
    world_end(&world);
}
END_TEST

/* --- failures --- */

START_TEST(test_failures)
{
    struct world world;
    struct slot *slot;
    char text[WORLD_TEXT_MAX];

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_COMPUTING);
    ck_assert_int_eq(publish_failure(world.exchange, slot, &world.caller, "no luck\n", 8), 0);
    expect_state(slot, STATE_FAILED, 1);
    world_text(&world, slot, SLOT_ERROR, text);
    ck_assert_str_eq(text, "no luck\n");
    ck_assert_int_eq(publish_failure(world.exchange, slot, &world.caller, "again", 5), 0);
    world_text(&world, slot, SLOT_ERROR, text);
    ck_assert_str_eq(text, "no luck\n");
    world_expect(&world, slot, SLOT_DATA_BIN, COUNT, 1);

    /* A retry goes on with the same input and drops half a result. */
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_state(slot, STATE_READY, 1);
    ck_assert_uint_eq(text_size(slot, SLOT_ERROR), 0);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_RESULT_BIN), 0);
    world_expect(&world, slot, SLOT_DATA_BIN, COUNT, 1);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_FAILED), 0);
    world_text(&world, slot, SLOT_ERROR, text);
    ck_assert_ptr_nonnull(strstr(text, "wrote flag 2"));
    world_publish(&world, slot, 2, 5);
    expect_state(slot, STATE_READY, 2);
    ck_assert_uint_eq(text_size(slot, SLOT_ERROR), 0);
    ck_assert_int_eq(publish_failure(world.exchange, slot, &world.caller, "", 0), 0);
    expect_state(slot, STATE_FAILED, 2);
    world_end(&world);
}
END_TEST

START_TEST(test_refusals)
{
    struct world world;
    struct slot *slot, *other;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    other = world_slot(&world, "other");
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), -EPROTO);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_FAILED), -EPROTO);
    ck_assert_int_eq(refuse_operation(world.exchange, slot, &world.caller, "try", -EBUSY, "because"), -EBUSY);
    ck_assert_uint_eq(slot->refusals, 3);
    ck_assert_uint_eq(other->refusals, 0);
    ck_assert_int_eq(other->refusal.error, 0);
    expect_refusal(slot, EBUSY, "because");
    ck_assert_str_eq(slot->refusal.operation, "try");
    ck_assert_int_eq(slot->refusal.pid, getpid());
    ck_assert_int_gt(slot->refusal.when.tv_sec, 0);
    ck_assert_uint_eq(world.exchange->counts.refusals, 3);
    ck_assert_uint_eq(world.exchange->counts.refusals_by_errno[EPROTO], 2);
    ck_assert_uint_eq(world.exchange->counts.refusals_by_errno[EBUSY], 1);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exchange");
    TCase *tests = tcase_create("both data paths");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_round, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_empty_arrays, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_every_operation, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_what_fits, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_order_of_checks, 0, DATA_PATHS);
    tcase_add_test(tests, test_mapped_for_writing);
    tcase_add_loop_test(tests, test_readers_do_not_matter, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_edits, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_dropping, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_failures, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_refusals, 0, DATA_PATHS);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
