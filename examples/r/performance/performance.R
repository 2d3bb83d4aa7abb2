# SPDX-License-Identifier: Apache-2.0
#
# Rscript performance.R [ELEMENTS] - what a call costs: small, large, and large without any copy. Times go to stderr.
library(pyrmap)

script <- "../../python/performance/echo.py"
arguments <- commandArgs(TRUE)
elements <- if (length(arguments)) as.numeric(arguments[[1]]) else 1e6

seconds <- function(expression, times) {
    taken <- vapply(seq_len(times), function(i) system.time(expression())[["elapsed"]], 0)
    median(taken)
}

small <- as.double(1:10)
stopifnot(identical(as.vector(run_python(small, script)), small + 1))
calls <- 500
took <- system.time(for (i in seq_len(calls)) run_python(small, script))[["elapsed"]] / calls
message(sprintf("10 doubles: %.2f ms a call", 1e3 * took))

large <- seq_len(elements) / 7
result <- run_python(large, script)
cat("x + 1 comes back:", identical(as.vector(result), large + 1), "\n")
cat("the result is mapped:", pyrmap_info(result)$mapped, "\n")
rm(result)
message(sprintf("%g doubles: %.1f ms", elements, 1e3 * seconds(function() run_python(large, script), 5)))

taken <- vapply(1:5, function(i) {
    x <- pyrmap_array(elements)
    x[] <- large
    system.time(run_python(x, script))[["elapsed"]]
}, 0)
message(sprintf("%g doubles, filled in place: %.1f ms", elements, 1e3 * median(taken)))

x <- pyrmap_array(elements)
x[] <- large
cat("x + 1 of an array filled in place:", identical(as.vector(run_python(x, script)), large + 1), "\n")
cat("bytes copied to pass it on:", pyrmap_info(x)$copied, "\n")
