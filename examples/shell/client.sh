#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# client.sh SLOT FILE - has FILE compressed by compress.sh, through a slot that it makes and removes.
set -eu
slot=$1 file=$2
here=$(dirname "$0")

mkdir "$slot"
trap 'rm -r "$slot"' EXIT
"$here/compress.sh" "$slot" &

cat "$file" >"$slot/data.bin"
printf 'dtype=uint8\nflag=0\n' >"$slot/metadata.txt"

# Opening result.bin waits until the worker has published it, and fails with EIO if the worker failed.
gunzip -c <"$slot/result.bin" | cmp - "$file"
echo "$(wc -c <"$file") bytes became $(wc -c <"$slot/result.bin")"
wait
