# SPDX-License-Identifier: Apache-2.0
"""Small functions that R calls, one for each thing that a test wants to see from Python's side."""
import os
import signal
import sys
import time
import warnings

import numpy as np

import pyrmap

runs = 0


def same(x):
    return x


def plus_one(x):
    return x + 1


def mapped_plus_one(x):
    result = pyrmap.empty_result(x.shape, x.dtype)
    np.add(x, 1, out=result)
    return result


def rows_first(x):
    """The same array, lying in C order in result.bin."""
    result = pyrmap.empty_result(x.shape, x.dtype, order="C")
    result[...] = x
    return result


def described(x):
    """dtype's number of bytes, its kind's code, ndim and shape."""
    return np.array([x.dtype.itemsize, ord(x.dtype.kind), x.ndim, *x.shape], dtype="int32")


def as_dtype(x, dtype):
    return x.astype(dtype)


def ordered(x, dtype, order):
    return np.array(x, dtype, order=order)


def copied(x):
    return x.copy()


def evaluated(x, code):
    return eval(code)


def element(x, *index):
    return x[tuple(int(i) for i in index)]


def total(x):
    return x.sum()


def scaled(x, by, offset=0.0):
    return x * by + offset


def times_matrix(x, w):
    return x @ w


def arrays(x, *args, **named):
    """What the arguments were, as bytes of a text."""
    text = ""
    for value in (*args, *named.values()):
        kind = f"{value.dtype.str if value.dtype.kind == 'U' else value.dtype} {value.shape} {value.tolist()}" \
            if isinstance(value, np.ndarray) else f"{type(value).__name__} {value}"
        text += f"{kind}; "
    return np.frombuffer(text.encode(), dtype="uint8")


def second(x, y, *rest):
    return y


def same_of_two(x, y):
    return x


def nothing(x):
    return None


def described_by(x, code):
    """What an expression says of the input."""
    return eval(code, {"x": x, "np": np})


def evaluated_to(x, code):
    return eval(code)


def add_in_place(x):
    x["a"] += 1
    return x


def sum_of(x, times, w, by):
    assert isinstance(w, np.ndarray) and isinstance(by, float) and isinstance(times, int)
    return float(w.sum()) * times


def joined(x, *texts, **named):
    """What the arguments were, as bytes of a text."""
    text = repr(texts) + repr(sorted(named.items()))
    return np.frombuffer(text.encode(), dtype="uint8")


def bits_int64(x):
    """Numbers that a double cannot hold."""
    return np.array([2**53 + 1, -(2**63), 7], dtype="int64")


def inexact_at(shape, row, column, order):
    """Integers of that shape, one of which a double cannot hold."""
    result = np.zeros(shape.astype(int), "int64", order)
    result[row, column] = 2**53 + 1
    return result


def smallest(x, dtype):
    return np.array([np.iinfo(dtype).min], dtype)


def above(x, limit):
    return x > limit


def all_above(x, limit):
    return bool((x > limit).all())


def inverted(x):
    return ~x


def inverted_rows_first(x):
    return np.ascontiguousarray(~x)


def bad_logical(x):
    """Says that its result is logical, and it is not: past the package, which cannot do that."""
    slot = os.environ["PYRMAP_SLOT"]
    with open(os.path.join(slot, "result.bin"), "wb") as file:
        file.write(np.array([1, 7, 0], "int32").tobytes())
    with open(os.path.join(slot, "metadata.txt"), "w") as file:
        file.write("result_dtype=int32\nresult_logical=yes\nflag=1\n")


def nanmean(x):
    return np.nanmean(x)


def plus_one_strictly(x):
    with np.errstate(all="raise"):
        return x + 1


def environment(x, name):
    return np.frombuffer(os.environ.get(name, "(unset)").encode(), dtype="uint8")


def directory(x):
    return np.frombuffer(os.getcwd().encode(), dtype="uint8")


def count_runs(x):
    global runs
    runs += 1
    return runs


def talk(x):
    print("on stdout: \u00e4")
    print("on stderr", file=sys.stderr)
    warnings.warn("a warning")
    return x


def talk_and_wait(x, path):
    """Prints, then waits until the file is there."""
    print("waiting", flush=True)
    return wait_for(x, path)


def wait_for(x, path):
    deadline = time.monotonic() + 30
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.005)
    return x


def chatter(x, lines):
    for line in range(int(lines)):
        print(f"line {line} " + "x" * 100)
    return x


def fail(x, text="it went wrong"):
    raise ValueError(text)


def fail_after(x, path):
    """Fails as soon as the file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)
    fail(x)


def fail_above(x, limit):
    if x.max() > limit:
        raise ValueError(f"{x.max():g} is above {limit:g}")
    return x


def object_result(x):
    return object()


def die(x):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(x, *values):
    if x.max() in values:
        die(x)
    return x


def sleep(x, seconds):
    time.sleep(seconds)
    return x


def sleep_and_tell(x, path):
    """Writes its pid to a file, then sleeps for long."""
    with open(path + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".part", path)
    time.sleep(600)


def meet(x, directory, name, others):
    """Returns only once `others` runs are here at the same time."""
    open(os.path.join(directory, name), "w").close()
    deadline = time.monotonic() + 30
    while len(os.listdir(directory)) < others:
        if time.monotonic() > deadline:
            raise TimeoutError("the others did not come")
        time.sleep(0.005)
    return x.sum()


def address(x):
    """The inode that the input is mapped from."""
    slot = os.environ["PYRMAP_SLOT"]
    return float(os.stat(os.path.join(slot, "data.bin")).st_ino)
