// SPDX-License-Identifier: Apache-2.0
/*
 * arrow_text.c - a consumer of Arrow C streams, written from the specification alone: takes a stream as a consumer
 * does (moved into another structure, the columns moved out of their batch), and writes its values as text.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};

static bool bit(const void *bits, int64_t index)
{
    return ((const uint8_t *)bits)[index / 8] >> (index % 8) & 1;
}

static void write_value(FILE *out, const struct ArrowSchema *schema, const struct ArrowArray *array,
                        int64_t index)
{
    const void *values = array->buffers[1];
    const int64_t *offsets = values;

    index += array->offset;
    if (array->buffers[0] && !bit(array->buffers[0], index)) {
        fputs("null", out);
        return;
    }
    if (schema->dictionary) {
        write_value(out, schema->dictionary, array->dictionary, ((const int32_t *)values)[index]);
        return;
    }
    switch (schema->format[0]) {
    case 'g':
        fprintf(out, "%.17g", ((const double *)values)[index]);
        break;
    case 'f':
        fprintf(out, "%.9g", (double)((const float *)values)[index]);
        break;
    case 'b':
        fputs(bit(values, index) ? "true" : "false", out);
        break;
    case 'c':
        fprintf(out, "%d", ((const int8_t *)values)[index]);
        break;
    case 'C':
        fprintf(out, "%d", ((const uint8_t *)values)[index]);
        break;
    case 'i':
        fprintf(out, "%" PRId32, ((const int32_t *)values)[index]);
        break;
    case 'L':
        fprintf(out, "%" PRIu64, ((const uint64_t *)values)[index]);
        break;
    case 'l':
        fprintf(out, "%" PRId64, ((const int64_t *)values)[index]);
        break;
    case 'U':
        fwrite((const char *)array->buffers[2] + offsets[index], 1,
               (size_t)(offsets[index + 1] - offsets[index]), out);
        break;
    case 't':
        if (strcmp(schema->format, "tdD") == 0)
            fprintf(out, "%" PRId32, ((const int32_t *)values)[index]);
        else
            fprintf(out, "%" PRId64, ((const int64_t *)values)[index]);
        break;
    default:
        fputs("?", out);
    }
}

static void write_column(FILE *out, const struct ArrowSchema *schema, const struct ArrowArray *array)
{
    fprintf(out, "%s %s%s%s %" PRId64 " null:", schema->name, schema->format,
            schema->dictionary ? " of " : "", schema->dictionary ? schema->dictionary->format : "",
            array->null_count);
    for (int64_t i = 0; i < array->length; i++) {
        fputc(' ', out);
        write_value(out, schema, array, i);
    }
    fprintf(out, "%s\n", schema->flags & 1 ? " (ordered)" : "");
}

/* Writes each column of the first batch as a line. Returns the address of the first column's values. */
const void *arrow_text(struct ArrowArrayStream *given, char *text, size_t size)
{
    struct ArrowArrayStream stream = *given;
    struct ArrowSchema schema;
    struct ArrowArray batch;
    FILE *out = fmemopen(text, size, "w");
    const void *first = NULL;

    given->release = NULL;
    if (stream.get_schema(&stream, &schema) || strcmp(schema.format, "+s") != 0)
        fputs("no schema\n", out);
    if (stream.get_next(&stream, &batch) == 0 && batch.release) {
        struct ArrowArray columns[64];
        int64_t count = batch.n_children;

        fprintf(out, "%" PRId64 " rows, %" PRId64 " of %" PRId64 " columns\n", batch.length, count,
                schema.n_children);
        for (int64_t i = 0; i < count; i++) {
            columns[i] = *batch.children[i];
            batch.children[i]->release = NULL;
        }
        batch.release(&batch);
        if (batch.release)
            fputs("the batch was not released\n", out);
        stream.release(&stream);
        for (int64_t i = 0; i < count; i++) {
            write_column(out, schema.children[i], &columns[i]);
            first = first ? first : columns[i].buffers[1];
            columns[i].release(&columns[i]);
            if (columns[i].release)
                fputs("a column was not released\n", out);
        }
    }
    schema.release(&schema);
    fclose(out);
    return first;
}

/* How many batches there are; each is released unread. */
int arrow_batches(struct ArrowArrayStream *given)
{
    struct ArrowArray batch;
    int count = 0;

    while (given->get_next(given, &batch) == 0 && batch.release) {
        batch.release(&batch);
        count++;
    }
    return count;
}
