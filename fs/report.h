// SPDX-License-Identifier: Apache-2.0
/*
 * report.h - what metadata.txt says of a slot: all that a person debugging wants to know.
 */
#ifndef PYRMAPFS_REPORT_H
#define PYRMAPFS_REPORT_H

#include "exchange.h"
#include <stdio.h>

void report_slot(struct exchange *exchange, const struct slot *slot, FILE *out);

/* The name of an errno as programmers know it, "EBUSY"; "?" for one that the filesystem does not use. */
const char *report_errno_name(int error);

/* A slot's name with control characters, blanks and bytes that are not ASCII as \xHH. */
void report_name(const char *name, FILE *out);

#endif
