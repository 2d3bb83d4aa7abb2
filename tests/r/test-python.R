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
    expect_identical(seen(c(1, 2.5), I(3L), list(1L, "b")), "([1.0, 2.5], [3], [1, 'b'])[]")
    expect_identical(seen(b = 2L, a = list(x = 1L)), "()[('a', {'x': 1}), ('b', 2)]")
    expect_identical(seen(0.1, 1e300, 1e5, NaN, -Inf), "(0.1, 1e+300, 100000.0, nan, -inf)[]")
    expect_identical(seen(c(a = 1L)), "(1,)[]")
    expect_identical(run_python(c(1, 2), answer("scaled"), args = list(10, offset = 1)), c(11, 21))
    expect_error(run_python(1, answer("joined"), args = list(Sys.Date())), "class Date")
    expect_error(run_python(1, answer("joined"), args = list(sum)), "cannot be passed")
})

test_that("arguments may be long", {
    text <- strrep("x", 1e5)
    seen <- run_python(1, answer("joined"), args = list(text))
    expect_length(seen, 1e5 + 7)
})

test_that("each run sees a fresh module and the script as it is now", {
    expect_identical(as.numeric(run_python(1, answer("count_runs"))), 1)
    expect_identical(as.numeric(run_python(1, answer("count_runs"))), 1)
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

test_that("what Python prints and warns is in R's console as it happens", {
    output <- capture.output(run_python(1, answer("talk")))
    expect_identical(output[1], "on stdout: \u00e4")
    messages <- capture.output(invisible(run_python(1, answer("talk"))), type = "message")
    expect_true("on stderr" %in% messages)
    expect_true(any(grepl("UserWarning: a warning", messages)))
    # Before the run is over: it only ends when the file is there, which is made once the text has come.
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

test_that("the server does not import from the current directory", {
    directory <- tempfile()
    dir.create(directory)
    old <- setwd(directory)
    on.exit(setwd(old))
    writeLines("raise SystemExit('the wrong json')", "json.py")
    writeLines("raise SystemExit('the wrong numpy')", "numpy.py")
    pyrmap_stop()
    expect_identical(run_python(1, answer("plus_one")), 2)
})
