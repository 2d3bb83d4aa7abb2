# SPDX-License-Identifier: Apache-2.0
# The array that arrives on the other side: dtype x shape x size, and refusals.

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
    expect_identical(c(kind(1), kind(1L), kind(TRUE), kind(as.raw(1))), c("f", "i", "b", "u"))
    skip_if_not_installed("bit64")
    expect_identical(run_python(bit64::as.integer64(1), answer("described"))[1:2], c(8L, utf8ToInt("i")))
})

test_that("compact and converted vectors arrive", {
    expect_identical(run_python(1:100000, answer("total"), dtype = "float64"), 5000050000)
    expect_identical(as.integer(run_python(1:10, answer("same"))), 1:10)
    expect_identical(run_python(c(TRUE, FALSE), answer("same"), dtype = "int32"), c(1L, 0L))
    expect_identical(as.vector(run_python(seq(2, 20, by = 2), answer("same"), dtype = "uint8")), seq(2L, 20L, by = 2L))
})

test_that("a result is R's own type", {
    x <- c(1, 2, 3)
    for (dtype in c("float16", "float32", "float64", "int64", "uint32", "uint64"))
        expect_identical(run_python(x, answer("as_dtype"), args = list(dtype)), x)
    for (dtype in c("int8", "int16", "int32", "uint8", "uint16"))
        expect_identical(run_python(x, answer("as_dtype"), args = list(dtype)), 1:3)
    expect_identical(run_python(c(0, 1, 2), answer("as_dtype"), args = list("bool")), c(FALSE, TRUE, TRUE))
})

test_that("only callers who pass R's special types get them back", {
    expect_identical(run_python(as.raw(1:3), answer("as_dtype"), args = list("uint8")), as.raw(1:3))
    expect_identical(run_python(as.raw(1:3), answer("as_dtype"), args = list("int64")), c(1, 2, 3))
    skip_if_not_installed("bit64")
    expect_identical(run_python(bit64::as.integer64(1:3), answer("same")), bit64::as.integer64(1:3))
    expect_identical(run_python(bit64::as.integer64(1:3), answer("as_dtype"), args = list("uint8")), 1:3)
    old <- options(pyrmap.int64 = "integer64")
    on.exit(options(old))
    expect_identical(run_python(1:3, answer("as_dtype"), args = list("int64")), bit64::as.integer64(1:3))
    expect_identical(run_python(1, answer("bits_int64")), bit64::as.integer64(c("9007199254740993", NA, "7")))
    options(pyrmap.int64 = "bit64")
    expect_error(run_python(1, answer("same")), "pyrmap.int64 must be")
})

test_that("integer64 by option needs bit64", {
    session <- getFromNamespace("session", "pyrmap")
    before <- session$bit64
    session$bit64 <- FALSE
    old <- options(pyrmap.int64 = "integer64")
    on.exit({
        session$bit64 <- before
        options(old)
    })
    expect_error(run_python(1, answer("same")), "install the package bit64")
})

test_that("an int64 that no double is equal to is an error that names it, wherever it comes out", {
    named <- function(result, index = 1, digits = "9007199254740993") {
        condition <- expect_error(result, class = "pyrmap_loss")
        expect_identical(condition$index, index)
        expect_match(conditionMessage(condition),
                     paste0("element ", format(index, scientific = FALSE), " of the int64 result, ", digits, ", .*float64.*pyrmap.int64"))
    }
    named(run_python(1, answer("bits_int64")))
    named(run_python_shared_data(1, c(answer("same"), answer("bits_int64"))))
    named(run_python_pipeline(1, c(answer("same"), answer("bits_int64"))))
    named(run_python_pipeline(1, c(answer("bits_int64"), answer("described")), intermediate = TRUE))
    stream <- pyrmap_pipeline(answer("bits_int64"))
    stream$push(1)
    named(stream$pull())
    stream$push(2)
    named(stream$pull())
    stream$close()
    # R counts columns first, whatever order the array has.
    for (order in c("C", "F")) {
        named(run_python(c(2, 3), answer("inexact_at"), args = list(1L, 1L, order)), 4)
        named(run_python(c(2, 3), answer("inexact_at"), args = list(0L, 2L, order)), 5)
    }
    named(run_python(c(3000, 2000), answer("inexact_at"), args = list(2999L, 1999L, "F")), 6e6)
    expect_identical(run_python(c(2^53, -2^53, 2^62), answer("as_dtype"), args = list("int64")), c(2^53, -2^53, 2^62))
    expect_identical(run_python(5, answer("same")), 5)
})

test_that("the smallest int32 and int64 are NA in R", {
    expect_identical(run_python(1, answer("smallest"), args = list("int32")), NA_integer_)
    expect_identical(run_python(1, answer("smallest"), args = list("int64")), NA_real_)
})

test_that("logical goes as bool and comes as logical", {
    x <- c(10, 20, 30)
    mask <- run_python(x, answer("above"), args = list(15))
    expect_identical(mask, c(FALSE, TRUE, TRUE))
    expect_identical(x[mask], c(20, 30))
    expect_identical(x[!mask], 10)
    expect_identical(which(mask), 2:3)
    expect_true(isTRUE(run_python(x, answer("all_above"), args = list(5))))
    m <- matrix(c(TRUE, FALSE, FALSE, TRUE, TRUE, FALSE), 2)
    expect_identical(run_python(m, answer("same")), m)
    expect_identical(run_python(m, answer("inverted")), !m)
    expect_identical(run_python(t(m), answer("inverted_rows_first")), t(!m))
    expect_identical(run_python(logical(), answer("same")), logical())
    expect_identical(run_python_pipeline(m, c(answer("inverted"), answer("inverted")), intermediate = TRUE),
                     list(`answers::inverted` = !m, `answers::inverted.1` = m))
    large <- rep(c(TRUE, FALSE, TRUE), 1e5)
    y <- run_python(large, answer("inverted"))
    expect_identical(pyrmap_info(y)$copied, 0)
    expect_identical(pyrmap_info(y)$dtype, "logical")
    expect_identical(y, !large)
    y[2] <- NA
    expect_identical(y[1:3], c(FALSE, NA, FALSE))
    expect_identical(sum(y, na.rm = TRUE), 99999L)
    expect_identical(run_python(x, answer("bad_logical")) |> tryCatch(pyrmap_loss = function(e) e$index), 2)
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
    lossy(c(0, -3.5e38), "float32", 2, "outside float32")
    for (dtype in c("int32", "int64", "uint8")) {
        lossy(c(1, NA), dtype, 2, paste("is NA, and", dtype, "has none"))
        lossy(c(1, NaN), dtype, 2, paste("is NaN, and", dtype, "has none"))
        lossy(c(1L, NA), dtype, 2, paste0("is NA, and (NumPy's )?", dtype, " has none"))
        lossy(c(NA, TRUE), dtype, 1, "is NA, and .* has none")
    }
    # What R has for NA is no number for it.
    lossy(-2^31, "int32", 1, "outside int32")
    lossy(-2^63, "int64", 1, "outside int64")
    lossy(c(rep(1, 1e6), 0.5), "int32", 1e6 + 1, "data\\[1000001\\] = 0.5")
    lossy(c(1, Inf), "int64", 2, "outside int64")
    skip_if_not_installed("bit64")
    lossy(bit64::as.integer64(c("1", "9007199254740993")), "float64", 2, "9007199254740993 is not exact in float64")
    lossy(bit64::as.integer64(2)^40, "int32", 1, "1099511627776 lies outside int32")
    for (dtype in c("int32", "int64", "uint8"))
        lossy(bit64::as.integer64(c(5, NA)), dtype, 2, paste0("is NA, and (NumPy's )?", dtype, " has none"))
    # The next call is not troubled.
    expect_identical(run_python(1:3, answer("same")), 1:3)
})

test_that("float32 rounds, and nothing else", {
    expect_identical(run_python(16777217L, answer("same"), dtype = "float32"), 16777216)
    expect_identical(run_python(c(1e-300, 0.1, 3.4028235e38), answer("same"), dtype = "float32"),
                     c(0, 0.100000001490116119384765625, 3.4028234663852886e38))
    expect_identical(run_python(c(1, NaN, Inf, -Inf), answer("same"), dtype = "float32"), c(1, NaN, Inf, -Inf))
    expect_identical(is.na(run_python(c(1, NA), answer("same"), dtype = "float32")), c(FALSE, TRUE))
    expect_identical(is.na(run_python(c(1L, NA), answer("same"), dtype = "float32")), c(FALSE, TRUE))
    skip_if_not_installed("bit64")
    x <- bit64::as.integer64(c("9007199254740993", NA))
    expect_identical(run_python(x, answer("same"), dtype = "float32"), c(2^53, NaN))
})

test_that("NA in a double is a NaN, and NA when it comes back", {
    expect_identical(bits(run_python(c(NA, NaN, -0, Inf), answer("same"))), bits(c(NA, NaN, -0, Inf)))
})

# Each way into a slot: what Python saw of x.
seen_by <- list(
    run_python = function(x, ...) run_python(x, answer("described"), ...),
    shared = function(x, ...) run_python_shared_data(x, answer("described"), ...)[[1]],
    pipeline = function(x, ...) run_python_pipeline(x, c(answer("same"), answer("described")), ...),
    stream = function(x, ...) {
        stream <- pyrmap_pipeline(answer("described"), ...)
        on.exit(stream$close())
        stream$push(x)
        stream$pull()
    })

test_that("NA in integers and logicals goes as NaN, is refused, or kept, as the caller says", {
    floats <- c(8L, utf8ToInt("f"))
    integers <- c(4L, utf8ToInt("i"))
    for (way in names(seen_by)) {
        seen <- function(x, ...) seen_by[[way]](x, ...)[1:2]
        for (x in list(c(5L, NA, 7L), c(TRUE, NA, FALSE))) {
            expect_identical(seen(x), floats)
            expect_identical(seen(x, na = "nan"), floats)
            expect_identical(seen(x, na = "keep"), integers)
            expect_identical(seen(x, na = "keep", dtype = "int32"), integers)
            condition <- expect_error(seen(x, na = "error"), class = "pyrmap_loss")
            expect_identical(condition$index, 2)
            expect_match(conditionMessage(condition), "data\\[2\\] is NA.*na = \"nan\".*na = \"keep\"")
            expect_error(seen(x, na = "error", dtype = "float64"), class = "pyrmap_loss")
            expect_error(seen(x, dtype = "int32"), class = "pyrmap_loss")
            expect_error(seen(x, na = "keep", dtype = "int64"), class = "pyrmap_loss")
        }
        expect_identical(seen(5:7, na = "error"), integers)
        expect_identical(seen(c(TRUE, FALSE), na = "keep"), c(1L, utf8ToInt("b")))
    }
    expect_identical(run_python(c(10L, NA, 30L), answer("nanmean")), 20)
    expect_identical(run_python(c(10L, NA, 30L), answer("plus_one")), c(11, NA, 31))
    expect_identical(run_python(c(TRUE, NA, FALSE), answer("nanmean")), 0.5)
    expect_identical(run_python(c(10L, NA), answer("same"), na = "keep"), c(10L, NA))
    expect_identical(run_python(c(TRUE, NA), answer("same"), na = "keep"), c(1L, NA))
    m <- matrix(c(1L, NA, 3L, 4L), 2)
    expect_identical(run_python(m, answer("same")), m + 0)
    large <- rep(1L, 5e6)
    large[4999999] <- NA
    expect_identical(tryCatch(run_python(large, answer("same"), na = "error"), pyrmap_loss = function(e) e$index), 4999999)
    old <- options(pyrmap.na = "keep")
    on.exit(options(old))
    expect_identical(run_python(c(10L, NA), answer("described"))[1:2], integers)
    expect_error(run_python(1L, answer("same"), na = "drop"), "na must be")
})

test_that("NA in integer64 follows the same rule", {
    skip_if_not_installed("bit64")
    x <- bit64::as.integer64(c(5, NA, 7))
    expect_identical(run_python(x, answer("same")), c(5, NA, 7))
    expect_identical(run_python(x, answer("same"), na = "keep"), x)
    expect_identical(tryCatch(run_python(x, answer("same"), na = "error"), pyrmap_loss = function(e) e$index), 2)
    lossy(bit64::as.integer64(c(NA, "9007199254740993")), NULL, 2, "not exact in float64")
})

test_that("no Python warning comes from a missing integer", {
    expect_silent(run_python(c(1L, NA), answer("plus_one_strictly")))
})

test_that("what cannot be exchanged is refused, with what to pass instead, wherever it is", {
    refused <- function(x, member, pattern) {
        condition <- expect_error(run_python(x, answer("same")), class = "pyrmap_type_error")
        expect_match(conditionMessage(condition), paste0(member, " is of type .*", pattern))
        expect_identical(condition$member, gsub("\\\\", "", member))
    }
    refused(quote(x), "data", "symbol, .*deparse\\(x\\)")
    refused(quote(x + stop()), "data", "language, .*deparse\\(x\\)")
    refused(sum, "data", "builtin, .*leave it out")
    refused(list(1, model = list(fit = function(x) x)), "data\\$model\\$fit", "closure, .*leave it out")
    refused(list(1, list(globalenv())), "data\\[\\[2\\]\\]\\[\\[1\\]\\]", "environment, .*as.list\\(x\\)")
    refused(list(`a b` = list(t = as.POSIXlt("2020-01-01"))), "data\\$`a b`\\$t", "POSIXlt, .*as.POSIXct\\(x\\)")
    refused(structure(list(1), class = "lm"), "data", "lm, .*unclass\\(x\\)")
    refused(structure(list(a = 1, b = structure(1, class = "metres")), class = "data.frame", row.names = 1L), "data\\$b", "metres, .*unclass\\(x\\)")
    expect_error(run_python(array(1, c(1, 1, 1, 1, 1)), answer("same")), "5 dimensions, at most 4")
    expect_error(run_python(1, answer("same"), dtype = "float16"), "dtype must be one of .*\"uint8\"")
    expect_error(run_python(list(1), answer("same"), dtype = "int32"), "convert the members", class = "pyrmap_argument_error")
})

test_that("what is said to pass instead can be passed, and holds the same numbers", {
    matrix <- Matrix::sparseMatrix(i = c(1, 3), j = c(2, 2), x = TRUE)
    cases <- list(list(matrix, "as.matrix(x)", matrix(c(FALSE, FALSE, FALSE, TRUE, FALSE, TRUE), 3)),
                  list(methods::as(c(0, 4), "sparseVector"), "as.numeric(x)", c(0, 4)),
                  list(structure(60, class = "metres"), "unclass(x)", 60))
    for (case in cases) {
        x <- case[[1]]
        condition <- expect_error(run_python(x, answer("same")), class = "pyrmap_type_error")
        expect_match(conditionMessage(condition), case[[2]], fixed = TRUE)
        expect_identical(run_python(eval(str2lang(case[[2]])), answer("same")), case[[3]])
    }
    # An object of which nothing is known but that it is no vector.
    methods::setClass("opaque", representation(inner = "list"))
    expect_error(run_python(methods::new("opaque"), answer("same")), "opaque, which cannot.*list of the slots",
                 class = "pyrmap_type_error")
})
