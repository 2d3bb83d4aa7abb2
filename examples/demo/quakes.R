# SPDX-License-Identifier: Apache-2.0
# Producer, in base R: writes an array, publishes it, waits for the answer.
slot <- commandArgs(trailingOnly = TRUE)[1]
path <- function(name) file.path(slot, name)

x <- as.matrix(quakes) # 1000 earthquakes off Fiji: lat, long, depth, mag, stations

con <- file(path("data.bin"), "wb")
writeBin(as.double(x), con)
close(con)

# The 128 bytes of metadata.bin as 32 little-endian words; a 64-bit number is its low word, then its high one.
record <- c(
  0, 2,                                # flag: input ready; version
  length(x), 0, 2, 0, -1, -1, 0, 0,    # length, dtype float64, result_dtype, result_length, round
  2, 0,                                # dimensions of the input and of the result
  nrow(x), 0, ncol(x), 0, 0, 0, 0, 0,  # shape of the input
  rep(0, 8),                           # shape of the result
  1, 0, 0, 0                           # order: the input is column-major; the rest is the filesystem's
)
cat("R: publishing", nrow(x), "x", ncol(x), "doubles\n")
con <- file(path("metadata.bin"), "wb")
writeBin(as.integer(record), con, endian = "little")
close(con)

con <- file(path("result.bin"), "rb") # returns once there is a result
answer <- matrix(readBin(con, "double", 2 * ncol(x)), ncol = 2)
close(con)

own <- cbind(colMeans(x), apply(x, 2, sd))
cat("R: an answer came; beside it what R itself says\n")
print(data.frame(
  mean = answer[, 1], mean_in_R = own[, 1], sd = answer[, 2], sd_in_R = own[, 2],
  row.names = colnames(x)
), digits = 6)
stopifnot(all.equal(answer, unname(own)))
