// SPDX-License-Identifier: Apache-2.0
/*
 * parked.h - requests that have to wait: opens, and writes of a flag.
 */
#ifndef PYRMAPFS_PARKED_H
#define PYRMAPFS_PARKED_H

#include "exchange_fixture.h"

struct parked {
    struct wait wait;
    struct world *world;
    struct handle *handle; /* of an open */
    int32_t flag;          /* of a write */
    struct caller caller;
    uint64_t identity;
    int tries;
    int ends;
    int result; /* once ends is 1 */
};

/* Parks an open, or the write of a flag, that has to wait. */
struct parked *world_park_open(struct world *world, struct slot *slot, enum slot_file file);
struct parked *world_park_flag(struct world *world, struct slot *slot, int32_t flag);
/* Parks the write of a flag for which the background has to work first. */
struct parked *world_park_working(struct world *world, struct slot *slot, int32_t flag);
void expect_parked(const struct parked *parked);
/* Expects that it ended with this result; frees it and closes the handle it may have. */
void expect_ended(struct parked *parked, int result);

#endif
