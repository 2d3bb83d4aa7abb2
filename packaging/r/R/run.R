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
        stop_argument("timeout must be a number of seconds, Inf for none")
    if (timeout == Inf) Inf else proc.time()[["elapsed"]] + timeout
}

seconds_left <- function(deadline) {
    if (deadline == Inf) Inf else max(0, deadline - proc.time()[["elapsed"]])
}

# Waits for one of the slots; its index. NA, if news is TRUE: there is some of the server.
await <- function(slots, jobs, server, timeout, deadline, news = FALSE) {
    index <- .Call(C_wait, lapply(slots, `[[`, "handle"), server, seconds_left(deadline), news)
    if (is.na(index) || index > 0L)
        return(index)
    if (index == 0L)
        stop_timeout(jobs[[1L]], timeout)
    if (index == -1L)
        stop_server_ended(jobs[[1L]])
    stop_cancelled(jobs[[-1L - index]])
}

# What take() returns instead of a result if the arena was full, and R held garbage in it, which is collected now: the call is
# to be made once more.
once_more <- structure(list(), class = "pyrmap_once_more")
is_once_more <- function(result) inherits(result, "pyrmap_once_more")

# The result of a slot that await() named. slots, jobs: those that an error may have come from. round: its number, where
# the next one may have begun. last: a full arena is an error, whatever R holds.
take <- function(slot, job, input, last, slots = list(slot), jobs = list(job), round = NULL) {
    result <- .Call(C_slot_result, slot$handle, input$special, input$flat, round)
    if (is.null(result)) {
        # The part of a result that did find room goes when the slot is released.
        slot$bytes <- Inf
        text <- .Call(C_slot_read, slot$handle, "error")
        # Still FAILED: else this was the text of another round, or none.
        if (!is.null(round) && !identical(.Call(C_slot_state, slot$handle), c(2, round)))
            stop_round_lost(slot$path)
        cause <- first_cause(text, job, slots, jobs)
        if (!last && !is.na(missing_space(cause$text)) && .Call(C_collect))
            return(once_more)
        stop_failed(cause$text, cause$job)
    }
    slot$bytes <- max(slot$bytes, 8 * length(result))
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

# In what follows no function that has `data` or a result in its frame may make another function, or call tryCatch:
# the frame would stay referenced, R would take the vector for shared, and would copy it whole at the next store.

# A slot with a running job whose round was begun. The usual case, a slot that ran the job before, goes without tryCatch:
# that costs as much as a request to the filesystem.
open_round <- function(root, mount, server, job) {
    slot <- pooled(root, job, anyone = FALSE)
    if (!is.null(slot)) {
        if (is.null(try_begin(slot, server, run_line(slot, job))))
            return(slot)
        discard(slot, server)
    }
    with_root(mount, function(root) {
        slot <- acquire(root, job)
        begun <- FALSE
        on.exit(if (!begun) discard(slot, server))
        begin(slot, server, run_line(slot, job))
        begun <- TRUE
        slot
    })
}

# A slot with a running job on the input of another slot.
follow <- function(root, server, job, holder) {
    slot <- acquire(root, job)
    begun <- FALSE
    on.exit(if (!begun) discard(slot, server))
    chain(slot, holder, "data.bin")
    start(slot, job, server)
    begun <- TRUE
    slot
}

run_python <- function(data, python_script_path, dtype = NULL, args = NULL, timeout = Inf, python = NULL,
                       mount = NULL, env = NULL, path = NULL, na = getOption("pyrmap.na", "nan")) {
    session_check()
    if (missing(data) || missing(python_script_path))
        stop_argument("run_python() needs `data` and `python_script_path`")
    input <- input_of(data, dtype, na)
    python <- interpreter(python)
    job <- job_of(python_script_path, args, env, python)
    deadline <- check_timeout(timeout)
    server <- server_for(python)
    result <- run_once(data, input, job, server, mount, timeout, deadline, last = FALSE)
    if (is_once_more(result))
        return(run_once(data, input, job, server, mount, timeout, deadline, last = TRUE))
    result
}

run_once <- function(data, input, job, server, mount, timeout, deadline, last) {
    root <- root_for(mount)
    holder <- holder_of(data, input, root)
    slot <- if (is.null(holder)) open_round(root, mount, server, job) else follow(root, server, job, holder)
    ended <- FALSE
    on.exit(if (ended) release(slot) else discard(slot, server))
    if (is.null(holder))
        fill(slot, data, input)
    await(list(slot), list(job), server, timeout, deadline)
    ended <- TRUE
    take(slot, job, input, last)
}

# A bar in interactive sessions; a function to call with how many are done, and with NULL at the end.
progress <- function(count) {
    if (!interactive() || count < 2L || !isTRUE(getOption("pyrmap.progress", TRUE)))
        return(NULL)
    bar <- utils::txtProgressBar(max = count, style = 3L, file = stderr())
    function(done) if (is.null(done)) close(bar) else utils::setTxtProgressBar(bar, done)
}

run_python_shared_data <- function(data, script_paths, dtype = NULL, args = NULL, timeout = Inf, python = NULL,
                                   mount = NULL, env = NULL, python_scripts_paths = script_paths, path = NULL,
                                   na = getOption("pyrmap.na", "nan")) {
    session_check()
    if (missing(data) || (missing(script_paths) && missing(python_scripts_paths)))
        stop_argument("run_python_shared_data() needs `data` and `script_paths`")
    input <- input_of(data, dtype, na)
    python <- interpreter(python)
    jobs <- jobs_of(python_scripts_paths, args, env, python)
    deadline <- check_timeout(timeout)
    server <- server_for(python)
    root <- root_for(mount)
    holder <- holder_of(data, input, root)
    source <- if (is.null(holder)) open_source(mount)
    ended <- FALSE
    on.exit(if (!is.null(source)) { if (ended) release(source, Inf) else discard(source, server) })
    if (!is.null(source)) {
        fill(source, data, input)
        holder <- source$path
        root <- root_for(mount)
    }
    results <- share(root, server, jobs, input, holder, timeout, deadline)
    ended <- TRUE
    results
}

# A slot that holds an input for others, its round begun.
open_source <- function(mount) {
    with_root(mount, function(root) {
        slot <- acquire(root, list(task = NULL))
        begin(slot)
        slot
    })
}

# One slot holds the input, the others have it as their source: each sees the same pages.
share <- function(root, server, jobs, input, holder, timeout, deadline) {
    slots <- list()
    on.exit(for (slot in slots) discard(slot, server))
    bar <- progress(length(jobs))
    results <- vector("list", length(jobs))
    names(results) <- names(jobs)
    last <- logical(length(jobs))
    pending <- seq_along(jobs)
    while (length(pending) + length(slots) > 0L) {
        while (length(pending) > 0L && length(slots) < .Call(C_cores)) {
            slots[[as.character(pending[1L])]] <- follow(root, server, jobs[[pending[1L]]], holder)
            pending <- pending[-1L]
        }
        running <- as.integer(names(slots))
        index <- await(slots, jobs[running], server, timeout, deadline)
        done <- running[index]
        result <- take(slots[[index]], jobs[[done]], input, last[done])
        slot <- slots[[index]]
        slots[[index]] <- NULL
        release(slot)
        if (is_once_more(result)) {
            last[done] <- TRUE
            pending <- c(done, pending)
        } else {
            results[[done]] <- result
        }
        if (!is.null(bar))
            bar(length(jobs) - length(pending) - length(slots))
    }
    if (!is.null(bar))
        bar(NULL)
    results
}

run_python_pipeline <- function(data, script_paths, dtype = NULL, args = NULL, timeout = Inf, python = NULL,
                                mount = NULL, env = NULL, intermediate = FALSE, initial_data = data,
                                python_scripts_paths = script_paths,
                                required_intermediate_results = intermediate, path = NULL,
                                na = getOption("pyrmap.na", "nan")) {
    session_check()
    if ((missing(data) && missing(initial_data)) || (missing(script_paths) && missing(python_scripts_paths)))
        stop_argument("run_python_pipeline() needs `data` and `script_paths`")
    check_flag(required_intermediate_results, "intermediate")
    input <- input_of(initial_data, dtype, na)
    python <- interpreter(python)
    jobs <- jobs_of(python_scripts_paths, args, env, python)
    deadline <- check_timeout(timeout)
    server <- server_for(python)
    results <- pipe_once(initial_data, input, jobs, server, mount, timeout, deadline, required_intermediate_results,
                         last = FALSE)
    if (is_once_more(results)) {
        return(pipe_once(initial_data, input, jobs, server, mount, timeout, deadline, required_intermediate_results,
                         last = TRUE))
    }
    results
}

pipe_once <- function(data, input, jobs, server, mount, timeout, deadline, intermediate, last) {
    holder <- holder_of(data, input, root_for(mount))
    slots <- open_stages(mount, server, jobs, holder)
    ended <- FALSE
    on.exit(for (slot in rev(slots)) if (ended) release(slot, Inf) else discard(slot, server))
    if (is.null(holder))
        fill(slots[[1L]], data, input)
    await_stages(slots, jobs, server, timeout, deadline)
    count <- length(slots)
    # The last one first: if it failed, it says why.
    result <- take(slots[[count]], jobs[[count]], input, last, slots, jobs)
    if (!intermediate || is_once_more(result)) {
        ended <- !is_once_more(result)
        return(result)
    }
    results <- vector("list", count)
    names(results) <- names(jobs)
    results[[count]] <- result
    for (stage in rev(seq_len(count - 1L)))
        results[[stage]] <- take(slots[[stage]], jobs[[stage]], input, TRUE, slots, jobs)
    ended <- TRUE
    results
}

# R waits for the last stage only; with a bar to show, for one after the other.
await_stages <- function(slots, jobs, server, timeout, deadline) {
    last <- length(slots)
    bar <- progress(last)
    for (stage in if (is.null(bar)) last else seq_len(last)) {
        await(slots[stage], jobs[stage], server, timeout, deadline)
        if (!is.null(bar))
            bar(stage)
    }
    if (!is.null(bar))
        bar(NULL)
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
        else
            empty(slot)
    }
    made <- TRUE
    slots
}

# Stages with a worker each, which wait for their turn in the filesystem. The first one's round is begun, unless its input
# is another slot's, holder's.
open_stages <- function(mount, server, jobs, holder) {
    force(jobs)
    force(server)
    with_root(mount, function(root) {
        slots <- chain_stages(root, server, jobs)
        started <- FALSE
        on.exit(if (!started) for (slot in rev(slots)) discard(slot, server))
        for (i in seq_along(slots)[-1L])
            start(slots[[i]], jobs[[i]], server)
        head <- slots[[1L]]
        if (is.null(holder)) {
            begin(head, server, run_line(head, jobs[[1L]]))
        } else {
            chain(head, holder, "data.bin")
            start(head, jobs[[1L]], server)
        }
        started <- TRUE
        slots
    })
}
