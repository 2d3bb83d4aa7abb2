# SPDX-License-Identifier: Apache-2.0
#
# Rscript parts.R - a matrix, each half of which another Python process has computed.
library(pyrmap)

result <- run_python(c(4, 5), "../../python/parts/parts.py::distances")

print(round(result, 2))
print(all.equal(result, outer(0:3, 0:4, function(x, y) sqrt(x^2 + y^2))))
