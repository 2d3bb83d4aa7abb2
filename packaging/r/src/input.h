// SPDX-License-Identifier: Apache-2.0
/*
 * input.h - an R vector into data.bin, in one copy that converts on the way.
 */
#ifndef PYRMAP_INPUT_H
#define PYRMAP_INPUT_H

#include "slot.h"

/*
 * Begins a round: opens data.bin for writing. line, if not NULL, is then sent as by pyrmap_slot_run: the
 * worker starts while R still fills. Returns NULL, or the name of the errno.
 */
SEXP pyrmap_slot_begin(SEXP slot);

/*
 * Fills data.bin of the round that was begun and publishes it. type: enum source_type; dtype: enum
 * record_dtype. Returns NULL; or, if a value does not fit, its index (from 1), the round is then undone.
 */
SEXP pyrmap_slot_fill(SEXP slot, SEXP x, SEXP type, SEXP dtype);

/* The index (from 1) of the first NA of an integer, logical or integer64 vector, 0 if there is none. */
SEXP pyrmap_first_na(SEXP x, SEXP type);

#endif
