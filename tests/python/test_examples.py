# SPDX-License-Identifier: Apache-2.0
"""The Python sides of the examples: what they compute and print. tests/r runs the examples whole."""
from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon import ROOT
from pyrmap import Slot
from serving import Keeper, eventually

PYTHON = ROOT / "examples" / "python"
SLOW = 120.0


def compute(keeper: Keeper, producer: Slot, script: str, value: object, *args: object) -> np.ndarray[Any, Any]:
    """What an example makes of a value that R would send: matrices come column-major."""
    path, _, function = script.partition("::")
    keeper.run(Path(producer.path), PYTHON / path, function or None, *args)
    producer.produce(np.asfortranarray(value))
    producer.publish()
    return producer.result(SLOW)


def scikit_learn() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")


@pytest.mark.parametrize("script, value, expected", [
    ("sum/sum.py", [1.5, 2.5, 3.0], [7.0]),
    ("sum/sum.py", np.arange(10, dtype="int32"), [45]),
    ("num_plus_one/num_plus_one.py", [1, 2, 3], [2, 3, 4]),
    ("num_plus_one/num_plus_one.py", [0.5], [1.5]),
    ("shared/double.py", [1.0, 2.0], [2.0, 4.0]),
    ("shared/half.py", [1, 2], [0.5, 1.0]),
    ("shared/summary.py", [1.0, 2.0, 6.0], [1.0, 3.0, 6.0]),
    ("performance/echo.py", np.arange(1e5), np.arange(1e5) + 1),
    ("reticulate/plus_one.py::plus_one", [1.0, 2.0], [2.0, 3.0]),
    ("parts/parts.py::distances", [300.0, 70.0], np.hypot(np.arange(300)[:, np.newaxis], np.arange(70))),
])
def test_numbers(keeper: Keeper, producer: Slot, script: str, value: object, expected: object) -> None:
    assert np.array_equal(compute(keeper, producer, script, value), np.array(expected))


def test_pipeline(keeper: Keeper, producer: Slot) -> None:
    table = np.array([[1.0, 10.0], [np.nan, 20.0], [3.0, 40.0], [5.0, 30.0]])
    complete = compute(keeper, producer, "pipeline/clean.py", table)
    assert np.array_equal(complete, table[[0, 2, 3]])
    eventually(lambda: keeper.output == "clean: 3 of 4 rows are complete\n", "the output arrives")
    scaled = compute(keeper, producer, "pipeline/scale.py", complete)
    assert np.allclose(scaled, [[-1, -1.0910894511799618], [0, 0.8728715609439694], [1, 0.21821789023599236]])
    assert np.allclose(compute(keeper, producer, "pipeline/score.py", scaled), np.hypot(*scaled.T))


def test_density(keeper: Keeper, producer: Slot) -> None:
    points = np.random.default_rng(1).normal(size=(200, 2))
    grid = compute(keeper, producer, "plot/density.py::density", points, 60.0)
    assert grid.shape == (60, 60, 3) and grid.flags.f_contiguous
    cell = (grid[1, 0, 0] - grid[0, 0, 0]) * (grid[0, 1, 1] - grid[0, 0, 1])
    # What lies beyond the edges of the grid is missing.
    assert 0.95 < grid[:, :, 2].sum() * cell <= 1


@pytest.mark.time_limit(SLOW)
def test_principal_components(keeper: Keeper, producer: Slot) -> None:
    scikit_learn()
    from sklearn.datasets import load_iris

    flowers = load_iris().data
    places = compute(keeper, producer, "sklearn_simple/iris_pca.py", flowers)
    assert places.shape == (150, 2)
    # Variances of R's prcomp(iris[, 1:4]).
    assert np.allclose(places.std(axis=0, ddof=1), [2.0562689, 0.4926162], atol=2e-3)


@pytest.mark.time_limit(SLOW)
def test_digits(keeper: Keeper, producer: Slot) -> None:
    scikit_learn()
    table = compute(keeper, producer, "sklearn_complex/digits_classify.py", [0.001, 10.0])
    assert table.shape == (10, 10) and table.dtype == np.int32
    assert table.sum() == 1797 and np.trace(table) > 0.95 * 1797
    eventually(lambda: keeper.output == "1797 digits of 64 pixels, gamma = 0.001, C = 10\n", "the output arrives")


@pytest.mark.time_limit(SLOW)
def test_a_chain_of_two_stages(keeper: Keeper, mount: Path, producer: Slot, job: Path) -> None:
    scikit_learn()
    from sklearn.datasets import load_iris

    follower = mount / f"{job.name}-follower"
    follower.mkdir()
    (follower / "source").symlink_to(f"../{job.name}/result.bin")
    producer.produce(np.asfortranarray(load_iris().data))
    producer.publish()
    keeper.run(job, PYTHON / "chain" / "standardise.py")
    with Keeper(follower) as second, Slot(follower) as last:
        second.run(follower, PYTHON / "chain" / "cluster.py")
        groups = last.result(SLOW)
    assert groups.dtype == np.int32 and groups[0] == 1 and sorted(set(groups.tolist())) == [1, 2, 3]
    # The first species stands apart from the other two.
    assert set(groups[:50].tolist()) & set(groups[50:].tolist()) == set()
    subprocess.run(["rm", "-r", str(follower)], check=True)
