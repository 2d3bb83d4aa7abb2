# SPDX-License-Identifier: Apache-2.0
# A mapped vector goes to another R process of this machine as a reference, and to all else as its bytes. The inode's number tells
# whose pages a process has.
library(parallel)

n <- 2e5
result <- function(x = runif(n)) run_python(x, answer("plus_one"))
made <- function(code, x = runif(n)) run_python(x, answer("evaluated"), args = list(code))

inode <- function(x) {
    slot <- pyrmap::pyrmap_info(x)$slot
    if (is.na(slot)) NA else as.numeric(system2("stat", c("-c", "%i", file.path(slot, "data.bin")), stdout = TRUE))
}
environment(inode) <- globalenv()

# Workers that have loaded the package, and know the function.
workers <- function(count = 1L) {
    cluster <- makeCluster(count)
    clusterEvalQ(cluster, library(pyrmap))
    tell(cluster)
}

tell <- function(cluster) {
    clusterExport(cluster, c("inode", "answers"), envir = environment(tell))
    invisible(cluster)
}

# What the worker of the cluster says of x.
ask <- function(cluster, x, fun = inode) {
    environment(fun) <- globalenv()
    clusterCall(cluster[1L], fun, x)[[1L]]
}

test_that("a worker of parallel has the same pages, whatever the vector is of", {
    cluster <- workers()
    on.exit(stopCluster(cluster))
    vectors <- list(result(), made("x.reshape(-1, 4, order='F')"), made("(x * 100).astype('i4')", runif(3e5)),
                    made("np.resize(x > 0.5, 300000)"), run_python(as.raw(rep(1:200, 6000)), answer("same")))
    if (requireNamespace("bit64", quietly = TRUE))
        vectors <- c(vectors, list(run_python(bit64::as.integer64(seq_len(n)), answer("plus_one"))))
    for (x in vectors) {
        expect_identical(ask(cluster, x), inode(x))
        # And back: the pages of the worker's own slot.
        back <- ask(cluster, x, identity)
        expect_identical(bits(back), bits(x))
        expect_identical(attributes(back), attributes(x))
        expect_identical(inode(back), inode(x))
    }
})

test_that("columns of a data frame and members of a list are the same pages there", {
    cluster <- workers()
    on.exit(stopCluster(cluster))
    frame <- made("__import__('pandas').DataFrame({'a': x, 'b': x + 1, 'c': (x > 0.5)})")
    expect_identical(ask(cluster, frame, identity), frame)
    expect_identical(ask(cluster, frame, function(x) c(inode(x$a), inode(x$b))), rep(inode(frame$a), 2L))
    # A logical column of 200000 has 800 KB: it is copied.
    expect_false(ask(cluster, frame, function(x) pyrmap_info(x$c)$mapped))
})

test_that("an array that R fills is published when it is sent", {
    cluster <- workers()
    on.exit(stopCluster(cluster))
    x <- pyrmap_array(c(500, 400))
    x[] <- runif(n)
    expect_identical(ask(cluster, x), inode(x))
    expect_identical(run_python(x, answer("address")), inode(x))
    before <- x[7]
    x[7] <- -1
    # Its pages are not what the slot holds any more: its bytes go.
    expect_identical(ask(cluster, x, function(x) list(x[7], inode(x))), list(-1, NA))
    parts <- pyrmap_array(list(a = n, b = n))
    parts$a[] <- 1
    # The bundle is not made before it is passed on as a whole.
    expect_identical(ask(cluster, parts$a, function(x) list(sum(x), inode(x))), list(n, NA))
})

test_that("a worker gives the pages on to Python, and may change what it got", {
    cluster <- workers()
    on.exit(stopCluster(cluster))
    x <- result()
    expect_identical(ask(cluster, x, function(x) run_python(x, paste0(answers, "::address"))), inode(x))
    expect_identical(ask(cluster, x, function(x) {
        x[1] <- 5
        x[1]
    }), 5)
    expect_identical(ask(cluster, x, function(x) x[1]), x[1])
})

test_that("the pages wait for the receiver whatever becomes of the vector and its slot", {
    cluster <- workers()
    on.exit(stopCluster(cluster))
    pid <- ask(cluster, NULL, function(x) Sys.getpid())
    x <- result()
    expected <- x[1:5]
    own <- file.path(pyrmap_info(x)$slot, "data.bin")
    pages <- function() system2("stat", c("-c", "%i", own), stdout = TRUE)
    before <- pages()
    tools::pskill(pid, tools::SIGSTOP)
    parallel:::sendCall(cluster[[1L]], function(x) list(x[1:5], pyrmap::pyrmap_info(x)$mapped), list(x))
    rm(x)
    for (i in 1:3)
        y <- result()
    invisible(gc())
    # The slot is empty, or has another result.
    expect_false(identical(pages(), before))
    tools::pskill(pid, tools::SIGCONT)
    expect_identical(parallel:::recvResult(cluster[[1L]]), list(expected, TRUE))
})

test_that("what was sent goes with the receiver's vector, and with the process that sent it", {
    cluster <- workers()
    pid <- ask(cluster, NULL, function(x) Sys.getpid())
    x <- result()
    # It has a slot to itself from now on.
    pyrmap_info(x)
    before <- list.files(mount)
    clusterExport(cluster, "x", envir = environment())
    sent <- setdiff(list.files(mount), before)
    expect_length(sent, 1L)
    expect_identical(readLines(file.path(mount, sent, "owner"), warn = FALSE), as.character(pid))
    ask(cluster, NULL, function(none) {
        rm(x, envir = globalenv())
        invisible(gc())
    })
    expect_true(eventually(function() !dir.exists(file.path(mount, sent))))
    # Nobody takes this one: the receiver is killed first.
    tools::pskill(pid, tools::SIGSTOP)
    parallel:::sendCall(cluster[[1L]], identity, list(x))
    expect_length(setdiff(list.files(mount), before), 1L)
    tools::pskill(pid, tools::SIGKILL)
    close(cluster[[1L]]$con)
    expect_length(setdiff(list.files(mount), before), 1L)
    session <- start_session(c(sprintf("x <- run_python(runif(2e5), '%s')", answer("plus_one")),
                               "cl <- parallel::makeCluster(1); invisible(parallel::clusterEvalQ(cl, library(pyrmap)))",
                               "pid <- parallel::clusterCall(cl, Sys.getpid)[[1]]; tools::pskill(pid, tools::SIGSTOP)",
                               "parallel:::sendCall(cl[[1]], identity, list(x))",
                               "Sys.sleep(600)"))
    expect_true(eventually(function() length(slots_of(session)) >= 3L || !process_exists(session)))
    expect_gte(length(slots_of(session)), 3L)
    tools::pskill(session, tools::SIGKILL)
    expect_true(eventually(function() length(slots_of(session)) == 0L))
})

test_that("a worker without the package, or in a session that does not want it, gets bytes", {
    cluster <- makeCluster(1L)
    on.exit(stopCluster(cluster))
    x <- result()
    expect_identical(ask(cluster, x, function(x) list(isNamespaceLoaded("pyrmap"), sum(x))), list(FALSE, sum(x)))
    clusterEvalQ(cluster, library(pyrmap))
    tell(cluster)
    expect_identical(ask(cluster, x), inode(x))
    old <- options(pyrmap.references = FALSE)
    expect_identical(ask(cluster, x), NA)
    options(old)
    # Both ends of a connection have its port here, and the other worker of the port has not loaded the package.
    other <- makeCluster(2L, port = 11999)
    on.exit(stopCluster(other), add = TRUE)
    clusterEvalQ(other[1L], library(pyrmap))
    tell(other[1L])
    expect_identical(ask(other, x), NA)
})

test_that("files, connections and raw vectors have the bytes", {
    x <- result()
    file <- tempfile()
    in_new_session <- function(code) {
        expression <- sprintf("file <- '%s'; x <- {%s}; cat(typeof(x), sprintf('%%d', length(x)), format(sum(x), digits = 15))", file, code)
        # It knows neither the mount nor the package.
        system2(file.path(R.home("bin"), "Rscript"), c("--vanilla", "-e", shQuote(expression)), stdout = TRUE,
                env = c("R_LIBS=", "PYRMAP_MOUNT=/nowhere"))
    }
    said <- paste("double 200000", format(sum(x), digits = 15))
    saveRDS(x, file)
    expect_identical(in_new_session("readRDS(file)"), said)
    # Also where a function of another package, or one that is called as one of callr's, saves it.
    save_function_to_temp <- function(options) saveRDS(options$args, file)
    save_function_to_temp(list(args = x, libpath = .libPaths()))
    expect_identical(in_new_session("readRDS(file)"), said)
    local({
        y <- x
        save(y, file = file)
    })
    expect_identical(in_new_session("load(file); y"), said)
    connection <- file(file, "wb")
    serialize(x, connection)
    close(connection)
    expect_identical(in_new_session("unserialize(c <- file(file, 'rb'))"), said)
    expect_gt(length(serialize(x, NULL)), 8 * n)
})

test_that("callr sends under 1 KB, and its process has the same pages", {
    skip_if_not_installed("callr")
    x <- result(runif(2e6))
    expect_identical(callr::r(inode, list(x)), inode(x))
    expect_identical(callr::r(function(x) x, list(x)), x)
    process <- callr::r_bg(function(x) NULL, list(x))
    expect_lt(file.size(process$.__enclos_env__$private$options$func_file), 1024)
    process$wait()
    session <- callr::r_session$new()
    on.exit(session$close())
    expect_identical(session$run(inode, list(x)), inode(x))
    # A process that does not find this package gets bytes.
    expect_identical(callr::r(function(x) list(length(x), requireNamespace("pyrmap", quietly = TRUE)), list(x),
                              libpath = .Library), list(length(x), FALSE))
})

test_that("a future on this machine has the same pages", {
    skip_if_not_installed("future")
    cluster <- workers(2L)
    on.exit({
        future::plan("sequential")
        stopCluster(cluster)
    })
    future::plan("cluster", workers = cluster)
    x <- result()
    found <- lapply(1:2, function(i) future::future(list(inode(x), x), packages = "pyrmap"))
    for (one in lapply(found, future::value)) {
        expect_identical(one[[1L]], inode(x))
        expect_identical(one[[2L]], x)
    }
})

test_that("a reference that cannot be resolved is an error that says why", {
    skip_if_not_installed("callr")
    x <- result()
    process <- callr::r_bg(function(x) Sys.sleep(600), list(x))
    file <- tempfile()
    file.copy(process$.__enclos_env__$private$options$func_file, file)
    process$kill()
    # It was taken, and what took it has ended; or its sender removes it here.
    taken <- setdiff(slots_of(Sys.getpid()), basename(pyrmap_info(x)$slot))
    for (slot in file.path(mount, taken))
        unlink(slot, recursive = TRUE)
    expect_error(readRDS(file), "is gone: its sender has ended", class = "pyrmap_reference_error")
    state <- c(list(1, pyrmap_info(x)$slot, 1), as.list(rep(0, 9)))
    expect_error(pyrmap:::reference_open(c(state, "another")), "another machine", class = "pyrmap_reference_error")
    expect_error(pyrmap:::reference_open(c(state, pyrmap:::boot_id())), "something else", class = "pyrmap_reference_error")
    expect_error(pyrmap:::reference_open(list(2)), "another version", class = "pyrmap_reference_error")
})
