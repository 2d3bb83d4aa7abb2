// SPDX-License-Identifier: Apache-2.0
/*
 * input.h - an R vector into data.bin, in one copy that converts on the way.
 */
#ifndef PYRMAP_INPUT_H
#define PYRMAP_INPUT_H

#include "convert.h"
#include "slot.h"

/*
 * Begins a round: opens data.bin for writing. line, if not NULL, is then sent as by pyrmap_slot_run: the
 * worker starts while R still fills. Returns NULL, or the name of the errno.
 */
SEXP pyrmap_slot_begin(SEXP slot);

/* Puts an input where it will lie. FALSE: not all of it fits there, and the input is not to be published. May raise R errors. */
typedef bool store_values(void *context, char *to);

/* Fills data.bin, of a round that was begun, with size bytes that store() puts there. */
void input_store(struct slot *slot, size_t size, store_values *store, void *context);

/* Stores the values of an R vector, ALTREP or not, as dtype. How many fitted. */
size_t input_convert(SEXP x, enum source_type type, int32_t dtype, char *to);

/*
 * Fills data.bin of the round that was begun and publishes it. type: enum source_type; dtype: enum
 * record_dtype. Returns NULL; or, if a value does not fit, its index (from 1), the round is then undone.
 */
SEXP pyrmap_slot_fill(SEXP slot, SEXP x, SEXP type, SEXP dtype);

/* The index (from 1) of the first NA of an integer, logical or integer64 vector, 0 if there is none. */
SEXP pyrmap_first_na(SEXP x, SEXP type);

#endif
