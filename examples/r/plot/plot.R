# SPDX-License-Identifier: Apache-2.0
#
# Rscript plot.R [FILE.png] - Old Faithful: Python computes where eruptions are dense, R draws it.
library(pyrmap)

arguments <- commandArgs(TRUE)
file <- if (length(arguments)) arguments[[1]] else "density.png"

density <- run_python(as.matrix(faithful), "../../python/plot/density.py::density", args = list(n = 80L))
x <- density[, 1, 1]
y <- density[1, , 2]
height <- density[, , 3]

png(file, width = 900, height = 640, res = 110)
par(mar = c(4.2, 4.2, 2.5, 1))
image(x, y, height, col = hcl.colors(64, "YlGnBu", rev = TRUE), xlab = "eruption (minutes)",
      ylab = "waiting time to the next one (minutes)", main = "Old Faithful: two kinds of eruption")
contour(x, y, height, add = TRUE, drawlabels = FALSE, col = "grey35")
points(faithful, pch = 20, cex = 0.6)
invisible(dev.off())

cat("grid:", paste(dim(density), collapse = " x "), "\n")
peak <- which(height == max(height), arr.ind = TRUE)
cat(sprintf("the densest place: %.1f minutes, then %.0f minutes of waiting\n", x[peak[1]], y[peak[2]]))
cat(sprintf("the density sums up to %.2f\n", sum(height) * diff(x)[1] * diff(y)[1]))
