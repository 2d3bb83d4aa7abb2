# SPDX-License-Identifier: Apache-2.0
"""Real clients: C, R, the shell and NumPy, with nothing but paths."""
from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from slots import ANSWER, DATA, FLOAT64, INPUT, INT32, RESULT, Slot, eventually, refused

needs_r = pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")


def shell(slot: Slot, script: str) -> str:
    """Runs it in the slot, with every failure an error."""
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=slot.path, capture_output=True, text=True,
                          timeout=30, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" or "records" in done.stderr, done.stderr
    return done.stdout


def test_a_worker_in_c(slot: Slot, program: Callable[[str], str]) -> None:
    """poll, mmap, munmap, publish: thirty rounds of different lengths."""
    worker = subprocess.Popen([program("worker"), str(slot.path), "30"], stderr=subprocess.PIPE, text=True)
    for count in range(1, 31):
        values = np.arange(count * 1000, dtype="f8") + count
        slot.publish(values)
        with open(slot / "result.bin", "rb") as result:
            assert np.array_equal(np.fromfile(result), 2 * values)
    assert worker.communicate(timeout=20)[1] == "" and worker.returncode == 0


def test_the_shell_as_producer_and_worker(slot: Slot) -> None:
    """cat, printf, od, dd, echo: a round of three bytes, by the record and by its text."""
    shell(slot, r"""
        printf '\001\002\003' > data.bin
        printf 'dtype=uint8\nflag=0\n' > metadata.txt
    """)
    assert shell(slot, "od -An -tu1 data.bin; cat data.txt").split() == ["1", "2", "3", "1", "2", "3"]
    shell(slot, r"""
        dd if=data.bin of=result.bin bs=1 status=none
        printf '\001\000\000\000' > metadata.bin
    """)
    assert slot.state == "DONE"
    assert shell(slot, "cat result.bin | od -An -tu1; head -n 1 metadata.txt; wc -c < result.bin").split() == \
        ["1", "2", "3", "state=DONE", "3"]
    assert shell(slot, "od -An -td4 -N4 metadata.bin").split() == ["1"]


def test_the_shell_waits(slot: Slot) -> None:
    """`cat result.bin` ends when the result is there."""
    reader = subprocess.Popen(["cat", str(slot / "result.bin")], stdout=subprocess.PIPE)
    eventually(lambda: (reader.pid, "result.bin") in slot.waiters())
    slot.bring("DONE")
    assert reader.communicate(timeout=20)[0] == ANSWER.tobytes()


def test_copying_with_cp_and_dd(slot: Slot, other: Slot, tmp_path: Path) -> None:
    """In and out, whole and in parts, and from slot to slot."""
    values = np.random.default_rng(2).normal(size=300_000)
    values.tofile(tmp_path / "in")
    shell(slot, f"cp '{tmp_path}/in' data.bin; echo flag=0 > metadata.txt; cp data.bin '{tmp_path}/out'")
    assert (tmp_path / "out").read_bytes() == values.tobytes()
    shell(other, f"""
        dd if='{slot.path}/data.bin' of=data.bin bs=64K status=none
        echo flag=0 > metadata.txt
        cmp data.bin '{tmp_path}/in'
        dd if='{tmp_path}/in' of=result.bin bs=1M conv=notrunc,fsync status=none
        echo flag=1 > metadata.txt
    """)
    assert np.array_equal(other.result(), values)


def test_mv_hands_a_result_on(slot: Slot, other: Slot) -> None:
    """mv asks for RENAME_NOREPLACE first, and goes on without."""
    slot.bring("DONE")
    shell(slot, f"mv result.bin '{other.path}/data.bin'; echo flag=0 > '{other.path}/metadata.txt'")
    assert other.data().tolist() == ANSWER.tolist() and slot.state == "IDLE"
    other.answer()
    shell(other, "mv -f result.bin data.bin")
    assert other.state == "FILLING"


def test_errors_at_the_shell(slot: Slot) -> None:
    """The shell says why."""
    slot.bring("READY")
    for script, words in (("echo x > data.bin", "Device or resource busy"),
                          ("echo flag=0 > metadata.txt", "Protocol error"), ("echo x > new", "Operation not permitted"),
                          ("ln data.bin task2", "Operation not permitted"),
                          ("mkfifo pipe", "Operation not permitted")):
        done = subprocess.run(["bash", "-c", script], cwd=slot.path, capture_output=True, text=True,
                              env={**os.environ, "LC_ALL": "C"}, timeout=20)
        assert done.returncode != 0 and words in done.stderr, (script, done.stderr)


def test_numpy_memmap(slot: Slot) -> None:
    """Both ways without a copy: mode="w+" makes, mode="r" reads."""
    made = np.memmap(slot / "data.bin", dtype="f8", mode="w+", shape=(1000, 5), order="F")
    made[:] = np.arange(5000).reshape(1000, 5)
    made.flush()
    with refused(errno.EBUSY):
        slot.flag(INPUT)
    del made
    slot.write(flag=INPUT, dtype=FLOAT64, input_length=5000, input_ndim=2, input_shape=(1000, 5, 0, 0), order=1)
    data = np.memmap(slot / "data.bin", dtype="f8", mode="r", shape=(1000, 5), order="F")
    result = np.memmap(slot / "result.bin", dtype="f8", mode="w+", shape=(5,))
    result[:] = data.mean(axis=0)
    del result
    slot.flag(RESULT)
    assert np.memmap(slot / "result.bin", dtype="f8", mode="r").tolist() == [2497.5, 2498.5, 2499.5, 2500.5, 2501.5]
    assert data[999, 4] == 4999


def test_numpy_memmap_without_a_mode(slot: Slot) -> None:
    """Forgetting mode="r" asks for writing: a plain EBUSY that names the path, and nothing happens."""
    slot.bring("DONE")
    slot.publish()
    with pytest.raises(OSError) as forgotten:
        np.memmap(slot / "data.bin", dtype="f8")
    assert forgotten.value.errno == errno.EBUSY and "Device or resource busy" in str(forgotten.value)
    assert str(slot / "data.bin") in str(forgotten.value)
    assert "EBUSY" in slot.text["refused"] and slot.state == "READY"
    assert np.memmap(slot / "data.bin", dtype="f8", mode="r").tolist() == DATA.tolist()
    assert np.memmap(slot / "data.bin", dtype="f8", mode="c").tolist() == DATA.tolist()


def test_numpy_files(slot: Slot) -> None:
    """tofile and fromfile, and the array of another process."""
    np.arange(10, dtype="i4").tofile(slot / "data.bin")
    slot.write(flag=INPUT, dtype=INT32)
    script = "import numpy; numpy.fromfile('data.bin', 'i4')[::-1].tofile('result.bin')"
    subprocess.run([sys.executable, "-c", script], cwd=slot.path, check=True, timeout=30)
    slot.flag(RESULT)
    assert slot.result().tolist() == list(range(9, -1, -1)) and slot.record.result_dtype == INT32


def r(script: str, *arguments: str | Path) -> str:
    done = subprocess.run(["Rscript", "--vanilla", "-e", script, *(str(argument) for argument in arguments)],
                          capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout


R_PRODUCER = """
slot <- commandArgs(TRUE)[1]
stopifnot(dir.create(slot))
values <- as.matrix(quakes)
path <- function(name) file.path(slot, name)

data <- file(path("data.bin"), "wb")
writeBin(as.vector(values), data)
close(data)
record <- file(path("metadata.bin"), "wb")
writeBin(0L, record)
close(record)

result <- file(path("result.bin"), "rb")
answer <- readBin(result, "double", n = 5)
close(result)
stopifnot(isTRUE(all.equal(answer, unname(colMeans(values)))))
stopifnot(file.info(path("data.bin"))$size == 8 * length(values), "result.bin" %in% list.files(slot))
cat(answer, sep = "\\n")
stopifnot(unlink(slot, recursive = TRUE) == 0, !dir.exists(slot))
"""

PYTHON_WORKER = """
import sys
import numpy as np
slot = sys.argv[1]
with open(slot + "/data.bin", "rb"):
    data = np.memmap(slot + "/data.bin", dtype="f8", mode="r").reshape(1000, 5, order="F")
data.mean(axis=0).tofile(slot + "/result.bin")
with open(slot + "/metadata.txt", "w") as record:
    record.write("flag=1\\n")
"""


@needs_r
def test_r_and_python(mount: Path) -> None:
    """Base R writes a thousand earthquakes, NumPy answers, R reads: each waits for the other by opening."""
    producer = subprocess.Popen(["Rscript", "--vanilla", "-e", R_PRODUCER, str(mount / "quakes")],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: (mount / "quakes").exists() or producer.poll() is not None, seconds=30)
    worker = subprocess.run([sys.executable, "-c", PYTHON_WORKER, str(mount / "quakes")], capture_output=True,
                            text=True, timeout=40)
    out, errors = producer.communicate(timeout=40)
    assert (worker.returncode, producer.returncode) == (0, 0), worker.stderr + errors
    assert [float(line) for line in out.split()] == pytest.approx([-20.64275, 179.46202, 311.371, 4.6204, 33.418])


@needs_r
def test_r_as_worker(slot: Slot) -> None:
    slot.publish(np.arange(1.0, 1001.0))
    told = r("""
slot <- commandArgs(TRUE)[1]
data <- file(file.path(slot, "data.bin"), "rb")
values <- readBin(data, "double", n = 1e4)
close(data)
result <- file(file.path(slot, "result.bin"), "wb")
writeBin(as.integer(rev(values)), result)
close(result)
writeLines(c("result_dtype=int32", "flag=1"), file.path(slot, "metadata.txt"))
cat(readLines(file.path(slot, "metadata.txt"), 1), scan(file.path(slot, "result.txt"), quiet = TRUE)[1:3])
""", slot.path)
    assert told == "state=DONE 1000 999 998"
    assert slot.result().tolist() == list(range(1000, 0, -1)) and slot.record.result_dtype == INT32


ROOT = Path(__file__).resolve().parent.parent.parent
RECIPES = {"README.md": r"```r\n(options.*?)```", "packaging/man/pyrmapfs.7": r"R as producer.*?offset indent\n(.*?)\.Ed"}


@needs_r
@pytest.mark.parametrize("page", RECIPES)
def test_r_recipes_stop_where_the_filesystem_refuses(slot: Slot, page: str) -> None:
    """What the documentation tells R to type does not go on to wait for a result when publishing was refused."""
    found = re.search(RECIPES[page], (ROOT / page).read_text(), re.DOTALL)
    assert found is not None
    recipe = found[1].replace(r"\en", r"\n")
    recipe = re.sub("/mnt/pyrmap/[a-z]+", str(slot.path), recipe)
    recipe = re.sub(r"dir.create\(.*?\)", "", recipe)
    # The input is not closed: the filesystem refuses to publish it.
    forgetful = re.sub(r"close\((out|con)\)", "", recipe, count=1)
    assert forgetful != recipe
    ran = subprocess.run(["Rscript", "-e", forgetful], capture_output=True, text=True, timeout=60,
                         env={**os.environ, "LC_ALL": "C"})
    assert ran.returncode != 0 and "Device or resource busy" in ran.stderr
    assert "EBUSY" in slot.text["refused"]


@needs_r
def test_r_is_told_of_refusals(slot: Slot) -> None:
    slot.bring("READY")
    told = r("""
slot <- commandArgs(TRUE)[1]
tell <- function(expression) tryCatch(expression, error = conditionMessage, warning = conditionMessage)
cat(tell(file(file.path(slot, "data.bin"), "wb")), "\\n")
stopifnot(!file.create(file.path(slot, "new"), showWarnings = FALSE))
""", slot.path)
    assert "Device or resource busy" in told and slot.state == "READY"
