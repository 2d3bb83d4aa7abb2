// SPDX-License-Identifier: Apache-2.0
#include "lend.h"

#include <unistd.h>

void lend_result(struct slot *slot, SEXP holder)
{
    struct vector *vector = R_ExternalPtrAddr(holder);
    slot->lent = holder;
    vector->lender = slot;
}

void lend_end(struct slot *slot)
{
    struct vector *vector = slot->lent ? R_ExternalPtrAddr(slot->lent) : NULL;
    slot->lent = NULL;
    if (vector)
        vector->lender = NULL;
}

bool lend_move(struct slot *slot)
{
    SEXP holder = slot->lent;
    if (!holder)
        return true;
    PROTECT(holder);
    SEXP kept = PROTECT(slot_move_result(slot));
    /* R may have collected meanwhile, and dropped the vector. */
    struct vector *vector = R_ExternalPtrAddr(holder);
    if (kept != R_NilValue && vector) {
        R_SetExternalPtrProtected(holder, kept);
        vector->array = true;
    }
    lend_end(slot);
    UNPROTECT(2);
    return kept != R_NilValue;
}

void lend_returned(struct vector *vector)
{
    struct slot *slot = vector->lender;
    if (!slot)
        return;
    lend_end(slot);
    /* A forked child lets its parent's slots alone. */
    if (slot->creator == getpid())
        slot_reset(slot);
}

SEXP pyrmap_slot_keep(SEXP pointer)
{
    struct slot *slot = R_ExternalPtrAddr(pointer);
    return Rf_ScalarLogical(!slot || lend_move(slot));
}

SEXP pyrmap_slot_lends(SEXP pointer)
{
    return Rf_ScalarLogical(slot_get(pointer)->lent != NULL);
}
