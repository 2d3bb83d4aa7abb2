# SPDX-License-Identifier: Apache-2.0
# The warm Python server: one for each interpreter in use.

# Says ready once it is sure that NumPy and the Python package are there, then becomes the server. The current directory is no
# place to import from: a numpy.py beside the user's data would be found first.
bootstrap <- "
import sys
sys.path[:] = [entry for entry in sys.path if entry]
from importlib.util import find_spec
if find_spec('numpy') is None:
    sys.exit(81)
try:
    if find_spec('pyrmap.server') is None:
        sys.exit(82)
except ModuleNotFoundError as error:
    sys.exit(82 if error.name == 'pyrmap' else str(error))
print('ready', flush=True)
import runpy
runpy.run_module('pyrmap.server', run_name='__main__', alter_sys=True)
"
exit_no_numpy <- 81L
exit_no_package <- 82L

server_for <- function(python) {
    chosen <- chosen_python(python)
    key <- if (is.null(chosen)) "default" else chosen
    server <- session$servers[[key]]
    if (!is.null(server) && .Call(C_child_alive, server))
        return(server)
    session$servers[[key]] <- NULL
    server <- if (is.null(chosen)) start_default() else start_server(program_path(chosen))
    if (is.list(server))
        stop_no_server(server)
    session$servers[[key]] <- server
    server
}

chosen_python <- function(python) {
    if (is.null(python))
        python <- getOption("pyrmap.python")
    if (is.null(python)) {
        variable <- Sys.getenv("PYRMAP_PYTHON")
        python <- if (nzchar(variable)) variable
    }
    python
}

program_path <- function(program) {
    found <- Sys.which(path.expand(program))[[1L]]
    if (!nzchar(found))
        stop_with("pyrmap_missing_python",
                  paste0("there is no Python interpreter ", program, ": name one in `python`, ",
                         "options(pyrmap.python =) or PYRMAP_PYTHON"), python = program)
    found
}

# The system's Python first: the one on PATH is often another build, without NumPy.
start_default <- function() {
    candidates <- unique(Sys.which(c("/usr/bin/python3", "python3", "python")))
    candidates <- candidates[nzchar(candidates)]
    if (!length(candidates))
        program_path("python3")
    failed <- NULL
    for (program in candidates) {
        server <- start_server(program)
        if (!is.list(server))
            return(server)
        if (is.null(failed) || server$status %in% exit_no_package)
            failed <- server
    }
    failed
}

# The server, or list(python, status, text) of one that did not start.
start_server <- function(program) {
    extra <- getOption("pyrmap.pythonpath")
    set <- character()
    if (!is.null(extra)) {
        present <- Sys.getenv("PYTHONPATH")
        set <- c(PYTHONPATH = paste(c(extra, if (nzchar(present)) present), collapse = ":"))
    }
    server <- .Call(C_child_start, c(program, "-c", bootstrap), environment_strings(set), NULL, signal_kill)
    answer <- .Call(C_child_ready, server, 60)
    if (answer$ready)
        return(server)
    list(python = program, status = answer$status, text = answer$text)
}

stop_no_server <- function(failed) {
    if (failed$status %in% exit_no_numpy) {
        stop_with("pyrmap_missing_numpy",
                  paste0(failed$python, " has no NumPy: install it (apt install python3-numpy, or ", failed$python,
                         " -m pip install numpy), or choose another interpreter with `python`, options(pyrmap.python =) ",
                         "or PYRMAP_PYTHON"), python = failed$python)
    }
    if (failed$status %in% exit_no_package) {
        stop_with("pyrmap_missing_package",
                  paste0(failed$python, " cannot import the Python package pyrmap: install it (make install-python), ",
                         "or name the directory that holds it in PYTHONPATH or options(pyrmap.pythonpath =)"),
                  python = failed$python)
    }
    stop_with("pyrmap_missing_python",
              paste0("the Python server did not start with ", failed$python,
                     if (nzchar(failed$text)) paste0(":\n", failed$text)), python = failed$python)
}

server_send <- function(server, ...) {
    .Call(C_child_send, server, paste0(..., "\n"))
}
