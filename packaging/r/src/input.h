// SPDX-License-Identifier: Apache-2.0
/*
 * input.h - an R vector into data.bin, in one copy that converts on the way.
 */
#ifndef PYRMAP_INPUT_H
#define PYRMAP_INPUT_H

#include "slot.h"

/*
 * Fills data.bin and publishes it. type: enum source_type; dtype: enum record_dtype. line, if not NULL, is
 * sent to the server once the round is begun: the worker starts while R still fills. Returns NULL; or, if a
 * value does not fit, its index (from 1), the round is then undone.
 */
SEXP pyrmap_slot_fill(SEXP slot, SEXP x, SEXP type, SEXP dtype, SEXP server, SEXP line);

#endif
