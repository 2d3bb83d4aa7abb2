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

What a script gets, and what R gets for what it returns:

    R                                     x in Python
    double                                float64; NA is a NaN
    integer, with NA                      int32, float64 with NaN (unless R was told otherwise: na =)
    logical, with NA                      bool, float64 with NaN (the same)
    raw                                   uint8
    bit64's integer64                     int64
    dtype = "float32" and so on           that type
    a matrix or array among args          an array of float64, int32, bool, int64 or text

    returned                              travels as            R
    float, float64                        float64               double
    float32, float16                      float32               double
    bool, numpy.bool_, arrays of them     int32, marked         logical
    int, int64, uint32, uint64            int64                 double, if each is exact as one; else an error that says
                                                                so. integer64 if x was, or if R's option asks for it
    int32, int16, int8, uint16            int32                 integer; -2**31 is NA
    uint8                                 uint8                 integer; raw if x was
    list, list of rows, tuple of numbers  as NumPy makes one array of it
    two arrays in a tuple or a list       TypeError: return one array

uint64 and int above 2**63 - 1, text, None, objects, complex, dates and masked values are a TypeError that names them.
"""
# Names are loaded on first use: a program that only looks for the package does not wait for NumPy.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrmap.errors import NotASlot, RoundCancelled, RoundFailed, SlotBusy, SlotError
    from pyrmap.process import current_slot, empty_result, process_via_mmap, wait
    from pyrmap.record import Record
    from pyrmap.slot import Slot

__version__ = "0.2.0"

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
