// SPDX-License-Identifier: Apache-2.0
/*
 * vector.h - R vectors (ALTREP) whose values lie in a mapped segment.
 *
 * A vector is in one of three kinds:
 *  - mapped: the pages of a published segment, mapped private. Reads see the segment, a store copies its page.
 *    Nothing that R does reaches the segment, and nothing in the segment ever changes. Where R has no such
 *    type (float32, int64, uint8) we widen single values as R reads them, and all of them when R first asks
 *    for a pointer: then the vector is copied.
 *  - filling: a pyrmap_array that is not published yet, mapped shared. A store is the segment's.
 *  - copied: an ordinary vector behind the same class. Small results are.
 */
#ifndef PYRMAP_VECTOR_H
#define PYRMAP_VECTOR_H

#include "map.h"
#include "slot.h"

/* Which of R's special types a vector may have: those that the caller used, or that the record names. */
enum vector_special {
    SPECIAL_RAW = 1,     /* uint8 is raw, else integer */
    SPECIAL_INT64 = 2,   /* int64 is bit64's integer64, else double */
    SPECIAL_LOGICAL = 4, /* int32 is logical, else integer */
};

/* Results below this size are copied: the kernel allows 65530 mappings, and sessions keep more small results
 * than that. */
enum { VECTOR_MAPPED_LEAST = 65536 };

/* Behind data1 of each vector. data2 is the ordinary vector of one that is copied, else NULL. */
struct vector {
    pid_t creator;
    void *address; /* NULL: not mapped, the values are in data2 */
    size_t size;   /* bytes of the segment */
    R_xlen_t length;
    int32_t dtype;
    SEXPTYPE type;  /* R's */
    bool widened;   /* the segment's values are not R's: see widen() */
    bool integer64; /* it has bit64's class */
    uint64_t round;
    size_t copied;        /* bytes copied in its making */
    size_t header;        /* of a bundle that R fills in place: the bytes that are kept free for its header */
    struct vector *whole; /* of a part: the bundle, whose mapping the external pointer protects; else NULL */
    struct slot *lender;  /* see lend.h; NULL: none */
    bool array;           /* a pyrmap_array, or moved: data.bin of the slot that the pointer protects */
    bool filling;         /* mapped shared */
    bool published;       /* its slot is READY or later */
    bool touched;         /* since then somebody asked for a writable pointer to it or to a part of it */
    bool logical;         /* it was published as logical */
    bool remembered;      /* a bundle: see array_remember() */
    bool waited;          /* publishing it was refused, for a while, with EBUSY */
    const char *why_copied; /* why the last run copied it, NULL if it did not: a static text */
    const char *offsets;    /* of text: see text_vector_new() */
    const char *missing;
    bool complete; /* all strings were made */
    int ndim;      /* as published */
    int dim[RECORD_NDIM_MAX];
    char path[];
};

void vector_register(DllInfo *info);

bool is_vector(SEXP x);
struct vector *vector_of(SEXP x);

/* Bytes of one of its elements in R. */
size_t vector_element(const struct vector *vector);

/* Not mapped yet. special: of enum vector_special. Raises an R error without memory. */
struct vector *vector_new(const struct slot *slot, int32_t dtype, int special, R_xlen_t length);
/* The external pointer that owns the vector; slot: what that keeps alive, or NULL. */
SEXP vector_pointer(struct vector *vector, SEXP slot);
/* The R vector. values: the ordinary vector of one that is copied, else NULL. */
SEXP vector_wrap(SEXP pointer, SEXP values);

/* The R vector of values that lie in the mapping of whole, a bundle, at an address that suits them. holder: whole's pointer. */
SEXP vector_part(struct vector *whole, SEXP holder, void *address, int32_t dtype, int special,
                 R_xlen_t length);

/* Maps SLOT/name; MAP_FILL gives it its size first. 0 or -errno. */
int vector_map(struct vector *vector, const struct slot *slot, const char *name, enum map_mode mode);
void vector_unmap(struct vector *vector);

/* Call it before you map size bytes. It runs R's collector when enough mappings have come together. */
void mapped_account(const struct slot *slot, size_t size);
/* Runs R's collector. Whether mappings went: TRUE or FALSE. */
SEXP pyrmap_collect(void);
/* Whether so many mappings are in use (the kernel allows 65530) that the next results are better copied. */
bool mapped_enough(void);

/*
 * The result of a slot in DONE, with its dim; a symbol in FAILED. Either is taken then. special: of enum
 * vector_special. keep: a 1-d array stays one. round: which one it has to be of, or NULL for any. Raises
 * pyrmap_round_lost if the slot went on, pyrmap_loss if a value has no counterpart in R's type.
 */
SEXP pyrmap_slot_result(SEXP slot, SEXP special, SEXP keep, SEXP round);

/*
 * Remembers x as the R object that the bundle holds. From now on R copies x before it changes it: where we find x again, only
 * stores into its pages can have changed it, and `touched` tells those. x lives as long as one of its parts does.
 */
void array_remember(SEXP holder, SEXP x);

SEXP pyrmap_array_new(SEXP slot, SEXP dtype, SEXP dim);
/* Several in one bundle: a list. dtypes: one for each; dims: a list, with the names that the list gets. */
SEXP pyrmap_array_list(SEXP slot, SEXP dtypes, SEXP dims);
/*
 * The slot below root that holds x as its published input, if x can be passed on without a copy, else NULL.
 * Publishes it when it is asked for the first time. type: of enum source_type.
 */
SEXP pyrmap_array_holder(SEXP x, SEXP type, SEXP dtype, SEXP root);
/* The same of a list or data frame. */
SEXP pyrmap_bundle_holder(SEXP x, SEXP root);
SEXP pyrmap_vector_info(SEXP x);

/*
 * The slot that holds what x, or the bundle that x is a part of, has mapped, as its published input; NULL if there is none, or
 * stores have changed the pages since.
 */
struct slot *array_published(SEXP x);

#endif
