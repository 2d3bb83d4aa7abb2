// SPDX-License-Identifier: Apache-2.0
/*
 * text_vector.c - data2 is NULL, or a character vector of the strings that were made so far. "" stands there for those that were not:
 * an empty string is made again each time, which costs nothing.
 */
#include "text_vector.h"

#include <R_ext/Altrep.h>
#include <stdint.h>
#include <string.h>

static R_altrep_class_t string_class;

bool is_text_vector(SEXP x)
{
    return ALTREP(x) && R_altrep_inherits(x, string_class);
}

static int64_t offset_at(const struct vector *vector, R_xlen_t i)
{
    int64_t offset;
    memcpy(&offset, vector->offsets + (size_t)i * sizeof(offset), sizeof(offset));
    return offset;
}

static SEXP make_string(const struct vector *vector, R_xlen_t i)
{
    if (vector->missing && vector->missing[i])
        return NA_STRING;
    int64_t begin = offset_at(vector, i), end = offset_at(vector, i + 1);
    return Rf_mkCharLenCE((const char *)vector->address + begin, (int)(end - begin), CE_UTF8);
}

/* The vector behind x, perhaps with "" in the place of strings. */
static SEXP strings_of(SEXP x)
{
    SEXP strings = R_altrep_data2(x);
    if (strings == R_NilValue) {
        strings = Rf_allocVector(STRSXP, vector_of(x)->length);
        R_set_altrep_data2(x, strings);
    }
    return strings;
}

static SEXP method_elt(SEXP x, R_xlen_t i)
{
    const struct vector *vector = vector_of(x);
    SEXP strings = strings_of(x), string = STRING_ELT(strings, i);
    if (vector->complete || string != R_BlankString)
        return string;
    /* R takes what it gets here for protected by x. */
    string = make_string(vector, i);
    SET_STRING_ELT(strings, i, string);
    return string;
}

static SEXP all_strings(SEXP x)
{
    struct vector *vector = vector_of(x);
    for (R_xlen_t i = 0; !vector->complete && i < vector->length; i++)
        method_elt(x, i);
    if (!vector->complete)
        vector->copied += vector->size;
    vector->complete = true;
    return strings_of(x);
}

static void method_set_elt(SEXP x, R_xlen_t i, SEXP string)
{
    SET_STRING_ELT(all_strings(x), i, string);
    vector_of(x)->whole->remembered = false;
}

static R_xlen_t method_length(SEXP x)
{
    return vector_of(x)->length;
}

static void *method_dataptr(SEXP x, Rboolean writable)
{
    if (writable)
        vector_of(x)->whole->remembered = false;
    return (void *)DATAPTR_RO(all_strings(x));
}

static const void *method_dataptr_or_null(SEXP x)
{
    return vector_of(x)->complete ? DATAPTR_RO(R_altrep_data2(x)) : NULL;
}

static int method_no_na(SEXP x)
{
    return !vector_of(x)->complete && !vector_of(x)->missing;
}

static Rboolean method_inspect(SEXP x, int pre, int deep, int pvec, void (*inspect)(SEXP, int, int, int))
{
    (void)pre, (void)deep, (void)pvec, (void)inspect;
    const struct vector *vector = vector_of(x);
    Rprintf("pyrmap %s, %s\n", vector->path, vector->complete ? "copied" : "mapped");
    return TRUE;
}

void text_vector_register(DllInfo *info)
{
    string_class = R_make_altstring_class("mapped_string", "pyrmap", info);
    R_set_altrep_Length_method(string_class, method_length);
    R_set_altrep_Inspect_method(string_class, method_inspect);
    R_set_altvec_Dataptr_method(string_class, method_dataptr);
    R_set_altvec_Dataptr_or_null_method(string_class, method_dataptr_or_null);
    R_set_altstring_Elt_method(string_class, method_elt);
    R_set_altstring_Set_elt_method(string_class, method_set_elt);
    R_set_altstring_No_NA_method(string_class, method_no_na);
}

SEXP text_vector_new(struct vector *whole, SEXP holder, const char *bytes, const char *offsets,
                     const char *missing, R_xlen_t count)
{
    SEXP numbers = PROTECT(vector_part(whole, holder, (void *)bytes, RECORD_UINT8, SPECIAL_RAW, count));
    struct vector *vector = vector_of(numbers);
    vector->offsets = offsets;
    vector->missing = missing;
    vector->size = (size_t)offset_at(vector, count);
    SEXP x = R_new_altrep(string_class, R_altrep_data1(numbers), R_NilValue);
    UNPROTECT(1);
    return x;
}
