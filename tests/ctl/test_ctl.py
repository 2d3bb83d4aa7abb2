# SPDX-License-Identifier: Apache-2.0
"""pyrmapctl on a real mount: it shows what is there, and its steps are steps of the handshake."""
from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
from cgroups import Confined, cgroup
from daemon import PAGE_CACHE, ROOT, Daemon, as_user, processes
from paths import PATHS, check_data_path, mounted
from slots import ANSWER, DATA, Slot, eventually

CTL = ROOT / "packaging/ctl"
COMMAND = [sys.executable, "-c", "import sys; from pyrmapctl.main import main; sys.exit(main())"]
COMMANDS = "list show top events wait publish fail gc lsof doctor bench".split()
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CTL), "PYTHONDONTWRITEBYTECODE": "1"}

Done = subprocess.CompletedProcess


@pytest.fixture(params=PATHS)
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with mounted(request.param, arena_capacity="64M") as daemon:
        check_data_path(daemon, request.param)
        yield daemon


def run(mount: Path | None, *words: str, status: int = 0, stdin: bytes = b"", front: list[str] | None = None) -> Done[str]:
    """Runs it as a user types it, with the mount in PYRMAP_MOUNT."""
    environment = {**ENVIRONMENT, **({"PYRMAP_MOUNT": str(mount)} if mount else {})}
    done = subprocess.run([*(front or []), *COMMAND, *words], input=stdin, capture_output=True, timeout=50, env=environment)
    text = Done(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert text.returncode == status, text
    return text


def kill_all_at(daemon: Daemon) -> None:
    """SIGKILL for the keeper as well, which would clear the mount."""
    process = daemon.process
    assert process is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    eventually(lambda: processes(daemon.path) == [])


def told(mount: Path, *words: str, status: int = 0, stdin: bytes = b"") -> Any:
    return json.loads(run(mount, *words, "--json", status=status, stdin=stdin).stdout)


def test_list(daemon: Daemon) -> None:
    """Each slot with its state; who has what open; who waits for what."""
    for state in ("IDLE", "READY", "DONE", "FAILED"):
        Slot.make(daemon.path, state.lower()).bring(state)
    reader = subprocess.Popen(["cat", daemon.path / "ready/result.bin"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    fd = os.open(daemon.path / "done/data.bin", os.O_RDONLY)
    try:
        eventually(lambda: Slot(daemon.path / "ready").waiters())
        found = {slot["slot"]: slot for slot in told(daemon.path, "list")}
        assert {name: slot["state"] for name, slot in found.items()} == {
            "idle": "IDLE", "ready": "READY", "done": "DONE", "failed": "FAILED"}
        assert [waiter["pid"] for waiter in found["ready"]["waiting"]] == [reader.pid]
        assert found["done"]["open"] == [{"pid": os.getpid(), "file": "data.bin", "writes": False}]
        assert found["done"]["bytes"] == DATA.nbytes + ANSWER.nbytes and found["done"]["age"] < 60
        rows = [line.split() for line in run(daemon.path, "list", "--state", "ready,failed").stdout.splitlines()]
        assert rows[0][0] == "SLOT" and [row[:2] for row in rows[1:]] == [["failed", "FAILED"], ["ready", "READY"]]
        assert rows[2][7] == str(reader.pid)
        assert run(daemon.path, "list", "--names").stdout.split() == ["done", "failed", "idle", "ready"]
        assert told(daemon.path, "list", "--user", "somebody else") == []
    finally:
        os.close(fd)
        reader.terminate()
        reader.wait()


def test_names_of_any_bytes(daemon: Daemon) -> None:
    """A name can neither forge a line nor reach the terminal, and JSON gives it back."""
    name = b"a\n\x1b[31m\xff b"
    os.mkdir(os.fsencode(daemon.path) + b"/" + name)
    lines = run(daemon.path, "list").stdout.splitlines()
    assert len(lines) == 2 and lines[1].startswith(r"a\x0a\x1b[31m\xff\x20b  IDLE")
    assert os.fsencode(told(daemon.path, "list")[0]["slot"]) == name


def test_show(daemon: Daemon) -> None:
    slot = Slot.make(daemon.path, "job").bring("READY")
    (slot / "task").write_text("what to do\nand how\n")
    with pytest.raises(OSError):
        os.open(slot / "data.bin", os.O_WRONLY)
    shown = told(daemon.path, "show", "job")
    assert shown["metadata"]["dtype"] == "float64" and "EBUSY" in shown["metadata"]["refused"]
    assert shown["task"] == "what to do\nand how\n" and shown["state"] == "READY"
    assert told(daemon.path, "show", str(slot.path))["metadata"] == shown["metadata"], "by a path"
    lines = run(daemon.path, "show", "job").stdout.splitlines()
    assert "  state            READY" in lines and "  task             what to do" in lines


def test_top(daemon: Daemon) -> None:
    Slot.make(daemon.path, "job").bring("DONE")
    pictures = run(daemon.path, "top", "--count", "2", "--delay", "0.05").stdout
    assert pictures.count("rounds/s") == 2 and pictures.count("job   DONE") == 2
    shown = told(daemon.path, "top", "--count", "1", "--delay", "0.05")
    assert shown["requests_per_second"] > 0 and shown["slots"][0]["slot"] == "job"


@contextlib.contextmanager
def following(daemon: Daemon, *words: str) -> Iterator[Any]:
    """pyrmapctl events, once it reads; what happened until then is read already."""
    environment = {**ENVIRONMENT, "PYRMAP_MOUNT": str(daemon.path)}
    slot = Slot.make(daemon.path, "first")
    with subprocess.Popen([*COMMAND, "events", *words], env=environment, stdout=subprocess.PIPE, bufsize=0) as reader:

        def is_told() -> bool:
            slot.fill()
            slot.flag(-1)
            return bool(select.select([reader.stdout], [], [], 0.01)[0])

        try:
            eventually(is_told)
            os.rmdir(slot.path)
            while b"removed" not in reader.stdout.readline():  # type: ignore[union-attr]
                pass
            yield reader
        finally:
            reader.kill()


def test_events(daemon: Daemon) -> None:
    """As they happen, for people: of all slots, or of those that are named."""
    with following(daemon, "first", "job") as some, following(daemon) as every:
        Slot.make(daemon.path, "other")
        slot = Slot.make(daemon.path, "job").bring("READY")
        with pytest.raises(OSError):
            slot.flag(0)
        lines = [every.stdout.readline().decode() for _ in range(5)]
        named = [some.stdout.readline().decode()]
        while "EPROTO" not in named[-1]:
            named.append(some.stdout.readline().decode())
        assert named[-4:] == lines[1:] and not any("  other  " in line for line in named)
        by = f"  process {os.getpid()}"
        assert [line[14:].rstrip("\n") for line in lines] == [
            f"other  round 1  made{by}", f"job  round 1  made{by}", f"job  round 1  IDLE -> FILLING{by}",
            f"job  round 1  FILLING -> READY{by}", f"job  round 1  EPROTO: write flag 0{by}  {slot.text['refused'].split('EPROTO ')[1]}"]
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  ", lines[0][:14])
        every.send_signal(signal.SIGINT)
        assert every.wait(20) == 130


def test_events_for_programs(daemon: Daemon) -> None:
    with following(daemon, "--json", "--count", "1000") as reader:
        name = b"\xff \n"
        os.mkdir(os.fsencode(daemon.path) + b"/" + name)
        assert os.fsencode(json.loads(reader.stdout.readline())["slot"]) == name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make cgroups")
def test_doctor_knows_the_cgroup() -> None:
    with cgroup("memory", 128 << 20) as group:
        for capacity, result in (("1G", "problem"), ("64M", "ok")):
            daemon = Confined({"arena.capacity": capacity})
            daemon.group = group
            with daemon:
                found = {finding["check"]: finding for finding in told(daemon.path, "doctor", status=int(result == "problem"))}
                assert found["cgroup"]["result"] == result
                assert found["cgroup"]["found"].startswith(f"{group.path} may have 128M, the arena ")


def test_publish_and_wait(daemon: Daemon) -> None:
    """A round by hand, both sides, while a third waits."""
    slot = Slot.make(daemon.path, "job")
    environment = {**ENVIRONMENT, "PYRMAP_MOUNT": str(daemon.path)}
    with subprocess.Popen([*COMMAND, "wait", "job"], env=environment, stdout=subprocess.PIPE, text=True) as waiter:
        matrix = np.arange(6, dtype="i4").reshape(2, 3)
        said = run(daemon.path, "publish", "job", "--dtype", "int32", "--shape", "2x3", stdin=matrix.tobytes()).stdout
        assert said == "job is READY, round 1, 24\n"
        assert np.array_equal(np.load(slot / "data.npy"), matrix)
        assert waiter.poll() is None
        assert told(daemon.path, "publish", "job", "--result", stdin=ANSWER.tobytes())["state"] == "DONE"
        assert waiter.communicate(timeout=30)[0] == "DONE\n" and waiter.returncode == 0
    assert slot.result().tolist() == ANSWER.tolist()


def test_publish_a_file(daemon: Daemon, tmp_path: Path) -> None:
    slot = Slot.make(daemon.path, "job")
    DATA.tofile(tmp_path / "input")
    run(daemon.path, "publish", "job", str(tmp_path / "input"))
    assert slot.data().tolist() == DATA.tolist()
    assert "No such file" in run(daemon.path, "publish", "job", str(tmp_path / "none"), status=1).stderr


def test_a_refusal_says_why(daemon: Daemon) -> None:
    """The errno, and what metadata.txt says; the slot stays as it was."""
    slot = Slot.make(daemon.path, "job").bring("READY")
    said = run(daemon.path, "publish", "job", status=1, stdin=b"12345678").stderr
    assert "Device or resource busy" in said and "the input is published and waits for a worker" in said
    said = run(daemon.path, "publish", "job", "--result", "--dtype", "float64", status=1, stdin=b"123").stderr
    assert "cannot be published: Invalid argument" in said and "result.bin has 3 bytes" in said
    assert slot.state == "COMPUTING"


def test_wait_ends(daemon: Daemon) -> None:
    """wait ends with the round, with the timeout and with the slot, and its status says which."""
    slot = Slot.make(daemon.path, "job").bring("READY")
    assert "is READY still" in run(daemon.path, "wait", "job", "--timeout", "0.05", status=3).stderr
    run(daemon.path, "fail", "job", "no", "such", "model")
    assert slot.error == "no such model\n"
    assert run(daemon.path, "wait", "job", status=1).stdout == "FAILED\n"
    assert run(daemon.path, "wait", "job", "--state", "failed").stdout == "FAILED\n", "it was asked for"
    slot.flag(0)
    waiter = subprocess.Popen([*COMMAND, "wait", "job"], env={**ENVIRONMENT, "PYRMAP_MOUNT": str(daemon.path)},
                              stderr=subprocess.PIPE, text=True)
    eventually(lambda: [holder for holder in slot.lines("open") if holder.startswith(f"{waiter.pid} metadata.bin")])
    os.rmdir(slot.path)
    assert re.search("No such file|is gone", waiter.communicate(timeout=30)[1]) and waiter.returncode == 1


def test_gc(daemon: Daemon) -> None:
    """gc removes slots that are old and at rest, and keeps those that somebody uses."""
    for name, state in (("old", "DONE"), ("ready", "READY"), ("held", "DONE"), ("source", "IDLE"), ("owned", "IDLE")):
        Slot.make(daemon.path, name).bring(state)
    os.symlink("../source/result.bin", Slot.make(daemon.path, "follower") / "source")
    (daemon.path / "owned/owner").write_text("self")
    fd = os.open(daemon.path / "held/result.bin", os.O_RDONLY)
    try:
        assert told(daemon.path, "gc")["removed"] == [], "nothing is a day old"
        assert [slot["slot"] for slot in told(daemon.path, "gc", "--older", "0s", "--dry-run")["removed"]] == ["old"]
        assert (daemon.path / "old").exists()
        removed = told(daemon.path, "gc", "--older", "0s")
        assert [slot["slot"] for slot in removed["removed"]] == ["old"] and removed["bytes"] == DATA.nbytes + ANSWER.nbytes
    finally:
        os.close(fd)
    assert sorted(os.listdir(daemon.path)) == [".pyrmap", "follower", "held", "owned", "ready", "source"]
    assert told(daemon.path, "gc", "--older", "0s", "--user", "nobody")["removed"] == []


def mapped_for_good(fd: int, length: int) -> int:
    """The address of a mapping that, unlike those of the module mmap, holds no descriptor; fd is closed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    os.close(fd)
    assert address not in (None, ctypes.c_void_p(-1).value)
    return int(address)


def unmap(address: int, length: int) -> None:
    ctypes.CDLL(None).munmap(ctypes.c_void_p(address), ctypes.c_size_t(length))


def mine(daemon: Daemon, *slots: str) -> list[tuple[str, str, list[str]]]:
    return [(use["how"], use["access"], sorted(use["names"])) for use in told(daemon.path, "lsof", *slots)
            if use["pid"] == os.getpid()]


def test_lsof(daemon: Daemon) -> None:
    """A mapping without a descriptor is found, under each name that its pages have."""
    source, follower = Slot.make(daemon.path, "source").bring("READY"), Slot.make(daemon.path, "follower")
    os.symlink("../source/result.bin", follower / "source")
    source.answer()
    fd = os.open(source / "data.bin", os.O_RDONLY)
    links = (source / "data.mem").is_symlink()
    view = mapped_for_good(os.open(source / ("data.mem" if links else "data.bin"), os.O_RDONLY), DATA.nbytes)
    assert mine(daemon) == [("mapped", "r", ["source/data.bin"]), ("open", "r", ["source/data.bin"])]
    os.close(fd)
    # Through the page cache a mapping keeps the file open.
    kept = [("open", "r", ["source/data.bin"])] if daemon.data_path == PAGE_CACHE else []
    assert mine(daemon, "source") == [("mapped", "r", ["source/data.bin"]), *kept]
    assert mine(daemon, "follower") == []
    unmap(view, DATA.nbytes)
    eventually(lambda: mine(daemon) == [])
    fd = os.open(source / "result.bin", os.O_RDONLY)
    view = mapped_for_good(os.open(source / ("result.mem" if links else "result.bin"), os.O_RDONLY), ANSWER.nbytes)
    os.close(fd)
    assert mine(daemon)[0] == ("mapped", "r", ["follower/data.bin", "source/result.bin"])
    unmap(view, ANSWER.nbytes)


def test_lsof_takes_nothing(daemon: Daemon) -> None:
    """Commands that look at the end of a chain do not take its result: the next input still has to wait."""
    source, follower = Slot.make(daemon.path, "source"), Slot.make(daemon.path, "follower")
    os.symlink("../source/data.bin", follower / "source")
    source.publish()
    follower.answer()
    source.answer()
    for words in (["list"], ["show", "follower"], ["lsof"], ["top", "--count", "1", "--delay", "0.01"], ["doctor"]):
        run(daemon.path, *words)
    fd = os.open(source / "metadata.bin", os.O_WRONLY | os.O_NONBLOCK)
    source.fill()
    try:
        with pytest.raises(BlockingIOError):
            os.write(fd, b"\0\0\0\0")
    finally:
        os.close(fd)


def test_doctor(daemon: Daemon) -> None:
    """doctor names the data path, and the remedy of what is wrong."""
    done = subprocess.run([*COMMAND, "doctor", "--json"], capture_output=True, text=True, timeout=50,
                          env={**ENVIRONMENT, "PYRMAP_MOUNT": str(daemon.path)})
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert daemon.data_path in found["data path"]["found"]
    assert found["arena"]["result"] == "ok" and found["kernel"]["found"] == os.uname().release
    assert done.returncode == any(finding["result"] == "problem" for finding in found.values())
    slot = Slot.make(daemon.path, "full")
    slot.fill(np.zeros(62 << 17))
    found = {finding["check"]: finding for finding in told(daemon.path, "doctor", status=1)}
    assert found["arena"]["result"] == "problem" and "pyrmapctl gc" in found["arena"]["remedy"]


def test_bench(daemon: Daemon) -> None:
    """bench measures on each data path, and leaves no slot."""
    results = told(daemon.path, "bench", "--rounds", "20", "--size", "1M")["results"]
    assert [(result["bytes"], result["rounds"]) for result in results] == [(8, 20), (1 << 20, 5)]
    assert all(0 < result["fastest_seconds"] <= result["median_seconds"] for result in results)
    assert os.listdir(daemon.path) == [".pyrmap"]
    assert run(daemon.path, "bench", "--rounds", "5", "--size", "64K").stdout.splitlines()[1].split()[0] == "THERE"
    assert "No space left" in run(daemon.path, "bench", "--rounds", "5", "--size", "1G", status=1).stderr
    assert os.listdir(daemon.path) == [".pyrmap"]


def test_which_mount(daemon: Daemon, tmp_path: Path) -> None:
    """The option, the variable; the only one that there is; an error that says what to do."""
    Slot.make(daemon.path, "job")
    assert run(None, "list", "--names", "--mount", str(daemon.path)).stdout == "job\n"
    if os.geteuid() == 0:
        # In this namespace the machine's other mounts are hidden.
        script = f"findmnt -rnt fuse.pyrmapfs -o TARGET | grep -Fvx {daemon.path} | xargs -r umount -l; exec \"$@\""
        front = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        assert run(tmp_path, "list", "--names", front=front).stdout == "job\n", "the only one"
    said = run(None, "list", "--mount", str(tmp_path), status=1).stderr
    assert f"no pyrmapfs is mounted at {tmp_path}" in said and str(daemon.path) in said
    assert "not below a mount" in run(None, "show", str(tmp_path / "x"), status=2).stderr
    assert "No such file" in run(daemon.path, "show", "nothing", status=1).stderr


def test_a_dead_mount() -> None:
    """It says that the mount is dead, and how it is cleared."""
    with mounted(PATHS[0]) as daemon:
        kill_all_at(daemon)
        assert f"the mount at {daemon.path} is dead: pyrmapfs --clear" in run(daemon.path, "list", status=1).stderr
        found = json.loads(run(None, "doctor", "--json", status=1).stdout)
        assert [finding["found"] for finding in found if finding["check"] == "dead mount"] == [str(daemon.path)]
        daemon.stop()


def test_as_another_user(daemon: Daemon) -> None:
    """pyrmapctl may do what its user may do: it leaves out slots that the user may not read, and its steps are refused."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    daemon.path.parent.chmod(0o755)
    Slot.make(daemon.path, "open")
    Slot.make(daemon.path, "closed")
    (daemon.path / "closed").chmod(0o700)
    front = [*as_user("nobody"), "env", f"PYRMAP_MOUNT={daemon.path}"]
    found = json.loads(run(daemon.path, "list", "--json", front=front).stdout)
    assert [slot["slot"] for slot in found] == ["open"]
    assert "Permission denied" in run(daemon.path, "fail", "open", "why", status=1, front=front).stderr


@pytest.mark.parametrize("words", [["nothing"], ["list", "--state", "AWAKE"], ["wait", "x", "--timeout", "soon"], ["bench", "--rounds", "0"],
                                   ["publish", "x", "--dtype", "int8"], []])
def test_wrong_command_lines(words: list[str]) -> None:
    assert "usage: pyrmapctl" in run(None, *words, status=2).stderr


def options_of(command: str) -> set[str]:
    return set(re.findall(r"--[a-z-]+", run(None, command, "--help").stdout.split("\n\n", 1)[1])) - {"--help"}


def test_manual() -> None:
    """pyrmapctl(1) has each command and each option."""
    page = (ROOT / "packaging/man/pyrmapctl.1").read_text()
    for command in COMMANDS:
        line = next(line for line in page.splitlines() if line.startswith(f".It Cm {command}"))
        assert set(re.findall(r"Fl (-[a-z-]+)", line)) == {option[1:] for option in options_of(command) - {"--mount", "--json"}}, command


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_its_completion() -> None:
    subprocess.run(["zsh", "-n", ROOT / "packaging/completion/_pyrmapctl"], check=True)


def test_completion_knows_all_options() -> None:
    folder = ROOT / "packaging/completion"
    bash, zsh, fish = ((folder / name).read_text() for name in ("pyrmapctl.bash", "_pyrmapctl", "pyrmapctl.fish"))
    assert re.search(r"'' *\) words='([a-z ]+) --help", bash)[1].split() == COMMANDS  # type: ignore[index]
    assert re.findall(r"^    '(\w+):", zsh, re.MULTILINE) == COMMANDS
    assert re.search(r"commands (.*)", fish)[1].split() == COMMANDS  # type: ignore[index]
    for command in COMMANDS:
        wanted = options_of(command)
        assert set(re.search(rf"^        {command}\) words='(.*)'", bash, re.MULTILINE)[1].split()) - {"--help"} == wanted  # type: ignore[index]
        part = re.search(rf"^{command}\)(.*?);;", zsh, re.MULTILINE | re.DOTALL)
        assert part is not None and set(re.findall(r"--[a-z-]+", part[1])) | {"--mount", "--json"} == wanted
        own = {f"--{option}" for commands, option in re.findall(r"seen_subcommand_from ([a-z ]+)' -l ([a-z-]+)", fish)
               if command in commands.split()}
        assert own | {"--mount", "--json"} == wanted


COMPLETIONS = [("pyrmapctl g", ["gc"]), ("pyrmapctl show j", ["job1", "job2"]), ("pyrmapctl list --sta", ["--state"]),
               ("pyrmapctl publish --dtype u", ["uint8"])]


@pytest.fixture
def path_with_ctl(tmp_path: Path) -> str:
    program = tmp_path / "pyrmapctl"
    program.write_text((CTL / "pyrmapctl.in").read_text().replace("@LIBDIR@", str(CTL)))
    program.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=pytest.mark.skipif(shutil.which(shell) is None, reason="not installed"))
                                   for shell in ("bash", "fish")])
def test_completion(path_with_ctl: str, shell: str) -> None:
    """The words that the tabulator key offers, names of slots among them."""
    with mounted(PATHS[0]) as daemon:
        for name in ("job1", "job2", "other"):
            Slot.make(daemon.path, name)
        environment = {**os.environ, "PATH": path_with_ctl, "PYRMAP_MOUNT": str(daemon.path), "PYTHONDONTWRITEBYTECODE": "1",
                       "HOME": str(daemon.directory), "XDG_CONFIG_HOME": str(daemon.directory)}
        for line, expected in COMPLETIONS:
            if shell == "bash":
                script = (f". {ROOT}/packaging/completion/pyrmapctl.bash; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
                          "_pyrmapctl; printf '%s\\n' \"${COMPREPLY[@]}\"")
            else:
                script = f"source {ROOT}/packaging/completion/pyrmapctl.fish; complete -C '{line}'"
            done = subprocess.run([shell, "-c", script], capture_output=True, text=True, timeout=50, env=environment, check=True)
            assert [word.split("\t")[0] for word in done.stdout.split("\n") if word] == expected, (line, done)
