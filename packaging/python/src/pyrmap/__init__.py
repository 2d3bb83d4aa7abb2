# SPDX-License-Identifier: Apache-2.0
"""Exchange NumPy arrays with R, or any other program, through the slots of a pyrmapfs mount.

A worker script, started by R's run_python() or by hand with PYRMAP_SLOT=/mnt/pyrmap/job:

    from pyrmap import process_via_mmap

    @process_via_mmap
    def plus_one(x):
        return x + 1

    if __name__ == "__main__":
        plus_one()

Slot is the same thing step by step, for both sides of the exchange.
"""
# Names are loaded on first use: the server sets the environment of the BLAS libraries before NumPy may load them.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrmap.errors import NotASlot, RoundCancelled, RoundFailed, SlotBusy, SlotError
    from pyrmap.process import current_slot, empty_result, process_via_mmap, wait
    from pyrmap.record import Record
    from pyrmap.slot import Slot

__version__ = "0.1.0"

__all__ = [
    "NotASlot",
    "Record",
    "RoundCancelled",
    "RoundFailed",
    "Slot",
    "SlotBusy",
    "SlotError",
    "current_slot",
    "empty_result",
    "process_via_mmap",
    "wait",
]

_HOMES = {
    "errors": ("NotASlot", "RoundCancelled", "RoundFailed", "SlotBusy", "SlotError"),
    "process": ("current_slot", "empty_result", "process_via_mmap", "wait"),
    "record": ("Record",),
    "slot": ("Slot",),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"pyrmap.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'pyrmap' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
