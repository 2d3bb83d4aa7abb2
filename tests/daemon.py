# SPDX-License-Identifier: Apache-2.0
"""A private pyrmapfs for one test: mounted in a fresh directory, unmounted however the test ends.

Every Python suite (tests/mount, tests/model, tests/python, the benchmarks) starts the daemon
through this one class.
"""
from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Mapping

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD", ROOT / "build"))
PYRMAPFS = Path(os.environ.get("PYRMAPFS", BUILD / "pyrmapfs")).resolve()

PASSTHROUGH = "passthrough"
PAGE_CACHE = "page cache"


class Daemon:
    """Context manager around one mount.

    options: configuration overrides, {"arena.capacity": "64M"}.
    user: name of an unprivileged user who mounts through fusermount3; None: the caller (root).
    """

    def __init__(self, options: Mapping[str, str] | None = None, user: str | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pyrmapfs-test-"))
        self.path = self.directory / "mnt"
        self.path.mkdir()
        self.log = self.directory / "log"
        self.options = dict(options or {})
        self.user = user
        self.process: subprocess.Popen[bytes] | None = None
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            os.chown(self.path, entry.pw_uid, entry.pw_gid)
        self.directory.chmod(0o755)

    def command(self) -> list[str]:
        """The command line that mounts, in the foreground."""
        argv = [str(PYRMAPFS), "-f"]
        for key, value in self.options.items():
            argv += ["-o", f"{key}={value}"]
        argv.append(str(self.path))
        if self.user is not None:
            argv = ["setpriv", f"--reuid={self.user}", f"--regid={pwd.getpwnam(self.user).pw_gid}",
                    "--init-groups", "--"] + argv
        return argv

    def start(self) -> "Daemon":
        """Mount, and return once the mount answers. With -f the daemon prints "ready" on stdout."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
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
                status = self.process.wait(20)
            except subprocess.TimeoutExpired:
                subprocess.run(["umount", "-l", str(self.path)], check=False)
                self.process.kill()
                status = self.process.wait(20)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None
        if os.path.ismount(self.path):
            subprocess.run(["umount", "-l", str(self.path)], check=False)
        return status

    @property
    def data_path(self) -> str:
        """PASSTHROUGH or PAGE_CACHE, as .pyrmap/status reports it."""
        status = (self.path / ".pyrmap" / "status").read_text()
        return PASSTHROUGH if "passthrough" in status.split("data path", 1)[1].split("\n", 1)[0] else PAGE_CACHE

    def __enter__(self) -> "Daemon":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
