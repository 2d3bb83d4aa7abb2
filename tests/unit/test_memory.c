// SPDX-License-Identifier: Apache-2.0
/*
 * test_memory.c - an arena larger than the machine refuses what the machine does not have.
 */
#include "base/memory.h"

#include "arena_fixture.h"
#include "suite.h"
#include <errno.h>
#include <sys/sysinfo.h>

static uint64_t machine(void)
{
    struct sysinfo info;

    ck_assert_int_eq(sysinfo(&info), 0);
    return ((uint64_t)info.totalram + (uint64_t)info.totalswap) * info.mem_unit;
}

START_TEST(test_spares)
{
    ck_assert(memory_spares(0));
    ck_assert(memory_spares(4 * KIB));
    ck_assert(!memory_spares(machine()));
    ck_assert(!memory_spares(machine() - 64 * MIB));
    ck_assert(!memory_spares(UINT64_MAX));
}
END_TEST

/* We find out before we allocate: the attempt must not cost the machine anything either. */
START_TEST(test_more_than_the_machine_has)
{
    static const enum arena_kind kinds[] = {ARENA_TMPFS, ARENA_MEMFD};
    struct bench bench;
    struct segment *segment;

    ck_assert(!memory_spares(2 * machine()));
    if (!bench_open(&bench, kinds[_i], 8 * machine(), 32 * MIB))
        return;
    segment = bench_open_segment(&bench, MIB, NULL);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 2 * machine()), -ENOSPC);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_PAGES, 4 * machine()), -ENOSPC);
    ck_assert_uint_eq(bench_size(&bench, segment), MIB);
    ck_assert_uint_eq(bench_allocated(&bench, segment), MIB);
    ck_assert_int_eq(bench_reserve(&bench, segment, RESERVE_RESIZE, 8 * MIB), 0);
    bench_close(&bench);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tcase = tcase_create("memory");

    tcase_add_test(tcase, test_spares);
    tcase_add_loop_test(tcase, test_more_than_the_machine_has, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
