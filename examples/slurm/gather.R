# SPDX-License-Identifier: Apache-2.0
# Rscript gather.R RESULTS - what the tasks of bootstrap.sbatch have found.
source("flchain.R")

files <- list.files(commandArgs(trailingOnly = TRUE)[1L], "\\.rds$", full.names = TRUE)
report(lapply(sort(files), readRDS))
