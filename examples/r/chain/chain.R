# SPDX-License-Identifier: Apache-2.0
#
# Rscript chain.R - R -> Python -> Python -> R: iris in groups, by two stages that the filesystem chains. Many tables go
# through one pipeline; ls and cat watch it, as they would from any terminal.
library(pyrmap)

pipeline <- pyrmap_pipeline(file.path("../../python/chain", c("standardise.py", "cluster.py")))
print(pipeline)
slots <- basename(pipeline$slots())
setwd(pyrmap_mount())

# Shows slots by the names of their stages.
shown <- function(lines) {
    for (i in seq_along(slots))
        lines <- gsub(slots[i], pipeline$stages[i], lines, fixed = TRUE)
    cat(lines, sep = "\n")
}
shell <- function(command) {
    shown(c("", paste("$", command)))
    shown(system(command, intern = TRUE))
}
both <- function(file) paste(file.path(slots, file), collapse = " ")

shell(sprintf("ls -l %s/source | grep -o '[^ ]* -> .*'", slots[2]))
shell(paste("grep -h ^state=", both("metadata.txt")))

# cat begins to read before there is anything to see: it waits for the first stage's result.
watch <- sprintf("cat %s/result.bin | wc -c", slots[1])
watcher <- pipe(watch, "r")
pipeline$push(as.matrix(iris[, 1:4]))
shown(c("", paste("$", watch, " # started before the input came"), readLines(watcher)))
close(watcher)
group <- pipeline$pull()

shell(paste("grep -h -e ^state= -e ^result_shape= -e ^result_dtype=", both("metadata.txt")))
shell(paste("head -qn 2", both("data.txt"), file.path(slots[2], "result.txt")))
inodes <- sub(" .*", "", system(sprintf("ls -i %s/result.bin %s/data.bin", slots[1], slots[2]), intern = TRUE))
cat("\none stage's result is the next one's input, the same file:", inodes[1] == inodes[2], "\n")

cat("\nsepals and petals\n")
print(table(species = iris$Species, group = group))

pipeline$push(as.matrix(iris[, 3:4]))
cat("\npetals only\n")
print(table(species = iris$Species, group = pipeline$pull()))
pipeline$close()
