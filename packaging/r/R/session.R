# SPDX-License-Identifier: Apache-2.0
# What lives as long as the R session: slots kept for the next call, with their workers, and the mount in use.

session <- new.env(parent = emptyenv())

# A forked child (parallel::mclapply) starts anew: slots, workers and mount belong to its parent, which still uses them.
session_check <- function() {
    if (!identical(session$pid, Sys.getpid()))
        session_reset()
}

session_reset <- function() {
    session$pid <- Sys.getpid()
    session$pool <- list()
    session$stages <- 0L
    session$roots <- list()
    session$private <- NULL
    session$jobs <- new.env(parent = emptyenv())
    session$job_number <- 0
    session$peers <- integer()
}

# The order matters: slots lie on the mount.
session_end <- function() {
    if (!identical(session$pid, Sys.getpid()))
        return(invisible())
    for (slot in session$pool)
        discard(slot)
    .Call(C_spares_end)
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
