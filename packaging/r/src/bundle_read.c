// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_read.c - from the tree of a bundle to R's lists and data frames.
 *
 * Any program may have written the tree: we take nothing from it unchecked, and give an object no class but those that
 * this file names.
 */
#include "bundle_node.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static SEXP read_items(struct bundle_reading *reading, struct bundle_node node)
{
    struct json items = bundle_member(node, "items"), names = bundle_member(node, "names");
    if (!json_is_array(items))
        bundle_refuse_node(reading, node, "a list without items");
    SEXP x = PROTECT(Rf_allocVector(VECSXP, (R_xlen_t)json_count(items)));
    SEXP of_x = PROTECT(names.at ? bundle_strings(reading, node, names) : R_NilValue);
    if (names.at && XLENGTH(of_x) != XLENGTH(x))
        bundle_refuse_node(reading, node, "names that are not as many as what they name");
    struct json_walk walk = json_walk(items);
    struct place at = {.above = node.place};
    struct bundle_node item = {.place = &at};
    for (R_xlen_t i = 0; json_next(&walk, NULL, &item.json); i++) {
        at.name = names.at ? CHAR(STRING_ELT(of_x, i)) : NULL;
        at.number = (int64_t)i + 1;
        SET_VECTOR_ELT(x, i, bundle_read_node(reading, item));
    }
    Rf_setAttrib(x, R_NamesSymbol, of_x);
    /* R has no tuple, and no dict without names. */
    struct json class = bundle_member(node, "class");
    reading->foreign = reading->foreign || json_is(class, "tuple") || (json_is(class, "dict") && !names.at);
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

static SEXP read_row_names(struct bundle_reading *reading, struct bundle_node node, R_xlen_t rows)
{
    struct bundle_node of_rows = {bundle_member(node, "row_names"), node.place};
    SEXP names = PROTECT(of_rows.json.at ? bundle_read_node(reading, of_rows) : R_NilValue);
    if (names == R_NilValue) {
        SEXP compact = Rf_allocVector(INTSXP, 2);
        INTEGER(compact)[0] = NA_INTEGER;
        INTEGER(compact)[1] = -(int)rows;
        UNPROTECT(1);
        return compact;
    }
    bool fit =
        (TYPEOF(names) == STRSXP || TYPEOF(names) == INTSXP) && !Rf_isObject(names) && XLENGTH(names) == rows;
    if (!fit || Rf_any_duplicated(names, FALSE) > 0)
        bundle_refuse_node(reading, node, "row names that do not fit");
    UNPROTECT(1);
    return names;
}

static bool has_class(struct json list, const char *class)
{
    struct json_walk walk = json_walk(list);
    struct json value;
    while (json_next(&walk, NULL, &value))
        if (json_is(value, class))
            return true;
    return false;
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

static SEXP read_frame(struct bundle_reading *reading, struct bundle_node node)
{
    /* In the order that they have in R. */
    static const char *const known[] = {"data.table", "tbl_df", "tbl"};
    const char *classes[4];
    int count = 0;
    int64_t rows = json_natural(bundle_member(node, "rows"));
    if (rows < 0 || rows > INT_MAX || !bundle_member(node, "names").at)
        bundle_refuse_node(reading, node, "a frame without rows and names");
    SEXP x = PROTECT(read_items(reading, node));
    for (R_xlen_t i = 0; i < XLENGTH(x); i++)
        if (rows_of(VECTOR_ELT(x, i)) != rows)
            bundle_refuse_node(reading, node, "a frame with a column that has not as many rows");
    SEXP names = PROTECT(read_row_names(reading, node, (R_xlen_t)rows));
    Rf_setAttrib(x, R_RowNamesSymbol, names);
    struct json said = bundle_member(node, "class");
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (has_class(said, known[i]))
            classes[count++] = known[i];
    classes[count++] = "data.frame";
    bundle_set_classes(x, count, classes);
    if (strcmp(classes[0], "data.table") == 0)
        x = call("as_data_table", Rf_list1(x));
    UNPROTECT(2);
    return x;
}

static SEXP read_sparse(struct bundle_reading *reading, struct bundle_node node)
{
    static const char *const keys[] = {"data", "indices", "indptr"};
    struct json shape = bundle_member(node, "shape");
    if (!json_is(bundle_member(node, "format"), "csc") || json_count(shape) != 2)
        bundle_refuse_node(reading, node, "a sparse matrix that is not compressed by columns");
    SEXP arrays = PROTECT(Rf_allocVector(VECSXP, 4));
    SEXP dim = Rf_allocVector(INTSXP, 2);
    SET_VECTOR_ELT(arrays, 3, dim);
    struct json_walk walk = json_walk(shape);
    struct json value;
    for (int i = 0; json_next(&walk, NULL, &value); i++) {
        int64_t extent = json_natural(value);
        if (extent < 0 || extent > INT_MAX)
            bundle_refuse_node(reading, node, "a sparse matrix with an extent that R cannot have");
        INTEGER(dim)[i] = (int)extent;
    }
    for (int i = 0; i < 3; i++) {
        struct bundle_node array = {bundle_member(node, keys[i]), node.place};
        if (!array.json.at)
            bundle_refuse_node(reading, node, "a sparse matrix without its three arrays");
        SET_VECTOR_ELT(arrays, i, bundle_read_node(reading, array));
    }
    SEXP x = call("sparse_of", Rf_list1(arrays));
    UNPROTECT(1);
    return x;
}

/* Refuses a node that has a key twice: readers disagree on which value counts. */
static void check_keys(const struct bundle_reading *reading, struct bundle_node node)
{
    enum { KEYS_MAX = 32 };
    struct json keys[KEYS_MAX], key, value;
    struct json_walk walk = json_walk(node.json);
    for (int count = 0; json_next(&walk, &key, &value); count++) {
        if (count == KEYS_MAX)
            bundle_refuse_node(reading, node, "a description with too many keys");
        for (int i = 0; i < count; i++)
            if (json_compare(keys[i], key) == 0)
                bundle_refuse_node(reading, node, "a description with a key twice");
        keys[count] = key;
    }
}

SEXP bundle_read_node(struct bundle_reading *reading, struct bundle_node node)
{
    if (!json_is_object(node.json) && strncmp(node.json.at, "null", 4) == 0)
        return R_NilValue;
    if (!json_is_object(node.json))
        bundle_refuse_node(reading, node, "a member that is not described");
    check_keys(reading, node);
    struct json kind = bundle_member(node, "kind");
    if (json_is(kind, "null"))
        return R_NilValue;
    if (json_is(kind, "array"))
        return bundle_read_array(reading, node);
    if (json_is(kind, "list"))
        return read_items(reading, node);
    if (json_is(kind, "frame"))
        return read_frame(reading, node);
    if (json_is(kind, "sparse"))
        return read_sparse(reading, node);
    bundle_refuse_node(reading, node, "a member of a kind that R does not know");
}

/* What another writer of safetensors made: row-major arrays, each with its name. */
static SEXP read_plain(struct bundle_reading *reading, const struct place *whole)
{
    const struct bundle *bundle = &reading->bundle;
    SEXP x = PROTECT(Rf_allocVector(VECSXP, (R_xlen_t)bundle->count));
    SEXP names = PROTECT(Rf_allocVector(STRSXP, XLENGTH(x)));
    for (size_t i = 0; i < bundle->count; i++) {
        const struct bundle_tensor *tensor = &bundle->tensors[i];
        SET_STRING_ELT(names, (R_xlen_t)i, bundle_string(reading, whole, tensor->name));
        struct place at = {
            .above = whole, .name = CHAR(STRING_ELT(names, (R_xlen_t)i)), .number = (int64_t)i + 1};
        struct bundle_array values;
        bundle_take(reading, &at, tensor->name, &values);
        if (json_count(tensor->shape) > 1)
            bundle_read_dim(reading, &at, tensor->shape, true, &values);
        SEXP array = PROTECT(bundle_numbers(reading, &values, reading->special, &at));
        if (values.ndim > 1)
            bundle_set_dim(array, &values);
        SET_VECTOR_ELT(x, (R_xlen_t)i, array);
        UNPROTECT(1);
    }
    Rf_setAttrib(x, R_NamesSymbol, names);
    UNPROTECT(2);
    return x;
}

static ssize_t read_segment(void *context, void *buffer, size_t size, off_t offset)
{
    const struct bundle_reading *reading = context;
    memcpy(buffer, (const char *)reading->segment + offset, size);
    return (ssize_t)size;
}

static SEXP read_whole(void *context)
{
    struct bundle_reading *reading = context;
    struct bundle_source source = {read_segment, reading, reading->size};
    struct place whole = {.name = "result"};
    int error = bundle_open(&reading->bundle, &source);
    if (error == -ENOMEM)
        raise_system(ENOMEM, "read the bundle from", reading->origin);
    if (error)
        bundle_refuse(reading, NULL, reading->bundle.fault);
    reading->taken = (bool *)R_alloc(reading->bundle.count + 1, sizeof(bool));
    memset(reading->taken, 0, reading->bundle.count + 1);
    struct bundle_node root = {reading->bundle.root, &whole};
    reading->foreign = !root.json.at;
    return root.json.at ? bundle_read_node(reading, root) : read_plain(reading, &whole);
}

static void close_bundle(void *context, Rboolean jump)
{
    (void)jump;
    struct bundle_reading *reading = context;
    bundle_close(&reading->bundle);
}

SEXP bundle_object(struct bundle_reading *reading)
{
    return R_UnwindProtect(read_whole, reading, close_bundle, reading, NULL);
}

SEXP pyrmap_bundle_object(SEXP bytes, SEXP special)
{
    struct bundle_reading reading = {.segment = RAW(bytes),
                                     .size = (size_t)XLENGTH(bytes),
                                     .origin = "these bytes",
                                     .special = Rf_asInteger(special),
                                     .holder = R_NilValue};
    return bundle_object(&reading);
}
