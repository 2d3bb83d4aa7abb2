# SPDX-License-Identifier: Apache-2.0
#
# Rscript rolling_mean.R SLOT PROGRAM - base R, no package: rolling means of two series, computed by
# the C program rolling_mean in two rounds of one slot.
arguments <- commandArgs(TRUE)
slot <- arguments[[1]]
width <- 5

# We stop where the filesystem refuses a write: writeLines() warns then, and cat() would say nothing.
options(warn = 2)
dir.create(slot)
system2(arguments[[2]], c(slot, width, 2), wait = FALSE)

for (name in c("Nile", "lynx")) {
    x <- as.double(get(name))
    writeBin(x, file.path(slot, "data.bin"))
    writeLines(c("dtype=float64", "flag=0"), file.path(slot, "metadata.txt"))

    # Opening result.bin waits for the worker.
    mean <- readBin(file.path(slot, "result.bin"), "double", length(x))
    own <- as.double(stats::filter(x, rep(1 / width, width)))
    cat(sprintf("%s: %d values, rolling mean from %.1f to %.1f, R agrees: %s\n", name, length(x),
                min(mean, na.rm = TRUE), max(mean, na.rm = TRUE), isTRUE(all.equal(mean, own))))
}
unlink(slot, recursive = TRUE)
