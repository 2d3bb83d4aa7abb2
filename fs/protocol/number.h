// SPDX-License-Identifier: Apache-2.0
/*
 * number.h - one value as the shortest text that reads back to the same bits.
 *
 * We write integers and decimals of up to 15 digits, the most common values, without printf, and print the
 * rest with more and more digits until it reads back.
 */
#ifndef PYRMAPFS_NUMBER_H
#define PYRMAPFS_NUMBER_H

#include <stdint.h>

/* Writes one value as text into NUMBER_TEXT_MAX bytes and returns its length. Expects the locale "C". */
enum { NUMBER_TEXT_MAX = 40 };
int number_text(char buffer[NUMBER_TEXT_MAX], int32_t dtype, const void *value);

#endif
