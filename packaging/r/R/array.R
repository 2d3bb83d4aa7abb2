# SPDX-License-Identifier: Apache-2.0
# Arrays that live in a slot, and what is known of a vector.

pyrmap_array <- function(dim, dtype = "float64", mount = NULL) {
    session_check()
    if (missing(dim))
        stop_argument("pyrmap_array() needs `dim`")
    if (is.list(dim))
        return(array_list(dim, dtype, mount))
    code <- check_array(dim, dtype)
    if (prod(dim) == 0) {
        empty <- switch(dtype, int32 = integer(), uint8 = raw(), int64 = bit64::integer64(), double())
        return(if (length(dim) > 1L) array(empty, dim) else empty)
    }
    .Call(C_array_new, array_slot(mount), code, as.double(dim))
}

# The code of the dtype of an array that can be made.
check_array <- function(dim, dtype) {
    if (!is.numeric(dim) || length(dim) < 1L || length(dim) > 4L || anyNA(dim) || any(dim < 0 | dim != trunc(dim)))
        stop_argument("dim must be one to four whole numbers, none of them negative")
    if (length(dim) > 1L && any(dim > .Machine$integer.max))
        stop_argument("an extent above ", .Machine$integer.max, " is more than R's arrays can have")
    if (prod(dim) > 2^52)
        stop_argument("an array of more than 2^52 elements is more than R can have")
    code <- dtype_code(dtype)
    if (code == dtypes[["float32"]]) {
        stop_argument("R has no float32 to fill in place: use \"float64\", or pass an ordinary vector with ",
                      "dtype = \"float32\"")
    }
    if (code == dtypes[["int64"]] && !has_bit64())
        stop_argument("an int64 array needs the package bit64: install it, or use \"float64\"")
    code
}

# Several arrays in one slot.
array_list <- function(dims, dtype, mount) {
    if (!length(dims))
        stop_argument("a list of arrays needs the dim of one at least: list(X = c(1000, 10), y = 1000)")
    if (!is.character(dtype) || !length(dtype) %in% c(1L, length(dims)))
        stop_argument("dtype must be one for all members, or one for each")
    codes <- mapply(check_array, dims, dtype, USE.NAMES = FALSE)
    if (any(vapply(dims, prod, 0) == 0))
        stop_argument("a member of a list of arrays must not be empty: add it afterwards")
    .Call(C_array_list, array_slot(mount), as.integer(codes), lapply(dims, as.double))
}

# This is no part of pyrmap_array(), whose frame R would count as a reference to the array for ever.
array_slot <- function(mount) {
    with_root(mount, function(root) .Call(C_slot_new, root$path, root$live))
}

pyrmap_info <- function(x) {
    if (missing(x))
        return(session_info())
    info <- .Call(C_vector_info, x)
    if (is.null(info)) {
        info <- list(mapped = FALSE, bytes = NA_real_, copied = NA_real_, dtype = NA_character_, slot = NA_character_,
                     round = NA_real_, why_copied = NA_character_)
    } else {
        info$dtype <- if (is.logical(x) || is.character(x)) typeof(x) else names(dtypes)[match(info$dtype, dtypes)]
    }
    structure(info, class = "pyrmap_info")
}

print.pyrmap_info <- function(x, ...) {
    if (is.na(x$slot)) {
        cat("an ordinary R object, not from a slot\n")
    } else {
        cat(if (x$mapped) "mapped" else "copied", " from ", x$slot, ", round ", x$round, "\n",
            x$dtype, ", ", format(x$bytes, big.mark = ","), " bytes in the slot, ",
            format(x$copied, big.mark = ","), " bytes copied\n",
            if (!is.na(x$why_copied)) paste0("the last call copied it: ", x$why_copied, "\n"), sep = "")
    }
    invisible(x)
}
