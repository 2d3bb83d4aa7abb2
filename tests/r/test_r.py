# SPDX-License-Identifier: Apache-2.0
"""The R package's testthat suite and the R examples, each against a fresh mount."""
from __future__ import annotations

import difflib
import os
import re
import subprocess
from pathlib import Path

import pytest

import skipped
from daemon import BUILD, PYRMAPFS, ROOT
from paths import PATHS, check_data_path, mounted

EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples" / "r").glob("*/expected.txt"))
SUITES = sorted(path.name for path in (ROOT / "tests" / "r").glob("test-*.R"))
SUITE = """
outcome <- testthat::test_file("{suite}", reporter = testthat::MultiReporter$new(list(
    testthat::SummaryReporter$new(), testthat::FailReporter$new())))
for (test in outcome) {{
    for (result in Filter(function(result) inherits(result, "expectation_skip"), test$results))
        cat("SKIPPED [1] tests/r/{suite}: ", test$test, ": ", conditionMessage(result), "\\n", sep = "")
}}
"""


# Workers in other languages: the command, with the slot's path, and what it prints.
PLAIN = {
    "c": (["Rscript", "c/rolling_mean.R", "{slot}", "{build}/examples/c/rolling_mean"],
          "Nile: 100 values, rolling mean from 707.8 to 1218.0, R agrees: TRUE\n"
          "lynx: 114 values, rolling mean from 81.6 to 4479.8, R agrees: TRUE\n"),
    "shell": (["Rscript", "shell/client.R", "{slot}"],
              "precip in 70 cities of the US: awk says 2442.0 inches, R says 2442.0\n"),
    "bytes": (["shell/client.sh", "{slot}", "{root}/examples/r/chain/chain.R"], "{size} bytes became [0-9]+\n"),
}


def environment(mount: Path) -> dict[str, str]:
    """What R needs to find the packages as make built them, and this mount."""
    paths = {"R_LIBS": BUILD / "r-library", "PYTHONPATH": BUILD / "python"}
    joined = {name: f"{path.resolve()}:{os.environ.get(name, '')}".rstrip(":") for name, path in paths.items()}
    return {**os.environ, **joined, "PYRMAP_MOUNT": str(mount), "PYRMAPFS": str(PYRMAPFS)}


def rscript(directory: Path, mount: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["Rscript", *arguments], cwd=directory, env=environment(mount), text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)


@pytest.mark.time_limit(300)
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("path", PATHS)
def test_suite(path: str, suite: str) -> None:
    with mounted(path) as daemon:
        check_data_path(daemon, path)
        ran = rscript(ROOT / "tests" / "r", daemon.path, "-e", SUITE.format(suite=suite))
        print(ran.stdout, ran.stderr)
        assert ran.returncode == 0, ran.stdout[-20000:] + ran.stderr[-5000:]
        skipped.collect(ran.stdout)


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("path", PATHS)
def test_example(path: str, example: str, tmp_path: Path) -> None:
    directory = ROOT / "examples" / "r" / example
    expected = (directory / "expected.txt").read_text()
    arguments = [str(tmp_path / "plot.png")] if example == "plot" else []
    with mounted(path) as daemon:
        ran = rscript(directory, daemon.path, f"{example}.R", *arguments)
    assert ran.returncode == 0, ran.stderr
    difference = difflib.unified_diff(expected.splitlines(), ran.stdout.splitlines(), "expected", "printed", lineterm="")
    assert ran.stdout == expected, "\n".join(difference)
    if arguments:
        assert re.match(rb"\x89PNG", Path(arguments[0]).read_bytes())


@pytest.mark.parametrize("example", PLAIN)
@pytest.mark.parametrize("path", PATHS)
def test_other_languages(path: str, example: str) -> None:
    command, expected = PLAIN[example]
    with mounted(path) as daemon:
        names = {"slot": daemon.path / "job", "build": BUILD.resolve(), "root": ROOT}
        ran = subprocess.run([word.format_map(names) for word in command], cwd=ROOT / "examples", text=True,
                             stdin=subprocess.DEVNULL, capture_output=True)
        left = list(daemon.path.glob("job"))
    assert ran.returncode == 0, ran.stderr
    size = (ROOT / "examples" / "r" / "chain" / "chain.R").stat().st_size
    assert re.fullmatch(expected.replace("{size}", str(size)), ran.stdout), ran.stdout
    assert not left
