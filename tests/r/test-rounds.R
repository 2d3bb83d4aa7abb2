# SPDX-License-Identifier: Apache-2.0
# A run answers its own round and no other, and a whole script is over when R has its result.

trick <- function(fun) paste0(normalizePath("scripts/tricks.py"), "::", fun)

script <- function(...) {
    file <- tempfile(fileext = ".py")
    writeLines(c("import atexit, os, sys, threading, time", "from pyrmap import process_via_mmap",
                 "@process_via_mmap", "def f(x): return x + 1",
                 "@process_via_mmap", "def g(x): return x * 100",
                 "@process_via_mmap", "def h(x):", "    x *= 0", "    return x", ...), file)
    file
}

# Other jobs, more than slots are kept for: each gets its own answer.
others_are_right <- function(count = 20) {
    for (i in seq_len(count))
        expect_identical(run_python(as.numeric(i), answer("scaled"), args = list(i)), as.numeric(i * i))
}

for (left in list(c("thread", "by_decorator"), c("thread", "by_slot"), c("fork", "by_decorator"), c("fork", "by_slot"),
                  c("process", "by_decorator"), c("process", "by_slot"), c("program", "by_decorator"),
                  c("program", "by_slot"), c("shell", NA))) {
    test_that(paste("what a function leaves behind answers in no other round:", paste(left, collapse = " ")), {
        directory <- tempfile()
        dir.create(directory)
        args <- c(list(directory), if (!is.na(left[2])) list(left[2]))
        expect_identical(run_python(1, trick(left[1]), args = args), 2)
        # Its slot would now serve any of these.
        others_are_right()
        file.create(file.path(directory, "go"))
        others_are_right()
        expect_true(eventually(function() file.exists(file.path(directory, "done"))))
        expect_false(readLines(file.path(directory, "done"), warn = FALSE) == "answered")
        others_are_right()
        # The same job again, which may use the same slot.
        unlink(file.path(directory, "go"))
        unlink(file.path(directory, "done"))
        for (i in c(1, 2, 3))
            expect_identical(run_python(i, trick(left[1]), args = args), i + 1)
        file.create(file.path(directory, "go"))
        expect_true(eventually(function() file.exists(file.path(directory, "done"))))
        others_are_right(3)
    })
}

test_that("a child that returns from the function does not answer", {
    for (i in as.numeric(1:20))
        expect_identical(run_python(i, trick("twice")), i + 1)
    others_are_right()
})

test_that("the last decorated call of a whole script is its result", {
    cases <- list(c("f()", "g()"), c("for i in range(5): f()", "g()"), c("if f() is None: g()"),
                  c("h()", "g()"), c("f()", "sys.exit(0)", "f()"), c("g()", "sys.exit()"),
                  c("atexit.register(g)", "f()"),
                  c("f()", "threading.Thread(target=lambda: (time.sleep(0.05), g())).start()"),
                  c("f()", "t = [threading.Thread(target=g) for i in range(5)]", "for s in t: s.start()",
                    "for s in t: s.join()"),
                  c("f()", "if os.fork() == 0: sys.exit(3)", "os.wait()", "g()"),
                  c("f()", "if os.fork() == 0: raise ValueError('in the child')", "os.wait()", "g()"))
    wants <- c(500, 500, 500, 500, 6, 500, 500, 500, 500, 500, 500)
    for (i in seq_along(cases)) {
        file <- script(cases[[i]])
        for (round in 1:3)
            expect_identical(run_python(5, file), wants[i], label = paste(cases[[i]], collapse = "; "))
    }
    others_are_right()
})

test_that("a decorated call within another one", {
    file <- script("@process_via_mmap", "def outer(x):", "    g()", "    return x - 1", "outer()")
    expect_identical(run_python(5, file), 4)
    # Both fill an array in result.bin.
    file <- script("import pyrmap", "@process_via_mmap", "def inner(x):", "    y = pyrmap.empty_result(2)", "    y[:] = 7", "    return y",
                   "@process_via_mmap", "def outer(x):", "    y = pyrmap.empty_result(500000)", "    y[:] = x", "    inner()", "    return y",
                   "outer()")
    expect_identical(run_python(5, file)[c(1, 500000)], c(5, 5))
    # The second array is one of zeros, whatever the first call wrote.
    file <- script("import pyrmap", "@process_via_mmap", "def first(x):", "    y = pyrmap.empty_result(4)", "    y[:] = 7", "    return y",
                   "@process_via_mmap", "def second(x):", "    y = pyrmap.empty_result(3)", "    y[0] = 1", "    return y",
                   "first()", "second()")
    expect_identical(run_python(5, file)[1:3], c(1, 0, 0))
})

test_that("a whole script is over when its result is here", {
    file <- tempfile()
    save <- sprintf("    open(%s, 'a').write('saved\\n')", encodeString(file, quote = "'"))
    for (body in list(c("f()", "if True:", "    time.sleep(0.1)", save),
                      c("def end():", "    time.sleep(0.1)", save, "f()", "threading.Thread(target=end).start()"),
                      c("def end():", save, "atexit.register(end)", "f()"))) {
        expect_identical(run_python(5, script(body)), 6)
        expect_identical(readLines(file), "saved")
        unlink(file)
    }
    output <- capture.output(run_python(5, script("f()", "time.sleep(0.1)", "print('the end')")))
    expect_identical(output[1], "the end")
})

test_that("what fails after the last decorated call fails the round", {
    for (end in c("raise ValueError('after the result')", "sys.exit('ValueError: after the result')", "sys.exit(3)")) {
        failed <- tryCatch(run_python(5, script("f()", end)), pyrmap_python_error = identity)
        expect_s3_class(failed, "pyrmap_python_error")
        expect_match(conditionMessage(failed), if (end == "sys.exit(3)") "SystemExit: 3" else "after the result")
    }
    expect_error(run_python(5, script("f()", "os._exit(0)")), class = "pyrmap_worker_died")
    expect_error(run_python(5, script("f()", "os.kill(os.getpid(), 9)")), class = "pyrmap_worker_died")
    expect_error(run_python(5, script("os._exit(0)")), class = "pyrmap_worker_died")
    others_are_right()
})

test_that("stages of a pipeline are whole scripts, too", {
    two <- script("f()", "g()")
    expect_identical(as.vector(run_python_pipeline(5, c(two, two))), 50000)
    stream <- pyrmap_pipeline(c(two, two))
    for (i in as.numeric(1:5))
        stream$push(i)
    for (i in as.numeric(1:5))
        expect_identical(as.vector(stream$pull()), i * 10000)
    stream$close()
})
