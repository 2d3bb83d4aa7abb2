# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a slot, said so that a person can act on it."""
from __future__ import annotations

import errno
import os
import signal
import traceback

from pyrmap.texts import read_text

_MEANINGS = {
    errno.EBUSY: "not your turn, or a file is still open or mapped for writing",
    errno.EPROTO: "this step does not follow from the state that the slot is in",
    errno.EINVAL: "the record does not fit the file",
    errno.EIO: "the round failed",
    errno.ECANCELED: "the round was cancelled",
    errno.ENOSPC: "the arena of the mount is full (see `df` and .pyrmap/status)",
    errno.EDQUOT: "your share of the arena, or your job's, is used up",
    errno.EFBIG: "the text is too long",
    errno.EACCES: "the slot belongs to another user",
    errno.ENOENT: "the slot was removed",
    errno.ESTALE: "the slot was removed",
    errno.ENOTCONN: "the filesystem is gone; mount it again with `pyrmapfs MOUNTPOINT`",
}

# The errors of a request to a slot that was removed.
GONE = (errno.ENOENT, errno.ESTALE)

_PACKAGE = os.path.dirname(__file__)


class SlotError(OSError):
    """The filesystem refused a step. errno says how, the text says in which state and why."""

    def __str__(self) -> str:
        return str(self.strerror)


class SlotBusy(SlotError):
    """It is not this program's turn (EBUSY)."""


class NotASlot(SlotError):
    """The path is no slot of a pyrmapfs mount."""


class RoundFailed(RuntimeError):
    """The round failed; the text is what the slot's `error` file says."""


class RoundCancelled(RuntimeError):
    """The round that was waited for was cancelled, is over, or went with its slot."""


def read_state(slot: str) -> dict[str, str]:
    """The keys of the slot's metadata.txt, without those of which there may be several; {} if it cannot be read."""
    try:
        lines = read_text(os.path.join(slot, "metadata.txt")).splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines)
    return {key: value for key, _, value in pairs if key not in ("open", "waiting")}


def refused(error: OSError, action: str, slot: str) -> SlotError:
    """The exception to raise for an OSError of one step.

    action: what was tried, as in "publish the result". Reads metadata.txt for the state and the reason.
    """
    code = error.errno or 0
    name = errno.errorcode.get(code, str(code))
    text = f"{slot}: cannot {action}: {name}: {_MEANINGS.get(code, os.strerror(code))}"
    state = read_state(slot)
    if state:
        text += f"; the slot is {state.get('state', '?')}, round {state.get('round', '?')}"
        if state.get("refused"):
            text += f"; last refusal: {state['refused']}"
    kind = SlotBusy if code == errno.EBUSY else SlotError
    return kind(code, text)


def not_a_slot(path: str) -> NotASlot:
    """Why `path` cannot be used as a slot, with the remedy."""
    root = os.path.dirname(os.path.abspath(path))
    if os.path.exists(os.path.join(path, ".pyrmap", "status")):
        return NotASlot(errno.EINVAL, f"{path} is the mount, not a slot: make one in it, mkdir {path}/job")
    if os.path.exists(os.path.join(root, ".pyrmap", "status")):
        if os.path.isdir(path):
            return NotASlot(errno.EINVAL, f"{path} is no slot")
        return NotASlot(errno.ENOENT, f"there is no slot {path}: make it with mkdir {path}")
    return NotASlot(errno.ENOENT, f"{path} is not below a pyrmapfs mount: nothing is mounted at {root}; "
                                  f"mount it with `pyrmapfs {root}`, or check PYRMAP_SLOT")


def death_text(pid: int, round_: int, status: int, trace: str) -> str:
    """The text of `error` for a worker that died. status: as from waitpid(2). trace: what faulthandler wrote, or ""."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        meaning = "by a user, or by the kernel because memory was short: see `dmesg`"
        if number != signal.SIGKILL:
            meaning = signal.strsignal(number) or "no ordinary signal"
        how = f"it was killed by {name} ({meaning})"
    else:
        how = (f"it ended with exit status {os.WEXITSTATUS(status)}, without sys.exit(): os._exit() leaves before the "
               "result is published")
    frames = [line for line in trace.splitlines()
              if not line.startswith((f'  File "{_PACKAGE}', '  File "<frozen ', '  File "<string>"'))]
    return "\n".join([f"worker {pid} exited before it published the result of round {round_}: {how}", *frames, ""])


def _hint(error: BaseException, slot: str) -> str:
    """A sentence for common mistakes in worker scripts; empty if there is nothing to say."""
    if isinstance(error, SlotError) or not isinstance(error, OSError):
        return ""
    name = error.filename if isinstance(error.filename, str) else ""
    if error.errno == errno.EBUSY and (not name or os.path.dirname(os.path.abspath(name)) == slot):
        return "a worker may only read data.bin: open it with mode='r' (np.memmap's default asks for writing)"
    return ""


def failure_text(error: BaseException, slot: str) -> str:
    """The text of `error` for an exception: `TypeName: message`, the traceback, and a hint where there is one."""
    kind = type(error)
    lines = [f"{kind.__name__}: {error}\n" if str(error) else f"{kind.__name__}\n"]
    trace = error.__traceback__
    while trace is not None and os.path.dirname(trace.tb_frame.f_code.co_filename) == _PACKAGE:
        trace = trace.tb_next
    if trace is not None or isinstance(error, SyntaxError):
        lines += traceback.format_exception(kind, error, trace)
    advice = _hint(error, slot)
    if advice:
        lines.append(f"hint: {advice}\n")
    return "".join(lines)
