# SPDX-License-Identifier: Apache-2.0
# Workers stay: what they keep, what they do not, how many there are, and what they are told at each call.

script_with <- function(...) {
    file <- tempfile(fileext = ".py")
    writeLines(c("import os, sys, time", ...), file)
    file
}

counting <- script_with("calls = 0", "model = None", "def count(x):", "    global calls", "    calls += 1",
                        "    return float(calls)", "def pid(x): return float(os.getpid())", "def fit(x):", "    global model",
                        "    model = x.mean()", "    return True", "def predict(x): return x - model",
                        "def die(x): os._exit(5)")
of <- function(fun, script = counting) paste0(script, "::", fun)

test_that("what a script has loaded stays, whichever of its functions is called", {
    expect_identical(vapply(1:3, function(i) run_python(1, of("count")), 0), c(1, 2, 3))
    run_python(c(1, 2, 3), of("fit"))
    expect_identical(run_python(c(1, 2, 3), of("predict")), c(-1, 0, 1))
    # Another script has another worker.
    run_python(1, answer("plus_one"))
    expect_identical(run_python(1, of("count")), 4)
    # An exception ends nothing, a value that cannot be passed neither; the end of the process does.
    expect_error(run_python(1, of("nothing")), class = "pyrmap_missing_function")
    expect_error(run_python(1.5, of("count"), dtype = "int32"), class = "pyrmap_loss")
    expect_identical(run_python(1, of("count")), 5)
    expect_error(run_python(1, of("die")), class = "pyrmap_worker_died")
    expect_identical(run_python(1, of("count")), 1)
})

test_that("stages and scripts that fail keep their workers", {
    first <- run_python(1, of("pid"))
    expect_error(run_python_pipeline(1, c(of("pid"), answer("fail"))), class = "pyrmap_python_error")
    expect_error(run_python_shared_data(1, of("nothing")), class = "pyrmap_missing_function")
    expect_identical(run_python(1, of("pid")), first)
})

test_that("isolation = \"process\" keeps nothing", {
    expect_identical(vapply(1:3, function(i) run_python(1, of("count"), isolation = "process"), 0), c(1, 1, 1))
    old <- options(pyrmap.isolation = "process")
    on.exit(options(old))
    expect_identical(unlist(unname(run_python_shared_data(1, rep(of("count"), 2)))), c(1, 1))
    died <- tryCatch(run_python(1, of("die")), pyrmap_worker_died = identity)
    expect_identical(died$status, 5L)
    expect_error(run_python(1, of("count"), isolation = "none"), "\"session\" or \"process\"", class = "pyrmap_argument_error")
})

test_that("as many workers are kept as the option says, the least recently used goes", {
    pyrmap_stop()
    old <- options(pyrmap.workers = 2)
    on.exit(options(old))
    scripts <- replicate(3, script_with("def pid(x): return float(os.getpid())"))
    ask <- function(i) run_python(1, of("pid", scripts[i]))
    first <- vapply(1:3, ask, 0)
    expect_identical(pyrmap_info()$workers, 2L)
    expect_length(slots_of(Sys.getpid()), 2)
    expect_true(eventually(function() !process_exists(first[1])))
    expect_identical(vapply(3:2, ask, 0), first[3:2])
    expect_false(ask(1) == first[1])
    expect_true(eventually(function() !process_exists(first[3])))
    expect_identical(ask(2), first[2])
    # A pipeline keeps its stages, however many.
    stages <- rep(of("pid"), 4)
    pids <- lapply(1:2, function(i) unlist(run_python_pipeline(1, stages, intermediate = TRUE)))
    expect_length(unique(pids[[1]]), 4)
    expect_identical(pids[[2]], pids[[1]])
    options(pyrmap.workers = "many")
    expect_error(ask(1), "pyrmap.workers", class = "pyrmap_argument_error")
    options(pyrmap.workers = 2)
    pyrmap_stop()
    expect_true(eventually(function() !process_exists(first[2]) && !any(vapply(pids[[1]], process_exists, NA))))
})

test_that("the environment and the directory are R's at the time of the call", {
    script <- script_with("def get(x, name): return [float(b) for b in os.environ.get(name, '(unset)').encode()]",
                          "def zone(x): return float(time.timezone)",
                          "def here(x): return [float(b) for b in os.getcwd().encode()]")
    get <- function(name, ...) as_text(run_python(1, of("get", script), args = list(name), ...))
    worker <- run_python(1, of("zone", script))
    Sys.setenv(PYRMAP_TEST = "one = 1", PYRMAP_OTHER = "\u00e4")
    on.exit(Sys.unsetenv(c("PYRMAP_TEST", "PYRMAP_OTHER", "TZ")))
    expect_identical(get("PYRMAP_TEST"), "one = 1")
    expect_identical(get("PYRMAP_OTHER"), "\u00e4")
    expect_identical(get("PYRMAP_TEST", env = c(PYRMAP_TEST = "two")), "two")
    expect_identical(get("PYRMAP_TEST", env = c(PYRMAP_TEST = NA)), "(unset)")
    Sys.unsetenv("PYRMAP_TEST")
    expect_identical(get("PYRMAP_TEST"), "(unset)")
    Sys.setenv(TZ = "Asia/Tokyo")
    expect_identical(run_python(1, of("zone", script)), -32400)
    home <- Sys.getenv("HOME")
    Sys.unsetenv("HOME")
    expect_identical(get("HOME"), "(unset)")
    Sys.setenv(HOME = home)
    expect_identical(get("HOME"), home)
    directory <- tempfile()
    dir.create(directory)
    old <- setwd(directory)
    on.exit(setwd(old), add = TRUE)
    expect_identical(as_text(run_python(1, of("here", script))), normalizePath(directory))
})

test_that("a task that is too long for the filesystem lies in a file that goes with the slot", {
    pyrmap_stop()
    files <- function() list.files(tempdir(), "^pyrmap-task-", full.names = TRUE)
    for (letter in c("a", "b"))
        expect_identical(substr(as_text(run_python(1, answer("joined"), args = list(strrep(letter, 5000)))), 1, 5002),
                         paste0("('", strrep(letter, 5000)))
    expect_length(files(), 1)
    expect_identical(as.character(file.mode(files())), "600")
    expect_identical(run_python(1, answer("plus_one")), 2)
    pyrmap_stop()
    expect_length(files(), 0)
})

test_that("a function of a module needs no script", {
    expect_identical(run_python(c(3, 4), "numpy.linalg::norm"), 5)
    expect_identical(run_python(matrix(c(2, 0, 0, 4), 2), "numpy.linalg::inv"), matrix(c(0.5, 0, 0, 0.25), 2))
    expect_identical(run_python(c(3, 4), "numpy.linalg::norm", args = list(ord = 1L)), 7)
    expect_error(run_python(1, "numpy.linalg::no_such"), class = "pyrmap_missing_function")
    expect_error(run_python(1, "no_such_module_at_all::f"), class = "pyrmap_missing_module")
    expect_error(run_python(1, "numpy"), class = "pyrmap_missing_script")
    expect_error(run_python(1, "numpy.py::f"), class = "pyrmap_missing_script")
})

test_that("preload imports before the first run", {
    script <- script_with("def loaded(x): return 'wave' in sys.modules")
    expect_false(run_python(1, of("loaded", script)))
    expect_true(run_python(1, of("loaded", script), preload = c("wave", "json")))
    expect_error(run_python(1, of("loaded", script), preload = "not a module"), class = "pyrmap_argument_error")
})

test_that("what Python prints can be silenced or kept", {
    talk <- function(...) suppressWarnings(run_python(1, answer("talk"), ...))
    said <- function(...) c(capture.output(talk(...), type = "message"), utils::head(capture.output(talk(...)), -1L))
    expect_true(all(c("on stderr", "on stdout: \u00e4") %in% said()))
    expect_identical(said(output = "silent"), character())
    expect_identical(said(output = "capture"), character())
    kept <- pyrmap_output()
    expect_match(kept, "on stdout: \u00e4\n", fixed = TRUE)
    expect_match(kept, "on stderr\n", fixed = TRUE)
    expect_identical(pyrmap_output(), "")
    run_python(1, answer("plus_one"), output = "capture")
    expect_identical(pyrmap_output(), "")
    # It is that of the last call.
    for (i in 1:2)
        talk(output = "capture")
    expect_length(regmatches(kept <- pyrmap_output(), gregexpr("on stdout", kept))[[1]], 1)
    expect_error(talk(output = "loud"), "\"console\"", class = "pyrmap_argument_error")
    expect_true("on stderr" %in% said())
})

test_that("warnings of Python's are warnings of R, after what was printed and before an error", {
    script <- script_with("import warnings", "import numpy as np", "def f(x):", "    print('printed')",
                          "    warnings.warn('quoted \"\\\\u0000\\0\\\\\" \u00e4\\nline', FutureWarning)", "    np.exp(x)", "    return x",
                          "def g(x):", "    warnings.warn('first')", "    raise ValueError('then')")
    seen <- function(code) {
        caught <- list()
        withCallingHandlers(code, warning = function(w) {
            caught <<- c(caught, list(w))
            invokeRestart("muffleWarning")
        })
        caught
    }
    for (isolation in c("session", "process")) {
        expect_output(caught <- seen(expect_identical(run_python(1e9, of("f", script), isolation = isolation), 1e9)), "printed")
        expect_length(caught, 2)
        for (w in caught) {
            expect_s3_class(w, c("pyrmap_python_warning", "warning", "condition"), exact = TRUE)
            expect_null(conditionCall(w))
        }
        expect_identical(caught[[1]][c("category", "message", "file", "line")],
                         list(category = "FutureWarning", message = "quoted \"\\u0000?\\\" \u00e4\nline", file = script, line = 6L))
        expect_match(conditionMessage(caught[[2]]), "^RuntimeWarning: overflow .*\\(file.*py:7\\)$")
        # In any order: code that catches the first leaves the worker as it was.
        expect_warning(expect_error(run_python(1, of("g", script), isolation = isolation), "then"), "first")
        expect_s3_class(tryCatch(run_python(1, of("g", script), isolation = isolation), warning = identity), "pyrmap_python_warning")
        expect_length(seen(run_python(0, of("f", script), isolation = isolation)), 1)
    }
    stages <- c(of("f", script), of("f", script))
    expect_output(expect_length(seen(run_python_pipeline(1e9, stages)), 4), "printed")
    expect_output(expect_length(seen(run_python_shared_data(1e9, stages)), 4), "printed")
})

test_that("a stage whose worker has gone since does not end a pipeline", {
    # The second stage begins its work when the process of the first is gone, and takes longer than anybody has patience.
    script <- script_with("import threading", "def leave(x):", "    threading.Timer(0.1, os._exit, [0]).start()",
                          "    return [float(os.getpid()), 1.0]",
                          "def wait(x):", "    while os.path.exists(f'/proc/{int(x[0])}/fd/0'):", "        time.sleep(0.01)",
                          "    time.sleep(1.5)", "    return x[1:]")
    expect_identical(run_python_pipeline(1, c(of("leave", script), of("wait", script))), 1)
})

test_that("workers that run at the same time share the processors, unless R's environment says how", {
    script <- script_with("def threads(x): return float(os.environ.get('OMP_NUM_THREADS', 0))")
    before <- Sys.getenv("OMP_NUM_THREADS", unset = NA)
    on.exit(if (is.na(before)) Sys.unsetenv("OMP_NUM_THREADS") else Sys.setenv(OMP_NUM_THREADS = before))
    Sys.unsetenv("OMP_NUM_THREADS")
    pyrmap_stop()
    cores <- .Call(getFromNamespace("C_cores", "pyrmap"))
    expect_identical(run_python(1, of("threads", script)), 0)
    pyrmap_stop()
    each <- run_python_shared_data(1, rep(of("threads", script), 2))
    expect_identical(unlist(unname(each)), rep(if (cores < 2) 0 else cores %/% 2, 2))
    pyrmap_stop()
    Sys.setenv(OMP_NUM_THREADS = "3")
    expect_identical(unlist(unname(run_python_shared_data(1, rep(of("threads", script), 2)))), c(3, 3))
    pyrmap_stop()
})

# A server that was started by hand; its pid.
serve <- function(what, slot) {
    log <- tempfile()
    python <- Sys.getenv("PYRMAP_PYTHON", "/usr/bin/python3")
    system2(python, c("-m", "pyrmap", "serve", what, slot), wait = FALSE, stdout = log, stderr = log)
    worker <- function() suppressWarnings(tryCatch(readLines(file.path(slot, "worker")), error = function(e) character()))
    stopifnot(eventually(function() length(worker()) == 1L))
    as.integer(worker())
}

test_that("a slot that somebody serves is asked by its name or path", {
    expect_error(run_python(1, slot = "predict"), "python3 -m pyrmap serve", class = "pyrmap_missing_slot")
    slot <- file.path(mount, "predict")
    dir.create(slot)
    expect_error(run_python(1, slot = "predict"), "nobody serves", class = "pyrmap_missing_slot")
    unlink(slot, recursive = TRUE)
    pid <- serve(of("count"), slot)
    on.exit(tools::pskill(pid, tools::SIGKILL))
    pyrmap_stop()
    expect_identical(run_python(1, slot = "predict"), 1)
    expect_identical(run_python(c(1, 2), slot = slot), 2)
    expect_identical(slots_of(Sys.getpid()), character())
    # Several that ask at the same time wait for their turns.
    counts <- parallel::mclapply(1:4, function(i) vapply(1:10, function(j) run_python(i, slot = "predict"), 0), mc.cores = 4)
    expect_identical(sort(unlist(counts)), as.numeric(3:42))
    expect_error(run_python(1, answer("same"), slot = "predict"), "leave out", class = "pyrmap_argument_error")
    expect_error(run_python(sum, slot = "predict"), class = "pyrmap_type_error")
    expect_error(run_python(1.5, slot = "predict", dtype = "int32"), class = "pyrmap_loss")
    expect_identical(run_python(1, slot = "predict"), 43)
    tools::pskill(pid, tools::SIGTERM)
    expect_true(eventually(function() !process_exists(pid)))
    expect_error(run_python(1, slot = "predict"), class = "pyrmap_missing_slot")
    unlink(slot, recursive = TRUE)
})
