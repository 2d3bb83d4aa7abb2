# SPDX-License-Identifier: Apache-2.0
# A job: which script, which function in it, with what. It travels as JSON.

module_pattern <- "^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*$"

# "script.py", "script.py::fun" or "module::fun". The text is made once for the same script, arguments and directory: it costs
# as much as a small exchange. That the script exists is looked at each time.
# at_once: how many of the same call may run at the same time. carried: arguments may travel with the input, in $arguments; else all
# of them are JSON. Jobs with the same key share workers, jobs with the same number are the same.
job_of <- function(script, args, env, python, isolation, preload, at_once = 1L, carried = TRUE) {
    if (!is.character(script) || length(script) != 1L || is.na(script))
        stop_argument("a script must be one path, \"script.py\" or \"script.py::function\", or \"module::function\"")
    key <- list(args, env, getwd(), python, getOption("pyrmap.python"), .Call(C_environment_version), isolation, preload, at_once,
                carried)
    known <- session$jobs[[script]]
    if (!is.null(known) && identical(known$key, key) && (known$job$module || file.exists(known$job$script)))
        return(known$job)
    check_isolation(isolation)
    check_preload(preload)
    python <- interpreter(python)
    path <- script
    fun <- NULL
    if (grepl("::", script, fixed = TRUE)) {
        path <- sub("::[^:]*$", "", script)
        fun <- sub("^.*::", "", script)
        if (!nzchar(fun))
            stop_argument("there is no function name after the :: of ", script)
    }
    full <- normalizePath(path, mustWork = FALSE)
    found <- file.exists(full) && !dir.exists(full)
    module <- !found && !is.null(fun) && grepl(module_pattern, path) && !endsWith(path, ".py")
    if (!found && !module) {
        stop_with("pyrmap_missing_script",
                    paste0("there is no Python script ", path, ": paths are relative to getwd(), which is ", getwd()),
                    script = path)
    }
    if (module)
        full <- path
    args <- check_args(args, fun, script)
    arguments <- if (carried && !is.null(fun)) arguments_of(args)
    args <- without(args, arguments)
    task <- list(full, "function" = fun, args = args$positional, kwargs = args$named, cwd = getwd())
    names(task)[1L] <- if (module) "module" else "script"
    if (!is.null(fun))
        task$arrays <- c(array_args(args$positional, "\"args\""), array_args(args$named, "\"kwargs\""))
    if (isolation != "session")
        task$isolation <- isolation
    job <- list(script = full, module = module, fun = fun,
                label = paste0(basename(path), if (!is.null(fun)) paste0("::", fun)), task = to_json(task),
                arguments = arguments, env = check_env(env), python = python, isolation = isolation, preload = preload,
                at_once = at_once, key = paste(c(python$path, isolation, full, preload), collapse = "\n"),
                number = session$job_number <- session$job_number + 1)
    # We keep no large arguments beyond the call.
    session$jobs[[script]] <- if (is.null(arguments)) list(key = key, job = job)
    job
}

# Which of list(positional, named) travel with the input: list(args, kwargs), with each in its place. NULL if none does.
arguments_of <- function(args) {
    args <- lapply(args, function(part) {
        moved <- vapply(part, in_bundle, NA)
        part[!moved] <- list(NULL)
        part
    })
    if (!all(vapply(c(args$positional, args$named), is.null, NA)))
        list(args = args$positional, kwargs = args$named[!vapply(args$named, is.null, NA)])
}

# The arguments that are left for JSON, with NULL in the places of those that travel.
without <- function(args, arguments) {
    if (is.null(arguments))
        return(args)
    args$positional[!vapply(arguments$args, is.null, NA)] <- list(NULL)
    args$named <- args$named[!names(args$named) %in% names(arguments$kwargs)]
    args
}

check_args <- function(args, fun, script) {
    if (is.null(args))
        args <- list()
    if (!is.list(args) && !is.atomic(args))
        stop_argument("args must be a list, as in list(3L, method = \"fast\"), and not a ", class(args)[1L])
    if (!is.null(dim(args)) && !is.list(args))
        stop_argument("args must be a list: list(x) passes a matrix or array as one argument")
    if (!is.list(args))
        args <- as.list(args)
    named <- if (is.null(names(args))) rep(FALSE, length(args)) else nzchar(names(args))
    if (any(named) && is.null(fun)) {
        stop_argument("named args are for a function: use \"", script, "::function\"; ",
                      "a whole script gets unnamed ones as sys.argv")
    }
    kwargs <- args[named]
    list(positional = unname(args[!named]),
         named = if (length(kwargs)) kwargs else structure(list(), names = character()))
}

# args of several scripts: a list with one element for each (a list of arguments, or NULL).
jobs_of <- function(scripts, args, env, ..., at_once = 1L, carried = TRUE) {
    if (!is.character(scripts) || length(scripts) == 0L)
        stop_argument("script_paths must be a character vector with at least one path")
    if (!is.null(args) && (!is.list(args) || length(args) != length(scripts)))
        stop_argument("args must be a list with one list of arguments (or NULL) for each script")
    # Only the first stage of a pipeline has its input from R.
    jobs <- lapply(seq_along(scripts), function(i) {
        job_of(scripts[[i]], args[[i]], env, ..., at_once = at_once, carried = carried && i == 1L)
    })
    labels <- sub("\\.py(::|$)", "\\1", vapply(jobs, `[[`, "", "label"))
    given <- names(scripts)
    if (!is.null(given))
        labels[nzchar(given)] <- given[nzchar(given)]
    names(jobs) <- make.unique(labels)
    jobs
}

# Environment variables as the task has them: a named list of texts, NULL for one to unset.
check_env <- function(env) {
    if (length(env) == 0L)
        return(NULL)
    single <- (is.list(env) || is.atomic(env)) && all(vapply(env, function(value) is.atomic(value) && length(value) == 1L, NA))
    if (!single || is.null(names(env)) || !all(grepl("^[^=]+$", names(env))))
        stop_argument("env must have names and one text for each: c(NAME = \"value\"), NA to unset one")
    lapply(as.list(env), function(value) if (is.na(value)) NULL else as.character(value))
}

json_string <- function(x) {
    x <- enc2utf8(x)
    if (any(!validUTF8(x)))
        stop_argument("args and paths must be valid text")
    x <- gsub("\\", "\\\\", x, fixed = TRUE)
    x <- gsub("\"", "\\\"", x, fixed = TRUE)
    if (any(grepl("[[:cntrl:]]", x))) {
        for (code in 1:31)
            x <- gsub(intToUtf8(code), sprintf("\\u%04x", code), x, fixed = TRUE)
    }
    paste0("\"", x, "\"")
}

# Doubles stay floats in Python: 3 is 3.0. The shortest digits that read back to the same value.
json_double <- function(x) {
    text <- rep("null", length(x))
    text[is.nan(x)] <- "NaN"
    text[is.infinite(x)] <- ifelse(x[is.infinite(x)] > 0, "Infinity", "-Infinity")
    finite <- is.finite(x)
    digits <- sprintf("%.15g", x[finite])
    longer <- as.numeric(digits) != x[finite]
    digits[longer] <- sprintf("%.17g", x[finite][longer])
    whole <- !grepl("[.e]", digits)
    digits[whole] <- paste0(digits[whole], ".0")
    text[finite] <- digits
    text
}

json_scalars <- function(x) {
    if (is.object(x) && !inherits(x, c("AsIs", "integer64")))
        stop_argument("args of class ", class(x)[1L], " cannot be passed here: convert them to numbers or text, or make them members of `data`")
    if (inherits(x, "integer64"))
        return(ifelse(is.na(x), "null", as.character(x)))
    switch(typeof(x),
        logical = ifelse(is.na(x), "null", ifelse(x, "true", "false")),
        integer = ifelse(is.na(x), "null", as.character(x)),
        double = json_double(x),
        character = ifelse(is.na(x), "null", json_string(x)),
        stop_argument("args of type ", typeof(x), " cannot be passed here: make them members of `data`, as in list(x = x, y = y)"))
}

# Says where vectors, matrices and arrays are among the arguments: JSON has lists for them, and Python makes arrays of those. What
# has length 1, and neither dim nor I(), is a scalar. at: the path to x, as JSON.
array_args <- function(x, at) {
    if (is.list(x)) {
        keys <- if (is.null(names(x))) seq_along(x) - 1L else vapply(names(x), json_string, "", USE.NAMES = FALSE)
        return(do.call(c, Map(array_args, unname(unclass(x)), paste0(at, ", ", keys, recycle0 = TRUE))))
    }
    if (is.null(x) || inherits(x, "json") || is_scalar(x))
        return(NULL)
    if (inherits(x, "integer64")) {
        # float64 need not hold them: Python's own integers do, with None.
        dtype <- if (.Call(C_first_na, x, sources[["integer64"]]) > 0) "object" else "int64"
    } else {
        dtype <- switch(typeof(x), logical = if (anyNA(x)) "float64" else "bool",
                        integer = if (anyNA(x)) "float64" else "int32", character = "object", "float64")
    }
    shape <- if (is.null(dim(x))) length(x) else dim(x)
    list(structure(sprintf("{\"at\": [%s], \"shape\": [%s], \"dtype\": \"%s\"}", at, paste(shape, collapse = ", "), dtype),
                   class = "json"))
}

is_scalar <- function(x) {
    length(x) == 1L && is.null(dim(x)) && !inherits(x, "AsIs")
}

# Lists in lists, rows first.
json_array <- function(scalars, dim) {
    text <- as.vector(aperm(array(scalars, dim), rev(seq_along(dim))))
    for (extent in rev(dim)) {
        if (!length(text))
            return("[]")
        text <- apply(matrix(text, extent), 2L, function(part) paste0("[", paste(part, collapse = ", "), "]"))
    }
    text
}

# A vector of length 1 is a scalar, unless it is I()ed; a named list is an object; a matrix or array lists in lists.
to_json <- function(x) {
    if (is.null(x))
        return("null")
    if (inherits(x, "json"))
        return(unclass(x))
    if (is.list(x)) {
        inner <- vapply(unname(unclass(x)), to_json, "")
        if (is.null(names(x)))
            return(paste0("[", paste(inner, collapse = ", "), "]"))
        keys <- vapply(names(x), json_string, "", USE.NAMES = FALSE)
        return(paste0("{", paste0(keys, ": ", inner, recycle0 = TRUE, collapse = ", "), "}"))
    }
    scalars <- json_scalars(x)
    if (!is.null(dim(x)))
        return(json_array(scalars, dim(x)))
    if (is_scalar(x))
        return(scalars)
    paste0("[", paste(scalars, collapse = ", "), "]")
}
