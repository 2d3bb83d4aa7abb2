# SPDX-License-Identifier: Apache-2.0
# What lives as long as the R session: slots kept for the next call, Python servers, the mount in use.

session <- new.env(parent = emptyenv())

# A forked child (parallel::mclapply) starts anew: slots, server and mount belong to its parent, which still uses them.
session_check <- function() {
    if (!identical(session$pid, Sys.getpid()))
        session_reset()
}

session_reset <- function() {
    session$pid <- Sys.getpid()
    session$pools <- list()
    session$servers <- list()
    session$interpreter <- NULL
    session$roots <- list()
    session$private <- NULL
    session$jobs <- new.env(parent = emptyenv())
    # Slots of pipelines whose worker was killed, as the server told it.
    session$died <- character()
    # Slots in which a script left something running.
    session$going_on <- character()
}

# The order matters: slots lie on the mount.
session_end <- function() {
    if (!identical(session$pid, Sys.getpid()))
        return(invisible())
    for (pool in session$pools)
        for (slot in pool)
            .Call(C_slot_remove, slot$handle)
    for (server in session$servers)
        .Call(C_child_stop, server, 0L)
    private_end()
    session_reset()
    invisible()
}

pyrmap_stop <- function() {
    session_end()
}

.onLoad <- function(libname, pkgname) {
    session_reset()
    reg.finalizer(session, function(session) session_end(), onexit = TRUE)
}

.onUnload <- function(libpath) {
    session_end()
}
