# SPDX-License-Identifier: Apache-2.0
# Scripts, functions, their arguments, environment and output.

script_with <- function(...) {
    file <- tempfile(fileext = ".py")
    writeLines(c(...), file)
    file
}

test_that("a whole script runs, with arguments in sys.argv", {
    expect_identical(as.vector(run_python(c(1, 2), "scripts/whole.py")), c(3, 0))
    expect_identical(as.vector(run_python(c(1, 2), "scripts/whole.py", args = list(4, 7L))), c(3, 2, 4, 7))
    expect_error(run_python(1, "scripts/whole.py", args = list(by = 1)), "whole.py::function")
})

test_that("PyRMap's way of calling works", {
    input_data <- seq(1:10)
    result <- run_python(
        data = input_data,
        python_script_path = "scripts/whole.py",
    )
    expect_identical(as.numeric(result), c(55, 0))
    results <- run_python_shared_data(data = input_data, python_scripts_paths = rep(answer("same"), 2), path = "RAM")
    expect_identical(unlist(unname(results)), rep(1:10, 2))
    result <- run_python_pipeline(
        initial_data = input_data,
        required_intermediate_results = TRUE,
        python_scripts_paths = c(answer("plus_one"), answer("plus_one")),
    )
    expect_identical(unlist(unname(result)), c(2:11, 3:12))
})

test_that("arguments arrive as they are in R", {
    seen <- function(...) as_text(run_python(1, answer("joined"), args = list(...)))
    expect_identical(seen(), "()[]")
    expect_identical(seen(1, 2L, TRUE, NULL, NA, "a\"\u00e4\n"), "(1.0, 2, True, None, None, 'a\"\u00e4\\n')[]")
    expect_identical(seen(c(1, 2.5), I(3L), list(1L, "b")), "(array([1. , 2.5]), array([3], dtype=int32), [1, 'b'])[]")
    expect_identical(seen(b = 2L, a = list(x = 1L)), "()[('a', {'x': 1}), ('b', 2)]")
    expect_identical(seen(0.1, 1e300, 1e5, NaN, -Inf), "(0.1, 1e+300, 100000.0, nan, -inf)[]")
    expect_identical(seen(c(a = 1L)), "(1,)[]")
    expect_identical(run_python(c(1, 2), answer("scaled"), args = list(10, offset = 1)), c(11, 21))
    refused <- expect_error(run_python(1, answer("joined"), args = list(1, by = list(f = sum))), class = "pyrmap_type_error")
    expect_match(conditionMessage(refused), "args$by$f is of type builtin", fixed = TRUE)
})

test_that("a matrix or array among the arguments stays one", {
    expect_identical(run_python(c(1, 1), answer("times_matrix"), args = list(w = matrix(c(1, 2, 3, 4), 2))), c(3, 7))
    expect_identical(run_python(c(1, 1), answer("times_matrix"), args = list(matrix(c(1, 2, 3, 4, 5, 6), 2))), c(3, 7, 11))
    seen <- function(...) as_text(run_python(1, answer("arrays"), args = list(...)))
    expect_identical(seen(matrix(1:6, 2)), "int32 (2, 3) [[1, 3, 5], [2, 4, 6]]; ")
    expect_identical(seen(array(1:8 / 2, c(2, 2, 2))),
                     "float64 (2, 2, 2) [[[0.5, 2.5], [1.5, 3.5]], [[1.0, 3.0], [2.0, 4.0]]]; ")
    expect_identical(seen(w = matrix(c(TRUE, FALSE), 1), v = matrix(5)), "bool (1, 2) [[True, False]]; float64 (1, 1) [[5.0]]; ")
    expect_identical(seen(matrix(c(1L, NA), 1), matrix(c(NA, 2.5), 1), matrix(c(NA, TRUE), 1)),
                     "float64 (1, 2) [[1.0, nan]]; float64 (1, 2) [[nan, 2.5]]; float64 (1, 2) [[nan, 1.0]]; ")
    expect_identical(seen(matrix(c("a", "\"b", "c", "d\u00e4"), 2)), "object (2, 2) [['a', 'c'], ['\"b', 'd\u00e4']]; ")
    expect_identical(seen(matrix(c("a", NA), 1)), "object (1, 2) [['a', None]]; ")
    expect_identical(seen(c("a", NA), 1:3, numeric(), c(TRUE, NA)),
                     "object (2,) ['a', None]; int32 (3,) [1, 2, 3]; float64 (0,) []; float64 (2,) [1.0, nan]; ")
    expect_identical(seen(matrix(0, 0, 3), matrix(0L, 2, 0), array(1:3, 3)),
                     "float64 (0, 3) []; int32 (2, 0) [[], []]; int32 (3,) [1, 2, 3]; ")
    expect_identical(seen(list(a = 1L, b = list(matrix(1:2, 1), "x"))), "dict {'a': 1, 'b': [array([[1, 2]], dtype=int32), 'x']}; ")
    expect_error(run_python(1, answer("arrays"), args = matrix(1:4, 2)), "list\\(x\\)", class = "pyrmap_argument_error")
    m <- matrix(rnorm(600), 20)
    expect_identical(run_python(1, answer("second"), args = list(m)), m)
    expect_identical(run_python_shared_data(1, rep(answer("second"), 2), args = list(list(m), list(t(m)))),
                     list(`answers::second` = m, `answers::second.1` = t(m)))
    skip_if_not_installed("bit64")
    big <- bit64::as.integer64(c("9007199254740993", "1"))
    dim(big) <- c(1, 2)
    expect_identical(seen(big), "int64 (1, 2) [[9007199254740993, 1]]; ")
})

test_that("arguments may be long", {
    text <- strrep("x", 1e5)
    seen <- run_python(1, answer("joined"), args = list(text))
    expect_length(seen, 1e5 + 7)
})

test_that("each run sees the script as it is now", {
    script <- script_with("def f(x): return x + 1")
    f <- paste0(script, "::f")
    expect_identical(run_python(1, f), 2)
    writeLines("def f(x): return x + 10", script)
    expect_identical(run_python(1, f), 11)
    writeLines("def f(x): return x + 20", script)
    expect_identical(run_python(1, f), 21)
    unlink(script)
    expect_error(run_python(1, f), class = "pyrmap_missing_script")
})

test_that("environment and directory", {
    expect_identical(as_text(run_python(1, answer("environment"), args = list("PYRMAP_TEST"))), "(unset)")
    expect_identical(as_text(run_python(1, answer("environment"), args = list("PYRMAP_TEST"),
                                        env = c(PYRMAP_TEST = "a b"))), "a b")
    expect_identical(as_text(run_python(1, answer("environment"), args = list("HOME"), env = c(HOME = NA))), "(unset)")
    expect_error(run_python(1, answer("same"), env = "a"), "must have names and one text")
    old <- setwd(tempdir())
    on.exit(setwd(old))
    expect_identical(as_text(run_python(1, answer("directory"))), normalizePath(tempdir()))
})

test_that("a path may be relative, with a tilde, spaces and other letters", {
    directory <- file.path(tempdir(), "with sp\u00e4ce \"quoted\"")
    dir.create(directory)
    old <- setwd(directory)
    on.exit(setwd(old))
    writeLines("def f(x): return x + 1", "a script.py")
    expect_identical(run_python(1, "a script.py::f"), 2)
    expect_identical(run_python(1, "./a script.py::f"), 2)
})

test_that("what Python prints is in R's console as it happens", {
    expect_warning(output <- capture.output(run_python(1, answer("talk"))), "UserWarning: a warning")
    expect_identical(output[1], "on stdout: \u00e4")
    messages <- suppressWarnings(capture.output(invisible(run_python(1, answer("talk"))), type = "message"))
    expect_true("on stderr" %in% messages)
    # The run waits for a file that nobody makes, so the text has come before the run has ended.
    file <- tempfile()
    shown <- character()
    sink(textConnection("shown", "w", local = TRUE))
    result <- tryCatch(run_python(1, answer("talk_and_wait"), args = list(file), timeout = 1),
                       pyrmap_timeout = function(e) "timeout")
    sink()
    expect_identical(result, "timeout")
    expect_identical(shown, "waiting")
    expect_length(capture.output(run_python(1, answer("chatter"), args = list(5000L))), 5001)
})

test_that("a worker does not import from the current directory", {
    directory <- tempfile()
    dir.create(directory)
    old <- setwd(directory)
    on.exit(setwd(old))
    writeLines("raise SystemExit('the wrong json')", "json.py")
    writeLines("raise SystemExit('the wrong numpy')", "numpy.py")
    pyrmap_stop()
    expect_identical(run_python(1, answer("plus_one")), 2)
})
