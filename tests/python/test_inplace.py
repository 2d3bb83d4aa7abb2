# SPDX-License-Identifier: Apache-2.0
"""What a program does to an input or a result in place stays its own."""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest

from pyrmap import Slot
from pyrmap.record import Array
from serving import Keeper

# A few elements, and more than a huge page.
LENGTHS = [6, 600_000]


def scale(x: Array) -> None:
    x *= 2.5


def shuffle(x: Array) -> None:
    np.random.default_rng(1).shuffle(x)


def sort(x: Array) -> None:
    x[::-1].sort()


def replace(x: Array) -> None:
    x[x > 3] = np.nan


def transform(x: Array) -> None:
    from scipy.fft import fft

    fft(x.view(complex), overwrite_x=True)


WAYS: list[Callable[[Array], None]] = [scale, shuffle, sort, replace, transform]


@pytest.fixture
def follower(job: Path) -> Iterator[Slot]:
    """A slot that shares the job's input."""
    path = job.with_name(f"{job.name}-follower")
    path.mkdir()
    os.symlink(f"../{job.name}/data.bin", path / "source")
    with Slot(path) as slot:
        yield slot
    shutil.rmtree(path)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("change", WAYS)
def test_an_input_is_the_programs_own(producer: Slot, worker: Slot, follower: Slot, job: Path,
                                      change: Callable[[Array], None], length: int) -> None:
    values = np.arange(float(length))
    producer.produce(values)
    producer.publish()
    before = follower.input()
    changed = worker.input()
    change(changed)
    assert worker.input() is changed and not np.array_equal(changed, values)
    assert np.array_equal(before, values)
    assert np.array_equal(np.fromfile(job / "data.bin"), values)
    with Slot(follower.path) as late:
        assert np.array_equal(late.input(), values)
    worker.publish(changed)
    assert producer.result().tobytes() == changed.tobytes()


@pytest.mark.parametrize("length", LENGTHS)
def test_a_result_is_the_programs_own(producer: Slot, worker: Slot, job: Path, length: int) -> None:
    producer.produce([0.0])
    producer.publish()
    worker.input()
    worker.publish(np.arange(float(length)))
    changed = producer.result()
    changed += 1
    for values in (producer.result(), np.fromfile(job / "result.bin")):
        assert np.array_equal(values, np.arange(float(length)))
    assert np.array_equal(changed, np.arange(1.0, length + 1))


def test_a_matrix_may_be_solved_in_place(keeper: Keeper, producer: Slot, job: Path, tmp_path: Path) -> None:
    script = tmp_path / "solve.py"
    script.write_text("from scipy.linalg import lu_factor, lu_solve, qr\n"
                      "def f(x):\n"
                      "    return lu_solve(lu_factor(x, overwrite_a=True), [1.0, 2.0, 3.0], overwrite_b=True)\n"
                      "def g(x):\n"
                      "    qr(x, overwrite_a=True)\n"
                      "    return x\n")
    matrix: Array = np.asfortranarray([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]])
    outcomes: list[Any] = []
    for function in ("f", "g"):
        keeper.run(job, script, function)
        producer.produce(matrix)
        producer.publish()
        outcomes.append(producer.result(30))
        assert np.array_equal(np.fromfile(job / "data.bin"), matrix.ravel(order="F"))
    assert np.allclose(matrix @ outcomes[0], [1, 2, 3])
    assert not np.array_equal(outcomes[1], matrix)


def test_a_frame_over_the_input_may_be_changed(keeper: Keeper, producer: Slot, job: Path, tmp_path: Path) -> None:
    script = tmp_path / "frame.py"
    script.write_text("import pandas as pd\ndef f(x):\n    d = pd.DataFrame(x)\n    d[0] += 1\n    d[2] = d[0] * d[1]\n    return d\n")
    producer.produce(np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]))
    producer.publish()
    keeper.run(job, script, "f")
    assert producer.result(30).to_numpy().tolist() == [[2, 2, 4], [4, 4, 16]]
    assert np.fromfile(job / "data.bin").tolist() == [1, 3, 2, 4]
