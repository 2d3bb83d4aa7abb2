# SPDX-License-Identifier: Apache-2.0
# One task: R and Python exchange arrays on the mount of the node that it runs on, and a file of six numbers leaves the node.
source("flchain.R")

results <- commandArgs(trailingOnly = TRUE)[1L]
number <- as.integer(Sys.getenv("SLURM_ARRAY_TASK_ID", "0"))
file <- file.path(results, sprintf("%03d.rds", number))
saveRDS(coefficients_of(number), paste0(file, ".part"))
invisible(file.rename(paste0(file, ".part"), file))
