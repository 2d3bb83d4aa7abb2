# SPDX-License-Identifier: Apache-2.0
# Generated from fs/protocol/record.h by `make generate`: change it there.

# The codes of the dtypes of arrays in the record.
dtypes <- c(float32 = 1L, float64 = 2L, int32 = 3L, int64 = 4L, uint8 = 5L)

# The code of a bundle, several arrays in one.
dtype_bundle <- 6L
