# SPDX-License-Identifier: Apache-2.0
"""mount(8), a line of fstab and updatedb, with what was installed: each in a mount namespace where it lies in /sbin."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from daemon import ROOT

from test_install import PREFIX, make_into

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mount(8) is root's")
# What stands in plocate's own file.
UPDATEDB = 'PRUNE_BIND_MOUNTS="yes"\nPRUNEPATHS="/tmp /var/spool"\nPRUNEFS="NFS afs autofs"\n'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("root")
    make_into("install", destination)
    return destination


def within(root: Path, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a shell script where the installed helper lies in /sbin; $P is a mount point. No mount outlives the script."""
    prepare = """set -eu
mount -t overlay overlay -o "lowerdir=$ROOT/sbin:$(realpath /sbin)" "$(realpath /sbin)"
trap 'umount -l "$P" 2>/dev/null || :' EXIT
"""
    (root / "mnt").mkdir(exist_ok=True)
    environment = {**os.environ, "ROOT": str(root), "P": str(root / "mnt"), "PYRMAPFS": f"{root}{PREFIX}/bin/pyrmapfs"}
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", prepare + script],
                          env=environment, capture_output=True, text=True, timeout=50, stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, done
    return done


def test_mount_with_options(root: Path) -> None:
    """Keys of the configuration, a file of it, and what mount(8) itself passes on."""
    (root / "other.conf").write_text("[arena]\nwarm = 1M\n")
    done = within(root, f"""
mount -t fuse.pyrmapfs none "$P" -o rw,nosuid,arena.capacity=32M,config={root}/other.conf,limits.slots=5,x-systemd.automount
findmnt -no FSTYPE "$P"
grep -E '^(capacity|warm|slots) ' "$P/.pyrmap/config"
umount "$P"
! findmnt "$P" """)
    assert re.sub(" += ", " = ", done.stdout).split("\n")[:4] == ["fuse.pyrmapfs", "capacity = 32M", "warm = 1M", "slots = 5"]


def test_a_line_of_fstab(root: Path) -> None:
    """The line that pyrmapfs(8) shows: mounted by its mount point, and once only by mount -a."""
    page = (ROOT / "packaging/man/pyrmapfs.8").read_text()
    line = next(line for line in page.splitlines() if " fuse.pyrmapfs " in line and line.startswith("pyrmapfs "))
    (root / "fstab").write_text(line.replace("/mnt/pyrmap", str(root / "mnt")).replace("8G", "32M") + "\n")
    done = within(root, """
mount --fstab "$ROOT/fstab" "$P"
mount --fstab "$ROOT/fstab" -a
findmnt -no FSTYPE "$P"
umount "$P" """)
    assert done.stdout == "fuse.pyrmapfs\n"


@pytest.mark.parametrize("options, words", [
    ("ro", "ro: a mount that nobody can write to is of no use"),
    ("capacity=1G", "capacity=1G: no option of pyrmapfs"),
    ("arena.capacity=many", "arena.capacity"),
    ("remount", "remount: end the mount with umount"),
])
def test_what_is_refused(root: Path, options: str, words: str) -> None:
    done = within(root, f'/sbin/mount.fuse.pyrmapfs none "$P" -o {options}', check=False)
    assert done.returncode in (1, 32) and words in done.stderr
    assert f" {root}/mnt " not in Path("/proc/self/mountinfo").read_text()


def test_nothing_is_mounted_for_show(root: Path) -> None:
    """mount -f, as in `mount -fav`."""
    done = within(root, 'mount -f -t fuse.pyrmapfs none "$P"; ! findmnt "$P"')
    assert done.stdout == ""


@pytest.mark.skipif(shutil.which("updatedb.plocate") is None, reason="plocate is not installed")
def test_updatedb(root: Path, tmp_path: Path) -> None:
    """With the command of pyrmapfs(8), slots are not in locate's database; without it they are."""
    page = (ROOT / "packaging/man/pyrmapfs.8").read_text()
    command = next(line for line in page.splitlines() if line.startswith("# sed -i") and "PRUNEFS" in line)
    configuration = tmp_path / "updatedb.conf"
    configuration.write_text(UPDATEDB)
    before = re.search('PRUNEFS="(.*)"', configuration.read_text())
    subprocess.run(["sh", "-c", command.removeprefix("# ").replace("\\e", "\\").replace("/etc/updatedb.conf", str(configuration))],
                   check=True)
    after = re.search('PRUNEFS="(.*)"', configuration.read_text())
    assert before is not None and after is not None and after[1] == f"fuse.pyrmapfs {before[1]}"
    done = within(root, f"""
mount -t fuse.pyrmapfs none "$P" -o arena.capacity=32M
mkdir "$P/a_slot_to_find"
for prune in "{before[1]}" "{after[1]}"; do
    updatedb.plocate -l no --prunepaths '' --prune-bind-mounts no -U "$ROOT" -o "$ROOT/db" --prunefs "$prune"
    plocate -d "$ROOT/db" -c a_slot_to_find || :
done""")
    found = [int(line) for line in done.stdout.split()]
    assert found[0] > 0 and found[1] == 0
