# SPDX-License-Identifier: Apache-2.0
# Random vectors of every type, both ways. What comes back is used as base R code uses numbers, and compared with an
# ordinary vector of the same values used in the same way: identical() alone does not see what sapply() and c() make of it.

seed <- as.integer(Sys.time())
set.seed(seed)

uses <- list(
    itself = identity, c = function(v) c(v, 0.5), c_first = function(v) c(0.5, v), c_list = function(v) do.call(c, list(v, v)),
    unlist = function(v) unlist(list(v, v)), unlist_mixed = function(v) unlist(list(a = 1.5, b = v)),
    sapply = function(v) sapply(seq_along(v), function(i) v[i]), elements = function(v) sapply(v, function(e) e),
    vapply = function(v) vapply(seq_along(v), function(i) as.numeric(v[[i]]), 0), lapply = function(v) lapply(v, identity),
    collected = function(v) { into <- numeric(length(v)); for (i in seq_along(v)) into[i] <- v[i]; into },
    collected_list = function(v) { into <- list(); for (i in seq_along(v)) into[[i]] <- v[i]; simplify2array(into) },
    add = function(v) v + 1, subtract = function(v) 0.5 - v, multiply = function(v) v * 3L, divide = function(v) v / 4,
    negate = function(v) -v, compare = function(v) v > 1, equal = function(v) v == v[1], not = function(v) !v,
    index = function(v) letters[v %% 26 + 1], subset = function(v) v[c(2, 1, NA)], drop = function(v) v[-1],
    logical_index = function(v) v[v > 1 & !is.na(v)], which = function(v) which(v > 1), head = function(v) head(v, 3),
    assign = function(v) { v[2] <- 7; v }, assign_integer = function(v) { v[1] <- 5L; v },
    assign_na = function(v) { v[length(v)] <- NA; v }, assign_many = function(v) { v[v > 1 & !is.na(v)] <- 0.25; v },
    grow = function(v) { v[length(v) + 2] <- 1; v }, names = function(v) { names(v) <- seq_along(v); v["2"] },
    ifelse = function(v) ifelse(is.na(v) | v > 1, v, 0), sum = function(v) sum(v), sum_na = function(v) sum(v, na.rm = TRUE),
    sum_more = function(v) sum(v, 0.5), mean = function(v) mean(v), range = function(v) range(v),
    max = function(v) max(c(1.5, v)), cumsum = function(v) cumsum(v), rev = function(v) rev(v),
    order = function(v) order(v), sort = function(v) sort(v), table = function(v) table(v), unique = function(v) unique(v),
    paste = function(v) paste(v), paste_list = function(v) paste(list(v[1])), format = function(v) format(v),
    as_numeric = function(v) as.numeric(v), as_integer = function(v) suppressWarnings(as.integer(v)),
    as_logical = function(v) as.logical(v), is_na = function(v) is.na(v), any_na = function(v) anyNA(v),
    type = function(v) c(typeof(v), mode(v), class(v)), numeric = function(v) is.numeric(v), length = function(v) length(v),
    matrix = function(v) matrix(v, 1), rbind = function(v) rbind(v, 0.5), cbind = function(v) cbind(1L, v),
    row_sums = function(v) rowSums(matrix(v, 2, length(v), byrow = TRUE)), product = function(v) v %*% v,
    crossprod = function(v) crossprod(as.matrix(v)), outer = function(v) outer(v, 1:2), transposed = function(v) t(t(v)),
    apply = function(v) apply(as.matrix(v), 1, sum), Reduce = function(v) Reduce(`+`, v), Map = function(v) Map(`+`, v, 1),
    frame = function(v) { frame <- data.frame(v = as.vector(v)); frame$v[1] <- 1.5; frame$v },
    seq_len = function(v) seq_len(abs(v[1]) %% 5 + 1), rep = function(v) rep(v, 2), round = function(v) round(v),
    switch = function(v) if (isTRUE(v[1] > 0)) "positive" else "not", match = function(v) match(v, v[2]),
    serialize = function(v) unserialize(serialize(v, NULL)), write = function(v) writeBin(as.vector(v), raw()))

used <- function(use, v) tryCatch(suppressWarnings(use(v)), error = function(e) "an error")

# result: makes it anew. A use may turn it into an ordinary vector: some uses get one that nobody used before.
expect_uses <- function(result, expected, label, names = base::names(uses)) {
    first <- sample(names, 5)
    got <- result()
    for (name in c(first, sample(names))) {
        if (length(first) > 0)
            got <- result()
        first <- first[-1]
        info <- paste0(label, ", ", name, ", seed ", seed)
        expect_identical(used(uses[[name]], got), used(uses[[name]], expected), info = info)
    }
    expect_identical(got, expected, info = label)
}

whole <- function(n, low, high) as.numeric(sample(low:high, n, replace = TRUE))
ranges <- list(bool = c(0, 1), int8 = c(-128, 127), uint8 = c(0, 255), int16 = c(-32768, 32767), uint16 = c(0, 65535),
               int32 = c(-1e9, 1e9), uint32 = c(0, 2e9), int64 = c(-1e9, 1e9), uint64 = c(0, 1e9),
               float16 = c(-2048, 2048), float32 = c(-1e6, 1e6), float64 = c(-1e9, 1e9))
# What R has for each type of NumPy's.
as_r <- list(bool = as.logical, int8 = as.integer, uint8 = as.integer, int16 = as.integer, uint16 = as.integer,
             int32 = as.integer, uint32 = as.numeric, int64 = as.numeric, uint64 = as.numeric, float16 = as.numeric,
             float32 = as.numeric, float64 = as.numeric)

np_size <- function(dtype) switch(dtype, int8 = 4, bool = 4, int16 = 4, uint8 = 1, uint16 = 4, int32 = 4, float16 = 4, float32 = 4, 8)

for (dtype in names(ranges)) {
    test_that(paste("a result of", dtype, "is used as any vector"), {
        for (n in c(2, sample(3:40, 1))) {
            x <- whole(n, ranges[[dtype]][1], ranges[[dtype]][2])
            expect_uses(function() run_python(x, answer("as_dtype"), args = list(dtype)), as_r[[dtype]](x), dtype)
        }
    })
    test_that(paste("a large result of", dtype, "is used as any vector"), {
        n <- 1.3e5 / np_size(dtype) # no small one, which R may copy
        x <- whole(n, ranges[[dtype]][1], ranges[[dtype]][2])
        result <- function() run_python(x, answer("as_dtype"), args = list(dtype))
        expect_true(pyrmap_info(result())$mapped)
        expect_uses(result, as_r[[dtype]](x), dtype, setdiff(names(uses), "collected_list"))
    })
    test_that(paste("a matrix of", dtype, "is used as any matrix"), {
        x <- matrix(whole(12, ranges[[dtype]][1], ranges[[dtype]][2]), 3)
        expected <- x
        expected[] <- as_r[[dtype]](x)
        mode(expected) <- mode(as_r[[dtype]](x))
        storage.mode(expected) <- typeof(as_r[[dtype]](x))
        for (order in c("C", "F"))
            expect_uses(function() run_python(x, answer("ordered"), args = list(dtype, order)), expected, paste(dtype, order))
    })
}

test_that("Python's own numbers are used as any number", {
    scalars <- list("7" = 7, "-3" = -3, "True" = TRUE, "False" = FALSE, "2.5" = 2.5, "[1, 2, 3]" = c(1, 2, 3),
                    "[True, False]" = c(TRUE, FALSE), "[1, 2.5]" = c(1, 2.5), "(4, 5)" = c(4, 5), "2**53" = 2^53,
                    "len(x)" = 2, "x.argmax() + 1" = 2, "np.float32(0.5)" = 0.5, "np.uint8(200)" = 200L,
                    "[[1, 2], [3, 4]]" = matrix(c(1, 3, 2, 4), 2))
    for (code in names(scalars))
        expect_uses(function() run_python(c(1, 9), answer("evaluated"), args = list(code)), scalars[[code]], code)
})

# Random values of each of R's types: without NA and with.
r_types <- list(
    double = function(n) c(-0, Inf, sample(c(NA, NaN, -Inf, 2^60, 1e-300), 1), round(rnorm(n, sd = 1e4), 2)),
    integer = function(n) sample(c(-.Machine$integer.max, 0L, .Machine$integer.max, -50:50), n, replace = TRUE),
    logical = function(n) sample(c(TRUE, FALSE), n, replace = TRUE),
    integer_na = function(n) c(sample(-50:50, n, replace = TRUE), NA),
    logical_na = function(n) c(NA, sample(c(TRUE, FALSE), n, replace = TRUE)))

# What comes back from Python as it went: doubles where NumPy has no NA.
returned <- function(x) if (anyNA(x) && !is.double(x)) x + 0 else x

ways <- list(
    run_python = function(x) run_python(x, answer("same")),
    copied = function(x) run_python(x, answer("copied")),
    rows_first = function(x) run_python(x, answer("rows_first")),
    shared = function(x) run_python_shared_data(x, c(answer("described"), answer("same")))[[2]],
    pipeline = function(x) run_python_pipeline(x, c(answer("same"), answer("copied"))),
    intermediate = function(x) run_python_pipeline(x, c(answer("copied"), answer("described")), intermediate = TRUE)[[1]])

for (type in names(r_types)) {
    test_that(paste(type, "goes and comes back, whichever way"), {
        for (way in names(ways)) {
            x <- r_types[[type]](sample(2:30, 1))
            if (sample(2, 1) == 1)
                x <- matrix(x[rep_len(seq_along(x), 12)], 4)
            expect_uses(function() ways[[way]](x), returned(x), paste(type, way))
        }
    })
}

test_that("a stream's results are used as any vector", {
    stream <- pyrmap_pipeline(c(answer("same"), answer("copied")))
    on.exit(stream$close())
    for (type in names(r_types)) {
        x <- r_types[[type]](sample(2:30, 1))
        result <- function() {
            stream$push(x)
            stream$pull()
        }
        expect_uses(result, returned(x), type)
    }
})

test_that("a pyrmap_array is used as any vector, before it is passed on and after", {
    for (dtype in c("float64", "int32")) {
        x <- if (dtype == "int32") r_types$integer(20) else whole(20, -1e6, 1e6)
        result <- function() {
            array <- pyrmap_array(20, dtype)
            array[] <- x
            array
        }
        expect_uses(result, x, dtype)
        passed_on <- function() {
            array <- result()
            run_python(array, answer("total"))
            array
        }
        expect_uses(passed_on, x, dtype)
        expect_uses(function() run_python(result(), answer("same")), x, dtype)
    }
})

test_that("raw stays raw", {
    x <- as.raw(sample(0:255, 30, replace = TRUE))
    for (way in names(ways)) {
        y <- ways[[way]](x)
        expect_identical(y, x)
        expect_identical(c(y, y), c(x, x))
        expect_identical(as.integer(y), as.integer(x))
        expect_identical(y[c(3, 1)], x[c(3, 1)])
        expect_identical(xor(y, rev(y)), xor(x, rev(x)))
        expect_identical(rawToChar(y[y > 0x20 & y < 0x7f]), rawToChar(x[x > 0x20 & x < 0x7f]))
        y[2] <- as.raw(7)
        expect_identical(y[1:3], c(x[1], as.raw(7), x[3]))
    }
})

test_that("integer64 stays integer64 where it was", {
    skip_if_not_installed("bit64")
    x <- bit64::as.integer64(c("9007199254740993", "-5", "7", "4611686018427387905"))
    for (way in setdiff(names(ways), c("shared", "intermediate"))) {
        y <- ways[[way]](x)
        expect_identical(y, x)
        expect_identical(as.character(c(y, y)), as.character(c(x, x)))
        expect_identical(as.character(y + 1L), as.character(x + 1L))
        expect_identical(as.character(y[c(2, 4)]), as.character(x[c(2, 4)]))
        y[1] <- bit64::as.integer64("9007199254740995")
        expect_identical(as.character(y[1:2]), c("9007199254740995", "-5"))
    }
})

test_that("an image of bytes is numbers, with its dimensions", {
    image <- array(as.integer(0:11 * 20), c(2, 2, 3))
    for (order in c("C", "F")) {
        y <- run_python(image, answer("ordered"), args = list("uint8", order))
        expect_identical(y, image)
        expect_identical(y / 255, image / 255)
        expect_identical(sum(y), sum(image))
        expect_identical(mean(y), mean(image))
        expect_identical(apply(y, 3, max), apply(image, 3, max))
        expect_identical(y[2, 1, ], image[2, 1, ])
        expect_identical(dim(y[, , 1] * 2), c(2L, 2L))
    }
    expect_identical(run_python(image, answer("same"), dtype = "uint8"), image)
})

test_that("what is widened is widened once, on first need", {
    n <- 1e5
    for (dtype in c("uint8", "int64", "float32")) {
        y <- run_python(rep(c(1, 2), n), answer("as_dtype"), args = list(dtype))
        expect_identical(pyrmap_info(y)$copied, 0)
        expect_true(pyrmap_info(y)$mapped)
        expect_equal(sum(y), 3 * n)
        expect_equal(y[n], 2)
        expect_true(pyrmap_info(y)$mapped)
        y[1] <- y[2]
        expect_false(pyrmap_info(y)$mapped)
        expect_identical(pyrmap_info(y)$copied, 2 * n * if (dtype == "uint8") 4 else 8)
        expect_equal(y[1:3], c(2, 2, 1))
    }
})
