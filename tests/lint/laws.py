# SPDX-License-Identifier: Apache-2.0
"""The laws of fs/, checked: python3 laws.py [FS]. Prints each breach and exits with 1 if there is one.

- A folder of fs/ includes only itself and folders below it in ORDER, by qualified names: "arena/segment.h".
- There is no circle among files: x.c and x.h count as one.
- x.c has x.h, and each function, struct, union and enum that x.h declares is named x or begins with x_. A table of
  many x may say xs, and what belongs to a whole folder bears the folder's name.
- Only main.c and the folders of FUSE include libfuse: everything else is linked into the unit tests without it.
- main.c names every file in its table of contents.
- Git tracks nothing at the top but what TOP names.
"""
from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ORDER = ["daemon", "fuse", "files", "exchange", "slot", "arena", "protocol", "base"]
FUSE = ["daemon", "fuse"]
# The exchange and what lies below get what they need of the configuration as values.
CONF = ["daemon", "fuse", "files"]
TOP = ["Makefile", "README.md", "LICENSE", "fs", "conf", "tests", "examples", "packaging", ".ci", ".clang-format", ".clang-tidy",
       ".gitignore"]

INCLUDE = re.compile(r'^#include "([^"]+)"', re.M)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
FUNCTION = re.compile(r"^(?!(?:typedef|return|else)\b)[a-z_][\w \t*]*?\b(\w+)\((?!\*)", re.M)
TAG = re.compile(r"^(?:struct|union|enum) (\w+) \{", re.M)


def unit(path: str) -> str:
    """fs/arena/warm.c and fs/arena/warm.h: arena/warm."""
    return re.sub(r"\.[ch]$", "", path)


def breaches_of_includes(name: str, text: str, units: set[str]) -> Iterator[str]:
    folder = name.split("/")[0] if "/" in name else ""
    for header in INCLUDE.findall(text):
        if header == "conf.h":
            if folder and folder not in CONF:
                yield f"{name} includes conf.h, which only main.c, {', '.join(CONF)}/ do"
        elif unit(header) not in units:
            yield f'{name} includes "{header}": name it from fs/ on, as in "arena/segment.h"'
        elif folder and ORDER.index(header.split("/")[0]) < ORDER.index(folder):
            yield f'{name} includes "{header}", which lies above {folder}/'
    if folder not in FUSE and name != "main.c" and re.search(r"#include <fuse", text):
        yield f"{name} includes libfuse, which only main.c, {' and '.join(FUSE)}/ do"


def breaches_of_names(name: str, text: str) -> Iterator[str]:
    prefix = "|".join(unit(name).split("/"))
    text = re.sub(r"__attribute__\(\(.*?\)\)\)?\s*", "", COMMENT.sub("", text))
    for declared in FUNCTION.findall(text) + TAG.findall(text):
        if not re.fullmatch(rf"({prefix})s?(_\w+)?", declared):
            yield f"{name} declares {declared}: it does not begin with {Path(unit(name)).name}_"


def circles(edges: dict[str, set[str]]) -> Iterator[str]:
    """One line for each file that can be reached from itself, by the shortest way."""
    for start in sorted(edges):
        ways = [[start]]
        seen: set[str] = set()
        while ways:
            way = ways.pop(0)
            for target in sorted(edges[way[-1]]):
                if target == start:
                    yield "a circle: " + " -> ".join([*way, start])
                    ways = []
                    break
                if target not in seen:
                    seen.add(target)
                    ways.append([*way, target])


def breaches_of_the_top() -> Iterator[str]:
    """None where there is no Git, as in what a tarball brings."""
    listing = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False)
    for name in sorted({path.split("/")[0] for path in listing.stdout.splitlines()} - set(TOP)):
        yield f"{name} lies at the top, where only {', '.join(TOP)} do"


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "fs")
    texts = {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*.[ch]"))}
    units = {unit(name) for name in texts}
    edges: dict[str, set[str]] = {name: set() for name in units}
    found: list[str] = []
    for name, text in texts.items():
        found += breaches_of_includes(name, text, units)
        if name.endswith(".h"):
            found += breaches_of_names(name, text)
        elif name != "main.c" and unit(name) + ".h" not in texts:
            found.append(f"{name} has no {Path(unit(name)).name}.h")
        edges[unit(name)] |= {unit(header) for header in INCLUDE.findall(text)} & units - {unit(name)}
        if "/" in name and name.split("/")[0] not in ORDER or "/" not in name and name != "main.c":
            found.append(f"{name} lies in none of {', '.join(ORDER)}")
        named = re.search(rf"^ \*   {re.escape(Path(unit(name)).name)} ", texts["main.c"], re.M)
        if name != "main.c" and not named:
            found.append(f"main.c does not name {name} in its table of contents")
    found += circles(edges)
    found += breaches_of_the_top()
    print("\n".join(found) if found else f"{len(texts)} files, {len(units)} modules: the laws are kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
