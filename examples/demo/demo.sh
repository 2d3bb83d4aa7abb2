#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# R hands a data set to Python and gets an answer back, through plain files below a private mount.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
pyrmapfs=$(realpath "${PYRMAPFS:-${BUILD:-$here/../../build}/pyrmapfs}")
python=${PYTHON:-/usr/bin/python3}

work=$(mktemp -d)
finish() {
    cd /
    ! mountpoint -q "$work/mnt" || umount "$work/mnt" 2>/dev/null || fusermount3 -u "$work/mnt"
    rm -r "$work"
}
trap finish EXIT

show() {
    printf '\n$ %s\n' "$*"
    eval "$*"
}

cd "$work"
mkdir bin mnt
ln -s "$pyrmapfs" bin/pyrmapfs
ln -s "$python" bin/python3
cp "$here/quakes.R" "$here/stats.py" .
PATH=$work/bin:$PATH

show pyrmapfs mnt
show mkdir mnt/quakes
show 'Rscript --vanilla quakes.R mnt/quakes &'
r=$!

# Opening data.bin for reading waits until it is published.
timeout 60 head -c 0 mnt/quakes/data.bin
show ls -l mnt/quakes
show cat mnt/quakes/metadata.txt
show head -3 mnt/quakes/data.txt

show 'python3 stats.py mnt/quakes'
wait $r

show "grep -E '^(state|round|result_)' mnt/quakes/metadata.txt"
show rm -r mnt/quakes
show df -h mnt
