// SPDX-License-Identifier: Apache-2.0
/*
 * suite.h - runs one Check suite as a whole program.
 *
 * Check knows no skipped tests: a test that cannot run here prints "SKIPPED [1] why" to stderr, on a line that
 * tests/run counts.
 */
#ifndef PYRMAPFS_SUITE_H
#define PYRMAPFS_SUITE_H

#include <check.h>
#include <stdlib.h>

/* Returns what main returns: EXIT_FAILURE if any test failed. CK_VERBOSITY and friends apply. */
static inline int suite_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
