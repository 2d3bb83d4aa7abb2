// SPDX-License-Identifier: Apache-2.0
/*
 * report.h - what metadata.txt says of a slot: all that a person debugging wants to know.
 *
 * It is bounded: a hundred lines of open files and of waiting requests each, and how many more there are.
 */
#ifndef PYRMAPFS_REPORT_H
#define PYRMAPFS_REPORT_H

#include "exchange/exchange.h"
#include <stdio.h>

void report_slot(struct exchange *exchange, const struct slot *slot, FILE *out);

/* An errno as programmers know it, "EBUSY"; one that has no name as a number, so that no two look alike. */
void report_errno(int error, FILE *out);

/* A slot's name with control characters, blanks and bytes that are not ASCII as \xHH. */
void report_name(const char *name, FILE *out);

#endif
