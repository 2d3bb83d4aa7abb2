# SPDX-License-Identifier: Apache-2.0
#
# Rscript sklearn_simple.R - principal components by scikit-learn, beside R's own.
library(pyrmap)

flowers <- as.matrix(iris[, 1:4])
projected <- run_python(flowers, "../../python/sklearn_simple/iris_pca.py")

own <- prcomp(iris[, 1:4])
signs <- sign(own$rotation[cbind(max.col(t(abs(own$rotation[, 1:2]))), 1:2)])

cat(nrow(projected), "flowers on", ncol(projected), "components\n")
print(round(aggregate(as.data.frame(projected), list(species = iris$Species), mean)[, -1], 2))
# The two packages' iris differ in two flowers, by 0.1 cm.
cat("largest difference to prcomp():", format(max(abs(projected - own$x[, 1:2] %*% diag(signs))), digits = 1), "\n")
