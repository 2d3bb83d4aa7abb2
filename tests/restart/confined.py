# SPDX-License-Identifier: Apache-2.0
"""confined.py UNIT PROGRAM ARGUMENT... - run a program with what a systemd unit takes from it.

What the unit says of capabilities, new privileges, system calls and their error is applied as systemd does it, by prctl and
libseccomp. There is no systemd here that could.
"""
from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
SCMP_ACT_ALLOW = 0x7FFF0000

CAPABILITIES = """chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot
sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog
wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore""".split()


def values(unit: str, key: str) -> list[str]:
    """All words of a key, which may stand in several lines."""
    return [word for line in re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE) for word in line.split()]


def system_calls(words: list[str]) -> set[str]:
    """The calls that a list of names and of @groups stands for, as this systemd knows them."""
    calls = {word for word in words if not word.startswith("@")}
    for group in set(words) - calls:
        text = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True, capture_output=True, text=True).stdout
        calls |= system_calls([line.strip() for line in text.splitlines()[1:] if line.strip() and "#" not in line])
    return calls


def drop_capabilities(kept: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = {CAPABILITIES.index(name.removeprefix("CAP_").lower()) for name in kept}
    for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        if number not in numbers and libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            raise OSError(ctypes.get_errno(), "PR_CAPBSET_DROP")


def allow_only(calls: set[str], error: int) -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(0x00050000 | error))
    for name in calls:
        number = library.seccomp_syscall_resolve_name(name.encode())
        # A negative number is that of a call which this machine has not.
        if number >= 0 and library.seccomp_rule_add(context, SCMP_ACT_ALLOW, number, 0) < 0:
            raise OSError(0, f"seccomp_rule_add {name}")
    if library.seccomp_load(context) < 0:
        raise OSError(0, "seccomp_load")


def main() -> None:
    unit, *command = sys.argv[1:]
    text = Path(unit).read_text()
    calls = system_calls(values(text, "SystemCallFilter"))
    drop_capabilities(values(text, "CapabilityBoundingSet"))
    if values(text, "NoNewPrivileges") == ["yes"] and ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0:
        raise OSError(0, "PR_SET_NO_NEW_PRIVS")
    allow_only(calls, getattr(errno, values(text, "SystemCallErrorNumber")[0]))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
