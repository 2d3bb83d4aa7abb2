// SPDX-License-Identifier: Apache-2.0
/*
 * test_takeover.c - a server that is killed, and the next one, which has the same descriptors.
 *
 * A killed server closes nothing. Here it is an arena, and an exchange on it, that nobody closes, and that the next one
 * does not know.
 */
#include "arena/kept.h"
#include "exchange/account.h"
#include "exchange_fixture.h"
#include "slot/page.h"
#include "slot/text.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ANN = 12345 };

static struct arena *killed[8]; /* what a leak checker still finds */
static int kills;

static void put(struct bench *bench, struct segment *segment, const char *text)
{
    ssize_t size = (ssize_t)strlen(text);

    ck_assert_int_eq(bench_write(bench, segment, text, (size_t)size, 0), size);
    ck_assert_int_eq(bench_settle(bench, segment), 0);
}

static void expect(struct bench *bench, struct segment *segment, const char *text)
{
    char buffer[64] = "";

    ck_assert_int_eq(segment_read(bench->arena, segment, buffer, sizeof(buffer) - 1, 0),
                     (ssize_t)strlen(text));
    ck_assert_str_eq(buffer, text);
}

static void put_file(struct arena *arena, const char *name, const char *text)
{
    int fd = arena_file_open(arena, name, O_RDWR | O_CREAT | O_EXCL);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void expect_file(struct arena *arena, const char *name, const char *text)
{
    char buffer[64] = "";
    int fd = arena_file_open(arena, name, O_RDONLY);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(read(fd, buffer, sizeof(buffer) - 1), (ssize_t)strlen(text));
    ck_assert_str_eq(buffer, text);
    close(fd);
}

/* Returns false if this machine cannot have this kind. */
static bool begin(struct bench *bench, struct kept *kept, enum arena_kind kind)
{
    if (!bench_open(bench, kind, 64 * MIB, 0))
        return false;
    bench_stop(bench);
    ck_assert_int_eq(kept_open(kept), 0);
    bench->options.kept = kept;
    bench_start(bench);
    ck_assert_ptr_nonnull(kept_place(kept));
    return true;
}

static void kill_server(struct bench *bench)
{
    background_drain(bench->background);
    background_deinit(bench->background);
    killed[kills++] = bench->arena;
}

static void close_tables(struct kept *kept)
{
    ck_assert_ptr_null(keep_next(&kept->files, &(uint32_t){0}));
    ck_assert_ptr_null(keep_next(&kept->segments, &(uint32_t){0}));
    keep_close(&kept->places);
    keep_close(&kept->files);
    keep_close(&kept->segments);
}

static void end(struct bench *bench, struct kept *kept)
{
    bench_close(bench);
    ck_assert_ptr_null(kept_place(kept));
    close_tables(kept);
}

/* The arrays that the index names are there with all that the kernel was told of them; the others are freed. */
START_TEST(test_next_server)
{
    struct segment *named, *written, *gone;
    struct bench bench;
    struct kept kept;
    uint64_t ids[3];

    if (!begin(&bench, &kept, (enum arena_kind)_i))
        return;
    named = bench_open_segment(&bench, 0, NULL);
    put(&bench, named, "survives");
    ck_assert_int_eq(segment_publish(bench.arena, named), 0);
    named->backing_id = 7;
    segment_note(bench.arena, named);
    written = bench_open_segment(&bench, 0, NULL);
    put(&bench, written, "half of it");
    gone = bench_open_segment(&bench, 0, NULL);
    ids[0] = named->id;
    ids[1] = written->id;
    ids[2] = gone->id;
    bench_drop(&bench, gone);
    segment_close(bench.arena, named); /* the supervisor closes what a server had open */
    segment_close(bench.arena, written);
    kill_server(&bench);

    bench_start(&bench);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(segment_look(bench.arena, ids[i]), bench.options.kind == ARENA_MEMFD ? -ENOENT : 0);
    ck_assert_int_eq(segment_restore(bench.arena, ids[0], &named), 0);
    ck_assert_int_eq(segment_restore(bench.arena, ids[2], &gone), -ENOENT);
    ck_assert(named->published);
    ck_assert_int_eq(named->backing_id, 7);
    ck_assert_uint_gt(bench_segment(&bench, 0)->id, ids[1]); /* theirs are not given again */
    segment_sweep(bench.arena);
    bench_settle_down(&bench);
    ck_assert_int_eq(segment_restore(bench.arena, ids[1], &written), -ENOENT);
    ck_assert_int_eq(segment_open(bench.arena, named), 0);
    expect(&bench, named, "survives");
    ck_assert_uint_eq(bench_usage(&bench).used, 4 * KIB);
    bench_drop(&bench, named);
    ck_assert_int_eq(bench.forgotten[0], 7);
    end(&bench, &kept);
}
END_TEST

/* So are the daemon's own files, for the next server and for a program that is asked whether it could go on. */
START_TEST(test_files)
{
    char error[ARENA_ERROR_MAX], path[128];
    struct bench bench;
    struct kept kept;
    int fd;

    if (!begin(&bench, &kept, (enum arena_kind)_i))
        return;
    put_file(bench.arena, "index", "slots");
    put_file(bench.arena, "task", "do it");
    put_file(bench.arena, "error", "why");
    ck_assert_int_eq(arena_file_unlink(bench.arena, "task"), 0);
    kill_server(&bench);

    ck_assert_int_eq(arena_look(&killed[kills], &bench.options, error), 0);
    expect_file(killed[kills++], "index", "slots");
    bench_start(&bench);
    expect_file(bench.arena, "index", "slots");
    expect_file(bench.arena, "error", "why");
    ck_assert_int_eq(arena_file_open(bench.arena, "task", O_RDONLY), -ENOENT);
    ck_assert_int_eq(arena_file_open(bench.arena, "index", O_RDWR | O_CREAT | O_EXCL), -EEXIST);
    put_file(bench.arena, "task", "do it again");
    kill_server(&bench);

    bench_start(&bench);
    expect_file(bench.arena, "task", "do it again");
    if (arena_use_links(bench.arena) == 0) {
        fd = arena_file_open(bench.arena, "task", O_RDWR);
        ck_assert_int_eq(arena_file_link(bench.arena, "task", fd, geteuid(), path, sizeof(path)), 0);
        close(fd);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        close(fd);
        ck_assert(!arena_links(bench.arena, ANN) || bench.options.kind != ARENA_MEMFD);
        expect_file(bench.arena, "task", "do it again"); /* we may still open what clients only read, */
        fd = arena_file_open(bench.arena, "task", O_RDWR);
        ck_assert_int_ge(fd, 0); /* also for writing */
        close(fd);
        ck_assert_int_eq(arena_file_link(bench.arena, "none", -1, geteuid(), path, sizeof(path)), -EBADF);
    }
    ck_assert_int_eq(arena_file_unlink(bench.arena, "none"), -ENOENT);
    ck_assert_int_eq(arena_file_open(bench.arena, "", O_RDONLY), -EINVAL);
    ck_assert_int_eq(arena_file_open(bench.arena, "a/b", O_RDONLY), -EINVAL);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(arena_file_unlink(bench.arena, (const char *[]){"index", "task", "error"}[i]), 0);
    end(&bench, &kept);
}
END_TEST

/* --- slots --- */

static bool begin_slots(struct world *world, struct kept *kept, enum arena_kind kind)
{
    struct world_options options = world_defaults();

    options.kind = kind;
    options.data_path = DATA_PATH_PAGE_CACHE;
    if (!world_try_begin(world, &options))
        return false;
    world_stop(world);
    ck_assert_int_eq(kept_open(kept), 0);
    world->bench.options.kept = kept;
    world_start(world);
    return true;
}

static void end_slots(struct world *world, struct kept *kept)
{
    world_end(world);
    ck_assert_ptr_null(kept_place(kept));
    close_tables(kept);
}

static struct slot *find(struct world *world, const char *name)
{
    struct slot *slot = slot_find(world->slots, name);

    ck_assert_ptr_nonnull(slot);
    return slot;
}

/* As a client that has closed the file. */
static const struct record *map_page(struct world *world, struct slot *slot)
{
    const struct record *page;

    ck_assert_int_eq(account_open_page(world->exchange, slot, SLOT_PAGE_MEM), 0);
    page = world_map_page(slot, SLOT_PAGE_MEM, O_RDONLY, PROT_READ);
    page_close(slot, SLOT_PAGE_MEM);
    return page;
}

/* Clients notice nothing: each slot is as it was, what it waits for still comes, and pages that are mapped stay live. */
START_TEST(test_slots)
{
    static const enum handshake_state states[] = {STATE_IDLE,      STATE_FILLING, STATE_READY,
                                                  STATE_COMPUTING, STATE_DONE,    STATE_FAILED};
    const struct record *pages[HANDSHAKE_STATES];
    char text[WORLD_TEXT_MAX];
    struct world world;
    struct kept kept;
    struct slot *slot;

    if (!begin_slots(&world, &kept, (enum arena_kind)_i))
        return;
    for (int i = 0; i < HANDSHAKE_STATES; i++) {
        slot = world_slot_in(&world, handshake_state_name(states[i]), states[i]);
        ck_assert_int_eq(text_write(world.bench.arena, slot, SLOT_TASK, "do it", 5, 0), 5);
        pages[i] = map_page(&world, slot);
    }
    world_take_over(&world);
    ck_assert_uint_eq(slots_count(world.slots), HANDSHAKE_STATES);
    for (int i = 0; i < HANDSHAKE_STATES; i++) {
        slot = find(&world, handshake_state_name(states[i]));
        expect_state(slot, states[i], 1);
        world_text(&world, slot, SLOT_TASK, text);
        ck_assert_str_eq(text, "do it");
        ck_assert_mem_eq(pages[i], &slot->record, RECORD_SIZE);
    }
    world_expect(&world, find(&world, "DONE"), SLOT_RESULT_BIN, WORLD_COUNT, 2);
    slot = find(&world, "COMPUTING");
    world_put(&world, slot, SLOT_RESULT_BIN, 3, 8);
    ck_assert_int_eq(world_flag(&world, slot, RECORD_FLAG_RESULT), 0);
    ck_assert_int_eq(pages[3]->flag, RECORD_FLAG_RESULT);
    world_finish(&world, find(&world, "READY"), 3, 8);
    ck_assert_int_eq(pages[2]->flag, RECORD_FLAG_RESULT);
    world_take_over(&world);
    world_expect(&world, find(&world, "READY"), SLOT_RESULT_BIN, 3, 8);
    world_expect(&world, find(&world, "COMPUTING"), SLOT_RESULT_BIN, 3, 8);
    for (int i = 0; i < HANDSHAKE_STATES; i++)
        ck_assert_int_eq(munmap((void *)(uintptr_t)pages[i], RECORD_SIZE), 0);
    end_slots(&world, &kept);
}
END_TEST

static bool has_failed(void *context)
{
    return slot_state(context) == STATE_FAILED;
}

/* Processes are watched on. What ended while there was no server is learned at once. */
START_TEST(test_processes)
{
    struct world world;
    struct kept kept;
    struct slot *slot;
    /* Before there is a server: they would keep its descriptors. */
    const pid_t lives = idler_start(0), dies = idler_start(0);

    if (!begin_slots(&world, &kept, (enum arena_kind)_i)) {
        idler_end(lives);
        idler_end(dies);
        return;
    }
    slot = world_slot_in(&world, "lives", STATE_COMPUTING);
    ck_assert_int_eq(exchange_bind(world.exchange, slot, ROLE_WORKER, lives, &world.caller), 0);
    slot = world_slot_in(&world, "died", STATE_READY);
    ck_assert_int_eq(exchange_bind(world.exchange, slot, ROLE_WORKER, dies, &world.caller), 0);
    slot = world_slot_in(&world, "kept", STATE_DONE);
    ck_assert_int_eq(exchange_bind(world.exchange, slot, ROLE_OWNER, lives, &world.caller), 0);
    slot = world_slot_in(&world, "gone", STATE_DONE);
    ck_assert_int_eq(exchange_bind(world.exchange, slot, ROLE_OWNER, dies, &world.caller), 0);
    idler_end(dies);
    world_take_over(&world);
    expect_state(find(&world, "died"), STATE_FAILED, 1);
    ck_assert_ptr_null(slot_find(world.slots, "gone"));
    expect_state(find(&world, "kept"), STATE_DONE, 1);
    expect_state(find(&world, "lives"), STATE_COMPUTING, 1);
    ck_assert_int_eq(find(&world, "lives")->worker, lives);
    idler_kill(lives);
    loop_until(world.loop, has_failed, find(&world, "lives"));
    idler_bury(lives);
    world_rest(&world);
    end_slots(&world, &kept);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("takeover");
    TCase *tests = tcase_create("each kind of arena");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_next_server, 0, ARENA_KINDS);
    tcase_add_loop_test(tests, test_files, 0, ARENA_KINDS);
    tcase_add_loop_test(tests, test_slots, 0, ARENA_KINDS);
    tcase_add_loop_test(tests, test_processes, 0, ARENA_KINDS);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
