// SPDX-License-Identifier: Apache-2.0
/*
 * test_faults.c - a refused call changes nothing: each operation in each state, while each system call and
 * each allocation that it makes fails once.
 *
 * The daemon's calls come here instead of to the C library (see the Makefile). One of them fails: the first,
 * then the second, and so on until the operation makes fewer. Whenever it is refused on account of that,
 * slots, accounts and descriptors must be as before, and then it must do what it does where nothing fails.
 */
#include "descriptors.h"
#include "exchange/account.h"
#include "outcome.h"
#include "slot/page.h"
#include "slot/text.h"
#include "slot_files_fixture.h"
#include "suite.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <unistd.h>

/* --- the calls --- */

static atomic_int calls_left; /* until one fails; 0: none does */
static atomic_bool has_failed;

/* Whether this call is the one; errno is set. The helper thread's calls count as well. */
static bool fails(int error)
{
    if (atomic_load(&calls_left) == 0 || atomic_fetch_sub(&calls_left, 1) != 1)
        return false;
    atomic_store(&has_failed, true);
    errno = error;
    return true;
}

/* The prototype of a call, what it is called with, what it fails with. */
#define FAULTY(type, name, error, failure, parameters, arguments)                                            \
    type faulty_##name parameters;                                                                           \
    type faulty_##name parameters                                                                            \
    {                                                                                                        \
        return fails(error) ? (failure) : name arguments;                                                    \
    }

FAULTY(void *, malloc, ENOMEM, NULL, (size_t size), (size))
FAULTY(void *, calloc, ENOMEM, NULL, (size_t count, size_t size), (count, size))
FAULTY(FILE *, open_memstream, ENOMEM, NULL, (char **text, size_t *size), (text, size))
FAULTY(int, memfd_create, EMFILE, -1, (const char *name, unsigned flags), (name, flags))
FAULTY(int, mknodat, ENOSPC, -1, (int fd, const char *path, mode_t mode, dev_t dev), (fd, path, mode, dev))
FAULTY(int, renameat, EIO, -1, (int from, const char *path, int to, const char *name), (from, path, to, name))
FAULTY(int, unlinkat, EIO, -1, (int fd, const char *path, int flags), (fd, path, flags))
FAULTY(ssize_t, readlinkat, EACCES, -1, (int fd, const char *path, char *text, size_t size),
       (fd, path, text, size))
FAULTY(int, fstatat, EIO, -1, (int fd, const char *path, struct stat *status, int flags),
       (fd, path, status, flags))
FAULTY(int, fstatfs, EIO, -1, (int fd, struct statfs *status), (fd, status))
FAULTY(off_t, lseek, EIO, -1, (int fd, off_t at, int whence), (fd, at, whence))
FAULTY(int, eventfd, EMFILE, -1, (unsigned count, int flags), (count, flags))
FAULTY(int, timerfd_create, EMFILE, -1, (int clock, int flags), (clock, flags))
FAULTY(int, timerfd_settime, EINVAL, -1,
       (int fd, int flags, const struct itimerspec *when, struct itimerspec *old), (fd, flags, when, old))
FAULTY(int, fallocate, ENOSPC, -1, (int fd, int mode, off_t from, off_t size), (fd, mode, from, size))
FAULTY(int, ftruncate, EIO, -1, (int fd, off_t size), (fd, size))
FAULTY(int, fsync, EIO, -1, (int fd), (fd))
FAULTY(int, fstat, EIO, -1, (int fd, struct stat *status), (fd, status))
FAULTY(ssize_t, pread, EIO, -1, (int fd, void *bytes, size_t size, off_t at), (fd, bytes, size, at))
FAULTY(void *, mmap, ENOMEM, MAP_FAILED,
       (void *address, size_t size, int protection, int flags, int fd, off_t at),
       (address, size, protection, flags, fd, at))
FAULTY(int, epoll_ctl, ENOMEM, -1, (int epoll, int what, int fd, struct epoll_event *event),
       (epoll, what, fd, event))

static struct stat page_files[SLOT_PAGES]; /* of the pages that a client has mapped */

/* A page has its memory since it was made: storing there does not fail. */
static bool is_page(int fd)
{
    struct stat status;

    ck_assert_int_eq(fstat(fd, &status), 0);
    for (int kind = 0; kind < SLOT_PAGES; kind++) {
        if (page_files[kind].st_ino == status.st_ino && page_files[kind].st_dev == status.st_dev)
            return true;
    }
    return false;
}

ssize_t faulty_pwrite(int fd, const void *bytes, size_t size, off_t at);
ssize_t faulty_pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    return !is_page(fd) && fails(ENOSPC) ? -1 : pwrite(fd, bytes, size, at);
}

#define FAULTY_OPEN(name, parameters, arguments)                                                             \
    int faulty_##name parameters;                                                                            \
    int faulty_##name parameters                                                                             \
    {                                                                                                        \
        va_list rest;                                                                                        \
        mode_t mode;                                                                                         \
                                                                                                             \
        va_start(rest, flags);                                                                               \
        mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                   \
        va_end(rest);                                                                                        \
        return fails(EMFILE) ? -1 : arguments;                                                               \
    }

FAULTY_OPEN(open, (const char *path, int flags, ...), open(path, flags, mode))
FAULTY_OPEN(openat, (int fd, const char *path, int flags, ...), openat(fd, path, flags, mode))
/* Fortified calls without O_CREAT. */
FAULTY_OPEN(__open_2, (const char *path, int flags, ...), open(path, flags, mode))
FAULTY_OPEN(__openat_2, (int fd, const char *path, int flags, ...), openat(fd, path, flags, mode))

int faulty_fcntl(int fd, int what, ...);
int faulty_fcntl(int fd, int what, ...)
{
    va_list rest;
    long argument;

    va_start(rest, what);
    argument = va_arg(rest, long);
    va_end(rest);
    return fails(ENOMEM) ? -1 : fcntl(fd, what, argument);
}

/* pidfd_open is called so. */
long faulty_syscall(long number, ...);
long faulty_syscall(long number, ...)
{
    va_list rest;
    long a[6];

    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    return fails(EMFILE) ? -1 : syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* --- a trial --- */

struct trial {
    struct world world;
    struct slot *slot, *other;              /* the slot in its state, and one that is done */
    struct handle *handle;                  /* that the operation opened */
    const struct record *pages[SLOT_PAGES]; /* as a client of the slot has them mapped */
    struct slot *made;
};

/* A client has mapped the file that it opened, and closed it: then the server has no handle to store by. */
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
}

static void unmap_pages(struct trial *trial)
{
    memset(page_files, 0, sizeof(page_files));
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

static void close_handle(struct trial *trial)
{
    struct handle *handle = trial->handle;

    if (!handle)
        return;
    trial->handle = NULL;
    if (slot_files_row(handle->file)->kind == SLOT_FILES_ARRAY) {
        world_close(&trial->world, handle);
        return;
    }
    slot_files_close(trial->world.exchange, handle);
    handle_delist(handle);
    free(handle);
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
    /* A refusal is told. Guesses, and fields of one step only, are no state. */
    copy->refusals = 0;
    memset(&copy->refusal, 0, sizeof(copy->refusal));
    copy->ready_stamp = 0;
    memset(copy->last_size, 0, sizeof(copy->last_size));
    for (int side = 0; side < 2; side++) {
        struct place_of_array *place = &picture->arrays[i][side];
        struct segment *segment = place->segment = slot->segments[side];

        if (!segment)
            continue;
        place->names = segment->names;
        place->handles = segment->handles;
        place->published = segment->published;
        place->charged = segment->charged;
        ck_assert_int_eq(step_array_stat(trial->world.exchange, slot, (enum record_side)side, &place->size,
                                         &place->allocated),
                         0);
        ck_assert_int_ge(text_read(trial->world.bench.arena, slot, files[side], picture->texts[i][side],
                                   sizeof(picture->texts[i][side]) - 1, 0),
                         0);
    }
}

static void take_picture(struct trial *trial, struct picture *picture)
{
    struct world *world = &trial->world;
    struct ledger_usage usage;

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

/* --- the operations --- */

/* As the kernel does it: where the path is another array's now, it looks there at once. */
static int open_array(struct trial *trial, enum slot_file file, enum handle_access access)
{
    struct world *world = &trial->world;
    struct handle *handle;
    int result = -ESTALE;

    for (int tries = 0; result == -ESTALE && tries < 2; tries++) {
        handle = calloc(1, sizeof(*handle));
        ck_assert_ptr_nonnull(handle);
        handle->file = file;
        handle->access = access;
        result = array_open(world->exchange, trial->slot, handle, &world->caller,
                            step_array_identity(world->exchange, trial->slot, slot_file_side(file)));
        if (result == 0)
            trial->handle = handle;
        else
            free(handle);
    }
    if (result == 0 && copy_is_owed(trial->slot, slot_file_side(file))) {
        struct outcome outcome = {0};

        array_fill_holes(world->exchange, trial->slot, slot_file_side(file), &world->caller, outcome_note,
                         &outcome);
        background_drain(world->bench.background);
        result = outcome.result;
    }
    return result;
}

static int open_data_to_write(struct trial *trial)
{
    return open_array(trial, SLOT_DATA_BIN, HANDLE_WRITES);
}

static int open_data_to_read(struct trial *trial)
{
    return open_array(trial, SLOT_DATA_BIN, HANDLE_READS);
}

static int open_result_to_write(struct trial *trial)
{
    return open_array(trial, SLOT_RESULT_BIN, HANDLE_WRITES);
}

static int open_result_to_read(struct trial *trial)
{
    return open_array(trial, SLOT_RESULT_BIN, HANDLE_READS);
}

static int resize(struct trial *trial, enum record_side side, enum reserve_mode mode, uint64_t size)
{
    struct outcome outcome = {0};

    array_resize(trial->world.exchange, trial->slot, side, NULL, &trial->world.caller, mode, size,
                 outcome_note, &outcome);
    background_drain(trial->world.bench.background);
    ck_assert_int_eq(outcome.calls, 1);
    return outcome.result;
}

static int truncate_data(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_INPUT, RESERVE_RESIZE, 4096);
}

static int truncate_data_far(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_INPUT, RESERVE_RESIZE, MIB);
}

static int truncate_result(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_RESULT, RESERVE_RESIZE, 4096);
}

static int allocate_data(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_INPUT, RESERVE_GROW, MIB);
}

static int allocate_result(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_RESULT, RESERVE_PAGES, MIB);
}

static int write_flag(struct trial *trial, int32_t flag)
{
    struct record proposed;
    uint32_t touched;
    int result;

    do {
        background_drain(trial->world.bench.background);
        ck_assert_int_eq(record_merge(&trial->slot->record, &flag, sizeof(flag), 0, &proposed, &touched), 0);
        result = publish_record(trial->world.exchange, trial->slot, &trial->world.caller, &proposed, touched);
    } while (result == WAIT_FOR_WORK);
    return result;
}

static int write_flag_none(struct trial *trial)
{
    return write_flag(trial, RECORD_FLAG_NONE);
}

static int write_flag_input(struct trial *trial)
{
    return write_flag(trial, RECORD_FLAG_INPUT);
}

static int write_flag_result(struct trial *trial)
{
    return write_flag(trial, RECORD_FLAG_RESULT);
}

static int write_flag_failed(struct trial *trial)
{
    return write_flag(trial, RECORD_FLAG_FAILED);
}

static int write_small(struct trial *trial, enum slot_file file, const char *text)
{
    struct handle handle = {.slot = trial->slot, .file = file, .access = HANDLE_WRITES};

    return slot_files_row(file)->write(trial->world.exchange, &handle, &trial->world.caller, text,
                                       strlen(text), 0);
}

static int write_task(struct trial *trial)
{
    return write_small(trial, SLOT_TASK, "what to do");
}

static int write_error(struct trial *trial)
{
    return write_small(trial, SLOT_ERROR, "what went wrong");
}

static int write_owner(struct trial *trial)
{
    return write_small(trial, SLOT_OWNER, "self");
}

static int write_worker(struct trial *trial)
{
    return write_small(trial, SLOT_WORKER, "self");
}

static int resize_task(struct trial *trial)
{
    return slot_files_row(SLOT_TASK)->resize(trial->world.exchange, trial->slot, SLOT_TASK, 100);
}

static int resize_error(struct trial *trial)
{
    return slot_files_row(SLOT_ERROR)->resize(trial->world.exchange, trial->slot, SLOT_ERROR, 0);
}

static int unlink_array(struct trial *trial)
{
    return exchange_unlink(trial->world.exchange, trial->slot, &trial->world.caller);
}

static int make(struct trial *trial)
{
    return exchange_mkdir(trial->world.exchange, "made", &trial->world.caller, 0755, &trial->made);
}

static int give_away(struct trial *trial)
{
    return exchange_chown(trial->world.exchange, trial->slot, trial->world.caller.uid + 1, 7);
}

static int follow(struct trial *trial)
{
    return exchange_chain(trial->world.exchange, trial->slot, trial->other, RECORD_SIDE_RESULT,
                          &trial->world.caller);
}

static int move_here(struct trial *trial)
{
    return array_move_result(trial->world.exchange, trial->other, trial->slot, &trial->world.caller);
}

static int move_to_itself(struct trial *trial)
{
    return array_move_result(trial->world.exchange, trial->slot, trial->slot, &trial->world.caller);
}

static int send_input(struct trial *trial)
{
    return world_send(&trial->world, trial->slot, RECORD_FLAG_INPUT, 1000, 7, 1000);
}

static int send_small_input(struct trial *trial)
{
    return world_send(&trial->world, trial->slot, RECORD_FLAG_INPUT, 10, 7, 10);
}

static int send_small_result(struct trial *trial)
{
    return world_send(&trial->world, trial->slot, RECORD_FLAG_RESULT, 10, 7, 10);
}

static int send_result(struct trial *trial)
{
    return world_send(&trial->world, trial->slot, RECORD_FLAG_RESULT, 1000, 7, 1000);
}

static int open_page(struct trial *trial)
{
    return account_open_page(trial->world.exchange, trial->slot, SLOT_PAGE_MEM);
}

static int open_small(struct trial *trial, enum slot_file file)
{
    struct handle *handle = calloc(1, sizeof(*handle));
    int result;

    ck_assert_ptr_nonnull(handle);
    handle->file = file;
    result = slot_files_row(file)->open(trial->world.exchange, trial->slot, handle);
    trial->handle = handle;
    if (result == 0) {
        handle_enlist(handle, trial->slot);
        return 0;
    }
    close_handle(trial);
    return result;
}

static int open_report(struct trial *trial)
{
    return open_small(trial, SLOT_METADATA_TXT);
}

static int open_text(struct trial *trial)
{
    return open_small(trial, SLOT_DATA_TXT);
}

static int open_npy(struct trial *trial)
{
    return open_small(trial, SLOT_RESULT_NPY);
}

static int open_worker(struct trial *trial)
{
    return open_small(trial, SLOT_WORKER);
}

static const struct operation {
    const char *name;
    int (*run)(struct trial *trial);
} operations[] = {
    {"open data.bin for writing", open_data_to_write},
    {"open data.bin for reading", open_data_to_read},
    {"open result.bin for writing", open_result_to_write},
    {"open result.bin for reading", open_result_to_read},
    {"truncate data.bin", truncate_data},
    {"truncate data.bin far out", truncate_data_far},
    {"truncate result.bin", truncate_result},
    {"fallocate data.bin", allocate_data},
    {"fallocate result.bin", allocate_result},
    {"write flag -1", write_flag_none},
    {"write flag 0", write_flag_input},
    {"write flag 1", write_flag_result},
    {"write flag 2", write_flag_failed},
    {"write task", write_task},
    {"write error", write_error},
    {"write owner", write_owner},
    {"write worker", write_worker},
    {"truncate task", resize_task},
    {"truncate error", resize_error},
    {"unlink data.bin", unlink_array},
    {"mkdir", make},
    {"chown", give_away},
    {"symlink source", follow},
    {"rename other/result.bin job/data.bin", move_here},
    {"rename result.bin data.bin", move_to_itself},
    {"flag 0 and an array", send_input},
    {"flag 1 and an array", send_result},
    {"flag 0 and a small array", send_small_input},
    {"flag 1 and a small array", send_small_result},
    {"open metadata.bin", open_page},
    {"open metadata.txt", open_report},
    {"open data.txt", open_text},
    {"open result.npy", open_npy},
    {"open worker", open_worker},
};

enum { OPERATIONS = sizeof(operations) / sizeof(operations[0]), CALLS_MAX = 100 };

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

/* Lets calls fail, from this one on, as long as the operation is refused because of that. Returns the first call
 * whose failure it survived, or which it never made: then *ended. */
static int refuse_from(const struct operation *operation, struct trial *trial, int call,
                       const struct expectation *expected, bool *ended)
{
    static struct picture before, after;
    int result;

    take_picture(trial, &before);
    for (;; call++) {
        ck_assert_int_lt(call, CALLS_MAX);
        atomic_store(&has_failed, false);
        atomic_store(&calls_left, call);
        result = operation->run(trial);
        atomic_store(&calls_left, 0);
        *ended = !atomic_load(&has_failed);
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

        atomic_store(&has_failed, false);
        atomic_store(&calls_left, ++refused);
        result = exchange_init(&exchange, world.slots, world.bench.arena, world.loop, &world.limits, &hooks);
        atomic_store(&calls_left, 0);
        ck_assert_int_eq(result < 0, atomic_load(&has_failed));
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
    tcase_add_loop_test(tests, test_memfd, 0, OPERATIONS);
    tcase_add_loop_test(tests, test_directory, 0, OPERATIONS);
    tcase_add_test(tests, test_registration);
    tcase_add_test(tests, test_start);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
