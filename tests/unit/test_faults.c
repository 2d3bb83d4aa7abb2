// SPDX-License-Identifier: Apache-2.0
/*
 * test_faults.c - a refused call changes nothing: each operation in each state, while each system call and
 * each allocation that it makes fails once.
 *
 * One call of an operation fails: the first, then the second, and so on until the operation makes fewer. Whenever
 * the operation is refused because of that, slots, accounts and descriptors must be as before, and then it must do
 * what it does where nothing fails.
 */
#include "descriptors.h"
#include "exchange/account.h"
#include "fault_operations.h"
#include "faults.h"
#include "slot/page.h"
#include "slot/restore.h"
#include "slot/text.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- a trial --- */

static struct stat page_files[SLOT_PAGES];

/*
 * Maps the pages as a client does that has closed the files since: the server has no handle to store by. The pages
 * have their memory since they were made, so storing there does not fail.
 */
static void map_pages(struct trial *trial)
{
    for (int kind = 0; kind < SLOT_PAGES; kind++) {
        const struct slot_page *page = &trial->slot->pages[kind];
        char link[32];
        void *map;
        int fd;

        ck_assert_int_eq(account_open_page(trial->world.exchange, trial->slot, (enum slot_page_kind)kind), 0);
        snprintf(link, sizeof(link), "/proc/self/fd/%d", page->fd);
        fd = open(link, O_RDONLY | O_CLOEXEC);
        map = mmap(NULL, RECORD_SIZE, PROT_READ, MAP_SHARED, fd, 0);
        ck_assert_ptr_ne(map, MAP_FAILED);
        ck_assert_int_eq(fstat(fd, &page_files[kind]), 0);
        close(fd);
        page_close(trial->slot, (enum slot_page_kind)kind);
        trial->pages[kind] = map;
    }
    faults_spare(page_files, SLOT_PAGES);
}

static void unmap_pages(struct trial *trial)
{
    faults_spare(NULL, 0);
    for (int kind = 0; kind < SLOT_PAGES; kind++) {
        if (trial->pages[kind])
            munmap((void *)(uintptr_t)trial->pages[kind], RECORD_SIZE);
    }
}

/* How the arrays came into the slots: through their files, or in one write each, and so inline. */
enum publication { WRITTEN, SENT };

static void begin(struct trial *trial, enum arena_kind kind, enum exchange_data_path data_path,
                  enum publication publication, enum handshake_state state)
{
    struct world_options options = world_defaults();

    *trial = (struct trial){0};
    options.kind = kind;
    options.data_path = data_path;
    ck_assert(world_try_begin(&trial->world, &options));
    if (publication == SENT) {
        trial->other = world_slot_sent_in(&trial->world, "other", STATE_DONE);
        trial->slot = world_slot_sent_in(&trial->world, "job", state);
    } else {
        trial->other = world_slot_in(&trial->world, "other", STATE_DONE);
        trial->slot = world_slot_in(&trial->world, "job", state);
    }
    if (data_path == DATA_PATH_PASSTHROUGH)
        map_pages(trial);
}

static void end(struct trial *trial)
{
    close_handle(trial);
    unmap_pages(trial);
    world_end(&trial->world);
}

struct place_of_array {
    struct segment *segment;
    uint32_t names, handles;
    bool published;
    uint64_t charged, size, allocated;
};

struct picture {
    struct slot slots[2];
    struct place_of_array arrays[2][2];
    char texts[2][2][256]; /* task and error */
    uint64_t bytes, files, used;
    uint32_t count;
    struct slot_times root;
    struct exchange_counts counts;
    int descriptors;
};

static void take_slot(struct trial *trial, struct slot *slot, int i, struct picture *picture)
{
    static const enum slot_file files[] = {SLOT_TASK, SLOT_ERROR};
    struct slot *copy = &picture->slots[i];

    *copy = *slot;
    /* A refusal may change what is said of refusals. Guesses, and fields of one step only, are no state. */
    copy->refusals = 0;
    memset(&copy->refusal, 0, sizeof(copy->refusal));
    copy->ready_stamp = 0;
    memset(copy->last_size, 0, sizeof(copy->last_size));
    for (int side = 0; side < 2; side++) {
        struct place_of_array *place = &picture->arrays[i][side];
        struct segment *segment = place->segment = slot->segments[side];

        ck_assert_int_ge(text_read(trial->world.bench.arena, slot, files[side], picture->texts[i][side],
                                   sizeof(picture->texts[i][side]) - 1, 0),
                         0);
        if (!segment)
            continue;
        place->names = segment->names - segment->leaving;
        place->handles = segment->handles;
        place->published = segment->published;
        place->charged = segment->charged;
        ck_assert_int_eq(step_array_stat(trial->world.exchange, slot, (enum record_side)side, &place->size,
                                         &place->allocated),
                         0);
    }
}

static void take_picture(struct trial *trial, struct picture *picture)
{
    struct world *world = &trial->world;
    struct ledger_usage usage;

    exchange_commit(world->exchange);
    ck_assert_ptr_null(slots_forgotten(world->slots));
    bench_settle_down(&world->bench);
    usage = bench_usage(&world->bench);
    memset(picture, 0, sizeof(*picture));
    take_slot(trial, trial->slot, 0, picture);
    take_slot(trial, trial->other, 1, picture);
    picture->bytes = world_charged(world, world->caller.uid);
    picture->files = usage.files;
    picture->used = usage.used;
    picture->count = slots_count(world->slots);
    picture->root = *slots_times(world->slots);
    picture->counts.rounds = world->exchange->counts.rounds;
    picture->counts.waiters = world->exchange->counts.waiters;
    picture->descriptors = descriptors_open();
}

static void expect_same(const char *name, int call, const struct picture *before, const struct picture *after)
{
    const char *what = NULL;

    for (int i = 0; i < 2 && !what; i++) {
        if (memcmp(&before->slots[i].record, &after->slots[i].record, sizeof(struct record)) != 0)
            what = "the record";
        else if (before->slots[i].state != after->slots[i].state)
            what = "the state";
        else if (memcmp(before->slots[i].times, after->slots[i].times, sizeof(before->slots[i].times)) != 0)
            what = "times";
        else if (memcmp(&before->slots[i], &after->slots[i], sizeof(struct slot)) != 0)
            what = "the slot";
    }
    if (!what && memcmp(before->arrays, after->arrays, sizeof(before->arrays)) != 0)
        what = "an array";
    if (!what && memcmp(before->texts, after->texts, sizeof(before->texts)) != 0)
        what = "a text";
    if (!what &&
        (before->bytes != after->bytes || before->files != after->files || before->used != after->used))
        what = "an account";
    if (!what && before->descriptors != after->descriptors)
        what = "the number of descriptors";
    if (!what && memcmp(before, after, sizeof(*before)) != 0)
        what = "something";
    ck_assert_msg(!what, "%s, in %s, was refused when call %d failed, and changed %s all the same", name,
                  handshake_state_name(slot_state(&before->slots[0])), call, what);
}

enum { CALLS_MAX = 100 };

/* What it does, and where it leads, if nothing fails. */
struct expectation {
    int result;
    uint32_t states[2];
};

static void note_states(const struct trial *trial, uint32_t states[2])
{
    states[0] = trial->slot->state;
    states[1] = trial->other->state;
}

static void expect_as_without(const struct operation *operation, struct trial *trial, int result,
                              const struct expectation *expected, int call)
{
    uint32_t states[2];

    note_states(trial, states);
    for (int kind = 0; kind < SLOT_PAGES; kind++)
        ck_assert_msg(!trial->pages[kind] ||
                          memcmp(trial->pages[kind], &trial->slot->record, sizeof(struct record)) == 0,
                      "%s after call %d failed: a client sees an old record", operation->name, call);
    ck_assert_msg(result == expected->result && memcmp(states, expected->states, sizeof(states)) == 0,
                  "%s after call %d failed: %d and not %d, %s and not %s", operation->name, call, result,
                  expected->result, handshake_state_name((enum handshake_state)states[0]),
                  handshake_state_name((enum handshake_state)expected->states[0]));
}

/*
 * Lets calls fail, from this one on, as long as the operation is refused because of that. Returns the first call
 * whose failure the operation survives, or that it does not make: then *ended.
 */
static int refuse_from(const struct operation *operation, struct trial *trial, int call,
                       const struct expectation *expected, bool *ended)
{
    static struct picture before, after;
    int result;

    take_picture(trial, &before);
    for (;; call++) {
        ck_assert_int_lt(call, CALLS_MAX);
        faults_arm(call, FAULTS_FAIL);
        result = operation->run(trial);
        *ended = !faults_disarm();
        if (*ended || result >= 0 || result == expected->result)
            break;
        take_picture(trial, &after);
        expect_same(operation->name, call, &before, &after);
    }
    expect_as_without(operation, trial, result, expected, call);
    return call;
}

static void try_operation(const struct operation *operation, enum arena_kind kind,
                          enum exchange_data_path data_path, enum publication publication,
                          enum handshake_state state)
{
    struct expectation expected;
    struct trial trial;
    bool ended = false;

    begin(&trial, kind, data_path, publication, state);
    expected.result = operation->run(&trial);
    note_states(&trial, expected.states);
    end(&trial);
    for (int call = 1; !ended; call++) {
        begin(&trial, kind, data_path, publication, state);
        call = refuse_from(operation, &trial, call, &expected, &ended);
        end(&trial);
    }
}

static void try_in_all_states(const struct operation *operation, enum arena_kind kind)
{
    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        for (int data_path = 0; data_path < DATA_PATHS; data_path++) {
            try_operation(operation, kind, (enum exchange_data_path)data_path, WRITTEN,
                          (enum handshake_state)state);
            if (state >= STATE_READY)
                try_operation(operation, kind, (enum exchange_data_path)data_path, SENT,
                              (enum handshake_state)state);
        }
    }
}

START_TEST(test_memfd)
{
    try_in_all_states(&operations[_i], ARENA_MEMFD);
}
END_TEST

START_TEST(test_directory)
{
    try_in_all_states(&operations[_i], ARENA_DIR);
}
END_TEST

/* An open whose segment the kernel refuses to register for passthrough has changed nothing. */
START_TEST(test_registration)
{
    struct picture before, after;
    struct trial trial;

    begin(&trial, ARENA_MEMFD, DATA_PATH_PASSTHROUGH, WRITTEN, STATE_READY);
    take_picture(&trial, &before);
    trial.world.cannot_register = EMFILE;
    ck_assert_int_eq(open_result_to_write(&trial), -EMFILE);
    expect_refusal(trial.slot, EMFILE, "no file descriptor left");
    take_picture(&trial, &after);
    expect_same("open result.bin for writing", 0, &before, &after);
    trial.world.cannot_register = 0;
    ck_assert_int_eq(open_result_to_write(&trial), 0);
    expect_state(trial.slot, STATE_COMPUTING, 1);
    end(&trial);
}
END_TEST

/* A start that is refused has made nothing that stays. */
START_TEST(test_start)
{
    const struct exchange_hooks hooks = {0};
    struct world_options options = world_defaults();
    struct exchange *exchange;
    char error[ARENA_ERROR_MAX];
    struct world world;
    int refused = 0;
    int result;

    ck_assert(world_try_begin(&world, &options));
    world_stop(&world);
    bench_start(&world.bench);
    ck_assert_int_eq(loop_init(&world.loop), 0);
    ck_assert_int_eq(slots_open(&world.slots, world.bench.arena, world.slots_max, error), 0);
    do {
        int before = descriptors_open();

        faults_arm(++refused, FAULTS_FAIL);
        result = exchange_init(&exchange, world.slots, world.bench.arena, world.loop, &world.limits, &hooks);
        ck_assert_int_eq(result < 0, faults_disarm());
        if (result == 0)
            exchange_deinit(exchange);
        ck_assert_int_eq(descriptors_open(), before);
    } while (result < 0);
    ck_assert_int_gt(refused, 1);
    slots_close(world.slots);
    loop_deinit(world.loop);
    bench_stop(&world.bench);
    world_start(&world);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("faults");
    TCase *tests = tcase_create("a refused call changes nothing");

    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, test_memfd, 0, operations_count);
    tcase_add_loop_test(tests, test_directory, 0, operations_count);
    tcase_add_test(tests, test_registration);
    tcase_add_test(tests, test_start);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
