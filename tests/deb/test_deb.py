# SPDX-License-Identifier: Apache-2.0
"""The packages: built from the tarball, checked, installed, used, upgraded under a running mount, removed and purged.

They are installed into a copy of this machine's root that an overlay makes: what they leave there is seen file by file, and this
machine stays as it was.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from building import VERSION, make
from daemon import BUILD, ROOT

PACKAGES = ["pyrmapfs", "python3-pyrmap", "r-other-pyrmap", "libpyrmap-dev"]
# What dpkg and the triggers of other packages note.
NOTES = ("var/lib/dpkg/", "var/log/", "var/cache/", "var/lib/systemd/", "etc/ld.so.cache", "run/", "tmp/", "dev/", "proc/", "root/")
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="dpkg is root's"), pytest.mark.time_limit(600)]


def test_the_tarball_is_the_same_again(tmp_path: Path) -> None:
    """The same sources give the same bytes, and nothing that was built is in them."""
    make("dist")
    tarball = BUILD / f"deb-test/dist/pyrmapfs-{VERSION}.tar.gz"
    first = tarball.read_bytes()
    make("dist")
    assert tarball.read_bytes() == first
    names = subprocess.run(["tar", "-tf", tarball], check=True, capture_output=True, text=True).stdout.split("\n")
    assert f"pyrmapfs-{VERSION}/Makefile" in names and f"pyrmapfs-{VERSION}/packaging/debian/control" in names
    assert not [name for name in names if name.endswith((".o", ".so", ".pyc")) or "/build/" in name or "__pycache__" in name]


def test_lintian(built: Path) -> None:
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", *built.glob("*.changes")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


SCRIPT = r"""
set -eu
W=$1; shift
mount -t tmpfs tmpfs "$W"
mkdir "$W/upper" "$W/work" "$W/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$W/upper,workdir=$W/work" "$W/root"
mkdir -p "$W/root/tmp/packages"
cp -r "$@" "$W/root/tmp/packages"
mount -t proc proc "$W/root/proc"
mount --rbind /dev "$W/root/dev"
set +e
chroot "$W/root" sh -eux /tmp/packages/steps
status=$?
set -e
umount -l "$W/root/dev" "$W/root/proc"
# Programs that the steps left would keep the overlay.
fuser -k -M -m "$W/root" >/dev/null 2>&1 || :
umount -l "$W/root"
# What is new, or hidden from below.
cd "$W/upper"
find . -type f -o -type l -o -type c -o -type d -empty | sed 's|^\./||'
exit $status
"""

STEPS = r"""
cd /tmp/packages
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
dpkg -i ./*.deb >/dev/null
sh tests/packages >&2
sh tests/demo >&2
systemd-tmpfiles --create pyrmapfs.conf 2>/dev/null || mkdir -p /mnt/pyrmap

# A round is on its way while the package is upgraded.
pyrmapfs -c /etc/pyrmapfs.conf -o arena.capacity=64M -o arena.warm=0 /mnt/pyrmap
mkdir /mnt/pyrmap/job
printf 12345678 | pyrmapctl publish job >&2
pyrmapctl wait job --timeout 60s >outcome &
waiter=$!
dpkg-deb -R pyrmapfs_*.deb next
sed -i 's/^Version: .*/&+next/' next/DEBIAN/control
dpkg-deb -b next next.deb >/dev/null
# systemd does not run in here: what it does at a reload is the line of the unit.
mkdir -p bin /run/systemd/system
echo '#!/bin/sh' >bin/systemctl
cat >>bin/systemctl <<'EOF'
echo "$*" >>/tmp/packages/asked
case "$*" in
*is-active*) exit 0 ;;
"reload pyrmapfs.service")
    MAINPID=$(pgrep -o -x -f '.*pyrmapfs.* /mnt/pyrmap') || exit 1
    eval "$(sed -n 's/^ExecReload=//p' /lib/systemd/system/pyrmapfs.service)" ;;
esac
EOF
# And nobody forbids it, as a machine for tests does.
printf '#!/bin/sh\nexit 104\n' >bin/policy
chmod +x bin/systemctl bin/policy
[ ! -e /usr/sbin/policy-rc.d ] || mount --bind bin/policy /usr/sbin/policy-rc.d
PATH=/tmp/packages/bin:$PATH dpkg -i next.deb >/dev/null
dpkg -s pyrmapfs | grep -q '^Version: .*+next$'
grep -qx 'reload pyrmapfs.service' asked
! grep -E '(re)?start|stop' asked
timeout 60 sh -c 'until grep -q "^takeovers: 1" /mnt/pyrmap/.pyrmap/status; do sleep 0.1; done' 2>/dev/null
umount /usr/sbin/policy-rc.d 2>/dev/null || :
rmdir /run/systemd/system
printf 87654321 | pyrmapctl publish job --result >&2
wait $waiter
grep -qx DONE outcome
test "$(cat /mnt/pyrmap/job/result.bin)" = 87654321

if [ -e dead ]; then
    pkill -KILL -x -f '.*pyrmapfs.* /mnt/pyrmap'
    while pgrep -f 'pyrmapfs.* /mnt/pyrmap'; do :; done
    ! ls /mnt/pyrmap
fi
dpkg -r r-other-pyrmap python3-pyrmap libpyrmap-dev pyrmapfs >/dev/null
! grep ' /mnt/pyrmap ' /proc/self/mountinfo
test -e /etc/pyrmapfs.conf
dpkg -P r-other-pyrmap python3-pyrmap libpyrmap-dev pyrmapfs >/dev/null
! test -e /mnt/pyrmap
! test -e /etc/pyrmapfs.conf
! ls /usr/bin/pyrmap* /usr/share/pyrmapfs
cd /
"""


@pytest.mark.parametrize("mount", ["live", "dead"])
def test_from_install_to_purge(built: Path, tmp_path: Path, mount: str) -> None:
    """Each package is used, the mount outlives an upgrade, and nothing is left: no file, no mount, dead or alive."""
    things = tmp_path / "things"
    shutil.copytree(ROOT / "packaging/debian/tests", things / "tests")
    shutil.copytree(ROOT / "examples/demo", things / "examples/demo")
    for package in built.glob("*.deb"):
        if "dbgsym" not in package.name:
            shutil.copy(package, things)
    assert len(list(things.glob("*.deb"))) == len(PACKAGES)
    (things / "steps").write_text(STEPS)
    if mount == "dead":
        (things / "dead").touch()
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "bash", "-c", SCRIPT, "bash",
                           work, *things.iterdir()], capture_output=True, text=True, timeout=500, stdin=subprocess.DEVNULL,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": "/tmp", "HOME": "/root"})
    assert done.returncode == 0, done.stderr[-6000:]
    left = [name for name in done.stdout.splitlines() if not name.startswith(NOTES) and not os.path.isdir(f"/{name}")]
    assert left == []


def test_wheel_and_source_package_of_r(tmp_path: Path) -> None:
    """Installed from nothing but these files, each says its version."""
    make("wheel", "r-source")
    folder = BUILD / "deb-test/dist"
    [wheel] = folder.glob(f"pyrmap-{VERSION}-*.whl")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", tmp_path / "python", wheel],
                   check=True)
    said = subprocess.run([sys.executable, "-c", "import pyrmap; print(pyrmap.__version__, pyrmap.__file__)"], check=True, text=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(tmp_path / "python")}).stdout
    assert said.split() == [VERSION, str(tmp_path / "python/pyrmap/__init__.py")]
    library = tmp_path / "r"
    library.mkdir()
    subprocess.run(["R", "CMD", "INSTALL", f"--library={library}", folder / f"pyrmap_{VERSION}.tar.gz"], check=True,
                   capture_output=True)
    said = subprocess.run(["Rscript", "--vanilla", "-e", f'cat(format(packageVersion("pyrmap", "{library}")))'], check=True, text=True,
                          capture_output=True).stdout
    assert said == VERSION


def test_rpm() -> None:
    """Built by rpmbuild: each file is in one package, and the scripts are for a shell."""
    make("rpm", "RPMFLAGS=--nodeps --nocheck")
    packages = {package.name.rsplit(f"-{VERSION}", 1)[0]: package for package in (BUILD / "deb-test/rpm/RPMS").rglob("*.rpm")}
    assert sorted(packages) == ["R-pyrmap", "pyrmap-devel", "pyrmapfs", "python3-pyrmap"]

    def query(name: str, *what: str) -> str:
        return subprocess.run(["rpm", "-qp", *what, packages[name]], check=True, capture_output=True, text=True).stdout

    files = {name: query(name, "-l").split("\n") for name in packages}
    assert "/usr/bin/pyrmapfs" in files["pyrmapfs"] and "/usr/sbin/mount.fuse.pyrmapfs" in files["pyrmapfs"]
    assert "/usr/include/pyrmap.h" in files["pyrmap-devel"]
    assert any(path.endswith("/pyrmap/slot.py") for path in files["python3-pyrmap"])
    assert any(path.endswith("/pyrmap/libs/pyrmap.so") for path in files["R-pyrmap"])
    assert query("pyrmapfs", "-c").split() == ["/etc/pyrmapfs.conf"]
    scripts = query("pyrmapfs", "--scripts")
    assert "umount -l /mnt/pyrmap" in scripts
    subprocess.run(["sh", "-n"], input="\n".join(line for line in scripts.splitlines() if " scriptlet " not in line), text=True, check=True)
