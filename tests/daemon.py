# SPDX-License-Identifier: Apache-2.0
"""A private pyrmapfs for one test: mounted in a fresh directory, unmounted however the test ends.

Every Python suite (tests/mount, tests/model, tests/python, the benchmarks) starts the daemon
through this one class.
"""
from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD", ROOT / "build"))
PYRMAPFS = Path(os.environ.get("PYRMAPFS", BUILD / "pyrmapfs")).resolve()

PASSTHROUGH = "passthrough"
LINKS = "links"
PAGE_CACHE = "page cache"
# What gives root each of them.
PATH_OPTIONS: dict[str, dict[str, str]] = {
    PASSTHROUGH: {}, LINKS: {"path.passthrough": "off"},
    PAGE_CACHE: {"path.passthrough": "off", "path.links": "off"}}

# What a sanitizer writes into the log when it has found something.
SANITIZER_REPORTS = ("ERROR: AddressSanitizer", "runtime error:", "LeakSanitizer", "WARNING: ThreadSanitizer")

START_SECONDS = 20
STOP_SECONDS = 20

_running: set["Daemon"] = set()


def as_user(user: str) -> list[str]:
    """The front of a command line that runs the rest as this user (a name or a number), with its groups."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
    return ["setpriv", f"--reuid={user}", f"--regid={entry.pw_gid}", "--init-groups", "--"]


def private_mounts() -> None:
    """Gives this process and its children a private mount namespace, if the kernel allows it.

    Whatever is still mounted vanishes with the last of them. Where /dev/fuse is for root only, a node that
    every user may open covers it in here, as on an ordinary Debian, so that fusermount3 works for users.
    """
    clone_newns = 0x00020000
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(clone_newns) != 0:
        return
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    if not os.path.exists("/dev/fuse") or os.stat("/dev/fuse").st_mode & 0o006 == 0o006:
        return
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", directory], check=True)
        node = os.path.join(directory, "fuse")
        os.mknod(node, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
        os.chmod(node, 0o666)
        subprocess.run(["mount", "--bind", node, "/dev/fuse"], check=True)
        subprocess.run(["umount", "-l", directory], check=True)


def is_mounted(path: Path) -> bool:
    return f" {path} " in Path("/proc/self/mountinfo").read_text()


def processes(path: Path) -> list[int]:
    """The daemons that run at this mount point."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.fsencode(path) in words and words[0].endswith(b"pyrmapfs"):
            found.append(int(entry.name))
    return found


def kill_all() -> None:
    """Ends every daemon at once; the requests that the kernel still holds are then answered."""
    for running in list(_running):
        running.kill()


atexit.register(kill_all)


class Daemon:
    """Context manager around one mount; leaving it checks that the daemon ended as it should.

    options: configuration overrides, {"arena.capacity": "64M"}.
    user: name of an unprivileged user who mounts through fusermount3; None: the caller (root).
    """

    def __init__(self, options: Mapping[str, str] | None = None, user: str | None = None,
                 arguments: Sequence[str] = ()) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pyrmapfs-test-"))
        self.path = self.directory / "mnt"
        self.path.mkdir()
        self.log = self.directory / "log"
        self.options = dict(options or {})
        self.user = user
        self.program = PYRMAPFS
        self.arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            os.chown(self.path, entry.pw_uid, entry.pw_gid)
        self.directory.chmod(0o755)

    def command(self) -> list[str]:
        """The command line that mounts, in the foreground."""
        argv = [str(self.program), "-f", *self.arguments]
        for key, value in self.options.items():
            argv += ["-o", f"{key}={value}"]
        argv.append(str(self.path))
        return argv if self.user is None else as_user(self.user) + argv

    def start(self, stderr: int | None = None) -> "Daemon":
        """Mount, and return once the mount answers. With -f the daemon prints "ready" on stdout.

        stderr: a descriptor that gets the log instead of the file `log`.
        """
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=log if stderr is None else stderr, start_new_session=True)
        _running.add(self)
        assert self.process.stdout is not None
        answers, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if answers else b""
        if not line.startswith(b"ready"):
            self.stop()
            raise RuntimeError(f"pyrmapfs did not mount:\n{self.log.read_text()}")
        return self

    def stop(self) -> int:
        """Unmount and return the daemon's exit status; kills what does not end by itself."""
        status = -1
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                status = self.process.wait(STOP_SECONDS)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None
        _running.discard(self)
        self._unmount()
        return status

    def kill(self) -> None:
        """SIGKILL for all of it, at any moment and from any thread; stop() still has to follow."""
        process = self.process
        if process is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._unmount()

    def _unmount(self) -> None:
        """Unmounts by force; asks mountinfo, because stat of a dead mount fails or hangs."""
        while f" {self.path} " in Path("/proc/self/mountinfo").read_text():
            if os.geteuid() == 0:
                subprocess.run(["umount", "-f", "-l", str(self.path)], check=True)
            else:
                subprocess.run(["fusermount3", "-u", "-z", str(self.path)], check=True)

    def pids(self) -> list[int]:
        """The daemon's process and those that it forked."""
        assert self.process is not None
        pids = [self.process.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    pids += [int(child) for child in task.read_text().split()]
        return pids

    @property
    def supervisor(self) -> int:
        """The process that was started, which mounts and unmounts."""
        assert self.process is not None
        return self.process.pid

    @property
    def server(self) -> int:
        """The one that serves the mount."""
        for pid in self.pids():
            # One that has been replaced may end meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "pyrmapfs-server":
                    return pid
        raise RuntimeError("nobody serves the mount")

    def reports(self) -> list[str]:
        """The lines of the log in which a sanitizer complains."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [line for line in lines if any(report in line for report in SANITIZER_REPORTS)]

    @property
    def data_path(self) -> str:
        """PASSTHROUGH, LINKS or PAGE_CACHE, as .pyrmap/status reports it."""
        lines = (self.path / ".pyrmap" / "status").read_text().splitlines()
        value = next(line.split(": ", 1)[1] for line in lines if line.startswith("data path: "))
        return next(path for path in (PASSTHROUGH, LINKS, PAGE_CACHE) if value.startswith(path))

    def __enter__(self) -> "Daemon":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        try:
            status = self.stop() if self.process is not None else 0
            if exc[0] is None and (status != 0 or self.reports()):
                log = self.log.read_text(errors="replace")[-20000:]
                raise AssertionError(f"pyrmapfs ended with status {status}; its log:\n{log}")
        finally:
            self.stop()
            shutil.rmtree(self.directory, ignore_errors=True)
