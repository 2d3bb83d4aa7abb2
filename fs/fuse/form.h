// SPDX-License-Identifier: Apache-2.0
/*
 * form.h - whether a request is as long as its kind needs, and its names end inside it.
 *
 * libfuse believes the lengths that a request says, and looks for the end of a name wherever that is. So one that is
 * not whole must never reach it.
 */
#ifndef PYRMAPFS_FORM_H
#define PYRMAPFS_FORM_H

#include <stdbool.h>
#include <stddef.h>

/* bytes: a request from its header on, which must be there. One of a kind that we do not know is whole. */
bool form_is_whole(const void *bytes, size_t size);
/* Whether the client, or the kernel, waits for an answer to requests of that kind. */
bool form_wants_answer(const void *bytes);

#endif
