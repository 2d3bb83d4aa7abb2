// SPDX-License-Identifier: Apache-2.0
/*
 * bundle_plan.c - from R's objects to the tree and the list of tensors.
 */
#include "bundle_plan.h"

#include "input.h"
#include "place.h"
#include "protocol/record.h"
#include "row_names.h"
#include "vector.h"
#include <langinfo.h>
#include <stdio.h>
#include <string.h>

static void plan_node(struct bundle_plan *plan, SEXP x, const struct place *place);
static void plan_strings(struct bundle_plan *plan, SEXP x, const struct place *place, const char *suffix);

static void add(struct bundle_plan *plan, const char *json)
{
    text_add_string(&plan->tree, json);
}

/* "key": */
static void add_key(struct bundle_plan *plan, const char *key)
{
    add(plan, ",\"");
    add(plan, key);
    add(plan, "\":");
}

/* Whether strings of the session's own encoding are UTF-8. Looked up once for each bundle. */
static bool native_is_utf8;

/* ASCII, the C locale's, says nothing of the bytes beyond it. */
static void look_up_native(void)
{
    const char *codeset = nl_langinfo(CODESET);
    native_is_utf8 = strcmp(codeset, "UTF-8") == 0 || strcmp(codeset, "ANSI_X3.4-1968") == 0;
}

const char *bundle_utf8(SEXP string, size_t *size)
{
    cetype_t encoding = Rf_getCharCE(string);
    if (encoding == CE_LATIN1 || (encoding == CE_NATIVE && !native_is_utf8)) {
        const char *bytes = Rf_translateCharUTF8(string);
        *size = strlen(bytes);
        return bytes;
    }
    *size = (size_t)LENGTH(string);
    return CHAR(string);
}

static const char *name_of(SEXP names, R_xlen_t i, const struct place *place)
{
    if (names == R_NilValue || STRING_ELT(names, i) == NA_STRING)
        return "";
    size_t size;
    const char *name = bundle_utf8(STRING_ELT(names, i), &size);
    if (!text_is_valid(name, size))
        place_refuse(place, "has a name that is not valid text");
    return name;
}

/* Tensors. */

static uint64_t hash_of(const char *name, size_t size)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)name[i]) * UINT64_C(1099511628211);
    return hash;
}

/* Where the name stands in the table, or would stand. */
static size_t *find_name(const struct bundle_plan *plan, const char *name, size_t size)
{
    size_t at = hash_of(name, size) % plan->slot_count;
    while (plan->slots[at] > 0) {
        const struct bundle_part *tensor = &plan->tensors[plan->slots[at] - 1];
        if (tensor->name_size == size && memcmp(plan->names.bytes + tensor->name, name, size) == 0)
            break;
        at = (at + 1) % plan->slot_count;
    }
    return &plan->slots[at];
}

/* Names are there for other readers of safetensors: a member's path, told apart where two are the same. */
static void give_name(struct bundle_plan *plan, struct bundle_part *tensor, const struct place *place,
                      const char *suffix, const char *part)
{
    struct text name = {.size = 0};
    place_dotted(place, &name);
    if (name.size == 0)
        text_add_string(&name, "x");
    text_add_string(&name, suffix);
    text_add_string(&name, part[0] ? "." : "");
    text_add_string(&name, part);
    size_t plain = name.size;
    bool reserved = plain == strlen("__metadata__") && memcmp(name.bytes, "__metadata__", plain) == 0;
    for (int again = 2; reserved || *find_name(plan, name.bytes, name.size) > 0; again++) {
        name.size = plain;
        text_add_string(&name, "_");
        text_add_number(&name, again);
        reserved = false;
    }
    tensor->name = plan->names.size;
    tensor->name_size = name.size;
    text_add(&plan->names, name.bytes, name.size);
}

static void make_room(struct bundle_plan *plan)
{
    size_t room = 2 * plan->room + 32;
    struct bundle_part *larger = (struct bundle_part *)R_alloc(room, sizeof(*larger));
    if (plan->count > 0)
        memcpy(larger, plan->tensors, plan->count * sizeof(*larger));
    plan->tensors = larger;
    plan->room = room;
    plan->slot_count = 2 * room;
    plan->slots = (size_t *)R_alloc(plan->slot_count, sizeof(*plan->slots));
    memset(plan->slots, 0, plan->slot_count * sizeof(*plan->slots));
    for (size_t i = 0; i < plan->count; i++)
        *find_name(plan, plan->names.bytes + larger[i].name, larger[i].name_size) = i + 1;
}

/* "key":"the tensor's name" */
static void plan_tensor(struct bundle_plan *plan, struct bundle_part tensor, const struct place *place,
                        const char *key, const char *suffix)
{
    if (plan->count == BUNDLE_TENSORS_MAX)
        place_refuse(place, "is one vector too many: a bundle holds 10000 at most. Join some in a matrix");
    if (plan->count == plan->room)
        make_room(plan);
    give_name(plan, &tensor, place, suffix, strcmp(key, "tensor") == 0 ? "" : key);
    plan->tensors[plan->count++] = tensor;
    const char *name = plan->names.bytes + tensor.name;
    *find_name(plan, name, tensor.name_size) = plan->count;
    add_key(plan, key);
    text_add_json(&plan->tree, name, tensor.name_size);
}

static void plan_numbers(struct bundle_plan *plan, SEXP x, enum source_type source, enum bundle_dtype dtype,
                         const struct place *place)
{
    struct bundle_part tensor = {.x = x, .values = VALUES_NUMBERS, .source = source, .dtype = dtype};
    tensor.dim = Rf_getAttrib(x, R_DimSymbol);
    tensor.bytes = (size_t)XLENGTH(x) * bundle_dtype_size(dtype);
    plan_tensor(plan, tensor, place, "tensor", "");
}

/* Attributes. */

static void add_integers(struct bundle_plan *plan, const int *values, int count)
{
    for (int i = 0; i < count; i++) {
        add(plan, i == 0 ? "[" : ",");
        text_add_number(&plan->tree, values[i]);
    }
    add(plan, count > 0 ? "]" : "[]");
}

static void add_strings(struct bundle_plan *plan, SEXP strings, const struct place *place)
{
    add(plan, "[");
    for (R_xlen_t i = 0; i < XLENGTH(strings); i++) {
        const char *string = name_of(strings, i, place);
        add(plan, i == 0 ? "" : ",");
        text_add_json(&plan->tree, string, strlen(string));
    }
    add(plan, "]");
}

/* Adds the names or levels of a vector; the name of their tensor ends in suffix. */
static void add_labels(struct bundle_plan *plan, const char *key, SEXP labels, const struct place *place,
                       const char *suffix)
{
    if (key)
        add_key(plan, key);
    if (labels == R_NilValue) {
        add(plan, "{\"kind\":\"null\"}");
        return;
    }
    add(plan, "{\"kind\":\"array\",\"type\":\"character\"");
    plan_strings(plan, labels, place, suffix);
    add(plan, "}");
}

static void plan_names(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    SEXP dim = Rf_getAttrib(x, R_DimSymbol);
    if (dim == R_NilValue) {
        SEXP names = PROTECT(Rf_getAttrib(x, R_NamesSymbol));
        if (names != R_NilValue)
            add_labels(plan, "names", names, place, ".names");
        UNPROTECT(1);
        return;
    }
    add_key(plan, "dim");
    add_integers(plan, INTEGER(dim), LENGTH(dim));
    SEXP dimnames = Rf_getAttrib(x, R_DimNamesSymbol);
    if (dimnames == R_NilValue)
        return;
    add_key(plan, "dimnames");
    for (int i = 0; i < LENGTH(dimnames); i++) {
        add(plan, i == 0 ? "[" : ",");
        add_labels(plan, NULL, VECTOR_ELT(dimnames, i), place, ".dimnames");
    }
    add(plan, "]");
    SEXP names = Rf_getAttrib(dimnames, R_NamesSymbol);
    if (names != R_NilValue) {
        add_key(plan, "dimnames_names");
        add_strings(plan, names, place);
    }
}

/* One string of an attribute. */
static void add_attribute(struct bundle_plan *plan, const char *key, SEXP value, const struct place *place)
{
    if (TYPEOF(value) != STRSXP || LENGTH(value) < 1 || STRING_ELT(value, 0) == NA_STRING)
        return;
    const char *text = name_of(value, 0, place);
    if (!text[0])
        return;
    add_key(plan, key);
    text_add_json(&plan->tree, text, strlen(text));
}

/* Vectors. */

static void add_type(struct bundle_plan *plan, const char *type)
{
    add(plan, "{\"kind\":\"array\",\"type\":\"");
    add(plan, type);
    add(plan, "\"");
}

/* The index (from 1) of the first NA, 0 without one. */
static size_t first_na(const struct bundle_plan *plan, SEXP x, enum source_type source)
{
    if (!plan->strings)
        return 0;
    SEXP found = pyrmap_first_na(x, PROTECT(Rf_ScalarInteger((int)source)));
    UNPROTECT(1);
    return (size_t)Rf_asReal(found);
}

static void refuse_na(const struct place *place, size_t index)
{
    char what[160];
    snprintf(what, sizeof(what),
             "has NA at [%zu], which NumPy's integers and bool have not: replace it, or use na = \"nan\"",
             index);
    place_refuse(place, what);
}

/* Logical, integer and integer64: where NA is, NumPy has nothing for it. */
static void plan_whole(struct bundle_plan *plan, SEXP x, const struct place *place, enum source_type source)
{
    size_t na = first_na(plan, x, source);
    bool kept = na > 0 && plan->na == NA_KEPT;
    if (na > 0 && plan->na == NA_IS_ERROR)
        refuse_na(place, na);
    if (source == SOURCE_INT64) {
        plan->special |= SPECIAL_INT64;
        add_type(plan, kept ? "number" : "integer64");
        plan_numbers(plan, x, source, BUNDLE_I64, place);
    } else if (source == SOURCE_LOGICAL && na == 0) {
        struct bundle_part booleans = {.x = x,
                                       .values = VALUES_BOOLEANS,
                                       .dtype = BUNDLE_BOOL,
                                       .bytes = (size_t)XLENGTH(x),
                                       .dim = Rf_getAttrib(x, R_DimSymbol)};
        add_type(plan, "logical");
        plan_tensor(plan, booleans, place, "tensor", "");
    } else {
        add_type(plan, kept ? "number" : source == SOURCE_LOGICAL ? "logical" : "integer");
        plan_numbers(plan, x, SOURCE_INTEGER, BUNDLE_I32, place);
    }
    if (na > 0 && !kept)
        add(plan, ",\"na\":true");
}

/* What data is without a bundle: dtype and the rules for NA were found for it already. */
static void plan_plain(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    enum source_type type = plan->plain.type;
    switch ((enum record_dtype)plan->plain.dtype) {
    case RECORD_FLOAT32:
        add_type(plan, "float32");
        plan_numbers(plan, x, type, BUNDLE_F32, place);
        break;
    case RECORD_INT32:
        if (type == SOURCE_LOGICAL) {
            plan_whole(plan, x, place, type);
            break;
        }
        add_type(plan, "integer");
        plan_numbers(plan, x, type, BUNDLE_I32, place);
        break;
    case RECORD_INT64:
        add_type(plan, type == SOURCE_INT64 ? "integer64" : "number");
        plan_numbers(plan, x, type, BUNDLE_I64, place);
        break;
    case RECORD_UINT8:
        add_type(plan, type == SOURCE_RAW ? "raw" : "number");
        plan_numbers(plan, x, type, BUNDLE_U8, place);
        break;
    default:
        add_type(plan, "double");
        plan_numbers(plan, x, type, BUNDLE_F64, place);
    }
}

static void plan_strings(struct bundle_plan *plan, SEXP x, const struct place *place, const char *suffix)
{
    R_xlen_t count = XLENGTH(x);
    size_t bytes = 0;
    bool missing = false;
    const SEXP *all = bundle_strings(x);
    for (R_xlen_t i = 0; plan->strings && i < count; i++) {
        SEXP string = bundle_string(x, all, i, count);
        if (string == NA_STRING) {
            missing = true;
            continue;
        }
        size_t size;
        const void *mark = vmaxget();
        const char *text = bundle_utf8(string, &size);
        if (!text_is_valid(text, size)) {
            struct place at = {.above = place, .number = i + 1};
            place_refuse(
                &at,
                "is no valid text: use iconv(x, from, \"UTF-8\") first, or charToRaw(x) to pass the bytes");
        }
        vmaxset(mark);
        bytes += size;
    }
    size_t number = (size_t)count;
    struct bundle_part tensor = {
        .x = x, .values = VALUES_BYTES, .dtype = BUNDLE_U8, .bytes = bytes, .dim = R_NilValue};
    struct bundle_part offsets = {.x = x,
                                  .values = VALUES_OFFSETS,
                                  .dtype = BUNDLE_I64,
                                  .bytes = (number + 1) * sizeof(int64_t),
                                  .dim = R_NilValue};
    struct bundle_part na = {
        .x = x, .values = VALUES_MISSING, .dtype = BUNDLE_U8, .bytes = number, .dim = R_NilValue};
    plan_tensor(plan, tensor, place, "tensor", suffix);
    plan_tensor(plan, offsets, place, "offsets", suffix);
    if (missing)
        plan_tensor(plan, na, place, "na", suffix);
}

static void plan_factor(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    SEXP levels = Rf_getAttrib(x, R_LevelsSymbol);
    if (TYPEOF(x) != INTSXP || TYPEOF(levels) != STRSXP)
        place_refuse(place, "is a damaged factor");
    add_type(plan, "factor");
    plan_numbers(plan, x, SOURCE_INTEGER, BUNDLE_I32, place);
    add_labels(plan, "levels", levels, place, ".levels");
    if (Rf_inherits(x, "ordered"))
        add(plan, ",\"ordered\":true");
}

static void plan_time(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    enum source_type source = TYPEOF(x) == INTSXP ? SOURCE_INTEGER : SOURCE_DOUBLE;
    bool date = Rf_inherits(x, "Date"), moment = Rf_inherits(x, "POSIXct");
    if (TYPEOF(x) != INTSXP && TYPEOF(x) != REALSXP)
        place_refuse(place, "is a damaged date or time");
    add_type(plan, date ? "date" : moment ? "posixct" : "difftime");
    plan_numbers(plan, x, source, date && source == SOURCE_INTEGER ? BUNDLE_I32 : BUNDLE_F64, place);
    if (moment)
        add_attribute(plan, "zone", Rf_getAttrib(x, Rf_install("tzone")), place);
    else if (!date)
        add_attribute(plan, "units", Rf_getAttrib(x, Rf_install("units")), place);
}

static void plan_complex(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    struct bundle_part tensor = {.x = x,
                                 .values = VALUES_COMPLEX,
                                 .dtype = BUNDLE_F64,
                                 .bytes = (size_t)XLENGTH(x) * sizeof(Rcomplex),
                                 .dim = Rf_getAttrib(x, R_DimSymbol)};
    add_type(plan, "complex");
    plan_tensor(plan, tensor, place, "tensor", "");
}

/* Without one of these classes a vector means the same to Python; of other classes we do not know. */
static bool is_plain_class(SEXP x)
{
    return !Rf_isObject(x) || Rf_inherits(x, "AsIs") || Rf_inherits(x, "table") || Rf_inherits(x, "ts") ||
           Rf_inherits(x, "noquote");
}

static void plan_vector(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    bool labelled = true;
    if (plan->plain.type && x == plan->plain.x) {
        plan_plain(plan, x, place);
        labelled = Rf_getAttrib(x, R_DimSymbol) != R_NilValue;
    } else if (Rf_inherits(x, "factor")) {
        plan_factor(plan, x, place);
    } else if (Rf_inherits(x, "Date") || Rf_inherits(x, "POSIXct") || Rf_inherits(x, "difftime")) {
        plan_time(plan, x, place);
    } else if (Rf_inherits(x, "integer64") && TYPEOF(x) == REALSXP) {
        plan_whole(plan, x, place, SOURCE_INT64);
    } else if (!is_plain_class(x)) {
        place_refuse_type(place, x);
    } else {
        switch (TYPEOF(x)) {
        case REALSXP:
            add_type(plan, "double");
            plan_numbers(plan, x, SOURCE_DOUBLE, BUNDLE_F64, place);
            break;
        case LGLSXP:
            plan_whole(plan, x, place, SOURCE_LOGICAL);
            break;
        case INTSXP:
            plan_whole(plan, x, place, SOURCE_INTEGER);
            break;
        case RAWSXP:
            plan->special |= SPECIAL_RAW;
            add_type(plan, "raw");
            plan_numbers(plan, x, SOURCE_RAW, BUNDLE_U8, place);
            break;
        case CPLXSXP:
            plan_complex(plan, x, place);
            break;
        default:
            add_type(plan, "character");
            plan_strings(plan, x, place, "");
        }
    }
    if (labelled)
        plan_names(plan, x, place);
    /* A raw scalar would be text of bytes to Python. */
    bool single = XLENGTH(x) == 1 && TYPEOF(x) != RAWSXP && Rf_getAttrib(x, R_DimSymbol) == R_NilValue;
    if (plan->arguments && single && !Rf_inherits(x, "AsIs") && !Rf_inherits(x, "factor"))
        add(plan, ",\"scalar\":true");
    add(plan, "}");
}

/* Lists and frames. */

static void plan_items(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    SEXP names = PROTECT(Rf_getAttrib(x, R_NamesSymbol));
    if (names != R_NilValue) {
        add_key(plan, "names");
        add_strings(plan, names, place);
    }
    add_key(plan, "items");
    add(plan, "[");
    for (R_xlen_t i = 0; i < XLENGTH(x); i++) {
        struct place at = {.above = place, .name = name_of(names, i, place), .number = i + 1};
        add(plan, i == 0 ? "" : ",");
        plan_node(plan, VECTOR_ELT(x, i), &at);
    }
    add(plan, "]");
    UNPROTECT(1);
}

static void plan_frame(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    static const char *const classes[] = {"tbl_df", "tbl", "data.table"};
    SEXP rows = row_names_stored(x);
    add(plan, "{\"kind\":\"frame\",\"rows\":");
    text_add_number(&plan->tree, (long long)row_names_count(rows));
    add_key(plan, "class");
    add(plan, "[");
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        if (Rf_inherits(x, classes[i])) {
            text_add_json(&plan->tree, classes[i], strlen(classes[i]));
            add(plan, ",");
        }
    }
    add(plan, "\"data.frame\"]");
    if (!row_names_are_counted(rows)) {
        if (TYPEOF(rows) == STRSXP) {
            add_labels(plan, "row_names", rows, place, ".row_names");
        } else {
            add_key(plan, "row_names");
            add_type(plan, "integer");
            struct bundle_part tensor = {.x = rows,
                                         .values = VALUES_NUMBERS,
                                         .source = SOURCE_INTEGER,
                                         .dtype = BUNDLE_I32,
                                         .bytes = (size_t)XLENGTH(rows) * sizeof(int),
                                         .dim = R_NilValue};
            plan_tensor(plan, tensor, place, "tensor", ".row_names");
            add(plan, "}");
        }
    }
    plan_items(plan, x, place);
    add(plan, "}");
}

static void plan_list(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    if (Rf_isObject(x) && !Rf_inherits(x, "AsIs") && !Rf_inherits(x, "vctrs_list_of"))
        place_refuse_type(place, x);
    add(plan, "{\"kind\":\"list\"");
    plan_items(plan, x, place);
    add(plan, "}");
}

/* One of the three arrays of a sparse matrix. */
static void plan_slot(struct bundle_plan *plan, SEXP x, const struct place *place, const char *slot,
                      const char *key)
{
    struct place at = {.above = place, .name = key};
    add_key(plan, key);
    plan_vector(plan, R_do_slot(x, Rf_install(slot)), &at);
}

static void plan_sparse(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    SEXP dim = R_do_slot(x, Rf_install("Dim"));
    add(plan, "{\"kind\":\"sparse\",\"format\":\"csc\",\"shape\":");
    add_integers(plan, INTEGER(dim), LENGTH(dim));
    plan_slot(plan, x, place, "x", "data");
    plan_slot(plan, x, place, "i", "indices");
    plan_slot(plan, x, place, "p", "indptr");
    add(plan, "}");
}

static void plan_node(struct bundle_plan *plan, SEXP x, const struct place *place)
{
    if (IS_S4_OBJECT(x)) {
        if (!Rf_inherits(x, "dgCMatrix"))
            place_refuse_type(place, x);
        plan_sparse(plan, x, place);
        return;
    }
    switch (TYPEOF(x)) {
    case NILSXP:
        add(plan, "{\"kind\":\"null\"}");
        return;
    case REALSXP:
    case INTSXP:
    case LGLSXP:
    case RAWSXP:
    case CPLXSXP:
    case STRSXP:
        plan_vector(plan, x, place);
        return;
    case VECSXP:
        if (++plan->nested > BUNDLE_NESTED_MAX)
            place_refuse(place, "lies too deep: lists are nested 14 deep at most. Flatten some");
        if (Rf_inherits(x, "data.frame"))
            plan_frame(plan, x, place);
        else
            plan_list(plan, x, place);
        plan->nested--;
        return;
    default:
        place_refuse_type(place, x);
    }
}

/* The root of a call: the function's first argument, and the others. */
static void plan_call(struct bundle_plan *plan, SEXP data, SEXP arguments, const struct place *place)
{
    SEXP args = VECTOR_ELT(arguments, 0), kwargs = VECTOR_ELT(arguments, 1);
    struct place in_args = {.name = "args", .dotted = "args"}, in_kwargs = {.name = "args"};
    add(plan, "{\"kind\":\"call\",\"x\":");
    plan_node(plan, data, place);
    plan->arguments = true;
    plan->na = NA_AS_NAN;
    add_key(plan, "args");
    add(plan, "[");
    for (R_xlen_t i = 0; i < XLENGTH(args); i++) {
        struct place at = {.above = &in_args, .number = i + 1};
        add(plan, i == 0 ? "" : ",");
        if (VECTOR_ELT(args, i) == R_NilValue)
            add(plan, "null");
        else
            plan_node(plan, VECTOR_ELT(args, i), &at);
    }
    add(plan, "],\"kwargs\":{");
    SEXP names = Rf_getAttrib(kwargs, R_NamesSymbol);
    for (R_xlen_t i = 0; i < XLENGTH(kwargs); i++) {
        struct place at = {.above = &in_kwargs, .name = name_of(names, i, &in_kwargs), .number = i + 1};
        add(plan, i == 0 ? "" : ",");
        text_add_json(&plan->tree, at.name, strlen(at.name));
        add(plan, ":");
        plan_node(plan, VECTOR_ELT(kwargs, i), &at);
    }
    add(plan, "}}");
}

void bundle_plan(struct bundle_plan *plan, SEXP data, SEXP arguments)
{
    struct place place = {.name = "data", .dotted = arguments == R_NilValue ? NULL : "x"};
    look_up_native();
    add(plan, "{\"version\":1,\"root\":");
    if (arguments == R_NilValue)
        plan_node(plan, data, &place);
    else
        plan_call(plan, data, arguments, &place);
    add(plan, "}");
}
