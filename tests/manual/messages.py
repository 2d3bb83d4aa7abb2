# SPDX-License-Identifier: Apache-2.0
"""The messages that the C sources have for users, as the page of troubleshooting is keyed by them."""
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

TOKEN = re.compile(r'''(?P<comment>/\*.*?\*/|//[^\n]*)|(?P<string>"(?:\\.|[^"\\])*")|(?P<char>'(?:\\.|[^'\\])+')'''
                   r"|(?P<word>[A-Za-z_]\w*)|(?P<space>\s+)|(?P<other>.)", re.DOTALL)
# What printf puts in: any value.
CONVERSION = re.compile(r"%[-+ #0]*[\d.*]*(?:hh|h|ll|l|z|j)?[a-zA-Z]|%%")
ANY = "..."


def tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind not in ("comment", "space"):
            yield kind, match.group()


def literals(path: Path) -> Iterator[tuple[str, str]]:
    """(function that is called around it, text) of each literal, adjacent ones joined, values as "..."."""
    text = re.sub(r"^#.*?(?<!\\)$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    calls: list[str] = []
    before = ""
    joined = ""
    words = list(tokens(text)) + [("other", ";")]
    for index, (kind, word) in enumerate(words):
        if kind == "string":
            joined += bytes(word[1:-1], "utf-8").decode("unicode_escape")
            continue
        # A macro between two literals, as PRIu64 is: a conversion goes on in it.
        if joined and kind == "word" and word.startswith("PRI"):
            joined += "llu"
            continue
        if joined:
            yield (calls[-1] if calls else ""), re.sub(r"(\.\.\.)+", ANY, CONVERSION.sub(ANY, joined))
            joined = ""
        if word in "([{":
            calls.append(before if word == "(" else "")
        elif word in ")]}" and calls:
            calls.pop()
        before = word if kind == "word" else before if word == "(" else ""
