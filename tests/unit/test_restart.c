// SPDX-License-Identifier: Apache-2.0
/*
 * test_restart.c - a server that starts on the directory of another one.
 */
#include "arena/store.h"
#include "exchange_fixture.h"
#include "slot/entry.h"
#include "slot/index.h"
#include "slot/page.h"
#include "slot/text.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ANN = 1000, BOB = 1001 };

static void begin_in_directory(struct world *world)
{
    struct world_options options = world_defaults();

    options.kind = ARENA_DIR;
    options.data_path = DATA_PATH_PAGE_CACHE;
    options.limits.bytes_per_user = 10 * MIB;
    ck_assert(world_try_begin(world, &options));
}

static struct slot *find(struct world *world, const char *name)
{
    struct slot *slot = slot_find(world->slots, name);

    ck_assert_ptr_nonnull(slot);
    return slot;
}

/* --- slots by state --- */

static const enum handshake_state all_states[] = {STATE_IDLE,      STATE_FILLING, STATE_READY,
                                                  STATE_COMPUTING, STATE_DONE,    STATE_FAILED};

START_TEST(test_states)
{
    struct record before[HANDSHAKE_STATES];
    char text[WORLD_TEXT_MAX];
    struct world world;

    begin_in_directory(&world);
    for (int i = 0; i < HANDSHAKE_STATES; i++) {
        struct slot *slot = world_slot_in(&world, handshake_state_name(all_states[i]), all_states[i]);

        ck_assert_int_eq(text_write(world.bench.arena, slot, SLOT_TASK, "do it", 5, 0), 5);
        slot_chmod(slot, 0710);
        before[i] = slot->record;
    }
    world_restart(&world);
    ck_assert_uint_eq(slots_count(world.slots), HANDSHAKE_STATES);
    for (int i = 0; i < HANDSHAKE_STATES; i++) {
        struct slot *slot = find(&world, handshake_state_name(all_states[i]));

        world_text(&world, slot, SLOT_TASK, text);
        ck_assert_str_eq(text, "do it");
        ck_assert_uint_eq(slot->modes[SLOT_DIRECTORY], 0710);
        if (all_states[i] == STATE_COMPUTING)
            continue; /* its client had the file open through the mount that is gone */
        expect_state(slot, all_states[i], 1);
        ck_assert_mem_eq(&slot->record, &before[i], sizeof(before[i]));
    }
    world_expect(&world, find(&world, "READY"), SLOT_DATA_BIN, WORLD_COUNT, 1);
    world_expect(&world, find(&world, "DONE"), SLOT_DATA_BIN, WORLD_COUNT, 1);
    world_expect(&world, find(&world, "DONE"), SLOT_RESULT_BIN, WORLD_COUNT, 2);
    world_expect(&world, find(&world, "FAILED"), SLOT_DATA_BIN, WORLD_COUNT, 1);
    world_text(&world, find(&world, "FAILED"), SLOT_ERROR, text);
    ck_assert_str_eq(text, "why");
    expect_state(find(&world, "COMPUTING"), STATE_FAILED, 1);
    world_text(&world, find(&world, "COMPUTING"), SLOT_ERROR, text);
    ck_assert_ptr_nonnull(strstr(text, "restarted"));
    world_expect(&world, find(&world, "COMPUTING"), SLOT_DATA_BIN, WORLD_COUNT, 1);
    world_end(&world);
}
END_TEST

START_TEST(test_rounds_go_on)
{
    struct world world;
    struct slot *slot;

    begin_in_directory(&world);
    for (int i = 0; i < HANDSHAKE_STATES; i++)
        world_slot_in(&world, handshake_state_name(all_states[i]), all_states[i]);
    world_restart(&world);
    slot = find(&world, "FILLING");
    world_put(&world, slot, SLOT_DATA_BIN, 2, 7);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    world_expect(&world, slot, SLOT_DATA_BIN, 2, 7);
    world_finish(&world, slot, 3, 8);
    world_finish(&world, find(&world, "READY"), 3, 8);
    slot = find(&world, "COMPUTING");
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    world_finish(&world, slot, 3, 8);
    expect_state(slot, STATE_DONE, 1);
    world_publish(&world, find(&world, "DONE"), 3, 9);
    expect_state(find(&world, "DONE"), STATE_READY, 2);
    world_publish(&world, find(&world, "IDLE"), 3, 9);
    world_restart(&world);
    world_expect(&world, find(&world, "DONE"), SLOT_DATA_BIN, 3, 9);
    world_expect(&world, find(&world, "READY"), SLOT_RESULT_BIN, 3, 8);
    world_end(&world);
}
END_TEST

/* --- processes --- */

/* A pid may mean another process to a new server: perhaps the machine was restarted. */
START_TEST(test_processes)
{
    static const enum handshake_state states[] = {STATE_IDLE, STATE_READY, STATE_DONE};
    char name[32], text[WORLD_TEXT_MAX];
    struct world world;
    struct slot *slot;

    begin_in_directory(&world);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "owned-%d", i);
        slot = world_slot_in(&world, name, states[i]);
        ck_assert_int_eq(exchange_bind(world.exchange, slot, ROLE_OWNER, getpid(), &world.caller), 0);
        snprintf(name, sizeof(name), "worked-%d", i);
        slot = world_slot_in(&world, name, states[i]);
        ck_assert_int_eq(exchange_bind(world.exchange, slot, ROLE_WORKER, getpid(), &world.caller), 0);
    }
    world_restart(&world);
    ck_assert_uint_eq(slots_count(world.slots), 3);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "worked-%d", i);
        slot = find(&world, name);
        ck_assert_int_eq(slot->worker, 0);
        expect_state(slot, states[i] == STATE_READY ? STATE_FAILED : states[i], 1);
    }
    world_text(&world, find(&world, "worked-1"), SLOT_ERROR, text);
    ck_assert_str_ne(text, "");
    world_end(&world);
}
END_TEST

/* --- chains --- */

START_TEST(test_chains)
{
    struct world world;
    struct slot *a, *b, *c;

    begin_in_directory(&world);
    a = world_slot(&world, "a");
    b = world_slot(&world, "b");
    c = world_slot(&world, "c");
    ck_assert_int_eq(world_link(&world, b, a, RECORD_SIDE_RESULT), 0);
    ck_assert_int_eq(world_link(&world, c, b, RECORD_SIDE_INPUT), 0);
    world_publish(&world, a, 3, 1);
    world_finish(&world, a, 3, 2);
    expect_state(c, STATE_READY, 1);
    world_restart(&world);
    a = find(&world, "a");
    b = find(&world, "b");
    c = find(&world, "c");
    expect_state(b, STATE_READY, 1);
    expect_state(c, STATE_READY, 1);
    ck_assert_ptr_eq(b->segments[RECORD_SIDE_INPUT], a->segments[RECORD_SIDE_RESULT]);
    ck_assert_ptr_eq(c->segments[RECORD_SIDE_INPUT], a->segments[RECORD_SIDE_RESULT]);
    world_finish(&world, b, 1, 3);
    world_finish(&world, c, 1, 4);
    world_expect(&world, b, SLOT_RESULT_BIN, 1, 3);
    world_expect(&world, c, SLOT_RESULT_BIN, 1, 4);
    world_publish(&world, a, 2, 5);
    world_finish(&world, a, 2, 6);
    expect_state(b, STATE_READY, 2);
    world_expect(&world, c, SLOT_DATA_BIN, 2, 6);
    world_end(&world);
}
END_TEST

/* --- files --- */

static int files_in(const struct world *world)
{
    char pattern[80];
    glob_t found = {0};
    int count;

    snprintf(pattern, sizeof(pattern), "%s/*", world->bench.directory);
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    count = (int)found.gl_pathc;
    globfree(&found);
    return count;
}

START_TEST(test_lost_data)
{
    char name[STORE_NAME_MAX], path[128];
    struct world world;
    struct slot *slot, *kept;
    uint64_t id;

    begin_in_directory(&world);
    slot = world_slot_in(&world, "lost", STATE_DONE);
    kept = world_slot_in(&world, "kept", STATE_DONE);
    id = slot->arrays[_i].segment_id;
    ck_assert_uint_ne(id, kept->arrays[_i].segment_id);
    store_segment_name(&world.bench.arena->store, name, id);
    snprintf(path, sizeof(path), "%s/%s", world.bench.directory, name);
    world_stop(&world);
    ck_assert_int_eq(unlink(path), 0);
    world_start(&world);
    slot = find(&world, "lost");
    expect_state(slot, STATE_IDLE, 2);
    ck_assert_uint_eq(world_size(&world, slot, SLOT_DATA_BIN), 0);
    world_publish(&world, slot, 2, 3);
    expect_state(find(&world, "kept"), STATE_DONE, 1);
    world_expect(&world, find(&world, "kept"), SLOT_RESULT_BIN, WORLD_COUNT, 2);
    world_end(&world);
}
END_TEST

/* A slot takes all its files with it, even those that another server made. */
START_TEST(test_no_file_is_left)
{
    struct world world;
    struct slot *slot;
    int files;

    begin_in_directory(&world);
    slot = world_slot(&world, "job");
    exchange_remove(world.exchange, slot);
    background_drain(world.bench.background);
    files = files_in(&world);
    slot = world_slot_in(&world, "job", STATE_FAILED);
    ck_assert_int_eq(text_write(world.bench.arena, slot, SLOT_TASK, "do it", 5, 0), 5);
    for (int kind = 0; kind < SLOT_PAGES; kind++) {
        ck_assert_int_eq(page_open(world.bench.arena, slot, (enum slot_page_kind)kind), 0);
        page_close(slot, (enum slot_page_kind)kind);
    }
    ck_assert_int_gt(files_in(&world), files);
    world_restart(&world);
    exchange_remove(world.exchange, find(&world, "job"));
    background_drain(world.bench.background);
    ck_assert_int_eq(files_in(&world), files);
    world_end(&world);
}
END_TEST

/* --- accounts --- */

START_TEST(test_quotas)
{
    const struct quota_payer of_job = {ANN, "job_7"};
    struct world world;
    struct slot *a, *b;
    uid_t self;

    begin_in_directory(&world);
    self = world.caller.uid;
    world.caller.uid = ANN;
    a = world_slot(&world, "a");
    snprintf(a->job, sizeof(a->job), "job_7");
    slot_mark(a);
    world.caller.uid = BOB;
    b = world_slot(&world, "b");
    ck_assert_int_eq(world_link(&world, b, a, RECORD_SIDE_RESULT), 0);
    world.caller.uid = ANN;
    world_publish(&world, a, 1000, 1);
    world_finish(&world, a, 5000, 2);
    expect_state(b, STATE_READY, 1);
    ck_assert_uint_eq(quota_bytes(world.exchange->quota, of_job, QUOTA_JOB), 48000);
    ck_assert_uint_eq(world_charged(&world, ANN), 48000);
    ck_assert_uint_eq(world_charged(&world, BOB), 0);
    world.limits.slots_per_user = 1;
    world_restart(&world);
    ck_assert_uint_eq(world_charged(&world, ANN), 48000);
    ck_assert_uint_eq(world_charged(&world, BOB), 0);
    ck_assert_uint_eq(quota_bytes(world.exchange->quota, of_job, QUOTA_JOB), 48000);
    ck_assert_int_eq(exchange_mkdir(world.exchange, "c", &world.caller, 0755, &a), -EDQUOT);
    world.caller.uid = self;
    world_end(&world);
}
END_TEST

/* A server that was killed may leave the files of texts that no slot has any more, or not yet. */
START_TEST(test_texts_of_nobody)
{
    char text[WORLD_TEXT_MAX];
    struct world world;
    struct slot *slot;
    int fd;

    begin_in_directory(&world);
    slot = world_slot(&world, "job");
    ck_assert_int_eq(text_write(world.bench.arena, slot, SLOT_TASK, "do it", 5, 0), 5);
    for (int i = 0; i < 2; i++) {
        fd = arena_file_open(world.bench.arena, i ? "e7fff" : "t7fff", O_RDWR | O_CREAT);
        ck_assert_int_ge(fd, 0);
        close(fd);
    }
    world_restart(&world);
    background_drain(world.bench.background);
    ck_assert_int_eq(arena_file_open(world.bench.arena, "t7fff", O_RDONLY), -ENOENT);
    ck_assert_int_eq(arena_file_open(world.bench.arena, "e7fff", O_RDONLY), -ENOENT);
    world_text(&world, find(&world, "job"), SLOT_TASK, text);
    ck_assert_str_eq(text, "do it");
    world_end(&world);
}
END_TEST

/* --- an index that is damaged --- */

static int open_index(const struct world *world)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%sindex", world->bench.directory, store_named_prefix);
    fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* Where a copy of an entry begins: see index.h. */
static off_t place_of_copy(uint32_t number, int copy)
{
    const uint32_t stride = (32 + ENTRY_SIZE + 63) / 64 * 64;

    return 2 * 4096 + (off_t)stride * ((off_t)copy * INDEX_STEP + number);
}

/* Both copies of a slot's entry have other checksums. The server must have stopped. */
static void damage_entry(const struct world *world, uint32_t number)
{
    int fd = open_index(world);

    for (int copy = 0; copy < 2; copy++) {
        unsigned char byte;

        ck_assert_int_eq(pread(fd, &byte, 1, place_of_copy(number, copy)), 1);
        byte ^= 0x5a;
        ck_assert_int_eq(pwrite(fd, &byte, 1, place_of_copy(number, copy)), 1);
    }
    close(fd);
}

static void expect_aside(struct world *world, uint32_t number, const char *input, const char *result)
{
    char name[32], text[WORLD_TEXT_MAX], expected[128];
    struct slot *slot;

    snprintf(name, sizeof(name), "damaged-%u", number);
    slot = find(world, name);
    ck_assert_int_eq(slot_state(slot), STATE_FAILED);
    ck_assert_uint_eq(slot->modes[SLOT_DIRECTORY] & 077, 0);
    world_text(world, slot, SLOT_ERROR, text);
    snprintf(expected, sizeof(expected), "Its input is %s, its result is %s. Copy what you need, then remove",
             input, result);
    if (!strstr(text, expected))
        ck_abort_msg("%s: %s\nwanted: %s", name, text, expected);
}

/* A slot whose entry is damaged is set aside with its arrays, and says so at each start until it is removed. */
START_TEST(test_set_aside)
{
    char result[64];
    struct world world;
    struct slot *slot;
    uint32_t number;

    begin_in_directory(&world);
    slot = world_slot_in(&world, "job", STATE_DONE);
    world_slot_in(&world, "sound", STATE_DONE);
    number = slot_index(world.slots, slot);
    snprintf(result, sizeof(result), "in the arena's file s%llu",
             (unsigned long long)slot->arrays[RECORD_SIDE_RESULT].segment_id);
    world_stop(&world);
    damage_entry(&world, number);
    world_start(&world);
    for (int i = 0; i < 2; i++) {
        char name[32];

        ck_assert_ptr_null(slot_find(world.slots, "job"));
        expect_aside(&world, number, "in data.bin", result);
        snprintf(name, sizeof(name), "damaged-%u", number);
        world_expect(&world, find(&world, name), SLOT_DATA_BIN, WORLD_COUNT, 1);
        expect_state(find(&world, "sound"), STATE_DONE, 1);
        world_expect(&world, find(&world, "sound"), SLOT_RESULT_BIN, WORLD_COUNT, 2);
        if (i == 0)
            world_restart(&world);
        else
            exchange_remove(world.exchange, find(&world, name));
    }
    world_restart(&world);
    ck_assert_uint_eq(slots_count(world.slots), 1);
    world_end(&world);
}
END_TEST

/* Of the slots that have an array the sound one keeps it, and of the damaged ones the first. */
START_TEST(test_shared_array_of_damaged_slots)
{
    char result[64];
    struct world world;
    struct slot *a, *b;
    uint32_t numbers[2];

    begin_in_directory(&world);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_INPUT);
    world_publish(&world, a, 1000, 1);
    world_finish(&world, a, 1000, 2);
    expect_state(b, STATE_READY, 1);
    ck_assert_uint_eq(b->arrays[RECORD_SIDE_INPUT].segment_id, a->arrays[RECORD_SIDE_INPUT].segment_id);
    numbers[0] = slot_index(world.slots, a);
    numbers[1] = slot_index(world.slots, b);
    snprintf(result, sizeof(result), "in the arena's file s%llu",
             (unsigned long long)a->arrays[RECORD_SIDE_RESULT].segment_id);
    world_stop(&world);
    damage_entry(&world, numbers[1]);
    if (_i)
        damage_entry(&world, numbers[0]);
    world_start(&world);
    expect_aside(&world, numbers[1], "lost", "lost");
    if (_i) {
        expect_aside(&world, numbers[0], "in data.bin", result);
    } else {
        expect_state(find(&world, "a"), STATE_DONE, 1);
        world_expect(&world, find(&world, "a"), SLOT_DATA_BIN, 1000, 1);
    }
    world_end(&world);
}
END_TEST

/* The file of an array is gone as well. */
START_TEST(test_damaged_slot_without_its_files)
{
    char name[STORE_NAME_MAX], paths[2][128];
    struct world world;
    struct slot *slot;
    uint32_t number;

    begin_in_directory(&world);
    slot = world_slot_in(&world, "job", STATE_DONE);
    number = slot_index(world.slots, slot);
    for (int side = 0; side < 2; side++) {
        store_segment_name(&world.bench.arena->store, name, slot->arrays[side].segment_id);
        snprintf(paths[side], sizeof(paths[side]), "%s/%s", world.bench.directory, name);
    }
    world_stop(&world);
    damage_entry(&world, number);
    for (int side = 0; side < 2; side++)
        ck_assert_int_eq(unlink(paths[side]), 0);
    world_start(&world);
    expect_aside(&world, number, "lost", "lost");
    world_end(&world);
}
END_TEST

/* Slots behind the end of an index that was cut short: nothing is known of them, but that there were some. */
START_TEST(test_index_cut_short)
{
    char text[WORLD_TEXT_MAX];
    struct world world;
    struct slot *slot;
    int fd;

    begin_in_directory(&world);
    world_slot_in(&world, "first", STATE_DONE);
    world_slot_in(&world, "second", STATE_READY);
    world_stop(&world);
    fd = open_index(&world);
    ck_assert_int_eq(ftruncate(fd, place_of_copy(1, 0)), 0);
    close(fd);
    world_start(&world);
    ck_assert_uint_eq(slots_count(world.slots), 1);
    slot = find(&world, "damaged-index");
    ck_assert_int_eq(slot_state(slot), STATE_FAILED);
    ck_assert_uint_eq(slot->modes[SLOT_DIRECTORY], 0700);
    world_text(&world, slot, SLOT_ERROR, text);
    ck_assert_ptr_nonnull(strstr(text, "was cut short, and 2 slots are lost"));
    ck_assert_int_gt(files_in(&world), 4); /* the arrays of the lost ones stay for whoever wants to look */
    exchange_remove(world.exchange, slot);
    world_restart(&world);
    ck_assert_uint_eq(slots_count(world.slots), 0);
    world_publish(&world, world_slot(&world, "third"), 2, 3);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("restart");
    TCase *tests = tcase_create("directory");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_states);
    tcase_add_test(tests, test_rounds_go_on);
    tcase_add_test(tests, test_processes);
    tcase_add_test(tests, test_chains);
    tcase_add_loop_test(tests, test_lost_data, 0, 2);
    tcase_add_test(tests, test_no_file_is_left);
    tcase_add_test(tests, test_quotas);
    tcase_add_test(tests, test_texts_of_nobody);
    tcase_add_test(tests, test_set_aside);
    tcase_add_loop_test(tests, test_shared_array_of_damaged_slots, 0, 2);
    tcase_add_test(tests, test_damaged_slot_without_its_files);
    tcase_add_test(tests, test_index_cut_short);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
