# SPDX-License-Identifier: Apache-2.0
# pyrmap_info() without an argument: what calls of this session use. Nothing is started for it.

session_info <- function() {
    session_check()
    place <- default_mount()
    private <- !is_mount(place) && !is.null(session$private) && .Call(C_child_alive, session$private$child)
    mounted <- private || is_mount(place)
    mount <- if (private) session$private$path else place
    python <- tryCatch(interpreter(), pyrmap_missing_python = function(condition) {
        list(path = NA_character_, why = conditionMessage(condition))
    })
    structure(list(mount = mount, mounted = mounted, private = private,
                   data_path = if (mounted) data_path(mount) else NA_character_, python = python$path,
                   why = python$why, workers = length(session$pool),
                   package = python_path()), class = "pyrmap_session")
}

# The data path, as the status file of the mount says it.
data_path <- function(root) {
    status <- readLines(file.path(root, ".pyrmap", "status"), warn = FALSE)
    sub("^data path: *", "", grep("^data path:", status, value = TRUE)[1L])
}

print.pyrmap_session <- function(x, ...) {
    state <- if (x$private) {
        " (private)"
    } else if (!x$mounted) {
        " (nothing is mounted there: the first call starts a private one)"
    }
    cat("mount: ", x$mount, state, "\n", if (x$mounted) paste0("data path: ", x$data_path, "\n"),
        "python: ", if (is.na(x$python)) "none" else x$python, " (", x$why, ")", if (x$workers) paste0(", ", x$workers, " workers kept"),
        "\nPYTHONPATH: ", x$package, "\n", sep = "")
    invisible(x)
}
