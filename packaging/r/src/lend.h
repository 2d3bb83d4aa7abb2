// SPDX-License-Identifier: Apache-2.0
/*
 * lend.h - a large result that R has mapped, and that still lies in the slot where its worker made it.
 *
 * Passed on, its pages go without a copy: then they need a slot which lives as long as the vector does. But most results are
 * never passed on, and go before their slot is used again. So the slot lends the result. It moves to another slot when
 * it is passed on, and when its slot is to do something else; if R drops it before, its slot is emptied.
 *
 * Neither end keeps the other alive: whichever goes first tells the other.
 */
#ifndef PYRMAP_LEND_H
#define PYRMAP_LEND_H

#include "vector.h"

/* holder: the external pointer of the vector that maps the slot's result. */
void lend_result(struct slot *slot, SEXP holder);

/* Moves what the slot lends, if it does. False: it cannot be moved, and will be copied when it is passed on. */
bool lend_move(struct slot *slot);

/* The slot goes: what it lends stays with the vector alone. */
void lend_end(struct slot *slot);

/* The vector goes: its memory is the arena's again. */
void lend_returned(struct vector *vector);

/* lend_move(): TRUE or FALSE. */
SEXP pyrmap_slot_keep(SEXP slot);
/* Whether it lends anything. */
SEXP pyrmap_slot_lends(SEXP slot);

#endif
