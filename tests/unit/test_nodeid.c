// SPDX-License-Identifier: Apache-2.0
/*
 * test_nodeid.c - a nodeid stands for one name, and while a client has it open for one array; names of shared
 * pages share one where pages belong to nodeids.
 */
#include "fuse/nodeid.h"

#include "exchange_fixture.h"
#include "files/daemon_files.h"
#include "record_samples.h"
#include "suite.h"
#include <stdlib.h>

static const enum slot_file input_names[] = {SLOT_DATA_BIN, SLOT_DATA_TXT, SLOT_DATA_NPY, SLOT_FILES};
static const enum slot_file result_names[] = {SLOT_RESULT_BIN, SLOT_RESULT_TXT, SLOT_RESULT_NPY, SLOT_FILES};
static const enum slot_file lasting_names[] = {SLOT_DIRECTORY,    SLOT_METADATA_BIN, SLOT_METADATA_MEM,
                                               SLOT_METADATA_TXT, SLOT_TASK,         SLOT_ERROR,
                                               SLOT_OWNER,        SLOT_WORKER,       SLOT_FILES};

/* The nodeids of a slot at one moment. */
struct nodeids {
    uint64_t of[SLOT_FILES];
};

static struct nodeids remember(struct world *world, struct slot *slot)
{
    struct nodeids nodeids;

    for (int file = 0; file < SLOT_FILES; file++)
        nodeids.of[file] = nodeid_of(world->exchange, slot, (enum slot_file)file);
    return nodeids;
}

static void expect_stale(struct world *world, uint64_t nodeid)
{
    struct nodeid_target inode;

    ck_assert_int_eq(nodeid_decode(world->exchange, nodeid, &inode), -ESTALE);
}

static void expect_inode(struct world *world, uint64_t nodeid, const struct slot *slot, enum slot_file file)
{
    struct nodeid_target inode;

    ck_assert_int_eq(nodeid_decode(world->exchange, nodeid, &inode), 0);
    ck_assert_int_eq(inode.kind, NODEID_SLOT);
    ck_assert_ptr_eq(inode.slot, slot);
    ck_assert_int_eq(inode.file, file);
}

static void expect_names(struct world *world, const struct nodeids *nodeids, const enum slot_file *files,
                         const struct slot *slot)
{
    for (; *files != SLOT_FILES; files++) {
        if (slot)
            expect_inode(world, nodeids->of[*files], slot, *files);
        else
            expect_stale(world, nodeids->of[*files]);
    }
}

/* After new arrays, names keep their nodeids if nobody had them open; those of views are stale. */
static void expect_replaced(struct world *world, const struct nodeids *nodeids, const enum slot_file *names,
                            const struct slot *slot)
{
    if (world->exchange->data_path == DATA_PATH_PASSTHROUGH)
        expect_inode(world, nodeids->of[*names], slot, *names);
    else
        expect_stale(world, nodeids->of[*names]);
    expect_names(world, nodeids, names + 1, NULL);
}

/* --- one name, one nodeid --- */

START_TEST(test_round_trip)
{
    struct world world;
    struct slot *slots[20];
    char name[4] = "s00";

    world_begin(&world, (enum exchange_data_path)_i);
    for (int i = 0; i < 20; i++) {
        name[1] = (char)('0' + i / 10);
        name[2] = (char)('0' + i % 10);
        slots[i] = i % 4 == 1 ? world_follow(&world, name, slots[i - 1], RECORD_SIDE_RESULT)
                              : world_slot(&world, name);
    }
    for (int i = 0; i < 20; i++) {
        for (int file = 0; file < SLOT_FILES; file++) {
            struct nodeid_target inode = {NODEID_SLOT, slots[i], (enum slot_file)file, 0};
            uint64_t nodeid = nodeid_of(world.exchange, slots[i], inode.file);

            if (file == SLOT_SOURCE && !slots[i]->source)
                continue;
            ck_assert_uint_eq(nodeid_encode(world.exchange, &inode), nodeid);
            expect_inode(&world, nodeid, slots[i], inode.file);
            ck_assert_uint_gt(nodeid, NODEID_ROOT_ID);
        }
        ck_assert_uint_eq(nodeid_serial(nodeid_of(world.exchange, slots[i], SLOT_DATA_BIN)),
                          step_array_identity(world.exchange, slots[i], RECORD_SIDE_INPUT));
        ck_assert_uint_eq(nodeid_serial(nodeid_of(world.exchange, slots[i], SLOT_RESULT_BIN)),
                          step_array_identity(world.exchange, slots[i], RECORD_SIDE_RESULT));
    }
    world_end(&world);
}
END_TEST

START_TEST(test_root_and_daemon)
{
    struct nodeid_target inode = {.kind = NODEID_ROOT};
    struct world world;
    unsigned last = 0;

    world_begin(&world, (enum exchange_data_path)_i);
    ck_assert_uint_eq(nodeid_encode(world.exchange, &inode), NODEID_ROOT_ID);
    ck_assert_uint_eq(nodeid_number(world.exchange, &inode), NODEID_ROOT_ID);
    inode.kind = NODEID_SLOT;
    ck_assert_int_eq(nodeid_decode(world.exchange, NODEID_ROOT_ID, &inode), 0);
    ck_assert_int_eq(inode.kind, NODEID_ROOT);
    for (unsigned number = 0; number == 0 || daemon_files_name(number); number++) {
        struct nodeid_target file = {.kind = NODEID_DAEMON, .number = number};
        uint64_t nodeid = nodeid_encode(world.exchange, &file);

        ck_assert_uint_ne(nodeid, NODEID_ROOT_ID);
        ck_assert_uint_eq(nodeid_number(world.exchange, &file), nodeid);
        ck_assert_int_eq(nodeid_decode(world.exchange, nodeid, &inode), 0);
        ck_assert_int_eq(inode.kind, NODEID_DAEMON);
        ck_assert_uint_eq(inode.number, number);
        last = number;
    }
    ck_assert_uint_gt(last, 0);
    for (unsigned number = last + 1; number < 32; number++) {
        struct nodeid_target file = {.kind = NODEID_DAEMON, .number = number};

        expect_stale(&world, nodeid_encode(world.exchange, &file));
    }
    world_end(&world);
}
END_TEST

/* Whether it decodes to a file as that file's second nodeid. */
static bool is_aside(struct world *world, const struct nodeid_target *inode, uint64_t nodeid)
{
    return inode->kind == NODEID_SLOT &&
           (inode->file == SLOT_METADATA_BIN || inode->file == SLOT_METADATA_TXT) &&
           nodeid_aside(world->exchange, inode->slot, inode->file) == nodeid;
}

/* Any nodeid is stale, or it is the nodeid of what it decodes to. */
START_TEST(test_unknown_nodeids)
{
    struct world world;
    struct slot *slot;
    uint64_t random = 1, base;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "a");
    world_follow(&world, "b", slot, RECORD_SIDE_INPUT);
    expect_stale(&world, 0);
    expect_stale(&world, UINT64_MAX);
    expect_inode(&world, nodeid_aside(world.exchange, slot, SLOT_METADATA_BIN), slot, SLOT_METADATA_BIN);
    expect_inode(&world, nodeid_aside(world.exchange, slot, SLOT_METADATA_TXT), slot, SLOT_METADATA_TXT);
    base = nodeid_of(world.exchange, slot, SLOT_DIRECTORY);
    for (int i = 0; i < 200000; i++) {
        uint64_t nodeid = random_next(&random);
        struct nodeid_target inode;

        if (i % 2) /* near a valid one */
            nodeid = base ^ (nodeid & nodeid >> 3 & 0xfffffff);
        if (nodeid_decode(world.exchange, nodeid, &inode) == 0 && !is_aside(&world, &inode, nodeid))
            ck_assert_uint_eq(nodeid_encode(world.exchange, &inode), nodeid);
    }
    world_end(&world);
}
END_TEST

/* --- rounds --- */

START_TEST(test_stale_after_a_round)
{
    struct world world;
    struct nodeids first, second;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    first = remember(&world, slot);
    world_publish(&world, slot, 3, 1);
    world_finish(&world, slot, 3, 2);
    expect_names(&world, &first, input_names, slot);
    expect_names(&world, &first, result_names, slot);

    world_publish(&world, slot, 3, 3);
    expect_state(slot, STATE_READY, 2);
    second = remember(&world, slot);
    expect_replaced(&world, &first, input_names, slot);
    expect_replaced(&world, &first, result_names, slot);
    expect_names(&world, &first, lasting_names, slot);
    expect_names(&world, &second, input_names, slot);

    /* A retry keeps the input and gives a new result. */
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_FAILED), 0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_INPUT), 0);
    expect_names(&world, &second, input_names, slot);
    expect_replaced(&world, &second, result_names, slot);

    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    expect_replaced(&world, &second, input_names, slot);
    expect_names(&world, &second, lasting_names, slot);
    world_end(&world);
}
END_TEST

/* An open file stays what it is, and the name gets another nodeid. */
START_TEST(test_open_over_a_round)
{
    struct handle *input, *result;
    struct nodeids first, second;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_DONE);
    input = world_open(&world, slot, SLOT_DATA_BIN, HANDLE_READS);
    result = world_open(&world, slot, SLOT_RESULT_BIN, HANDLE_READS);
    first = remember(&world, slot);
    world_publish(&world, slot, 3, 3);
    expect_names(&world, &first, input_names, NULL);
    expect_names(&world, &first, result_names, NULL);
    second = remember(&world, slot);
    world_close(&world, input);
    world_close(&world, result);
    expect_names(&world, &second, input_names, slot);
    expect_names(&world, &second, result_names, slot);
    expect_stale(&world, first.of[SLOT_DATA_BIN]);
    world_end(&world);
}
END_TEST

/* The kernel knows that an unlinked inode has no name, so no name may get its nodeid again. */
START_TEST(test_stale_after_unlink)
{
    struct nodeids nodeids;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot_in(&world, "job", STATE_DONE);
    nodeids = remember(&world, slot);
    ck_assert_int_eq(exchange_unlink(world.exchange, slot, &world.caller), 0);
    expect_names(&world, &nodeids, input_names, NULL);
    expect_names(&world, &nodeids, result_names, NULL);
    world_end(&world);
}
END_TEST

START_TEST(test_stale_after_removal)
{
    struct world world;
    struct slot *slot, *next;
    struct nodeids nodeids;
    uint32_t index;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    index = slot_index(world.slots, slot);
    nodeids = remember(&world, slot);
    exchange_remove(world.exchange, slot);
    expect_names(&world, &nodeids, lasting_names, NULL);
    expect_names(&world, &nodeids, input_names, NULL);
    expect_names(&world, &nodeids, result_names, NULL);
    next = world_slot(&world, "job");
    ck_assert_uint_eq(slot_index(world.slots, next), index);
    expect_names(&world, &nodeids, lasting_names, NULL);
    expect_names(&world, &nodeids, input_names, NULL);
    expect_names(&world, &nodeids, result_names, NULL);
    world_end(&world);
}
END_TEST

START_TEST(test_rename_keeps_nodeids)
{
    struct world world;
    struct nodeids nodeids;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    nodeids = remember(&world, slot);
    slot_rename(world.slots, slot, "new name");
    expect_names(&world, &nodeids, lasting_names, slot);
    expect_names(&world, &nodeids, input_names, slot);
    world_end(&world);
}
END_TEST

START_TEST(test_source)
{
    struct world world;
    struct slot *a, *b;
    uint64_t nodeid;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    nodeid = nodeid_of(world.exchange, b, SLOT_SOURCE);
    expect_inode(&world, nodeid, b, SLOT_SOURCE);
    exchange_unchain(world.exchange, b);
    expect_stale(&world, nodeid);
    ck_assert_int_eq(world_link(&world, b, a, RECORD_SIDE_INPUT), 0);
    expect_stale(&world, nodeid); /* it is another symlink, with another text */
    expect_inode(&world, nodeid_of(world.exchange, b, SLOT_SOURCE), b, SLOT_SOURCE);
    world_end(&world);
}
END_TEST

/* --- shared arrays --- */

static uint64_t number_of(struct world *world, struct slot *slot, enum slot_file file)
{
    struct nodeid_target inode = {NODEID_SLOT, slot, file, 0};

    return nodeid_number(world->exchange, &inode);
}

/*
 * Both names show the same number. They share a nodeid if a result is an input elsewhere, and pages belong to
 * nodeids.
 */
static void expect_shared(struct world *world, struct slot *a, enum slot_file a_file, struct slot *b)
{
    bool pages_are_the_nodeids = world->exchange->data_path != DATA_PATH_PASSTHROUGH;
    uint64_t one = nodeid_of(world->exchange, a, a_file), two = nodeid_of(world->exchange, b, SLOT_DATA_BIN);

    ck_assert_uint_eq(number_of(world, a, a_file), number_of(world, b, SLOT_DATA_BIN));
    ck_assert_int_eq(one == two, pages_are_the_nodeids && a_file == SLOT_RESULT_BIN);
}

START_TEST(test_chained_result)
{
    struct world world;
    struct nodeids nodeids;
    struct slot *a, *b;
    uint64_t input;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_RESULT);
    ck_assert_uint_ne(number_of(&world, a, SLOT_RESULT_BIN), number_of(&world, b, SLOT_DATA_BIN));
    world_publish(&world, a, 2, 1);
    world_finish(&world, a, 2, 2);
    expect_state(b, STATE_READY, 1);
    expect_shared(&world, a, SLOT_RESULT_BIN, b);
    input = nodeid_of(world.exchange, b, SLOT_DATA_BIN);

    /* The source goes on, and is removed; the follower keeps what it has. */
    world_publish(&world, a, 2, 3);
    ck_assert_uint_eq(nodeid_of(world.exchange, b, SLOT_DATA_BIN), input);
    expect_inode(&world, input, b, SLOT_DATA_BIN);
    ck_assert_uint_ne(nodeid_of(world.exchange, a, SLOT_RESULT_BIN), input);
    exchange_remove(world.exchange, a);
    a = world_slot(&world, "a");
    ck_assert_uint_ne(nodeid_of(world.exchange, a, SLOT_RESULT_BIN), input);
    if (world.exchange->data_path != DATA_PATH_PASSTHROUGH) { /* unchained, it has its own */
        expect_stale(&world, input);
        input = nodeid_of(world.exchange, b, SLOT_DATA_BIN);
    }
    expect_inode(&world, input, b, SLOT_DATA_BIN);
    world_expect(&world, b, SLOT_DATA_BIN, 2, 2);
    world_finish(&world, b, 2, 4);
    nodeids = remember(&world, b);
    expect_inode(&world, input, b, SLOT_DATA_BIN);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_NONE), 0);
    expect_replaced(&world, &nodeids, input_names, b);
    world_end(&world);
}
END_TEST

START_TEST(test_shared_input)
{
    struct world world;
    struct nodeids nodeids;
    struct slot *a, *b, *c;
    uint64_t shared;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_follow(&world, "b", a, RECORD_SIDE_INPUT);
    c = world_follow(&world, "c", b, RECORD_SIDE_INPUT);
    world_publish(&world, a, 2, 1);
    expect_state(c, STATE_READY, 1);
    expect_shared(&world, a, SLOT_DATA_BIN, b);
    expect_shared(&world, a, SLOT_DATA_BIN, c);
    expect_shared(&world, b, SLOT_DATA_BIN, c);
    shared = nodeid_of(world.exchange, c, SLOT_DATA_BIN);

    /* The slot where the pages came to be is removed, and another one takes its place. */
    exchange_remove(world.exchange, a);
    expect_inode(&world, shared, c, SLOT_DATA_BIN);
    a = world_slot(&world, "a");
    ck_assert_uint_ne(nodeid_of(world.exchange, a, SLOT_DATA_BIN), shared);
    ck_assert_int_eq(world_flag(&world, b, RECORD_FLAG_NONE), 0);
    ck_assert_uint_eq(nodeid_of(world.exchange, c, SLOT_DATA_BIN), shared);
    expect_inode(&world, shared, c, SLOT_DATA_BIN);
    world_expect(&world, c, SLOT_DATA_BIN, 2, 1);
    nodeids = remember(&world, c);
    ck_assert_int_eq(world_flag(&world, c, RECORD_FLAG_NONE), 0);
    expect_replaced(&world, &nodeids, input_names, c);
    world_end(&world);
}
END_TEST

START_TEST(test_moved_result)
{
    struct world world;
    struct slot *a, *b;
    uint64_t number;

    world_begin(&world, (enum exchange_data_path)_i);
    a = world_slot(&world, "a");
    b = world_slot(&world, "b");
    world_publish(&world, a, 2, 1);
    world_finish(&world, a, 2, 2);
    number = number_of(&world, a, SLOT_RESULT_BIN);
    ck_assert_int_eq(array_move_result(world.exchange, a, b, &world.caller), 0);
    ck_assert_uint_eq(number_of(&world, b, SLOT_DATA_BIN), number);
    ck_assert_uint_ne(number_of(&world, a, SLOT_RESULT_BIN), number);
    expect_inode(&world, nodeid_of(world.exchange, b, SLOT_DATA_BIN), b, SLOT_DATA_BIN);
    expect_inode(&world, nodeid_of(world.exchange, a, SLOT_RESULT_BIN), a, SLOT_RESULT_BIN);
    world_end(&world);
}
END_TEST

START_TEST(test_moved_within_a_slot)
{
    struct world world;
    struct nodeids before;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    world_publish(&world, slot, 2, 1);
    world_finish(&world, slot, 2, 2);
    before = remember(&world, slot);
    ck_assert_int_eq(array_move_result(world.exchange, slot, slot, &world.caller), 0);
    ck_assert_uint_eq(number_of(&world, slot, SLOT_DATA_BIN), nodeid_serial(before.of[SLOT_RESULT_BIN]));
    expect_names(&world, &before, input_names, NULL);
    expect_names(&world, &before, result_names, NULL);
    expect_inode(&world, nodeid_of(world.exchange, slot, SLOT_DATA_BIN), slot, SLOT_DATA_BIN);
    world_end(&world);
}
END_TEST

/* --- no two names with one nodeid --- */

struct face {
    uint64_t nodeid;
    const struct slot *slot;
    enum slot_file file;
};

static int by_nodeid(const void *a, const void *b)
{
    const struct face *one = a, *two = b;

    return (one->nodeid > two->nodeid) - (one->nodeid < two->nodeid);
}

static void expect_unique(struct world *world)
{
    static struct face names[100 * SLOT_FILES];
    size_t count = 0;

    for (struct slot *slot = slot_after(world->slots, 0); slot;
         slot = slot_after(world->slots, slot_index(world->slots, slot))) {
        for (int file = 0; file < SLOT_FILES; file++)
            names[count++] = (struct face){nodeid_of(world->exchange, slot, (enum slot_file)file), slot,
                                           (enum slot_file)file};
    }
    qsort(names, count, sizeof(names[0]), by_nodeid);
    for (size_t i = 1; i < count; i++) {
        const struct face *a = &names[i - 1], *b = &names[i];

        if (a->nodeid != b->nodeid)
            continue;
        ck_assert_int_ne(world->exchange->data_path, DATA_PATH_PASSTHROUGH);
        ck_assert(a->file == SLOT_DATA_BIN || a->file == SLOT_RESULT_BIN);
        ck_assert(b->file == SLOT_DATA_BIN || b->file == SLOT_RESULT_BIN);
        ck_assert_ptr_eq(a->slot->segments[slot_file_side(a->file)],
                         b->slot->segments[slot_file_side(b->file)]);
    }
}

/* A forest of chains in which random slots take random steps. */
START_TEST(test_unique_nodeids)
{
    enum { SLOTS = 30, STEPS = 3000 };
    struct world world;
    struct slot *slots[SLOTS];
    uint64_t random = 7;

    world_begin(&world, (enum exchange_data_path)_i);
    for (int i = 0; i < SLOTS; i++) {
        char name[4] = {'s', (char)('a' + i), '\0'};

        slots[i] = i % 3 == 0 ? world_slot(&world, name)
                              : world_follow(&world, name, slots[(unsigned)i / 2],
                                             i % 3 == 1 ? RECORD_SIDE_RESULT : RECORD_SIDE_INPUT);
    }
    for (int step = 0; step < STEPS; step++) {
        struct slot *slot = slots[(random_next(&random) >> 20) % SLOTS];
        unsigned what = (unsigned)(random_next(&random) >> 20) % 8;
        struct handle *handle;

        if (what == 0)
            world_flag(&world, slot, RECORD_FLAG_NONE);
        else if (what == 1)
            world_flag(&world, slot, RECORD_FLAG_FAILED);
        else if (what < 4)
            world_flag(&world, slot, RECORD_FLAG_INPUT);
        else if (what < 6)
            world_flag(&world, slot, RECORD_FLAG_RESULT);
        else if (world_try_open(&world, slot, what == 6 ? SLOT_DATA_BIN : SLOT_RESULT_BIN,
                                step % 2 ? HANDLE_WRITES : HANDLE_READS, &handle) == 0)
            world_close(&world, handle);
        expect_unique(&world);
    }
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nodeid");
    TCase *tests = tcase_create("both data paths");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_round_trip, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_root_and_daemon, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_unknown_nodeids, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_stale_after_a_round, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_open_over_a_round, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_stale_after_unlink, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_stale_after_removal, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_rename_keeps_nodeids, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_source, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_chained_result, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_shared_input, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_moved_result, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_moved_within_a_slot, 0, DATA_PATHS);
    tcase_add_loop_test(tests, test_unique_nodeids, 0, DATA_PATHS);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
