# SPDX-License-Identifier: Apache-2.0
# What goes wrong is an R condition with a class, a reason and a remedy; the next call works.

works <- function() expect_identical(run_python(1, answer("plus_one")), 2)

test_that("an exception arrives with message and traceback", {
    condition <- expect_error(run_python(1, answer("fail")), class = "pyrmap_python_error")
    expect_s3_class(condition, "error")
    expect_identical(condition$python_type, "ValueError")
    expect_identical(condition$python_message, "it went wrong")
    expect_match(condition$traceback, "answers.py\", line [0-9]+, in fail")
    expect_match(conditionMessage(condition), "answers.py::fail.*ValueError: it went wrong")
    expect_identical(condition$script, answers)
    long <- expect_error(run_python(1, answer("fail"), args = list(strrep("long ", 20000))), class = "pyrmap_python_error")
    expect_identical(long$python_type, "ValueError")
    works()
})

test_that("an exception costs no slot", {
    works()
    before <- slots_of(Sys.getpid())
    for (i in 1:20)
        expect_error(run_python(1, answer("fail")), class = "pyrmap_python_error")
    expect_lte(length(slots_of(Sys.getpid())), length(before) + 1)
})

test_that("what cannot be returned is a TypeError that names it", {
    condition <- expect_error(run_python(1, answer("object_result")), class = "pyrmap_python_error")
    expect_identical(condition$python_type, "TypeError")
    expect_match(condition$python_message, "object")
})

test_that("a script that publishes nothing says so", {
    expect_error(run_python(1, "scripts/silent.py"), "without publishing", class = "pyrmap_python_error")
    works()
})

test_that("a worker that is killed is named", {
    condition <- expect_error(run_python(1, answer("die"), timeout = 30), class = "pyrmap_worker_died")
    expect_type(condition$pid, "integer")
    expect_match(conditionMessage(condition), "worker [0-9]+ exited")
    works()
})

test_that("what is missing is named, with the remedy", {
    expect_error(run_python(1, "no/such.py"), "no/such.py.*getwd", class = "pyrmap_missing_script")
    expect_error(run_python(1, "."), class = "pyrmap_missing_script")
    condition <- expect_error(run_python(1, answer("no_such_function")), class = "pyrmap_missing_function")
    expect_s3_class(condition, "pyrmap_python_error")
    expect_match(conditionMessage(condition), "no_such_function")
    expect_error(run_python(1, answer("same"), python = "/no/python"), "/no/python", class = "pyrmap_missing_python")
    expect_error(run_python(1, answer("same"), mount = tempdir()), "no pyrmapfs is mounted at", class = "pyrmap_missing_mount")
    expect_error(run_python(1, answer("same"), python = "/bin/false"), class = "pyrmap_missing_python")
    works()
})

test_that("a Python without NumPy or without the package is named", {
    # Isolated interpreters: no site-packages, then NumPy's alone.
    bare <- tempfile()
    writeLines(c("#!/bin/sh", "unset PYTHONPATH", "exec /usr/bin/python3 -S \"$@\""), bare)
    Sys.chmod(bare, "755")
    condition <- expect_error(run_python(1, answer("same"), python = bare), "has no NumPy: install it",
                              class = "pyrmap_missing_numpy")
    expect_match(conditionMessage(condition), paste0(bare, " (the argument `python`)"), fixed = TRUE)
    skip_if(system2("/usr/bin/python3", c("-c", shQuote("import pyrmap")), env = "PYTHONPATH=", stdout = FALSE,
                    stderr = FALSE) == 0, "the Python package is installed for all")
    writeLines(c("#!/bin/sh", "unset PYTHONPATH", "exec /usr/bin/python3 \"$@\""), bare)
    expect_error(run_python(1, answer("same"), python = bare), "make install-python", class = "pyrmap_missing_package")
})

test_that("a timeout stops the worker and removes the slot", {
    works()
    pid_file <- tempfile()
    condition <- expect_error(run_python(1, answer("sleep_and_tell"), args = list(pid_file), timeout = 1),
                              class = "pyrmap_timeout")
    expect_match(conditionMessage(condition), "answers.py::sleep_and_tell did not finish within 1 s")
    pid <- as.integer(readLines(pid_file, warn = FALSE))
    expect_true(eventually(function() !process_exists(pid)))
    expect_false(any(pyrmap_slots()$state %in% c("READY", "COMPUTING")))
    expect_error(run_python(1, answer("same"), timeout = "soon"), "number of seconds")
    works()
})

test_that("Ctrl-C stops the worker and removes the slot", {
    done <- tempfile()
    pid_file <- tempfile()
    session <- start_session(c(
        sprintf("interrupted <- tryCatch(run_python(1, '%s', args = list('%s')), interrupt = function(e) TRUE)",
                answer("sleep_and_tell"), pid_file),
        "slots <- list.files(Sys.getenv('PYRMAP_MOUNT'), paste0('^r-', Sys.getpid(), '-'))",
        sprintf("after <- run_python(1, '%s')", answer("plus_one")),
        sprintf("writeLines(paste(interrupted, length(slots), after), '%s.part')", done),
        sprintf("invisible(file.rename('%s.part', '%s'))", done, done)))
    expect_true(eventually(function() file.exists(pid_file)))
    worker <- as.integer(readLines(pid_file, warn = FALSE))
    tools::pskill(session, tools::SIGINT)
    expect_true(eventually(function() file.exists(done)))
    expect_identical(readLines(done), "TRUE 0 2")
    expect_true(eventually(function() !process_exists(worker)))
    expect_true(eventually(function() !process_exists(session)))
})

test_that("a slot that somebody removes or cancels ends the call", {
    for (how in c("rm", "rmdir")) {
        pid_file <- tempfile()
        session <- start_session(c(
            sprintf("outcome <- tryCatch(run_python(1, '%s', args = list('%s')), error = function(e) class(e)[1])",
                    answer("sleep_and_tell"), pid_file),
            sprintf("after <- run_python(1, '%s')", answer("plus_one")),
            "writeLines(c(outcome, after))"))
        expect_true(eventually(function() file.exists(pid_file)))
        slot <- file.path(mount, slots_of(session))
        system2(how, if (how == "rm") file.path(slot, "data.bin") else slot)
        expect_true(eventually(function() !process_exists(session)))
        expect_identical(readLines(attr(session, "log")),
                         c(if (how == "rm") "pyrmap_cancelled" else "pyrmap_system_error", "2"))
    }
})

test_that("slots that vanish between two calls are made again", {
    works()
    unlink(file.path(mount, slots_of(Sys.getpid())), recursive = TRUE)
    works()
})

test_that("a worker that is killed between two calls is replaced", {
    pid <- function() run_python(1, answer("evaluated"), args = list("os.getpid()"))
    before <- pid()
    expect_identical(pid(), before)
    tools::pskill(before, tools::SIGKILL)
    expect_true(eventually(function() !process_exists(before)))
    expect_false(pid() == before)
    works()
})

test_that("a Python that can't start a worker is named with what it wrote", {
    broken <- tempfile()
    writeLines(c("#!/bin/sh", "echo 'no licence today' >&2", "exit 9"), broken)
    Sys.chmod(broken, "755")
    expect_error(run_python(1, answer("same"), python = broken), "no licence today", class = "pyrmap_missing_python")
    # It has the first module that is looked for, and fails then.
    lame <- tempfile()
    writeLines(c("#!/bin/sh", "code=\"$2", "\"; shift 2",
                 "exec /usr/bin/python3 -c \"${code%import runpy*}sys.exit('numpy is broken')\" \"$@\""), lame)
    Sys.chmod(lame, "755")
    expect_error(run_python(1, answer("same"), python = lame), "ended before it took the round.*exit status 1.*numpy is broken",
                 class = "pyrmap_worker_died")
    expect_error(run_python_pipeline(1, rep(answer("same"), 2), python = lame), "numpy is broken", class = "pyrmap_worker_died")
    stream <- pyrmap_pipeline(rep(answer("same"), 2), python = lame)
    stream$push(1)
    expect_error(stream$pull(), "numpy is broken", class = "pyrmap_worker_died")
    stream$close()
    works()
})
