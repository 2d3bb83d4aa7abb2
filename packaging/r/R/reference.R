# SPDX-License-Identifier: Apache-2.0
# Which serializations go to a process of this machine that sees the same mount: a mapped vector goes there as a reference to its
# pages. R does not tell a vector who serializes it, and a reference in a file that is kept would lose the data. So we look at the
# function that called serialize() or saveRDS(), and say yes to those that are known to reach such a process. All others get bytes.

# Called from C in the middle of a serialization. root: the mount.
reference_wanted <- function(root) {
    serializer <- sys.nframe() - 1L
    if (serializer < 1L || !isTRUE(getOption("pyrmap.references", TRUE)))
        return(FALSE)
    caller <- sys.parents()[serializer]
    if (caller < 1L)
        return(FALSE)
    fun <- sys.function(serializer)
    arguments <- sys.frame(serializer)
    frame <- sys.frame(caller)
    home <- topenv(environment(sys.function(caller)))
    if (!isNamespace(home))
        return(FALSE)
    tryCatch(switch(getNamespaceName(home),
        callr = identical(fun, base::saveRDS) && callr_has_us(frame$options$libpath),
        parallel = identical(fun, base::serialize) && peers_share(arguments$connection, root),
        FALSE), error = function(condition) FALSE)
}

# callr writes a file for the process that it starts, and removes it. That process loads the package from this library.
callr_has_us <- function(libpath) {
    found <- find.package("pyrmap", lib.loc = libpath, quiet = TRUE)
    length(found) > 0L && normalizePath(found[1L]) == normalizePath(getNamespaceInfo("pyrmap", "path"))
}

# The connection does not say which of the session's sockets it is, but each of them that has its port must do. future's workers
# are parallel's.
peers_share <- function(connection, root) {
    if (!inherits(connection, "sockconn"))
        return(FALSE)
    peers <- peer_sockets(summary(connection)$description)
    if (!length(peers))
        return(FALSE)
    pids <- socket_holders(peers)
    all(peers %in% names(pids)) && all(vapply(unlist(pids), shares_mount, NA, root))
}

# The sockets at the other end, as /proc/PID/fd names them. NULL if there is one that is none of this machine.
peer_sockets <- function(description) {
    table <- strsplit(trimws(readLines("/proc/self/net/tcp"))[-1L], " +")
    field <- function(number) vapply(table, `[[`, "", number)
    near <- field(2L)
    far <- field(3L)
    socket <- sprintf("socket:[%s]", field(10L))
    port <- sprintf(":%04X", as.integer(sub(".*:", "", description)))
    ours <- field(4L) == "01" & socket %in% Sys.readlink(list.files("/proc/self/fd", full.names = TRUE)) &
        endsWith(if (startsWith(description, "<-")) near else far, port)
    peers <- match(paste(far, near)[ours], paste(near, far))
    if (!anyNA(peers)) socket[peers]
}

# list(SOCKET = pids). Looking through all processes takes long: we remember who had a socket, and look again there first.
socket_holders <- function(sockets) {
    held_by <- function(pids) {
        files <- Sys.glob(file.path("/proc", pids, "fd", "*"))
        held <- Sys.readlink(files)
        found <- held %in% sockets
        lapply(split(as.integer(basename(dirname(dirname(files[found])))), held[found]), unique)
    }
    known <- if (length(session$peers)) held_by(session$peers) else list()
    if (!all(sockets %in% names(known))) {
        known <- held_by("[0-9]*")
        session$peers <- unlist(known, use.names = FALSE)
    }
    known
}

# Whether a process is of this user, has this mount at the same path, and has loaded this very package.
shares_mount <- function(pid, root) {
    seen_by <- function(pid) {
        read <- function(name) readLines(file.path("/proc", pid, name), warn = FALSE)
        mounts <- strsplit(read("mountinfo"), " ", fixed = TRUE)
        at <- vapply(mounts, function(mount) mount[5L] == root, NA)
        # A path with spaces is written with escapes here, and is not found.
        list(grep("^Uid:", read("status"), value = TRUE), vapply(mounts[at], `[[`, "", 3L),
             unique(sub("^[^ ]+ [^ ]+ [^ ]+ ", "", grep("/pyrmap\\.so$", read("maps"), value = TRUE))))
    }
    ours <- seen_by("self")
    all(lengths(ours) > 0L) && identical(seen_by(pid), ours)
}

boot_id <- function() {
    readLines("/proc/sys/kernel/random/boot_id")
}

# Called from C with what C made: see enum field there.
reference_open <- function(state) {
    if (!is.list(state) || length(state) != 13L || !identical(state[[1L]], 1) || !is.character(state[[2L]]))
        stop_reference("a vector", "it was written by another version of the package pyrmap")
    path <- state[[2L]]
    if (!identical(state[[13L]], boot_id()))
        stop_reference(path, "it was sent by another machine, or before this one was started")
    if (!dir.exists(path))
        stop_reference(path, "it is gone: its sender has ended, or it was taken before, or no such mount is within reach here")
    session_check()
    x <- .Call(C_reference_map, state, root_for(dirname(path))$live)
    if (is.character(x))
        stop_reference(path, x)
    x
}

stop_reference <- function(path, why) {
    stop_with("pyrmap_reference_error",
              paste0("a vector that was sent as a reference to its pages, ", path, ", cannot be had here: ", why,
                     ". options(pyrmap.references = FALSE) in the session that sends it sends bytes"), path = path)
}
