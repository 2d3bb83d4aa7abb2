// SPDX-License-Identifier: Apache-2.0
/*
 * fault_operations.h - the operations of test_faults.c, each of which does one thing to a slot as a client would.
 */
#ifndef PYRMAPFS_FAULT_OPERATIONS_H
#define PYRMAPFS_FAULT_OPERATIONS_H

#include "exchange_fixture.h"

struct trial {
    struct world world;
    struct slot *slot, *other;              /* the slot in its state, and one that is done */
    struct handle *handle;                  /* that the operation opened */
    const struct record *pages[SLOT_PAGES]; /* as a client of the slot has them mapped */
    struct slot *made;
};

struct operation {
    const char *name;
    int (*run)(struct trial *trial);
};

extern const struct operation operations[];
extern const int operations_count;

/* Closes the handle that an operation has opened, if any. */
void close_handle(struct trial *trial);
int open_result_to_write(struct trial *trial);

#endif
