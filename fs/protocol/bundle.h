// SPDX-License-Identifier: Apache-2.0
/*
 * bundle.h - several arrays in one: the layout of safetensors. 8 bytes N (little-endian), N bytes of JSON that
 * say which tensors there are, then the tensors.
 *
 * What tensors cannot say is in the JSON text `pyrmap` of the header's __metadata__: {"version": 1, "root": NODE}.
 * A client wrote all of it. The filesystem reads it to show it, and nothing else there depends on it; the R package
 * makes its objects of it. To open a bundle takes little more than its header has bytes, at most 1 MiB, and
 * BUNDLE_TENSORS_MAX tensors, which lie one behind the other, without a hole, from the header to the end.
 */
#ifndef PYRMAPFS_BUNDLE_H
#define PYRMAPFS_BUNDLE_H

#include "protocol/json.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    BUNDLE_PREFIX = 8,
    BUNDLE_HEADER_MAX = 1 << 20,
    BUNDLE_TENSORS_MAX = 10000,
};

/*
 * Checks that the header of a bundle of size bytes lies within the bundle. first has its first `got` bytes:
 * BUNDLE_PREFIX of them, or all. Returns NULL, or the fault in a few words.
 */
const char *bundle_fault(const void *first, size_t got, uint64_t size);

/* Where the bytes are. */
struct bundle_source {
    /* pread(2): bytes read, 0 at the end, or -errno. */
    ssize_t (*read)(void *context, void *buffer, size_t size, off_t offset);
    void *context;
    uint64_t size;
};

enum bundle_dtype {
    BUNDLE_F64,
    BUNDLE_F32,
    BUNDLE_F16,
    BUNDLE_I64,
    BUNDLE_I32,
    BUNDLE_I16,
    BUNDLE_I8,
    BUNDLE_U64,
    BUNDLE_U32,
    BUNDLE_U16,
    BUNDLE_U8,
    BUNDLE_BOOL,
    BUNDLE_DTYPES
};

/* A tensor whose bytes are known to lie in the bundle: as many as its shape and dtype say. */
struct bundle_tensor {
    struct json name;  /* text of the header */
    struct json shape; /* an array */
    uint32_t hash;     /* of the name */
    enum bundle_dtype dtype;
    uint64_t begin; /* in the file */
    uint64_t count; /* elements */
};

struct bundle {
    struct bundle_source source;
    char *header;                  /* its text */
    char *description;             /* the text of `pyrmap`; NULL: there is none */
    struct json root;              /* NODE; .at is NULL if there is none */
    struct bundle_tensor *tensors; /* in the order of the header */
    struct bundle_tensor **names;  /* the same, to be found by name */
    size_t count;
    char fault[96]; /* what is damaged; "" if nothing is */
};

/*
 * Reads and checks the header. Returns 0; -EINVAL and a bundle->fault for one that is damaged; or -errno,
 * and bundle->fault is empty. source->context stays in use until bundle_close, which is due in any case.
 */
int bundle_open(struct bundle *bundle, const struct bundle_source *source);
void bundle_close(struct bundle *bundle);

/* How many members the whole has: the columns of a table, the items of a list; 1 for any other value. */
size_t bundle_entries(const struct bundle *bundle);

/* A tensor by its name, or NULL. */
const struct bundle_tensor *bundle_find(const struct bundle *bundle, struct json name);

/* "F64" and so on, and the bytes of an element. */
const char *bundle_dtype_name(enum bundle_dtype dtype);
size_t bundle_dtype_size(enum bundle_dtype dtype);

/* Reads count elements from first on, which must be the tensor's. 0 or -errno; -EIO if the file is shorter by now. */
int bundle_read(const struct bundle *bundle, const struct bundle_tensor *tensor, uint64_t first,
                uint64_t count, void *buffer);

#endif
