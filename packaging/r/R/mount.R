# SPDX-License-Identifier: Apache-2.0
# Which mount to use; a private one if there is none.

signal_term <- 15L
signal_kill <- 9L

is_mount <- function(path) {
    file.exists(file.path(path, ".pyrmap", "status"))
}

# enum slot_live: 1, 2 where the pages below the mount are the filesystem's own, on which futex wakes arrive; else 0.
live_of <- function(root) {
    match(sub("[^a-z].*", "", data_path(root)), c("passthrough", "links"), nomatch = 0L)
}

remember_root <- function(path) {
    root <- normalizePath(path)
    session$roots[[path]] <- list(path = root, live = live_of(root))
    session$roots[[path]]
}

forget_root <- function(root) {
    session$roots <- Filter(function(known) known$path != root, session$roots)
    gone <- vapply(session$pool, function(slot) slot$root == root, NA)
    for (slot in session$pool[gone])
        discard(slot)
    session$pool <- session$pool[!gone]
    if (!is.null(session$private) && identical(session$private$path, root) &&
        !.Call(C_child_alive, session$private$child))
        private_end()
}

# list(path, live). A mount is looked at once; a call that finds it gone calls forget_root().
root_for <- function(mount) {
    if (!is.null(mount)) {
        check_text(mount, "mount", "the path of a mount")
        known <- session$roots[[mount]]
        if (!is.null(known))
            return(known)
        if (is_mount(mount))
            return(remember_root(mount))
        stop_with("pyrmap_missing_mount",
                  paste0("no pyrmapfs is mounted at ", mount, ": mount it with `pyrmapfs ", mount,
                         "`, or leave `mount` out for a private one"), mount = mount)
    }
    place <- default_mount()
    known <- session$roots[[place]]
    if (!is.null(known))
        return(known)
    if (is_mount(place))
        return(remember_root(place))
    private_root(place)
}

default_mount <- function() {
    option <- getOption("pyrmap.mount")
    if (!is.null(option)) {
        check_text(option, "options(pyrmap.mount =)", "the path of a mount")
        return(option)
    }
    variable <- Sys.getenv("PYRMAP_MOUNT")
    if (nzchar(variable)) variable else "/mnt/pyrmap"
}

find_pyrmapfs <- function(place) {
    for (candidate in c(getOption("pyrmap.pyrmapfs"), Sys.getenv("PYRMAPFS"))) {
        if (nzchar(candidate)) {
            if (file.access(candidate, 1L) == 0L)
                return(normalizePath(candidate))
            stop_with("pyrmap_missing_mount",
                      paste0("no pyrmapfs is mounted at ", place, ", and ", candidate,
                             " (option pyrmap.pyrmapfs or variable PYRMAPFS) is no program to start one with"),
                      mount = place)
        }
    }
    found <- Sys.which(c("pyrmapfs", "/usr/local/bin/pyrmapfs", "/usr/local/sbin/pyrmapfs", "/usr/sbin/pyrmapfs"))
    found <- found[nzchar(found)]
    if (length(found))
        return(found[[1L]])
    stop_with("pyrmap_missing_mount",
              paste0("no pyrmapfs is mounted at ", place, ", and there is no program pyrmapfs to start a private one: ",
                     "install it, or mount one and name it in options(pyrmap.mount =), PYRMAP_MOUNT or `mount`"),
              mount = place)
}

environment_strings <- function(set = NULL) {
    now <- .Call(C_environment)
    c(now[!sub("=.*", "", now) %in% names(set)], if (length(set)) paste0(names(set), "=", set))
}

# Starts a pyrmapfs for this session alone. It ends with R, however R ends: the kernel sends it SIGTERM.
private_root <- function(place) {
    if (!is.null(session$private)) {
        if (.Call(C_child_alive, session$private$child))
            return(session$private$root)
        private_end()
    }
    program <- find_pyrmapfs(place)
    path <- tempfile("pyrmap-")
    log <- tempfile("pyrmapfs-", fileext = ".log")
    dir.create(path, mode = "0700")
    child <- .Call(C_child_start, c(program, "-f", path), environment_strings(), log, signal_term)
    if (!.Call(C_child_ready, child, 30)) {
        .Call(C_child_end, child)
        said <- if (file.exists(log)) paste(readLines(log, warn = FALSE), collapse = "\n") else ""
        unlink(c(path, log), recursive = TRUE)
        stop_with("pyrmap_missing_mount",
                  paste0("no pyrmapfs is mounted at ", place, ", and a private one could not be started with ", program,
                         if (nzchar(said)) paste0(":\n", said)), mount = place)
    }
    root <- list(path = normalizePath(path), live = live_of(path))
    session$private <- list(child = child, path = root$path, log = log, root = root)
    message("pyrmap: nothing is mounted at ", place, "; this session uses a private pyrmapfs at ", root$path)
    root
}

private_end <- function() {
    private <- session$private
    if (is.null(private))
        return(invisible())
    session$private <- NULL
    .Call(C_child_end, private$child)
    # This is not recursive: if it is still mounted, nothing in it is touched.
    unlink(private$log)
    invisible(suppressWarnings(file.remove(private$path)))
}

pyrmap_mount <- function(mount = NULL) {
    session_check()
    root_for(mount)$path
}

pyrmap_available <- function(python = NULL, mount = NULL) {
    session_check()
    tryCatch({
        root <- root_for(mount)
        worker <- start_worker(list(python = interpreter(python), isolation = "session", at_once = 1L), root$path)
        .Call(C_child_end, worker)
        TRUE
    }, pyrmap_error = function(condition) if (inherits(condition, "pyrmap_argument_error")) stop(condition) else FALSE)
}
