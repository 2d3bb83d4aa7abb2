# SPDX-License-Identifier: Apache-2.0
# run_python and its two relatives.

# The first requests of a call tell whether the mount that we found earlier is still there. If it is not, we begin again:
# another may be mounted, or we start a private one.
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

# Waits for one of the slots, and returns its index. all, all_jobs: the slots whose workers compute for it, and their jobs.
await <- function(slots, jobs, timeout, deadline, all = slots, all_jobs = jobs) {
    index <- wait_for(slots, all, deadline)
    if (index > 0L)
        return(index)
    if (index == 0L)
        stop_timeout(jobs[[1L]], timeout)
    if (-index <= length(slots))
        stop_cancelled(jobs[[-index]])
    ended <- -index - length(slots)
    stop_worker_ended(all[[ended]], all_jobs[[ended]])
}

# What pyrmap_wait() in wait.h says.
wait_for <- function(slots, all, deadline) {
    # lapply costs as much as the rest of a small call's way through here.
    handles <- if (length(all) == 1L) list(all[[1L]]$handle) else lapply(all, `[[`, "handle")
    workers <- if (length(all) == 1L) list(all[[1L]]$worker) else lapply(all, `[[`, "worker")
    .Call(C_wait, if (identical(slots, all)) handles else lapply(slots, `[[`, "handle"), workers, handles, seconds_left(deadline))
}

# What take() returns instead of a result if the arena was full and R held garbage in it. That is collected now, and the call
# should be made once more.
once_more <- structure(list(), class = "pyrmap_once_more")
is_once_more <- function(result) inherits(result, "pyrmap_once_more")

# The result of a slot that await() named. slots, jobs: those that an error may have come from. round: its number, where
# the next one may have begun. last: a full arena is an error, whatever R holds.
# several: other slots of this call may have taken the room for a moment.
take <- function(slot, job, input, last, slots = list(slot), jobs = list(job), round = NULL, several = FALSE) {
    pass_on_warnings(slots)
    result <- .Call(C_slot_result, slot$handle, input$special, input$flat, round)
    # In place of a result, which may be NULL.
    if (is.symbol(result)) {
        # The part of a result that did find room goes when the slot is released.
        slot$bytes <- Inf
        cause <- first_cause(.Call(C_slot_read, slot$handle, "error"), slot, job, slots, jobs)
        if (!last && !is.na(missing_space(cause$text)) && (.Call(C_collect) || several))
            return(once_more)
        stop_failed(cause$text, cause$job, cause$slot)
    }
    slot$bytes <- max(slot$bytes, .Call(C_slot_bytes, slot$handle))
    if (is.null(input$names)) result else .Call(C_names_put, result, input$names)
}

# "source r-1-2 failed: source r-1-1 failed: ValueError: ...": what failed first, in which slot, and which job that was.
first_cause <- function(text, slot, job, slots, jobs) {
    names <- vapply(slots, function(slot) basename(slot$path), "")
    repeat {
        parts <- regmatches(text, regexec("^source ([^ ]+) failed: ", text))[[1L]]
        if (!length(parts))
            return(list(text = text, job = job, slot = slot))
        text <- substring(text, nchar(parts[1L]) + 1L)
        index <- match(parts[2L], names)
        if (!is.na(index)) {
            job <- jobs[[index]]
            slot <- slots[[index]]
        }
    }
}

# In what follows no function that has `data` or a result in its frame may make another function, or call tryCatch:
# the frame would stay referenced, R would take the vector for shared, and would copy it whole at the next store.

# A slot with a worker for the job. The usual case, a slot that did such jobs before, goes without tryCatch, which costs as
# much as the rest.
open_slot <- function(root, mount, job) {
    slot <- pooled(root, job)
    if (!is.null(slot)) {
        if (is.null(give_task(slot, job)))
            return(slot)
        discard(slot)
    }
    with_root(mount, function(root) acquire(root, job))
}

# Discards slots of which the first took no input. Another mount may be in the place of theirs.
give_up <- function(slots, error) {
    for (slot in rev(slots))
        discard(slot)
    if (error %in% lost)
        forget_root(slot$root)
}

# A slot whose worker does the job on the input of another slot.
follow <- function(root, job, holder) {
    slot <- acquire(root, job)
    begun <- FALSE
    on.exit(if (!begun) discard(slot))
    chain(slot, holder, "data.bin")
    begun <- TRUE
    slot
}

run_python <- function(data, python_script_path, dtype = NULL, args = NULL, timeout = Inf, python = NULL,
                       mount = NULL, env = NULL, path = NULL, na = getOption("pyrmap.na", "nan"), slot = NULL,
                       isolation = getOption("pyrmap.isolation", "session"), preload = getOption("pyrmap.preload"),
                       output = getOption("pyrmap.output", "console")) {
    session_check()
    if (missing(data) || (missing(python_script_path) && is.null(slot)))
        stop_argument("run_python() needs `data` and `python_script_path`")
    input <- input_of(data, dtype, na)
    deadline <- check_timeout(timeout)
    if (!is.null(slot)) {
        if (!missing(python_script_path) || length(args))
            stop_argument("what answers in `slot` has its script and its arguments: leave out `python_script_path` and `args`")
        return(ask(data, input, slot, mount, timeout, deadline))
    }
    hear(output)
    job <- job_of(python_script_path, args, env, python, isolation, preload)
    input <- with_arguments(input, job$arguments)
    result <- run_once(data, input, job, mount, timeout, deadline, last = FALSE)
    if (is_once_more(result))
        return(run_once(data, input, job, mount, timeout, deadline, last = TRUE))
    result
}

run_once <- function(data, input, job, mount, timeout, deadline, last) {
    root <- root_for(mount)
    holder <- holder_of(data, input, root)
    slot <- if (is.null(holder)) open_slot(root, mount, job) else follow(root, job, holder)
    # A worker that has begun is ended with its slot; one at rest is kept, with what it has loaded.
    rest <- is.null(holder)
    on.exit(if (rest) release(slot) else discard(slot))
    if (is.null(holder)) {
        error <- send(slot, data, input)
        if (!is.null(error)) {
            rest <- FALSE
            give_up(list(slot), error)
            slot <- open_slot(root_for(mount), mount, job)
            rest <- TRUE
            fill(slot, data, input)
        }
    }
    rest <- FALSE
    await(list(slot), list(job), timeout, deadline)
    rest <- TRUE
    take(slot, job, input, last)
}

# Asks the program that serves in a slot: python3 -m pyrmap serve, or one in any language.
ask <- function(data, input, place, mount, timeout, deadline) {
    slot <- open_served(place, mount, timeout, deadline)
    job <- list(label = slot$path, script = slot$path)
    asked <- FALSE
    on.exit({
        if (asked)
            .Call(C_slot_reset, slot$handle)
        .Call(C_slot_remove, slot$handle)
    })
    fill(slot, data, input)
    asked <- TRUE
    await(list(slot), list(job), timeout, deadline)
    asked <- FALSE
    take(slot, job, input, last = TRUE)
}

# Others that ask the same slot wait for their turn.
open_served <- function(place, mount, timeout, deadline) {
    check_text(place, "slot", "the name of a slot, or its path")
    path <- path.expand(place)
    root <- root_for(if (startsWith(path, "/")) dirname(path) else mount)
    if (!startsWith(path, "/"))
        path <- file.path(root$path, path)
    if (!dir.exists(path)) {
        stop_with("pyrmap_missing_slot",
                  paste0("there is no slot ", path, ": python3 -m pyrmap serve SCRIPT::FUNCTION ", path, " makes it and serves"),
                  slot = path)
    }
    slot <- new.env(parent = emptyenv())
    slot$path <- path
    slot$bytes <- 0
    slot$handle <- .Call(C_slot_open, path, root$live)
    if (!nzchar(.Call(C_slot_read, slot$handle, "worker"))) {
        .Call(C_slot_remove, slot$handle)
        stop_with("pyrmap_missing_slot",
                  paste0("nobody serves ", path, ": start python3 -m pyrmap serve SCRIPT::FUNCTION ", path,
                         ", or write the pid of what answers to ", path, "/worker"), slot = path)
    }
    while (!.Call(C_slot_lock, slot$handle)) {
        if (seconds_left(deadline) == 0)
            stop_timeout(list(label = path, script = path), timeout)
        Sys.sleep(0.001)
    }
    slot
}

# Shows a bar in interactive sessions. A function to call with how many are done, and with NULL at the end; or NULL.
progress <- function(count) {
    if (!interactive() || count < 2L || !isTRUE(getOption("pyrmap.progress", TRUE)))
        return(NULL)
    bar <- utils::txtProgressBar(max = count, style = 3L, file = stderr())
    function(done) if (is.null(done)) close(bar) else utils::setTxtProgressBar(bar, done)
}

run_python_shared_data <- function(data, script_paths, dtype = NULL, args = NULL, timeout = Inf, python = NULL,
                                   mount = NULL, env = NULL, python_scripts_paths = script_paths, path = NULL,
                                   na = getOption("pyrmap.na", "nan"),
                                   isolation = getOption("pyrmap.isolation", "session"),
                                   preload = getOption("pyrmap.preload"), output = getOption("pyrmap.output", "console")) {
    session_check()
    if (missing(data) || (missing(script_paths) && missing(python_scripts_paths)))
        stop_argument("run_python_shared_data() needs `data` and `script_paths`")
    input <- input_of(data, dtype, na)
    jobs <- jobs_of(python_scripts_paths, args, env, python, isolation, preload,
                    at_once = min(length(python_scripts_paths), .Call(C_cores)), carried = FALSE)
    deadline <- check_timeout(timeout)
    hear(output)
    root <- root_for(mount)
    holder <- holder_of(data, input, root)
    source <- if (is.null(holder)) open_source(mount)
    on.exit(if (!is.null(source)) discard(source))
    if (!is.null(source)) {
        fill(source, data, input)
        holder <- source$path
        root <- root_for(mount)
    }
    share(root, jobs, input, holder, timeout, deadline)
}

# A slot that holds an input for others.
open_source <- function(mount) {
    with_root(mount, function(root) slot_new(root))
}

take_last <- function(slot, job, input, last, several) {
    on.exit(release(slot))
    take(slot, job, input, last, several = several)
}

# One slot holds the input, the others have it as their source: each sees the same pages.
share <- function(root, jobs, input, holder, timeout, deadline) {
    slots <- list()
    on.exit(for (slot in slots) discard(slot))
    bar <- progress(length(jobs))
    results <- vector("list", length(jobs))
    names(results) <- names(jobs)
    last <- logical(length(jobs))
    pending <- seq_along(jobs)
    while (length(pending) + length(slots) > 0L) {
        # A script that found no room runs again when it is alone.
        while (length(pending) > 0L && length(slots) < .Call(C_cores) && !(last[pending[1L]] && length(slots))) {
            slots[[as.character(pending[1L])]] <- follow(root, jobs[[pending[1L]]], holder)
            pending <- pending[-1L]
        }
        running <- as.integer(names(slots))
        index <- await(slots, jobs[running], timeout, deadline)
        done <- running[index]
        slot <- slots[[index]]
        slots[[index]] <- NULL
        result <- take_last(slot, jobs[[done]], input, last[done], length(jobs) > 1L)
        if (is_once_more(result)) {
            last[done] <- TRUE
            pending <- c(pending, done)
        } else if (!is.null(result)) {
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
                                na = getOption("pyrmap.na", "nan"),
                                isolation = getOption("pyrmap.isolation", "session"),
                                preload = getOption("pyrmap.preload"), output = getOption("pyrmap.output", "console")) {
    session_check()
    if ((missing(data) && missing(initial_data)) || (missing(script_paths) && missing(python_scripts_paths)))
        stop_argument("run_python_pipeline() needs `data` and `script_paths`")
    check_flag(required_intermediate_results, "intermediate")
    input <- input_of(initial_data, dtype, na)
    jobs <- jobs_of(python_scripts_paths, args, env, python, isolation, preload)
    deadline <- check_timeout(timeout)
    hear(output)
    input <- with_arguments(input, jobs[[1L]]$arguments)
    results <- pipe_once(initial_data, input, jobs, mount, timeout, deadline, required_intermediate_results, last = FALSE)
    if (is_once_more(results))
        return(pipe_once(initial_data, input, jobs, mount, timeout, deadline, required_intermediate_results, last = TRUE))
    results
}

pipe_once <- function(data, input, jobs, mount, timeout, deadline, intermediate, last) {
    holder <- holder_of(data, input, root_for(mount))
    slots <- open_stages(mount, jobs, holder)
    session$stages <- max(session$stages, length(slots))
    rest <- is.null(holder)
    on.exit(for (slot in rev(slots)) if (rest) release(slot, Inf) else discard(slot))
    if (is.null(holder)) {
        error <- send(slots[[1L]], data, input)
        if (!is.null(error)) {
            rest <- FALSE
            give_up(slots, error)
            slots <- open_stages(mount, jobs, holder)
            rest <- TRUE
            fill(slots[[1L]], data, input)
        }
    }
    rest <- FALSE
    await_stages(slots, jobs, timeout, deadline)
    rest <- TRUE
    count <- length(slots)
    # The last one first: if it failed, it says why.
    result <- take(slots[[count]], jobs[[count]], input, last, slots, jobs)
    if (!intermediate || is_once_more(result))
        return(result)
    results <- vector("list", count)
    names(results) <- names(jobs)
    if (!is.null(result))
        results[[count]] <- result
    for (stage in rev(seq_len(count - 1L))) {
        result <- take(slots[[stage]], jobs[[stage]], input, TRUE, slots, jobs)
        if (!is.null(result))
            results[[stage]] <- result
    }
    results
}

# R waits for the last stage only; where it shows a bar, for one stage after the other.
await_stages <- function(slots, jobs, timeout, deadline) {
    last <- length(slots)
    bar <- progress(last)
    for (stage in if (is.null(bar)) last else seq_len(last)) {
        await(slots[stage], jobs[stage], timeout, deadline, slots, jobs)
        if (!is.null(bar))
            bar(stage)
    }
    if (!is.null(bar))
        bar(NULL)
}

# A slot for each stage, each with the one before it as its source.
chain_stages <- function(root, jobs) {
    slots <- list()
    made <- FALSE
    on.exit(if (!made) for (slot in rev(slots)) discard(slot))
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

# Stages whose workers wait for their turn in the filesystem. holder: the slot whose input is that of the first one, if not
# NULL.
open_stages <- function(mount, jobs, holder) {
    force(jobs)
    with_root(mount, function(root) {
        slots <- chain_stages(root, jobs)
        started <- FALSE
        on.exit(if (!started) for (slot in rev(slots)) discard(slot))
        if (!is.null(holder))
            chain(slots[[1L]], holder, "data.bin")
        started <- TRUE
        slots
    })
}
