// SPDX-License-Identifier: Apache-2.0
/*
 * Bundles of any bytes: what data.txt shows of them is short and printable, and each read lies in the file. Half
 * of the inputs are a header, behind which some numbers follow, so that descriptions are reached soon.
 */
#include "protocol/bundle_text.h"

#include "invariant.h"
#include <errno.h>

enum { BEHIND = 64, TEXT_MAX = 1 << 17 };

struct file {
    const uint8_t *bytes;
    size_t size;
};

static ssize_t read_file(void *context, void *buffer, size_t size, off_t offset)
{
    const struct file *file = context;

    INVARIANT(offset >= 0 && (uint64_t)offset <= file->size && size <= file->size - (size_t)offset);
    memcpy(buffer, file->bytes + offset, size);
    return (ssize_t)size;
}

static void check(const uint8_t *bytes, size_t size)
{
    struct file file = {bytes, size};
    struct bundle_source source = {read_file, &file, size};
    struct bundle bundle;
    size_t length = 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, &length);
    int result = bundle_open(&bundle, &source);

    INVARIANT(out && (result == 0 || result == -EINVAL));
    INVARIANT((result == 0) == (bundle.fault[0] == '\0'));
    if (result == 0)
        INVARIANT(bundle_entries(&bundle) <= size);
    bundle_text_write(&bundle, result, out);
    bundle_close(&bundle);
    INVARIANT(fclose(out) == 0 && length > 0 && length < TEXT_MAX && text[length - 1] == '\n');
    for (const char *at = text; at < text + length; at += json_character(at, text + length)) {
        INVARIANT(json_character(at, text + length) > 0);
        INVARIANT((unsigned char)*at >= ' ' || *at == '\n');
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t header = size > 0 ? size - 1 : 0;
    uint8_t *bytes;

    if (size == 0)
        return 0;
    /* Without room behind it, so that the sanitizer sees a read beyond. */
    if (data[0] & 1) {
        bytes = malloc(sizeof(header) + header + BEHIND);
        INVARIANT(bytes != NULL);
        memcpy(bytes, &header, sizeof(header));
        memcpy(bytes + sizeof(header), data + 1, header);
        for (size_t i = 0; i < BEHIND; i++)
            bytes[sizeof(header) + header + i] = (uint8_t)(i % 8 ? 0 : i / 8);
        check(bytes, sizeof(header) + header + BEHIND);
    } else {
        bytes = malloc(size);
        INVARIANT(bytes != NULL);
        memcpy(bytes, data + 1, size - 1);
        check(bytes, size - 1);
    }
    free(bytes);
    return 0;
}
