// SPDX-License-Identifier: Apache-2.0
/*
 * place.h - where in a nested list something is, for messages and for names: data$model$fit, data[[2]].
 *
 * A place lives in the frame of the function that went there, and points to the place that it came from.
 */
#ifndef PYRMAP_PLACE_H
#define PYRMAP_PLACE_H

#define R_NO_REMAP
#include <R.h>
#include <Rinternals.h>
#include <stdint.h>

struct text;

struct place {
    const struct place *above; /* NULL: the whole, which name says */
    const char *name;          /* UTF-8, terminated; NULL or empty: the member has none, and number counts */
    const char *dotted;        /* of the whole: what the names of its tensors begin with, or NULL */
    int64_t number;            /* from 1 */
};

/* As R writes it; terminated. */
const char *place_in_r(const struct place *place);

/* With dots between, as tensors are named. Adds to text. */
void place_dotted(const struct place *place, struct text *text);

/* Raises a condition: that a member cannot go, and why; that it is of a class or type that cannot. */
_Noreturn void place_refuse(const struct place *place, const char *why);
_Noreturn void place_refuse_type(const struct place *place, SEXP x);

#endif
