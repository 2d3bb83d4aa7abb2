# SPDX-License-Identifier: Apache-2.0
"""packaging/Containerfile: its steps in a copy of this machine's root, since nothing here builds images; then what it starts."""
from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from daemon import ROOT, Daemon

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the root of a container"), pytest.mark.time_limit(600)]

# ROOT MOUNT STEPS: an overlay over this machine's root, the mount bound into it as an engine does, then the steps.
SCRIPT = r"""
set -eu
W=$1 MOUNT=$2 STEPS=$3; shift 3
mount -t tmpfs tmpfs "$W"
mkdir "$W/upper" "$W/work" "$W/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$W/upper,workdir=$W/work" "$W/root"
mount -t proc proc "$W/root/proc"
mount --rbind /dev "$W/root/dev"
mount -t tmpfs tmpfs "$W/root/mnt"
mkdir "$W/root/mnt/pyrmap"
mount --bind "$MOUNT" "$W/root/mnt/pyrmap"
mkdir -p "$W/root/tmp/deb"
cp "$@" "$W/root/tmp/deb"
set +e
printf '%s' "$STEPS" | chroot "$W/root" bash -euxs
status=$?
umount -l "$W/root/mnt/pyrmap" "$W/root/mnt" "$W/root/dev" "$W/root/proc" "$W/root"
umount -l "$W"
exit $status
"""


def instructions() -> list[tuple[str, str]]:
    """Each one of the Containerfile, with what follows it."""
    text = re.sub(r"^#.*\n", "", (ROOT / "packaging/Containerfile").read_text(), flags=re.MULTILINE)
    words = (line.partition(" ") for line in text.replace("\\\n", "").splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in words]


def test_the_image_runs_r_on_the_mount_of_its_machine(built: Path, tmp_path: Path) -> None:
    steps, settings = [], {}
    for name, rest in instructions():
        if name == "RUN":
            steps.append(f"( {rest} )")
        elif name in ("ENV", "USER", "WORKDIR", "CMD", "FROM", "COPY"):
            settings[name] = rest
        else:
            raise AssertionError(f"the test does not know {name}")
    assert settings["FROM"] == "debian:12"
    assert settings["COPY"] == "*.deb /tmp/deb/"
    code = "library(pyrmap); cat('answer:', run_python(c(1, 2, 3.5), 'numpy::sum'), pyrmap_mount(), '\\n')"
    command = json.loads(settings["CMD"])
    start = f"cd {settings['WORKDIR']}; env -u PYTHONPATH -u R_LIBS {settings['ENV']} {shlex.join(command)} -s -e {shlex.quote(code)}; id -u"
    # Only one with this number already: an image begins without users.
    steps.insert(0, "! getent passwd 1000 >/dev/null || userdel $(getent passwd 1000 | cut -d: -f1)")
    steps.append(f"su {settings['USER']} -s /bin/bash -c {shlex.quote(start)}")
    with Daemon({"arena.capacity": "256M"}) as daemon:
        done = subprocess.run(["unshare", "--mount", "--propagation", "private", "bash", "-c", SCRIPT, "bash", str(tmp_path),
                               str(daemon.path), "\n".join(steps), *map(str, sorted(built.glob("*.deb")))], text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        assert done.stdout.endswith("answer: 6.5 /mnt/pyrmap \n1000\n")
