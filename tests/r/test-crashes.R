# SPDX-License-Identifier: Apache-2.0
# What R is told of a worker that died.

crash <- function(fun) paste0(normalizePath("scripts/crashes.py"), "::", fun)

test_that("the condition says of what a worker died, and where", {
    words <- c(segv = "killed by SIGSEGV", kill = "killed by SIGKILL .*memory was short", status = "exit status 7")
    for (fun in names(words)) {
        for (i in 1:3) {
            died <- tryCatch(run_python(1, crash(fun)), pyrmap_worker_died = identity)
            expect_s3_class(died, "pyrmap_worker_died")
            expect_match(conditionMessage(died), words[[fun]])
            expect_match(conditionMessage(died), "crashes.py::", fixed = TRUE)
        }
        expect_identical(died$signal, switch(fun, segv = "SIGSEGV", kill = "SIGKILL", NA_character_))
        expect_identical(died$status, if (fun == "status") 7L else NA_integer_)
        expect_identical(nzchar(died$traceback), fun == "segv")
        if (fun == "segv")
            expect_match(conditionMessage(died), "Fatal Python error: Segmentation fault.*crashes.py\", line 9 in segv")
    }
    # The next call has a worker again.
    expect_identical(run_python(1, answer("plus_one")), 2)
})

test_that("a stage of a pipeline that died is named", {
    died <- tryCatch(run_python_pipeline(1, c(answer("plus_one"), crash("segv"), answer("plus_one"))),
                     pyrmap_worker_died = identity)
    expect_match(conditionMessage(died), "crashes.py::segv died: worker [0-9]+ exited.*killed by SIGSEGV")
})

test_that("a NUL does not cut an error", {
    expect_error(run_python(1, crash("nul")), "ValueError: before\\x00after\nTraceback", fixed = TRUE)
    expect_error(run_python(1, crash("nul_in_file")), "OSError: before?after", fixed = TRUE)
})
