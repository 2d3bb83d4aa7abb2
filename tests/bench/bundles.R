# SPDX-License-Identifier: Apache-2.0
#
# bundles.R METHOD CASE REPEATS - a line `seconds S` for each time that a value goes to Python and comes back as it was.
#
# METHOD: pyrmap, reticulate (r_to_py and py_to_r, in this process), rds (saveRDS and readRDS, R alone)
# CASE:   ten        ten doubles as a plain array: the cost of an exchange without a bundle
#         iris       R's iris
#         columns    a data frame of ten columns of a million doubles
#         sums       the same data frame goes, the sums of its columns come back
#         again      the same data frame goes as a result of Python that R passes on
#         text       a million strings, half of them different
#         dates      a million Dates
#         factor     a factor of a million
arguments <- commandArgs(trailingOnly = TRUE)
method <- arguments[1]
case <- arguments[2]
repeats <- as.integer(arguments[3])

million <- 1e6
set.seed(1)
value <- switch(case,
  ten = 1:10 / 7,
  iris = iris,
  columns = ,
  sums = ,
  again = as.data.frame(lapply(1:10, function(i) runif(million)), col.names = letters[1:10]),
  text = sprintf("text %d", sample(million / 2, million, TRUE)),
  dates = as.Date("2000-01-01") + sample(1e4, million, TRUE),
  factor = factor(sample(letters, million, TRUE)))

exchange <- switch(method,
  pyrmap = {
    library(pyrmap)
    script <- tempfile(fileext = ".py")
    writeLines(c("def same(x): return x", "def sums(x): return x.sum()"), script)
    task <- paste0(script, if (case == "sums") "::sums" else "::same")
    function() run_python(value, task)
  },
  reticulate = {
    reticulate::use_python(Sys.getenv("PYTHON"), required = TRUE)
    if (case == "sums") function() reticulate::py_to_r(reticulate::r_to_py(value)$sum()) else
      function() reticulate::py_to_r(reticulate::r_to_py(value))
  },
  rds = function() {
    file <- tempfile(tmpdir = "/dev/shm")
    on.exit(unlink(file))
    saveRDS(value, file, compress = FALSE)
    readRDS(file)
  })

# The first one starts what has to be started.
back <- exchange()
stopifnot(method != "pyrmap" || (if (case == "sums") all.equal(back, colSums(value)) else identical(back, value)))
if (case == "again") value <- back
for (i in seq_len(repeats)) {
  if (repeats < 100) invisible(gc())
  begin <- Sys.time()
  back <- exchange()
  cat("seconds", as.numeric(difftime(Sys.time(), begin, units = "secs")), "\n")
}
