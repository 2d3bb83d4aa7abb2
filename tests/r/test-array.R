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
