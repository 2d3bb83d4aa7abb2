# SPDX-License-Identifier: Apache-2.0
# Slots that are kept between calls: making one costs several requests, another round in it none of them.

pool_max <- 16L
# Above this many bytes a slot in the pool does not keep its segments.
pool_bytes <- 2^20

# An environment: handle, path, json (its path as JSON), root, task, server (that ran something in it), idle (nothing in it),
# chained, bytes (of the larger of the arrays in its round, about).
slot_new <- function(root) {
    slot <- new.env(parent = emptyenv())
    slot$handle <- .Call(C_slot_new, root$path, root$live)
    slot$path <- .Call(C_slot_path, slot$handle)
    slot$json <- json_string(slot$path)
    slot$root <- root$path
    slot$task <- ""
    slot$server <- NULL
    slot$idle <- TRUE
    slot$chained <- FALSE
    slot$bytes <- 0
    slot
}

# A slot for a job. One that ran it last is best: its task file says so already, for people to read.
acquire <- function(root, job) {
    slot <- pooled(root, job)
    if (is.null(slot))
        slot <- slot_new(root)
    if (!is.null(job$task) && !identical(slot$task, job$task)) {
        if (nchar(job$task, "bytes") <= 4096L)
            .Call(C_slot_text, slot$handle, "task", job$task)
        slot$task <- job$task
    }
    slot
}

# Takes a slot out of the pool: one with the job's task, or with anyone's if the pool is full; else NULL.
pooled <- function(root, job, anyone = TRUE) {
    pool <- session$pools[[root$path]]
    count <- length(pool)
    index <- 0L
    for (i in rev(seq_len(count))) {
        if (identical(pool[[i]]$task, job$task)) {
            index <- i
            break
        }
    }
    if (index == 0L && anyone && count == pool_max)
        index <- 1L
    if (index == 0L)
        return(NULL)
    # Another mount may be at that place now: those that were kept of the last one are gone.
    if (!.Call(C_slot_current, pool[[index]]$handle, root$path)) {
        forget_root(root$path)
        return(NULL)
    }
    session$pools[[root$path]][[index]] <- NULL
    pool[[index]]
}

# Whether the script that ran last in a slot has left a thread or a process running. The worker told so before R could see
# the result. Nothing else may use the slot: what goes on could answer in it.
goes_on <- function(slot) {
    server_hear(slot$server)
    name <- basename(slot$path)
    left <- name %in% session$going_on
    session$going_on <- setdiff(session$going_on, name)
    left
}

# For the next call.
release <- function(slot, bytes = slot$bytes) {
    if (goes_on(slot)) {
        server_send(slot$server, "{\"forget\": ", slot$json, "}")
        .Call(C_slot_remove, slot$handle)
        return(invisible())
    }
    if (slot$chained) {
        .Call(C_slot_source, slot$handle, NULL)
        slot$chained <- FALSE
    }
    if (bytes > pool_bytes)
        reset(slot)
    pool <- session$pools[[slot$root]]
    if (length(pool) < pool_max)
        session$pools[[slot$root]] <- c(pool, slot)
    else
        .Call(C_slot_remove, slot$handle)
}

reset <- function(slot) {
    slot$bytes <- 0
    slot$idle <- .Call(C_slot_reset, slot$handle)
}

# Stops what runs in it and removes it.
discard <- function(slot, server) {
    server_send(server, "{\"cancel\": ", slot$json, "}")
    server_send(server, "{\"forget\": ", slot$json, "}")
    .Call(C_slot_remove, slot$handle)
}

# The command that runs a job in a slot: what comes before the number of the round, and what after it.
run_line <- function(slot, job, more = "") {
    c(paste0("{\"run\": ", slot$json, ", \"round\": "), paste0(more, ", \"task\": ", job$task, "}\n"))
}

# Starts a worker for the round that a chained slot is in.
start <- function(slot, job, server) {
    slot$server <- server
    .Call(C_slot_run, slot$handle, server, run_line(slot, job))
}

# Nothing may be left in a slot that others are to follow, or they would begin with it.
empty <- function(slot) {
    if (!slot$idle)
        reset(slot)
}

# The slot's input is from now on a file of another slot.
chain <- function(slot, source, file) {
    empty(slot)
    .Call(C_slot_source, slot$handle, paste0("../", basename(source), "/", file))
    slot$chained <- TRUE
    slot$idle <- FALSE
}

# Begins a round. The worker, if there is one, starts while R still fills. NULL, or the name of the errno.
try_begin <- function(slot, server, line) {
    slot$idle <- FALSE
    slot$server <- server
    .Call(C_slot_begin, slot$handle, server, line)
}

begin <- function(slot, server = NULL, line = NULL) {
    error <- try_begin(slot, server, line)
    if (!is.null(error))
        stop_system("begin a round in", slot$path, error, error)
}

# Publishes the input of a round that was begun.
fill <- function(slot, data, input) {
    slot$bytes <- 8 * length(data)
    index <- .Call(C_slot_fill, slot$handle, data, input$type, input$dtype)
    if (!is.null(index))
        stop_misfit(data, index, names(dtypes)[match(input$dtype, dtypes)])
}

# A pyrmap_array that can be passed on as it is: the path of its slot, published. Else NULL.
holder_of <- function(data, input, root) {
    handle <- .Call(C_array_holder, data, input$dtype, root$path)
    if (is.null(handle)) NULL else .Call(C_slot_path, handle)
}
