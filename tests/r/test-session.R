# SPDX-License-Identifier: Apache-2.0
# Slots, workers and mounts go when R goes, however it goes.

test_that("calls reuse their slots", {
    for (i in 1:30)
        run_python(i, answer("plus_one"))
    expect_lte(length(slots_of(Sys.getpid())), 4)
    slots <- pyrmap_slots()
    own <- slots[slots$owner %in% Sys.getpid(), ]
    expect_true(all(own$state %in% c("DONE", "IDLE", "FAILED")))
    expect_gt(max(own$round), 20)
})

test_that("a small exchange is two writes, and opens nothing, whether or not the page has room for it", {
    for (n in c(10, 248, 249, 1024, 8000)) {
        x <- as.numeric(seq_len(n))
        for (i in 1:3)
            run_python(x, answer("plus_one"))
        writes <- requests("write")
        opens <- requests("open")
        for (i in 1:100)
            expect_identical(run_python(x + i, answer("plus_one")), x + i + 1)
        # The two questions for opens have opened a file as well.
        expect_identical(requests("open") - opens, 2)
        expect_identical(requests("write") - writes, 200)
    }
})

test_that("a large one is two writes as well where pages are the filesystem's: both sides store through a mapping", {
    skip_if(pyrmap:::live_of(mount) == 0)
    x <- as.numeric(seq_len(1e6))
    for (i in 1:3)
        expect_identical(run_python(x, answer("plus_one")), x + 1)
    invisible(gc())
    writes <- requests("write")
    y <- run_python(x, answer("plus_one"))
    expect_identical(requests("write") - writes, 2)
    expect_identical(y, x + 1)
    # A table is several arrays in one file.
    d <- data.frame(a = x, b = x + 1, s = rep(c("u", "\u00e4", NA, ""), 250000))
    run_python(d, answer("same"))
    invisible(gc())
    writes <- requests("write")
    e <- run_python(d, answer("same"))
    expect_identical(requests("write") - writes, 2)
    expect_identical(e, d)
})

test_that("pyrmap_slots lists what is there", {
    # Large results of before have slots until R has collected them.
    invisible(gc())
    pyrmap_stop()
    expect_identical(sum(pyrmap_slots()$owner %in% Sys.getpid()), 0L)
    x <- pyrmap_array(c(10, 2), "int32")
    slots <- pyrmap_slots()
    row <- slots[slots$slot == basename(pyrmap_info(x)$slot), ]
    expect_identical(row$state, "FILLING")
    expect_identical(row$dtype, "float64")
    expect_identical(row$round, 1)
    expect_identical(row$owner, Sys.getpid())
    expect_true(is.na(row$length) && is.na(row$source))
    run_python(x, answer("total"))
    row <- pyrmap_slots()
    row <- row[row$slot == basename(pyrmap_info(x)$slot), ]
    expect_identical(c(row$state, row$dtype), c("READY", "int32"))
    expect_identical(row$length, 20)
    expect_true(row$age >= 0 && row$age < 60)
})

test_that("no slot, no process is left when R ends", {
    for (how in c("quit", "term", "kill")) {
        ready <- tempfile()
        session <- start_session(c(
            sprintf("invisible(run_python(1, '%s'))", answer("plus_one")),
            "x <- pyrmap_array(10)",
            sprintf("invisible(file.create('%s'))", ready),
            if (how == "quit") "quit(save = 'no')" else sprintf("run_python(1, '%s', args = list(600))", answer("sleep"))))
        expect_true(eventually(function() file.exists(ready)))
        children <- system2("ps", c("-o", "pid=", "--ppid", session), stdout = TRUE)
        if (how != "quit")
            tools::pskill(session, if (how == "kill") tools::SIGKILL else tools::SIGTERM)
        expect_true(eventually(function() !process_exists(session)), label = how)
        expect_true(eventually(function() length(slots_of(session)) == 0), label = how)
        for (child in as.integer(children))
            expect_true(eventually(function() !process_exists(child)), label = how)
    }
})

test_that("forked children of R have slots and workers of their own", {
    run_python(1, answer("plus_one"))
    x <- run_python(as.numeric(1:1000), answer("same"))
    sums <- parallel::mclapply(1:4, function(i) sum(run_python(x, answer("plus_one"))) + i, mc.cores = 2)
    expect_identical(unlist(sums), 501500 + 1:4)
    expect_identical(run_python(1, answer("plus_one")), 2)
    expect_identical(x[1000], 1000)
})

test_that("a private pyrmapfs is started, once, and ends with the session", {
    for (how in c("quit", "kill")) {
        done <- tempfile()
        nowhere <- tempfile()
        session <- start_session(c(
            sprintf("a <- run_python(c(1, 2), '%s')", answer("plus_one")),
            sprintf("b <- run_python(a, '%s')", answer("plus_one")),
            "first <- pyrmap_mount()",
            sprintf("writeLines(c(first, b), '%s.part')", done),
            sprintf("invisible(file.rename('%s.part', '%s'))", done, done),
            if (how == "kill") "Sys.sleep(600)"), environment = paste0("PYRMAP_MOUNT=", nowhere))
        expect_true(eventually(function() file.exists(done)))
        seen <- readLines(done)
        expect_identical(seen[-1], c("3", "4"))
        if (how == "kill") {
            expect_true(file.exists(file.path(seen[1], ".pyrmap/status")))
            tools::pskill(session, tools::SIGKILL)
        }
        expect_true(eventually(function() !process_exists(session)))
        mounted <- function() any(grepl(seen[1], readLines("/proc/mounts"), fixed = TRUE))
        expect_true(eventually(function() !mounted()))
        said <- grep("nothing is mounted at", readLines(attr(session, "log")), value = TRUE)
        expect_length(said, 1)
        expect_match(said, nowhere, fixed = TRUE)
        if (how == "quit")
            expect_false(dir.exists(seen[1]))
    }
})

test_that("a program that is no pyrmapfs is an error with the reason", {
    log <- attr(session <- start_session(
        sprintf("tryCatch(run_python(1, '%s'), pyrmap_missing_mount = function(e) writeLines(conditionMessage(e)))",
                answer("plus_one")), environment = c("PYRMAP_MOUNT=/nowhere", "PYRMAPFS=/bin/false")), "log")
    expect_true(eventually(function() !process_exists(session)))
    expect_match(paste(readLines(log), collapse = " "), "private one could not be started with .*/false")
})
