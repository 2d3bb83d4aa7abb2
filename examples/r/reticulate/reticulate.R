# SPDX-License-Identifier: Apache-2.0
#
# Rscript reticulate.R [ELEMENTS] - the same function through pyrmap and through reticulate. Times go to stderr.
library(pyrmap)

script <- "../../python/reticulate/plus_one.py"
arguments <- commandArgs(TRUE)
elements <- if (length(arguments)) as.numeric(arguments[[1]]) else 1e6

reticulate::use_python("/usr/bin/python3", required = TRUE)
python <- new.env()
reticulate::source_python(script, envir = python)

# A plain vector would become a list for reticulate.
x <- array(seq_len(elements) / 7)
ours <- run_python(x, paste0(script, "::plus_one"))
theirs <- python$plus_one(x)
cat("the same result:", identical(as.vector(ours), as.vector(theirs)), "\n")
rm(ours, theirs)

seconds <- function(call) median(vapply(1:5, function(i) system.time(sum(call()))[["elapsed"]], 0))
message(sprintf("%g doubles: pyrmap %.1f ms, reticulate %.1f ms", elements,
                1e3 * seconds(function() run_python(x, paste0(script, "::plus_one"))),
                1e3 * seconds(function() python$plus_one(x))))
