# SPDX-License-Identifier: Apache-2.0
#
# Rscript shared.R - three scripts in parallel on one input, which is in memory once.
library(pyrmap)

scripts <- file.path("../../python/shared", c("double.py", "half.py", "summary.py"))

results <- run_python_shared_data(data = c(1, 4, 9, 16, 25), script_paths = scripts, dtype = "float64")

str(results)
