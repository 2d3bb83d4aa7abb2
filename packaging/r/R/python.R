# SPDX-License-Identifier: Apache-2.0
# Which Python runs the scripts, and why that one.

# list(path, why). What somebody named for this package has to exist; an environment that does not exist is passed over, and why
# says so.
interpreter <- function(python = NULL) {
    own <- list("the argument `python`" = python, "options(pyrmap.python =)" = getOption("pyrmap.python"),
                "the variable PYRMAP_PYTHON" = variable("PYRMAP_PYTHON"))
    for (source in names(own)) {
        named <- own[[source]]
        if (is.null(named))
            next
        check_text(named, source, "the path or the name of a Python interpreter")
        return(list(path = named_program(named, source), why = source))
    }
    passed <- character()
    for (source in c("RETICULATE_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX")) {
        value <- variable(source)
        if (is.null(value))
            next
        found <- first_program(if (source == "RETICULATE_PYTHON" && !dir.exists(value)) value else
            file.path(value, "bin", c("python3", "python")))
        why <- switch(source, RETICULATE_PYTHON = "the variable RETICULATE_PYTHON",
                      VIRTUAL_ENV = "the active virtual environment, VIRTUAL_ENV",
                      CONDA_PREFIX = "the active conda environment, CONDA_PREFIX")
        if (!is.null(found))
            return(list(path = found, why = paste0(why, passed_over(passed))))
        passed <- c(passed, paste0(source, "=", value))
    }
    found <- first_program(c("python3", "/usr/bin/python3"))
    if (is.null(found)) {
        stop_with("pyrmap_missing_python",
                  paste0("there is no Python interpreter: no python3 is on PATH", passed_over(passed), ". ", other_python),
                  python = "python3")
    }
    list(path = found,
         why = paste0(if (is.null(first_program("python3"))) "the system's" else "python3 on PATH", passed_over(passed)))
}

other_python <- paste("Another is chosen by the argument `python`, options(pyrmap.python =), PYRMAP_PYTHON or",
                      "RETICULATE_PYTHON, or by activating its environment before R starts")

passed_over <- function(passed) {
    if (length(passed)) paste0("; no interpreter is at ", paste(passed, collapse = ", "))
}

variable <- function(name) {
    value <- Sys.getenv(name)
    if (nzchar(value)) value
}

is_program <- function(path) {
    !is.null(path) && file.access(path, 1L) == 0L && !dir.exists(path)
}

# We do not use Sys.which(), which runs a program. The path is not resolved: the python3 of an environment is a link, and Python
# finds its environment by the link's name.
first_program <- function(names) {
    for (name in path.expand(names)) {
        candidates <- if (startsWith(name, "/")) {
            name
        } else if (grepl("/", name, fixed = TRUE)) {
            file.path(getwd(), name)
        } else {
            file.path(strsplit(Sys.getenv("PATH"), ":", fixed = TRUE)[[1L]], name)
        }
        for (candidate in candidates)
            if (is_program(candidate))
                return(candidate)
    }
    NULL
}

named_program <- function(named, source) {
    found <- first_program(named)
    if (is.null(found)) {
        stop_with("pyrmap_missing_python",
                  paste0("there is no Python interpreter ", named, ", which is named by ", source, ". ", other_python),
                  python = named)
    }
    found
}

# For messages: which, and why.
in_words <- function(python) {
    paste0(python$path, " (", python$why, ")")
}

# What a person can do whose script found no module.
module_remedy <- function(python, module) {
    if (!is.na(module) && grepl("^lib($|\\.)", module))
        return("In scripts that were written for PyRMap, write `from pyrmap import process_via_mmap`")
    paste0("The interpreter is ", in_words(python), ": install what provides the module there (",
           python$path, " -m pip install PACKAGE, or the distribution's package of it). ", other_python)
}
