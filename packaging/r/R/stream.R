# SPDX-License-Identifier: Apache-2.0
# pyrmap_pipeline: a pipeline that stays, for streams of inputs.
#
# The filesystem gives every input exactly one outcome at the last stage, a result or a failure, in order, and each input takes
# one round of every stage. A worker that dies fails its round as an exception does, and its stage gets another for the rounds
# to come. So we only keep which inputs are under way.

pyrmap_pipeline <- function(script_paths, dtype = NULL, args = NULL, timeout = Inf, python = NULL, mount = NULL,
                            env = NULL, na = getOption("pyrmap.na", "nan"),
                            isolation = getOption("pyrmap.isolation", "session"),
                            preload = getOption("pyrmap.preload"), output = getOption("pyrmap.output", "console")) {
    session_check()
    if (missing(script_paths))
        stop_argument("pyrmap_pipeline() needs `script_paths`")
    stream <- new.env(parent = emptyenv())
    stream$jobs <- jobs_of(script_paths, args, env, python, isolation, preload,
                           at_once = length(script_paths))
    check_timeout(timeout)
    stream$timeout <- timeout
    stream$dtype <- dtype
    stream$na <- check_na(na)
    stream$output <- check_choice(output, "output", outputs)
    stream$pid <- Sys.getpid()
    stream$mount <- mount
    # Inputs whose outcomes are not fetched yet, in the order in which they were sent; each has the number of its place.
    stream$inputs <- list()
    # Outcomes that are not pulled yet, by place; the place of the next input, and that of the next pull.
    stream$outcomes <- new.env(parent = emptyenv())
    stream$place <- 0
    stream$pulled <- 0
    stream_declare(stream)
    stream$open <- TRUE
    reg.finalizer(stream, stream_close, onexit = TRUE)
    structure(list(push = function(data) stream_push(stream, data),
                   pull = function(timeout = stream$timeout) stream_pull(stream, timeout),
                   close = function() stream_close(stream),
                   pending = function() stream_pending(stream),
                   slots = function() stream_slots(stream),
                   stages = names(stream$jobs)),
              class = "pyrmap_pipeline")
}

stream_check <- function(stream) {
    if (!stream$open || stream$pid != Sys.getpid())
        stop_with("pyrmap_pipeline_error", if (stream$open) "this pipeline belongs to the R process that made it" else
            "this pipeline is closed: make another with pyrmap_pipeline()")
    hear(stream$output, forget = FALSE)
}

stream_pending <- function(stream) {
    as.integer(stream$place - stream$pulled)
}

stream_slots <- function(stream) {
    vapply(stream$slots, `[[`, "", "path")
}

# Makes slots for the stages. Each is idle: it begins with the round that it is in.
stream_declare <- function(stream) {
    stream$slots <- with_root(stream$mount, function(root) {
        stream$root <- root
        chain_stages(root, stream$jobs)
    })
    stream$first <- vapply(stream$slots, stream_round, 0)
    # The round of the last stage in which the oldest input comes out.
    stream$due <- stream$first[length(stream$slots)]
}

stream_round <- function(slot) {
    .Call(C_slot_state, slot$handle)[2L]
}

stream_discard <- function(stream) {
    slots <- stream$slots
    stream$slots <- list()
    for (slot in rev(slots))
        discard(slot)
}

last_slot <- function(stream) {
    stream$slots[[length(stream$slots)]]
}

# Gives a stage whose worker has died another, in the same slot, unless the last one has not even come to a round: workers
# would die for ever.
stream_revive <- function(stream) {
    for (i in seq_along(stream$slots)) {
        slot <- stream$slots[[i]]
        if (.Call(C_child_alive, slot$worker))
            next
        state <- .Call(C_slot_state, slot$handle)
        if (identical(slot$revived, state) && state[1L] != 2)
            stop_worker_ended(slot, stream$jobs[[i]])
        slot$revived <- state
        slot$former <- utils::tail(c(slot$former, slot$worker), 8L)
        hire(slot, stream$jobs[[i]])
    }
}

# Waits until one of slots has an outcome. Its index, or 0 after a worker was replaced.
stream_wait <- function(stream, slots, timeout, deadline) {
    stream_revive(stream)
    index <- wait_for(slots, stream$slots, deadline)
    if (index == 0L) {
        stop_with("pyrmap_timeout",
                  paste0("the pipeline gave no result within ", format(timeout),
                         " s: pull() again to wait longer, or close() it"), timeout = timeout)
    }
    if (index < 0L && -index <= length(slots))
        stop_cancelled(stream$jobs[[length(stream$jobs)]])
    max(index, 0L)
}

# The outcome of the last stage: list(result) or list(condition), from whichever stage.
stream_outcome <- function(stream, input) {
    count <- length(stream$slots)
    tryCatch(list(result = take(stream$slots[[count]], stream$jobs[[count]], input, TRUE, stream$slots, stream$jobs,
                                stream$due)),
             pyrmap_python_error = function(condition) list(condition = condition),
             pyrmap_loss = function(condition) list(condition = condition),
             pyrmap_worker_died = function(condition) list(condition = condition))
}

# Fetches the outcome of the oldest input. Where a full arena was the reason, and R held garbage in it, it is sent once more.
stream_fetch <- function(stream) {
    input <- stream$inputs[[1L]]
    outcome <- stream_outcome(stream, input)
    stream$due <- stream$due + 1
    stream$inputs <- stream$inputs[-1L]
    if (!is.na(missing_space(outcome$condition$traceback)) && is.null(input$again) && .Call(C_collect)) {
        input$again <- TRUE
        stream_send(stream, input, Inf, Inf)
    } else {
        assign(format(input$place), outcome, envir = stream$outcomes)
    }
}

# The first stage can take an input when it has handed over what it had, its failure as well.
stream_free <- function(stream) {
    slots <- stream$slots
    if (!length(stream$inputs))
        return(TRUE)
    if (length(slots) == 1L)
        return(FALSE)
    first <- .Call(C_slot_state, slots[[1L]]$handle)
    if (first[1L] != 2)
        return(first[1L] != 0)
    second <- .Call(C_slot_state, slots[[2L]]$handle)
    second[1L] != -1 && second[2L] - stream$first[2L] >= first[2L] - stream$first[1L]
}

# Sends one input into the first stage. While that is not free, we fetch outcomes from the other end: all stages may be waiting
# for that.
stream_send <- function(stream, input, timeout, deadline) {
    while (!stream_free(stream)) {
        busy <- length(stream$slots) > 1L && .Call(C_slot_state, stream$slots[[1L]]$handle)[1L] == 0
        ends <- c(list(last_slot(stream)), if (busy) stream$slots[1L])
        if (stream_wait(stream, ends, timeout, deadline) == 1L)
            stream_fetch(stream)
    }
    stream_revive(stream)
    fill(stream$slots[[1L]], input$data, input)
    stream$inputs <- c(stream$inputs, list(input))
}

# A mount that goes takes the slots with it. We still have the inputs that were under way: they run again, through new slots on
# the mount that is there now, and then we try the action again. Where there is no mount, the next push or pull looks again.
stream_on_mount <- function(stream, action) {
    if (!length(stream$slots))
        stream_again(stream)
    tryCatch(action(), pyrmap_system_error = function(condition) {
        if (!condition$errno %in% lost)
            stop(condition)
        forget_root(stream$root$path)
        stream_discard(stream)
        stream_again(stream)
        action()
    })
}

stream_again <- function(stream) {
    inputs <- stream$inputs
    was <- stream$root$path
    stream_declare(stream)
    message("pyrmap: the slots of this pipeline at ", was, " are gone with their mount, or were removed; it goes on at ",
            stream$root$path, if (length(inputs)) paste0(", where ", length(inputs), " inputs that were under way run again"))
    stream$inputs <- list()
    for (i in seq_along(inputs)) {
        sent <- FALSE
        on.exit(if (!sent) stream$inputs <- c(stream$inputs, inputs[seq(i, length(inputs))]))
        stream_send(stream, inputs[[i]], stream$timeout, check_timeout(stream$timeout))
        sent <- TRUE
    }
}

stream_push <- function(stream, data) {
    stream_check(stream)
    if (missing(data))
        stop_argument("push() needs `data`")
    input <- c(list(data = data, place = stream$place + 1),
               with_arguments(input_of(data, stream$dtype, stream$na), stream$jobs[[1L]]$arguments))
    deadline <- check_timeout(stream$timeout)
    stream_on_mount(stream, function() stream_send(stream, input, stream$timeout, deadline))
    stream$place <- input$place
    invisible(stream_pending(stream))
}

stream_pull <- function(stream, timeout) {
    stream_check(stream)
    if (stream_pending(stream) == 0L)
        stop_with("pyrmap_pipeline_error", "there is nothing to pull: push first")
    deadline <- check_timeout(timeout)
    place <- format(stream$pulled + 1)
    while (!exists(place, envir = stream$outcomes, inherits = FALSE))
        stream_on_mount(stream, function() stream_pull_outcome(stream, timeout, deadline))
    outcome <- stream$outcomes[[place]]
    rm(list = place, envir = stream$outcomes)
    stream$pulled <- stream$pulled + 1
    if (!is.null(outcome$condition))
        stop(outcome$condition)
    outcome$result
}

stream_pull_outcome <- function(stream, timeout, deadline) {
    if (stream_wait(stream, list(last_slot(stream)), timeout, deadline) == 1L)
        stream_fetch(stream)
}

stream_close <- function(stream) {
    if (!stream$open || stream$pid != Sys.getpid())
        return(invisible())
    stream$open <- FALSE
    stream_discard(stream)
    stream$inputs <- list()
    rm(list = ls(stream$outcomes), envir = stream$outcomes)
    invisible()
}

print.pyrmap_pipeline <- function(x, ...) {
    cat("pyrmap pipeline: ", paste(x$stages, collapse = " -> "), ", ", x$pending(), " pushed and not yet pulled\n",
        sep = "")
    invisible(x)
}
