# SPDX-License-Identifier: Apache-2.0
# pyrmap_pipeline: a pipeline that stays, for streams of inputs.

pyrmap_pipeline <- function(script_paths, dtype = NULL, args = NULL, timeout = Inf, python = NULL, mount = NULL,
                            env = NULL) {
    session_check()
    jobs <- jobs_of(script_paths, args, env)
    check_timeout(timeout)
    server <- server_for(python)
    stream <- new.env(parent = emptyenv())
    stream$jobs <- jobs
    stream$server <- server
    stream$timeout <- timeout
    stream$dtype <- dtype
    stream$pid <- Sys.getpid()
    with_root(mount, function(root) {
        stream$root <- root
        stream$slots <- chain_stages(root, server, jobs)
    })
    stream$queue <- list()
    stream$pushed <- 0
    stream$pulled <- 0
    stream$open <- TRUE
    reg.finalizer(stream, stream_close, onexit = TRUE)
    structure(list(push = function(data) stream_push(stream, data),
                   pull = function(timeout = stream$timeout) stream_pull(stream, timeout),
                   close = function() stream_close(stream),
                   pending = function() stream$pushed - stream$pulled,
                   stages = names(jobs)),
              class = "pyrmap_pipeline")
}

stream_check <- function(stream) {
    if (!stream$open || stream$pid != Sys.getpid())
        stop("this pipeline is closed", call. = FALSE)
}

last_slot <- function(stream) {
    stream$slots[[length(stream$slots)]]
}

# What the last stage has ready goes into the queue as list(result) or list(condition): it is pulled later.
stream_fetch <- function(stream) {
    count <- length(stream$slots)
    outcome <- tryCatch(list(result = take(last_slot(stream), stream$jobs[[count]], stream$input, stream$slots,
                                           stream$jobs)),
                        pyrmap_error = function(condition) list(condition = condition))
    stream$queue <- c(stream$queue, list(outcome))
}

# The first stage is free once it has handed over its result. While it is not, results are fetched from the other end: the
# stages may all be waiting for that.
stream_push <- function(stream, data) {
    stream_check(stream)
    input <- input_of(data, stream$dtype)
    stream$input <- input
    deadline <- check_timeout(stream$timeout)
    head <- stream$slots[[1L]]
    single <- length(stream$slots) == 1L
    while (stream$pushed > 0 && .Call(C_slot_state, head$handle)[1L] == 0) {
        ends <- if (single) list(head) else list(head, last_slot(stream))
        index <- await(ends, stream$jobs[c(1L, length(stream$slots))], stream$server, stream$timeout, deadline)
        if (index == 2L)
            stream_fetch(stream)
    }
    if (single && stream$pushed > stream$pulled + length(stream$queue))
        stream_fetch(stream)
    for (i in seq_along(stream$slots)[-1L])
        .Call(C_child_send, stream$server, run_line(stream$slots[[i]], stream$jobs[[i]]))
    fill(head, input, stream$server, run_line(head, stream$jobs[[1L]]))
    stream$pushed <- stream$pushed + 1
    invisible(stream$pushed - stream$pulled)
}

stream_pull <- function(stream, timeout) {
    stream_check(stream)
    if (stream$pulled == stream$pushed)
        stop("there is nothing to pull: push first", call. = FALSE)
    if (!length(stream$queue)) {
        deadline <- check_timeout(timeout)
        await(list(last_slot(stream)), stream$jobs[length(stream$jobs)], stream$server, timeout, deadline)
        stream_fetch(stream)
    }
    outcome <- stream$queue[[1L]]
    stream$queue <- stream$queue[-1L]
    stream$pulled <- stream$pulled + 1
    if (!is.null(outcome$condition))
        stop(outcome$condition)
    outcome$result
}

stream_close <- function(stream) {
    if (!stream$open || stream$pid != Sys.getpid())
        return(invisible())
    stream$open <- FALSE
    for (slot in rev(stream$slots))
        discard(slot, stream$server)
    stream$queue <- list()
    invisible()
}

print.pyrmap_pipeline <- function(x, ...) {
    cat("pyrmap pipeline: ", paste(x$stages, collapse = " -> "), ", ", x$pending(), " pushed and not yet pulled\n",
        sep = "")
    invisible(x)
}
