# SPDX-License-Identifier: Apache-2.0
"""The Python of README.md and of the manual, as it stands there: it works, and a refusal is an error."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from daemon import ROOT
from pyrmap import Slot


def of_readme() -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    [recipe] = [block for block in blocks if "result.bin" in block]
    return str(recipe.replace("/mnt/pyrmap/job", "{slot}"))


def of_manual() -> str:
    blocks = re.findall(r"\.Bd -literal.*?\n(.*?)\.Ed", (ROOT / "packaging/man/pyrmapfs.7").read_text(), re.DOTALL)
    [recipe] = [block for block in blocks if "import numpy" in block]
    return str(recipe.replace("\\en", "\\n").replace('"/mnt/pyrmap/squares/"', '"{slot}/"'))


RECIPES: dict[str, tuple[Callable[[], str], Callable[..., Any]]] = {"readme": (of_readme, np.sqrt), "manual": (of_manual, np.square)}


def follow(recipe: str, job: Path) -> "subprocess.CompletedProcess[str]":
    code = recipe.replace("{slot}", str(job)) + "\nprint('the program goes on')\n"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works(producer: Slot, job: Path, name: str) -> None:
    recipe, function = RECIPES[name]
    producer.produce([1.0, 4.0, 9.0])
    producer.publish()
    done = follow(recipe(), job)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the program goes on\n", "")
    assert np.array_equal(producer.result(), function([1.0, 4.0, 9.0]))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_does_not_go_on_after_a_refusal(producer: Slot, job: Path, name: str) -> None:
    producer.produce([1.0, 4.0, 9.0])
    producer.publish()
    # Somebody still writes the result: publishing it is refused.
    fd = os.open(job / "result.bin", os.O_RDWR)
    try:
        text = RECIPES[name][0]()
        done = follow(text[text.index("with open"):].replace("slot +", f"'{job}/' +"), job)
    finally:
        os.close(fd)
    assert done.returncode != 0
    assert "Device or resource busy" in done.stderr and "goes on" not in done.stdout
