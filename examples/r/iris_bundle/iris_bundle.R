# SPDX-License-Identifier: Apache-2.0
#
# Rscript iris_bundle.R - several arrays, text, factors and tables, into Python and back: a classifier of scikit-learn on R's iris.
library(pyrmap)

script <- "../../python/iris_bundle/iris_bundle.py"
X <- as.matrix(iris[, 1:4])

# A list becomes a dict, a dict a named list.
fitted <- run_python(list(X = X, y = iris$Species), paste0(script, "::fit"))
str(fitted)
print(table(species = iris$Species, predicted = fitted$labels))
colnames(fitted$probabilities) <- fitted$classes
print(round(fitted$probabilities[c(1, 71, 134), ], 3))

# A second array as an argument by name.
accuracy <- run_python(X, paste0(script, "::cross_validated"), args = list(y = iris$Species, folds = 3L))
cat("right in each of three folds:", format(accuracy, digits = 3), "\n")

# A data frame becomes a pandas.DataFrame, and back. Its index, which counts from 0, would be the row names.
flowers <- run_python(iris, paste0(script, "::doubtful"), args = list("Species", least = 0.8))
print(flowers[c("Petal.Length", "Petal.Width", "Species", "predicted", "sure")], row.names = FALSE)
