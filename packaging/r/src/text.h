// SPDX-License-Identifier: Apache-2.0
/*
 * text.h - UTF-8, and texts that grow.
 *
 * Their memory is R_alloc's: it lives until the call from R returns or fails.
 */
#ifndef PYRMAP_TEXT_H
#define PYRMAP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *bytes; /* not terminated */
    size_t size;
    size_t room;
};

void text_add(struct text *text, const void *bytes, size_t size);
void text_add_string(struct text *text, const char *string);
void text_add_number(struct text *text, long long number);
/* As a JSON string, in quotes. bytes: valid UTF-8. */
void text_add_json(struct text *text, const char *bytes, size_t size);

/* Whether the bytes are UTF-8 as RFC 3629 has it (no surrogates, nothing overlong) without a NUL. */
bool text_is_valid(const char *bytes, size_t size);

#endif
