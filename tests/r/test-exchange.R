# SPDX-License-Identifier: Apache-2.0
# Lists, tables, text and times through Python, and what Python makes of them.

same <- answer("same")

test_that("lists, frames, text and times come back as they were", {
    unchanged <- function(x) expect_identical(run_python(x, same), x)
    for (x in list(iris, iris[51:60, ], mtcars, data.frame(), data.frame(a = integer()), "a", c("a", NA, "\u00e4\n"), character(),
                   factor(c("b", NA), levels = c("b", "never")), factor("low", c("low", "high"), ordered = TRUE), NULL, 2 + 3i,
                   matrix(c(1i, NA), 1), Sys.Date(), as.Date(c("1969-12-31", NA)), as.POSIXct("2020-07-01 10:00:00.5", tz = "UTC"),
                   as.POSIXct("2020-07-01 10:00", tz = "Europe/Berlin"), as.difftime(c(1.5, NA), units = "hours"), list(X = matrix(1:6 / 2, 2), y = factor(c("a", "b"))), list(1, "a", NULL),
                   list(a = list(b = list(TRUE, as.raw(1:3)))), list(m = matrix(c("a", "b", "c", "d"), 2)),
                   list(1:3, 4:6), array(letters[1:8], c(2, 2, 2))))
        unchanged(x)
    types <- data.frame(i = c(1L, NA), l = c(NA, TRUE), d = c(NA, -0), n = c(NaN, 2), t = as.POSIXct(c("2020-07-01", NA), tz = "Europe/Berlin"),
                        s = c(NA, "x"), f = factor(c("u", NA)), w = as.Date(c(NA, "2020-01-01")))
    unchanged(types)
    skip_if_not_installed("bit64")
    unchanged(list(n = bit64::as.integer64(c("9007199254740993", "1")), r = as.raw(7)))
    skip_if_not_installed("Matrix")
    unchanged(Matrix::sparseMatrix(i = c(1, 3), j = c(2, 2), x = c(5, 7)))
})

# What NumPy has no place for: missing integers outside of tables.
carried <- function(x) {
    if (is.data.frame(x) || is.null(x))
        return(x)
    if (is.list(x))
        return(lapply(x, carried))
    if (is.numeric(x) && !is.object(x) && is.integer(x) && anyNA(x) || is.logical(x) && anyNA(x))
        storage.mode(x) <- "double"
    x
}

random_column <- function(rows) {
    some <- function(values) sample(values, rows, TRUE)
    switch(sample(9, 1), some(c(rnorm(5), NA, NaN, Inf, -0)), some(c(1:5, NA)), some(c(TRUE, FALSE, NA)), some(c("a", "", "\u00e4\u20ac", NA)),
           factor(some(c("b", "a", NA)), levels = c("b", "a", "never")), factor(some(c("low", "high")), c("low", "high"), ordered = TRUE),
           structure(some(c(0, 19000, NA)), class = "Date"), as.POSIXct(some(c(0.25, 1.7e9, NA)), origin = "1970-01-01", tz = "Europe/Berlin"),
           complex(real = some(c(1.5, 0)), imaginary = rnorm(rows)))
}

random_member <- function(depth = 0) {
    if (runif(1) < 0.3 && depth < 3) {
        x <- lapply(seq_len(sample(4, 1)), function(i) random_member(depth + 1))
        return(structure(x, names = make.unique(sample(c("a", "b.c", "\u00e4", "a \"b\"", "__metadata__"), length(x), TRUE))))
    }
    rows <- sample(c(0, 1, 7, 300), 1)
    if (runif(1) < 0.4) {
        columns <- lapply(seq_len(sample(6, 1)), function(i) random_column(rows))
        return(structure(columns, names = paste("column", seq_along(columns)), class = "data.frame", row.names = seq_len(rows)))
    }
    x <- if (runif(1) < 0.1) as.raw(sample(0:255, rows, TRUE)) else random_column(rows)
    if (runif(1) < 0.3 && !is.object(x) && rows > 0)
        dim(x) <- c(rows, 1, 1)[seq_len(sample(3, 1))]
    if (runif(1) < 0.2 && is.null(dim(x)))
        names(x) <- make.unique(rep("n", rows))
    x
}

test_that("random lists and frames come back bit for bit, but for what Python has no place for", {
    set.seed(8)
    for (i in 1:60) {
        x <- list(first = random_member(), second = random_member())
        back <- run_python(x, same)
        expect_identical(back, carried(x), num.eq = FALSE, info = paste("the example of number", i))
    }
})

test_that("Python gets a dict, a list, a table, text and times", {
    seen <- function(x, code) run_python(x, answer("described_by"), args = list(code))
    expect_identical(seen(list(X = 1:2, y = "a"), "[type(x).__name__, ','.join(x), str(x['X'].dtype), repr(x['y'])]"), c("dict", "X,y", "int32", "'a'"))
    expect_identical(seen(list(1, NULL), "[type(x).__name__, str(len(x)), repr(x[1])]"), c("list", "2", "None"))
    expect_identical(seen(Sys.Date(), "str(x.dtype)"), "datetime64[D]")
    expect_identical(seen(c("a", NA), "repr(x.tolist())"), "['a', None]")
    expect_identical(seen(NULL, "repr(x)"), "None")
    expect_identical(seen(list(m = matrix(1:6, 2)), "str(x['m'].tolist())"), "[[1, 3, 5], [2, 4, 6]]")
    # A store reaches neither R's list nor the pages that others see.
    x <- list(a = c(1, 2, 3))
    expect_identical(run_python(x, answer("add_in_place")), list(a = c(2, 3, 4)))
    expect_identical(x, list(a = c(1, 2, 3)))
})

test_that("what Python returns comes as R's own types", {
    made <- function(code) run_python(1, answer("evaluated_to"), args = list(code))
    expect_identical(made("{'labels': ['a', 'b'], 'p': np.eye(2), 'n': 3, 'none': None}"),
                     list(labels = c("a", "b"), p = diag(2), n = 3, none = NULL))
    expect_identical(made("(np.arange(2.0), np.ones((2, 2), 'i4'))"), list(c(0, 1), matrix(1L, 2, 2)))
    expect_identical(made("'done'"), "done")
    expect_identical(made("None"), NULL)
    expect_identical(made("b'ab'"), charToRaw("ab"))
    expect_identical(made("{'u': np.arange(2, dtype='u1'), 'h': np.array([1.5], 'f2'), 's': np.array([7], 'i2'), 'b': np.array([True])}"),
                     list(u = 0:1, h = 1.5, s = 7L, b = TRUE))
    expect_identical(made("{'c': np.arange(6).reshape(2, 3), 'd': np.arange(24.).reshape(2, 3, 4)}"),
                     list(c = matrix(as.double(0:5), 2, byrow = TRUE), d = aperm(array(as.double(0:23), 4:2))))
    condition <- expect_error(made("{'ids': np.array([1, 2**53 + 1])}"), class = "pyrmap_loss")
    expect_match(conditionMessage(condition), "result$ids has 9007199254740993 as element 2, which is not exact", fixed = TRUE)
    old <- options(pyrmap.int64 = "integer64")
    on.exit(options(old))
    skip_if_not_installed("bit64")
    expect_identical(made("{'ids': np.array([1, 2**53 + 1])}"), list(ids = bit64::as.integer64(c("1", "9007199254740993"))))
})

test_that("large columns are mapped, small ones are not, and one mapping serves all", {
    n <- 1e5
    x <- list(a = runif(n), b = seq_len(n) + 0L, s = as.character(1:5), small = c(1, 2))
    back <- run_python(x, same)
    expect_identical(back, x)
    expect_true(pyrmap_info(back$a)$mapped)
    expect_true(pyrmap_info(back$b)$mapped)
    expect_identical(pyrmap_info(back$a)$copied, 0)
    expect_identical(pyrmap_info(back$a)$slot, pyrmap_info(back$b)$slot)
    expect_false(pyrmap_info(back$small)$mapped)
    # None of the results that are mapped now existed before.
    results <- function() sum(grepl("/(data|result)\\.|/arrays/s[0-9]|memfd:", readLines("/proc/self/maps")))
    rm(back)
    gc()
    before <- results()
    back <- run_python(x, same)
    expect_identical(results() - before, 1L)
    back$a[1] <- 5
    expect_identical(back$a[2:n], x$a[2:n])
    expect_identical(back$b, x$b)
    keep <- back$b
    rm(back)
    gc()
    expect_identical(keep, x$b)
})

test_that("large arguments travel with the input, and whatever they are", {
    y <- runif(2e4)
    expect_identical(run_python(y, answer("second"), args = list(y)), y)
    expect_identical(run_python(list(1), answer("second"), args = list(y = iris)), iris)
    expect_identical(run_python(1, answer("second"), args = list(Sys.Date())), Sys.Date())
    expect_identical(run_python(y, answer("sum_of"), args = list(2L, w = y, by = 3)), sum(y) * 2)
    seen <- as_text(run_python(1, answer("joined"), args = list(list(a = 1, b = 2L, c = "x", d = TRUE, when = factor("f")), 5L)))
    expect_match(seen, "{'a': 1.0, 'b': 2, 'c': 'x', 'd': True, 'when': ", fixed = TRUE)
    expect_match(seen, ", 5)[]", fixed = TRUE)
    expect_identical(run_python(c(1L, NA), answer("same_of_two"), args = list(y)), c(1, NA))
    expect_identical(run_python(c(TRUE, FALSE), answer("same_of_two"), args = list(y)), c(TRUE, FALSE))
    expect_identical(run_python(as.raw(1:3), answer("same_of_two"), args = list(y)), as.raw(1:3))
    expect_identical(run_python(matrix(1:4, 2), answer("same_of_two"), args = list(y), dtype = "float32"), matrix(c(1, 2, 3, 4), 2))
    expect_error(run_python(c(1, 2.5), answer("same_of_two"), args = list(y), dtype = "int32"), "data\\[2\\] = 2.5", class = "pyrmap_loss")
    expect_identical(run_python(1, answer("same_of_two"), args = list(y)), 1)
})

test_that("bundles go through shared data, pipelines, streams and large segments", {
    x <- list(a = runif(3e5), b = letters)
    expect_identical(unname(run_python_shared_data(x, c(same, same))), list(x, x))
    expect_identical(run_python_pipeline(x, c(same, same)), x)
    both <- run_python_pipeline(list(1, "a"), c(answer("nothing"), same), intermediate = TRUE)
    expect_identical(unname(both), list(NULL, NULL))
    expect_identical(names(both), c("answers::nothing", "answers::same"))
    pipeline <- pyrmap_pipeline(c(same, same))
    on.exit(pipeline$close())
    for (i in 1:3)
        pipeline$push(list(i = i, text = strrep("x", i)))
    pipeline$push("alone")
    for (i in 1:3)
        expect_identical(pipeline$pull(), list(i = i, text = strrep("x", i)))
    expect_identical(pipeline$pull(), "alone")
})

test_that("a result of the input's shape keeps names and dimnames, any other has none", {
    unchanged <- function(x) expect_identical(run_python(x, same), x, num.eq = FALSE)
    unchanged(c(a = 1.5, b = 2))
    unchanged(c(a = 1L, a = 2L))
    unchanged(c(x = "text", y = NA))
    unchanged(c(yes = TRUE))
    unchanged(matrix(1:6, 2, dimnames = list(c("r", "s"), NULL)))
    unchanged(matrix(runif(6), 2, dimnames = list(row = c("r", "s"), column = letters[1:3])))
    unchanged(array(c(1.5, 2), 2, dimnames = list(k = c("u", "v"))))
    unchanged(list(v = c(a = 1, b = 2), m = matrix(1:2, 1, dimnames = list("r", c("c", "d"))), inner = list(c(z = TRUE), "plain")))
    unchanged(list(c(a = 1), 2))
    unchanged(structure(runif(20000), names = as.character(1:20000)))
    expect_identical(run_python(c(a = 1, b = 2), answer("plus_one")), c(a = 2, b = 3))
    m <- matrix(1:6 + 0.5, 2, dimnames = list(c("r", "s"), letters[1:3]))
    evaluate <- function(x, code) run_python(x, answer("evaluated"), args = list(code))
    expect_identical(evaluate(m, "x.T"), unname(t(m)))
    expect_identical(evaluate(m, "x.ravel()[:2]"), c(1.5, 3.5))
    expect_identical(evaluate(c(a = 1, b = 2), "x[:1]"), 1)
    expect_identical(evaluate(c(a = 1, b = 2), "x.reshape(1, 2)"), matrix(c(1, 2), 1))
    expect_identical(evaluate(c(a = 1, b = 2), "__import__('pandas').Series(x, ['c', 'd'])"), c(c = 1, d = 2))
    expect_identical(evaluate(list(v = c(a = 1, b = 2), w = 3), "{'w': x['w'], 'v': x['v'] * 2}"), list(w = 3, v = c(a = 2, b = 4)))
    expect_identical(evaluate(list(v = c(a = 1, b = 2)), "[x['v']]"), list(c(1, 2)))
    # It travels as the array that it would be without.
    expect_identical(evaluate(c(a = 1, b = 2), "[type(x).__name__, str(x.dtype), str(x.shape)]"), c("ndarray", "float64", "(2,)"))
    expect_identical(run_python_pipeline(c(a = 1, b = 2), c(answer("plus_one"), answer("total"), answer("same")), intermediate = TRUE),
                     list("answers::plus_one" = c(a = 2, b = 3), "answers::total" = 5, "answers::same" = 5))
})

test_that("a large text is made of strings as they are looked at, and is as any other", {
    n <- 30000
    words <- c("", "a", "\u00e4\u20ac", NA, "longer than most of the others", "b")
    x <- rep_len(words, n)
    text <- function() run_python(x, same)
    expect_identical(unclass(pyrmap_info(text()))[c("mapped", "copied", "dtype")], list(mapped = TRUE, copied = 0, dtype = "character"))
    uses <- list(whole = identity, first = function(v) v[1], some = function(v) v[c(n, 3, 4, 5, NA)], lengths = nchar, missing = is.na, any = anyNA,
                 order = function(v) sort(v), unique = unique, matched = function(v) match(c("b", NA, "no"), v), joined = function(v) paste0(v, "x"),
                 changed = function(v) { v[2] <- "z"; v[n] <- ""; v }, emptied = function(v) { v[] <- ""; v }, named = function(v) { names(v) <- seq_along(v); v["3"] },
                 saved = function(v) unserialize(serialize(v, NULL)), factor = factor, equal = function(v) v == x, encoded = Encoding,
                 grown = function(v) { v[n + 2] <- "end"; v }, twice = function(v) { w <- v; w[1] <- "other"; c(v[1], w[1]) },
                 by_element = function(v) vapply(1:50, function(i) v[[i]], ""), backwards = rev)
    for (name in names(uses))
        expect_identical(uses[[name]](text()), uses[[name]](x), info = name)
    v <- text()
    v[7]
    invisible(gc())
    expect_identical(v[1:12], x[1:12])
    expect_identical(v, x)
    expect_false(pyrmap_info(text())$copied > 0)
    with_dim <- matrix(x, 3)
    expect_identical(run_python(with_dim, same), with_dim)
    expect_identical(run_python(data.frame(s = x, n = seq_len(n)), same), data.frame(s = x, n = seq_len(n)))
    without <- rep_len(c("a", "b"), n)
    back <- run_python(without, same)
    expect_false(anyNA(back))
    back[5] <- NA
    expect_true(anyNA(back))
    expect_identical(which(is.na(back)), 5L)
})
