# SPDX-License-Identifier: Apache-2.0
# The Python workers: one for each slot that this session keeps, which takes round after round of it.

# The process says ready once it is sure that NumPy and the Python package are there, then it becomes the worker. It does not import
# from the current directory: Python would find a numpy.py beside the user's data first.
bootstrap <- "
import sys
if sys.version_info[:2] < (3, 9):
    sys.stderr.write('%d.%d' % sys.version_info[:2])
    sys.exit(83)
sys.path[:] = [entry for entry in sys.path if entry]
from importlib.util import find_spec
if find_spec('numpy') is None:
    sys.exit(81)
try:
    if find_spec('pyrmap.worker') is None:
        sys.exit(82)
except ModuleNotFoundError as error:
    sys.exit(82 if error.name == 'pyrmap' else str(error))
sys.stdout.write('ready\\n')
sys.stdout.flush()
import runpy
runpy.run_module('pyrmap.worker', run_name='__main__', alter_sys=True)
"
exit_no_numpy <- 81L
exit_no_package <- 82L
exit_too_old <- 83L

# The Python package that came with this one, for an interpreter that finds no other. A directory of PYTHONPATH comes before
# an environment's own packages: what runs is what this package was tested with, and programs that a script starts find it too.
python_path <- function() {
    own <- system.file("python", package = "pyrmap")
    paste(c(getOption("pyrmap.pythonpath"), variable("PYTHONPATH"), if (nzchar(own)) own), collapse = ":")
}

# Workers that run at the same time share the processors, unless R's environment says how many threads each may have.
thread_variables <- c("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

threads_each <- function(at_once) {
    if (at_once < 2L)
        return(NULL)
    unset <- thread_variables[!nzchar(Sys.getenv(thread_variables))]
    each <- as.character(max(1L, .Call(C_cores) %/% at_once))
    structure(rep(each, length(unset)), names = unset)
}

# Starts the worker of a slot. It binds itself to the slot; a round may be published before that.
start_worker <- function(job, slot) {
    python <- job$python
    arguments <- c(python$path, "-c", bootstrap, slot, "--parent", Sys.getpid(), "--isolation", job$isolation, "--warnings-fd", 3L,
                   if (length(job$preload)) rbind("--preload", job$preload))
    set <- c(PYTHONPATH = python_path(), threads_each(job$at_once))
    worker <- .Call(C_child_start, arguments, environment_strings(set), NULL, signal_kill)
    if (!.Call(C_child_ready, worker, 60))
        stop_no_worker(python, worker)
    worker
}

stop_no_worker <- function(python, worker) {
    ended <- .Call(C_child_end, worker)
    # The next call chooses anew: the interpreter may be gone.
    session$jobs <- new.env(parent = emptyenv())
    name <- in_words(python)
    if (ended$status %in% exit_no_numpy) {
        stop_with("pyrmap_missing_numpy",
                  paste0(name, " has no NumPy: install it (", python$path, " -m pip install numpy",
                         if (startsWith(python$path, "/usr/bin/")) ", or apt install python3-numpy",
                         "). ", other_python), python = python$path, why = python$why)
    }
    if (ended$status %in% exit_no_package) {
        stop_with("pyrmap_missing_package",
                  paste0(name, " cannot import the Python package pyrmap, which is not in PYTHONPATH (", python_path(),
                         ") as ", python$path, " sees it: make install-python, or name the directory that holds it in ",
                         "options(pyrmap.pythonpath =)"), python = python$path, why = python$why)
    }
    stop_with("pyrmap_missing_python",
              if (ended$status %in% exit_too_old) {
                  paste0(name, " is Python ", ended$text, ", and pyrmap needs 3.9 or newer. ", other_python)
              } else {
                  paste0("the Python worker did not start with ", name, if (nzchar(ended$text)) paste0(":\n", ended$text))
              }, python = python$path, why = python$why)
}

# What differs in two lists of NAME=VALUE, as list(NAME = VALUE); NULL where a variable is gone.
changed_since <- function(then, now) {
    new <- setdiff(now, then)
    new <- new[validUTF8(new)]
    gone <- setdiff(sub("=.*", "", then), sub("=.*", "", now))
    names <- sub("=.*", "", new)
    c(structure(as.list(substring(new, nchar(names) + 2L)), names = names),
      structure(vector("list", length(gone)), names = gone))
}

# Writes the job into the slot's task, unless it is there already. NULL, or the name of the errno. A task that is longer than the
# filesystem takes goes into a file, which `task` names.
give_task <- function(slot, job) {
    version <- .Call(C_environment_version)
    if (identical(slot$number, job$number) && identical(slot$version, version))
        return(NULL)
    changed <- changed_since(slot$then, .Call(C_environment))
    env <- c(changed[setdiff(names(changed), names(job$env))], job$env)
    task <- if (length(env)) paste0(substr(job$task, 1L, nchar(job$task) - 1L), ", \"env\": ", to_json(env), "}") else job$task
    error <- if (!identical(slot$task, task)) write_task(slot, task)
    slot$task <- if (is.null(error)) task
    slot$number <- if (is.null(error)) job$number
    slot$version <- version
    error
}

write_task <- function(slot, task) {
    text <- task
    if (nchar(task, "bytes") > task_max) {
        if (is.null(slot$file))
            slot$file <- tempfile("pyrmap-task-", fileext = ".json")
        mask <- Sys.umask("077")
        on.exit(Sys.umask(mask))
        writeBin(charToRaw(task), slot$file)
        text <- paste0("{\"file\": ", json_string(slot$file), "}")
    }
    .Call(C_slot_text, slot$handle, "task", text)
}

task_max <- 4096L

# Raises the warnings that came from the workers of slots since the last time, as R's.
pass_on_warnings <- function(slots) {
    for (slot in slots) {
        lines <- .Call(C_child_warnings, slot$worker)
        if (!is.null(lines))
            lapply(strsplit(lines, "\n", fixed = TRUE)[[1L]], raise_warning)
    }
}

raise_warning <- function(line) {
    text <- "(\"(?:[^\"\\\\]|\\\\.)*\")"
    pattern <- paste0("^\\{\"category\": ", text, ", \"message\": ", text, ", \"file\": ", text, ", \"line\": ([0-9]+)\\}$")
    parts <- regmatches(line, regexec(pattern, line, perl = TRUE))[[1L]]
    if (length(parts) == 0L)
        return(NULL)
    # R reads a string of JSON as its own, unless there is a nul in it.
    texts <- lapply(gsub("(?<!\\\\)((?:\\\\{2})*)\\\\u0000", "\\1?", parts[2:4], perl = TRUE), str2lang)
    warning(structure(class = c("pyrmap_python_warning", "warning", "condition"),
                      list(message = texts[[2L]], call = NULL, category = texts[[1L]], file = texts[[3L]],
                           line = as.integer(parts[5L]))))
}

conditionMessage.pyrmap_python_warning <- function(c) {
    paste0(c$category, ": ", c$message, " (", basename(c$file), ":", c$line, ")")
}

outputs <- c("console", "silent", "capture")

# Says where Python's output goes. forget: drops what was captured in calls before this one.
hear <- function(output, forget = TRUE) {
    which <- match(output, outputs)
    if (length(which) != 1L || is.na(which))
        check_choice(output, "output", outputs)
    .Call(C_output, which - 1L, forget)
}

pyrmap_output <- function() {
    .Call(C_captured)
}

check_isolation <- function(isolation) {
    check_choice(isolation, "isolation", c("session", "process"))
}

check_preload <- function(preload) {
    if (!is.null(preload) && (!is.character(preload) || !all(grepl(module_pattern, preload))))
        stop_argument("preload must be names of Python modules, as in c(\"pandas\", \"sklearn.linear_model\")")
    preload
}
