// SPDX-License-Identifier: Apache-2.0
/*
 * test_caller.c - the process that makes a request, and the cost of finding it: one look at /proc if the thread
 * is not its process's first, else no look.
 */
#include "base/caller.h"

#include "exchange_fixture.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int looks;

/* Replaces the C library's. */
int openat(int directory, const char *path, int flags, ...)
{
    va_list arguments;
    unsigned mode;

    va_start(arguments, flags);
    mode = flags & O_CREAT ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    looks += strstr(path, "/status") != NULL;
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

static void expect(struct caller caller, pid_t thread, pid_t process)
{
    ck_assert_uint_eq(caller.uid, 11);
    ck_assert_uint_eq(caller.gid, 12);
    ck_assert_int_eq(caller.thread, thread);
    ck_assert_int_eq(caller.process, process);
}

/* An open, its refusal and a publish ask for all that they want to know of their caller. */
static void ask_often(struct world *world, struct slot *slot)
{
    world_put(world, slot, SLOT_DATA_BIN, 2, 1);
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_RESULT), -EPROTO);
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_INPUT), 0);
    ck_assert_int_eq(slot->refusal.pid, getpid());
    world_put(world, slot, SLOT_RESULT_BIN, 2, 2);
    ck_assert_int_eq(world_flag(world, slot, RECORD_FLAG_RESULT), 0);
}

START_TEST(test_looks_at_proc)
{
    struct idle_thread thread;
    struct world world;
    struct slot *slot;

    world_begin(&world, (enum exchange_data_path)_i);
    slot = world_slot(&world, "job");
    idle_thread_start(&thread);

    looks = 0;
    world.caller = caller_of(getuid(), getgid(), getpid());
    ask_often(&world, slot);
    ck_assert_int_eq(looks, 0);
    world.caller = caller_of(getuid(), getgid(), thread.id);
    ask_often(&world, slot);
    ck_assert_int_eq(looks, 1);

    idle_thread_end(&thread);
    world_end(&world);
}
END_TEST

START_TEST(test_caller_of)
{
    struct idle_thread thread;
    pid_t other = idler_start(0);

    idle_thread_start(&thread);
    expect(caller_of(11, 12, getpid()), getpid(), getpid());
    expect(caller_of(11, 12, thread.id), thread.id, getpid());
    expect(caller_of(11, 12, other), other, other);
    expect(caller_of(11, 12, 0), 0, 0);
    idle_thread_end(&thread);
    idler_end(other);
    expect(caller_of(11, 12, other), other, other); /* it is gone, and we have only its own number */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("caller");
    TCase *callers = tcase_create("callers");

    tcase_set_timeout(callers, 60);
    tcase_add_test(callers, test_caller_of);
    tcase_add_loop_test(callers, test_looks_at_proc, 0, DATA_PATHS);
    suite_add_tcase(suite, callers);
    return suite_run(suite);
}
