// SPDX-License-Identifier: Apache-2.0
/*
 * outcome.h - a done(context, result) callback that notes its result and counts its calls.
 */
#ifndef PYRMAPFS_OUTCOME_H
#define PYRMAPFS_OUTCOME_H

struct outcome {
    int calls;
    int result;
};

static inline void outcome_note(void *context, int result)
{
    struct outcome *outcome = context;

    outcome->calls++;
    outcome->result = result;
}

#endif
