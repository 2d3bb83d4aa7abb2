// SPDX-License-Identifier: Apache-2.0
/*
 * conf_fixture.h - configurations that are read, set, compared and printed, where none of it may fail.
 */
#ifndef PYRMAPFS_CONF_FIXTURE_H
#define PYRMAPFS_CONF_FIXTURE_H

#include "conf.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint64_t gibibyte = UINT64_C(1) << 30;

void conf_expect_same(const struct conf *a, const struct conf *b);
/* Both read bytes as a file over the defaults. The expected error has no name of a file before it. */
void conf_expect_error(const void *bytes, size_t size, const char *expected);
void conf_expect_read(struct conf *conf, const void *bytes, size_t size);
void conf_expect_checked(struct conf *conf);
void conf_expect_override(struct conf *conf, const char *assignment);
/* What conf_print prints; the caller frees it. */
char *conf_printed(const struct conf *conf);
/* Expects that what conf_print prints reads back as *conf will be after conf_check. */
void conf_expect_round_trip(const struct conf *conf);
/* Of this machine. */
uint64_t conf_ram_bytes(void);

#endif
