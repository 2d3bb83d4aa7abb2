#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# compress.sh SLOT - a worker that compresses bytes. gzip itself waits for its input: data.bin opens when it is
# published.
set -eu
slot=$1

gzip -c <"$slot/data.bin" >"$slot/result.bin" || {
    echo "gzip failed" >"$slot/error"
    exit 1
}
printf 'result_dtype=uint8\nflag=1\n' >"$slot/metadata.txt"
