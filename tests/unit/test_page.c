// SPDX-License-Identifier: Apache-2.0
/*
 * test_page.c - the pages of metadata.bin and metadata.mem as clients have them mapped: always the record,
 * and they wake the clients that wait.
 */
#include "exchange/account.h"
#include "slot/page.h"

#include "descriptors.h"
#include "exchange_fixture.h"
#include "suite.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct slot *open_page(struct world *world, enum slot_page_kind kind)
{
    struct slot *slot = world_slot(world, "job");

    ck_assert_int_eq(account_open_page(world->exchange, slot, kind), 0);
    return slot;
}

static void expect_current(const struct record *page, const struct slot *slot)
{
    ck_assert_mem_eq(page, &slot->record, sizeof(*page));
}

/* A round, with a look at the page after each step. */
static void look_at_a_round(struct world *world, struct slot *slot, const struct record *page)
{
    expect_current(page, slot);
    world_put(world, slot, SLOT_DATA_BIN, 3, 1);
    expect_current(page, slot);
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_RESULT), -EPROTO);
    expect_current(page, slot);
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_INPUT), 0);
    expect_current(page, slot);
    world_finish(world, slot, 2, 2);
    ck_assert_int_eq(page->flag, RECORD_FLAG_RESULT);
    expect_current(page, slot);
}

START_TEST(test_page_is_the_record)
{
    const enum slot_page_kind kind = (enum slot_page_kind)(_i % SLOT_PAGES);
    struct record *page;
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = open_page(&world, kind);
    page = world_map_page(slot, kind, O_RDONLY, PROT_READ);
    look_at_a_round(&world, slot, page);

    /* The mapping needs no handle. */
    page_close(slot, kind);
    ck_assert_uint_eq(slot->pages[kind].handles, 0);
    look_at_a_round(&world, slot, page);
    ck_assert_int_eq(account_open_page(world.exchange, slot, kind), 0);
    ck_assert_int_eq(account_open_page(world.exchange, slot, kind), 0);
    page_close(slot, kind);
    look_at_a_round(&world, slot, page);
    page_close(slot, kind);
    page_close(slot, kind); /* it has no page: changes nothing */
    ck_assert_uint_eq(slot->pages[kind].handles, 0);
    munmap(page, RECORD_SIZE);
    world_end(&world);
}
END_TEST

START_TEST(test_stores)
{
    const enum slot_page_kind kind = SLOT_PAGE_BIN;
    struct record *page, copy;
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = open_page(&world, kind);
    page = world_map_page(slot, kind, O_RDWR, PROT_READ | PROT_WRITE);
    page->flag = RECORD_FLAG_RESULT;
    page->dtype = RECORD_INT32;
    ck_assert_int_eq(page_read(slot, &copy), 0);
    ck_assert_int_eq(copy.flag, RECORD_FLAG_RESULT);
    ck_assert_int_eq(copy.dtype, RECORD_INT32);
    expect_state(slot, STATE_IDLE, 1); /* a request only */
    page_update(world.bench.arena, slot);
    expect_current(page, slot);
    munmap(page, RECORD_SIZE);
    page_close(slot, kind);
    world_end(&world);
}
END_TEST

/* --- the sequence lock --- */

/* Looks at the page for as long as it is told to; no copy may be of two records. */
struct reader {
    const struct record *page;
    uint32_t stop;
    uint64_t whole, torn, mixed;
};

static void *read_all_the_time(void *argument)
{
    struct reader *reader = argument;
    struct record copy;

    while (!__atomic_load_n(&reader->stop, __ATOMIC_ACQUIRE)) {
        if (!record_snapshot(reader->page, &copy)) {
            reader->torn++;
            continue;
        }
        reader->whole++;
        /* Every record of this test has the same number in its first field and its last. */
        reader->mixed += (uint32_t)copy.input_length != copy.task_change || copy.change & 1;
    }
    return NULL;
}

/* Each array of this test is so many bytes, all the same, and nothing stands behind it. */
static bool is_of(const struct record *copy, const uint8_t bytes[RECORD_INLINE_MAX], size_t size)
{
    size_t i = 0;

    while (i < size && bytes[i] == (uint8_t)copy->task_change)
        i++;
    while (i >= size && i < RECORD_INLINE_MAX && bytes[i] == 0)
        i++;
    return i == RECORD_INLINE_MAX;
}

static void *read_arrays_all_the_time(void *argument)
{
    struct reader *reader = argument;
    const struct record_page *page = (const struct record_page *)reader->page;
    struct record_page copy;

    while (!__atomic_load_n(&reader->stop, __ATOMIC_ACQUIRE)) {
        if (!record_snapshot(&page->record, &copy.record))
            continue;
        memcpy(copy.input, page->input, sizeof(copy.input));
        memcpy(copy.result, page->result, sizeof(copy.result));
        if (!record_is_current(&page->record, &copy.record)) {
            reader->torn++;
            continue;
        }
        reader->whole++;
        reader->mixed += !is_of(&copy.record, copy.input, copy.record.input_inline) ||
                         !is_of(&copy.record, copy.result, copy.record.result_inline);
    }
    return NULL;
}

/* An array of that many bytes, which belong to the record with this task_change. */
static void set_array(struct slot *slot, enum record_side side, uint32_t size)
{
    uint8_t bytes[RECORD_INLINE_MAX];

    memset(bytes, (uint8_t)slot->record.task_change, size);
    slot_set_inline(slot, side, bytes, size);
}

/* A client that copies between two looks at the lock gets one record and the arrays that belong to it. */
START_TEST(test_arrays_are_of_their_record)
{
    struct reader reader = {0};
    struct world world;
    struct slot *slot;
    pthread_t thread;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = open_page(&world, SLOT_PAGE_MEM);
    reader.page = world_map_page(slot, SLOT_PAGE_MEM, O_RDONLY, PROT_READ);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_arrays_all_the_time, &reader), 0);
    for (uint32_t i = 1; i <= 50000; i++) {
        slot->record.task_change = i;
        set_array(slot, RECORD_SIDE_INPUT, i % (RECORD_INLINE_MAX + 1));
        set_array(slot, RECORD_SIDE_RESULT, i * 7 % (RECORD_INLINE_MAX + 1));
        slot->record.change += 2;
        page_update(world.bench.arena, slot);
    }
    __atomic_store_n(&reader.stop, 1, __ATOMIC_RELEASE);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_gt(reader.whole, 0);
    ck_assert_uint_eq(reader.mixed, 0);
    munmap((void *)(uintptr_t)reader.page, RECORD_SIZE);
    page_close(slot, SLOT_PAGE_MEM);
    slot_set_inline(slot, RECORD_SIDE_INPUT, NULL, 0); /* which nobody has published */
    slot_set_inline(slot, RECORD_SIDE_RESULT, NULL, 0);
    world_end(&world);
}
END_TEST

START_TEST(test_copies_are_whole)
{
    const enum slot_page_kind kind = (enum slot_page_kind)_i;
    struct reader reader = {0};
    struct world world;
    struct slot *slot;
    pthread_t thread;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = open_page(&world, kind);
    slot->record.input_length = 0;
    page_update(world.bench.arena, slot);
    reader.page = world_map_page(slot, kind, O_RDONLY, PROT_READ);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_all_the_time, &reader), 0);
    for (uint32_t i = 1; i <= 100000; i++) {
        slot->record.input_length = i;
        slot->record.task_change = i;
        slot->record.change += 2;
        page_update(world.bench.arena, slot);
    }
    __atomic_store_n(&reader.stop, 1, __ATOMIC_RELEASE);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_gt(reader.whole, 0);
    ck_assert_uint_eq(reader.mixed, 0);
    munmap((void *)(uintptr_t)reader.page, RECORD_SIZE);
    page_close(slot, kind);
    world_end(&world);
}
END_TEST

/* A server was killed while it changed the page: the supervisor leaves an even and larger number. */
START_TEST(test_retiring_a_page_that_is_being_changed)
{
    const enum slot_page_kind kind = (enum slot_page_kind)_i;
    const uint32_t odd = 7;
    struct record *page, copy;
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = open_page(&world, kind);
    page = world_map_page(slot, kind, O_RDWR, PROT_READ | PROT_WRITE);
    page->change = odd;
    ck_assert(!record_snapshot(page, &copy));
    page_retire(world.bench.arena, slot);
    ck_assert(record_snapshot(page, &copy));
    ck_assert_int_eq(copy.version, RECORD_VERSION_GONE);
    ck_assert_uint_eq(copy.change, odd + 1);
    munmap(page, RECORD_SIZE);
    page_close(slot, kind);
    world_end(&world);
}
END_TEST

/* --- waking --- */

struct sleeper {
    struct record *page;
    uint32_t seen;
    pid_t thread;
    int result;
};

static void *sleep_on_change(void *argument)
{
    const struct timespec patience = {.tv_sec = 20};
    struct sleeper *sleeper = argument;

    __atomic_store_n(&sleeper->thread, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    if (syscall(SYS_futex, &sleeper->page->change, FUTEX_WAIT, sleeper->seen, &patience, NULL, 0) < 0)
        sleeper->result = errno;
    return NULL;
}

static bool is_asleep(void *context)
{
    const struct sleeper *sleeper = context;
    pid_t thread = __atomic_load_n(&sleeper->thread, __ATOMIC_ACQUIRE);
    char path[64];
    int number = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", thread);
    file = thread ? fopen(path, "re") : NULL;
    if (file) {
        if (fscanf(file, "%d", &number) != 1)
            number = 0;
        fclose(file);
    }
    return number == SYS_futex;
}

/* Starts a thread that sleeps on the page, and waits until it does. */
static void start_sleeper(struct world *world, struct sleeper *sleeper, pthread_t *thread)
{
    sleeper->seen = sleeper->page->change;
    sleeper->thread = 0;
    ck_assert_int_eq(pthread_create(thread, NULL, sleep_on_change, sleeper), 0);
    loop_until(world->loop, is_asleep, sleeper);
}

static void expect_woken(const struct sleeper *sleeper, pthread_t thread)
{
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(sleeper->result, 0);
}

START_TEST(test_waking)
{
    const enum slot_page_kind kind = (enum slot_page_kind)(_i % SLOT_PAGES);
    struct sleeper sleeper = {0};
    struct world world;
    struct slot *slot;
    pthread_t thread;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = open_page(&world, kind);
    sleeper.page = world_map_page(slot, kind, O_RDONLY, PROT_READ);
    if (_i / SLOT_PAGES)
        page_close(slot, kind);
    for (int round = 0; round < 3; round++) {
        start_sleeper(&world, &sleeper, &thread);
        world_publish(&world, slot, 1, 1);
        expect_woken(&sleeper, thread);
        ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    }
    munmap(sleeper.page, RECORD_SIZE);
    if (!(_i / SLOT_PAGES))
        page_close(slot, kind);
    world_end(&world);
}
END_TEST

/* --- the end --- */

/* Version 0 says that the page will not change any more, and `change` that this is new. */
static struct record retired(const struct record *page)
{
    struct record last = *page;

    last.version = RECORD_VERSION_GONE;
    last.change += 2; /* even again */
    return last;
}

/*
 * We wake sleepers, with or without a handle, when the slot goes, when the server ends, and when the
 * supervisor finds a killed server's slots. The last two leave the slot.
 */
START_TEST(test_sleepers_at_the_end)
{
    const enum slot_page_kind kind = (enum slot_page_kind)(_i % SLOT_PAGES);
    static const enum arena_kind kinds[] = {ARENA_MEMFD, ARENA_DIR};
    struct world_options options = world_defaults();
    struct sleeper sleeper = {0};
    struct record last;
    struct world world;
    struct slot *slot;
    pthread_t thread;
    enum { REMOVED, ENDED, KILLED };
    int how = _i / SLOT_PAGES / 4;

    options.kind = kinds[_i / SLOT_PAGES % 2];
    ck_assert(world_try_begin(&world, &options));
    slot = open_page(&world, kind);
    world_publish(&world, slot, 1, 1);
    sleeper.page = world_map_page(slot, kind, O_RDONLY, PROT_READ);
    if (_i / SLOT_PAGES / 2 % 2)
        page_close(slot, kind);
    last = retired(sleeper.page);
    start_sleeper(&world, &sleeper, &thread);
    if (how == REMOVED)
        exchange_remove(world.exchange, slot);
    else if (how == ENDED || options.kind == ARENA_MEMFD)
        page_retire(world.bench.arena, slot);
    else
        page_retire_all(arena_files(world.bench.arena));
    expect_woken(&sleeper, thread);
    ck_assert_mem_eq(sleeper.page, &last, sizeof(last));
    if (how != REMOVED) {
        page_retire(world.bench.arena, slot); /* a second call changes nothing */
        ck_assert_mem_eq(sleeper.page, &last, sizeof(last));
        ck_assert_int_eq(slot->record.version, RECORD_VERSION);
    }
    munmap(sleeper.page, RECORD_SIZE);
    world_end(&world);
}
END_TEST

/* An orderly end of the server. */
START_TEST(test_sleeper_when_the_exchange_ends)
{
    const enum slot_page_kind kind = (enum slot_page_kind)(_i % SLOT_PAGES);
    struct sleeper sleeper = {0};
    struct record last;
    struct world world;
    struct slot *slot;
    pthread_t thread;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = open_page(&world, kind);
    sleeper.page = world_map_page(slot, kind, O_RDONLY, PROT_READ);
    last = retired(sleeper.page);
    start_sleeper(&world, &sleeper, &thread);
    world_end(&world);
    expect_woken(&sleeper, thread);
    ck_assert_mem_eq(sleeper.page, &last, sizeof(last));
    munmap(sleeper.page, RECORD_SIZE);
}
END_TEST

START_TEST(test_removal)
{
    const enum slot_page_kind kind = (enum slot_page_kind)(_i % SLOT_PAGES);
    struct record *page, last;
    struct world world;
    struct slot *slot;
    int descriptors;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    descriptors = descriptors_open();
    slot = open_page(&world, kind);
    page = world_map_page(slot, kind, O_RDONLY, PROT_READ);
    world_publish(&world, slot, 1, 1);
    last = retired(page);
    exchange_remove(world.exchange, slot);
    ck_assert_mem_eq(page, &last, sizeof(last)); /* no signal, and no other slot's record */
    slot = open_page(&world, kind);
    ck_assert_mem_eq(page, &last, sizeof(last));
    munmap(page, RECORD_SIZE);
    page = world_map_page(slot, kind, O_RDONLY, PROT_READ);
    expect_current(page, slot);
    munmap(page, RECORD_SIZE);
    exchange_remove(world.exchange, slot);
    ck_assert_uint_eq(slot->pages[kind].handles, 0);
    page_remove(world.bench.arena, slot);                  /* there is none any more */
    ck_assert_int_le(descriptors_open(), descriptors + 1); /* the index of a memfd arena */
    world_end(&world);
}
END_TEST

START_TEST(test_no_descriptors)
{
    const enum slot_page_kind kind = (enum slot_page_kind)(_i % SLOT_PAGES);
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = world_slot(&world, "job");
    descriptors_limit(0);
    ck_assert_int_eq(account_open_page(world.exchange, slot, kind), -EMFILE);
    ck_assert_uint_eq(slot->pages[kind].handles, 0);
    descriptors_unlimit();
    ck_assert_int_eq(account_open_page(world.exchange, slot, kind), 0);
    page_close(slot, kind);
    world_end(&world);
}
END_TEST

/* The page that a client maps shows the record even when the daemon has no descriptor left. */
START_TEST(test_no_descriptors_for_an_update)
{
    const enum slot_page_kind kind = (enum slot_page_kind)(_i % SLOT_PAGES);
    struct record *page;
    struct world world;
    struct slot *slot;

    world_begin(&world, DATA_PATH_PASSTHROUGH);
    slot = open_page(&world, kind);
    world_put(&world, slot, SLOT_DATA_BIN, 3, 1);
    page = world_map_page(slot, kind, O_RDONLY, PROT_READ);
    page_close(slot, kind);
    descriptors_limit(0);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_NONE), 0);
    expect_current(page, slot);
    exchange_remove(world.exchange, slot);
    descriptors_unlimit();
    ck_assert_int_eq(page->version, RECORD_VERSION_GONE);
    munmap(page, RECORD_SIZE);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("page");
    TCase *tests = tcase_create("page");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_page_is_the_record, 0, SLOT_PAGES);
    tcase_add_test(tests, test_stores);
    tcase_add_loop_test(tests, test_copies_are_whole, 0, SLOT_PAGES);
    tcase_add_test(tests, test_arrays_are_of_their_record);
    tcase_add_loop_test(tests, test_retiring_a_page_that_is_being_changed, 0, SLOT_PAGES);
    tcase_add_loop_test(tests, test_waking, 0, 2 * SLOT_PAGES);
    tcase_add_loop_test(tests, test_sleepers_at_the_end, 0, 12 * SLOT_PAGES);
    tcase_add_loop_test(tests, test_sleeper_when_the_exchange_ends, 0, SLOT_PAGES);
    tcase_add_loop_test(tests, test_removal, 0, SLOT_PAGES);
    tcase_add_loop_test(tests, test_no_descriptors, 0, SLOT_PAGES);
    tcase_add_loop_test(tests, test_no_descriptors_for_an_update, 0, SLOT_PAGES);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
