# SPDX-License-Identifier: Apache-2.0
"""A round without a filesystem, which an idle worker plays before its real one.

After a fork every page that a process writes to, reference counts included, is copied at its first use; that is most of
what a small run costs. Playing the whole path once takes these copies out of the call.
"""
from __future__ import annotations

import json
import os
import sys

import numpy as np

from pyrmap import process, run
from pyrmap.layout import RECORD_FLOAT64, RECORD_SIZE
from pyrmap.record import DTYPES, Extent, input_step, unpack
from pyrmap.scripts import Scripts
from pyrmap.slot import ROUND_VARIABLE, SLOT_VARIABLE, Handles, Slot, flush_output
from pyrmap.waiting import RecordFile

_PATH = "/rehearsal"
_SCRIPT = os.path.join(os.path.dirname(__file__), "rehearsed.py")
TASK = {"script": _SCRIPT, "args": []}
_ORDER = json.dumps(run.Run(_PATH, TASK, 1))
_SCRIPTS = Scripts()
# The process goes on after a rehearsal.
_HOOKS = run.Hooks(finish=flush_output, bind=Slot.watched)
_EXTENT = Extent(DTYPES[RECORD_FLOAT64], (), 10, "C")

# How often the server itself plays it: the interpreter adapts a function's code to what it does in its first calls.
TIMES_TO_ADAPT = 20


class Stage(Handles):
    """The handles of a slot that is made of anonymous files and holds an input of ten doubles."""

    def __init__(self) -> None:
        self.path = _PATH
        self.directory = -1
        self.worker = _file("worker", b"")
        ready = input_step(unpack(bytes(RECORD_SIZE))._replace(version=1, round=1), _EXTENT)
        self.record = RecordFile(_file("metadata.bin", ready), passthrough=True)
        self._files = {"data.bin": _file("data.bin", np.zeros(_EXTENT.length).tobytes()),
                       "result.bin": _file("result.bin", b"")}

    def open(self, name: str, flags: int) -> int:
        return os.dup(self._files[name])

    def close(self) -> None:
        super().close()
        for fd in self._files.values():
            os.close(fd)
        self._files = {}


def _file(name: str, content: bytes) -> int:
    fd = os.memfd_create(name)
    os.write(fd, content)
    return fd


def rehearse() -> None:
    """Plays one round and leaves the process as it was."""
    argv, path, main = sys.argv, list(sys.path), sys.modules["__main__"]
    variables = {name: os.environ.get(name) for name in (SLOT_VARIABLE, ROUND_VARIABLE)}
    stage = Stage()
    text = run.run(run.Run(*json.loads(_ORDER)), stage, _HOOKS, _SCRIPTS)
    assert not text, text
    process.leave_slot()
    stage.close()
    del Slot.last_ended[_PATH]
    sys.argv, sys.path[:], sys.modules["__main__"] = argv, path, main
    for name, value in variables.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
