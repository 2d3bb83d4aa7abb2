# SPDX-License-Identifier: Apache-2.0
# Slots that are kept between calls, each with its worker and what that has loaded.

# Above this many bytes a slot in the pool does not keep its segments.
pool_bytes <- 2^20

# How many are kept, at most. A pipeline keeps as many as it has stages: else each call of it would start some.
workers_max <- function() {
    most <- getOption("pyrmap.workers")
    if (is.null(most))
        most <- max(4L, .Call(C_cores))
    if (!is.numeric(most) || length(most) != 1L || is.na(most) || most < 1)
        stop_argument("the option pyrmap.workers must be a number of workers to keep, at least 1")
    max(most, session$stages)
}

# An environment: handle, path, root, key (of the jobs that its worker does), worker, task and file (what it is to do), number
# and version (of the job and of R's environment that the task is made of), then (R's environment when the worker was started),
# chained, bytes (of the larger of the arrays in its round, about). No job: a slot without a worker.
slot_new <- function(root, job = NULL) {
    slot <- new.env(parent = emptyenv())
    slot$handle <- .Call(C_slot_new, root$path, root$live)
    slot$path <- .Call(C_slot_path, slot$handle)
    slot$root <- root$path
    slot$key <- job$key
    slot$task <- ""
    slot$chained <- FALSE
    slot$bytes <- 0
    made <- FALSE
    on.exit(if (!made) discard(slot))
    if (!is.null(job))
        hire(slot, job)
    made <- TRUE
    slot
}

# Starts the worker of a slot.
hire <- function(slot, job) {
    slot$version <- NULL
    slot$then <- .Call(C_environment)
    slot$worker <- start_worker(job, slot$path)
}

# A slot for a job, whose task says what the worker is to do.
acquire <- function(root, job) {
    slot <- pooled(root, job)
    if (is.null(slot))
        slot <- slot_new(root, job)
    given <- FALSE
    on.exit(if (!given) discard(slot))
    error <- give_task(slot, job)
    if (!is.null(error))
        stop_system("write the task of", slot$path, error, error)
    given <- TRUE
    slot
}

# Takes the slot out of the pool that did such jobs last, if there is one whose worker lives; else NULL.
pooled <- function(root, job) {
    i <- 0L
    # The most recently used is the first.
    for (slot in session$pool) {
        i <- i + 1L
        if (slot$key != job$key || slot$root != root$path)
            next
        # Another mount may be at that place now: those that were kept of the last one are gone.
        if (!.Call(C_slot_current, slot$handle, root$path)) {
            forget_root(root$path)
            return(NULL)
        }
        session$pool[[i]] <- NULL
        if (.Call(C_child_alive, slot$worker)) {
            .Call(C_slot_keep, slot$handle)
            slot$bytes <- 0
            return(slot)
        }
        discard(slot)
        i <- i - 1L
    }
    NULL
}

# Keeps the slot for the next call, with a large result as long as the caller has it. Where there are too many slots, the least
# recently used goes.
release <- function(slot, bytes = slot$bytes) {
    if (!.Call(C_child_alive, slot$worker))
        return(discard(slot))
    if (slot$chained) {
        .Call(C_slot_source, slot$handle, NULL)
        slot$chained <- FALSE
    }
    if (bytes > pool_bytes && !.Call(C_slot_lends, slot$handle))
        reset(slot)
    session$pool <- c(slot, session$pool)
    count <- length(session$pool)
    while (count > 1L && count > workers_max()) {
        discard(session$pool[[count]])
        session$pool[[count]] <- NULL
        count <- count - 1L
    }
}

reset <- function(slot) {
    slot$bytes <- 0
    .Call(C_slot_reset, slot$handle)
}

# Ends the worker of a slot, and all that this has started, and removes the slot. A result of it that the caller has stays.
discard <- function(slot) {
    .Call(C_slot_keep, slot$handle)
    if (!is.null(slot$worker))
        .Call(C_child_end, slot$worker)
    .Call(C_slot_remove, slot$handle)
    unlink(slot$file)
}

# Empties a slot that others are to follow: they would begin with what is left in it.
empty <- function(slot) {
    .Call(C_slot_empty, slot$handle)
}

# Makes a file of another slot the input of this one, from now on.
chain <- function(slot, source, file) {
    empty(slot)
    .Call(C_slot_source, slot$handle, paste0("../", basename(source), "/", file))
    slot$chained <- TRUE
}

# Begins a round with data as its input. NULL, or the name of the errno if the slot takes none.
send <- function(slot, data, input) {
    slot$bytes <- 8 * length(data)
    said <- if (input$bundle)
        .Call(C_bundle_fill, slot$handle, data, input$arguments, input$na, input$type, input$dtype)
    else
        .Call(C_slot_fill, slot$handle, data, input$type, input$dtype)
    if (is.numeric(said))
        stop_misfit(data, said, names(dtypes)[match(input$dtype, dtypes)])
    said
}

# Does the same where it is an error if the slot takes none.
fill <- function(slot, data, input) {
    error <- send(slot, data, input)
    if (!is.null(error))
        stop_system("begin a round in", slot$path, error, error)
}

# A pyrmap_array that can be passed on as it is: the path of its slot, published. Else NULL.
holder_of <- function(data, input, root) {
    # Arguments travel in the same bundle. Where NA is not to be NaN, R has to look at the values.
    if (input$bundle && (!is.null(input$arguments) || input$na != "nan" || inherits(data, "data.table")))
        return(NULL)
    handle <- if (input$bundle) .Call(C_bundle_holder, data, root$path) else
        .Call(C_array_holder, data, input$type, input$dtype, root$path)
    if (is.null(handle)) NULL else .Call(C_slot_path, handle)
}
