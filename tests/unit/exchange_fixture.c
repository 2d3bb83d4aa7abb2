// SPDX-License-Identifier: Apache-2.0
#include "exchange_fixture.h"

#include "base/log.h"
#include "outcome.h"
#include "slot/quota.h"
#include "slot/restore.h"
#include "slot/text.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- hooks --- */

static void record_changed(void *context, struct slot *slot)
{
    struct world *world = context;

    world->changes++;
    world->done++;
    ck_assert_int_eq(slot->record.flag, handshake_flag(slot_state(slot)));
}

static void array_replaced(void *context, struct slot *slot, enum slot_file file)
{
    struct world *world = context;

    (void)slot;
    world->replaced[file == SLOT_DATA_BIN ? RECORD_SIDE_INPUT : RECORD_SIDE_RESULT]++;
}

static void slot_vanished(void *context, const char *name)
{
    struct world *world = context;

    ck_assert_int_lt(world->vanished_count, VANISHED_MAX);
    ck_assert_ptr_nonnull(slot_find(world->slots, name)); /* it is about to */
    strcpy(world->vanished[world->vanished_count++], name);
}

/* As the kernel registers a backing file: once for each. */
static int array_opening(void *context, struct segment *segment)
{
    struct world *world = context;

    if (world->exchange->data_path == DATA_PATH_PASSTHROUGH && !segment->backing_id) {
        if (world->cannot_register)
            return -world->cannot_register;
        segment->backing_id = ++world->registered;
    }
    return 0;
}

static void source_removed(void *context, struct slot *slot)
{
    struct world *world = context;

    ck_assert_uint_eq(slot->source, 0);
    world->done++;
    world->sources_removed++;
}

static void slot_removing(void *context, struct slot *slot)
{
    struct world *world = context;

    world->removals++;
    ck_assert_ptr_eq(slot_find(world->slots, slot->name), slot);
    for (const struct wait *wait = LIST_FIRST(&slot->waiters); wait; wait = LIST_NEXT(wait, link))
        ck_assert_int_eq(wait->ended, -ECANCELED);
}

/* The arena knows its bench, which is the world's first member. */
static void segment_freed(void *context, struct segment *segment)
{
    struct world *world = context;

    if (world->exchange)
        step_segment_freed(world->exchange, segment);
}

/* --- beginning and end --- */

struct world_options world_defaults(void)
{
    return (struct world_options){
        .kind = ARENA_MEMFD,
        .capacity = 64 * MIB,
        .slots_max = 100,
        .data_path = DATA_PATH_PASSTHROUGH,
        .limits = {.slots_per_user = UINT32_MAX},
    };
}

static void begin(struct world *world, enum exchange_data_path data_path, enum exchange_start start)
{
    const struct exchange_hooks hooks = {record_changed, array_replaced, slot_vanished, slot_removing,
                                         array_opening,  source_removed, world};
    char error[ARENA_ERROR_MAX];

    if (data_path == DATA_PATH_LINKS)
        ck_assert_int_eq(arena_use_links(world->bench.arena), 0);
    ck_assert_int_eq(loop_init(&world->loop), 0);
    ck_assert_int_eq(slots_open(&world->slots, world->bench.arena, world->slots_max, error), 0);
    ck_assert_int_eq(exchange_init(&world->exchange, world->slots, world->bench.arena, world->loop,
                                   &world->limits, &hooks),
                     0);
    ck_assert_msg(exchange_restore(world->exchange, start, error) == 0, "%s", error);
    exchange_go_on(world->exchange, start);
    world->exchange->data_path = data_path;
}

bool world_try_begin(struct world *world, const struct world_options *options)
{
    log_open(LOG_TO_STDERR, LOG_LEVEL_ERROR);
    *world = (struct world){.limits = options->limits, .slots_max = options->slots_max};
    world->caller =
        (struct caller){.uid = getuid(), .gid = getgid(), .thread = getpid(), .process = getpid()};
    if (!bench_open(&world->bench, options->kind, options->capacity, 0))
        return false;
    bench_stop(&world->bench);
    world->bench.options.freed = segment_freed;
    world->bench.options.files = slots_bytes(options->slots_max);
    bench_start(&world->bench);
    begin(world, options->data_path, EXCHANGE_RESTARTS);
    return true;
}

void world_begin(struct world *world, enum exchange_data_path data_path)
{
    struct world_options options = world_defaults();

    options.data_path = data_path;
    ck_assert(world_try_begin(world, &options));
}

static void end(struct world *world)
{
    background_drain(world->bench.background);
    exchange_deinit(world->exchange);
    world->exchange = NULL;
    slots_close(world->slots);
    loop_deinit(world->loop);
}

/*
 * Bytes of the index, the one file that stays when all slots are gone. On a disk the filesystem may take a
 * block more than we count, to note where the others are.
 */
static uint64_t index_bytes(struct world *world)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int fd = arena_file_open(world->bench.arena, "index", O_RDONLY);
    struct stat status;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    close(fd);
    if (world->bench.options.kind == ARENA_DIR)
        return ((uint64_t)status.st_size + page - 1) / page * page;
    return (uint64_t)status.st_blocks * 512;
}

void world_end(struct world *world)
{
    struct ledger_usage usage;
    struct slot *slot;

    world_check(world);
    while ((slot = slot_after(world->slots, 0)))
        exchange_remove(world->exchange, slot);
    world_rest(world);
    ck_assert_uint_eq(slots_count(world->slots), 0);
    ck_assert_uint_eq(world->exchange->counts.waiters, 0);
    bench_settle_down(&world->bench);
    usage = bench_usage(&world->bench);
    ck_assert_uint_eq(usage.files, index_bytes(world));
    ck_assert_uint_eq(usage.used, 0);
    ck_assert_uint_eq(world_charged(world, world->caller.uid), 0);
    end(world);
    bench_close(&world->bench);
}

void world_stop(struct world *world)
{
    world->data_path = world->exchange->data_path;
    end(world);
    bench_stop(&world->bench);
}

void world_start(struct world *world)
{
    bench_start(&world->bench);
    begin(world, world->data_path, EXCHANGE_RESTARTS);
    world_check(world);
}

void world_restart(struct world *world)
{
    world_stop(world);
    world_start(world);
}

/* What servers that were killed had: a leak checker still finds it. */
enum { KILLS_MAX = 8 };
extern struct world world_killed[KILLS_MAX];
struct world world_killed[KILLS_MAX];
static int kills;

void world_take_over(struct world *world)
{
    exchange_commit(world->exchange); /* as behind each request */
    world->data_path = world->exchange->data_path;
    background_drain(world->bench.background);
    background_deinit(world->bench.background);
    world_killed[kills++] = *world;
    ck_assert_int_lt(kills, KILLS_MAX);
    bench_start(&world->bench);
    begin(world, world->data_path, EXCHANGE_TAKES_OVER);
    world_check(world);
}

static struct world *resting;

/* Once in each pass of the loop, as a turn is. */
static void is_it_over(struct loop_source *source)
{
    (void)source;
    if (resting->done - resting->done_before > resting->most_a_turn)
        resting->most_a_turn = resting->done - resting->done_before;
    resting->done_before = resting->done;
    if (resting->exchange->runs == 0)
        loop_stop(resting->loop, 0);
}

void world_rest(struct world *world)
{
    struct loop_source source = {.ready = is_it_over};

    if (world->exchange->runs == 0)
        return;
    resting = world;
    world->most_a_turn = 0;
    world->done_before = world->done;
    source.fd = eventfd(1, EFD_CLOEXEC); /* readable for good */
    ck_assert_int_ge(source.fd, 0);
    ck_assert_int_eq(loop_add(world->loop, &source), 0);
    ck_assert_int_eq(loop_run(world->loop), 0);
    loop_remove(world->loop, &source);
    close(source.fd);
}

void world_check(struct world *world)
{
    const struct wait *wait;
    uint32_t waiters = 0;

    world_rest(world);
    ck_assert(!world->exchange->running);
    ck_assert_uint_eq(world->exchange->fresh.first_queued, 0);
    if (slots_count(world->slots) <= FEW_SLOTS)
        ck_assert_ptr_null(slots_forgotten(world->slots));
    for (struct slot *slot = slot_after(world->slots, 0); slot;
         slot = slot_after(world->slots, slot_index(world->slots, slot))) {
        struct record record = slot->record;

        ck_assert_uint_eq(slot->queued, 0);
        ck_assert_int_eq(record.flag, handshake_flag(slot_state(slot)));
        ck_assert_int_eq(record_check(&record), 0);
        LIST_FOREACH (wait, &slot->waiters, link)
            waiters++;
        check_arrays(world, slot);
        check_chain(world, slot);
    }
    ck_assert_uint_eq(world->exchange->counts.waiters, waiters);
}

uint64_t world_charged(struct world *world, uid_t uid)
{
    return quota_bytes(world->exchange->quota, (struct quota_payer){uid, ""}, QUOTA_USER);
}

/* --- slots --- */

struct slot *world_slot(struct world *world, const char *name)
{
    struct slot *slot;

    ck_assert_int_eq(exchange_mkdir(world->exchange, name, &world->caller, 0755, &slot), 0);
    return slot;
}

void expect_state(const struct slot *slot, enum handshake_state state, uint64_t round)
{
    ck_assert_msg(slot_state(slot) == state && slot->record.round == round,
                  "%s is %s in round %llu and not %s in round %llu", slot->name,
                  handshake_state_name(slot_state(slot)), (unsigned long long)slot->record.round,
                  handshake_state_name(state), (unsigned long long)round);
}

void expect_refusal(const struct slot *slot, int error, const char *reason)
{
    ck_assert_int_eq(slot->refusal.error, error);
    ck_assert_msg(strstr(slot->refusal.reason, reason) != NULL, "\"%s\" does not say \"%s\"",
                  slot->refusal.reason, reason);
}

void world_text(struct world *world, const struct slot *slot, enum slot_file file, char text[WORLD_TEXT_MAX])
{
    ssize_t got = text_read(world->bench.arena, slot, file, text, WORLD_TEXT_MAX - 1, 0);

    ck_assert_int_ge(got, 0);
    ck_assert_uint_eq((size_t)got, text_size(slot, file));
    text[got] = '\0';
}

/* --- arrays --- */

static int open_as_known(struct world *world, struct slot *slot, struct handle *handle,
                         const struct caller *caller)
{
    uint64_t identity = step_array_identity(world->exchange, slot, slot_file_side(handle->file));
    int result = array_open(world->exchange, slot, handle, caller, identity);

    exchange_run(world->exchange);
    return result;
}

struct handle *world_handle(enum slot_file file, enum handle_access access)
{
    struct handle *handle = calloc(1, sizeof(*handle));

    ck_assert_ptr_nonnull(handle);
    handle->file = file;
    handle->access = access;
    return handle;
}

/* An open for reading ends when an inline array's bytes are in its segment, or have no room there. */
static int await_bytes(struct world *world, struct handle *handle)
{
    struct outcome outcome = {0};

    if (!copy_is_owed(handle->slot, handle->side))
        return 0;
    array_fill_holes(world->exchange, handle->slot, handle->side, &world->caller, outcome_note, &outcome);
    background_drain(world->bench.background);
    ck_assert_int_eq(outcome.calls, 1);
    if (outcome.result < 0)
        array_close(world->exchange, handle);
    return outcome.result;
}

int world_try_open(struct world *world, struct slot *slot, enum slot_file file, enum handle_access access,
                   struct handle **out)
{
    struct handle *handle = world_handle(file, access);
    int result = open_as_known(world, slot, handle, &world->caller);

    if (result == -ESTALE)
        result = open_as_known(world, slot, handle, &world->caller);
    if (result == 0) {
        ck_assert_ptr_nonnull(handle->segment);
        ck_assert_ptr_eq(handle->segment, slot->segments[slot_file_side(file)]);
        result = await_bytes(world, handle);
    }
    if (result == 0) {
        *out = handle;
        return 0;
    }
    ck_assert_ptr_null(handle->segment);
    free(handle);
    *out = NULL;
    return result;
}

struct handle *world_open(struct world *world, struct slot *slot, enum slot_file file,
                          enum handle_access access)
{
    struct handle *handle;

    ck_assert_int_eq(world_try_open(world, slot, file, access, &handle), 0);
    return handle;
}

void world_close(struct world *world, struct handle *handle)
{
    array_close(world->exchange, handle);
    ck_assert_ptr_null(handle->segment);
    ck_assert_ptr_null(handle->slot);
    free(handle);
}

int world_resize(struct world *world, struct slot *slot, enum slot_file file, struct handle *handle,
                 enum reserve_mode mode, uint64_t size)
{
    struct outcome outcome = {0};

    array_resize(world->exchange, slot, slot_file_side(file), handle, &world->caller, mode, size,
                 outcome_note, &outcome);
    background_drain(world->bench.background);
    ck_assert_int_eq(outcome.calls, 1);
    return outcome.result;
}

uint64_t world_size(struct world *world, const struct slot *slot, enum slot_file file)
{
    uint64_t size, allocated;

    ck_assert_int_eq(step_array_stat(world->exchange, slot, slot_file_side(file), &size, &allocated), 0);
    return size;
}

ssize_t world_write_array(struct world *world, struct handle *handle, const void *buffer, size_t size,
                          off_t offset)
{
    struct outcome outcome = {0};
    ssize_t put = array_write(world->exchange, handle, &world->caller, buffer, size, offset);

    if (put != -EAGAIN)
        return put;
    array_reserve_write(world->exchange, handle, size, offset, outcome_note, &outcome);
    background_drain(world->bench.background);
    ck_assert_int_eq(outcome.calls, 1);
    return outcome.result < 0 ? outcome.result
                              : array_write(world->exchange, handle, &world->caller, buffer, size, offset);
}

void world_put(struct world *world, struct slot *slot, enum slot_file file, uint64_t count, double value)
{
    struct handle *handle = world_open(world, slot, file, HANDLE_WRITES);
    ssize_t size = (ssize_t)(count * sizeof(value));

    ck_assert_int_eq(world_resize(world, slot, file, handle, RESERVE_RESIZE, (uint64_t)size), 0);
    for (ssize_t at = 0; at < size; at += (ssize_t)sizeof(value))
        ck_assert_int_eq(world_write_array(world, handle, &value, sizeof(value), at), sizeof(value));
    world_close(world, handle);
}

void world_expect(struct world *world, struct slot *slot, enum slot_file file, uint64_t count, double value)
{
    enum { BLOCK = 65536 };
    static double values[BLOCK];
    struct handle *handle = world_open(world, slot, file, HANDLE_READS);
    uint64_t at = 0;

    ck_assert_uint_eq(world_size(world, slot, file), count * sizeof(value));
    while (at < count) {
        ssize_t got = segment_read(world->bench.arena, handle->segment, values, sizeof(values),
                                   (off_t)(at * sizeof(value)));

        ck_assert_int_gt(got, 0);
        for (ssize_t i = 0; i < got / (ssize_t)sizeof(value); i++, at++)
            ck_assert(values[i] == value);
    }
    world_close(world, handle);
}

/* --- steps --- */

int world_try_write(struct world *world, struct slot *slot, const struct caller *caller, const void *bytes,
                    size_t size, size_t offset)
{
    struct record proposed;
    uint32_t touched;

    ck_assert_int_eq(record_merge(&slot->record, bytes, size, offset, &proposed, &touched), 0);
    return publish_record(world->exchange, slot, caller, &proposed, touched);
}

int world_write(struct world *world, struct slot *slot, const void *bytes, size_t size, size_t offset)
{
    uint32_t before = slot->record.change;
    int result = world_try_write(world, slot, &world->caller, bytes, size, offset);

    while (result == WAIT_FOR_WORK) {
        background_drain(world->bench.background);
        result = world_try_write(world, slot, &world->caller, bytes, size, offset);
    }
    if (result != 0)
        ck_assert_uint_eq(slot->record.change, before);
    world_rest(world);
    if (slots_count(world->slots) <= FEW_SLOTS)
        world_check(world);
    return result;
}

int world_send(struct world *world, struct slot *slot, int32_t flag, uint64_t count, double value,
               int64_t length)
{
    struct record proposed = slot->record;
    double *values = calloc(count, sizeof(*values));
    struct put *put = NULL;
    int result;

    ck_assert_ptr_nonnull(values);
    for (uint64_t i = 0; i < count; i++)
        values[i] = value;
    proposed.flag = flag;
    if (flag == RECORD_FLAG_INPUT) {
        proposed.input_length = length;
        proposed.dtype = RECORD_FLOAT64;
    } else {
        proposed.result_length = length;
        proposed.result_dtype = RECORD_FLOAT64;
    }
    while ((result = put_array(world->exchange, slot, &world->caller, &proposed, values,
                               count * sizeof(*values), &put)) == WAIT_FOR_WORK)
        background_drain(world->bench.background);
    put_drop(&put);
    free(values);
    return result;
}

int world_flag(struct world *world, struct slot *slot, int32_t flag)
{
    return world_write(world, slot, &flag, sizeof(flag), 0);
}

void world_publish(struct world *world, struct slot *slot, uint64_t count, double value)
{
    world_put(world, slot, SLOT_DATA_BIN, count, value);
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_INPUT), 0);
}

void world_finish(struct world *world, struct slot *slot, uint64_t count, double value)
{
    world_put(world, slot, SLOT_RESULT_BIN, count, value);
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_RESULT), 0);
}

void world_take_failure(struct world *world, struct slot *slot)
{
    struct handle *handle;

    ck_assert_int_eq(world_try_open(world, slot, SLOT_RESULT_BIN, HANDLE_READS, &handle), -EIO);
}

struct slot *world_slot_in(struct world *world, const char *name, enum handshake_state state)
{
    struct slot *slot = world_slot(world, name);

    if (state >= STATE_FILLING)
        world_put(world, slot, SLOT_DATA_BIN, WORLD_COUNT, 1);
    if (state >= STATE_READY)
        ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_INPUT), 0);
    if (state >= STATE_COMPUTING)
        world_put(world, slot, SLOT_RESULT_BIN, WORLD_COUNT, 2);
    if (state == STATE_DONE)
        ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_RESULT), 0);
    if (state == STATE_FAILED)
        ck_assert_int_eq(publish_failure(world->exchange, slot, &world->caller, "why", 3), 0);
    expect_state(slot, state, 1);
    return slot;
}

struct slot *world_slot_sent_in(struct world *world, const char *name, enum handshake_state state)
{
    struct slot *slot = world_slot(world, name);

    ck_assert_int_eq(world_send(world, slot, RECORD_FLAG_INPUT, WORLD_COUNT, 1, WORLD_COUNT), 0);
    if (state == STATE_COMPUTING)
        world_put(world, slot, SLOT_RESULT_BIN, WORLD_COUNT, 2);
    if (state == STATE_DONE)
        ck_assert_int_eq(world_send(world, slot, RECORD_FLAG_RESULT, WORLD_COUNT, 2, WORLD_COUNT), 0);
    if (state == STATE_FAILED)
        ck_assert_int_eq(publish_failure(world->exchange, slot, &world->caller, "why", 3), 0);
    expect_state(slot, state, 1);
    return slot;
}

struct record *world_map_page(const struct slot *slot, enum slot_page_kind kind, int flags, int protection)
{
    char link[32];
    void *map;
    int fd;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", slot->pages[kind].fd);
    fd = open(link, flags | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    map = mmap(NULL, RECORD_SIZE, protection, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(map, MAP_FAILED);
    close(fd);
    return map;
}

/* --- chains --- */

int world_link(struct world *world, struct slot *slot, struct slot *source, enum record_side side)
{
    return exchange_chain(world->exchange, slot, source, side, &world->caller);
}

struct slot *world_follow(struct world *world, const char *name, struct slot *source, enum record_side side)
{
    struct slot *slot = world_slot(world, name);

    ck_assert_int_eq(world_link(world, slot, source, side), 0);
    return slot;
}
