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
    character                             an array of str, dtype object, None for NA; a str if there is one
    complex                               complex128
    factor, ordered                       pandas.Categorical, or pyrmap.Factor where pandas is not
    Date, POSIXct, difftime               datetime64[D], datetime64[ns] in UTC, timedelta64[ns]; NA is NaT
    data.frame                            pandas.DataFrame, or pyrmap.Frame; integer and logical columns with NA are
                                          Int32 and boolean, POSIXct has its zone, row names other than 1..n are the index
    named list; other lists               dict; list
    Matrix's sparse matrices              scipy.sparse.csc_matrix
    NULL                                  None

    returned                              travels as            R
    float, float64                        float64               double
    float32, float16                      float32               double
    bool, numpy.bool_, arrays of them     int32, marked         logical
    int, int64, uint32, uint64            int64                 double, if each is exact as one; else an error that says
                                                                so. integer64 if x was, or if R's option asks for it
    int32, int16, int8, uint16            int32                 integer; -2**31 is NA
    uint8                                 uint8                 integer; raw if x was
    list, list of rows, tuple of numbers  as NumPy makes one array of it

    The others travel as a bundle, several arrays in one file; its members follow the table above.
    str, list of str, arrays of str       character, None is NA
    bytes                                 raw
    complex                               complex
    dict                                  named list
    tuple, list of arrays or of several   list
    DataFrame, Frame                      data.frame; an index of text or numbers is the row names
    Series                                vector, with names if it has an index of text
    nullable Int8 to Int64, boolean       integer, or double where one does not fit; logical; pandas.NA is NA
    Categorical, Factor                   factor, ordered
    datetime64, datetime                  POSIXct with its zone, UTC without; whole days (datetime64[D], date) are Date
    timedelta64, timedelta                difftime
    scipy.sparse                          dgCMatrix
    None                                  NULL

A large array that is mapped from a slot goes through multiprocessing (queues, pipes, pools, ProcessPoolExecutor) as a
reference of less than 1 KB: the other process maps the same pages, copy-on-write. Pickled in any other way it is its bytes.

Arrays in a bundle are mapped, each a view of one mapping; text is copied. What has no counterpart (uint64 and int above
2**63 - 1, sets, functions, masked values, objects of other kinds) is a TypeError that names the member and the remedy.
"""
# Names are loaded on first use: a program that only looks for the package does not wait for NumPy.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrmap.bundle import BundleError
    from pyrmap.errors import NotASlot, RoundCancelled, RoundFailed, SlotBusy, SlotError
    from pyrmap.frame import Factor, Frame
    from pyrmap.process import current_slot, empty_result, open_result, process_via_mmap, wait
    from pyrmap.record import Record
    from pyrmap.slot import Slot

__version__ = "0.2.0"

__all__ = [
    "BundleError",
    "Factor",
    "Frame",
    "NotASlot",
    "Record",
    "RoundCancelled",
    "RoundFailed",
    "Slot",
    "SlotBusy",
    "SlotError",
    "current_slot",
    "empty_result",
    "open_result",
    "process_via_mmap",
    "wait",
]

_HOMES = {
    "bundle": ("BundleError",),
    "errors": ("NotASlot", "RoundCancelled", "RoundFailed", "SlotBusy", "SlotError"),
    "frame": ("Factor", "Frame"),
    "process": ("current_slot", "empty_result", "open_result", "process_via_mmap", "wait"),
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
