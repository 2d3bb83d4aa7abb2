# SPDX-License-Identifier: Apache-2.0
# The warm Python server: one for each interpreter in use.

# Says ready once it is sure that NumPy and the Python package are there, then becomes the server. The current directory is no
# place to import from: a numpy.py beside the user's data would be found first.
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
    if find_spec('pyrmap.server') is None:
        sys.exit(82)
except ModuleNotFoundError as error:
    sys.exit(82 if error.name == 'pyrmap' else str(error))
sys.stdout.write('ready\\n')
sys.stdout.flush()
import runpy
runpy.run_module('pyrmap.server', run_name='__main__', alter_sys=True)
"
exit_no_numpy <- 81L
exit_no_package <- 82L
exit_too_old <- 83L

# python: as interpreter() chose it.
server_for <- function(python) {
    server <- session$servers[[python$path]]
    if (!is.null(server) && .Call(C_child_alive, server))
        return(server)
    session$servers[[python$path]] <- NULL
    session$servers[[python$path]] <- start_server(python)
}

# The Python package that came with this one, for an interpreter that finds no other. A directory of PYTHONPATH comes before
# an environment's own packages: what runs is what this package was tested with, and programs that a script starts find it too.
python_path <- function() {
    own <- system.file("python", package = "pyrmap")
    paste(c(getOption("pyrmap.pythonpath"), variable("PYTHONPATH"), if (nzchar(own)) own), collapse = ":")
}

start_server <- function(python) {
    server <- .Call(C_child_start, c(python$path, "-c", bootstrap), environment_strings(c(PYTHONPATH = python_path())),
                    NULL, signal_kill)
    answer <- .Call(C_child_ready, server, 60)
    if (!answer$ready)
        stop_no_server(python, answer$status, answer$text)
    server
}

stop_no_server <- function(python, status, text) {
    name <- in_words(python)
    if (status %in% exit_no_numpy) {
        stop_with("pyrmap_missing_numpy",
                  paste0(name, " has no NumPy: install it (", python$path, " -m pip install numpy",
                         if (startsWith(python$path, "/usr/bin/")) ", or apt install python3-numpy",
                         "). ", other_python), python = python$path, why = python$why)
    }
    if (status %in% exit_no_package) {
        stop_with("pyrmap_missing_package",
                  paste0(name, " cannot import the Python package pyrmap, which is not in PYTHONPATH (", python_path(),
                         ") as ", python$path, " sees it: make install-python, or name the directory that holds it in ",
                         "options(pyrmap.pythonpath =)"), python = python$path, why = python$why)
    }
    stop_with("pyrmap_missing_python",
              if (status %in% exit_too_old) {
                  paste0(name, " is Python ", text, ", and pyrmap needs 3.9 or newer. ", other_python)
              } else {
                  paste0("the Python server did not start with ", name, if (nzchar(text)) paste0(":\n", text))
              }, python = python$path, why = python$why)
}

# Takes in what the server and its workers have told about slots.
server_hear <- function(server) {
    news <- .Call(C_child_news, server)
    if (nzchar(news)) {
        session$died <- c(session$died, slots_told(news, "died"))
        session$going_on <- c(session$going_on, slots_told(news, "goes on"))
    }
}

slots_told <- function(news, what) {
    told <- regmatches(news, gregexpr(paste0("\"", what, "\": \"[^\n]*/r-[0-9]+-[0-9]+\""), news))[[1L]]
    gsub("^.*/|\"$", "", told)
}

server_send <- function(server, ...) {
    .Call(C_child_send, server, paste0(..., "\n"))
}
