// SPDX-License-Identifier: Apache-2.0
/*
 * bundle.h - several arrays, tables and text in one segment: what R's side of the format has in common.
 *
 * A segment is a safetensors file: eight bytes with the length of a JSON header, the header, and the tensors without holes.
 * What tensors cannot say (lists, frames, names, R's types) is JSON again, in the header's __metadata__.
 */
#ifndef PYRMAP_BUNDLE_H
#define PYRMAP_BUNDLE_H

#define R_NO_REMAP
#include <R.h>
#include <Rinternals.h>
#include <stddef.h>

enum {
    BUNDLE_HEADER_MAX = 1 << 20,
    BUNDLE_TENSORS_MAX = 10000,
    BUNDLE_ALIGNMENT = 64, /* of the first tensor */
    BUNDLE_VERSION = 1,
    BUNDLE_NESTED_MAX = 14, /* lists in lists: each is two levels of JSON */
};

/* The dtypes of tensors: X(name in the header, bytes of an element). */
#define BUNDLE_DTYPES(X)                                                                                     \
    X(F64, 8)                                                                                                \
    X(I64, 8)                                                                                                \
    X(U64, 8) X(F32, 4) X(I32, 4) X(U32, 4) X(F16, 2) X(I16, 2) X(U16, 2) X(I8, 1) X(U8, 1) X(BOOL, 1)

enum bundle_dtype {
#define BUNDLE_DTYPE(name, size) BUNDLE_##name,
    BUNDLE_DTYPES(BUNDLE_DTYPE)
#undef BUNDLE_DTYPE
        BUNDLE_DTYPES_COUNT
};

const char *bundle_dtype_name(enum bundle_dtype dtype);
size_t bundle_dtype_size(enum bundle_dtype dtype);

/*
 * Whether data, or one of arguments (a list or NULL), can go; an R condition that names the member if not. Which of R's
 * special types are in it: enum vector_special. na: as in run_python().
 */
SEXP pyrmap_bundle_check(SEXP data, SEXP arguments, SEXP na);

/*
 * Begins a round with a bundle as its input, and publishes it. arguments: a list of two, args and kwargs, or NULL. type, dtype: as in
 * pyrmap_slot_fill, of data that would have gone without a bundle; else 0. Returns what pyrmap_slot_fill does.
 */
SEXP pyrmap_bundle_fill(SEXP slot, SEXP data, SEXP arguments, SEXP na, SEXP type, SEXP dtype);

/* A bundle as a raw vector, and back: for tests, and for files. special: of enum vector_special. */
SEXP pyrmap_bundle_bytes(SEXP data, SEXP na);
SEXP pyrmap_bundle_object(SEXP bytes, SEXP special);

#endif
