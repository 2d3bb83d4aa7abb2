# SPDX-License-Identifier: Apache-2.0
# pyrmap_array: filled in place, passed on without a copy.

test_that("an array is filled in place", {
    x <- pyrmap_array(c(300, 4))
    expect_identical(dim(x), c(300L, 4L))
    expect_identical(sum(x), 0)
    slot <- pyrmap_info(x)$slot
    for (column in 1:4)
        x[, column] <- column
    x[2, 3] <- 10
    expect_identical(pyrmap_info(x)$slot, slot)
    expect_identical(sum(x), 300 * 10 + 7)
    seen <- run_python(x, answer("described"))
    expect_identical(seen, c(8L, utf8ToInt("f"), 2L, 300L, 4L))
    expect_identical(run_python(x, answer("total")), 3007)
    expect_identical(run_python(x, answer("element"), args = list(1L, 2L)), 10)
    expect_identical(pyrmap_info(x)$copied, 0)
    expect_true(pyrmap_info(x)$mapped)
})

test_that("Python maps the very same file", {
    x <- pyrmap_array(5000)
    x[] <- 1
    file <- file.path(pyrmap_info(x)$slot, "data.bin")
    for (i in 1:3) {
        seen <- run_python(x, answer("address"))
        listed <- system2("stat", c("-c", "%i", file), stdout = TRUE)
        expect_identical(format(seen, scientific = FALSE), listed)
    }
})

test_that("each type", {
    x <- pyrmap_array(10, "int32")
    x[] <- 1:10
    expect_identical(as.vector(run_python(x, answer("same"))), 1:10)
    x <- pyrmap_array(10, "uint8")
    x[] <- as.raw(1:10)
    expect_identical(as.vector(run_python(x, answer("same"))), as.raw(1:10))
    expect_error(pyrmap_array(10, "float32"), "no float32")
    expect_error(pyrmap_array(-1), "whole numbers")
    expect_error(pyrmap_array(c(1, 2, 3, 4, 5)), "one to four")
    expect_error(pyrmap_array(NA), "whole numbers")
    expect_identical(pyrmap_array(0), numeric())
    expect_identical(dim(pyrmap_array(c(0, 3), "int32")), c(0L, 3L))
    skip_if_not_installed("bit64")
    x <- pyrmap_array(3, "int64")
    x[] <- bit64::as.integer64("9007199254740993")
    expect_identical(run_python(x, answer("same")), rep(bit64::as.integer64("9007199254740993"), 3))
})

test_that("changing it later changes R's copy only, and the next call passes the change", {
    x <- pyrmap_array(5000)
    x[] <- 1
    expect_identical(run_python(x, answer("total")), 5000)
    slot <- pyrmap_info(x)$slot
    x[1] <- 100
    expect_identical(x[1:2], c(100, 1))
    expect_true(pyrmap_info(x)$copied > 0)
    expect_identical(readBin(file.path(slot, "data.bin"), "double", 1), 1)
    expect_identical(run_python(x, answer("total")), 5099)
    dim(x) <- c(50, 100)
    expect_identical(run_python(x, answer("described"))[3:5], c(2L, 50L, 100L))
})

test_that("another dtype is an ordinary conversion", {
    x <- pyrmap_array(100)
    x[] <- 1:100
    expect_identical(run_python(x, answer("described"), dtype = "int32")[1], 4L)
    expect_identical(run_python(x, answer("total")), 5050)
})

test_that("its slot goes with it", {
    x <- pyrmap_array(100)
    slot <- pyrmap_info(x)$slot
    expect_true(dir.exists(slot))
    rm(x)
    invisible(gc())
    expect_false(dir.exists(slot))
})

test_that("it is one input of many", {
    x <- pyrmap_array(c(10, 2))
    x[] <- 1:20
    results <- run_python_shared_data(x, c(total = answer("total"), same = answer("same")))
    expect_identical(results$total, 210)
    expect_identical(results$same, matrix(as.numeric(1:20), 10))
    expect_identical(run_python_pipeline(x, c(answer("plus_one"), answer("total"))), 230)
    expect_identical(pyrmap_info(x)$copied, 0)
})

test_that("an array that does not fit the arena is an error with a remedy", {
    condition <- expect_error(pyrmap_array(2^45), class = "pyrmap_system_error")
    expect_match(conditionMessage(condition), "arena")
    expect_identical(condition$errno, "ENOSPC")
    expect_identical(run_python(1, answer("same")), 1)
})

test_that("an array that a forked child still maps is copied, and says so", {
    x <- pyrmap_array(5000)
    x[] <- 1
    y <- pyrmap_array(5000)
    y[] <- 2
    gate <- tempfile()
    child <- parallel::mcparallel({
        while (!file.exists(gate))
            Sys.sleep(0.005)
        sum(x)
    })
    for (array in 1:2) {
        expect_identical(run_python(x, answer("total")), 5000)
        info <- pyrmap_info(x)
        expect_match(info$why_copied, "a process forked from this session still maps it")
        expect_identical(info$copied, array * 40000)
    }
    expect_output(print(info), "the last call copied it: a process forked")
    expect_identical(run_python_shared_data(y, answer("total"))[[1]], 10000)
    # It still is an array of this session: a store into it counts.
    x[1] <- 100
    expect_identical(run_python(x, answer("total")), 5099)
    file.create(gate)
    expect_identical(parallel::mccollect(child)[[1]], 5000)
    expect_true(eventually(function() !process_exists(child$pid)))
    expect_identical(run_python(x, answer("total")), 5099)
    expect_match(pyrmap_info(x)$why_copied, "changed")
    # One that nobody changed is passed on by itself again.
    before <- pyrmap_info(y)$copied
    expect_identical(run_python(y, answer("total")), 10000)
    expect_identical(pyrmap_info(y)$copied, before)
    expect_identical(pyrmap_info(y)$why_copied, NA_character_)
})

test_that("what a forked child stores is the child's", {
    x <- pyrmap_array(5000)
    x[] <- 1
    child <- parallel::mcparallel({
        x[1] <- 5
        x[4000:5000] <- 3
        sum(x)
    })
    expect_identical(parallel::mccollect(child)[[1]], 5000 + 4 + 2 * 1001)
    expect_identical(sum(x), 5000)
    expect_identical(parallel::mclapply(1:3, function(i) sum(x) + i, mc.cores = 2), list(5001, 5002, 5003))
    expect_identical(run_python(x, answer("total")), 5000)
})

test_that("an array whose slot somebody removed is copied", {
    x <- pyrmap_array(5000)
    x[] <- 1
    expect_identical(run_python(x, answer("total")), 5000)
    unlink(pyrmap_info(x)$slot, recursive = TRUE)
    expect_identical(run_python(x, answer("total")), 5000)
    expect_match(pyrmap_info(x)$why_copied, "its slot.* is gone")
    y <- pyrmap_array(5000)
    y[] <- 2
    unlink(pyrmap_info(y)$slot, recursive = TRUE)
    expect_identical(run_python_pipeline(y, c(answer("same"), answer("total"))), 10000)
    expect_match(pyrmap_info(y)$why_copied, "its slot.* is gone")
})

test_that("an array whose mount is gone is copied to the one that is there now", {
    place <- tempfile()
    dir.create(place)
    start <- function() stopifnot(system2(Sys.getenv("PYRMAPFS"), c("-o", "arena.capacity=64M", place)) == 0)
    start()
    on.exit(system2("umount", c("-l", place)))
    waiting <- pyrmap_array(5000, mount = place)
    waiting[] <- 1
    passed_on <- pyrmap_array(c(50, 100), mount = place)
    passed_on[] <- 2
    expect_identical(run_python(passed_on, answer("total"), mount = place), 10000)
    expect_identical(pyrmap_info(passed_on)$why_copied, NA_character_)
    system2("umount", c("-l", place))
    start()
    for (array in list(waiting, passed_on)) {
        sums <- c(run_python(array, answer("total"), mount = place),
                  run_python_shared_data(array, answer("total"), mount = place)[[1]],
                  run_python_pipeline(array, answer("total"), mount = place))
        expect_identical(sums, rep(sum(array), 3))
        expect_match(pyrmap_info(array)$why_copied, "the mount that it was made in, is gone")
    }
    waiting[3] <- 11
    expect_identical(run_python(waiting, answer("total"), mount = place), 5010)
    expect_identical(run_python(passed_on, answer("described"), mount = place)[3:5], c(2L, 50L, 100L))
})

# The inode of the slot of a member, as Python sees it.
pages_of <- function(x) as.numeric(system2("stat", c("-c", "%i", file.path(pyrmap_info(x)$slot, "data.bin")), stdout = TRUE))

test_that("several arrays are filled in place and passed on as one bundle", {
    X <- pyrmap_array(list(k = 5001, X = c(5000, 3), y = 5000, r = 7), c("int32", "float64", "float64", "uint8"))
    for (column in 1:3)
        X$X[, column] <- column
    X$y[] <- seq_len(5000) / 4
    X$k[5001] <- 7L
    X$r[2] <- as.raw(3)
    for (member in X) {
        expect_true(pyrmap_info(member)$mapped)
        expect_identical(pyrmap_info(member)$slot, pyrmap_info(X$X)$slot)
    }
    expected <- list(k = c(integer(5000), 7L), X = matrix(rep(c(1, 2, 3), each = 5000), 5000), y = seq_len(5000) / 4,
                     r = as.raw(c(0, 3, 0, 0, 0, 0, 0)))
    expect_identical(run_python(X, answer("same")), expected)
    for (i in 1:2)
        expect_identical(run_python(X, answer("address")), pages_of(X$y))
    for (result in run_python_shared_data(X, c(answer("address"), answer("address"))))
        expect_identical(result, pages_of(X$y))
    expect_identical(pyrmap_info(X$X)$copied, 0)
    expect_identical(run_python(X, answer("evaluated"), args = list("x['X'].flags.f_contiguous")), TRUE)
    X$y[1] <- 100
    expect_identical(run_python(X, answer("evaluated"), args = list("x['y'][:2]")), c(100, 0.5))
    expect_identical(run_python(X, answer("same"))$k, expected$k)
})

test_that("a data frame of such columns is not copied; what it has beside them is", {
    columns <- pyrmap_array(list(a = 30000, b = 30000))
    columns$a[] <- runif(30000)
    columns$b[] <- 2
    d <- list2DF(columns)
    d$s <- rep(c("u", "\u00e4", NA), 10000)
    d$f <- factor(d$s)
    d <- d[c("s", "b", "f", "a")]
    expect_identical(run_python(d, answer("address")), pages_of(d$a))
    expect_identical(run_python(d, answer("address")), pages_of(d$a))
    expect_identical(run_python(d, answer("same")), d)
    expect_identical(run_python(d, answer("evaluated"), args = list("x['b'].sum()")), 60000)
})

test_that("arrays that are no bundle together are copied, and say why", {
    same <- function(x) expect_identical(run_python(x, answer("same")), lapply(x, function(member) member + 0))
    made <- function() pyrmap_array(list(a = 3000, b = 3000))
    reason <- function(x) pyrmap_info(x$a)$why_copied
    for (change in list(function(x) x["a"], function(x) list(a = x$a, c = x$a), function(x) { x$b <- NULL; x },
                        function(x) c(x, structure(as.list(1:200 + 0.5), names = sprintf("%050d", 1:200))))) {
        x <- change(made())
        same(x)
        expect_match(reason(x), "each member of the pyrmap_array just once")
    }
    x <- made()
    x$a[] <- 1:3000
    expect_identical(run_python(x, answer("same"), na = "keep")$a, as.numeric(1:3000))
    # Several of them, and one that was changed after it was passed on.
    y <- list(a = made()$a, b = made()$b)
    same(y)
    x <- made()
    same(x)
    x[["a"]][2] <- 5
    same(x)
    column <- x$b
    expect_identical(run_python(column, answer("total")), 0)
    expect_error(pyrmap_array(list()), "the dim of one at least")
    expect_error(pyrmap_array(list(a = 2, b = -1)), "whole numbers")
    expect_error(pyrmap_array(list(a = 2), c("int32", "float64")), "one for each")
    expect_error(pyrmap_array(list(a = 2, b = 0)), "must not be empty")
})

test_that("a bundle that a forked child fills stays as the parent has it", {
    x <- pyrmap_array(list(a = 5000, b = 5000))
    x$a[] <- 1
    gate <- tempfile()
    child <- parallel::mcparallel({
        x$a[] <- 50
        while (!file.exists(gate))
            Sys.sleep(0.005)
        sum(x$a)
    })
    expect_identical(run_python(x, answer("evaluated"), args = list("float(x['a'].sum())")), 5000)
    file.create(gate)
    expect_identical(parallel::mccollect(child)[[1]], 250000)
    expect_identical(sum(x$a), 5000)
})
