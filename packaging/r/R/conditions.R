# SPDX-License-Identifier: Apache-2.0
# What goes wrong, as conditions: each has its class, then "pyrmap_error", and a message with the remedy.

stop_with <- function(class, message, ..., call = NULL) {
    stop(structure(class = c(class, "pyrmap_error", "error", "condition"),
                   list(message = message, call = call, ...)))
}

stop_argument <- function(...) {
    stop_with("pyrmap_argument_error", paste0(...))
}

# One string, not empty.
check_text <- function(value, name, what) {
    if (!is.character(value) || length(value) != 1L || is.na(value) || !nzchar(value))
        stop_argument(name, " must be ", what)
}

check_choice <- function(value, name, choices) {
    if (!is.character(value) || length(value) != 1L || !value %in% choices)
        stop_argument(name, " must be ", paste0("\"", choices, "\"", collapse = " or "))
    value
}

check_flag <- function(value, name) {
    if (!is.logical(value) || length(value) != 1L || is.na(value))
        stop_argument(name, " must be TRUE or FALSE")
}

# Called from C, as the next one is.
stop_round_lost <- function(path) {
    stop_with("pyrmap_round_lost", paste0(path, " went on to another round before its result was read"))
}

# error: the symbolic errno. path: of a slot or of a mount.
stop_system <- function(operation, path, error, reason) {
    remedy <- switch(error,
        ENOSPC = , EDQUOT = space_remedy(error, path),
        EMFILE = "this R process has too many files open: close some, rm() arrays that are no longer needed, or raise ulimit -n",
        ENFILE = "the machine has too many files open",
        ENOMEM = paste("this R process has no memory or no mapping left: rm() results and arrays that are no longer needed,",
                       "or raise sysctl vm.max_map_count"),
        ENOTCONN = "the filesystem is gone: mount it again",
        EACCES = , EPERM = "this user may not: see the permissions of the mount (ls -l)",
        EBUSY = "somebody else uses this slot or still has its file open for writing",
        EIO = "see the slot's error file",
        ECANCELED = "the round was cancelled by somebody else",
        NULL)
    refused <- if (error %in% c("EBUSY", "EPROTO", "EINVAL", "EACCES", "EPERM")) slot_fields(path)["refused"]
    refused <- refused[!is.na(refused) & nzchar(refused)]
    stop_with("pyrmap_system_error",
                paste0("cannot ", operation, " ", path, ": ", reason, if (!is.null(remedy)) paste0(" (", remedy, ")"),
                       if (length(refused)) paste0("; metadata.txt says refused=", refused)),
                operation = operation, path = path, errno = error)
}

# The mount that path is, or lies in.
mount_of <- function(path) {
    if (is_mount(path)) path else dirname(path)
}

# What is full, and what to do.
space_remedy <- function(error, path) {
    mount <- mount_of(path)
    if (error == "EDQUOT") {
        return(paste0("your share of ", mount, ", or your job's, is used up, of its bytes or of its slots (limits.bytes_per_user, ",
                      "limits.bytes_per_job, limits.slots_per_user): rm() results and arrays that are no longer needed, and gc()"))
    }
    sizes <- tryCatch({
        status <- readLines(file.path(mount, ".pyrmap", "status"), warn = FALSE)
        size <- function(key) sub(".*\\((.*)\\)$", "\\1", grep(paste0("^", key, ":"), status, value = TRUE)[1L])
        paste0(" (arena.capacity ", size("capacity"), ", used ", size("used"), ")")
    }, error = function(condition) "")
    paste0("the arena of ", mount, sizes, " has no room for it: rm() results and arrays that are no longer needed, and gc(), ",
           "remove slots of others (pyrmap_slots() lists them), or give arena.capacity more")
}

# Called from C: an int64 result with a value that no double is equal to.
stop_inexact_result <- function(index, digits) {
    stop_with("pyrmap_loss",
                paste0("element ", format(index, big.mark = "", scientific = FALSE), " of the int64 result, ", digits,
                       ", is not exact as a double, and R has no larger integers: return float64 from Python, ",
                       "or set options(pyrmap.int64 = \"integer64\") to get bit64's integer64"),
                index = index, value = digits)
}

# Called from C: the record says that the result is logical.
stop_not_logical_result <- function(index, digits) {
    stop_with("pyrmap_loss",
                paste0("element ", format(index, big.mark = "", scientific = FALSE), " of the logical result is ", digits,
                       ", and not 0, 1 or NA: who wrote it must write these, or say result_logical=no"),
                index = index, value = digits)
}

# dtype: what the vector would be without NA.
stop_na <- function(data, index, dtype) {
    stop_with("pyrmap_loss",
                paste0("data[", format(index, scientific = FALSE), "] is NA, and NumPy's ",
                       if (is.logical(data)) "bool" else dtype, " has none: replace it, use dtype = \"float64\" or ",
                       "na = \"nan\" to pass NaN, or na = \"keep\" to pass the bits that R has for it"),
                index = index, value = data[[index]], dtype = dtype)
}

# The first value that does not fit dtype.
stop_misfit <- function(data, index, dtype) {
    value <- data[[index]]
    shown <- if (inherits(value, "integer64")) format(value) else format(value, digits = 15)
    double <- is.double(value) && !inherits(value, "integer64")
    if (is.na(value)) {
        why <- paste0("is ", if (double && is.nan(value)) "NaN" else "NA", ", and ", dtype, " has none")
        remedy <- "replace it, or use dtype = \"float64\""
    } else if (dtype != "float32" && double && is.finite(value) && value != round(value)) {
        why <- "has a fraction"
        remedy <- "use round() or trunc() first, or dtype = \"float64\""
    } else if (dtype == "float64") {
        why <- "is not exact in float64"
        remedy <- "use dtype = \"int64\""
    } else {
        # The smallest value of the two larger types is R's NA.
        range <- switch(dtype, uint8 = "0 to 255", int32 = "-2147483647 to 2147483647",
                        int64 = "-2^63 + 1 to 2^63 - 1", float32 = "up to 3.4e+38 in size")
        why <- paste0("lies outside ", dtype, ", ", range)
        remedy <- paste0("use ", if (dtype == "uint8") "dtype = \"int32\" or \"float64\"" else "dtype = \"float64\"")
    }
    stop_with("pyrmap_loss",
                paste0("data[", format(index, scientific = FALSE), "] = ", shown, " ", why, ": ", remedy),
                index = index, value = value, dtype = dtype)
}

stop_timeout <- function(job, timeout) {
    stop_with("pyrmap_timeout",
                paste0(job$label, " did not finish within ", format(timeout), " s; its worker was stopped"),
                script = job$script, timeout = timeout)
}

# The filesystem has failed no round for this worker: it was never bound, or its slot had no input.
stop_worker_ended <- function(slot, job) {
    ended <- .Call(C_child_end, slot$worker)
    stop_with("pyrmap_worker_died",
              paste0("the Python worker of ", job$label, " ended before it took the round: ", ended_in_words(ended),
                     if (nzchar(ended$text)) paste0(":\n", ended$text)),
              script = job$script, pid = NA_integer_, signal = ended$signal, status = ended$status, text = ended$text,
              traceback = "")
}

ended_in_words <- function(ended) {
    if (is.na(ended$signal))
        return(paste0("it ended with exit status ", ended$status))
    paste0("it was killed by SIG", ended$signal, " (", if (ended$signal == "KILL")
        "by a user, or by the kernel because memory was short: see `dmesg`" else ended$meaning, ")")
}

# text: of the slot's error file. A worker's parent knows how it ended. Where that is not this process but another worker
# (isolation = "process"), the parent has said so in the error file.
stop_died <- function(text, pid, job, slot) {
    text <- sub("\n+$", "", text)
    for (worker in c(slot$worker, slot$former)) {
        if (!identical(.Call(C_child_pid, worker), pid))
            next
        ended <- .Call(C_child_end, worker)
        text <- paste0(text, ": ", ended_in_words(ended),
                       if (is.na(ended$signal)) ", without sys.exit(): os._exit() leaves before the result is published",
                       crash_of(ended$text))
    }
    first <- sub("\n.*", "", text)
    found <- function(pattern) regmatches(first, regexec(pattern, first))[[1L]][2L]
    stop_with("pyrmap_worker_died", paste0("the Python worker of ", job$label, " died: ", text),
              script = job$script, pid = pid, signal = found("killed by (SIG[A-Z0-9]+)"),
              status = as.integer(found("exit status ([0-9]+)")), text = text,
              traceback = substring(text, nchar(first) + 2L))
}

# The report of Python's faulthandler at the end of standard error, without the frames of the interpreter and of the package.
crash_of <- function(text) {
    lines <- strsplit(text, "\n", fixed = TRUE)[[1L]]
    first <- utils::tail(grep("^Fatal Python error: ", lines), 1L)
    if (!length(first))
        return("")
    lines <- lines[seq(first, length(lines))]
    paste0("\n", lines[!grepl("^  File \"(<frozen |<string>|[^\"]*/pyrmap/[a-z]+\\.py\")", lines)], collapse = "")
}

stop_cancelled <- function(job) {
    stop_with("pyrmap_cancelled", paste0("the round of ", job$label, " was cancelled by somebody else"),
                script = job$script)
}

# The errno's name if the Python package found no room in the arena for a result; else NA.
missing_space <- function(text) {
    if (is.null(text))
        return(NA_character_)
    regmatches(text, regexec("^SlotError: [^\n]*: (ENOSPC|EDQUOT): ", text))[[1L]][2L]
}

# A failed round: the text of the slot's error file says why. Its first line is "Type: message" for a Python exception.
stop_failed <- function(text, job, slot) {
    first <- sub("\n.*", "", text)
    worker <- regmatches(first, regexec("^worker ([0-9]+) exited", first))[[1L]]
    if (length(worker))
        stop_died(text, as.integer(worker[2L]), job, slot)
    parts <- regmatches(first, regexec("^([A-Za-z_][A-Za-z0-9_.]*)(: (.*))?$", first))[[1L]]
    known <- length(parts) > 0L
    class <- "pyrmap_python_error"
    if (known && grepl("^AttributeError: .* has no function", first))
        class <- c("pyrmap_missing_function", class)
    module <- NA_character_
    remedy <- NULL
    space <- missing_space(text)
    if (!is.na(space)) {
        class <- c("pyrmap_system_error", class)
        remedy <- paste0("\n", space_remedy(space, sub("^SlotError: (.*): cannot .*", "\\1", first)))
    }
    if (known && !is.null(job$python) && parts[2L] %in% c("ModuleNotFoundError", "ImportError")) {
        module <- regmatches(first, regexec("No module named '([^']+)'", first))[[1L]][2L]
        if (!is.na(module))
            class <- c("pyrmap_missing_module", class)
        remedy <- paste0("\n", module_remedy(job$python, module))
    }
    stop_with(class,
                paste0("Python failed in ", job$label, "\n", sub("\n+$", "", text), remedy),
                script = job$script, python_type = if (known) parts[2L] else NA_character_,
                python_message = if (known) parts[4L] else first, traceback = text, module = module,
                python = job$python$path, errno = space)
}
