# SPDX-License-Identifier: Apache-2.0
# A client that uses the R package and compares every value: trader.R ROLE MOUNT SEED DIARY. See trader.py for the diary.
#
# - calls: run_python with vectors, matrices and tables of many sizes.
# - pipeline: pyrmap_pipeline with two stages, several inputs under way, made anew now and then.

argument <- commandArgs(TRUE)
mount <- argument[2L]
diary <- argument[4L]
suppressPackageStartupMessages(library(pyrmap))
set.seed(as.integer(argument[3L]))

script <- tempfile(fileext = ".py")
writeLines(c("def turned(x):",
             "    return {name: -x[name] for name in x} if isinstance(x, dict) else -x",
             "def twice(x):",
             "    return x * 2"), script)

is_over <- function() readBin(diary, "raw", 16L)[9L] != 0

steps <- 0L
step <- function() {
    steps <<- steps + 1L
    file <- file(diary, "r+b")
    on.exit(close(file))
    seek(file, 0, rw = "write")
    writeBin(c(steps, 0L), file)
}

expect <- function(got, right, what) {
    if (!identical(got, right))
        stop("Surprise: step ", steps + 1L, ": ", what, " came back as something else")
}

vector_of <- function() stats::rnorm(sample(c(1L, 10L, 248L, 249L, 5000L, 40000L, 250000L), 1L))

calls <- function() {
    x <- switch(sample(5L, 1L), matrix(stats::rnorm(600L), 20L), list(a = stats::rnorm(50L), b = stats::rnorm(3000L)), vector_of(), vector_of(),
                vector_of())
    y <- run_python(x, paste0(script, "::turned"), mount = mount, timeout = 60)
    expect(y, if (is.list(x)) lapply(x, `-`) else -x, paste(class(x)[1L], "of", length(x)))
    step()
}

pipeline <- NULL
stages <- function() {
    if (is.null(pipeline))
        pipeline <<- pyrmap_pipeline(paste0(script, "::", c("turned", "twice")), mount = mount, timeout = 60)
    inputs <- replicate(5L, vector_of(), simplify = FALSE)
    for (x in inputs)
        pipeline$push(x)
    for (x in inputs)
        expect(pipeline$pull(), -x * 2, paste("an input of", length(x)))
    step()
    if (steps %% 500L == 0L) {
        pipeline$close()
        pipeline <<- NULL
    }
}

turn <- switch(argument[1L], calls = calls, pipeline = stages)
while (!is_over())
    turn()
if (!is.null(pipeline))
    pipeline$close()
pyrmap_stop()
