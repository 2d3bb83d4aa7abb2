// SPDX-License-Identifier: Apache-2.0
#include "protocol/bundle_text.h"

#include "protocol/number.h"
#include "protocol/record.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One value or name: cut, printable, in UTF-8. */
struct cell {
    char text[BUNDLE_TEXT_VALUE + 4]; /* "..." and NUL behind it */
};

static struct cell cell_of(const char *text)
{
    struct cell cell;

    snprintf(cell.text, sizeof(cell.text), "%s", text);
    return cell;
}

/* Of bytes that may be anything. more: they go on. */
static struct cell cell_of_bytes(const char *bytes, size_t size, bool more)
{
    struct cell cell = {""};
    const char *at = bytes, *end = bytes + size;
    size_t length = 0;

    while (at < end) {
        size_t character = json_character(at, end);

        if (length + (character ? character : 1) > BUNDLE_TEXT_VALUE) {
            more = true;
            break;
        }
        if (!character || (character == 1 && ((unsigned char)*at < ' ' || *at == 0x7f))) {
            if (!character && more && end - at < 4)
                break; /* the rest of it was not read */
            cell.text[length++] = '?';
            at++;
        } else {
            memcpy(cell.text + length, at, character);
            length += character;
            at += character;
        }
    }
    strcpy(cell.text + length, more ? "..." : "");
    return cell;
}

static struct cell cell_of_string(struct json string)
{
    char text[BUNDLE_TEXT_VALUE + 1];
    size_t length = json_text(string, text, sizeof(text));

    return cell_of_bytes(text, length, false);
}

/* How many columns of a terminal it takes, about. */
static int width(const struct cell *cell)
{
    int count = 0;

    for (const char *at = cell->text; *at; at++)
        count += (*at & 0xc0) != 0x80;
    return count;
}

static void pad(FILE *out, const struct cell *cell, int columns)
{
    fprintf(out, "%s%*s", cell->text, columns - width(cell), "");
}

/* --- numbers of each dtype --- */

static double half_to_double(uint16_t bits)
{
    double mantissa = bits & 0x3ff, sign = bits & 0x8000 ? -1 : 1;
    int exponent = bits >> 10 & 0x1f;

    if (exponent == 0x1f)
        return bits & 0x3ff ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(mantissa + 1024, exponent - 25) : ldexp(mantissa, -24));
}

union element {
    uint64_t u64;
    int64_t i64;
    double f64;
    uint32_t u32;
    int32_t i32;
    uint16_t u16;
    int16_t i16;
    uint8_t u8;
    int8_t i8;
};

static struct cell cell_of_number(enum bundle_dtype dtype, const union element *value)
{
    struct cell cell = {""};
    double half;

    switch (dtype) {
    case BUNDLE_F64:
        cell.text[number_text(cell.text, RECORD_FLOAT64, value)] = '\0';
        return cell;
    case BUNDLE_F32:
        cell.text[number_text(cell.text, RECORD_FLOAT32, value)] = '\0';
        return cell;
    case BUNDLE_F16:
        half = half_to_double(value->u16);
        cell.text[number_text(cell.text, RECORD_FLOAT64, &half)] = '\0';
        return cell;
    case BUNDLE_I64:
        snprintf(cell.text, sizeof(cell.text), "%" PRId64, value->i64);
        return cell;
    case BUNDLE_I32:
        snprintf(cell.text, sizeof(cell.text), "%" PRId32, value->i32);
        return cell;
    case BUNDLE_I16:
        snprintf(cell.text, sizeof(cell.text), "%d", value->i16);
        return cell;
    case BUNDLE_I8:
        snprintf(cell.text, sizeof(cell.text), "%d", value->i8);
        return cell;
    case BUNDLE_U64:
        snprintf(cell.text, sizeof(cell.text), "%" PRIu64, value->u64);
        return cell;
    case BUNDLE_U32:
        snprintf(cell.text, sizeof(cell.text), "%" PRIu32, value->u32);
        return cell;
    case BUNDLE_U16:
    case BUNDLE_U8:
        snprintf(cell.text, sizeof(cell.text), "%u", dtype == BUNDLE_U8 ? value->u8 : value->u16);
        return cell;
    case BUNDLE_BOOL:
        return cell_of(value->u8 ? "TRUE" : "FALSE");
    case BUNDLE_DTYPES:
        break;
    }
    return cell;
}

/* --- values of each type --- */

/* An array of the description, or a tensor alone. */
struct array {
    const struct bundle *bundle;
    struct json node; /* .at is NULL: a tensor alone */
    const struct bundle_tensor *tensor;
    uint64_t count; /* values */
};

static struct cell damaged(const char *why)
{
    struct cell cell;

    snprintf(cell.text, sizeof(cell.text), "damaged: %s", why);
    return cell;
}

/* Whether the node stands for an array whose tensor there is. Each value of it searches the node: so it is short. */
static bool array_find(const struct bundle *bundle, struct json node, struct array *array)
{
    const struct bundle_tensor *tensor = bundle_find(bundle, json_get(node, "tensor"));
    struct json type = json_get(node, "type");

    if (!tensor || !json_is_string(type) || node.end - node.at > BUNDLE_TEXT_NODE)
        return false;
    *array = (struct array){bundle, node, tensor, tensor->count};
    if (json_is(type, "character")) {
        const struct bundle_tensor *offsets = bundle_find(bundle, json_get(node, "offsets"));

        if (!offsets || offsets->dtype != BUNDLE_I64 || !offsets->count || tensor->dtype != BUNDLE_U8)
            return false;
        array->count = offsets->count - 1;
    } else if (json_is(type, "complex")) {
        array->count /= 2;
    }
    return true;
}

static struct cell text_value(const struct array *array, uint64_t index)
{
    const struct bundle_tensor *offsets = bundle_find(array->bundle, json_get(array->node, "offsets"));
    const struct bundle_tensor *missing = bundle_find(array->bundle, json_get(array->node, "na"));
    char bytes[BUNDLE_TEXT_VALUE + 4];
    int64_t bounds[2];
    uint8_t absent = 0;
    uint64_t size;

    if (missing && missing->dtype == BUNDLE_U8 &&
        bundle_read(array->bundle, missing, index, 1, &absent) == 0 && absent)
        return cell_of("NA");
    if (!offsets || bundle_read(array->bundle, offsets, index, 2, bounds) < 0)
        return damaged("no offsets");
    if (bounds[0] < 0 || bounds[1] < bounds[0] || (uint64_t)bounds[1] > array->tensor->count)
        return damaged("offsets that do not ascend");
    size = (uint64_t)(bounds[1] - bounds[0]);
    if (size > sizeof(bytes))
        size = sizeof(bytes);
    if (bundle_read(array->bundle, array->tensor, (uint64_t)bounds[0], size, bytes) < 0)
        return damaged("unreadable");
    return cell_of_bytes(bytes, size, (uint64_t)(bounds[1] - bounds[0]) > size);
}

static struct cell level(const struct array *factor, int32_t code)
{
    struct json node = json_get(factor->node, "levels");
    struct array levels;

    if (code == INT32_MIN)
        return cell_of("NA");
    if (!array_find(factor->bundle, node, &levels) || !json_is(json_get(node, "type"), "character"))
        return damaged("no levels");
    if (code < 1 || (uint64_t)code > levels.count)
        return damaged("a code without level");
    return text_value(&levels, (uint64_t)code - 1);
}

/* A moment in UTC. */
static struct cell moment(double seconds, const char *format)
{
    struct cell cell = {""};
    struct tm parts;
    time_t whole;

    if (!isfinite(seconds))
        return cell_of("NA");
    if (fabs(seconds) > 1e12)
        return cell_of("beyond the calendar");
    whole = (time_t)seconds - (seconds < (double)(time_t)seconds);
    gmtime_r(&whole, &parts);
    strftime(cell.text, sizeof(cell.text), format, &parts);
    return cell;
}

static bool is_missing_double(const union element *value)
{
    return isnan(value->f64) && value->u32 == 1954; /* R's */
}

static double as_double(const struct array *array, const union element *value)
{
    if (array->tensor->dtype == BUNDLE_I64)
        return value->i64 == INT64_MIN ? (double)NAN : (double)value->i64;
    if (array->tensor->dtype == BUNDLE_I32)
        return value->i32 == INT32_MIN ? (double)NAN : (double)value->i32;
    return array->tensor->dtype == BUNDLE_F64 ? value->f64 : (double)NAN;
}

static struct cell time_value(const struct array *array, const union element *value)
{
    double number = as_double(array, value);
    bool nanoseconds = json_is(json_get(array->node, "unit"), "ns");
    struct json type = json_get(array->node, "type");
    struct cell cell, units;

    if (json_is(type, "date"))
        return moment(number * 86400, "%Y-%m-%d");
    if (nanoseconds)
        number /= 1e9;
    if (json_is(type, "posixct"))
        return moment(number, "%Y-%m-%d %H:%M:%SZ");
    if (!isfinite(number))
        return cell_of("NA");
    units = nanoseconds ? cell_of("secs") : cell_of_string(json_get(array->node, "units"));
    snprintf(cell.text, sizeof(cell.text), "%.10g %.16s", number, units.text);
    return cell;
}

static struct cell complex_value(const struct array *array, uint64_t index)
{
    double parts[2];
    struct cell cell;

    if (array->tensor->dtype != BUNDLE_F64 ||
        bundle_read(array->bundle, array->tensor, 2 * index, 2, parts) < 0)
        return damaged("not complex");
    snprintf(cell.text, sizeof(cell.text), "%.8g%+.8gi", parts[0], parts[1]);
    return cell;
}

static struct cell value_at(const struct array *array, uint64_t index)
{
    struct json type = json_get(array->node, "type");
    enum bundle_dtype dtype = array->tensor->dtype;
    union element value = {0};

    if (json_is(type, "character"))
        return text_value(array, index);
    if (json_is(type, "complex"))
        return complex_value(array, index);
    if (bundle_read(array->bundle, array->tensor, index, 1, &value) < 0)
        return damaged("unreadable");
    if (json_is(type, "factor"))
        return dtype == BUNDLE_I32 ? level(array, value.i32) : damaged("codes of another dtype");
    if (json_is(type, "date") || json_is(type, "posixct") || json_is(type, "difftime"))
        return time_value(array, &value);
    if (dtype == BUNDLE_I32 && json_is_true(json_get(array->node, "na")) && value.i32 == INT32_MIN)
        return cell_of("NA");
    if (dtype == BUNDLE_I32 && json_is(type, "logical"))
        return cell_of(value.i32 ? "TRUE" : "FALSE");
    if (dtype == BUNDLE_F64 && is_missing_double(&value))
        return cell_of("NA");
    return cell_of_number(dtype, &value);
}

/* --- members --- */

struct text {
    const struct bundle *bundle;
    FILE *out;
    unsigned lines;
    unsigned tables;
    ptrdiff_t work; /* bytes of nodes that may still be searched */
};

/* Whether a line more may be written; says once that there are more. */
static bool take_line(struct text *text, unsigned indent)
{
    if (text->lines == BUNDLE_TEXT_LINES)
        fprintf(text->out, "%*s...\n", (int)(2 * indent), "");
    if (text->lines >= BUNDLE_TEXT_LINES) {
        text->lines = BUNDLE_TEXT_LINES + 1;
        return false;
    }
    text->lines++;
    return true;
}

/* "3 x 4", in the order of the program that wrote it. */
static void write_dim(FILE *out, struct json dim)
{
    struct json_walk walk = json_walk(dim);
    struct json extent;
    unsigned count = 0;

    while (json_next(&walk, NULL, &extent) && count < 8)
        fprintf(out, "%s%" PRId64, count++ ? " x " : "", json_natural(extent));
}

static void write_values(FILE *out, const struct array *array)
{
    fputs("  ", out);
    for (uint64_t i = 0; i < array->count && i < BUNDLE_TEXT_VALUES; i++)
        fprintf(out, " %s", value_at(array, i).text);
    fputs(array->count > BUNDLE_TEXT_VALUES ? " ...\n" : "\n", out);
}

static void write_array(FILE *out, const struct array *array)
{
    struct json dim = array->node.at ? json_get(array->node, "dim") : array->tensor->shape;
    struct cell type = array->node.at ? cell_of_string(json_get(array->node, "type"))
                                      : cell_of(bundle_dtype_name(array->tensor->dtype));

    fprintf(out, "%s ", type.text);
    if (json_is_array(dim) && json_count(dim) != 1)
        write_dim(out, dim);
    else
        fprintf(out, "%" PRIu64, array->count);
    write_values(out, array);
}

/* Of a table, column by column, so that each value is looked for once. */
struct table {
    struct cell cells[BUNDLE_TEXT_ROWS + 2][BUNDLE_TEXT_COLUMNS];
    int widths[BUNDLE_TEXT_COLUMNS];
    unsigned rows, columns;
};

static void fill_column(struct table *table, unsigned column, const struct bundle *bundle, struct json name,
                        struct json node)
{
    struct array array;
    bool found = array_find(bundle, node, &array);

    table->cells[0][column] = cell_of_string(name);
    table->cells[1][column] = cell_of_string(json_get(node, "type"));
    for (unsigned row = 0; row < table->rows; row++) {
        struct cell *cell = &table->cells[row + 2][column];

        *cell = !found ? cell_of("damaged") : row < array.count ? value_at(&array, row) : cell_of("");
    }
    for (unsigned row = 0; row < table->rows + 2; row++) {
        if (width(&table->cells[row][column]) > table->widths[column])
            table->widths[column] = width(&table->cells[row][column]);
    }
}

static void write_rows(struct text *text, const struct table *table, int indent)
{
    for (unsigned row = 0; row < table->rows + 2; row++) {
        fprintf(text->out, "%*s", indent, "");
        for (unsigned column = 0; column < table->columns; column++) {
            if (column + 1 < table->columns) {
                pad(text->out, &table->cells[row][column], table->widths[column] + 2);
            } else {
                fputs(table->cells[row][column].text, text->out);
            }
        }
        putc('\n', text->out);
    }
}

static void write_table(struct text *text, struct json node, unsigned indent)
{
    int64_t rows = json_natural(json_get(node, "rows"));
    struct json_walk items = json_walk(json_get(node, "items")), names = json_walk(json_get(node, "names"));
    size_t columns = json_count(json_get(node, "items"));
    struct json item, name;
    struct table *table;

    fprintf(text->out, "table of %" PRId64 " row%s, %zu column%s\n", rows < 0 ? 0 : rows,
            rows == 1 ? "" : "s", columns, columns == 1 ? "" : "s");
    table = columns && text->tables ? calloc(1, sizeof(*table)) : NULL;
    if (!table)
        return;
    text->tables--;
    table->rows = rows < BUNDLE_TEXT_ROWS ? (unsigned)(rows < 0 ? 0 : rows) : BUNDLE_TEXT_ROWS;
    while (table->columns < BUNDLE_TEXT_COLUMNS && json_next(&items, NULL, &item)) {
        if (!json_next(&names, NULL, &name))
            name = (struct json){0};
        fill_column(table, table->columns++, text->bundle, name, item);
    }
    write_rows(text, table, (int)(2 * indent + 2));
    if (rows > BUNDLE_TEXT_ROWS)
        fprintf(text->out, "%*s... and %" PRId64 " rows more\n", (int)(2 * indent + 2), "",
                rows - BUNDLE_TEXT_ROWS);
    if (columns > BUNDLE_TEXT_COLUMNS)
        fprintf(text->out, "%*s... and %zu columns more\n", (int)(2 * indent + 2), "",
                columns - BUNDLE_TEXT_COLUMNS);
    free(table);
}

static void write_node(struct text *text, struct json node, unsigned indent);

/* One line of a member's name, and what it is behind it. */
static void write_member(struct text *text, const struct cell *name, struct json node, unsigned indent)
{
    if (!take_line(text, indent))
        return;
    fprintf(text->out, "%*s%s: ", (int)(2 * indent), "", name->text);
    write_node(text, node, indent);
}

static void write_members(struct text *text, struct json node, unsigned indent)
{
    struct json_walk items = json_walk(json_get(node, "items")), names = json_walk(json_get(node, "names"));
    struct json item, name;
    unsigned index = 0;

    while (text->lines <= BUNDLE_TEXT_LINES && json_next(&items, NULL, &item)) {
        struct cell label;

        index++;
        if (json_next(&names, NULL, &name))
            label = cell_of_string(name);
        else
            snprintf(label.text, sizeof(label.text), "[%u]", index);
        write_member(text, &label, item, indent);
    }
}

/* The arguments of a call behind its x. */
static void write_call(struct text *text, struct json node, unsigned indent)
{
    static const struct cell x = {"x"};
    struct json_walk args = json_walk(json_get(node, "args")), kwargs = json_walk(json_get(node, "kwargs"));
    struct json item, name;
    unsigned index = 0;

    write_member(text, &x, json_get(node, "x"), indent);
    while (text->lines <= BUNDLE_TEXT_LINES && json_next(&args, NULL, &item)) {
        struct cell label;

        snprintf(label.text, sizeof(label.text), "args[%u]", index++);
        if (json_is_object(item))
            write_member(text, &label, item, indent);
    }
    while (text->lines <= BUNDLE_TEXT_LINES && json_next(&kwargs, &name, &item)) {
        struct cell label = cell_of_string(name);

        write_member(text, &label, item, indent);
    }
}

/* What a value is, to the end of the line, and what it has below it. It is nested no deeper than JSON is. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static void write_node(struct text *text, struct json node, unsigned indent)
{
    struct json kind;
    struct array array;

    text->work -= node.end - node.at;
    if (text->work < 0) {
        fputs("...\n", text->out);
        return;
    }
    kind = json_get(node, "kind");
    if (json_is(kind, "array")) {
        if (array_find(text->bundle, node, &array))
            write_array(text->out, &array);
        else
            fputs("damaged: it has no type, or its tensor is not in the bundle\n", text->out);
    } else if (json_is(kind, "frame")) {
        write_table(text, node, indent);
    } else if (json_is(kind, "list")) {
        fprintf(text->out, "list of %zu\n", json_count(json_get(node, "items")));
        write_members(text, node, indent + 1);
    } else if (json_is(kind, "call")) {
        fputs("input and arguments\n", text->out);
        write_call(text, node, indent + 1);
    } else if (json_is(kind, "sparse")) {
        fputs("sparse matrix ", text->out);
        write_dim(text->out, json_get(node, "shape"));
        if (array_find(text->bundle, json_get(node, "data"), &array))
            fprintf(text->out, ", %" PRIu64 " values", array.count);
        putc('\n', text->out);
    } else if (json_is(kind, "null")) {
        fputs("NULL\n", text->out);
    } else {
        fprintf(text->out, "damaged: a value of an unknown kind, %s\n", cell_of_string(kind).text);
    }
}

/* A file of another program: its tensors as they are. */
static void write_tensors(struct text *text)
{
    const struct bundle *bundle = text->bundle;

    fprintf(text->out, "%zu tensor%s\n", bundle->count, bundle->count == 1 ? "" : "s");
    for (size_t i = 0; i < bundle->count && take_line(text, 1); i++) {
        const struct bundle_tensor *tensor = &bundle->tensors[i];
        struct array array = {bundle, {0}, tensor, tensor->count};

        fprintf(text->out, "  %s: ", cell_of_string(tensor->name).text);
        write_array(text->out, &array);
    }
}

void bundle_text_write(const struct bundle *bundle, int result, FILE *out)
{
    struct text text = {bundle, out, 0, BUNDLE_TEXT_TABLES, BUNDLE_TEXT_WORK};

    if (bundle->fault[0])
        fprintf(out, "damaged: %s\n", bundle->fault);
    else if (result < 0)
        fputs("its bytes could not be read\n", out);
    else if (bundle->root.at)
        write_node(&text, bundle->root, 0);
    else
        write_tensors(&text);
}
