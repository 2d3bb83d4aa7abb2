# SPDX-License-Identifier: Apache-2.0
"""pyrmapfs-troubleshooting(7) has an entry for each message that the sources have for users, and for nothing else."""
from __future__ import annotations

import re

from daemon import ROOT
from messages import literals

PAGE = ROOT / "packaging/man/pyrmapfs-troubleshooting.7"
# These have what the daemon shows when all is well: tables, pictures, numbers.
OTHER_FILES = {"fs/files/daemon_files.c", "fs/files/graph.c", "fs/protocol/view.c", "fs/protocol/bundle_text.c",
               "fs/daemon/service.c"}
OTHER_CALLS = {"static_assert", "log_debug", "log_info", "log_line", "printf", "fputs", "sscanf", "strstr"}
# Two steps of the handshake have words like these, and what they mean stands in pyrmapfs(7).
STATES = {"no input yet", "the input is being written", "input ready, nobody has begun the result", "input ready, for the consumer",
          "result ready, for the producer", "failed, see error"}
STEPS = re.compile(r"(open|write|rename|take|give|receive|stand|make|change|chain|have|lose|store|keep|fail|wait) ")
# Ends of longer messages, and frames around any.
PARTS = {"or run as root", "try it as root", "... = ...", "...=...", "...: refused to ... for process ...: ... (...)", "...: failed: ...",
         "...pyrmapfs: ...: ...", "passthrough (the kernel maps segments directly)", "page cache (...; ...)",
         "links (*.mem are the pages themselves, ...; ...)"}


def words_of(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(" ,:\n") if not text.startswith("source ... failed: ") else "source ... failed:"


def in_sources() -> set[str]:
    """Each text of three words or more, but those that are shown when nothing is wrong."""
    found = set()
    for path in [*sorted((ROOT / "fs").rglob("*.c")), *sorted((ROOT / "conf").glob("*.c"))]:
        name = str(path.relative_to(ROOT))
        for call, text in literals(path):
            if name in OTHER_FILES or call in OTHER_CALLS or text.count(" ") < 2:
                continue
            # The table of keys, which pyrmapfs.conf(5) repeats, and the reports.
            if name.startswith("conf/") and call != "value_refuse" or name == "fs/files/report.c" and "=" in text:
                continue
            if text.startswith("usage:") or not re.search("[a-z]{2}", text.replace("...", "")) and ".... is" not in text:
                continue
            found.add(words_of(text))
    return {text for text in found if text not in STATES | PARTS and not (STEPS.match(text) and len(text) < 36)}


def on_page() -> list[str]:
    return [entry.replace(r"\eu", r"\u") for entry in re.findall(r'^\.It Li "(.*)"$', PAGE.read_text(), re.MULTILINE)]


def test_every_message_has_an_entry() -> None:
    missing = in_sources() - set(on_page())
    assert not missing, "add to the page:\n" + "\n".join(sorted(missing))


def test_every_entry_is_a_message() -> None:
    entries = on_page()
    assert len(entries) > 150 and len(set(entries)) == len(entries)
    gone = set(entries) - in_sources() - {"-o ...: ...", "'...' is not ...", "tensor ... ...", "the arena's ..."}
    assert not gone, "no source says this any more:\n" + "\n".join(sorted(gone))


def test_conditions_and_exceptions() -> None:
    text = PAGE.read_text()
    entries = set(re.findall(r"^\.It Li ([A-Za-z_]+)$", text, re.MULTILINE))
    sources = "\n".join(path.read_text() for path in (ROOT / "packaging/r").rglob("*") if path.suffix in (".R", ".c"))
    conditions = set(re.findall(r'"(pyrmap_(?!error)(?:[a-z]+_)*(?:error|warning|died|lost|loss|cancelled|timeout|bundle|mount|slot|'
                                r'python|numpy|module|package|script|function))"', sources)) - {"pyrmap_mount"}
    python = "\n".join(path.read_text() for path in (ROOT / "packaging/python/src/pyrmap").glob("*.py"))
    public = set(re.findall(r'"(\w+)"', re.search(r"__all__ = \[(.*?)\]", python, re.DOTALL)[1]))  # type: ignore[index]
    exceptions = {name for name in re.findall(r"^class (\w+)\((?:\w*Error|RuntimeError)\)", python, re.MULTILINE) if name in public}
    assert len(conditions) > 15 and len(exceptions) > 4
    assert entries == conditions | exceptions
