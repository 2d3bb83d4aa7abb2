// SPDX-License-Identifier: Apache-2.0
#include "protocol/view.h"

#include "protocol/number.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    CHUNK_SIZE = 8192,
    LINE_MAX = NUMBER_TEXT_MAX + 1,
    NPY_ALIGN = 64,
    NPY_PREFIX = 10, /* magic, version, header length */
    NPY_HEADER_MAX = 4 * NPY_ALIGN,
};

/* A window of elements: we read many at once instead of one for each line. */
struct chunk {
    const struct view_source *source;
    size_t element_size;
    int64_t first, end; /* `bytes` holds these elements */
    char bytes[CHUNK_SIZE];
};

static int chunk_init(struct chunk *chunk, const struct view_source *source)
{
    chunk->source = source;
    chunk->element_size = record_dtype_size(source->dtype);
    chunk->first = chunk->end = 0;
    return record_dtype_numpy(source->dtype) ? 0 : -EINVAL;
}

/* Reads size bytes, fewer only at the segment's end or before an error. Returns how many. */
static ssize_t source_read(const struct view_source *source, char *buffer, size_t size, off_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t count = source->read(source->context, buffer + done, size - done, offset + (off_t)done);

        if (count < 0 && !done)
            return count;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    return (ssize_t)done;
}

/* Points *value at an element below the source's length. */
static int chunk_element(struct chunk *chunk, int64_t element, const char **value)
{
    int64_t size = (int64_t)chunk->element_size;

    if (element < chunk->first || element >= chunk->end) {
        int64_t wanted = chunk->source->length - element;
        ssize_t count;

        if (wanted > CHUNK_SIZE / size)
            wanted = CHUNK_SIZE / size;
        count = source_read(chunk->source, chunk->bytes, (size_t)(wanted * size), element * size);
        if (count < 0)
            return (int)count;
        chunk->first = element;
        chunk->end = element + count / size;
        if (chunk->end == element)
            return -EIO;
    }
    *value = chunk->bytes + (element - chunk->first) * size;
    return 0;
}

/* Renders an element and its newline. Returns the line's length or -errno. */
static int chunk_line(struct chunk *chunk, int64_t element, char *line)
{
    const char *value = NULL;
    int length;
    int error;

    error = chunk_element(chunk, element, &value);
    if (error)
        return error;
    length = number_text(line, chunk->source->dtype, value);
    line[length] = '\n';
    return length + 1;
}

/* As view_text_seek, for `steps` elements. */
static int chunk_seek(struct chunk *chunk, struct view_cursor *cursor, off_t offset, int64_t steps)
{
    char line[LINE_MAX];

    if (offset < cursor->offset)
        *cursor = (struct view_cursor){0};
    for (; cursor->element < chunk->source->length; steps--) {
        int length = chunk_line(chunk, cursor->element, line);

        if (length < 0)
            return length;
        if (offset - cursor->offset < length)
            return 1;
        if (!steps)
            return 0;
        cursor->offset += length;
        cursor->element++;
    }
    return 1;
}

int view_text_seek(const struct view_source *source, struct view_cursor *cursor, off_t offset)
{
    struct chunk chunk;
    int error;

    error = chunk_init(&chunk, source);
    if (error)
        return error;
    return chunk_seek(&chunk, cursor, offset, VIEW_SEEK_STEP);
}

ssize_t view_text_read(const struct view_source *source, struct view_cursor *cursor, char *buffer,
                       size_t size, off_t offset)
{
    struct chunk chunk;
    char line[LINE_MAX];
    size_t done = 0;
    int result;

    if (offset < 0)
        return -EINVAL;
    result = chunk_init(&chunk, source);
    if (result)
        return result;
    do {
        result = chunk_seek(&chunk, cursor, offset, VIEW_SEEK_STEP);
        if (result < 0)
            return result;
    } while (!result);
    while (done < size && cursor->element < source->length) {
        /* 0 but for the first line, in whose middle the read may begin. */
        size_t skip = (size_t)(offset + (off_t)done - cursor->offset);
        int length = chunk_line(&chunk, cursor->element, line);
        size_t count;

        if (length < 0)
            return done ? (ssize_t)done : length;
        count = (size_t)length - skip;
        if (count > size - done) {
            memcpy(buffer + done, line + skip, size - done);
            return (ssize_t)size;
        }
        memcpy(buffer + done, line + skip, count);
        done += count;
        cursor->offset += length;
        cursor->element++;
    }
    return (ssize_t)done;
}

off_t view_text_size(const struct view_source *source)
{
    struct view_cursor cursor = {0};
    int result;

    if (source->length > VIEW_TEXT_EXACT)
        return 0;
    do {
        result = view_text_seek(source, &cursor, INT64_MAX);
        if (result < 0)
            return result;
    } while (!result);
    return cursor.offset;
}

/* Returns the header's length or -errno. */
static int npy_header(const struct view_source *source, char header[NPY_HEADER_MAX])
{
    const char *descr = record_dtype_numpy(source->dtype);
    const char *order = source->fortran && source->ndim > 1 ? "True" : "False";
    int end, padded;

    if (!descr || source->ndim < 0 || source->ndim > RECORD_NDIM_MAX)
        return -EINVAL;
    end = NPY_PREFIX;
    end += sprintf(header + end, "{'descr': '%s', 'fortran_order': %s, 'shape': (", descr, order);
    if (!source->ndim)
        end += sprintf(header + end, "%" PRId64 ",", source->length);
    for (int32_t i = 0; i < source->ndim; i++)
        end += sprintf(header + end, "%s%" PRId64 "%s", i ? " " : "", source->shape[i],
                       i + 1 < source->ndim || !i ? "," : "");
    end += sprintf(header + end, "), }");
    padded = (end + NPY_ALIGN) / NPY_ALIGN * NPY_ALIGN;
    memset(header + end, ' ', (size_t)(padded - end));
    header[padded - 1] = '\n';
    memcpy(header, "\x93NUMPY\x01\x00", NPY_PREFIX - 2);
    header[NPY_PREFIX - 2] = (char)((padded - NPY_PREFIX) & 0xFF);
    header[NPY_PREFIX - 1] = (char)((padded - NPY_PREFIX) >> 8);
    return padded;
}

static off_t npy_data_size(const struct view_source *source)
{
    return source->length * (off_t)record_dtype_size(source->dtype);
}

off_t view_npy_size(const struct view_source *source)
{
    char header[NPY_HEADER_MAX];
    int length = npy_header(source, header);

    return length < 0 ? length : length + npy_data_size(source);
}

ssize_t view_npy_read(const struct view_source *source, char *buffer, size_t size, off_t offset)
{
    char header[NPY_HEADER_MAX];
    int length = npy_header(source, header);
    size_t done = 0;
    off_t left;
    ssize_t count;

    if (length < 0)
        return length;
    if (offset < 0)
        return -EINVAL;
    if (offset < length) {
        done = (size_t)(length - offset);
        if (done > size)
            done = size;
        memcpy(buffer, header + offset, done);
        offset += (off_t)done;
    }
    left = length + npy_data_size(source) - offset;
    if (done == size || left <= 0)
        return (ssize_t)done;
    size -= done;
    if (size > (size_t)left)
        size = (size_t)left;
    count = source_read(source, buffer + done, size, offset - length);
    if (count <= 0 && done)
        return (ssize_t)done;
    return count ? (ssize_t)done + count : -EIO;
}
