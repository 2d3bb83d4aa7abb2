# SPDX-License-Identifier: Apache-2.0
# run_python and its two relatives.

# The first requests of a call tell whether the mount that was found earlier is still there. If not, once more from the
# beginning: another may be mounted, or a private one can be started.
lost <- c("ENOENT", "ENOTCONN", "ESTALE", "ECONNABORTED", "ENODEV")

with_root <- function(mount, action) {
    root <- root_for(mount)
    tryCatch(action(root), pyrmap_system_error = function(condition) {
        if (!condition$errno %in% lost)
            stop(condition)
        forget_root(root$path)
        action(root_for(mount))
    })
}

check_timeout <- function(timeout) {
    if (!is.numeric(timeout) || length(timeout) != 1L || is.na(timeout) || timeout < 0)
        stop("timeout must be a number of seconds, Inf for none", call. = FALSE)
    proc.time()[["elapsed"]] + timeout
}

# Waits for one of the slots; its index.
await <- function(slots, jobs, server, timeout, deadline) {
    left <- if (is.finite(deadline)) max(0, deadline - proc.time()[["elapsed"]]) else Inf
    index <- .Call(C_wait, lapply(slots, `[[`, "handle"), server, left)
    if (index > 0L)
        return(index)
    if (index == 0L)
        stop_timeout(jobs[[1L]], timeout)
    if (index == -1L)
        stop_server_ended(jobs[[1L]])
    stop_cancelled(jobs[[-1L - index]])
}

# The result of a slot that await() named. all: the slots and jobs that an error may have come from.
take <- function(slot, job, input, slots = list(slot), jobs = list(job)) {
    result <- .Call(C_slot_result, slot$handle, has_bit64(), length(dim(input$data)) == 1L)
    if (is.null(result)) {
        cause <- first_cause(.Call(C_slot_read, slot$handle, "error"), job, slots, jobs)
        stop_failed(cause$text, cause$job)
    }
    result
}

# "source r-1-2 failed: source r-1-1 failed: ValueError: ...": what failed first, and which job that was.
first_cause <- function(text, job, slots, jobs) {
    names <- vapply(slots, function(slot) basename(slot$path), "")
    repeat {
        parts <- regmatches(text, regexec("^source ([^ ]+) failed: ", text))[[1L]]
        if (!length(parts))
            return(list(text = text, job = job))
        text <- substring(text, nchar(parts[1L]) + 1L)
        index <- match(parts[2L], names)
        if (!is.na(index))
            job <- jobs[[index]]
    }
}

exchanged <- function(input, result) {
    8 * max(length(input$data), length(result))
}

# A slot with a running job on the input.
begin <- function(root, server, job, input) {
    holder <- holder_of(input, root)
    slot <- acquire(root, job)
    begun <- FALSE
    on.exit(if (!begun) discard(slot, server))
    if (is.null(holder)) {
        fill(slot, input, server, run_line(slot, job))
    } else {
        chain(slot, holder, "data.bin")
        .Call(C_child_send, server, run_line(slot, job))
    }
    begun <- TRUE
    slot
}

run_python <- function(data, python_script_path, dtype = NULL, args = NULL, timeout = Inf, python = NULL,
                       mount = NULL, env = NULL, path = NULL) {
    session_check()
    input <- input_of(data, dtype)
    job <- job_of(python_script_path, args, env)
    deadline <- check_timeout(timeout)
    server <- server_for(python)
    slot <- with_root(mount, function(root) begin(root, server, job, input))
    ended <- FALSE
    result <- NULL
    on.exit(if (ended) release(slot, exchanged(input, result)) else discard(slot, server))
    await(list(slot), list(job), server, timeout, deadline)
    ended <- TRUE
    result <- take(slot, job, input)
    result
}

# A bar in interactive sessions; a function to call with how many are done, and with NULL at the end.
progress <- function(count) {
    if (!interactive() || count < 2L || !isTRUE(getOption("pyrmap.progress", TRUE)))
        return(NULL)
    bar <- utils::txtProgressBar(max = count, style = 3L, file = stderr())
    function(done) if (is.null(done)) close(bar) else utils::setTxtProgressBar(bar, done)
}

run_python_shared_data <- function(data, script_paths, dtype = NULL, args = NULL, timeout = Inf, python = NULL,
                                   mount = NULL, env = NULL, python_scripts_paths = script_paths, path = NULL) {
    session_check()
    input <- input_of(data, dtype)
    jobs <- jobs_of(python_scripts_paths, args, env)
    deadline <- check_timeout(timeout)
    server <- server_for(python)
    with_root(mount, function(root) share(root, server, jobs, input, timeout, deadline))
}

# One slot holds the input, the others have it as their source: each sees the same pages.
share <- function(root, server, jobs, input, timeout, deadline) {
    slots <- list()
    source <- NULL
    on.exit({
        for (slot in slots)
            discard(slot, server)
        if (!is.null(source))
            discard(source, server)
    })
    holder <- holder_of(input, root)
    if (is.null(holder)) {
        source <- acquire(root, list(task = NULL))
        fill(source, input)
        holder <- source$path
    }
    bar <- progress(length(jobs))
    results <- vector("list", length(jobs))
    names(results) <- names(jobs)
    pending <- seq_along(jobs)
    while (length(pending) + length(slots) > 0L) {
        while (length(pending) > 0L && length(slots) < .Call(C_cores)) {
            slot <- acquire(root, jobs[[pending[1L]]])
            slots[[as.character(pending[1L])]] <- slot
            chain(slot, holder, "data.bin")
            .Call(C_child_send, server, run_line(slot, jobs[[pending[1L]]]))
            pending <- pending[-1L]
        }
        running <- as.integer(names(slots))
        index <- await(slots, jobs[running], server, timeout, deadline)
        done <- running[index]
        results[[done]] <- take(slots[[index]], jobs[[done]], input)
        slot <- slots[[index]]
        slots[[index]] <- NULL
        release(slot, exchanged(input, results[[done]]))
        if (!is.null(bar))
            bar(length(jobs) - length(pending) - length(slots))
    }
    if (!is.null(bar))
        bar(NULL)
    on.exit(if (!is.null(source)) release(source, Inf))
    results
}

run_python_pipeline <- function(data, script_paths, dtype = NULL, args = NULL, timeout = Inf, python = NULL,
                                mount = NULL, env = NULL, intermediate = FALSE, initial_data = data,
                                python_scripts_paths = script_paths,
                                required_intermediate_results = intermediate, path = NULL) {
    session_check()
    input <- input_of(initial_data, dtype)
    jobs <- jobs_of(python_scripts_paths, args, env)
    deadline <- check_timeout(timeout)
    server <- server_for(python)
    with_root(mount, function(root) {
        slots <- list()
        on.exit(for (slot in rev(slots)) discard(slot, server))
        slots <- chain_stages(root, server, jobs)
        start_stages(server, slots, jobs, input, root)
        last <- length(slots)
        bar <- progress(last)
        for (stage in if (is.null(bar)) last else seq_len(last)) {
            await(slots[stage], jobs[stage], server, timeout, deadline)
            if (!is.null(bar))
                bar(stage)
        }
        if (!is.null(bar))
            bar(NULL)
        wanted <- if (isTRUE(required_intermediate_results)) seq_len(last) else last
        results <- lapply(rev(wanted), function(i) take(slots[[i]], jobs[[i]], input, slots, jobs))
        on.exit(for (slot in rev(slots)) release(slot, Inf))
        if (!isTRUE(required_intermediate_results))
            return(results[[1L]])
        results <- rev(results)
        names(results) <- names(jobs)
        results
    })
}

# A slot for each stage, each with the one before it as its source.
chain_stages <- function(root, server, jobs) {
    slots <- list()
    made <- FALSE
    on.exit(if (!made) for (slot in rev(slots)) discard(slot, server))
    for (job in jobs) {
        slot <- acquire(root, job)
        slots <- c(slots, slot)
        if (length(slots) > 1L)
            chain(slot, slots[[length(slots) - 1L]]$path, "result.bin")
    }
    made <- TRUE
    slots
}

# One round through all stages: the workers wait for their turn in the filesystem.
start_stages <- function(server, slots, jobs, input, root) {
    holder <- holder_of(input, root)
    for (i in seq_along(slots)[-1L])
        .Call(C_child_send, server, run_line(slots[[i]], jobs[[i]]))
    head <- slots[[1L]]
    if (is.null(holder)) {
        fill(head, input, server, run_line(head, jobs[[1L]]))
    } else {
        chain(head, holder, "data.bin")
        .Call(C_child_send, server, run_line(head, jobs[[1L]]))
    }
}
