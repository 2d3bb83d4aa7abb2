// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_vector.c - R's vectors of the arrays in a bundle: a function for each type that a node may name.
 */
#include "bundle_node.h"

#include "convert.h"
#include "text.h"
#include "text_vector.h"
#include <limits.h>
#include <string.h>

static struct bundle_array take(struct bundle_reading *reading, struct bundle_node node, const char *key)
{
    struct bundle_array array;
    bundle_take(reading, node.place, bundle_member(node, key), &array);
    return array;
}

static void read_own_dim(const struct bundle_reading *reading, struct bundle_node node,
                         struct bundle_array *values)
{
    struct json dim = bundle_member(node, "dim");
    if (dim.at)
        bundle_read_dim(reading, node.place, dim, json_is(bundle_member(node, "order"), "C"), values);
}

/* per: values of the tensor for one of R's. */
static struct bundle_array read_values(struct bundle_reading *reading, struct bundle_node node, size_t per)
{
    struct bundle_array values = take(reading, node, "tensor");
    size_t element = per * bundle_dtype_size(values.dtype);
    values.count = values.bytes / element;
    if (values.bytes % element > 0)
        bundle_refuse_node(reading, node, "a tensor of an odd length");
    read_own_dim(reading, node, &values);
    return values;
}

static void set_text(SEXP x, SEXP symbol, const char *text)
{
    Rf_setAttrib(x, symbol, PROTECT(Rf_mkString(text)));
    UNPROTECT(1);
}

/* A character vector of so many strings that says something of another; NULL where the node is. */
static SEXP read_labels(struct bundle_reading *reading, struct bundle_node node, R_xlen_t count)
{
    SEXP labels = PROTECT(bundle_read_node(reading, node));
    if (labels != R_NilValue && (TYPEOF(labels) != STRSXP || XLENGTH(labels) != count))
        bundle_refuse_node(reading, node, "names that are not as many as what they name");
    UNPROTECT(1);
    return labels;
}

static void set_dimnames(struct bundle_reading *reading, struct bundle_node node, SEXP x,
                         struct json dimnames)
{
    SEXP dim = Rf_getAttrib(x, R_DimSymbol);
    if (!json_is_array(dimnames) || json_count(dimnames) != (size_t)LENGTH(dim))
        bundle_refuse_node(reading, node, "dimnames that do not fit its dim");
    SEXP list = PROTECT(Rf_allocVector(VECSXP, LENGTH(dim)));
    struct json_walk walk = json_walk(dimnames);
    struct bundle_node labels = {.place = node.place};
    for (int i = 0; json_next(&walk, NULL, &labels.json); i++)
        SET_VECTOR_ELT(list, i, read_labels(reading, labels, INTEGER(dim)[i]));
    struct json names = bundle_member(node, "dimnames_names");
    if (names.at) {
        SEXP of_names = PROTECT(bundle_strings(reading, node, names));
        if (LENGTH(of_names) != LENGTH(list))
            bundle_refuse_node(reading, node, "dimnames whose names are not as many");
        Rf_setAttrib(list, R_NamesSymbol, of_names);
        UNPROTECT(1);
    }
    Rf_setAttrib(x, R_DimNamesSymbol, list);
    UNPROTECT(1);
}

/* x is protected. */
static void set_attributes(struct bundle_reading *reading, struct bundle_node node, SEXP x,
                           const struct bundle_array *values)
{
    if (values->ndim > 0) {
        bundle_set_dim(x, values);
        struct json dimnames = bundle_member(node, "dimnames");
        if (dimnames.at)
            set_dimnames(reading, node, x, dimnames);
        return;
    }
    struct json names = bundle_member(node, "names");
    if (names.at) {
        struct bundle_node labels = {names, node.place};
        SEXP of_x = PROTECT(read_labels(reading, labels, XLENGTH(x)));
        Rf_setAttrib(x, R_NamesSymbol, of_x);
        UNPROTECT(1);
    }
}

/* Whether R would write another node than this for the values that it makes of it. */
static bool is_foreign(const struct bundle_reading *reading, struct bundle_node node,
                       const struct bundle_array *values)
{
    struct json type = bundle_member(node, "type");
    bool text = json_is(type, "character"), moment = json_is(type, "posixct") || json_is(type, "difftime");
    if (values->row_major || json_is(type, "number") || json_is(type, "float32"))
        return true;
    if (json_is_true(bundle_member(node, "scalar")) && !text)
        return true;
    if (json_is(type, "integer") && !bundle_member(node, "na").at)
        return (uintptr_t)values->at % sizeof(int) > 0 ||
               find_na(SOURCE_INTEGER, values->at, values->count) < values->count;
    return (moment && values->dtype == BUNDLE_I64) ||
           (json_is(type, "integer64") && !(reading->special & SPECIAL_INT64));
}

typedef SEXP read_type(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values);

static SEXP read_numbers(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values)
{
    return bundle_numbers(reading, values, reading->special, node.place);
}

static SEXP read_raw(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values)
{
    return bundle_numbers(reading, values, SPECIAL_RAW, node.place);
}

static SEXP read_logical(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values)
{
    return bundle_numbers(reading, values, SPECIAL_LOGICAL, node.place);
}

static SEXP read_complex(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values)
{
    (void)reading, (void)node;
    SEXP x = PROTECT(Rf_allocVector(CPLXSXP, (R_xlen_t)values->count));
    if (values->row_major)
        bundle_turn(values, sizeof(Rcomplex), values->at, COMPLEX(x));
    else
        memcpy(COMPLEX(x), values->at, values->bytes);
    UNPROTECT(1);
    return x;
}

static int64_t integer_at(const struct bundle_array *array, size_t i)
{
    int64_t value;
    memcpy(&value, array->at + i * sizeof(value), sizeof(value));
    return value;
}

/* A byte for each string, not 0 for one that is missing; NULL without. */
static const char *take_missing(struct bundle_reading *reading, struct bundle_node node, size_t count)
{
    if (!bundle_member(node, "na").at)
        return NULL;
    struct bundle_array missing = take(reading, node, "na");
    if (bundle_dtype_size(missing.dtype) != 1 || missing.bytes != count)
        bundle_refuse_node(reading, node, "text with missing strings that are not as many as its strings");
    return missing.at;
}

/* Strings into R's order. */
static SEXP turn_strings(const struct bundle_array *values, SEXP strings)
{
    size_t count = values->count;
    int *from = (int *)R_alloc(count, sizeof(*from)), *to = (int *)R_alloc(count, sizeof(*to));
    SEXP turned = PROTECT(Rf_allocVector(STRSXP, (R_xlen_t)count));
    for (size_t i = 0; i < count; i++)
        from[i] = (int)i;
    bundle_turn(values, sizeof(*from), from, to);
    for (size_t i = 0; i < count; i++)
        SET_STRING_ELT(turned, (R_xlen_t)i, STRING_ELT(strings, to[i]));
    UNPROTECT(1);
    return turned;
}

/* Strings that lie one behind the other are valid if all bytes together are, and each begins with a character. */
static void check_strings(struct bundle_reading *reading, struct bundle_node node,
                          const struct bundle_array *values, const struct bundle_array *offsets)
{
    size_t count = offsets->count - 1;
    int64_t begin = 0;
    if (integer_at(offsets, 0) != 0 || integer_at(offsets, count) != (int64_t)values->bytes)
        bundle_refuse_node(reading, node, "text whose strings do not lie in it");
    bool whole = text_is_valid(values->at, values->bytes);
    for (size_t i = 0; i < count; i++) {
        int64_t end = integer_at(offsets, i + 1);
        if (end < begin || end > (int64_t)values->bytes || end - begin > INT_MAX)
            bundle_refuse_node(reading, node, "text whose strings do not lie in it");
        whole = whole && (end == begin || (values->at[begin] & 0xC0) != 0x80);
        begin = end;
    }
    if (!whole)
        bundle_refuse_node(reading, node,
                           values->bytes > 0 && memchr(values->at, 0, values->bytes)
                               ? "text with a NUL, which R's strings cannot have"
                               : "text that is not UTF-8");
}

static SEXP make_strings(const struct bundle_array *values, const struct bundle_array *offsets,
                         const char *missing)
{
    size_t count = offsets->count - 1;
    SEXP x = PROTECT(Rf_allocVector(STRSXP, (R_xlen_t)count));
    for (size_t i = 0; i < count; i++) {
        int64_t begin = integer_at(offsets, i), end = integer_at(offsets, i + 1);
        bool is_missing = missing && missing[i];
        SET_STRING_ELT(x, (R_xlen_t)i,
                       is_missing ? NA_STRING
                                  : Rf_mkCharLenCE(values->at + begin, (int)(end - begin), CE_UTF8));
    }
    UNPROTECT(1);
    return x;
}

static SEXP read_strings(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values)
{
    struct bundle_array offsets = take(reading, node, "offsets");
    if (offsets.dtype != BUNDLE_I64 || offsets.count < 1)
        bundle_refuse_node(reading, node, "text without the places of its strings");
    size_t count = offsets.count - 1;
    const char *missing = take_missing(reading, node, count);
    check_strings(reading, node, values, &offsets);
    bool map = reading->whole && offsets.bytes >= VECTOR_MAPPED_LEAST;
    values->count = count;
    read_own_dim(reading, node, values);
    if (map && !values->row_major) {
        reading->mapped = true;
        return text_vector_new(reading->whole, reading->holder, values->at, offsets.at, missing,
                               (R_xlen_t)count);
    }
    SEXP x = PROTECT(make_strings(values, &offsets, missing));
    if (values->row_major)
        x = turn_strings(values, x);
    UNPROTECT(1);
    return x;
}

static SEXP read_factor(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values)
{
    struct bundle_node of_levels = {bundle_member(node, "levels"), node.place};
    if (!of_levels.json.at)
        bundle_refuse_node(reading, node, "a factor without levels");
    SEXP levels = PROTECT(bundle_read_node(reading, of_levels));
    if (TYPEOF(levels) != STRSXP || XLENGTH(levels) > INT_MAX || Rf_any_duplicated(levels, FALSE) > 0)
        bundle_refuse_node(reading, node, "a factor whose levels are no texts that differ");
    SEXP x = PROTECT(bundle_numbers(reading, values, 0, node.place));
    const int *codes = INTEGER_RO(x);
    int count = LENGTH(levels), wrong = 0;
    for (size_t i = 0; i < values->count; i++)
        wrong |= codes[i] != NA_INTEGER && (codes[i] < 1 || codes[i] > count);
    if (wrong)
        bundle_refuse_node(reading, node, "a factor with a code beyond its levels");
    Rf_setAttrib(x, R_LevelsSymbol, levels);
    static const char *const classes[] = {"ordered", "factor"};
    bool is_ordered = json_is_true(bundle_member(node, "ordered"));
    bundle_set_classes(x, is_ordered ? 2 : 1, is_ordered ? classes : classes + 1);
    UNPROTECT(2);
    return x;
}

static SEXP read_date(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values)
{
    SEXP x = PROTECT(bundle_numbers(reading, values, 0, node.place));
    set_text(x, R_ClassSymbol, "Date");
    UNPROTECT(1);
    return x;
}

/* Times in R's unit, which has so many seconds, of a count in a smaller one, which a double would not hold exactly. */
static SEXP read_times(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values,
                       int64_t seconds)
{
    static const struct {
        const char *name;
        int64_t per_second;
    } units[] = {{"ns", 1000000000}, {"us", 1000000}, {"ms", 1000}, {"s", 1}};
    if (values->dtype != BUNDLE_I64)
        return bundle_numbers(reading, values, 0, node.place);
    int64_t per_unit = 0;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (json_is(bundle_member(node, "unit"), units[i].name))
            per_unit = units[i].per_second * seconds;
    if (!per_unit)
        bundle_refuse_node(reading, node, "times in a unit that R does not know");
    double *times = (double *)R_alloc(values->count, sizeof(*times));
    for (size_t i = 0; i < values->count; i++) {
        int64_t time = integer_at(values, i);
        times[i] = time == INT64_MIN
                       ? NA_REAL
                       : (double)(time / per_unit) + (double)(time % per_unit) / (double)per_unit;
    }
    SEXP x = PROTECT(Rf_allocVector(REALSXP, (R_xlen_t)values->count));
    if (values->row_major)
        bundle_turn(values, sizeof(*times), times, REAL(x));
    else if (values->count > 0)
        memcpy(REAL(x), times, values->count * sizeof(*times));
    UNPROTECT(1);
    return x;
}

static SEXP read_moment(struct bundle_reading *reading, struct bundle_node node, struct bundle_array *values)
{
    static const char *const classes[] = {"POSIXct", "POSIXt"};
    SEXP x = PROTECT(read_times(reading, node, values, 1));
    struct json zone = bundle_text_member(reading, node, "zone");
    if (zone.at) {
        SEXP text = PROTECT(Rf_ScalarString(bundle_string(reading, node.place, zone)));
        Rf_setAttrib(x, Rf_install("tzone"), text);
        UNPROTECT(1);
    }
    bundle_set_classes(x, 2, classes);
    UNPROTECT(1);
    return x;
}

static SEXP read_duration(struct bundle_reading *reading, struct bundle_node node,
                          struct bundle_array *values)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } known[] = {{"secs", 1}, {"mins", 60}, {"hours", 3600}, {"days", 86400}, {"weeks", 604800}};
    struct json units = bundle_text_member(reading, node, "units");
    size_t unit = 0;
    while (units.at && unit < sizeof(known) / sizeof(known[0]) && !json_is(units, known[unit].name))
        unit++;
    if (unit == sizeof(known) / sizeof(known[0]))
        bundle_refuse_node(reading, node, "a difftime in units that R does not know");
    SEXP x = PROTECT(read_times(reading, node, values, known[unit].seconds));
    set_text(x, Rf_install("units"), known[unit].name);
    set_text(x, R_ClassSymbol, "difftime");
    UNPROTECT(1);
    return x;
}

#define BIT(dtype) (1u << BUNDLE_##dtype)

static const struct {
    const char *name;
    unsigned dtypes; /* that its tensor may have */
    size_t per;      /* values of the tensor for one of R's */
    read_type *read;
} types[] = {
    {"double", BIT(F64), 1, read_numbers},
    {"float32", BIT(F32), 1, read_numbers},
    {"integer", BIT(I32), 1, read_numbers},
    {"integer64", BIT(I64), 1, read_numbers},
    {"number", ~0u, 1, read_numbers},
    {"raw", BIT(U8), 1, read_raw},
    {"logical", BIT(I32) | BIT(BOOL), 1, read_logical},
    {"complex", BIT(F64), 2, read_complex},
    {"character", BIT(U8), 1, read_strings},
    {"factor", BIT(I32), 1, read_factor},
    {"date", BIT(F64) | BIT(I32), 1, read_date},
    {"posixct", BIT(F64) | BIT(I64), 1, read_moment},
    {"difftime", BIT(F64) | BIT(I64), 1, read_duration},
};

SEXP bundle_read_array(struct bundle_reading *reading, struct bundle_node node)
{
    struct json name = bundle_text_member(reading, node, "type");
    size_t type = 0;
    while (type < sizeof(types) / sizeof(types[0]) && !json_is(name, types[type].name))
        type++;
    if (type == sizeof(types) / sizeof(types[0]))
        bundle_refuse_node(reading, node, "an array of a type that R does not know");
    struct bundle_array values;
    if (types[type].read == read_strings) {
        /* dim counts strings, of which there are as many as places less one. */
        values = take(reading, node, "tensor");
    } else {
        values = read_values(reading, node, types[type].per);
    }
    if (!(types[type].dtypes & 1u << values.dtype))
        bundle_refuse_node(reading, node, "a tensor whose dtype does not fit its type");
    SEXP x = PROTECT(types[type].read(reading, node, &values));
    reading->foreign = reading->foreign || is_foreign(reading, node, &values);
    set_attributes(reading, node, x, &values);
    UNPROTECT(1);
    return x;
}
