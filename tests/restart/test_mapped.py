# SPDX-License-Identifier: Apache-2.0
"""A client that outlives the daemon still has its mapping: the next daemon on the directory asks for it again."""
from __future__ import annotations

import errno
import mmap
import os

import numpy as np
import pytest
from places import kill, on_directory
from slots import ANSWER, DATA, INPUT, Slot, refused, status


@pytest.mark.parametrize("which", ["supervisor", "both"])
def test_what_is_mapped_for_writing_is_not_published(which: str) -> None:
    """FILLING, and a mapping from before the kill: EBUSY until it goes, then the bytes that it wrote last."""
    with on_directory() as daemon:
        if status(daemon.path)["data path"].split()[0] != "passthrough":
            pytest.skip("only there a mapping is of the arena's own file")
        slot = Slot.make(daemon.path, "slot")
        fd = os.open(slot / "data.bin", os.O_RDWR)
        os.ftruncate(fd, DATA.nbytes)
        mapping = mmap.mmap(fd, DATA.nbytes)
        os.close(fd)
        mapping[:] = ANSWER.tobytes()
        kill(daemon, which)
        daemon.start()
        assert slot.state == "FILLING"
        with refused(errno.EBUSY):
            slot.write(flag=INPUT, dtype=2, input_length=DATA.size)
        mapping[:] = DATA.tobytes()
        mapping.close()
        slot.write(flag=INPUT, dtype=2, input_length=DATA.size)
        assert slot.state == "READY" and slot.data().tolist() == DATA.tolist()
        slot.answer()
        assert slot.state == "DONE" and np.array_equal(slot.result(), ANSWER)
        slot.remove()
