# SPDX-License-Identifier: Apache-2.0
"""wait, publish, fail and gc: steps of the handshake, and the removal of slots that nobody needs."""
from __future__ import annotations

import os
import select
import sys
import time
from argparse import Namespace
from typing import BinaryIO

from pyrmapctl import mount as mounts
from pyrmapctl.mount import Slot, slot_of, user_name, write_once
from pyrmapctl.output import FAILED, TIMED_OUT, Refused, fail, printable, put_json, put_table, size, span, why

PIECE = 1 << 20


def refused(slot: Slot, what: str, error: OSError) -> Refused:
    """The errno, and the filesystem's reason for it."""
    try:
        text = Slot(os.path.dirname(slot.path), slot.name).fields.get("refused", "")
    except OSError:
        text = ""
    reason = " ".join(text.split(" ")[2:])
    return Refused(f"{printable(slot.path)}: {what}: {why(error)}" + (f" ({reason})" if reason else ""))


def do_wait(options: Namespace) -> int:
    """Sleeps on metadata.bin, which poll(2) finds readable after each change."""
    slot = slot_of(options.mount, options.slot)
    wanted = options.state or ("DONE", "FAILED")
    end = None if options.timeout is None else time.monotonic() + options.timeout
    fd = os.open(os.path.join(slot.path, "metadata.bin"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        watch = select.poll()
        watch.register(fd, select.POLLIN)
        while True:
            # Read the record before the text: a change in between makes the descriptor readable again.
            os.pread(fd, 128, 0)
            slot = slot_of(options.mount, slot.path)
            if slot.state in wanted:
                break
            left = None if end is None else max(end - time.monotonic(), 0)
            if left == 0:
                fail(f"{printable(slot.path)} is {slot.state} still, after {span(options.timeout)}", TIMED_OUT)
            watch.poll(None if left is None else left * 1000)
    except OSError as error:
        fail(f"{printable(slot.path)} is gone: {why(error)}")
    finally:
        os.close(fd)
    if options.json:
        put_json(slot.json())
    else:
        print(slot.state)
    return FAILED if slot.state == "FAILED" and not options.state else 0


def copy(source: BinaryIO, target: int) -> int:
    copied = 0
    while piece := source.read(PIECE):
        while piece:
            written = os.write(target, piece)
            copied += written
            piece = piece[written:]
    return copied


def do_publish(options: Namespace) -> int:
    """Bytes from a file or standard input become the input, or the result, of the slot."""
    slot = slot_of(options.mount, options.slot)
    side, file, flag = ("result", "result.bin", 1) if options.result else ("input", "data.bin", 0)
    what = f"cannot write {file}"
    try:
        with sys.stdin.buffer if options.file == "-" else open(options.file, "rb") as source:
            fd = os.open(os.path.join(slot.path, file), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                copied = copy(source, fd)
            finally:
                os.close(fd)
    except OSError as error:
        if error.filename == options.file:
            fail(f"{options.file}: {why(error)}")
        raise refused(slot, what, error) from None
    lines = [f"{'result_' if options.result else ''}dtype={options.dtype}", f"{side}_length=-1", f"{side}_shape={options.shape}",
             f"{side}_order={options.order}", f"flag={flag}"]
    try:
        write_once(os.path.join(slot.path, "metadata.txt"), "".join(line + "\n" for line in lines).encode())
    except OSError as error:
        raise refused(slot, f"{copied} bytes are written, and cannot be published", error) from None
    slot = slot_of(options.mount, slot.path)
    if options.json:
        put_json(slot.json())
    else:
        print(f"{printable(slot.name)} is {slot.state}, round {slot.round}, {size(copied)}")
    return 0


def do_fail(options: Namespace) -> int:
    slot = slot_of(options.mount, options.slot)
    try:
        write_once(os.path.join(slot.path, "error"), (" ".join(options.reason) + "\n").encode(errors="surrogateescape"))
    except OSError as error:
        raise refused(slot, "cannot fail the round", error) from None
    slot = slot_of(options.mount, slot.path)
    if options.json:
        put_json(slot.json())
    else:
        print(f"{printable(slot.name)} is {slot.state}, round {slot.round}")
    return 0


def is_garbage(slot: Slot, options: Namespace, needed: set[str]) -> bool:
    """Whether the slot has been at rest for long and nobody uses it: no open file, no waiter, no owner or worker, no chain."""
    return (slot.state in options.state and slot.age >= options.older
            and (not options.user or user_name(slot.uid) == options.user)
            and (not options.job or slot.job == options.job)
            and not slot.holders and not slot.waiters and not slot.source and slot.name not in needed
            and not {"owner", "worker"} & slot.fields.keys())


def do_gc(options: Namespace) -> int:
    mount = mounts.find(options.mount)
    every = list(mounts.slots(mount))
    needed = {slot.source for slot in every}
    removed: list[Slot] = []
    failures = []
    for slot in every:
        if is_garbage(slot, options, needed):
            try:
                if not options.dry_run:
                    os.rmdir(slot.path)
                removed.append(slot)
            except OSError as error:
                failures.append(f"{printable(slot.path)}: {why(error)}")
    if options.json:
        put_json({"removed": [slot.json() for slot in removed], "bytes": sum(slot.bytes for slot in removed), "failed": failures,
                  "dry_run": options.dry_run})
    else:
        put_table(("SLOT", "STATE", "AGE", "USER", "SIZE"),
                  [[printable(slot.name), slot.state, span(slot.age), user_name(slot.uid), size(slot.bytes)] for slot in removed])
        print(f"{'would be removed' if options.dry_run else 'removed'}: {len(removed)}, {size(sum(slot.bytes for slot in removed))}")
    for line in failures:
        print(f"pyrmapctl: {line}", file=sys.stderr)
    return FAILED if failures else 0
