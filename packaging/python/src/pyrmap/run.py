# SPDX-License-Identifier: Apache-2.0
"""One round of one slot in this process: read the task, run it, publish or fail."""
from __future__ import annotations

import atexit
import copy
import json
import os
import sys
import threading
import time
from typing import Any, Callable, Mapping, NamedTuple, Optional

from pyrmap import arguments, process
from pyrmap.errors import RoundCancelled, failure_text
from pyrmap.layout import RECORD_FLAG_FAILED, RECORD_FLAG_RESULT
from pyrmap.scripts import Scripts, module_function
from pyrmap.slot import Slot, flush_output
from pyrmap.texts import read_text

_UNPUBLISHED = ("RuntimeError: the script ended without publishing a result: end it with "
                "`if __name__ == \"__main__\": f()`, f being decorated with process_via_mmap, "
                "or name a function: SCRIPT::FUNCTION\n")

ISOLATIONS = ("session", "process")


class Task(NamedTuple):
    """What to run: a script, or a function of it, or of a module. function None: the whole script, as __main__, with the
    arguments in sys.argv."""

    script: Optional[str]
    function: Optional[str]
    args: list[Any]
    kwargs: dict[str, Any]
    env: dict[str, Optional[str]]
    cwd: Optional[str]
    arrays: object = None  # which of the arguments are arrays: pyrmap.arguments
    module: Optional[str] = None
    isolation: Optional[str] = None  # one of ISOLATIONS; None: what the worker was started with


def parse_task(content: object) -> Task:
    """A task from its JSON object; ValueError or TypeError that says what is wrong with it."""
    if not isinstance(content, Mapping):
        raise ValueError("the task is no JSON object")
    unknown = set(content) - set(Task._fields)
    if unknown:
        raise ValueError(f"unknown keys in the task: {', '.join(sorted(map(str, unknown)))}")
    script, module, function = content.get("script"), content.get("module"), content.get("function")
    if not isinstance(module if script is None else script, str) or not (script or module):
        raise ValueError("the task names no script")
    if module is not None and (script is not None or not function):
        raise ValueError("a task that names a module has a function, and no script")
    task = Task(None if script is None else os.path.abspath(script), function, content.get("args") or [],
                content.get("kwargs") or {}, content.get("env") or {}, content.get("cwd"), content.get("arrays"),
                module, content.get("isolation"))
    if task.isolation not in (None, *ISOLATIONS):
        raise ValueError(f"the task's isolation is none of {', '.join(ISOLATIONS)}: {task.isolation!r}")
    if not isinstance(task.args, list) or not isinstance(task.kwargs, dict) or not isinstance(task.env, dict):
        raise TypeError("the task's args are a list, its kwargs and env are objects")
    if task.function is None and task.kwargs:
        raise TypeError(f"named arguments need a function: {task.script}::FUNCTION")
    return task


def task_of(text: str, slot: str) -> object:
    """The JSON value of the slot's `task`, or of the file that it names."""
    if not text.strip():
        raise ValueError(f"{slot}/task is empty: there is no script to run")
    content = json.loads(text)
    if isinstance(content, dict) and isinstance(content.get("file"), str) and len(content) == 1:
        content = json.loads(read_text(content["file"]))
    return content


def complain(text: str) -> None:
    """Writes to standard error, if the script has left one."""
    try:
        if text:
            sys.stderr.write(text)
    except (AttributeError, OSError, ValueError):
        return


def finish() -> None:
    """What an ordinary end of the interpreter does for a script, without taking the interpreter apart."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    flush_output()


def run(slot: Slot, task: Task, scripts: Optional[Scripts] = None, finish: Callable[[], None] = finish) -> str:
    """Runs one round of a slot. Returns why it failed, which is in the slot's `error` then, or "".

    scripts: those that are loaded already. finish: called when a whole script has come to its last line.
    Nothing is raised. A round that is cancelled before its input came is no failure. What goes wrong after the round
    was published is only printed. A whole script's result is published when all of it has run, a function's when it
    returns. In a child that a script forks and that comes back to here, the process ends.
    """
    process.use_slot(slot)
    first, text, interrupted = 0, "", False
    try:
        if task.function is None:
            first = _coming(slot)
            _run_script(task, scripts or Scripts(), finish)
        else:
            _call(slot, task, scripts or Scripts())
            return ""
    except BaseException as error:
        _end_if_forked(error)
        if isinstance(error, RoundCancelled) and slot.finished:
            return ""
        interrupted = isinstance(error, KeyboardInterrupt)
        if interrupted and slot.finished:
            slot.unbind()
            return failure_text(error, slot.path)
        if not isinstance(error, SystemExit) or error.code not in (None, 0):
            text = failure_text(error, slot.path)
    flush_output()
    with process.turn:
        if slot.turn.over:
            complain(text)
            failed = ""
        else:
            failed = fail(slot, text) if text else _publish_kept(slot, task, first)
    # The interrupt may have come while the result was being published.
    return text if interrupted else failed


def _end_if_forked(error: Optional[BaseException]) -> None:
    """Ends a process that the script forked: it has come to the end of the script, and the round is its parent's."""
    if process.is_run():
        return
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    elif error is not None:
        complain(failure_text(error, ""))
        status = 1
    flush_output()
    os._exit(status)


def _unpublished(task: Task) -> str:
    return _UNPUBLISHED if task.function is None else f"SystemExit: {task.function}() exited without a result\n"


def _publish_kept(slot: Slot, task: Task, first: int) -> str:
    """Publishes the result of the script's last decorated call, or fails the round. Why that is impossible, or ""."""
    if not slot.keeps:
        return "" if _over(slot, slot.turn.wanted or first) else fail(slot, _unpublished(task))
    try:
        slot.publish()
    except RoundCancelled:
        return ""
    except OSError as error:
        return fail(slot, failure_text(error, slot.path))
    return ""


def _run_script(task: Task, scripts: Scripts, finish: Callable[[], None]) -> None:
    _enter(task)
    assert task.script is not None
    try:
        scripts.run_main(task.script, [str(argument) for argument in task.args])
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    _end_if_forked(None)
    finish()


def _call(slot: Slot, task: Task, scripts: Scripts) -> None:
    function = load(task, scripts)
    # A task may be run again, and a function may change its arguments.
    args, kwargs = copy.deepcopy((task.args, task.kwargs)) if task.args or task.kwargs else ([], {})
    if task.arrays:
        arguments.restore(args, kwargs, task.arrays)
    # In a list, so that no variable of this frame holds an array that is mapped from result.bin.
    x = slot.input()
    args, kwargs = slot.arguments(args, kwargs)
    values = [function(x, *args, **kwargs)]
    _end_if_forked(None)
    with process.turn:
        slot.publish(values.pop())


def _enter(task: Task) -> None:
    for name, value in task.env.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "TZ" in task.env:
        time.tzset()
    if task.cwd is not None:
        os.chdir(task.cwd)


def load(task: Task, scripts: Scripts) -> Callable[..., Any]:
    """The function of a task, in the task's environment and directory. Raises whatever its script does."""
    assert task.function is not None
    _enter(task)
    if task.script is not None:
        return scripts.function(task.script, task.function)
    assert task.module is not None
    return module_function(task.module, task.function, task.cwd)


def _coming(slot: Slot) -> int:
    """The round that is under way, or else the next one."""
    record = slot.record
    return record.round + (record.flag == RECORD_FLAG_RESULT)


def _over(slot: Slot, round_: int) -> bool:
    """Whether the round ended by other means than this package, by plain reads and writes of the slot's files."""
    record = slot.record
    ended = record.flag in (RECORD_FLAG_RESULT, RECORD_FLAG_FAILED)
    return record.round > round_ or (record.round == round_ and ended)


def fail(slot: Slot, text: str) -> str:
    """Fails the round, which may not have been published yet: only then does it accept an error."""
    try:
        slot.wait()
        slot.fail(text)
    except RoundCancelled:
        complain(text)
        return ""
    except OSError as error:
        complain(f"{text}pyrmap: {error}\n")
    return text
