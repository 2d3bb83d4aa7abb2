# SPDX-License-Identifier: Apache-2.0
"""make install into a folder: what lies there works from there, and uninstall leaves nothing but what was edited."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from daemon import BUILD, ROOT

PREFIX = "/opt/pyrmapfs"
TARGETS = ("install", "install-r", "install-python")


def make(target: str, *variables: str, tree: Path = ROOT) -> None:
    subprocess.run(["make", "-s", target, *variables], cwd=tree, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL,
                   env={name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")})


def make_into(target: str, destination: Path) -> None:
    """Runs make with the build that is there already, so that nothing is compiled but the R package."""
    make(target, f"BUILD={BUILD}", f"DESTDIR={destination}", f"PREFIX={PREFIX}")


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root that everything was installed into."""
    destination = tmp_path_factory.mktemp("root")
    for target in TARGETS:
        make_into(target, destination)
    return destination


@pytest.fixture
def mount(installed: Path, tmp_path: Path) -> Iterator[Path]:
    """A mount of the installed program, with the installed configuration."""
    point = tmp_path / "mnt"
    point.mkdir()
    program = f"{installed}{PREFIX}/bin/pyrmapfs"
    subprocess.run([program, "-c", installed / "etc/pyrmapfs.conf", "-o", "arena.capacity=64M", point], check=True)
    yield point
    subprocess.run(["umount", point], check=True)


@pytest.mark.time_limit(300)
def test_what_is_installed(installed: Path) -> None:
    """Programs, manual pages and the unit, each where it belongs; the unit names the program's final place."""
    present = files_below(installed)
    prefix = PREFIX.lstrip("/")
    pages = [f"{prefix}/share/man/man{page.suffix[1:]}/{page.name}" for page in (ROOT / "packaging/man").iterdir()]
    for expected in [f"{prefix}/bin/pyrmapfs", "etc/pyrmapfs.conf", f"{prefix}/share/doc/pyrmapfs/README.md", *pages]:
        assert expected in present
    for name in (f"{prefix}/lib/systemd/system/pyrmapfs.service", f"{prefix}/lib/systemd/user/pyrmapfs.service",
                 "sbin/mount.fuse.pyrmapfs"):
        text = (installed / name).read_text()
        assert f"{PREFIX}/bin/pyrmapfs" in text and "@BINDIR@" not in text
    assert os.access(installed / "sbin/mount.fuse.pyrmapfs", os.X_OK)
    assert f"{prefix}/lib/tmpfiles.d/pyrmapfs.conf" in present
    for path in present:
        content = (installed / path).read_bytes()
        assert b"@BINDIR@" not in content, path
        if not path.endswith((".rds", ".rdb", ".pyc")) and not content.startswith(b"\x7fELF"):
            assert str(installed).encode() not in content, f"{path} names the folder that it was staged in"


@pytest.mark.time_limit(300)
def test_stale_objects(tmp_path: Path) -> None:
    """Objects in the tree, newer than their sources, do not get into the R package."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("Makefile", "fs", "conf", "packaging", "tests", "examples"):
        subprocess.run(["cp", "-a", ROOT / name, tree], check=True)
    sources = tree / "packaging/r/src"
    for source in sources.glob("*.c"):
        source.with_suffix(".o").write_bytes(b"not an object")
    (sources / "pyrmap.so").write_bytes(b"not a library")
    stale = files_below(sources)
    library = tmp_path / "library"
    make("install-r", f"BUILD={tmp_path / 'build'}", f"R_LIBRARY={library}", tree=tree)
    subprocess.run(["Rscript", "--vanilla", "-e", f'library(pyrmap, lib.loc = "{library}")'], check=True,
                   capture_output=True)
    assert files_below(sources) == stale, "the tree is as it was"


def test_version(installed: Path) -> None:
    """The programs and both packages say the same version: it is written once."""
    program = subprocess.run([f"{installed}{PREFIX}/bin/pyrmapfs", "--version"], check=True, text=True,
                             capture_output=True).stdout.split()[-1]
    r_package = (installed / PREFIX.lstrip("/") / "lib/R/site-library/pyrmap/DESCRIPTION").read_text()
    python_package = [path for path in files_below(installed) if path.endswith(".dist-info/METADATA")]
    assert f"\nVersion: {program}\n" in r_package
    ctl = (installed / PREFIX.lstrip("/") / "share/pyrmapfs/pyrmapctl/__init__.py").read_text()
    assert f'__version__ = "{program}"' in ctl
    assert len(python_package) == 1 and f"pyrmap-{program}.dist-info" in python_package[0]


def test_pyrmapctl(installed: Path, mount: Path) -> None:
    """The installed program finds its modules, which lie where they will be when the folder is the root."""
    text = (installed / PREFIX.lstrip("/") / "bin/pyrmapctl").read_text()
    assert f'"{PREFIX}/share/pyrmapfs"' in text
    (mount / "job").mkdir()
    ran = subprocess.run([sys.executable, "-c", text.replace(PREFIX, f"{installed}{PREFIX}"), "list", "--names"], text=True,
                         capture_output=True, env={**os.environ, "PYRMAP_MOUNT": str(mount), "PYTHONDONTWRITEBYTECODE": "1"})
    assert ran.stdout == "job\n", ran.stderr


def test_header(installed: Path, tmp_path: Path) -> None:
    """The example in C is built from what was installed, by the command in its first lines; C++ takes the header, too."""
    flags = subprocess.run(["pkg-config", "--cflags", "pyrmap"], check=True, text=True, capture_output=True, env={
        **os.environ, "PKG_CONFIG_PATH": f"{installed}{PREFIX}/share/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": str(installed)})
    example = ROOT / "examples/c/rolling_mean.c"
    [command] = [line.split("*", 1)[1].strip() for line in example.read_text().splitlines() if "pkg-config" in line]
    assert "$(pkg-config --cflags pyrmap)" in command
    subprocess.run(command.replace("$(pkg-config --cflags pyrmap)", flags.stdout.strip()).replace("rolling_mean.c", str(example)),
                   shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "rolling_mean").exists()
    subprocess.run(["c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", "-include", "pyrmap.h", *flags.stdout.split(),
                    "/dev/null"], check=True)


def test_exchange(installed: Path, mount: Path, tmp_path: Path) -> None:
    """R and Python from the installed folders exchange through the installed program."""
    script = tmp_path / "double.py"
    script.write_text("def double(x):\n    return x * 2\n")
    prefix = installed / PREFIX.lstrip("/")
    python = next(prefix.glob("lib/python3*/dist-packages"))
    environment = {**os.environ, "R_LIBS": f"{prefix}/lib/R/site-library", "PYTHONPATH": str(python),
                   "PYRMAP_MOUNT": str(mount), "PYRMAP_PYTHON": sys.executable}
    call = f"cat(find.package('pyrmap'), pyrmap::run_python(c(1.5, 2), '{script}::double'))"
    ran = subprocess.run(["Rscript", "-e", call],
                         env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert ran.stdout == f"{prefix}/lib/R/site-library/pyrmap 3 4", ran.stderr


@pytest.mark.time_limit(300)
@pytest.mark.parametrize("edited", ["as installed", "edited"])
def test_uninstall(tmp_path: Path, edited: str) -> None:
    """Nothing is left, but a configuration that a user has edited."""
    for target in TARGETS:
        make_into(target, tmp_path)
    configuration = tmp_path / "etc/pyrmapfs.conf"
    if edited == "edited":
        configuration.write_text("[arena]\ncapacity = 1G\n")
        make_into("install", tmp_path)
        assert configuration.read_text() == "[arena]\ncapacity = 1G\n"
    for target in TARGETS:
        make_into(f"un{target}", tmp_path)
    assert files_below(tmp_path) == (["etc/pyrmapfs.conf"] if edited == "edited" else [])
