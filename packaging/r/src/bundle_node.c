// SPDX-License-Identifier: Apache-2.0
#include "bundle_node.h"

#include <limits.h>
#include <string.h>

_Noreturn void bundle_refuse(const struct bundle_reading *reading, const struct place *place, const char *why)
{
    SEXP origin = PROTECT(Rf_mkString(reading->origin));
    const char *where = place ? place_in_r(place) : "";
    SEXP member = PROTECT(Rf_ScalarString(Rf_mkCharCE(where, CE_UTF8)));
    raise_in_r("stop_damaged_bundle", Rf_list3(origin, member, PROTECT(Rf_mkString(why))));
}

_Noreturn void bundle_refuse_node(const struct bundle_reading *reading, struct bundle_node node,
                                  const char *why)
{
    bundle_refuse(reading, node.place, why);
}

struct json bundle_member(struct bundle_node node, const char *key)
{
    return json_get(node.json, key);
}

struct json bundle_text_member(const struct bundle_reading *reading, struct bundle_node node, const char *key)
{
    struct json value = bundle_member(node, key);
    if (value.at && !json_is_string(value))
        bundle_refuse_node(reading, node, "a description with something else where text is due");
    return value;
}

SEXP bundle_string(const struct bundle_reading *reading, const struct place *place, struct json string)
{
    const void *mark = vmaxget();
    size_t room = (size_t)(string.end - string.at);
    char *text = R_alloc(room, 1);
    size_t size = json_text(string, text, room);
    if (memchr(text, 0, size))
        bundle_refuse(reading, place, "a name with a NUL, which R's strings cannot have");
    SEXP x = Rf_mkCharLenCE(text, (int)size, CE_UTF8);
    vmaxset(mark);
    return x;
}

SEXP bundle_strings(const struct bundle_reading *reading, struct bundle_node node, struct json list)
{
    if (!json_is_array(list))
        bundle_refuse_node(reading, node, "names that are no list of texts");
    SEXP x = PROTECT(Rf_allocVector(STRSXP, (R_xlen_t)json_count(list)));
    struct json_walk walk = json_walk(list);
    struct json string;
    for (R_xlen_t i = 0; json_next(&walk, NULL, &string); i++) {
        if (!json_is_string(string))
            bundle_refuse_node(reading, node, "names that are no list of texts");
        SET_STRING_ELT(x, i, bundle_string(reading, node.place, string));
    }
    UNPROTECT(1);
    return x;
}

void bundle_read_dim(const struct bundle_reading *reading, const struct place *place, struct json dim,
                     bool row_major, struct bundle_array *array)
{
    size_t ndim = json_count(dim);
    int64_t product = 1;
    int larger = 0;
    if (!json_is_array(dim) || ndim == 0 || ndim > 64)
        bundle_refuse(reading, place, "a dim that is no list of extents");
    int64_t *extents = (int64_t *)R_alloc(ndim, sizeof(*extents));
    struct json_walk walk = json_walk(dim);
    struct json extent;
    for (size_t i = 0; json_next(&walk, NULL, &extent); i++) {
        extents[i] = json_natural(extent);
        if (extents[i] < 0 || extents[i] > INT_MAX || __builtin_mul_overflow(product, extents[i], &product))
            bundle_refuse(reading, place, "a dim with an extent that R cannot have");
        larger += extents[i] > 1;
    }
    if ((size_t)product != array->count)
        bundle_refuse(reading, place, "a dim that does not fit its values");
    array->ndim = (int)ndim;
    array->dim = extents;
    /* Where one extent alone is larger than 1, both orders are the same. */
    array->row_major = row_major && larger > 1;
}

void bundle_set_dim(SEXP x, const struct bundle_array *array)
{
    SEXP dim = PROTECT(Rf_allocVector(INTSXP, array->ndim));
    for (int i = 0; i < array->ndim; i++)
        INTEGER(dim)[i] = (int)array->dim[i];
    Rf_setAttrib(x, R_DimSymbol, dim);
    UNPROTECT(1);
}

void bundle_take(struct bundle_reading *reading, const struct place *place, struct json name,
                 struct bundle_array *array)
{
    const struct bundle_tensor *tensor = bundle_find(&reading->bundle, name);
    if (!tensor)
        bundle_refuse(reading, place, "a description that names no tensor");
    bool *taken = &reading->taken[tensor - reading->bundle.tensors];
    if (*taken)
        bundle_refuse(reading, place, "a tensor that belongs to two members");
    *taken = true;
    *array = (struct bundle_array){
        .dtype = tensor->dtype,
        .at = (const char *)reading->segment + tensor->begin,
        .bytes = tensor->count * bundle_dtype_size(tensor->dtype),
        .count = tensor->count,
    };
}

void bundle_set_classes(SEXP x, int count, const char *const *classes)
{
    SEXP class = PROTECT(Rf_allocVector(STRSXP, count));
    for (int i = 0; i < count; i++)
        SET_STRING_ELT(class, i, Rf_mkChar(classes[i]));
    Rf_setAttrib(x, R_ClassSymbol, class);
    UNPROTECT(1);
}
