# SPDX-License-Identifier: Apache-2.0
# pyrmap_pipeline: a pipeline that stays, for streams of inputs.
#
# Every input gives exactly one result at the last stage, in order, and each takes one round of every stage: an exception
# travels through the stages as a result of its own, marked by a token that no data can hold by chance. Only a worker that is
# killed breaks this. The server tells it before any later input can pass; what was under way is then run again, one by one.

pyrmap_pipeline <- function(script_paths, dtype = NULL, args = NULL, timeout = Inf, python = NULL, mount = NULL,
                            env = NULL, na = getOption("pyrmap.na", "nan")) {
    session_check()
    if (missing(script_paths))
        stop_argument("pyrmap_pipeline() needs `script_paths`")
    stream <- new.env(parent = emptyenv())
    python <- interpreter(python)
    stream$jobs <- jobs_of(script_paths, args, env, python)
    check_timeout(timeout)
    stream$server <- server_for(python)
    stream$timeout <- timeout
    stream$dtype <- dtype
    stream$na <- check_na(na)
    stream$pid <- Sys.getpid()
    urandom <- file("/dev/urandom", "rb", raw = TRUE)
    stream$token <- paste(readBin(urandom, "raw", 16L), collapse = "")
    close(urandom)
    stream$mark <- charToRaw(paste0(stream$token, "\n"))
    stream$mount <- mount
    stream_declare(stream)
    # Inputs whose results are not fetched yet, and results (or conditions) that are not pulled yet.
    stream$inputs <- list()
    stream$queue <- list()
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
}

stream_pending <- function(stream) {
    length(stream$inputs) + length(stream$queue)
}

stream_slots <- function(stream) {
    vapply(stream$slots, `[[`, "", "path")
}

# New slots for the stages. Each is idle: it begins with the round that it is in.
stream_declare <- function(stream) {
    stream$slots <- with_root(stream$mount, function(root) {
        stream$root <- root
        chain_stages(root, stream$server, stream$jobs)
    })
    # The next round of each stage, and that of the last one in which the oldest input comes out.
    stream$rounds <- vapply(stream$slots, function(slot) .Call(C_slot_state, slot$handle)[2L], 0)
    stream$due <- stream$rounds[length(stream$slots)]
}

stream_discard <- function(stream) {
    slots <- stream$slots
    stream$slots <- list()
    for (slot in rev(slots))
        discard(slot, stream$server)
}

last_slot <- function(stream) {
    stream$slots[[length(stream$slots)]]
}

stream_await <- function(stream, slots, timeout, deadline) {
    tryCatch(await(slots, stream$jobs[length(stream$jobs)], stream$server, timeout, deadline, news = TRUE),
             pyrmap_timeout = function(condition) {
                 stop_with("pyrmap_timeout",
                           paste0("the pipeline gave no result within ", format(timeout),
                                  " s: pull() again to wait longer, or close() it"), timeout = timeout)
             })
}

# Whether a worker of this pipeline was killed. News of others is kept for them.
stream_broken <- function(stream) {
    server_hear(stream$server)
    own <- basename(stream_slots(stream))
    broken <- any(own %in% session$died)
    session$died <- setdiff(session$died, own)
    broken
}

# One input into the first stage, and a worker at each stage for the round that is its.
stream_send <- function(stream, input) {
    more <- paste0(", \"errors\": \"", stream$token, "\"")
    line <- function(i) run_line(stream$slots[[i]], stream$jobs[[i]], more)
    begin(stream$slots[[1L]], stream$server, line(1L))
    fill(stream$slots[[1L]], input$data, input)
    for (i in seq_along(stream$slots)[-1L]) {
        parts <- line(i)
        .Call(C_child_send, stream$server, paste0(parts[1L], format(stream$rounds[i], scientific = FALSE), parts[2L]))
    }
    stream$rounds <- stream$rounds + 1
}

# The outcome of the last stage: list(result), list(condition) from whichever stage, and whether the round failed.
stream_outcome <- function(stream, input) {
    count <- length(stream$slots)
    failed <- TRUE
    outcome <- tryCatch({
        result <- take(stream$slots[[count]], stream$jobs[[count]], input, TRUE, stream$slots, stream$jobs, stream$due)
        failed <- FALSE
        size <- length(stream$mark)
        if (typeof(result) %in% c("raw", "integer") && length(result) > size &&
            identical(as.integer(result[seq_len(size)]), as.integer(stream$mark)))
            stream_error(stream, rawToChar(as.raw(result[-seq_len(size)])))
        list(result = result)
    }, pyrmap_error = function(condition) {
        if (inherits(condition, "pyrmap_round_lost"))
            stop(condition)
        list(condition = condition)
    })
    outcome$failed <- failed
    outcome
}

# text: the path of the slot that failed, and what its error file would say.
stream_error <- function(stream, text) {
    Encoding(text) <- "UTF-8"
    slot <- match(sub("\n.*", "", text), stream_slots(stream))
    stop_failed(sub("^[^\n]*\n", "", text), stream$jobs[[if (is.na(slot)) 1L else slot]])
}

# Moves the outcome of the oldest input into the queue: it is pulled later. Whether the round failed.
stream_resolve <- function(stream) {
    outcome <- stream_outcome(stream, stream$inputs[[1L]])
    # Once more where R held garbage in a full arena: as if a worker had died.
    if (!is.na(missing_space(outcome$condition$traceback)) && is.null(stream$inputs[[1L]]$again) && .Call(C_collect)) {
        stream$inputs[[1L]]$again <- TRUE
        return(TRUE)
    }
    stream$due <- stream$due + 1
    stream$inputs <- stream$inputs[-1L]
    stream$queue <- c(stream$queue, list(outcome))
    outcome$failed
}

# The last stage, when its worker was killed, may be at the next input before the server has told of the death.
stream_fetch <- function(stream) {
    failed <- tryCatch(stream_broken(stream) || stream_resolve(stream), pyrmap_round_lost = function(condition) TRUE)
    if (failed)
        stream_mend(stream)
}

# After a failed round the stages no longer are at rounds of the same input, and whose it was may not be known: each input
# that is under way runs alone, through slots that are as new.
stream_mend <- function(stream) {
    failed <- TRUE
    repeat {
        if (failed) {
            stream_discard(stream)
            stream_declare(stream)
        }
        if (!length(stream$inputs))
            return(invisible())
        stream_send(stream, stream$inputs[[1L]])
        await(list(last_slot(stream)), stream$jobs[length(stream$jobs)], stream$server, Inf, Inf)
        failed <- stream_resolve(stream)
    }
}

# Waits until one of slots has an outcome; its index. After a death everything is mended, and 0 is the answer.
stream_wait <- function(stream, slots, timeout, deadline) {
    repeat {
        index <- stream_await(stream, slots, timeout, deadline)
        if (!is.na(index))
            return(index)
        if (stream_broken(stream)) {
            stream_mend(stream)
            return(0L)
        }
    }
}

# A mount that goes takes the slots with it. The inputs that were under way are here: they run again, through new slots on the
# mount that is there now, and then the action is tried again. Where there is none, the next push or pull will look again.
stream_on_mount <- function(stream, action) {
    if (!length(stream$slots))
        stream_mend(stream)
    tryCatch(action(), pyrmap_system_error = function(condition) {
        if (!condition$errno %in% lost)
            stop(condition)
        forget_root(stream$root$path)
        stream_discard(stream)
        stream_mend(stream)
        action()
    })
}

# The first stage is free once it has handed over its result. While it is not, results are fetched from the other end: the
# stages may all be waiting for that.
stream_push <- function(stream, data) {
    stream_check(stream)
    if (missing(data))
        stop_argument("push() needs `data`")
    input <- c(list(data = data), input_of(data, stream$dtype, stream$na))
    deadline <- check_timeout(stream$timeout)
    stream_on_mount(stream, function() stream_push_input(stream, input, deadline))
    invisible(stream_pending(stream))
}

stream_push_input <- function(stream, input, deadline) {
    single <- length(stream$slots) == 1L
    while (length(stream$inputs) && (single || .Call(C_slot_state, stream$slots[[1L]]$handle)[1L] == 0)) {
        ends <- if (single) list(last_slot(stream)) else list(last_slot(stream), stream$slots[[1L]])
        if (stream_wait(stream, ends, stream$timeout, deadline) == 1L)
            stream_fetch(stream)
    }
    stream_send(stream, input)
    stream$inputs <- c(stream$inputs, list(input))
}

stream_pull <- function(stream, timeout) {
    stream_check(stream)
    if (stream_pending(stream) == 0L)
        stop_with("pyrmap_pipeline_error", "there is nothing to pull: push first")
    deadline <- check_timeout(timeout)
    if (!length(stream$queue))
        stream_on_mount(stream, function() stream_pull_outcome(stream, timeout, deadline))
    outcome <- stream$queue[[1L]]
    stream$queue <- stream$queue[-1L]
    if (!is.null(outcome$condition))
        stop(outcome$condition)
    outcome$result
}

stream_pull_outcome <- function(stream, timeout, deadline) {
    if (!length(stream$queue) && stream_wait(stream, list(last_slot(stream)), timeout, deadline) == 1L)
        stream_fetch(stream)
}

stream_close <- function(stream) {
    if (!stream$open || stream$pid != Sys.getpid())
        return(invisible())
    stream$open <- FALSE
    stream_discard(stream)
    stream$inputs <- stream$queue <- list()
    invisible()
}

print.pyrmap_pipeline <- function(x, ...) {
    cat("pyrmap pipeline: ", paste(x$stages, collapse = " -> "), ", ", x$pending(), " pushed and not yet pulled\n",
        sep = "")
    invisible(x)
}
