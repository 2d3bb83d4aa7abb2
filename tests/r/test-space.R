# SPDX-License-Identifier: Apache-2.0
# A full arena, no descriptor left: what R dropped, but has not collected, never stands in the way.

script <- tempfile(fileext = ".py")
writeLines(c("import numpy as np", "def plus_one(x): return x + 1", "def grow(x): return np.full(int(x[0]), x[1])"), script)
plus_one <- paste0(script, "::plus_one")
grow <- paste0(script, "::grow")

# A mount whose arena has 64 MiB, with the data path of the suite's.
small <- tempfile("mount-")
dir.create(small)
passthrough <- any(grepl("^data path: passthrough", readLines(file.path(mount, ".pyrmap", "status"))))
started <- system2(Sys.getenv("PYRMAPFS"), c("-o", "arena.capacity=64M", "-o",
                                             paste0("path.passthrough=", if (passthrough) "on" else "off"), small))
stopifnot(started == 0)
withr::defer(system2("umount", c("-l", small)), teardown_env())

# Three results of 10 MB, of which R knows that they are in use, and then drops them.
leave_garbage <- function() {
    kept <- lapply(1:3, function(i) run_python(c(1.25e6, i), grow, mount = small))
    run_python(1, plus_one, mount = small)
    stopifnot(vapply(kept, function(x) x[1], 0) == 1:3)
    # Objects as old as this are not looked at by the collections that R makes by itself before long.
    gc()
    gc()
}

test_that("a loop over results that replace each other does not fill the arena", {
    x <- numeric(2.5e6)
    for (i in 1:10) {
        y <- run_python(x, plus_one, mount = small)
        expect_identical(y[length(y)], 1)
    }
    rm(y)
})

test_that("a result that does not fit is computed again once R has collected", {
    large <- c(5e6, 7)
    calls <- alist(run_python(large, grow, mount = small),
                   run_python_shared_data(large, c(grow, plus_one), mount = small)[[1]],
                   run_python_pipeline(large, c(plus_one, grow), mount = small))
    for (i in seq_along(calls)) {
        leave_garbage()
        y <- eval(calls[[i]])
        expect_identical(range(y), if (i == 3) c(8, 8) else c(7, 7))
        expect_gte(length(y), 5e6)
        rm(y)
    }
    pipeline <- pyrmap_pipeline(c(plus_one, grow), mount = small)
    leave_garbage()
    pipeline$push(large)
    pipeline$push(c(2, 1))
    expect_identical(range(pipeline$pull()), c(8, 8))
    expect_identical(pipeline$pull(), c(2, 2, 2))
    pipeline$close()
})

test_that("what does not fit at all is an error that says what is full", {
    for (call in alist(run_python(c(1e7, 1), grow, mount = small),
                       run_python_pipeline(c(1e7, 1), c(plus_one, grow), mount = small))) {
        condition <- expect_error(eval(call), class = "pyrmap_system_error")
        expect_s3_class(condition, "pyrmap_python_error")
        expect_identical(condition$errno, "ENOSPC")
        expect_match(conditionMessage(condition), paste0("the arena of ", small, " (arena.capacity 64.0 MiB, used "),
                     fixed = TRUE)
    }
    expect_identical(run_python(1, plus_one, mount = small), 2)
})

# R with few descriptors.
limited <- function(descriptors, code) {
    file <- tempfile(fileext = ".R")
    writeLines(c("library(pyrmap)", code), file)
    suppressWarnings(system2("bash", c("-c", shQuote(paste0("ulimit -n ", descriptors, "; exec Rscript ", file, " 2>&1"))),
                             stdout = TRUE))
}

test_that("arrays that R dropped hold no descriptor that it lacks", {
    said <- limited(256, c("for (i in 1:1000) { x <- pyrmap_array(10); x[1] <- i }",
                          sprintf("cat(run_python(x, '%s')[1])", plus_one)))
    expect_identical(said, "1001")
})

test_that("arrays that are kept hold no descriptor, and work", {
    said <- limited(256, c("arrays <- lapply(1:400, function(i) { x <- pyrmap_array(10); x[] <- i; x })",
                           sprintf("sums <- vapply(arrays[c(1, 200, 400)], function(x) run_python(x, '%s')[10], 0)", plus_one),
                           "stopifnot(vapply(arrays, pyrmap_info, list(1, 1, 1, 1, 1, 1, 1))['copied', ] == 0)",
                           "cat(sums)"))
    expect_identical(said, "2 201 401")
})

test_that("small results that are kept are no mappings", {
    # By a link it is the segment itself that is mapped.
    mappings <- function() {
        maps <- readLines("/proc/self/maps")
        sum(grepl(mount, maps, fixed = TRUE) | grepl("/(memfd:|arrays/)s[0-9]", maps))
    }
    kept <- list(run_python(numeric(8191), plus_one))
    before <- mappings()
    kept <- c(kept, lapply(1:20, function(i) run_python(numeric(8191) + i, plus_one)))
    expect_identical(mappings(), before)
    expect_identical(vapply(kept, function(y) y[8191], 0), 1 + 0:20)
    large <- lapply(1:20, function(i) run_python(numeric(8192) + i, plus_one))
    expect_identical(mappings(), before + 20L)
})
