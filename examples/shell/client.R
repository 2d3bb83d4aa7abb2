# SPDX-License-Identifier: Apache-2.0
#
# Rscript client.R SLOT - base R, no package: the sum of a vector, computed by sum.sh.
slot <- commandArgs(TRUE)[[1]]
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))

# We stop where the filesystem refuses a write: writeLines() warns then, and cat() would say nothing.
options(warn = 2)
dir.create(slot)
system2("sh", c(file.path(here, "sum.sh"), slot), wait = FALSE)

x <- as.double(precip)
writeBin(x, file.path(slot, "data.bin"))
writeLines(c("dtype=float64", "flag=0"), file.path(slot, "metadata.txt"))

# Opening result.bin waits for the worker.
total <- readBin(file.path(slot, "result.bin"), "double")
cat(sprintf("precip in %d cities of the US: awk says %.1f inches, R says %.1f\n", length(x), total, sum(x)))
unlink(slot, recursive = TRUE)
