# SPDX-License-Identifier: Apache-2.0
"""Running a script as it is on disk now: whole, in a fresh __main__, or as a module that stays for as long as its file does."""
from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from types import CodeType, ModuleType
from typing import Any, Callable, Optional

from pyrmap.imports import SETTLED_NS, Version, now_ns, version_of


def compile_script(path: str, source: Optional[bytes] = None) -> CodeType:
    """The code of a script. FileNotFoundError, SyntaxError and others as Python itself raises them."""
    if source is None:
        source = _read(path)
    code: CodeType = compile(source, path, "exec", dont_inherit=True)
    return code


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"no such script: {path}") from None


class _Script:
    """One version of a file."""

    __slots__ = ("code", "directory", "module", "path", "source", "version")

    def __init__(self, path: str, version: Optional[Version]) -> None:
        self.path = path
        self.directory = os.path.dirname(path)
        self.version = version
        # We keep it for as long as the file may change without a new time stamp.
        self.source: Optional[bytes] = _read(path)
        self.code = compile_script(path, self.source)
        self.module: Optional[ModuleType] = None
        self.settle()

    def settle(self) -> None:
        if self.version is not None and now_ns() - self.version[0] > SETTLED_NS:
            self.source = None

    def is_current(self, version: Optional[Version]) -> bool:
        """Whether the file is still this version."""
        if version is None or version != self.version:
            return False
        if self.source is not None:
            if self.source != _read(self.path):
                return False
            self.settle()
        return True


class Scripts:
    """Scripts that were loaded in this process, by path. Each is loaded once for each version of its file."""

    def __init__(self) -> None:
        self._known: dict[str, _Script] = {}

    def run_main(self, path: str, arguments: list[str]) -> None:
        """Runs a script as `python3 path arguments...` would."""
        script = self._load(path)
        sys.argv = [path, *arguments]
        _enter(script.directory)
        module = _new_module("__main__", path)
        sys.modules["__main__"] = module
        exec(script.code, module.__dict__)

    def function(self, path: str, name: str) -> Callable[..., Any]:
        """A function of a script that is imported under the name of its file. AttributeError if it has none such."""
        script = self._load(path)
        sys.argv = [path]
        _enter(script.directory)
        if script.module is None:
            self._import(script)
        assert script.module is not None
        module_name = script.module.__name__
        if self._is_ours(module_name):
            sys.modules[module_name] = script.module
        return _function_of(script.module, path, name)

    def _load(self, path: str) -> _Script:
        try:
            version: Optional[Version] = version_of(os.stat(path))
        except OSError:
            version = None
        script = self._known.get(path)
        if script is None or not script.is_current(version):
            script = self._known[path] = _Script(path, version)
        return script

    def _import(self, script: _Script) -> None:
        name = os.path.splitext(os.path.basename(script.path))[0]
        module = _new_module(name, script.path)
        before = sys.modules.get(name)
        ours = self._is_ours(name)
        if ours:
            sys.modules[name] = module
        try:
            exec(script.code, module.__dict__)
        except BaseException:
            if ours and before is not None:
                sys.modules[name] = before
            elif ours:
                sys.modules.pop(name, None)
            raise
        script.module = module

    def _is_ours(self, name: str) -> bool:
        """Whether that name in sys.modules is free, or a script's: another module is left to those who import it."""
        module = sys.modules.get(name)
        return module is None or getattr(module, "__pyrmap_script__", False)


def module_function(module: str, name: str, directory: Optional[str]) -> Callable[..., Any]:
    """A function of a module that can be imported, last of all from a directory."""
    if directory is not None and directory not in sys.path:
        sys.path.append(directory)
    return _function_of(importlib.import_module(module), module, name)


def _new_module(name: str, path: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = path
    module.__dict__["__builtins__"] = __builtins__
    if name != "__main__":
        module.__dict__["__pyrmap_script__"] = True
    return module


def _enter(directory: str) -> None:
    """Modules are found beside the script first, also those that have just been written."""
    sys.path.insert(0, directory)
    finder = sys.path_importer_cache.get(directory)
    if finder is not None and isinstance(finder, importlib.machinery.FileFinder):
        finder.invalidate_caches()


def _function_of(module: ModuleType, where: str, name: str) -> Callable[..., Any]:
    function: Any = module
    for part in name.split("."):
        function = getattr(function, part, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    names = sorted(key for key, value in vars(module).items()
                   if callable(value) and getattr(value, "__module__", None) == module.__name__)
    has = f"it has {', '.join(names)}" if names else "it has no functions"
    raise AttributeError(f"{where} has no function {name!r}; {has}")
