# SPDX-License-Identifier: Apache-2.0
# Arrays that live in a slot, and what is known of a vector.

pyrmap_array <- function(dim, dtype = "float64", mount = NULL) {
    session_check()
    if (!is.numeric(dim) || length(dim) < 1L || length(dim) > 4L || anyNA(dim) || any(dim < 0 | dim != trunc(dim)))
        stop("dim must be one to four whole numbers, none of them negative", call. = FALSE)
    if (length(dim) > 1L && any(dim > .Machine$integer.max))
        stop("an extent above ", .Machine$integer.max, " is more than R's arrays can have", call. = FALSE)
    code <- dtype_code(dtype)
    if (code == dtypes[["float32"]]) {
        stop("R has no float32 to fill in place: use \"float64\", or pass an ordinary vector with dtype = \"float32\"",
             call. = FALSE)
    }
    if (code == dtypes[["int64"]] && !has_bit64())
        stop("an int64 array needs the package bit64: install it, or use \"float64\"", call. = FALSE)
    if (prod(dim) == 0) {
        empty <- switch(dtype, int32 = integer(), uint8 = raw(), int64 = bit64::integer64(), double())
        return(if (length(dim) > 1L) array(empty, dim) else empty)
    }
    .Call(C_array_new, array_slot(mount), code, as.double(dim))
}

# Not in pyrmap_array's own frame: R would count that as a reference to the array for ever.
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
        info$dtype <- if (is.logical(x)) "logical" else names(dtypes)[match(info$dtype, dtypes)]
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
