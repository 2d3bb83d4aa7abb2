# SPDX-License-Identifier: Apache-2.0
# A result that is the next input: its pages move, no byte is copied. The inode's number tells whose pages Python sees.

n <- 2e5
address <- function(x, ...) run_python(x, answer("address"), ...)
made <- function(code, x = runif(n)) run_python(x, answer("evaluated"), args = list(code))
frame <- "__import__('pandas').DataFrame({'a': x, 'b': x + 1, 'c': x + 2})"

# The inode behind a vector, or a list of such.
pages_of <- function(x) {
    while (is.list(x))
        x <- x[[1L]]
    as.numeric(system2("stat", c("-c", "%i", file.path(pyrmap_info(x)$slot, "data.bin")), stdout = TRUE))
}

expect_moved <- function(x) {
    expect_identical(address(x), pages_of(x))
    # As often as one likes, and what Python gets is what R sees.
    expect_identical(address(x), pages_of(x))
    expect_identical(run_python(x, answer("same")), x)
}

test_that("a vector that came from Python goes on without a copy", {
    expect_moved(run_python(runif(n), answer("plus_one")))
    expect_moved(run_python(matrix(runif(n), 4), answer("plus_one")))
    expect_moved(made("(x * 100).astype('i4')", runif(3e5)))
    expect_moved(made("np.resize(x > 0.5, 300000)"))
    expect_moved(run_python(as.raw(rep(1:200, 6000)), answer("same")))
    skip_if_not_installed("bit64")
    expect_moved(run_python(bit64::as.integer64(seq_len(n)), answer("plus_one")))
})

test_that("a list or data frame that came from Python goes on without a copy", {
    expect_moved(made(frame))
    expect_moved(made("{'X': x.reshape(-1, 4, order='F'), 'y': x > 0.5, 'more': [x + 1, 'text', None]}"))
    expect_moved(made("[x, x + 1]"))
    expect_moved(run_python(list(x = runif(n), f = factor(rep(c("u", "v"), n / 2)), s = rep(c("a", NA), 50)), answer("same")))
    expect_moved(run_python(data.frame(x = runif(n), i = c(NA, 2:n), d = as.Date("2000-01-01") + seq_len(n) %% 9999), answer("same")))
})

test_that("text that came from Python goes on without a copy, whether somebody has looked at it or not", {
    text <- rep_len(c("some text", NA, "\u00e4", ""), n)
    back <- run_python(text, answer("same"))
    expect_moved(back)
    expect_identical(back, text)
    expect_moved(back)
    changed <- back
    changed[4] <- "x"
    expect_false(address(changed) == pages_of(back))
    expect_identical(run_python(changed, answer("same")), replace(text, 4, "x"))
    expect_moved(run_python(data.frame(s = text), answer("same")))
})

test_that("several take it, one after the other or at once, and its own slot is free meanwhile", {
    x <- run_python(runif(n), answer("plus_one"))
    y <- run_python(x, answer("plus_one"))
    expect_identical(y, x + 1)
    expect_identical(address(x), pages_of(x))
    expect_identical(address(y), pages_of(y))
    for (result in run_python_shared_data(x, c(answer("address"), answer("address"))))
        expect_identical(result, pages_of(x))
    expect_identical(run_python_pipeline(x, c(answer("plus_one"), answer("total"))), sum(x + 1))
    d <- made(frame)
    for (result in run_python_shared_data(d, c(answer("address"), answer("address"))))
        expect_identical(result, pages_of(d))
    stages <- run_python_pipeline(x, c(answer("same"), answer("address")), intermediate = TRUE)
    expect_identical(address(stages[[1]]), pages_of(stages[[1]]))
    slot <- pyrmap_info(x)$slot
    rm(x)
    invisible(gc())
    expect_identical(file.size(file.path(slot, "data.bin")), 0)
    pyrmap_stop()
    expect_false(dir.exists(slot))
})

test_that("a result stays in its worker's slot until that is used again, and leaves it empty if R has dropped it by then", {
    made_again <- function() run_python(runif(n), answer("plus_one"))
    x <- made_again()
    state <- function() pyrmap:::slot_fields(pyrmap:::session$pool[[1]]$path)[["state"]]
    rm(x)
    invisible(gc())
    moves <- requests("rename")
    for (i in 1:3) {
        x <- made_again()
        expect_identical(state(), "DONE")
        rm(x)
        invisible(gc())
        expect_identical(state(), "IDLE")
    }
    expect_identical(requests("rename"), moves)
    x <- made_again()
    values <- x[c(1, n)]
    y <- made_again()
    expect_identical(requests("rename"), moves + 1)
    expect_identical(x[c(1, n)], values)
    # The slot goes before the vector.
    z <- run_python(runif(n), answer("plus_one"), isolation = "process")
    pyrmap_stop()
    expect_moved(z)
    expect_moved(x)
})

test_that("results that go one after the other take turns in the slots that hold them", {
    invisible(gc())
    for (i in 1:3)
        x <- run_python(runif(n), answer("plus_one"))
    invisible(gc())
    made <- requests("mkdir")
    slots <- slots_of(Sys.getpid())
    for (i in 1:5) {
        x <- run_python(i + runif(n), answer("plus_one"))
        invisible(gc())
    }
    expect_identical(requests("mkdir"), made)
    expect_identical(slots_of(Sys.getpid()), slots)
    expect_moved(x)
    # One that somebody has removed is not used.
    y <- run_python(runif(n), answer("plus_one"))
    spare <- pyrmap_info(y)$slot
    rm(y)
    invisible(gc())
    expect_identical(system2("rmdir", spare), 0L)
    for (i in 1:3)
        expect_moved(run_python(runif(n), answer("plus_one")))
})

test_that("what was changed is written anew, as it is now", {
    x <- run_python(runif(n), answer("plus_one"))
    before <- pages_of(x)
    x[3] <- 50
    expect_false(address(x) == before)
    expect_identical(run_python(x, answer("element"), args = list(2L)), 50)
    x <- run_python(runif(n), answer("plus_one"))
    before <- pages_of(x)
    dim(x) <- c(2, n / 2)
    expect_identical(address(x), before)
    dim(x) <- c(4, n / 4)
    expect_false(address(x) == before)
    expect_identical(run_python(x, answer("described"))[3:5], c(2L, 4L, as.integer(n / 4)))
    d <- made(frame)
    changes <- list(function(d) { d$a[2] <- 7; d }, function(d) { d$d <- 1; d }, function(d) { names(d)[1] <- "z"; d },
                    function(d) d[c("b", "a", "c")], function(d) { d$b <- NULL; d }, function(d) { row.names(d)[1] <- "r"; d },
                    function(d) d[-1, ], function(d) as.list(d), function(d) d["b"], function(d) { d$a <- -d$a; d })
    for (change in changes) {
        changed <- change(d)
        expect_false(address(changed) == pages_of(d))
        expect_identical(run_python(changed, answer("same")), changed)
        # And that changes nothing for the frame itself.
        expect_moved(d)
    }
    l <- made("{'a': x, 'b': {'c': x + 1}}")
    l$b$c[1] <- 5
    expect_false(address(l) == pages_of(l$a))
    expect_identical(run_python(l, answer("same")), l)
})

test_that("a store that R's copying does not see counts as well", {
    d <- made(frame)
    before <- pages_of(d)
    column <- d$a
    .Internal(inspect(column)) |> capture.output() |> expect_match("mapped", all = FALSE)
    # As C code does that asks R for a pointer to write to.
    sorted <- sort.int(column, method = "quick")
    expect_identical(address(d), before)
    expect_identical(run_python(d, answer("same")), d)
})

test_that("what R would write in another way goes as R has it", {
    sees <- function(x) run_python(x, answer("evaluated"), args = list("[str(x['n'].dtype), str(x['x'].dtype)]"))
    for (code in c("{'n': x.astype('i8'), 'x': x}", "{'n': x.astype('f4'), 'x': x}")) {
        x <- made(code)
        expect_identical(sees(x), c("float64", "float64"))
    }
    kind <- function(x) run_python(x, answer("evaluated"), args = list("type(x).__name__"))
    expect_identical(kind(made("(x, x)")), "list")
    expect_identical(kind(run_python(made("(x * 9).astype('i4') * 0 + np.int32(-2**31)"), answer("same"))), "ndarray")
    # na = "error" looks at the values.
    x <- run_python(data.frame(x = runif(n), i = c(NA, 2:n)), answer("same"))
    expect_error(run_python(x, answer("same"), na = "error"), "NA at \\[1\\]")
    # Arguments travel in one bundle with it.
    d <- made(frame)
    expect_false(address(d, args = list()) != pages_of(d))
    expect_identical(run_python(d, answer("evaluated"), args = list("float(x['a'].sum())")), sum(d$a))
})
