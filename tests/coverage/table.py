# SPDX-License-Identifier: Apache-2.0
"""table.py GCOVR.json REPORT: the branches of fs/ that tests have taken, by folder and file; REPORT lists the others.

Fails if a part is below what it has to reach.
"""
from __future__ import annotations

import collections
import json
import sys
from pathlib import Path

# Parts that other parts rely on, and the percentage of their branches that tests must take.
WANTED = {"fs/protocol/handshake.c": 100, "fs/exchange": 90, "fs/slot": 90, "fs/slot/index.c": 90, "fs/arena": 90}


def main(source: str, report: str) -> int:
    taken: collections.Counter[str] = collections.Counter()
    total: collections.Counter[str] = collections.Counter()
    missing: list[str] = []
    for file in json.loads(Path(source).read_text())["files"]:
        path = file["file"]
        for line in file["lines"]:
            branches = line["branches"]
            if line.get("gcovr/noncode"):
                continue
            for part in (path, str(Path(path).parent), "fs"):
                total[part] += len(branches)
                taken[part] += sum(branch["count"] > 0 for branch in branches)
            never = [str(number) for number, branch in enumerate(branches) if branch["count"] == 0]
            if line["count"] == 0:
                missing.append(f"{path}:{line['line_number']}: never run")
            elif never:
                missing.append(f"{path}:{line['line_number']}: branch {', '.join(never)} of {len(branches)}")
    Path(report).write_text("\n".join(missing) + "\n")
    failed = 0
    for part in sorted(total):
        if not total[part]:
            continue
        percent = 100 * taken[part] / total[part]
        wanted = WANTED.get(part, 0)
        failed |= percent < wanted
        print(f"{part + ('' if Path(part).suffix else '/'):32} {taken[part]:6} of {total[part]:6}  {percent:5.1f} %"
              + (f"  (wanted: {wanted} %{'' if percent >= wanted else ', MISSED'})" if wanted else ""))
    print(f"what is not covered: {report}, {len(missing)} lines")
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
