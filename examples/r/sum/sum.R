# SPDX-License-Identifier: Apache-2.0
#
# Rscript sum.R - the sum of a vector, computed by a Python script.
library(pyrmap)

input_data <- 1:10

result <- run_python(
    data = input_data,
    python_script_path = "../../python/sum/sum.py",
    dtype = "int32"
)

print(paste("SUM", result))
