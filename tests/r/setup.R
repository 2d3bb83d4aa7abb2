# SPDX-License-Identifier: Apache-2.0
# The mount is PYRMAP_MOUNT's: test_r.py starts it, once for each data path.
library(testthat)
library(pyrmap)

answers <- normalizePath("scripts/answers.py")
answer <- function(fun) paste0(answers, "::", fun)
as_text <- function(bytes) rawToChar(as.raw(bytes))

# The bytes of a vector: NaN payloads and signed zeros count.
bits <- function(x) writeBin(as.vector(unclass(x)), raw())

digest_of <- function(x) {
    file <- tempfile()
    writeBin(x, file)
    unname(tools::md5sum(file))
}

# Polls a condition until it holds.
eventually <- function(condition, seconds = 20) {
    deadline <- Sys.time() + seconds
    while (!isTRUE(condition())) {
        if (Sys.time() > deadline)
            return(FALSE)
        Sys.sleep(0.005)
    }
    TRUE
}

process_exists <- function(pid) {
    # A zombie that nobody has waited for is no process any more.
    status <- file.path("/proc", pid, "stat")
    file.exists(status) &&
        !grepl(") Z", tryCatch(suppressWarnings(readLines(status)), error = function(e) ") Z"), fixed = TRUE)
}

mount <- Sys.getenv("PYRMAP_MOUNT")
# How many of a kind the daemon has answered.
requests <- function(op) {
    lines <- readLines(file.path(mount, ".pyrmap", "metrics"))
    of_op <- grep(paste0("^pyrmapfs_requests_total\\{op=\"", op, "\"\\} "), lines, value = TRUE)
    sum(as.numeric(sub(".* ", "", of_op)))
}

slots_of <- function(pid) {
    names <- list.files(mount)
    names[startsWith(names, paste0("r-", pid, "-"))]
}

# Another R session; returns its pid. It ends by itself or by a signal of the test.
start_session <- function(code, environment = character()) {
    script <- tempfile(fileext = ".R")
    pid_file <- tempfile()
    writeLines(c("library(pyrmap)", sprintf("writeLines(as.character(Sys.getpid()), '%s.part')", pid_file),
                 sprintf("invisible(file.rename('%s.part', '%s'))", pid_file, pid_file), code), script)
    log <- tempfile()
    system2(file.path(R.home("bin"), "Rscript"), script, env = environment, wait = FALSE, stdout = log, stderr = log)
    stopifnot(eventually(function() file.exists(pid_file)))
    structure(as.integer(readLines(pid_file)), log = log)
}
