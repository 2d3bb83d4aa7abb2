# SPDX-License-Identifier: Apache-2.0
#
# Rscript pipeline.R - three Python stages, each with the result of the one before it; R gets all of them.
library(pyrmap)

scripts <- file.path("../../python/pipeline", c("clean.py", "scale.py", "score.py"))
air <- as.matrix(airquality[, c("Ozone", "Solar.R", "Wind", "Temp")])

results <- run_python_pipeline(data = air, script_paths = scripts, dtype = "float64", intermediate = TRUE)

for (stage in names(results)) {
    size <- if (is.null(dim(results[[stage]]))) length(results[[stage]]) else dim(results[[stage]])
    cat(stage, ": ", paste(size, collapse = " x "), "\n", sep = "")
}
own <- scale(na.omit(air))
cat("scale() agrees:", isTRUE(all.equal(results$scale, own, check.attributes = FALSE)), "\n")

day <- which(complete.cases(air))[which.max(results$score)]
cat(sprintf("the most unusual day: %s %d\n", month.name[airquality$Month[day]], airquality$Day[day]))
print(airquality[day, 1:4], row.names = FALSE)
