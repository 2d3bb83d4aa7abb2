# SPDX-License-Identifier: Apache-2.0
#
# exchange.R METHOD ELEMENTS REPEATS PAUSE DIRECTORY - a line `seconds S` for each exchange of that many doubles, then a
# line `memory GROWTH`: by how many bytes the peak of this process's memory lies above what it had with the input made.
# PAUSE: seconds between two exchanges.
#
# METHOD: plain      a vector to Python, x + 1 comes back, R sums it
#         in_place   the same, the sum computed straight into the result's pages
#         hand_over  an array that lives in a slot, and a result that nobody computes; a call waits, unmeasured, until
#                    the pages of the one before it are zeroed
#         at_once    the same without that wait
#         reticulate the same work as plain, in this process
#         files      the same work as plain, by PyRMap's method in DIRECTORY
arguments <- commandArgs(trailingOnly = TRUE)
method <- arguments[1]
elements <- as.numeric(arguments[2])
repeats <- as.integer(arguments[3])
pause <- as.numeric(arguments[4])
directory <- arguments[5]
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
script <- file.path(here, "exchange.py")

in_memory <- function(key) {
  status <- readLines("/proc/self/status")
  1024 * as.numeric(gsub("[^0-9]", "", grep(paste0("^", key, ":"), status, value = TRUE)))
}

through_files <- function(x) {
  path <- function(name) file.path(directory, name)
  put <- function(name, values) {
    con <- file(path(name), "wb")
    writeBin(values, con)
    close(con)
  }
  get <- function(name, what, n) {
    con <- file(path(name), "rb")
    on.exit(close(con))
    readBin(con, what, n)
  }
  put("metadata.bin", c(0L, length(x), 2L, 0L))
  put("data.bin", x)
  stopifnot(system2(Sys.getenv("PYTHON"), c(file.path(here, "files.py"), directory)) == 0)
  metadata <- get("metadata.bin", "integer", 4)
  stopifnot(metadata[1] == 1L)
  result <- get("result.bin", "double", metadata[4])
  unlink(path(c("metadata.bin", "data.bin", "result.bin")))
  result
}

x <- seq_len(elements) / 7
expected <- if (method %in% c("hand_over", "at_once")) elements else sum(x) + elements
exchange <- switch(method,
  plain = {
    library(pyrmap)
    function() sum(run_python(x, paste0(script, "::add_one")))
  },
  in_place = {
    library(pyrmap)
    function() sum(run_python(x, paste0(script, "::add_one_in_place")))
  },
  hand_over = ,
  at_once = {
    library(pyrmap)
    a <- pyrmap_array(elements)
    a[] <- x
    function() length(run_python(a, paste0(script, "::hand_over")))
  },
  reticulate = {
    reticulate::use_python(Sys.getenv("PYTHON"), required = TRUE)
    # Not the package's own: reticulate is measured without it.
    add_one <- reticulate::py_eval("lambda x: x + 1")
    # With a dim it becomes a NumPy array at once; a plain vector would become a list of Python floats.
    dim(x) <- elements
    function() sum(add_one(x))
  },
  files = function() sum(through_files(x))
)

# A large result goes before the next one comes, as it would with another name.
discard <- function() {
  Sys.sleep(pause)
  if (elements < 1e5) return(invisible())
  invisible(gc(full = TRUE))
  deadline <- Sys.time() + 30
  while (method == "hand_over" && warm_bytes() < 8 * elements && Sys.time() < deadline) Sys.sleep(0.005)
}

warm_bytes <- function() {
  status <- readLines(file.path(Sys.getenv("PYRMAP_MOUNT"), ".pyrmap", "status"))
  as.numeric(sub("^warm: *([0-9]+).*", "\\1", grep("^warm:", status, value = TRUE)))
}

# What only a first call costs (starting the worker, importing NumPy) is not measured, but for the method that
# pays it every time.
if (method != "files") invisible(exchange())
discard()
writeLines("5", "/proc/self/clear_refs")
before <- in_memory("VmRSS")

for (i in seq_len(repeats)) {
  began <- Sys.time()
  answer <- exchange()
  seconds <- as.numeric(Sys.time() - began, units = "secs")
  stopifnot(all.equal(answer, expected))
  cat(sprintf("seconds %.9f\n", seconds))
  discard()
}
cat(sprintf("memory %.0f\n", in_memory("VmHWM") - before))
