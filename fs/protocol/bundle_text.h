// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_text.h - a bundle as a person wants to see it: names, types, shapes, first values, the first rows of
 * tables.
 *
 * The text is bounded, whatever the bundle says: so many lines, columns and bytes of a value. So is the work: each
 * node is searched a few times for its keys, and those that hold others are as long as these together.
 */
#ifndef PYRMAPFS_BUNDLE_TEXT_H
#define PYRMAPFS_BUNDLE_TEXT_H

#include "protocol/bundle.h"
#include <stdio.h>

enum {
    BUNDLE_TEXT_LINES = 100,    /* of members; those of tables come on top */
    BUNDLE_TEXT_TABLES = 8,     /* that are shown with rows */
    BUNDLE_TEXT_ROWS = 10,      /* of a table */
    BUNDLE_TEXT_COLUMNS = 16,   /* of a table */
    BUNDLE_TEXT_VALUES = 6,     /* of a vector */
    BUNDLE_TEXT_VALUE = 40,     /* bytes of one value or name */
    BUNDLE_TEXT_NODE = 1 << 14, /* bytes of JSON that describe one array */
    BUNDLE_TEXT_WORK = 4 << 20, /* bytes of JSON in all nodes that are shown, each with what is in it */
};

/* Writes it; what is damaged is said in its place. result: of bundle_open. */
void bundle_text_write(const struct bundle *bundle, int result, FILE *out);

#endif
