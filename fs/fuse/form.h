// SPDX-License-Identifier: Apache-2.0
/*
 * form.h - whether a request is as long as its kind needs, its names end inside it, and its offsets lie in a file.
 *
 * libfuse believes the lengths that a request says, and looks for the end of a name wherever that is; whoever reads
 * or writes believes that an offset is not negative. The kernel keeps to all that. A request that does not must
 * never reach them.
 */
#ifndef PYRMAPFS_FORM_H
#define PYRMAPFS_FORM_H

#include <stdbool.h>
#include <stddef.h>

/* bytes: a request from its header on, which must be there. One of a kind that we do not know is sound. */
bool form_is_sound(const void *bytes, size_t size);
/* Whether the client, or the kernel, waits for an answer to requests of that kind. */
bool form_wants_answer(const void *bytes);

#endif
