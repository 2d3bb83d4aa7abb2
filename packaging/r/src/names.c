// SPDX-License-Identifier: Apache-2.0
/*
 * names.c - names and dimnames, which NumPy's arrays have not, from an input to a result of the same shape.
 *
 * They do not travel: R keeps them, and gives them to a result that has as many values, or the same dim, and no names
 * already. In lists this holds for each member, which is found by its name, in lists without names by its place.
 */
#include "names.h"

#include <stdbool.h>
#include <string.h>

enum { KEPT_NAMES, KEPT_DIMNAMES, KEPT_DIM, KEPT_LENGTH, KEPT_MEMBERS, KEPT_FIELDS };

static bool is_list(SEXP x)
{
    return TYPEOF(x) == VECSXP && !Rf_isObject(x);
}

static SEXP keep(SEXP x, SEXP members)
{
    PROTECT(members);
    SEXP kept = PROTECT(Rf_allocVector(VECSXP, KEPT_FIELDS));
    SET_VECTOR_ELT(kept, KEPT_NAMES, Rf_getAttrib(x, R_NamesSymbol));
    SET_VECTOR_ELT(kept, KEPT_DIMNAMES, Rf_getAttrib(x, R_DimNamesSymbol));
    SET_VECTOR_ELT(kept, KEPT_DIM, Rf_getAttrib(x, R_DimSymbol));
    SET_VECTOR_ELT(kept, KEPT_LENGTH, Rf_ScalarReal((double)XLENGTH(x)));
    SET_VECTOR_ELT(kept, KEPT_MEMBERS, members);
    UNPROTECT(2);
    return kept;
}

SEXP pyrmap_names_of(SEXP x)
{
    if (is_list(x)) {
        bool any = false;
        SEXP members = PROTECT(Rf_allocVector(VECSXP, XLENGTH(x)));
        for (R_xlen_t i = 0; i < XLENGTH(x); i++) {
            SET_VECTOR_ELT(members, i, pyrmap_names_of(VECTOR_ELT(x, i)));
            any |= VECTOR_ELT(members, i) != R_NilValue;
        }
        SEXP kept = any ? keep(x, members) : R_NilValue;
        UNPROTECT(1);
        return kept;
    }
    if (!Rf_isVectorAtomic(x) || ATTRIB(x) == R_NilValue)
        return R_NilValue;
    SEXP dim = Rf_getAttrib(x, R_DimSymbol);
    bool named = dim == R_NilValue ? Rf_getAttrib(x, R_NamesSymbol) != R_NilValue
                                   : LENGTH(dim) == 1 || Rf_getAttrib(x, R_DimNamesSymbol) != R_NilValue;
    return named ? keep(x, R_NilValue) : R_NilValue;
}

static bool same_dim(SEXP a, SEXP b)
{
    return a != R_NilValue && b != R_NilValue && LENGTH(a) == LENGTH(b) &&
           memcmp(INTEGER(a), INTEGER(b), (size_t)LENGTH(a) * sizeof(int)) == 0;
}

static void put_on_vector(SEXP x, SEXP kept)
{
    SEXP dim = VECTOR_ELT(kept, KEPT_DIM), of_x = Rf_getAttrib(x, R_DimSymbol);
    bool as_long = (double)XLENGTH(x) == Rf_asReal(VECTOR_ELT(kept, KEPT_LENGTH));
    bool unnamed_vector = of_x == R_NilValue && Rf_getAttrib(x, R_NamesSymbol) == R_NilValue;
    if (dim == R_NilValue && unnamed_vector && as_long)
        Rf_setAttrib(x, R_NamesSymbol, VECTOR_ELT(kept, KEPT_NAMES));
    /* R has vectors and arrays of one dimension, Python only these. */
    if (dim != R_NilValue && LENGTH(dim) == 1 && unnamed_vector && as_long)
        Rf_setAttrib(x, R_DimSymbol, of_x = dim);
    if (same_dim(dim, of_x) && Rf_getAttrib(x, R_DimNamesSymbol) == R_NilValue)
        Rf_setAttrib(x, R_DimNamesSymbol, VECTOR_ELT(kept, KEPT_DIMNAMES));
}

/* The member's place in x, which has names; -1 without one. */
static R_xlen_t place_of(SEXP name, SEXP names)
{
    for (R_xlen_t i = 0; i < XLENGTH(names); i++)
        if (Rf_NonNullStringMatch(STRING_ELT(names, i), name))
            return i;
    return -1;
}

static void put(SEXP x, SEXP kept)
{
    SEXP members = VECTOR_ELT(kept, KEPT_MEMBERS);
    if (members == R_NilValue) {
        if (Rf_isVectorAtomic(x))
            put_on_vector(x, kept);
        return;
    }
    if (!is_list(x))
        return;
    SEXP names = VECTOR_ELT(kept, KEPT_NAMES), of_x = PROTECT(Rf_getAttrib(x, R_NamesSymbol));
    bool by_place = names == R_NilValue && of_x == R_NilValue && XLENGTH(x) == XLENGTH(members);
    bool by_name = names != R_NilValue && of_x != R_NilValue;
    for (R_xlen_t i = 0; (by_place || by_name) && i < XLENGTH(members); i++) {
        SEXP of_member = VECTOR_ELT(members, i);
        R_xlen_t place = of_member == R_NilValue ? -1 : by_place ? i : place_of(STRING_ELT(names, i), of_x);
        if (place >= 0)
            put(VECTOR_ELT(x, place), of_member);
    }
    UNPROTECT(1);
}

SEXP pyrmap_names_put(SEXP x, SEXP kept)
{
    put(x, kept);
    return x;
}
