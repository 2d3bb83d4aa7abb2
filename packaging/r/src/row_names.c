// SPDX-License-Identifier: Apache-2.0
#include "row_names.h"

#include <stdlib.h>

SEXP row_names_stored(SEXP frame)
{
    SEXP attribute = ATTRIB(frame);
    while (attribute != R_NilValue && TAG(attribute) != R_RowNamesSymbol)
        attribute = CDR(attribute);
    return attribute == R_NilValue ? R_NilValue : CAR(attribute);
}

static bool are_compact(SEXP names)
{
    return TYPEOF(names) == INTSXP && XLENGTH(names) == 2 && INTEGER_ELT(names, 0) == NA_INTEGER;
}

R_xlen_t row_names_count(SEXP names)
{
    if (!are_compact(names))
        return XLENGTH(names);
    /* Its sign tells R who chose the names. */
    int count = INTEGER_ELT(names, 1);
    return count == NA_INTEGER ? 0 : abs(count);
}

bool row_names_are_counted(SEXP names)
{
    if (TYPEOF(names) != INTSXP)
        return false;
    R_xlen_t count = are_compact(names) ? 0 : XLENGTH(names);
    for (R_xlen_t i = 0; i < count; i++)
        if (INTEGER_ELT(names, i) != i + 1)
            return false;
    return true;
}
