# SPDX-License-Identifier: Apache-2.0
# Results are mapped vectors, and behave as ordinary ones.

test_that("results are mapped, nothing is copied", {
    for (dtype in c("float64", "int32", "uint8")) {
        y <- run_python(1:70000 %% 100L, answer("plus_one"), dtype = dtype)
        info <- pyrmap_info(y)
        expect_true(info$mapped)
        expect_identical(info$copied, 0)
        expect_identical(info$dtype, dtype)
        expect_identical(dirname(info$slot), normalizePath(mount))
        expect_identical(info$bytes, 70000 * c(float64 = 8, int32 = 4, uint8 = 1)[[dtype]])
    }
    y <- run_python(matrix(1, 500, 20), answer("plus_one"))
    expect_identical(pyrmap_info(y)$copied, 0)
    expect_output(print(pyrmap_info(y)), "mapped from .*float64, 80,000 bytes in the slot, 0 bytes copied")
    # A mapping for each small one would soon be more than the kernel allows.
    small <- run_python(numeric(8191), answer("same"))
    expect_false(pyrmap_info(small)$mapped)
    expect_identical(pyrmap_info(small)$copied, 8191 * 8)
    expect_output(print(pyrmap_info(1)), "an ordinary R object")
    expect_false(pyrmap_info("a")$mapped)
})

test_that("what must be converted is copied once, and says so", {
    y <- run_python(matrix(1:6 + 0, 2), answer("rows_first"))
    expect_identical(pyrmap_info(y)$copied, 48)
    expect_false(pyrmap_info(y)$mapped)
    expect_identical(as.vector(y), 1:6 + 0)
    # One column lies the same in both orders.
    expect_identical(pyrmap_info(run_python(matrix(1, 10000, 1), answer("rows_first")))$copied, 0)
})

test_that("float32 is converted on first need", {
    y <- run_python(1:20000, answer("same"), dtype = "float32")
    expect_identical(pyrmap_info(y)$copied, 0)
    expect_identical(y[10], 10)
    expect_identical(sum(y), 200010000)
    expect_true(pyrmap_info(y)$mapped)
    z <- y
    z[1] <- 5
    expect_identical(y[1:3], c(1, 2, 3))
    expect_identical(z[1:3], c(5, 2, 3))
    expect_identical(as.vector(y), as.numeric(1:20000))
})

test_that("writing copies the page that is written to, and nothing else", {
    n <- 1e5
    y <- run_python(as.numeric(1:n), answer("same"))
    slot <- pyrmap_info(y)$slot
    y[3] <- -1
    expect_identical(y[2:4], c(2, -1, 4))
    info <- pyrmap_info(y)
    expect_true(info$mapped)
    expect_true(info$copied > 0 && info$copied <= 65536)
    before <- readBin(file.path(slot, "result.bin"), "double", 4)
    expect_identical(before, c(1, 2, 3, 4))
})

test_that("a second name keeps the old values", {
    y <- run_python(as.numeric(1:10000), answer("same"))
    z <- y
    z[1] <- 100
    expect_identical(y[1], 1)
    expect_identical(z[1], 100)
    y[2] <- 50
    expect_identical(z[2], 2)
})

test_that("the slot's next rounds and its end do not touch a result", {
    first <- run_python(c(1, 2, 3), answer("same"))
    second <- run_python(c(4, 5, 6), answer("same"))
    expect_identical(c(first, second), as.numeric(1:6))
    large <- run_python(as.numeric(1:1e6), answer("same"))
    slot <- pyrmap_info(large)$slot
    pyrmap_stop()
    unlink(slot, recursive = TRUE)
    expect_false(dir.exists(slot))
    expect_identical(sum(large), 500000500000)
    expect_identical(c(first, second), as.numeric(1:6))
})

test_that("results save, compare, subset and model like ordinary vectors", {
    x <- (1:20000) / 3
    y <- run_python(x, answer("same"))
    expect_identical(y, x)
    file <- tempfile()
    saveRDS(y, file)
    expect_identical(readRDS(file), x)
    expect_identical(unserialize(serialize(y, NULL)), x)
    expect_false(pyrmap_info(readRDS(file))$mapped)
    expect_identical(y[c(1, 5, NA, 3)], x[c(1, 5, NA, 3)])
    expect_identical(y[-1], x[-1])
    expect_identical(rev(y), rev(x))
    expect_identical(sort(y, decreasing = TRUE), rev(x))
    expect_identical(range(y), range(x))
    expect_identical(mean(y), mean(x))
    expect_identical(y == x, rep(TRUE, 20000))
    expect_identical(y * 2, x * 2)
    expect_identical(as.integer(y), as.integer(x))
    expect_identical(is.na(y), is.na(x))
    expect_identical(digest_of(y), digest_of(x))
    expect_equal(coef(lm(y ~ x)), c("(Intercept)" = 0, x = 1))
    expect_identical(tapply(y, rep(1:2, 10000), sum), tapply(x, rep(1:2, 10000), sum))
    frame <- data.frame(y = y)
    frame$y[1] <- 0
    expect_identical(y[1], x[1])
    m <- run_python(matrix(x, 40), answer("same"))
    expect_identical(m, matrix(x, 40))
    expect_identical(m[3, ], matrix(x, 40)[3, ])
    expect_identical(t(m), t(matrix(x, 40)))
    expect_identical(m %*% t(m), matrix(x, 40) %*% t(matrix(x, 40)))
    expect_identical(apply(m, 1, sum), apply(matrix(x, 40), 1, sum))
    i <- run_python(1:20000, answer("same"))
    expect_identical(i, 1:20000 + 0L)
    expect_identical(cumsum(i), cumsum(1:20000))
    expect_identical(table(i %% 3L), table(1:20000 %% 3L))
    skip_if_not_installed("bit64")
    b <- run_python(bit64::as.integer64(1:10), answer("plus_one"))
    expect_identical(b, bit64::as.integer64(2:11))
    expect_identical(as.character(sum(b)), "65")
})

test_that("the sum of a large mapped vector is that of an ordinary one", {
    values <- rep_len(c(0.5, -7, 3e10, 0.125), 2^25 + 3)
    x <- pyrmap_array(length(values))
    x[] <- values
    expect_identical(sum(x), sum(values)) # no order of these would round
    expect_identical(sum(x, 1), sum(values, 1))
    x[c(5, 2^25 + 3)] <- c(NA, 1)
    values[c(5, 2^25 + 3)] <- c(NA, 1)
    expect_identical(sum(x), NA_real_)
    expect_identical(sum(x, na.rm = TRUE), sum(values, na.rm = TRUE))
    x[5] <- -Inf
    expect_identical(sum(x), -Inf)
    x[2^25 + 3] <- Inf
    expect_true(is.nan(sum(x)))
})

test_that("ggplot takes a result", {
    skip_if_not_installed("ggplot2")
    y <- run_python(as.numeric(1:50), answer("plus_one"))
    plot <- ggplot2::ggplot(data.frame(x = 1:50, y = y), ggplot2::aes(x, y)) + ggplot2::geom_point()
    file <- tempfile(fileext = ".png")
    suppressMessages(ggplot2::ggsave(file, plot, width = 3, height = 3))
    expect_gt(file.size(file), 1000)
})

test_that("mappings that nobody holds are given back", {
    maps <- function() sum(grepl("result.bin|memfd|/arrays/s|/m?[0-9a-f]+$", readLines("/proc/self/maps")) &
                               !grepl("\\.so|Rscript|locale", readLines("/proc/self/maps")))
    invisible(gc())
    y <- lapply(1:50, function(i) run_python(as.numeric(1:10000), answer("same")))
    held <- maps()
    expect_identical(sum(vapply(y, `[`, 0, 5)), 250)
    rm(y)
    invisible(gc())
    expect_lte(maps(), held - 49)
})

test_that("results that are dropped make room in the arena by themselves", {
    root <- mount
    arena <- as.numeric(strsplit(system2("df", c("-B1", "--output=size", root), stdout = TRUE)[2], " +")[[1]][1])
    n <- floor(min(2e7, arena / 8 / 12))
    x <- pyrmap_array(n)
    x[] <- 1
    for (i in 1:30)
        expect_identical(run_python(x, answer("mapped_plus_one"))[n], 2)
})
