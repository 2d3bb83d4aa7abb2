# SPDX-License-Identifier: Apache-2.0
#
# Rscript num_plus_one.R - one more than each number; a matrix stays a matrix, an integer an integer.
library(pyrmap)

script <- "../../python/num_plus_one/num_plus_one.py"

print(run_python(41L, script))
print(run_python(c(0.5, Inf, 2.5), script))
print(run_python(matrix(1:6, nrow = 2), script))
print(run_python(as.raw(c(1, 15, 254)), script))
