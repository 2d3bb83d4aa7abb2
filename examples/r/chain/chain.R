# SPDX-License-Identifier: Apache-2.0
#
# Rscript chain.R - R -> Python -> Python -> R: iris in groups, by two stages that the filesystem chains.
# Many tables go through one pipeline; the stages stay declared, and are seen as slots.
library(pyrmap)

pipeline <- pyrmap_pipeline(file.path("../../python/chain", c("standardise.py", "cluster.py")))
print(pipeline)

pipeline$push(as.matrix(iris[, 1:4]))
pipeline$push(as.matrix(iris[, 3:4]))

own <- pyrmap_slots()
own <- own[!is.na(own$owner) & own$owner == Sys.getpid(), ]
cat("a slot whose input is another one's result:", any(grepl("/result.bin$", own$source)), "\n")

for (columns in c("sepals and petals", "petals only")) {
    group <- pipeline$pull()
    cat("\n", columns, "\n", sep = "")
    print(table(species = iris$Species, group = group))
}
pipeline$close()
