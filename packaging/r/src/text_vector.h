// SPDX-License-Identifier: Apache-2.0
/*
 * text_vector.h - R's character vectors (ALTREP) whose text lies in a mapped bundle.
 *
 * R makes a string of what it looks at, once: making a million of them takes longer than to bring them here.
 */
#ifndef PYRMAP_TEXT_VECTOR_H
#define PYRMAP_TEXT_VECTOR_H

#include "vector.h"

void text_vector_register(DllInfo *info);

bool is_text_vector(SEXP x);

/*
 * A vector of text in the mapping of whole, which is valid UTF-8 and has no NUL. offsets: count + 1 of int64_t, at any address, as
 * the format has them; missing: a byte for each string, or NULL.
 */
SEXP text_vector_new(struct vector *whole, SEXP holder, const char *bytes, const char *offsets,
                     const char *missing, R_xlen_t count);

#endif
