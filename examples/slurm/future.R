# SPDX-License-Identifier: Apache-2.0
# Rscript future.R COUNT - the same from one R session: each future is a job of Slurm's.
library(future.batchtools)
source("flchain.R")

plan(batchtools_slurm, template = normalizePath("slurm.tmpl"))
numbers <- 0:as.integer(commandArgs(trailingOnly = TRUE)[1L])
# The job begins in this directory, so it has the script and the data of this one.
futures <- lapply(numbers, function(number) {
    future({
        source("flchain.R", local = TRUE)
        coefficients_of(number)
    }, globals = list(number = number), packages = "pyrmap")
})
report(value(futures))
