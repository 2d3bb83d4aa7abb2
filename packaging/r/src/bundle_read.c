// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_read.c - from the tree of a bundle to R's vectors, lists and data frames.
 *
 * Whoever wrote it may be anybody: nothing is taken from the tree but what was checked, and no class is given to an object
 * that does not stand here.
 */
#include "bundle_read.h"

#include <limits.h>
#include <string.h>

/* A node and the member that it is. */
struct node {
    const struct json *json;
    const struct place *place;
};

static SEXP read_node(struct bundle_reading *reading, struct node node);

void bundle_refuse(const struct bundle_reading *reading, const struct place *place, const char *why)
{
    SEXP origin = PROTECT(Rf_mkString(reading->origin));
    SEXP where = PROTECT(Rf_mkString(""));
    if (place)
        where = PROTECT(Rf_ScalarString(Rf_mkCharCE(place_in_r(place), CE_UTF8)));
    raise_in_r("stop_damaged_bundle", Rf_list3(origin, where, PROTECT(Rf_mkString(why))));
}

static _Noreturn void refuse(const struct bundle_reading *reading, struct node node, const char *why)
{
    bundle_refuse(reading, node.place, why);
}

static const struct json *member(const struct bundle_reading *reading, struct node node, const char *key)
{
    return json_get(&reading->view.tree, node.json, key);
}

static const struct json *next(const struct bundle_reading *reading, const struct json *value)
{
    return json_next(&reading->view.tree, value);
}

static SEXP string_of(const struct json *string)
{
    return Rf_mkCharLenCE(string->string, (int)string->size, CE_UTF8);
}

/* The value of a key, which has to be a string; NULL without one. */
static const struct json *text_member(const struct bundle_reading *reading, struct node node, const char *key)
{
    const struct json *value = member(reading, node, key);
    if (value && value->type != JSON_STRING)
        refuse(reading, node, "a description with a number or list where text is due");
    return value;
}

/* A list of strings as a character vector. */
static SEXP strings_of(const struct bundle_reading *reading, struct node node, const struct json *list)
{
    if (!list || list->type != JSON_ARRAY)
        refuse(reading, node, "names that are no list of texts");
    SEXP x = PROTECT(Rf_allocVector(STRSXP, list->count));
    const struct json *string = json_first(list);
    for (uint32_t i = 0; i < list->count; i++, string = next(reading, string)) {
        if (string->type != JSON_STRING)
            refuse(reading, node, "names that are no list of texts");
        SET_STRING_ELT(x, i, string_of(string));
    }
    UNPROTECT(1);
    return x;
}

/* Arrays. */

static struct bundle_entry *take_entry(struct bundle_reading *reading, struct node node, const char *key)
{
    const struct json *name = text_member(reading, node, key);
    struct bundle_entry *entry = name ? bundle_entry(&reading->view, name) : NULL;
    if (!entry)
        refuse(reading, node, "a description that names no tensor");
    if (entry->taken)
        refuse(reading, node, "a tensor that belongs to two members");
    entry->taken = true;
    return entry;
}

/* Extents; how many are larger than 1 tells whether the order matters. */
static void read_dim(const struct bundle_reading *reading, struct node node,
                     const struct json_document *document, const struct json *dim, bool row_major,
                     struct bundle_values_of *values)
{
    int64_t product = 1;
    int larger = 0;
    if (dim->type != JSON_ARRAY || dim->count == 0 || dim->count > 64)
        refuse(reading, node, "a dim that is no list of extents");
    int64_t *extents = (int64_t *)R_alloc(dim->count, sizeof(*extents));
    const struct json *extent = json_first(dim);
    for (uint32_t i = 0; i < dim->count; i++, extent = json_next(document, extent)) {
        if (extent->type != JSON_INTEGER || extent->number < 0 || extent->number > INT_MAX ||
            __builtin_mul_overflow(product, extent->number, &product))
            refuse(reading, node, "a dim with an extent that R cannot have");
        extents[i] = extent->number;
        larger += extent->number > 1;
    }
    if ((size_t)product != values->count)
        refuse(reading, node, "a dim that does not fit its values");
    values->ndim = (int)dim->count;
    values->dim = extents;
    values->row_major = row_major && larger > 1;
}

static void read_own_dim(const struct bundle_reading *reading, struct node node,
                         struct bundle_values_of *values)
{
    const struct json *dim = member(reading, node, "dim");
    if (dim)
        read_dim(reading, node, &reading->view.tree, dim, json_is(member(reading, node, "order"), "C"),
                 values);
}

/* per: values of the tensor for one of R's. */
static struct bundle_values_of read_values(struct bundle_reading *reading, struct node node, size_t per)
{
    struct bundle_values_of values = {.entry = take_entry(reading, node, "tensor")};
    size_t element = per * bundle_dtype_size(values.entry->dtype);
    values.count = values.entry->bytes / element;
    if (values.entry->bytes % element > 0)
        refuse(reading, node, "a tensor of an odd length");
    read_own_dim(reading, node, &values);
    return values;
}

static void set_text(SEXP x, SEXP symbol, const char *text)
{
    Rf_setAttrib(x, symbol, PROTECT(Rf_mkString(text)));
    UNPROTECT(1);
}

static void set_classes(SEXP x, int count, const char *const *classes)
{
    SEXP class = PROTECT(Rf_allocVector(STRSXP, count));
    for (int i = 0; i < count; i++)
        SET_STRING_ELT(class, i, Rf_mkChar(classes[i]));
    Rf_setAttrib(x, R_ClassSymbol, class);
    UNPROTECT(1);
}

/* A character vector of so many strings that says something of another; NULL where the node is. */
static SEXP read_labels(struct bundle_reading *reading, struct node node, R_xlen_t count)
{
    SEXP labels = PROTECT(read_node(reading, node));
    if (labels != R_NilValue && (TYPEOF(labels) != STRSXP || XLENGTH(labels) != count))
        refuse(reading, node, "names that are not as many as what they name");
    UNPROTECT(1);
    return labels;
}

static void set_dimnames(struct bundle_reading *reading, struct node node, SEXP x,
                         const struct json *dimnames)
{
    SEXP dim = Rf_getAttrib(x, R_DimSymbol);
    if (dimnames->type != JSON_ARRAY || (int)dimnames->count != LENGTH(dim))
        refuse(reading, node, "dimnames that do not fit its dim");
    SEXP list = PROTECT(Rf_allocVector(VECSXP, dimnames->count));
    const struct json *at = json_first(dimnames);
    for (uint32_t i = 0; i < dimnames->count; i++, at = next(reading, at)) {
        struct node labels = {at, node.place};
        SET_VECTOR_ELT(list, i, read_labels(reading, labels, INTEGER(dim)[i]));
    }
    const struct json *names = member(reading, node, "dimnames_names");
    if (names) {
        SEXP of_names = PROTECT(strings_of(reading, node, names));
        if (LENGTH(of_names) != LENGTH(list))
            refuse(reading, node, "dimnames whose names are not as many");
        Rf_setAttrib(list, R_NamesSymbol, of_names);
        UNPROTECT(1);
    }
    Rf_setAttrib(x, R_DimNamesSymbol, list);
    UNPROTECT(1);
}

static void set_dim(SEXP x, const struct bundle_values_of *values)
{
    SEXP dim = PROTECT(Rf_allocVector(INTSXP, values->ndim));
    for (int i = 0; i < values->ndim; i++)
        INTEGER(dim)[i] = (int)values->dim[i];
    Rf_setAttrib(x, R_DimSymbol, dim);
    UNPROTECT(1);
}

/* x is protected. */
static void set_attributes(struct bundle_reading *reading, struct node node, SEXP x,
                           const struct bundle_values_of *values)
{
    if (values->ndim > 0) {
        set_dim(x, values);
        const struct json *dimnames = member(reading, node, "dimnames");
        if (dimnames)
            set_dimnames(reading, node, x, dimnames);
        return;
    }
    const struct json *names = member(reading, node, "names");
    if (names) {
        struct node labels = {names, node.place};
        SEXP of_x = PROTECT(read_labels(reading, labels, XLENGTH(x)));
        Rf_setAttrib(x, R_NamesSymbol, of_x);
        UNPROTECT(1);
    }
}

typedef SEXP read_type(struct bundle_reading *reading, struct node node, struct bundle_values_of *values);

static SEXP read_numbers(struct bundle_reading *reading, struct node node, struct bundle_values_of *values)
{
    return bundle_numbers(reading, values, reading->special, node.place);
}

static SEXP read_raw(struct bundle_reading *reading, struct node node, struct bundle_values_of *values)
{
    return bundle_numbers(reading, values, SPECIAL_RAW, node.place);
}

static SEXP read_logical(struct bundle_reading *reading, struct node node, struct bundle_values_of *values)
{
    return bundle_numbers(reading, values, SPECIAL_LOGICAL, node.place);
}

static SEXP read_complex(struct bundle_reading *reading, struct node node, struct bundle_values_of *values)
{
    (void)reading, (void)node;
    SEXP x = PROTECT(Rf_allocVector(CPLXSXP, (R_xlen_t)values->count));
    if (values->row_major)
        bundle_turn(values, sizeof(Rcomplex), values->entry->at, COMPLEX(x));
    else
        memcpy(COMPLEX(x), values->entry->at, values->entry->bytes);
    UNPROTECT(1);
    return x;
}

static int64_t offset_at(const struct bundle_entry *offsets, size_t i)
{
    int64_t offset;
    memcpy(&offset, offsets->at + i * sizeof(offset), sizeof(offset));
    return offset;
}

static const struct bundle_entry *take_missing(struct bundle_reading *reading, struct node node, size_t count)
{
    if (!member(reading, node, "na"))
        return NULL;
    const struct bundle_entry *entry = take_entry(reading, node, "na");
    if (bundle_dtype_size(entry->dtype) != 1 || entry->bytes != count)
        refuse(reading, node, "text with missing strings that are not as many as its strings");
    return entry;
}

static SEXP read_strings(struct bundle_reading *reading, struct node node, struct bundle_values_of *values)
{
    const struct bundle_entry *bytes = values->entry, *offsets = take_entry(reading, node, "offsets");
    if (offsets->dtype != BUNDLE_I64 || offsets->bytes < sizeof(int64_t))
        refuse(reading, node, "text without the places of its strings");
    size_t count = offsets->bytes / sizeof(int64_t) - 1;
    const struct bundle_entry *missing = take_missing(reading, node, count);
    if (offset_at(offsets, 0) != 0 || offset_at(offsets, count) != (int64_t)bytes->bytes)
        refuse(reading, node, "text whose strings do not lie in it");
    SEXP x = PROTECT(Rf_allocVector(STRSXP, (R_xlen_t)count));
    int64_t begin = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t end = offset_at(offsets, i + 1);
        if (end < begin || end > (int64_t)bytes->bytes || end - begin > INT_MAX)
            refuse(reading, node, "text whose strings do not lie in it");
        const char *string = bytes->at + begin;
        if (!text_is_valid(string, (size_t)(end - begin)))
            refuse(reading, node,
                   memchr(string, 0, (size_t)(end - begin)) ? "text with a NUL, which R's strings cannot have"
                                                            : "text that is not UTF-8");
        bool is_missing = missing && missing->at[i];
        SET_STRING_ELT(x, (R_xlen_t)i,
                       is_missing ? NA_STRING : Rf_mkCharLenCE(string, (int)(end - begin), CE_UTF8));
        begin = end;
    }
    values->count = count;
    read_own_dim(reading, node, values);
    if (values->ndim > 0 && values->row_major) {
        SEXP turned = PROTECT(Rf_allocVector(STRSXP, (R_xlen_t)count));
        int *from = (int *)R_alloc(count, sizeof(*from)), *to = (int *)R_alloc(count, sizeof(*to));
        for (size_t i = 0; i < count; i++)
            from[i] = (int)i;
        bundle_turn(values, sizeof(*from), from, to);
        for (size_t i = 0; i < count; i++)
            SET_STRING_ELT(turned, (R_xlen_t)i, STRING_ELT(x, to[i]));
        UNPROTECT(2);
        return turned;
    }
    UNPROTECT(1);
    return x;
}

static bool has_duplicates(SEXP x)
{
    return Rf_any_duplicated(x, FALSE) > 0;
}

static SEXP read_factor(struct bundle_reading *reading, struct node node, struct bundle_values_of *values)
{
    struct node of_levels = {member(reading, node, "levels"), node.place};
    if (!of_levels.json)
        refuse(reading, node, "a factor without levels");
    SEXP levels = PROTECT(read_node(reading, of_levels));
    if (TYPEOF(levels) != STRSXP || XLENGTH(levels) > INT_MAX || has_duplicates(levels))
        refuse(reading, node, "a factor whose levels are no texts that differ");
    SEXP x = PROTECT(bundle_numbers(reading, values, 0, node.place));
    const int *codes = INTEGER_RO(x);
    int count = LENGTH(levels), wrong = 0;
    for (size_t i = 0; i < values->count; i++)
        wrong |= codes[i] != NA_INTEGER && (codes[i] < 1 || codes[i] > count);
    if (wrong)
        refuse(reading, node, "a factor with a code beyond its levels");
    Rf_setAttrib(x, R_LevelsSymbol, levels);
    static const char *const classes[] = {"ordered", "factor"};
    const struct json *ordered = member(reading, node, "ordered");
    bool is_ordered = ordered && ordered->type == JSON_BOOLEAN && ordered->number;
    set_classes(x, is_ordered ? 2 : 1, is_ordered ? classes : classes + 1);
    UNPROTECT(2);
    return x;
}

static SEXP read_date(struct bundle_reading *reading, struct node node, struct bundle_values_of *values)
{
    SEXP x = PROTECT(bundle_numbers(reading, values, 0, node.place));
    set_text(x, R_ClassSymbol, "Date");
    UNPROTECT(1);
    return x;
}

/* Times in R's unit, which has so many seconds, of a count in a smaller one, which a double would not hold exactly. */
static SEXP read_times(struct bundle_reading *reading, struct node node, struct bundle_values_of *values,
                       int64_t seconds)
{
    static const struct {
        const char *name;
        int64_t per_second;
    } units[] = {{"ns", 1000000000}, {"us", 1000000}, {"ms", 1000}, {"s", 1}};
    if (values->entry->dtype != BUNDLE_I64)
        return bundle_numbers(reading, values, 0, node.place);
    int64_t per_unit = 0;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (json_is(member(reading, node, "unit"), units[i].name))
            per_unit = units[i].per_second * seconds;
    if (!per_unit)
        refuse(reading, node, "times in a unit that R does not know");
    double *times = (double *)R_alloc(values->count, sizeof(*times));
    for (size_t i = 0; i < values->count; i++) {
        int64_t time = offset_at(values->entry, i);
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

static SEXP read_moment(struct bundle_reading *reading, struct node node, struct bundle_values_of *values)
{
    static const char *const classes[] = {"POSIXct", "POSIXt"};
    SEXP x = PROTECT(read_times(reading, node, values, 1));
    const struct json *zone = text_member(reading, node, "zone");
    if (zone) {
        SEXP text = PROTECT(Rf_ScalarString(string_of(zone)));
        Rf_setAttrib(x, Rf_install("tzone"), text);
        UNPROTECT(1);
    }
    set_classes(x, 2, classes);
    UNPROTECT(1);
    return x;
}

static SEXP read_duration(struct bundle_reading *reading, struct node node, struct bundle_values_of *values)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } known[] = {{"secs", 1}, {"mins", 60}, {"hours", 3600}, {"days", 86400}, {"weeks", 604800}};
    const struct json *units = text_member(reading, node, "units");
    size_t unit = 0;
    while (units && unit < sizeof(known) / sizeof(known[0]) && !json_is(units, known[unit].name))
        unit++;
    if (unit == sizeof(known) / sizeof(known[0]))
        refuse(reading, node, "a difftime in units that R does not know");
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

static SEXP read_array(struct bundle_reading *reading, struct node node)
{
    const struct json *name = text_member(reading, node, "type");
    size_t type = 0;
    while (type < sizeof(types) / sizeof(types[0]) && !json_is(name, types[type].name))
        type++;
    if (type == sizeof(types) / sizeof(types[0]))
        refuse(reading, node, "an array of a type that R does not know");
    struct bundle_values_of values;
    if (types[type].read == read_strings) {
        /* dim counts strings, of which there are as many as places less one. */
        values = (struct bundle_values_of){.entry = take_entry(reading, node, "tensor")};
    } else {
        values = read_values(reading, node, types[type].per);
    }
    if (!(types[type].dtypes & 1u << values.entry->dtype))
        refuse(reading, node, "a tensor whose dtype does not fit its type");
    SEXP x = PROTECT(types[type].read(reading, node, &values));
    set_attributes(reading, node, x, &values);
    UNPROTECT(1);
    return x;
}

/* Lists and frames. */

static SEXP read_items(struct bundle_reading *reading, struct node node)
{
    const struct json *items = member(reading, node, "items"), *names = member(reading, node, "names");
    if (!items || items->type != JSON_ARRAY)
        refuse(reading, node, "a list without items");
    SEXP x = PROTECT(Rf_allocVector(VECSXP, items->count));
    SEXP of_x = PROTECT(names ? strings_of(reading, node, names) : R_NilValue);
    if (names && XLENGTH(of_x) != XLENGTH(x))
        refuse(reading, node, "names that are not as many as what they name");
    const struct json *item = json_first(items);
    for (uint32_t i = 0; i < items->count; i++, item = next(reading, item)) {
        struct place at = {
            .above = node.place, .name = names ? CHAR(STRING_ELT(of_x, i)) : NULL, .number = (int64_t)i + 1};
        struct node of_item = {item, &at};
        SET_VECTOR_ELT(x, i, read_node(reading, of_item));
    }
    Rf_setAttrib(x, R_NamesSymbol, of_x);
    UNPROTECT(2);
    return x;
}

static R_xlen_t rows_of(SEXP column)
{
    if (Rf_inherits(column, "data.frame"))
        return XLENGTH(Rf_getAttrib(column, R_RowNamesSymbol));
    SEXP dim = Rf_getAttrib(column, R_DimSymbol);
    return dim == R_NilValue ? XLENGTH(column) : INTEGER(dim)[0];
}

static SEXP read_row_names(struct bundle_reading *reading, struct node node, R_xlen_t rows)
{
    struct node of_rows = {member(reading, node, "row_names"), node.place};
    if (!of_rows.json || of_rows.json->type == JSON_NULL) {
        SEXP compact = Rf_allocVector(INTSXP, 2);
        INTEGER(compact)[0] = NA_INTEGER;
        INTEGER(compact)[1] = -(int)rows;
        return compact;
    }
    SEXP names = PROTECT(read_node(reading, of_rows));
    bool fit =
        (TYPEOF(names) == STRSXP || TYPEOF(names) == INTSXP) && !Rf_isObject(names) && XLENGTH(names) == rows;
    if (!fit || has_duplicates(names))
        refuse(reading, node, "row names that do not fit");
    UNPROTECT(1);
    return names;
}

/* The classes that a frame may have, in the order that they have in R. */
static int read_classes(struct bundle_reading *reading, struct node node, const char **classes)
{
    static const char *const known[] = {"data.table", "tbl_df", "tbl", "data.frame"};
    const struct json *list = member(reading, node, "class");
    int count = 0;
    for (size_t i = 0; i < 3 && list && list->type == JSON_ARRAY; i++) {
        const struct json *class = json_first(list);
        for (uint32_t j = 0; j < list->count; j++, class = next(reading, class)) {
            if (json_is(class, known[i])) {
                classes[count++] = known[i];
                break;
            }
        }
    }
    classes[count++] = known[3];
    return count;
}

/* The value of an R function of this package. arguments: a pairlist. */
static SEXP call(const char *function, SEXP arguments)
{
    PROTECT(arguments);
    SEXP space = PROTECT(R_FindNamespace(PROTECT(Rf_mkString("pyrmap"))));
    SEXP value = Rf_eval(PROTECT(Rf_lcons(Rf_install(function), arguments)), space);
    UNPROTECT(4);
    return value;
}

static SEXP read_frame(struct bundle_reading *reading, struct node node)
{
    const struct json *rows = member(reading, node, "rows");
    if (!rows || rows->type != JSON_INTEGER || rows->number < 0 || rows->number > INT_MAX ||
        !member(reading, node, "names"))
        refuse(reading, node, "a frame without rows and names");
    SEXP x = PROTECT(read_items(reading, node));
    for (R_xlen_t i = 0; i < XLENGTH(x); i++)
        if (rows_of(VECTOR_ELT(x, i)) != rows->number)
            refuse(reading, node, "a frame with a column that has not as many rows");
    SEXP names = PROTECT(read_row_names(reading, node, (R_xlen_t)rows->number));
    Rf_setAttrib(x, R_RowNamesSymbol, names);
    const char *classes[4];
    int count = read_classes(reading, node, classes);
    set_classes(x, count, classes);
    if (strcmp(classes[0], "data.table") == 0)
        x = call("as_data_table", Rf_list1(x));
    UNPROTECT(2);
    return x;
}

static SEXP read_sparse(struct bundle_reading *reading, struct node node)
{
    static const char *const keys[] = {"data", "indices", "indptr"};
    const struct json *shape = member(reading, node, "shape");
    if (!json_is(member(reading, node, "format"), "csc") || !shape || shape->type != JSON_ARRAY ||
        shape->count != 2)
        refuse(reading, node, "a sparse matrix that is not compressed by columns");
    SEXP arrays = PROTECT(Rf_allocVector(VECSXP, 4));
    SEXP dim = Rf_allocVector(INTSXP, 2);
    SET_VECTOR_ELT(arrays, 3, dim);
    const struct json *extent = json_first(shape);
    for (int i = 0; i < 2; i++, extent = next(reading, extent)) {
        if (extent->type != JSON_INTEGER || extent->number < 0 || extent->number > INT_MAX)
            refuse(reading, node, "a sparse matrix with an extent that R cannot have");
        INTEGER(dim)[i] = (int)extent->number;
    }
    for (int i = 0; i < 3; i++) {
        struct node array = {member(reading, node, keys[i]), node.place};
        if (!array.json)
            refuse(reading, node, "a sparse matrix without its three arrays");
        SET_VECTOR_ELT(arrays, i, read_node(reading, array));
    }
    SEXP x = call("sparse_of", Rf_list1(arrays));
    UNPROTECT(1);
    return x;
}

static SEXP read_node(struct bundle_reading *reading, struct node node)
{
    const struct json *kind = member(reading, node, "kind");
    if (node.json->type == JSON_NULL || json_is(kind, "null"))
        return R_NilValue;
    if (json_is(kind, "array"))
        return read_array(reading, node);
    if (json_is(kind, "list"))
        return read_items(reading, node);
    if (json_is(kind, "frame"))
        return read_frame(reading, node);
    if (json_is(kind, "sparse"))
        return read_sparse(reading, node);
    refuse(reading, node, "a member of a kind that R does not know");
}

/* What another writer of safetensors made: row-major arrays, each with its name. */
static SEXP read_plain(struct bundle_reading *reading)
{
    const struct json_document *header = &reading->view.header;
    const struct json *key = json_first(header->values);
    SEXP x = PROTECT(Rf_allocVector(VECSXP, (R_xlen_t)reading->view.count));
    SEXP names = PROTECT(Rf_allocVector(STRSXP, XLENGTH(x)));
    struct place whole = {.name = "result"};
    R_xlen_t i = 0;
    for (uint32_t pair = 0; pair < header->values->count;
         pair++, key = json_next(header, json_next(header, key))) {
        if (json_is(key, "__metadata__"))
            continue;
        SET_STRING_ELT(names, i, string_of(key));
        struct place at = {.above = &whole, .name = CHAR(STRING_ELT(names, i)), .number = i + 1};
        struct node node = {.place = &at};
        struct bundle_values_of values = {.entry = bundle_entry(&reading->view, key)};
        values.count = values.entry->bytes / bundle_dtype_size(values.entry->dtype);
        if (values.entry->shape->count > 0)
            read_dim(reading, node, header, values.entry->shape, true, &values);
        if (values.ndim < 2)
            values.ndim = 0;
        SEXP array = PROTECT(bundle_numbers(reading, &values, reading->special, &at));
        if (values.ndim > 1)
            set_dim(array, &values);
        SET_VECTOR_ELT(x, i++, array);
        UNPROTECT(1);
    }
    Rf_setAttrib(x, R_NamesSymbol, names);
    UNPROTECT(2);
    return x;
}

SEXP bundle_read(struct bundle_reading *reading, const void *segment, size_t size)
{
    const char *error = bundle_view(segment, size, &reading->view);
    if (error)
        bundle_refuse(reading, NULL, error);
    if (!reading->view.root)
        return read_plain(reading);
    struct place whole = {.name = "result"};
    struct node root = {reading->view.root, &whole};
    return read_node(reading, root);
}

SEXP pyrmap_bundle_object(SEXP bytes, SEXP special)
{
    struct bundle_reading reading = {
        .origin = "these bytes", .special = Rf_asInteger(special), .holder = R_NilValue};
    return bundle_read(&reading, RAW(bytes), (size_t)XLENGTH(bytes));
}
