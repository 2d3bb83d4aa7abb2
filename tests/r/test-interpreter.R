# SPDX-License-Identifier: Apache-2.0
# Which Python runs, and the messages that name it.

# An environment of the system's Python. NumPy alone is in it; packages = "none": nothing; "system": the system's packages.
environment_with <- function(packages = "numpy") {
    home <- tempfile("venv-")
    system <- if (packages == "system") "--system-site-packages"
    stopifnot(system2("/usr/bin/python3", c("-m", "venv", "--without-pip", system, home)) == 0)
    if (packages == "numpy") {
        numpy <- system2("/usr/bin/python3", c("-c", shQuote("import numpy, os; print(os.path.dirname(numpy.__file__))")),
                         stdout = TRUE)
        beside <- Sys.glob(paste0(dirname(numpy), "/numpy*.libs"))
        site <- Sys.glob(file.path(home, "lib", "python3*", "site-packages"))
        stopifnot(all(file.symlink(c(numpy, beside), file.path(site, basename(c(numpy, beside))))))
    }
    home
}

program_of <- function(home) file.path(home, "bin", "python3")

variables <- c("PYRMAP_PYTHON", "RETICULATE_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX", "PATH", "PYTHONPATH")

# Runs code with these variables, those that are not given being unset.
with_variables <- function(set, code) {
    set <- c(set, PATH = if (!"PATH" %in% names(set)) "/usr/bin:/bin",
             PYTHONPATH = if (!"PYTHONPATH" %in% names(set)) Sys.getenv("PYTHONPATH"))
    before <- Sys.getenv(variables, unset = NA)
    on.exit({
        Sys.unsetenv(variables)
        do.call(Sys.setenv, as.list(before[!is.na(before)]))
    })
    Sys.unsetenv(variables)
    do.call(Sys.setenv, as.list(set))
    force(code)
}

where <- tempfile(fileext = ".py")
writeLines(c("import sys", "import numpy as np", "def prefix(x):", "    return np.frombuffer(sys.prefix.encode(), np.uint8)",
             "def package(x):", "    import pyrmap", "    return np.frombuffer(pyrmap.__file__.encode(), np.uint8)",
             "def absent(x):", "    import no_such_module",
             "def of_pyrmap(x):", "    from lib.process_with_mmap import process_via_mmap"), where)
running <- function(...) as_text(as.raw(run_python(as.raw(1), paste0(where, "::prefix"), ...)))

test_that("the interpreter is the first of the argument, the option, the variables, PATH and the system's that exists", {
    homes <- replicate(7, environment_with())
    old <- options(pyrmap.python = NULL)
    on.exit(options(old))
    expect_chosen <- function(set, home, why, ...) {
        with_variables(set, {
            if (!...length())
                expect_identical(pyrmap_info()[c("python", "why")], list(python = program_of(home), why = why))
            expect_identical(running(...), normalizePath(home))
        })
    }
    with_variables(c(PATH = "/nonexistent"), {
        expect_identical(pyrmap_info()[c("python", "why")], list(python = "/usr/bin/python3", why = "the system's"))
    })
    set <- c(PATH = paste0(homes[1], "/bin:/usr/bin:/bin"))
    expect_chosen(set, homes[1], "python3 on PATH")
    set["CONDA_PREFIX"] <- homes[2]
    expect_chosen(set, homes[2], "the active conda environment, CONDA_PREFIX")
    set["VIRTUAL_ENV"] <- homes[3]
    expect_chosen(set, homes[3], "the active virtual environment, VIRTUAL_ENV")
    set["RETICULATE_PYTHON"] <- program_of(homes[4])
    expect_chosen(set, homes[4], "the variable RETICULATE_PYTHON")
    set["RETICULATE_PYTHON"] <- homes[4]
    expect_chosen(set, homes[4], "the variable RETICULATE_PYTHON")
    set["PYRMAP_PYTHON"] <- program_of(homes[5])
    expect_chosen(set, homes[5], "the variable PYRMAP_PYTHON")
    options(pyrmap.python = program_of(homes[6]))
    expect_chosen(set, homes[6], "options(pyrmap.python =)")
    expect_chosen(set, homes[7], NULL, python = program_of(homes[7]))
    pyrmap_stop()
})

test_that("an environment that is gone is passed over and named; what is named for pyrmap must be there", {
    gone <- c(VIRTUAL_ENV = "/no/such/environment", RETICULATE_PYTHON = "managed")
    with_variables(gone, {
        expect_identical(pyrmap_info()$python, "/usr/bin/python3")
        expect_match(pyrmap_info()$why,
                     "^python3 on PATH; no interpreter is at RETICULATE_PYTHON=managed, VIRTUAL_ENV=/no/such/environment$")
    })
    with_variables(c(PYRMAP_PYTHON = "/no/such/python"), {
        expect_error(run_python(1, answer("same")), "/no/such/python.*PYRMAP_PYTHON", class = "pyrmap_missing_python")
        expect_identical(pyrmap_info()$python, NA_character_)
        expect_match(pyrmap_info()$why, "/no/such/python")
    })
})

test_that("an environment that has NumPy, but not the package, is enough", {
    home <- environment_with()
    with_variables(c(VIRTUAL_ENV = home, PYTHONPATH = ""), {
        expect_identical(running(), normalizePath(home))
        came_with <- system.file("python", "pyrmap", "__init__.py", package = "pyrmap")
        expect_identical(as_text(as.raw(run_python(as.raw(1), paste0(where, "::package")))), came_with)
    })
    pyrmap_stop()
})

test_that("errors about modules say which interpreter it was, why, and what to do", {
    home <- environment_with("none")
    with_variables(c(VIRTUAL_ENV = home), {
        condition <- expect_error(run_python(1, answer("same")), class = "pyrmap_missing_numpy")
        expect_match(conditionMessage(condition), paste0(program_of(home), " (the active virtual environment, VIRTUAL_ENV)"),
                     fixed = TRUE)
        expect_match(conditionMessage(condition), paste(program_of(home), "-m pip install numpy"), fixed = TRUE)
        expect_identical(condition$python, program_of(home))
    })
    home <- environment_with()
    with_variables(c(VIRTUAL_ENV = home), {
        condition <- expect_error(run_python(1, paste0(where, "::absent")), class = "pyrmap_missing_module")
        expect_s3_class(condition, "pyrmap_python_error")
        expect_identical(condition$module, "no_such_module")
        expect_match(conditionMessage(condition), paste0(program_of(home), " (the active virtual environment, VIRTUAL_ENV)"),
                     fixed = TRUE)
        expect_match(conditionMessage(condition), paste(program_of(home), "-m pip install"), fixed = TRUE)
        expect_error(run_python(1, paste0(where, "::of_pyrmap")), "from pyrmap import process_via_mmap",
                     class = "pyrmap_missing_module")
    })
    pyrmap_stop()
})

test_that("a Python that is too old is named with its version", {
    old <- tempfile()
    writeLines(c("#!/bin/sh", "exec /usr/bin/python3 -c 'import sys; sys.version_info = (3, 8, 2); exec(sys.argv[2])' \"$@\""),
               old)
    Sys.chmod(old, "755")
    expect_error(run_python(1, answer("same"), python = old), "is Python 3.8, and pyrmap needs 3.9",
                 class = "pyrmap_missing_python")
})

test_that("pyrmap_info() says what is in use", {
    info <- pyrmap_info()
    expect_identical(info$mount, mount)
    expect_true(info$mounted)
    expect_output(print(info), paste0("mount: ", mount, ".*data path: .*python: /"))
    old <- options(pyrmap.mount = "/no/such/mount")
    on.exit(options(old))
    expect_false(pyrmap_info()$mounted)
    expect_output(print(pyrmap_info()), "nothing is mounted there")
})
