# SPDX-License-Identifier: Apache-2.0
#
# bundles.R METHOD CASE REPEATS - a line `seconds S` for each time that a value goes to Python and comes back as it was; and from
# pyrmap a line `copied THERE BACK TAKEN`: bytes that R copied into the slot, Python into the result, and R out of it.
#
# METHOD: pyrmap, reticulate (r_to_py and py_to_r, in this process), rds (saveRDS and readRDS, R alone)
# CASE:   ten        ten doubles as a plain array: the cost of an exchange without a bundle
#         iris       R's iris
#         columns    a data frame of ten columns of a million doubles
#         sums       the same data frame goes, the sums of its columns come back
#         lives      such columns in a pyrmap_array, which a loop has filled; their sums come back
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
frame_of <- function(columns) structure(columns, class = "data.frame", row.names = .set_row_names(million))
in_array <- function() {
    columns <- pyrmap::pyrmap_array(as.list(setNames(rep(million, 10), letters[1:10])))
    for (i in seq_along(columns))
        columns[[i]][] <- runif(million)
    frame_of(columns)
}
value <- switch(case,
  ten = 1:10 / 7,
  iris = iris,
  columns = ,
  sums = ,
  again = frame_of(lapply(setNames(1:10, letters[1:10]), function(i) runif(million))),
  lives = if (method == "pyrmap") in_array() else frame_of(lapply(setNames(1:10, letters[1:10]), function(i) runif(million))),
  text = sprintf("text %d", sample(million / 2, million, TRUE)),
  dates = as.Date("2000-01-01") + sample(1e4, million, TRUE),
  factor = factor(sample(letters, million, TRUE)))

sums <- case %in% c("sums", "lives")
exchange <- switch(method,
  pyrmap = {
    library(pyrmap)
    script <- tempfile(fileext = ".py")
    writeLines(c("def same(x): return x", "def sums(x): return x.sum()"), script)
    task <- paste0(script, if (sums) "::sums" else "::same")
    function() run_python(value, task)
  },
  reticulate = {
    reticulate::use_python(Sys.getenv("PYTHON"), required = TRUE)
    if (sums) function() reticulate::py_to_r(reticulate::r_to_py(value)$sum()) else
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
stopifnot(method != "pyrmap" || (if (sums) all.equal(back, colSums(value)) else identical(back, value)))
if (case == "again") value <- back
for (i in seq_len(repeats)) {
  if (repeats < 100) invisible(gc())
  begin <- Sys.time()
  back <- exchange()
  cat("seconds", as.numeric(difftime(Sys.time(), begin, units = "secs")), "\n")
}

# The bytes of the segment that a value goes as.
size_of <- function(x) {
    if (is.double(x) && is.null(attributes(x))) 8 * length(x) else length(.Call(pyrmap:::C_bundle_bytes, x, "nan"))
}
# Whether the last call passed on the pages that a vector lies in.
was_passed <- function(x) {
    info <- pyrmap_info(if (is.list(x)) x[[1L]] else x)
    !is.na(info$slot) && is.na(info$why_copied)
}
taken <- function(x) {
    if (is.list(x))
        return(sum(vapply(x, taken, 0)))
    info <- pyrmap_info(x)
    if (is.na(info$slot)) size_of(x) else info$copied
}
if (method == "pyrmap")
    cat("copied", if (was_passed(value)) 0 else size_of(value), size_of(back), taken(back), "\n")
