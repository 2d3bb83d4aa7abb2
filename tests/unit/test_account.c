// SPDX-License-Identifier: Apache-2.0
/*
 * test_account.c - what the slots of an exchange are charged to, and what is refused when the account is full.
 */
#include "exchange/account.h"

#include "exchange_fixture.h"
#include "slot/page.h"
#include "slot/text.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ANN = 1000, BOB = 1001, EVE = 1002 };

static void begin_limited(struct world *world, enum exchange_data_path data_path)
{
    struct world_options options = world_defaults();

    options.data_path = data_path;
    options.limits.slots_per_user = 3;
    options.limits.bytes_per_user = MIB;
    ck_assert(world_try_begin(world, &options));
    world->caller.uid = ANN;
}

static int resize(struct world *world, struct slot *slot, enum slot_file file, uint64_t size)
{
    return world_resize(world, slot, file, NULL, RESERVE_RESIZE, size);
}

START_TEST(test_slots_of_a_user)
{
    struct world world;
    struct slot *slot;

    begin_limited(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "a");
    world_slot(&world, "b");
    world_slot(&world, "c");
    ck_assert_int_eq(exchange_mkdir(world.exchange, "d", &world.caller, 0755, &slot), -EDQUOT);
    world.caller.uid = BOB;
    world_slot(&world, "d");
    ck_assert_int_eq(exchange_mkdir(world.exchange, "d", &world.caller, 0755, &slot), -EEXIST);
    world_slot(&world, "e"); /* the failed attempts were not counted */
    world_slot(&world, "f");

    /* chown moves a slot to the new owner's account. */
    slot = slot_find(world.slots, "a");
    exchange_chown(world.exchange, slot, BOB, 0);
    ck_assert_uint_eq(slot->uid, BOB);
    ck_assert_int_eq(exchange_mkdir(world.exchange, "g", &world.caller, 0755, &slot), -EDQUOT);
    world.caller.uid = ANN;
    exchange_remove(world.exchange, slot_find(world.slots, "b"));
    world_slot(&world, "g");
    world_slot(&world, "h");
    ck_assert_int_eq(exchange_mkdir(world.exchange, "i", &world.caller, 0755, &slot), -EDQUOT);
    world_end(&world);
}
END_TEST

START_TEST(test_bytes_of_a_user)
{
    struct handle *handle;
    struct world world;
    struct slot *a, *b;
    double value = 1;

    begin_limited(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_slot(&world, "b");
    ck_assert_int_eq(resize(&world, a, SLOT_DATA_BIN, 512 * KIB), 0);
    ck_assert_int_eq(resize(&world, b, SLOT_DATA_BIN, 512 * KIB + 8), -EDQUOT);
    expect_refusal(b, EDQUOT, "limits.bytes_per_user");
    ck_assert_uint_eq(world_size(&world, b, SLOT_DATA_BIN), 0);
    ck_assert_int_eq(resize(&world, b, SLOT_DATA_BIN, 512 * KIB), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), MIB);
    handle = world_open(&world, b, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_int_eq(world_write_array(&world, handle, &value, sizeof(value), 512 * (off_t)KIB), -EDQUOT);
    expect_refusal(b, EDQUOT, "limits.bytes_per_user");
    ck_assert_int_eq(world_write_array(&world, handle, &value, sizeof(value), 511 * (off_t)KIB),
                     sizeof(value));
    ck_assert_int_eq(world_resize(&world, b, SLOT_DATA_BIN, handle, RESERVE_GROW, 4 * KIB), 0);
    ck_assert_int_eq(world_resize(&world, b, SLOT_DATA_BIN, handle, RESERVE_PAGES, 4 * KIB), 0);
    ck_assert_int_eq(world_resize(&world, b, SLOT_DATA_BIN, handle, RESERVE_PAGES, 513 * KIB), -EDQUOT);
    ck_assert_uint_eq(world_charged(&world, ANN), MIB);
    ck_assert_int_eq(resize(&world, b, SLOT_DATA_BIN, 8), 0);
    world_close(&world, handle);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_INPUT), 0);
    ck_assert_int_eq(resize(&world, b, SLOT_RESULT_BIN, 512 * KIB), -EDQUOT);
    ck_assert_int_eq(resize(&world, b, SLOT_RESULT_BIN, 256 * KIB), 0);
    exchange_remove(world.exchange, b);
    ck_assert_uint_eq(world_charged(&world, ANN), 512 * KIB);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_NONE), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 0);
    world_end(&world);
}
END_TEST

/* A refused resize leaves the account as it was. */
START_TEST(test_full_arena_is_not_charged)
{
    struct world_options options = world_defaults();
    struct world world;
    struct slot *slot;

    options.data_path = (enum exchange_data_path)_i;
    options.capacity = 2 * MIB;
    options.limits.bytes_per_user = 100 * MIB;
    ck_assert(world_try_begin(&world, &options));
    world.caller.uid = ANN;
    slot = world_slot(&world, "a");
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, 8), 0);
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, 50 * MIB), -ENOSPC);
    ck_assert_uint_eq(world_charged(&world, ANN), 8);
    world_end(&world);
}
END_TEST

/* Pages stay on an account for as long as a client can use them. */
START_TEST(test_open_handles_are_charged)
{
    struct handle *handle;
    struct world world;
    struct slot *slot;

    begin_limited(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "a");
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, 800 * KIB), 0);
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    ck_assert_int_eq(exchange_unlink(world.exchange, slot, &world.caller), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 800 * KIB);
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, 800 * KIB), -EDQUOT);
    world_close(&world, handle);
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, 800 * KIB), 0);
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    exchange_remove(world.exchange, slot);
    ck_assert_uint_eq(world_charged(&world, ANN), 800 * KIB);
    world_close(&world, handle);
    ck_assert_uint_eq(world_charged(&world, ANN), 0);
    world_end(&world);
}
END_TEST

/*
 * A mapping outlives its round and its handle: its pages stay used, and on the account of the slot's owner.
 */
START_TEST(test_mapped_rounds_are_charged)
{
    struct handle *handle;
    struct client client;
    struct world world;
    struct slot *slot;
    int fd;

    begin_limited(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "a");
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, 600 * KIB), 0);
    handle = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_WRITES);
    fd = client_open(handle->segment, O_RDWR);
    client = client_start(fd, PROT_READ | PROT_WRITE);
    close(fd);
    world_close(&world, handle);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 600 * KIB);
    ck_assert_uint_eq(bench_usage(&world.bench).used, 600 * KIB);
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, 600 * KIB), -EDQUOT);
    exchange_remove(world.exchange, slot);
    slot = world_slot(&world, "b");
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, 600 * KIB), -EDQUOT);
    /* The kernel does not tell when the mapping ends: we look again when a share is used up. */
    client_end(&client);
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, 600 * KIB), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 600 * KIB);
    world_end(&world);
}
END_TEST

static ssize_t write_error(struct world *world, struct slot *slot, size_t size)
{
    static const char text[TEXT_ERROR_MAX];

    return account_write_text(world->exchange, slot, SLOT_ERROR, ACCOUNT_CLIENT, text, size, 0);
}

/* Texts and record pages are on the account of the slot's owner. */
START_TEST(test_small_files_are_charged)
{
    struct world world;
    struct slot *slot;

    begin_limited(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "a");
    ck_assert_uint_eq(world_charged(&world, ANN), 0);
    ck_assert_int_eq(account_write_text(world.exchange, slot, SLOT_TASK, ACCOUNT_CLIENT, "fit", 3, 0), 3);
    ck_assert_uint_eq(world_charged(&world, ANN), 4 * KIB);
    ck_assert_int_eq(account_open_page(world.exchange, slot, (enum slot_page_kind)_i), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 8 * KIB);
    page_close(slot, (enum slot_page_kind)_i);
    ck_assert_int_eq(account_open_page(world.exchange, slot, (enum slot_page_kind)_i),
                     0); /* it was open already */
    ck_assert_uint_eq(world_charged(&world, ANN), 8 * KIB);
    page_close(slot, (enum slot_page_kind)_i);
    ck_assert_int_eq(write_error(&world, slot, 5000), 5000);
    ck_assert_uint_eq(world_charged(&world, ANN), 16 * KIB);
    ck_assert_int_eq(write_error(&world, slot, 100), 100);
    ck_assert_uint_eq(world_charged(&world, ANN), 16 * KIB);
    ck_assert_int_eq(write_error(&world, slot, TEXT_ERROR_MAX), TEXT_ERROR_MAX);
    ck_assert_uint_eq(world_charged(&world, ANN), 72 * KIB);
    ck_assert_int_eq(account_write_text(world.exchange, slot, SLOT_TASK, ACCOUNT_CLIENT, "x", 1, 1 << 20),
                     -EFBIG);
    ck_assert_uint_eq(world_charged(&world, ANN), 72 * KIB);
    ck_assert_int_eq(account_resize_text(world.exchange, slot, SLOT_ERROR, 1), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 12 * KIB);

    /* With the share full, the daemon still writes its own short text of a failure. */
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, MIB - 16 * KIB), 0);
    ck_assert_int_eq(write_error(&world, slot, 5000), 5000);
    ck_assert_int_eq(write_error(&world, slot, 9000), -EDQUOT);
    ck_assert_uint_eq(text_size(slot, SLOT_ERROR), 5000);
    ck_assert_uint_eq(world_charged(&world, ANN), MIB);
    ck_assert_int_eq(account_resize_text(world.exchange, slot, SLOT_ERROR, 9000), -EDQUOT);
    ck_assert_int_eq(account_resize_text(world.exchange, slot, SLOT_ERROR, 0), 0);
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, MIB - 8 * KIB), 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_FAILED), 0);
    expect_state(slot, STATE_FAILED, 1);
    ck_assert_uint_gt(text_size(slot, SLOT_ERROR), 10);

    exchange_chown(world.exchange, slot, BOB, 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 0);
    ck_assert_uint_ge(world_charged(&world, BOB), 12 * KIB);
    exchange_remove(world.exchange, slot);
    ck_assert_uint_eq(world_charged(&world, BOB), 0);
    world_end(&world);
}
END_TEST

/* Texts cannot fill the place of the index and the record pages. */
START_TEST(test_texts_leave_room)
{
    struct world_options options = world_defaults();
    struct world world;
    struct slot *slot, *last = NULL;
    char name[16];
    ssize_t put = TEXT_ERROR_MAX;
    int count = 0;

    options.kind = ARENA_TMPFS; /* elsewhere a text may be a descriptor */
    options.capacity = 256 * MIB;
    options.slots_max = 5000;
    if (!world_try_begin(&world, &options))
        return;
    while (put == TEXT_ERROR_MAX) {
        snprintf(name, sizeof(name), "s%d", count++);
        last = world_slot(&world, name);
        put = write_error(&world, last, TEXT_ERROR_MAX);
    }
    ck_assert_int_eq(put, -ENOSPC);
    ck_assert_int_eq(count - 1, (int)((64 * MIB + 32 * MIB) / TEXT_ERROR_MAX));
    ck_assert_uint_eq(text_size(last, SLOT_ERROR), 0);
    ck_assert_int_eq(account_open_page(world.exchange, last, SLOT_PAGE_BIN), 0);
    page_close(last, SLOT_PAGE_BIN);
    world_publish(&world, last, 10, 1);
    slot = slot_find(world.slots, "s0");
    ck_assert_int_eq(account_resize_text(world.exchange, slot, SLOT_ERROR, 0), 0);
    ck_assert_int_eq(write_error(&world, last, TEXT_ERROR_MAX), TEXT_ERROR_MAX);
    world_end(&world);
}
END_TEST

/* Where the kernel does not count, texts are a part of the capacity. */
START_TEST(test_texts_take_room)
{
    struct world_options options = world_defaults();
    struct world world;
    struct slot *slot;
    uint64_t size = 2 * MIB;

    options.capacity = 2 * MIB;
    ck_assert(world_try_begin(&world, &options));
    slot = world_slot(&world, "a");
    while (resize(&world, slot, SLOT_DATA_BIN, size) == -ENOSPC)
        size -= 4 * KIB;
    ck_assert_int_eq(write_error(&world, slot, 5000), -ENOSPC);
    ck_assert_uint_eq(text_size(slot, SLOT_ERROR), 0);
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, size - 8 * KIB), 0);
    ck_assert_int_eq(write_error(&world, slot, 5000), 5000);
    ck_assert_int_eq(resize(&world, slot, SLOT_DATA_BIN, size), -ENOSPC);
    world_end(&world);
}
END_TEST

START_TEST(test_moves)
{
    struct world world;
    struct slot *a, *b;

    begin_limited(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    world_publish(&world, a, 1, 1);
    ck_assert_int_eq(resize(&world, a, SLOT_RESULT_BIN, 600 * KIB), 0);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_RESULT), 0);
    world.caller.uid = BOB;
    b = world_slot(&world, "b");
    ck_assert_int_eq(resize(&world, world_slot(&world, "c"), SLOT_DATA_BIN, 600 * KIB), 0);
    ck_assert_int_eq(array_move_result(world.exchange, a, b, &world.caller), -EDQUOT);
    expect_refusal(b, EDQUOT, "limits.bytes_per_user");
    expect_state(a, STATE_DONE, 1);
    expect_state(b, STATE_IDLE, 1);
    ck_assert_uint_eq(world_charged(&world, ANN), 600 * KIB + 8);
    ck_assert_uint_eq(world_charged(&world, BOB), 600 * KIB);
    exchange_remove(world.exchange, slot_find(world.slots, "c"));
    ck_assert_int_eq(array_move_result(world.exchange, a, b, &world.caller), 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 0);
    ck_assert_uint_eq(world_charged(&world, BOB), 600 * KIB);
    exchange_chown(world.exchange, b, ANN, 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 600 * KIB);
    ck_assert_uint_eq(world_charged(&world, BOB), 0);
    world_end(&world);
}
END_TEST

/* A chain's pages are on the source's account, until only a follower has them. */
START_TEST(test_chains)
{
    struct world world;
    struct slot *a, *b;

    begin_limited(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    world.caller.uid = BOB;
    b = world_slot(&world, "b");
    ck_assert_int_eq(world_link(&world, b, a, RECORD_SIDE_RESULT), 0);
    world.caller.uid = ANN;
    world_publish(&world, a, 1, 1);
    ck_assert_int_eq(resize(&world, a, SLOT_RESULT_BIN, 400 * KIB), 0);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_RESULT), 0);
    expect_state(b, STATE_READY, 1);
    ck_assert_uint_eq(world_charged(&world, ANN), 400 * KIB + 8);
    ck_assert_uint_eq(world_charged(&world, BOB), 0);
    world_put(&world, a, SLOT_DATA_BIN, 1, 1);
    ck_assert_uint_eq(world_charged(&world, ANN), 8);
    ck_assert_uint_eq(world_charged(&world, BOB), 400 * KIB);
    ck_assert_int_eq(exchange_unlink(world.exchange, b, &world.caller), 0);
    ck_assert_uint_eq(world_charged(&world, BOB), 0);
    world_end(&world);
}
END_TEST

/* An array stays on the account of the slot that made it, whatever happens to slots that share it. */
START_TEST(test_chown_in_a_chain)
{
    struct world world;
    struct slot *a, *b;

    begin_limited(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    world_publish(&world, a, 1, 1);
    ck_assert_int_eq(resize(&world, a, SLOT_RESULT_BIN, 400 * KIB), 0);
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_RESULT), 0);
    exchange_chown(world.exchange, b, BOB, 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 400 * KIB + 8);
    ck_assert_uint_eq(world_charged(&world, BOB), 0);
    exchange_chown(world.exchange, a, EVE, 0);
    ck_assert_uint_eq(world_charged(&world, ANN), 0);
    ck_assert_uint_eq(world_charged(&world, EVE), 400 * KIB + 8);
    exchange_chown(world.exchange, a, BOB, 0);
    exchange_chown(world.exchange, b, ANN, 0);
    ck_assert_uint_eq(world_charged(&world, BOB), 400 * KIB + 8);
    ck_assert_uint_eq(world_charged(&world, ANN), 0);
    world_put(&world, a, SLOT_DATA_BIN, 1, 1); /* from here on it is the follower's alone */
    ck_assert_uint_eq(world_charged(&world, ANN), 400 * KIB);
    exchange_chown(world.exchange, b, EVE, 0);
    ck_assert_uint_eq(world_charged(&world, EVE), 400 * KIB);
    ck_assert_uint_eq(world_charged(&world, ANN), 0);
    world_end(&world);
}
END_TEST

/* --- of a job --- */

static struct slot *slot_in_job(struct world *world, const char *name, const char *job)
{
    struct slot *slot = world_slot(world, name);

    quota_drop_slot(world->exchange->quota, account_payer(slot));
    snprintf(slot->job, sizeof(slot->job), "%s", job);
    ck_assert_int_eq(quota_add_slot(world->exchange->quota, account_payer(slot), UINT32_MAX), 0);
    slot_mark(slot);
    return slot;
}

static uint64_t of_job(struct world *world, const char *job)
{
    return quota_bytes(world->exchange->quota, (struct quota_payer){0, job}, QUOTA_JOB);
}

/* Whoever owns the slots: arrays, inline arrays and texts, and what goes from one slot to another. */
START_TEST(test_bytes_of_a_job)
{
    struct world_options options = world_defaults();
    struct world world;
    struct slot *a, *b, *other;

    options.data_path = (enum exchange_data_path)_i;
    options.limits.bytes_per_job = MIB;
    ck_assert(world_try_begin(&world, &options));
    a = slot_in_job(&world, "a", "job_7");
    other = slot_in_job(&world, "other", "job_8");
    b = slot_in_job(&world, "b", "job_7");
    ck_assert_int_eq(exchange_chown(world.exchange, b, BOB, 0), 0);
    ck_assert_int_eq(resize(&world, a, SLOT_DATA_BIN, 768 * KIB), 0);
    ck_assert_int_eq(resize(&world, b, SLOT_DATA_BIN, 512 * KIB), -EDQUOT);
    expect_refusal(b, EDQUOT, "limits.bytes_per_job allows job_7");
    ck_assert_int_eq(account_write_text(world.exchange, b, SLOT_TASK, ACCOUNT_CLIENT, "x", 1, 0), 1);
    ck_assert_int_eq(resize(&world, b, SLOT_DATA_BIN, 256 * KIB), -EDQUOT); /* there is a text by now */
    account_resize_text(world.exchange, b, SLOT_TASK, 0);
    ck_assert_int_eq(resize(&world, b, SLOT_DATA_BIN, 256 * KIB), 0);
    ck_assert_int_eq(account_write_text(world.exchange, b, SLOT_TASK, ACCOUNT_CLIENT, "x", 1, 0), -EDQUOT);
    ck_assert_int_eq(resize(&world, other, SLOT_DATA_BIN, 512 * KIB), 0);
    ck_assert_uint_eq(of_job(&world, "job_7"), MIB);
    ck_assert_uint_eq(of_job(&world, "job_8"), 512 * KIB);

    /* The result goes to a slot of another job, if that has room for it. */
    ck_assert_int_eq(world_flag(&world, a, RECORD_FLAG_NONE), 0);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_NONE), 0);
    ck_assert_uint_eq(of_job(&world, "job_7"), 0);
    world_publish(&world, a, 1000, 1);
    world_finish(&world, a, 64 * KIB, 2);
    ck_assert_int_eq(world_flag(&world, other, RECORD_FLAG_NONE), 0);
    ck_assert_int_eq(array_move_result(world.exchange, a, other, &world.caller), 0);
    ck_assert_uint_eq(of_job(&world, "job_8"), 512 * KIB);
    ck_assert_uint_eq(of_job(&world, "job_7"), 0);
    world_publish(&world, a, 1000, 1);
    world_finish(&world, a, 96 * KIB, 2);
    ck_assert_int_eq(resize(&world, slot_in_job(&world, "more", "job_8"), SLOT_DATA_BIN, 512 * KIB), 0);
    ck_assert_int_eq(
        array_move_result(world.exchange, a, slot_in_job(&world, "last", "job_8"), &world.caller), -EDQUOT);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("account");
    TCase *exchange = tcase_create("both data paths");

    tcase_set_timeout(exchange, 60);
    tcase_add_loop_test(exchange, test_slots_of_a_user, 0, DATA_PATHS);
    tcase_add_loop_test(exchange, test_bytes_of_a_user, 0, DATA_PATHS);
    tcase_add_loop_test(exchange, test_full_arena_is_not_charged, 0, DATA_PATHS);
    tcase_add_loop_test(exchange, test_open_handles_are_charged, 0, DATA_PATHS);
    tcase_add_test(exchange, test_mapped_rounds_are_charged);
    tcase_add_loop_test(exchange, test_small_files_are_charged, 0, SLOT_PAGES);
    tcase_add_test(exchange, test_texts_leave_room);
    tcase_add_test(exchange, test_texts_take_room);
    tcase_add_loop_test(exchange, test_moves, 0, DATA_PATHS);
    tcase_add_loop_test(exchange, test_chains, 0, DATA_PATHS);
    tcase_add_loop_test(exchange, test_chown_in_a_chain, 0, DATA_PATHS);
    tcase_add_loop_test(exchange, test_bytes_of_a_job, 0, DATA_PATHS);
    suite_add_tcase(suite, exchange);
    return suite_run(suite);
}
