// SPDX-License-Identifier: Apache-2.0
/*
 * input.h - an R vector into a slot, in one copy that converts on the way.
 */
#ifndef PYRMAP_INPUT_H
#define PYRMAP_INPUT_H

#include "convert.h"
#include "slot.h"

/* Puts an input where it will lie. FALSE: not all of it fits there, and the input is not to be published. May raise R errors. */
typedef bool store_values(void *context, char *to);

/*
 * Begins a round with size bytes, which store() puts in their place, as its input, and publishes it, unless
 * store() says no. R_NilValue, or the name of the errno if the slot takes no input now; other errors are R's.
 */
SEXP input_publish(struct slot *slot, const struct record *record, size_t size, store_values *store,
                   void *context);

/*
 * Gives data.bin, in which the input is being written already, that size, and has store() change it. It is not published. 0 or
 * -errno; -EINVAL if store() says no.
 */
int input_store(const struct slot *slot, size_t size, store_values *store, void *context);

/* Stores the values of an R vector, ALTREP or not, as dtype. How many fitted. */
size_t input_convert(SEXP x, enum source_type type, int32_t dtype, char *to);

/*
 * Begins a round with x as its input, and publishes it. type: enum source_type; dtype: enum record_dtype.
 * Returns what input_publish() does; or, if a value does not fit, its index (from 1), and nothing is published.
 */
SEXP pyrmap_slot_fill(SEXP slot, SEXP x, SEXP type, SEXP dtype);

/* The index (from 1) of the first NA of an integer, logical or integer64 vector, 0 if there is none. */
SEXP pyrmap_first_na(SEXP x, SEXP type);

#endif
