# SPDX-License-Identifier: Apache-2.0
# R's types and the five dtypes, whose codes are in layout.R.

# How C finds the values of `data` (enum source_type), or a condition that says what to pass instead.
source_type <- function(data) {
    if (is.object(data) && !inherits(data, c("integer64", "ts", "table", "AsIs", "noquote")))
        stop_type(data)
    if (inherits(data, "integer64") && is.double(data))
        return(3L)
    switch(typeof(data), double = 1L, integer = , logical = 2L, raw = 4L, stop_type(data))
}

stop_type <- function(data) {
    remedy <- if (is.factor(data)) {
        "pass as.integer(x) for its codes"
    } else if (is.data.frame(data)) {
        "pass as.matrix(x) of its numeric columns"
    } else if (is.object(data)) {
        "pass unclass(x) or as.numeric(x) for its numbers"
    } else {
        switch(typeof(data),
            character = "pass numbers: as.numeric(x), or charToRaw(x) for the bytes of a string",
            list = "pass one vector, matrix or array: unlist(x), or simplify2array(x)",
            complex = "pass rbind(Re(x), Im(x))",
            "NULL" = "pass numeric(0) for an empty input",
            "pass a numeric, integer, logical or raw vector, matrix or array")
    }
    kind <- if (is.object(data)) class(data)[1L] else typeof(data)
    stop_with("pyrmap_type_error",
                paste0("data of type ", kind, " cannot be exchanged",
                       if (length(data)) " (from element 1 on)", ": ", remedy),
                index = 1L)
}

# The code of dtype; NULL: what holds `type` without a change.
dtype_code <- function(dtype, type) {
    if (is.null(dtype))
        return(c(2L, 3L, 4L, 5L)[type])
    code <- if (is.character(dtype) && length(dtype) == 1L) dtypes[dtype] else NA
    if (is.na(code))
        stop("dtype must be one of ", paste0('"', names(dtypes), '"', collapse = ", "), call. = FALSE)
    code[[1L]]
}

check_dim <- function(data) {
    if (length(dim(data)) > 4L)
        stop("data has ", length(dim(data)), " dimensions, at most 4 can be exchanged: ",
             "drop or join some with dim(data) <-", call. = FALSE)
}

# What the C code needs to know of an input. It does not hold the data: R would count that as one more reference, and
# never forget it.
input_of <- function(data, dtype) {
    type <- source_type(data)
    check_dim(data)
    list(type = type, dtype = dtype_code(dtype, type), flat = length(dim(data)) == 1L)
}

has_bit64 <- function() {
    if (is.null(session$bit64))
        session$bit64 <- requireNamespace("bit64", quietly = TRUE)
    session$bit64
}
