# SPDX-License-Identifier: Apache-2.0
#
# exchange.R METHOD ELEMENTS REPEATS PAUSE DIRECTORY - a line `seconds S` for each exchange of that many doubles, or for each of
# twenty small ones that follow each other at once, by what they take together; then a
# line `memory GROWTH`: by how many bytes the peak of this process's memory lies above what it had with the input made; and, but
# for PyRMap's method and reticulate, a line `requests N`: those that the daemon answered for an exchange, and a line
# `grown R WORKER DAEMON DESCRIPTORS SLOTS`: by how much all exchanges together have made the memory of each larger, and the
# number of descriptors and slots.
# PAUSE: seconds between two exchanges.
#
# METHOD: plain      a vector to Python, x + 1 comes back, R sums it
#         process    the same with isolation = "process"
#         in_place   the same, the sum computed straight into the result's pages
#         imports    the same, in a script that imports scikit-learn and pandas
#         model      the same, in a script that loads 500 MB at its top
#         hand_over  an array that lives in a slot, and a result that nobody computes; a call waits, unmeasured, until
#                    the pages of the one before it are zeroed
#         at_once    the same without that wait
#         stream     inputs pushed into a pyrmap_pipeline, each by itself; all their results are pulled at the end
#         pipe       the same inputs written to a program that reads them from a pipe
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

in_memory <- function(key, pid = "self") {
  status <- readLines(file.path("/proc", pid, "status"))
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

# In place of a file of weights: what a model's script does at its top.
model <- c("import numpy as np", "weights = np.ones(62_500_000)", "def predict(x):", "    return x + weights[0]")
imports <- c("import pandas, sklearn.linear_model", "def predict(x):", "    return x + 1")
script_of <- function(lines) {
  file <- tempfile(fileext = ".py")
  writeLines(lines, file)
  paste0(file, "::predict")
}

x <- seq_len(elements) / 7
expected <- switch(method, hand_over = , at_once = , stream = , pipe = elements, sum(x) + elements)
if (!method %in% c("pipe", "reticulate", "files")) library(pyrmap)
exchange <- switch(method,
  plain = function() sum(run_python(x, paste0(script, "::add_one"))),
  process = function() sum(run_python(x, paste0(script, "::add_one"), isolation = "process")),
  in_place = function() sum(run_python(x, paste0(script, "::add_one_in_place"))),
  imports = ,
  model = {
    file <- script_of(get(method))
    function() sum(run_python(x, file))
  },
  hand_over = ,
  at_once = {
    a <- pyrmap_array(elements)
    a[] <- x
    function() length(run_python(a, paste0(script, "::hand_over")))
  },
  stream = {
    pipeline <- pyrmap_pipeline(paste0(script, "::add_one"))
    function() {
      pipeline$push(x)
      elements
    }
  },
  pipe = {
    reader <- pipe(paste(Sys.getenv("PYTHON"), "-c 'import os\nwhile os.read(0,", 8 * elements, "): pass'"), "wb")
    function() {
      writeBin(x, reader)
      flush(reader)
      elements
    }
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

requests <- function() {
  lines <- readLines(file.path(Sys.getenv("PYRMAP_MOUNT"), ".pyrmap", "metrics"))
  sum(as.numeric(sub(".* ", "", grep("^pyrmapfs_requests_total", lines, value = TRUE))))
}

# Memory of this process, of its workers and of the daemon; the descriptors of all of them, and slots.
held <- function() {
  slots <- pyrmap_slots()
  pids <- list(Sys.getpid(), slots$worker[!is.na(slots$worker)], strsplit(Sys.getenv("DAEMON"), " ")[[1]])
  memory <- vapply(pids, function(pids) sum(vapply(pids, function(pid) in_memory("VmRSS", pid), 0)), 0)
  c(memory, length(unlist(lapply(file.path("/proc", unlist(pids), "fd"), list.files))), nrow(slots))
}

# What only a first call costs (starting the worker, importing NumPy) is not measured, but for the method that
# pays it every time.
if (method != "files") invisible(exchange())
discard()
writeLines("5", "/proc/self/clear_refs")
before <- in_memory("VmRSS")
counted <- "package:pyrmap" %in% search()
if (counted) {
  held_before <- held()
  requests_before <- requests()
}

in_a_row <- if (elements <= 1024 && pause == 0 && !method %in% c("files", "stream", "pipe")) 20L else 1L
for (i in seq_len(repeats %/% in_a_row)) {
  began <- Sys.time()
  for (k in seq_len(in_a_row)) answer <- exchange()
  seconds <- as.numeric(Sys.time() - began, units = "secs") / in_a_row
  stopifnot(all.equal(answer, expected))
  cat(sprintf("seconds %.9f\n", seconds))
  discard()
}
if (counted) {
  cat(sprintf("requests %.3f\n", (requests() - requests_before) / (repeats %/% in_a_row * in_a_row)))
  cat("grown", held() - held_before, "\n")
}
if (method == "stream") while (pipeline$pending() > 0L) stopifnot(sum(pipeline$pull()) == sum(x) + elements)
cat(sprintf("memory %.0f\n", in_memory("VmHWM") - before))
