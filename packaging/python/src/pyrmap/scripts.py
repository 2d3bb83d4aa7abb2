# SPDX-License-Identifier: Apache-2.0
"""Running a script as it is on disk now, in a fresh module."""
from __future__ import annotations

import marshal
import os
import sys
import time
from types import CodeType, ModuleType
from typing import Any, Callable

# A file that was written this shortly before it was compiled may change again without a new time stamp.
_SETTLED_NS = 100_000_000


def compile_script(path: str) -> CodeType:
    """The code of a script. FileNotFoundError, SyntaxError and others as Python itself raises them."""
    try:
        with open(path, "rb") as file:
            source = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"no such script: {path}") from None
    code: CodeType = compile(source, path, "exec", dont_inherit=True)
    return code


class ScriptCache:
    """Compiled scripts by path, valid while a file's inode, time stamp and size stay what they were."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], bytes]] = {}

    def load(self, path: str) -> bytes:
        """The marshalled code of a script; errors as from compile_script()."""
        status = os.stat(path)
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._known.get(path)
        if known is not None and known[0] == version:
            return known[1]
        code = marshal.dumps(compile_script(path))
        if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            self._known[path] = (version, code)
        return code


def _execute(code: CodeType, name: str, path: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = path
    module.__dict__["__builtins__"] = __builtins__
    sys.path.insert(0, os.path.dirname(path))
    if name == "__main__" or name not in sys.modules:
        sys.modules[name] = module
    exec(code, module.__dict__)
    return module


def run_main(code: CodeType, path: str, arguments: list[str]) -> None:
    """Runs a script as `python3 path arguments...` would."""
    sys.argv = [path, *arguments]
    _execute(code, "__main__", path)


def load_function(code: CodeType, path: str, name: str) -> Callable[..., Any]:
    """A function of a script that is imported under the name of its file. AttributeError if it has none such."""
    sys.argv = [path]
    module = _execute(code, os.path.splitext(os.path.basename(path))[0], path)
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    names = sorted(key for key, value in vars(module).items()
                   if callable(value) and getattr(value, "__module__", None) == module.__name__)
    has = f"it has {', '.join(names)}" if names else "it has no functions"
    raise AttributeError(f"{path} has no function {name!r}; {has}")
