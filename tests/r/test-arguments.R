# SPDX-License-Identifier: Apache-2.0
# Arguments that are not what they should be are conditions of this package, like all that goes wrong.

plain <- answer("same")

test_that("a wrong argument is a pyrmap_argument_error that names it", {
    pipeline <- pyrmap_pipeline(plain)
    on.exit(pipeline$close())
    calls <- alist(
        "data" = run_python(), "python_script_path" = run_python(1), "data" = run_python(python_script_path = plain),
        "must be one path" = run_python(1, 2), "must be one path" = run_python(1, NA_character_),
        "must be one path" = run_python(1, c(plain, plain)), "no function name" = run_python(1, paste0(answers, "::")),
        "timeout" = run_python(1, plain, timeout = "x"), "timeout" = run_python(1, plain, timeout = NULL),
        "timeout" = run_python(1, plain, timeout = -1), "timeout" = run_python(1, plain, timeout = NaN),
        "mount" = run_python(1, plain, mount = 5), "mount" = run_python(1, plain, mount = c("a", "b")),
        "mount" = run_python(1, plain, mount = ""), "python" = run_python(1, plain, python = NA),
        "args" = run_python(1, plain, args = sum), "args" = run_python(1, plain, args = quote(a)),
        "args of type complex" = run_python_shared_data(1, plain, args = list(list(1i))),
        "args of class Date" = run_python_pipeline(1, c(plain, plain), args = list(NULL, list(Sys.Date()))),
        "::function" = run_python(1, answers, args = list(a = 1)),
        "env" = run_python(1, plain, env = 5), "env" = run_python(1, plain, env = list(A = 1:2)),
        "env" = run_python(1, plain, env = c("A=B" = "c")), "env" = run_python(1, plain, env = list(A = sum)),
        "script_paths" = run_python_shared_data(1), "script_paths" = run_python_shared_data(1, character()),
        "script_paths" = run_python_shared_data(1, list(plain)), "args" = run_python_shared_data(1, plain, args = 5),
        "args" = run_python_shared_data(1, plain, args = list(1, 2)),
        "script_paths" = run_python_pipeline(1), "script_paths" = run_python_pipeline(1, 5),
        "intermediate" = run_python_pipeline(1, plain, intermediate = "yes"),
        "intermediate" = run_python_pipeline(1, plain, required_intermediate_results = NA),
        "script_paths" = pyrmap_pipeline(), "timeout" = pyrmap_pipeline(plain, timeout = "x"),
        "mount" = pyrmap_pipeline(plain, mount = 5), "data" = pipeline$push(),
        "dtype" = run_python(1, plain, dtype = 5), "dimensions" = run_python(array(1, rep(1, 5)), plain),
        "dim" = pyrmap_array(), "dim" = pyrmap_array("a"), "dim" = pyrmap_array(-1), "dim" = pyrmap_array(1:5),
        "elements" = pyrmap_array(1e300), "extent" = pyrmap_array(c(3e9, 1)), "float32" = pyrmap_array(3, "float32"),
        "dtype" = pyrmap_array(3, 5), "mount" = pyrmap_array(3, mount = 5), "mount" = pyrmap_slots(5), "mount" = pyrmap_mount(list()),
        "mount" = pyrmap_available(mount = 5), "python" = pyrmap_available(python = 5))
    for (i in seq_along(calls)) {
        condition <- expect_error(eval(calls[[i]]), class = "pyrmap_argument_error", info = deparse(calls[[i]]))
        expect_s3_class(condition, "pyrmap_error")
        expect_match(conditionMessage(condition), names(calls)[i], fixed = TRUE)
    }
})

test_that("options that are not what they should be are named", {
    for (option in c("pyrmap.mount", "pyrmap.python")) {
        old <- do.call(options, structure(list(5), names = option))
        expect_error(run_python(1, plain), option, class = "pyrmap_argument_error")
        options(old)
    }
})

test_that("what a pipeline cannot do is a condition", {
    pipeline <- pyrmap_pipeline(plain)
    expect_error(pipeline$pull(), "push first", class = "pyrmap_pipeline_error")
    pipeline$push(1)
    expect_error(pipeline$pull(timeout = "x"), "timeout", class = "pyrmap_argument_error")
    expect_identical(pipeline$pull(), 1)
    pipeline$close()
    expect_error(pipeline$push(1), "closed", class = "pyrmap_pipeline_error")
    expect_error(pipeline$pull(), "closed", class = "pyrmap_pipeline_error")
})

test_that("the filesystem's reason is in the condition", {
    pipeline <- pyrmap_pipeline(plain)
    on.exit(pipeline$close())
    held <- file(file.path(pipeline$slots(), "data.bin"), "r+b", raw = TRUE)
    condition <- expect_error(pipeline$push(1), class = "pyrmap_system_error")
    close(held)
    expect_identical(condition$errno, "EBUSY")
    expect_match(conditionMessage(condition), "metadata.txt says refused=.* EBUSY data.bin is still open")
})

test_that("a full arena is named, with its size and the remedy", {
    small <- tempfile("mount-")
    dir.create(small)
    stopifnot(system2(Sys.getenv("PYRMAPFS"), c("-o", "arena.capacity=16M", small)) == 0)
    on.exit(system2("umount", c("-l", small)))
    for (call in alist(pyrmap_array(1e7, mount = small), run_python(numeric(1e7), plain, mount = small))) {
        condition <- expect_error(eval(call), class = "pyrmap_system_error")
        expect_identical(condition$errno, "ENOSPC")
        expect_match(conditionMessage(condition), paste0("the arena of ", small, " (arena.capacity 16.0 MiB, used "),
                     fixed = TRUE)
        expect_match(conditionMessage(condition), "gc()", fixed = TRUE)
    }
})

test_that("a pipeline whose mount is lost goes on when there is one again", {
    place <- tempfile("mount-")
    dir.create(place)
    start <- function() {
        log <- tempfile()
        system2(Sys.getenv("PYRMAPFS"), c("-f", place), wait = FALSE, stdout = log, stderr = log)
        stopifnot(eventually(function() file.exists(file.path(place, ".pyrmap", "status"))))
    }
    lose <- function() {
        pids <- as.integer(system2("pgrep", c("-f", shQuote(paste0("pyrmapfs -f ", place, "$"))), stdout = TRUE))
        tools::pskill(pids, tools::SIGKILL)
        stopifnot(eventually(function() !any(vapply(pids, process_exists, NA))))
        system2("umount", c("-l", place))
    }
    start()
    pipeline <- pyrmap_pipeline(rep(answer("plus_one"), 2), mount = place)
    pipeline$push(1)
    pipeline$push(2)
    expect_identical(pipeline$pull(), 3)
    lose()
    expect_error(pipeline$push(3), place, class = "pyrmap_missing_mount")
    expect_error(pipeline$pull(), place, class = "pyrmap_missing_mount")
    start()
    pipeline$push(3)
    expect_identical(c(pipeline$pull(), pipeline$pull()), c(4, 5))
    lose()
    start()
    pipeline$push(4)
    expect_identical(pipeline$pull(), 6)
    expect_identical(pipeline$pending(), 0L)
    pipeline$close()
    lose()
})
