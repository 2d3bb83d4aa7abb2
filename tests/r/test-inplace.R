# SPDX-License-Identifier: Apache-2.0
# Python may work on its input in place: neither R nor another script sees anything of it.

inplace <- function(fun) paste0(normalizePath("scripts/inplace.py"), "::", fun)

test_that("scripts may change their input", {
    data <- matrix(c(4, NaN, 1, 3), 2)
    expect_identical(run_python(data, inplace("fill")), matrix(c(4, 0, 1, 3), 2))
    expect_identical(data, matrix(c(4, NaN, 1, 3), 2))
    data[2, 1] <- 1
    expect_identical(run_python(data, inplace("add")), data + 1)
    expect_identical(as.vector(run_python(data, inplace("shuffle"))), c(1, 1, 3, 4))
    expect_equal(run_python(data, inplace("solve")), solve(data))
    expect_identical(unname(as.matrix(run_python(data, inplace("frame")))), cbind(data[, 1] + 1, data[, 2]))
    expect_identical(data, matrix(c(4, 1, 1, 3), 2))
})

test_that("a shared input is as it was for each script, and for R", {
    values <- as.numeric(1:500000)
    data <- pyrmap_array(length(values))
    data[] <- values
    seen <- run_python_shared_data(data, rep(inplace(c("add", "shuffle", "add", "look")), 2))
    for (i in c(1, 3, 5, 7))
        expect_identical(seen[[i]][c(1, 500000)], c(2, 500001))
    expect_identical(seen[[4]][1:500000], values)
    expect_identical(seen[[8]][1:500000], values)
    expect_identical(data[1:500000], values)
})

test_that("a stage of a pipeline changes its own copy of the stage before it", {
    stages <- run_python_pipeline(c(1, 2), inplace(c("add", "add")), intermediate = TRUE)
    expect_identical(lapply(unname(stages), as.vector), list(c(2, 3), c(3, 4)))
})
