# SPDX-License-Identifier: Apache-2.0
# Bundles: lists, data frames, text and what else is no plain vector of numbers. C writes and reads them; here is what it calls.

# Numbers of these classes mean the same to Python without the class.
number_classes <- c("integer64", "ts", "table", "AsIs", "noquote")

# As input_of().
input_of_bundle <- function(data, dtype, na) {
    special <- bitwOr(special_of(0L), .Call(C_bundle_check, data, NULL, check_na(na)))
    if (!is.null(dtype)) {
        stop_argument("dtype is for a vector, matrix or array of numbers: convert the members of a list, or the columns of a ",
                      "data frame, themselves")
    }
    list(type = 0L, dtype = 0L, flat = FALSE, special = special, na = na, bundle = TRUE,
         names = .Call(C_names_of, data))
}

# Adds to an input the arguments that travel with it, list(args, kwargs) or NULL: those that JSON cannot say, or not in few words.
with_arguments <- function(input, arguments) {
    if (is.null(arguments))
        return(input)
    input$special <- bitwOr(input$special, .Call(C_bundle_check, NULL, arguments, "nan"))
    input$arguments <- arguments
    input$bundle <- TRUE
    input
}

# An argument with more values than this goes into the bundle.
json_values_max <- 1000

in_bundle <- function(x) {
    !has_json(x) || count_values(x) > json_values_max
}

has_json <- function(x) {
    if (is.list(x))
        return(!is.object(x) && all(vapply(x, has_json, NA)))
    is.null(x) || (typeof(x) %in% c("logical", "integer", "double", "character") &&
                   (!is.object(x) || inherits(x, c("AsIs", "integer64")) && !is.factor(x)))
}

count_values <- function(x) {
    if (is.list(x)) sum(vapply(x, count_values, 0)) else as.double(length(x))
}

# where: as R writes it. why: with the remedy.
stop_member <- function(where, why) {
    stop_with("pyrmap_type_error", paste(where, why), member = where)
}

stop_member_type <- function(where, x) {
    kind <- if (is.object(x)) class(x)[1L] else typeof(x)
    stop_with("pyrmap_type_error", paste0(where, " is of type ", kind, ", which cannot be exchanged: ", remedy_of(x)),
              member = where)
}

# What to pass instead.
remedy_of <- function(x) {
    if (inherits(x, "POSIXlt"))
        return("pass as.POSIXct(x)")
    if (inherits(x, "Matrix"))
        return("pass as(as(x, \"generalMatrix\"), \"CsparseMatrix\") of doubles, or as.matrix(x)")
    if (inherits(x, "sparseVector"))
        return("pass as.numeric(x)")
    if (isS4(x))
        return("pass a list of the slots that Python needs")
    if (is.function(x))
        return("leave it out, Python cannot call it")
    if (is.environment(x))
        return("pass as.list(x), or leave it out")
    if (is.object(x))
        return("pass unclass(x) for what is in it")
    "leave it out, or pass deparse(x) for its text"
}

# Called from C: a value of a result that R's type for it cannot hold. where: result, or a member of it.
stop_member_value <- function(where, what) {
    stop_with("pyrmap_loss", paste(where, what), member = where)
}

# Called from C. where: "" for the whole.
stop_damaged_bundle <- function(origin, where, why) {
    stop_with("pyrmap_damaged_bundle",
              paste0("the bundle from ", origin, " cannot be read: ", if (nzchar(where)) paste0(where, " has "), why),
              member = where)
}

# Called from C, with a data.frame that was one.
as_data_table <- function(frame) {
    if (requireNamespace("data.table", quietly = TRUE))
        return(data.table::setDT(frame)[])
    class(frame) <- "data.frame"
    frame
}

# Called from C: list(data, indices, indptr, dim). Somebody else wrote them: new() checks that they are a matrix.
sparse_of <- function(arrays) {
    if (!requireNamespace("Matrix", quietly = TRUE)) {
        stop_with("pyrmap_missing_package",
                  "the result has a sparse matrix: install the package Matrix, or return x.toarray() from Python")
    }
    tryCatch(methods::new(methods::getClass("dgCMatrix", where = asNamespace("Matrix")), x = as.double(arrays[[1L]]),
                          i = as.integer(arrays[[2L]]), p = as.integer(arrays[[3L]]), Dim = arrays[[4L]]),
             error = function(condition) {
                 stop_with("pyrmap_damaged_bundle", paste0("the result has a damaged sparse matrix: ", conditionMessage(condition)))
             })
}
