# SPDX-License-Identifier: Apache-2.0
#
# Rscript sklearn_complex.R - handwritten digits, told apart by support vectors in scikit-learn; R looks at the errors.
library(pyrmap)

confusion <- run_python(data = c(0.001, 10), python_script_path = "../../python/sklearn_complex/digits_classify.py")

dimnames(confusion) <- list(true = 0:9, predicted = 0:9)
print(confusion)
cat(sprintf("%.1f %% are right\n", 100 * sum(diag(confusion)) / sum(confusion)))

errors <- confusion
diag(errors) <- 0L
worst <- which(errors == max(errors), arr.ind = TRUE)[1, ] - 1
cat(sprintf("most often a %d is taken for a %d\n", worst[["true"]], worst[["predicted"]]))
