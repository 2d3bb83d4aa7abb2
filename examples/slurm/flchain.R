# SPDX-License-Identifier: Apache-2.0
# The data of both examples: free light chains in the blood of 6524 people, and who died (package survival).
library(pyrmap)

flchain <- local({
    data <- survival::flchain[c("age", "sex", "creatinine", "kappa", "lambda", "death")]
    data[complete.cases(data), ]
})

# The coefficients of a logistic regression on a resample, by Python. number: which; 0: the data as they are.
coefficients_of <- function(number) {
    set.seed(number)
    rows <- if (number == 0) seq_len(nrow(flchain)) else sample(nrow(flchain), replace = TRUE)
    data <- flchain[rows, ]
    x <- pyrmap_array(list(X = c(nrow(data), 5), y = nrow(data)))
    x$X[] <- cbind(data$age, data$sex == "M", data$creatinine, data$kappa, data$lambda)
    x$y[] <- data$death
    fitted <- run_python(x, "logistic.py::fit", timeout = 120)
    stats::setNames(fitted, c("(Intercept)", "age", "male", "creatinine", "kappa", "lambda"))
}

# The same by R.
by_r <- function() {
    stats::coef(stats::glm(death ~ age + (sex == "M") + creatinine + kappa + lambda, stats::binomial, flchain,
                           control = list(epsilon = 1e-12)))
}

report <- function(estimates) {
    table <- vapply(estimates, identity, numeric(6))
    bounds <- apply(table[, -1L], 1L, range)
    cat("R and Python agree:", isTRUE(all.equal(unname(table[, 1L]), unname(by_r()), tolerance = 1e-6)), "\n")
    cat(ncol(table) - 1L, "resamples\n")
    print(round(cbind(estimate = table[, 1L], lowest = bounds[1L, ], highest = bounds[2L, ]), 3L))
}
