# SPDX-License-Identifier: Apache-2.0
# R's types and the five dtypes, whose codes are in layout.R.

# enum source_type: how C finds the values of `data`.
sources <- c(double = 1L, integer = 2L, integer64 = 3L, raw = 4L, logical = 5L)

# enum vector_special: which of R's special types a result may have.
special <- c(raw = 1L, integer64 = 2L)

# The source of `data` that goes as numbers. NA: it goes as a bundle. Where it is no object this is on the way of each call.
source_type <- function(data) {
    if (is.object(data)) {
        if (!inherits(data, number_classes) || is.factor(data))
            return(NA_integer_)
        if (inherits(data, "integer64"))
            return(sources[["integer64"]])
    }
    switch(typeof(data), double = , integer = , raw = , logical = sources[[typeof(data)]], NA_integer_)
}

# The dtype that holds values of a source as they are: in the order of sources.
own_dtype <- function(source) c(2L, 3L, 4L, 5L, 3L)[source]

dtype_code <- function(dtype) {
    code <- if (is.character(dtype) && length(dtype) == 1L) dtypes[dtype] else NA
    if (is.na(code))
        stop_argument("dtype must be one of ", paste0('"', names(dtypes), '"', collapse = ", "))
    code[[1L]]
}

check_na <- function(na) {
    if (!identical(na, "nan") && (!is.character(na) || length(na) != 1L || !na %in% c("error", "keep")))
        stop_argument("na must be \"nan\", \"error\" or \"keep\"")
    na
}

# The dtype for data with NA at index: the integers of NumPy have no NA. wanted: the dtype that was asked for, or NULL.
dtype_of_na <- function(data, source, index, wanted, na) {
    own <- own_dtype(source)
    if (na == "error")
        stop_na(data, index, names(dtypes)[match(own, dtypes)])
    if (na == "keep" && (is.null(wanted) || wanted == own))
        return(own)
    # An integer type that was asked for refuses NA when it is converted; its own would let the bits pass.
    if (!is.null(wanted) && wanted == own)
        stop_na(data, index, names(dtypes)[match(own, dtypes)])
    if (is.null(wanted)) dtypes[["float64"]] else wanted
}

check_dim <- function(data) {
    if (length(dim(data)) > 4L)
        stop_argument("data has ", length(dim(data)), " dimensions, at most 4 can be exchanged: ",
                      "drop or join some with dim(data) <-")
}

# What the C code needs to know of an input, and of which types its results are. It does not hold the data: R would count
# that as one more reference, and never forget it.
input_of <- function(data, dtype, na) {
    source <- source_type(data)
    if (is.na(source))
        return(input_of_bundle(data, dtype, na))
    check_dim(data)
    wanted <- if (!is.null(dtype)) dtype_code(dtype)
    code <- if (is.null(wanted)) own_dtype(source) else wanted
    na <- check_na(na)
    missing <- if (source == sources[["double"]] || source == sources[["raw"]]) 0 else .Call(C_first_na, data, source)
    if (missing > 0)
        code <- dtype_of_na(data, source, missing, wanted, na)
    # A logical vector that is not to arrive as bool goes as the integers that R stores.
    if (source == sources[["logical"]] && (missing > 0 || !is.null(wanted)))
        source <- sources[["integer"]]
    list(type = source, dtype = code, flat = length(dim(data)) == 1L, special = special_of(source), na = na, bundle = FALSE,
         names = .Call(C_names_of, data))
}

# Only callers who used R's special types themselves get them back: see enum vector_special.
special_of <- function(source) {
    if (source == sources[["raw"]])
        return(special[["raw"]])
    if (source == sources[["integer64"]])
        return(special[["integer64"]])
    choice <- getOption("pyrmap.int64")
    if (is.null(choice) || identical(choice, "double"))
        return(0L)
    if (!identical(choice, "integer64"))
        stop_argument("the option pyrmap.int64 must be \"double\" or \"integer64\"")
    if (!has_bit64())
        stop_argument("the option pyrmap.int64 asks for integer64: install the package bit64, or unset it")
    special[["integer64"]]
}

has_bit64 <- function() {
    if (is.null(session$bit64))
        session$bit64 <- requireNamespace("bit64", quietly = TRUE)
    session$bit64
}
