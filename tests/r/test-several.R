# SPDX-License-Identifier: Apache-2.0
# Several scripts: on one input, one after another, and as a stream.

test_that("results come in the order of the scripts, named", {
    results <- run_python_shared_data(c(1, 2, 3), c(answer("total"), answer("plus_one"), answer("total")))
    expect_identical(names(results), c("answers::total", "answers::plus_one", "answers::total.1"))
    expect_identical(unname(results), list(6, c(2, 3, 4), 6))
    results <- run_python_shared_data(1:3, c(a = answer("same"), b = "scripts/whole.py"))
    expect_identical(names(results), c("a", "b"))
    expect_identical(as.numeric(results$b), c(6, 0))
})

test_that("the scripts run at the same time, as many as there are processors", {
    cores <- .Call(getFromNamespace("C_cores", "pyrmap"))
    skip_if(cores < 2)
    directory <- tempfile()
    dir.create(directory)
    results <- run_python_shared_data(c(1, 2), rep(answer("meet"), cores), timeout = 40,
                                      args = lapply(seq_len(cores), function(i) list(directory, paste0("run", i), cores)))
    expect_identical(unlist(unname(results)), rep(3, cores))
})

test_that("many scripts see one file", {
    results <- run_python_shared_data(as.numeric(1:1000), rep(answer("address"), 20))
    expect_length(unique(unlist(results)), 1)
    expect_false(any(pyrmap_slots()$state %in% c("READY", "COMPUTING")))
})

test_that("the first that fails stops the others", {
    skip_if(.Call(getFromNamespace("C_cores", "pyrmap")) < 2)
    pid_file <- tempfile()
    condition <- expect_error(run_python_shared_data(1, c(answer("sleep_and_tell"), answer("fail_after")),
                                                     args = list(list(pid_file), list(pid_file))),
                              class = "pyrmap_python_error")
    expect_match(conditionMessage(condition), "answers.py::fail_after")
    expect_true(eventually(function() !process_exists(readLines(pid_file, warn = FALSE))))
})

test_that("shared data has a timeout, and scripts with arguments that fit", {
    expect_error(run_python_shared_data(1, rep(answer("sleep"), 3), args = rep(list(list(60)), 3), timeout = 0.5),
                 class = "pyrmap_timeout")
    expect_error(run_python_shared_data(1, c(answer("same"), "no.py")), class = "pyrmap_missing_script")
    expect_error(run_python_shared_data(1, character()), "at least one")
    expect_error(run_python_shared_data(1, rep(answer("same"), 2), args = list(1)), "for each script")
    expect_error(run_python_shared_data(1.5, rep(answer("same"), 2), dtype = "int32"), class = "pyrmap_loss")
    expect_identical(run_python_shared_data(1, answer("same"))[[1]], 1)
})

test_that("a pipeline hands on from stage to stage", {
    stages <- c(plus = answer("plus_one"), twice = answer("scaled"), sum = answer("total"))
    arguments <- list(NULL, list(by = 2), NULL)
    expect_identical(run_python_pipeline(c(1, 2, 3), stages, args = arguments), 18)
    results <- run_python_pipeline(c(1, 2, 3), stages, args = arguments, intermediate = TRUE)
    expect_identical(results, list(plus = c(2, 3, 4), twice = c(4, 6, 8), sum = 18))
    results <- run_python_pipeline(as.numeric(1:10000), stages, args = arguments, intermediate = TRUE)
    expect_identical(pyrmap_info(results$twice)$copied, 0)
    expect_identical(run_python_pipeline(1, answer("plus_one")), 2)
    expect_identical(run_python_pipeline(matrix(1:6, 2), rep(answer("plus_one"), 12)), matrix(13:18, 2))
})

test_that("the stage that failed is the one that is named", {
    for (where in 1:3) {
        stages <- rep(answer("plus_one"), 3)
        stages[where] <- answer("fail")
        condition <- expect_error(run_python_pipeline(1, stages, timeout = 30), class = "pyrmap_python_error")
        expect_match(conditionMessage(condition), "answers.py::fail")
        expect_identical(condition$python_message, "it went wrong")
        stages[where] <- answer("die")
        condition <- expect_error(run_python_pipeline(1, stages, timeout = 30), class = "pyrmap_worker_died")
        expect_match(conditionMessage(condition), "answers.py::die")
    }
    expect_error(run_python_pipeline(1, c(answer("plus_one"), answer("sleep"), answer("plus_one")),
                                     args = list(NULL, list(60), NULL), timeout = 0.5), class = "pyrmap_timeout")
    expect_identical(run_python_pipeline(1, rep(answer("plus_one"), 3)), 4)
    expect_false(any(pyrmap_slots()$state %in% c("READY", "COMPUTING")))
})

test_that("a stream returns results in order", {
    pipeline <- pyrmap_pipeline(c(answer("plus_one"), answer("scaled"), answer("total")),
                                args = list(NULL, list(10), NULL), timeout = 60)
    expect_output(print(pipeline), "answers::plus_one -> answers::scaled -> answers::total, 0 pushed")
    expect_error(pipeline$pull(), "push first")
    for (i in 1:25)
        pipeline$push(as.numeric(seq_len(i)))
    expect_identical(pipeline$pending(), 25L)
    for (i in 1:25)
        expect_identical(pipeline$pull(), 10 * (i * (i + 1) / 2 + i))
    for (i in 1:5) {
        pipeline$push(i)
        expect_identical(pipeline$pull(), 10 * (i + 1))
    }
    pipeline$close()
    expect_error(pipeline$push(1), "closed")
    expect_silent(pipeline$close())
})

test_that("a stream of one stage", {
    pipeline <- pyrmap_pipeline(answer("plus_one"), timeout = 30)
    for (i in 1:5)
        pipeline$push(i + 0)
    for (i in 1:5)
        expect_identical(pipeline$pull(), i + 1)
    pipeline$close()
})

test_that("a stream goes on after a failure, and names it where it belongs", {
    pipeline <- pyrmap_pipeline(c(answer("plus_one"), answer("fail_above"), answer("scaled")),
                                args = list(NULL, list(5), list(2)), timeout = 30)
    for (i in c(1, 9, 2))
        pipeline$push(i)
    expect_identical(pipeline$pull(), 4)
    condition <- expect_error(pipeline$pull(), class = "pyrmap_python_error")
    expect_match(conditionMessage(condition), "fail_above.*10 is above 5")
    expect_identical(pipeline$pull(), 6)
    pipeline$close()
})

test_that("exceptions in a stream are in their places, whichever stage they come from", {
    pipeline <- pyrmap_pipeline(c(answer("fail_above"), answer("plus_one"), answer("fail_above")),
                                args = list(list(20), NULL, list(10)), timeout = 60)
    items <- c(30, 1, 10, 2, 3, 40, 50, 11, 4)
    for (item in items)
        pipeline$push(item)
    for (item in items) {
        seen <- tryCatch(pipeline$pull(), pyrmap_python_error = function(condition) condition$python_message)
        expect_identical(seen, if (item > 20) paste(item, "is above 20")
                               else if (item >= 10) paste(item + 1, "is above 10") else item + 1)
    }
    pipeline$close()
})

test_that("a worker of a stream that is killed is named where it belongs; the others have their results", {
    stages <- list(c(answer("plus_one"), answer("die_at"), answer("scaled")), answer("die_at"),
                   c(answer("die_at"), answer("same")), c(answer("same"), answer("die_at")))
    arguments <- list(list(NULL, list(4, 7, 8), list(1)), list(list(3, 6, 7)),
                      list(list(3, 6, 7), NULL), list(NULL, list(3, 6, 7)))
    for (i in seq_along(stages)) {
        pipeline <- pyrmap_pipeline(stages[[i]], args = arguments[[i]], timeout = 60)
        for (item in 1:9)
            pipeline$push(item + 0)
        expect_identical(run_python(1, answer("plus_one")), 2)
        for (item in 1:9) {
            seen <- tryCatch(pipeline$pull(), pyrmap_worker_died = function(condition) "died")
            expect_identical(seen, if (item %in% c(3, 6, 7)) "died" else as.numeric(item + (i == 1)))
        }
        expect_identical(pipeline$pending(), 0L)
        pipeline$push(20)
        expect_identical(pipeline$pull(), 20 + (i == 1))
        pipeline$close()
    }
})

test_that("a stream survives what others do to its slots", {
    pipeline <- pyrmap_pipeline(c(answer("plus_one"), answer("sleep")), args = list(NULL, list(60)), timeout = 60)
    pipeline$push(1)
    expect_true(eventually(function() readBin(file.path(pipeline$slots()[2], "metadata.bin"), "integer") == 0L))
    cat("stopped by hand", file = file.path(pipeline$slots()[2], "error"))
    expect_error(pipeline$pull(), "stopped by hand", class = "pyrmap_python_error")
    pipeline$close()
})

test_that("a pull that took too long can be repeated", {
    file <- tempfile()
    pipeline <- pyrmap_pipeline(c(answer("wait_for"), answer("plus_one")), args = list(list(file), NULL))
    pipeline$push(1)
    expect_error(pipeline$pull(timeout = 0.1), "pull\\(\\) again", class = "pyrmap_timeout")
    file.create(file)
    expect_identical(pipeline$pull(), 2)
    pipeline$close()
})

test_that("an input that cannot be pushed leaves the stream as it was", {
    pipeline <- pyrmap_pipeline(c(answer("plus_one"), answer("total")), dtype = "int32", timeout = 60)
    pipeline$push(c(1, 2))
    expect_error(pipeline$push(1.5), class = "pyrmap_loss")
    expect_error(pipeline$push(sum), class = "pyrmap_type_error")
    pipeline$push(3)
    expect_identical(as.numeric(pipeline$pull()), 5)
    expect_error(pipeline$push(2^40), class = "pyrmap_loss")
    expect_identical(as.numeric(pipeline$pull()), 4)
    expect_identical(pipeline$pending(), 0L)
    pipeline$close()
})

test_that("a stream that is forgotten leaves nothing", {
    pyrmap_stop()
    pipeline <- pyrmap_pipeline(rep(answer("plus_one"), 3))
    pipeline$push(1)
    expect_length(slots_of(Sys.getpid()), 3)
    rm(pipeline)
    invisible(gc())
    expect_length(slots_of(Sys.getpid()), 0)
})

test_that("a stream whose mount was lost says so, and goes on when there is one again", {
    place <- tempfile("mount-")
    dir.create(place)
    passthrough <- any(grepl("^data path: passthrough", readLines(file.path(mount, ".pyrmap", "status"))))
    start <- function() {
        stopifnot(system2(Sys.getenv("PYRMAPFS"), c("-o", paste0("path.passthrough=", if (passthrough) "on" else "off"), place)) == 0)
    }
    start()
    on.exit(system2("umount", c("-l", place)))
    go <- tempfile()
    # No outcome is there before the file is.
    pipeline <- pyrmap_pipeline(c(answer("plus_one"), answer("wait_for")), args = list(NULL, list(go)), mount = place, timeout = 60)
    pipeline$push(1)
    pipeline$push(2)
    # By force: its connection ends even if clients have files open.
    system2("umount", c("-f", "-l", place))
    expect_error(pipeline$pull(), class = "pyrmap_missing_mount")
    expect_error(pipeline$push(3), class = "pyrmap_missing_mount")
    expect_identical(pipeline$pending(), 2L)
    start()
    file.create(go)
    expect_message(first <- pipeline$pull(), "gone with their mount.*2 inputs that were under way run again")
    expect_identical(first, 2)
    expect_identical(pipeline$pull(), 3)
    expect_silent(pipeline$push(7))
    expect_identical(pipeline$pull(), 8)
    # Somebody removes a slot.
    unlink(pipeline$slots()[2], recursive = TRUE)
    expect_message({
        pipeline$push(8)
        last <- pipeline$pull()
    }, "or were removed")
    expect_identical(last, 9)
    pipeline$close()
    expect_identical(run_python(1, answer("plus_one"), mount = place), 2)
})
