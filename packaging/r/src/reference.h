// SPDX-License-Identifier: Apache-2.0
/*
 * reference.h - a mapped vector on its way to another process of this machine: the name of its pages in place of its bytes.
 *
 * Only R/reference.R knows who serializes, and it says yes only where it knows the receiver: all other serializations, those into
 * files among them, have the bytes. A reference names a slot that has the segment as its input and belongs to no one else, so it is
 * good whatever becomes of the vector and of its slot. That one goes when the receiver, which owns it from then on, collects the
 * vector; or with the process that sent it.
 */
#ifndef PYRMAP_REFERENCE_H
#define PYRMAP_REFERENCE_H

#include "vector.h"

/* ALTREP's Serialized_state: a reference to x, or NULL, which makes R write its bytes. */
SEXP reference_make(SEXP x);

/* ALTREP's Unserialize. Raises pyrmap_reference_error where the pages are not within reach. */
SEXP reference_take(SEXP class, SEXP state);

/* The vector of a reference that R/reference.R has looked at; or a text that says why there is none. live: of enum slot_live. */
SEXP pyrmap_reference_map(SEXP state, SEXP live);

#endif
