# SPDX-License-Identifier: Apache-2.0
# What arrives on the other side: dtype x shape x size, and what is refused.

values <- list(
    float64 = function(n) (seq_len(n) - 3) / 7,
    float32 = function(n) (seq_len(n) - 3) / 8,
    int32 = function(n) seq_len(n) - 3L,
    # bit64 makes one number of none times one.
    int64 = function(n) bit64::as.integer64(seq_len(n)) * rep(bit64::as.integer64("461168601842"), n),
    uint8 = function(n) as.raw(seq_len(n) %% 256))

shapes <- list(vector = NULL, matrix = function(n) c(n / 5, 5), array3 = function(n) c(5, n / 15, 3),
               array4 = function(n) c(3, 1, 5, n / 15))

for (dtype in names(values)) {
    for (shape in names(shapes)) {
        test_that(paste(dtype, shape, "returns as it went"), {
            if (dtype == "int64")
                skip_if_not_installed("bit64")
            for (n in c(0, 15, 465, 9990)) {
                x <- values[[dtype]](n)
                if (!is.null(shapes[[shape]]))
                    dim(x) <- shapes[[shape]](n)
                y <- run_python(x, answer("same"), dtype = dtype)
                expect_identical(dim(y), dim(x))
                expect_identical(bits(y), bits(x))
                expect_identical(class(y), class(x))
                seen <- run_python(x, answer("described"), dtype = dtype)
                expect_identical(seen[-(1:2)], as.integer(if (is.null(dim(x))) c(1, n) else c(length(dim(x)), dim(x))))
                expect_identical(seen[1:2], c(c(float64 = 8L, float32 = 4L, int32 = 4L, int64 = 8L, uint8 = 1L)[[dtype]],
                                              utf8ToInt(c(float64 = "f", float32 = "f", int32 = "i", int64 = "i",
                                                          uint8 = "u")[[dtype]])))
            }
        })
    }
    test_that(paste(dtype, "of odd sizes and ten million"), {
        if (dtype == "int64")
            skip_if_not_installed("bit64")
        for (n in c(1, 4097, 1e7)) {
            x <- values[[dtype]](n)
            expect_identical(bits(run_python(x, answer("same"), dtype = dtype)), bits(x))
        }
    })
}

test_that("elements are where they were", {
    x <- array(as.numeric(1:120), c(2, 3, 4, 5))
    expect_identical(run_python(x, answer("element"), args = list(1L, 2L, 0L, 3L)), x[2, 3, 1, 4])
    for (order in c("same", "rows_first")) {
        for (dims in list(c(40, 70), c(3, 100, 33), c(5, 4, 3, 64))) {
            for (dtype in c("float64", "float32", "int32", "uint8", "int64")) {
                x <- array(seq_len(prod(dims)) %% 250L, dims)
                y <- run_python(x, answer(order), dtype = dtype)
                expect_identical(dim(y), dim(x))
                expect_true(all(as.integer(y) == as.integer(x)))
            }
        }
    }
})

test_that("random bits return bit for bit", {
    set.seed(as.integer(Sys.time()))
    for (round in 1:40) {
        n <- sample(0:3000, 1)
        bytes <- as.raw(sample(0:255, 8 * n, replace = TRUE))
        doubles <- readBin(bytes, "double", n)
        expect_identical(bits(run_python(doubles, answer("same"))), bits(doubles))
        integers <- readBin(bytes, "integer", 2 * n)
        expect_identical(bits(run_python(integers, answer("same"))), bits(integers))
        expect_identical(run_python(bytes, answer("same")), bytes)
    }
})

test_that("the default dtype holds the data", {
    kind <- function(x) intToUtf8(run_python(x, answer("described"))[2])
    expect_identical(c(kind(1), kind(1L), kind(TRUE), kind(as.raw(1))), c("f", "i", "i", "u"))
    skip_if_not_installed("bit64")
    expect_identical(run_python(bit64::as.integer64(1), answer("described"))[1:2], c(8L, utf8ToInt("i")))
})

test_that("compact and converted vectors arrive", {
    expect_identical(run_python(1:100000, answer("total"), dtype = "float64"), 5000050000)
    expect_identical(as.integer(run_python(1:10, answer("same"))), 1:10)
    expect_identical(run_python(c(TRUE, NA, FALSE), answer("same")), c(1L, NA, 0L))
    expect_identical(as.vector(run_python(seq(2, 20, by = 2), answer("same"), dtype = "uint8")), as.raw(seq(2, 20, by = 2)))
})

test_that("Python's type is kept", {
    x <- c(1, 2, 3)
    expect_type(run_python(x, answer("as_dtype"), args = list("float32")), "double")
    expect_type(run_python(x, answer("as_dtype"), args = list("int32")), "integer")
    expect_type(run_python(x, answer("as_dtype"), args = list("uint8")), "raw")
    expect_identical(run_python(x, answer("as_dtype"), args = list("bool")), c(1L, 1L, 1L))
    skip_if_not_installed("bit64")
    expect_s3_class(run_python(x, answer("as_dtype"), args = list("int64")), "integer64")
    expect_identical(run_python(x, answer("bits_int64")),
                     bit64::as.integer64(c("9007199254740993", NA, "7")))
})

test_that("int64 without bit64 is an exact double or an error", {
    session <- getFromNamespace("session", "pyrmap")
    before <- session$bit64
    session$bit64 <- FALSE
    on.exit(session$bit64 <- before)
    expect_identical(as.vector(run_python(c(3, -2^40), answer("as_dtype"), args = list("int64"))), c(3, -2^40))
    condition <- expect_error(run_python(1, answer("bits_int64")), class = "pyrmap_loss")
    expect_identical(condition$index, 1)
    expect_match(conditionMessage(condition), "9007199254740993.*bit64")
    expect_identical(as.vector(run_python(5, answer("as_dtype"), args = list("int64"))), 5)
})

lossy <- function(x, dtype, index, pattern) {
    condition <- expect_error(run_python(x, answer("same"), dtype = dtype), class = "pyrmap_loss")
    expect_identical(condition$index, index)
    expect_match(conditionMessage(condition), pattern)
}

test_that("the first value that does not fit is named, wherever the parts of a large vector meet", {
    x <- numeric(4e6 + 1) # converted in parts
    for (places in list(1, 2e6, 2e6 + 1, 1e6 + 1, 4e6 + 1, c(3e6, 1e6), c(4e6 + 1, 2))) {
        x[places] <- 0.5
        lossy(x, "int32", min(places), "has a fraction")
        x[places] <- places
    }
    expect_identical(run_python(x, answer("same"), dtype = "int32"), as.integer(x))
})

test_that("a value that does not fit is named, with a remedy", {
    lossy(c(1, 2, 1.5), "int32", 3, "data\\[3\\] = 1.5 has a fraction: use round")
    lossy(c(1, 2, 1.5), "int64", 3, "fraction")
    lossy(c(1L, 300L), "uint8", 2, "data\\[2\\] = 300 lies outside uint8, 0 to 255: use dtype = \"int32\"")
    lossy(c(1, -1), "uint8", 2, "outside uint8")
    lossy(2^40, "int32", 1, "outside int32")
    lossy(2^63, "int64", 1, "outside int64")
    lossy(c(0, 1e300), "float32", 2, "outside float32")
    lossy(c(0, 1e-300), "float32", 2, "outside float32")
    lossy(16777217L, "float32", 1, "is not exact in float32: use dtype = \"float64\"")
    lossy(c(1, NA), "uint8", 2, "is NA, and uint8 has none")
    lossy(c(1, NA), "float32", 2, "is NA, and float32 has none")
    lossy(c(1L, NA), "float32", 2, "is NA, and float32 has none")
    lossy(c(1L, NA), "uint8", 2, "is NA, and uint8 has none")
    lossy(c(1, NaN), "int32", 2, "is NaN, and int32 has none")
    lossy(c(rep(1, 1e6), 0.5), "int32", 1e6 + 1, "data\\[1000001\\] = 0.5")
    lossy(c(1, Inf), "int64", 2, "outside int64")
    skip_if_not_installed("bit64")
    lossy(bit64::as.integer64(c("1", "9007199254740993")), "float64", 2, "9007199254740993 is not exact in float64")
    lossy(bit64::as.integer64(2)^40, "int32", 1, "1099511627776 lies outside int32")
    # The next call is not troubled.
    expect_identical(run_python(1:3, answer("same")), 1:3)
})

test_that("what has a missing value keeps it", {
    expect_identical(bits(run_python(c(NA, NaN, -0, Inf), answer("same"))), bits(c(NA, NaN, -0, Inf)))
    expect_identical(as.vector(run_python(c(1L, NA), answer("same"))), c(1L, NA))
    expect_identical(as.vector(run_python(c(1, NA), answer("same"), dtype = "int32")), c(1L, NA))
    expect_identical(as.vector(run_python(c(1L, NA), answer("same"), dtype = "float64")), c(1, NA))
    expect_identical(as.vector(run_python(c(1, NaN, Inf), answer("same"), dtype = "float32")), c(1, NaN, Inf))
    skip_if_not_installed("bit64")
    expect_identical(run_python(c(1, NA), answer("same"), dtype = "int64"), bit64::as.integer64(c(1, NA)))
})

test_that("what is no array of numbers is refused, with what to pass instead", {
    refused <- function(x, pattern) {
        condition <- expect_error(run_python(x, answer("same")), class = "pyrmap_type_error")
        expect_match(conditionMessage(condition), pattern)
    }
    refused(c("a", "b"), "character cannot.*element 1.*as.numeric")
    refused(list(1, 2), "list cannot.*unlist")
    refused(factor("a"), "factor cannot.*as.integer")
    refused(data.frame(a = 1), "data.frame cannot.*as.matrix")
    refused(Sys.Date(), "Date cannot.*unclass")
    refused(NULL, "NULL cannot.*numeric\\(0\\)")
    refused(1i, "complex cannot.*Re\\(x\\)")
    refused(quote(x), "cannot be exchanged")
    expect_error(run_python(array(1, c(1, 1, 1, 1, 1)), answer("same")), "5 dimensions, at most 4")
    expect_error(run_python(1, answer("same"), dtype = "float16"), "dtype must be one of .*\"uint8\"")
})
