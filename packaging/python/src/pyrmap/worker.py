# SPDX-License-Identifier: Apache-2.0
"""One round of one slot in this process: read the task, run it, publish or fail."""
from __future__ import annotations

import json
import os
import sys
from types import CodeType
from typing import Any, Mapping, NamedTuple, Optional

from pyrmap import process, scripts
from pyrmap.errors import failure_text
from pyrmap.record import RECORD_FLAG_INPUT, RECORD_FLAG_NONE
from pyrmap.slot import SLOT_VARIABLE, Handles, Slot, flush_output
from pyrmap.texts import read_text

_UNPUBLISHED = ("RuntimeError: the script ended without publishing a result: end it with "
                "`if __name__ == \"__main__\": f()`, f being decorated with process_via_mmap, "
                "or name a function: SCRIPT::FUNCTION\n")


class Task(NamedTuple):
    """What to run. function None: the whole script, as __main__, with the arguments in sys.argv."""

    script: str
    function: Optional[str]
    args: list[Any]
    kwargs: dict[str, Any]
    env: dict[str, Optional[str]]
    cwd: Optional[str]


def parse_task(content: object) -> Task:
    """A task from its JSON object; ValueError or TypeError that says what is wrong with it."""
    if not isinstance(content, Mapping):
        raise ValueError("the task is no JSON object")
    unknown = set(content) - set(Task._fields)
    if unknown:
        raise ValueError(f"unknown keys in the task: {', '.join(sorted(map(str, unknown)))}")
    script = content.get("script")
    if not isinstance(script, str) or not script:
        raise ValueError("the task names no script")
    task = Task(os.path.abspath(script), content.get("function"), content.get("args") or [],
                content.get("kwargs") or {}, content.get("env") or {}, content.get("cwd"))
    if not isinstance(task.args, list) or not isinstance(task.kwargs, dict) or not isinstance(task.env, dict):
        raise TypeError("the task's args are a list, its kwargs and env are objects")
    if task.function is None and task.kwargs:
        raise TypeError(f"named arguments need a function: {task.script}::FUNCTION")
    return task


def read_task(slot: str) -> object:
    """The JSON value in the slot's `task`."""
    text = read_text(os.path.join(slot, "task"))
    if not text.strip():
        raise ValueError(f"{slot}/task is empty: there is no script to run")
    return json.loads(text)


def run(path: str, content: object, code: Optional[CodeType] = None, handles: Optional[Handles] = None) -> str:
    """Runs one round of a slot. Returns why it failed, which is in the slot's `error` then, or "".

    content: the task's JSON value; None: what the slot's `task` says. code: of the task's script, if it is compiled.
    handles: of that slot, if they are open already.
    Nothing is raised. What goes wrong after the round was published is only printed.
    """
    os.environ[SLOT_VARIABLE] = path
    ended_before = Slot.rounds_ended
    try:
        slot = Slot(path, handles)
        round_before = slot.record.round
    except OSError as error:
        print(f"pyrmap: {error}", file=sys.stderr)
        return str(error)
    process.use_slot(slot)
    try:
        _execute(slot, parse_task(read_task(path) if content is None else content), code)
    except BaseException as error:
        failed = not (isinstance(error, SystemExit) and error.code in (None, 0))
        text = failure_text(error, path) if failed else ""
    else:
        text = ""
    flush_output()
    if Slot.rounds_ended != ended_before:
        sys.stderr.write(text)
        return ""
    if not text and _over(slot, round_before):
        return ""
    return _fail(slot, text or _UNPUBLISHED)


def _execute(slot: Slot, task: Task, code: Optional[CodeType]) -> None:
    for name, value in task.env.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if task.cwd is not None:
        os.chdir(task.cwd)
    if code is None:
        code = scripts.compile_script(task.script)
    if task.function is None:
        scripts.run_main(code, task.script, [str(argument) for argument in task.args])
        return
    function = scripts.load_function(code, task.script, task.function)
    slot.publish(function(slot.input(), *task.args, **task.kwargs))


def _over(slot: Slot, round_before: int) -> bool:
    """Whether the round ended by other means than this package, by plain reads and writes of the slot's files."""
    record = slot.record
    return record.round != round_before or record.flag not in (RECORD_FLAG_NONE, RECORD_FLAG_INPUT)


def _fail(slot: Slot, text: str) -> str:
    """Fails the round, which may not have been published yet: only then does it accept an error."""
    try:
        slot.wait()
        slot.fail(text)
    except OSError as error:
        sys.stderr.write(f"{text}pyrmap: {error}\n")
    return text
