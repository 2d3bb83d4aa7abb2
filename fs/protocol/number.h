// SPDX-License-Identifier: Apache-2.0
/*
 * number.h - one value as the shortest text that reads back to the same bits.
 *
 * Integers and decimals of up to 15 digits, which is most of what people keep, take no trip through printf.
 * The rest is printed with more and more digits until it reads back.
 */
#ifndef PYRMAPFS_NUMBER_H
#define PYRMAPFS_NUMBER_H

#include <stdint.h>

/* One value as text; buffer of at least NUMBER_TEXT_MAX bytes; returns its length. Expects the locale "C". */
enum { NUMBER_TEXT_MAX = 40 };
int number_text(char buffer[NUMBER_TEXT_MAX], int32_t dtype, const void *value);

#endif
