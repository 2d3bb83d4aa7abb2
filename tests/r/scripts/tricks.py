# SPDX-License-Identifier: Apache-2.0
"""Functions that answer their input, and leave something behind that tries to answer in a later round, too.

The rest of a run waits for the file `go` in a directory, makes its attempt, and writes the outcome into the file `done`.
"""
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pyrmap

WRONG = -4711.0


@pyrmap.process_via_mmap
def wrong(x):
    return [WRONG] * len(x)


def by_decorator():
    wrong()


def by_slot():
    with pyrmap.Slot(os.environ["PYRMAP_SLOT"]) as slot:
        slot.publish([WRONG] * len(slot.input()))


def attempt(directory, how):
    while not os.path.exists(f"{directory}/go"):
        time.sleep(0.005)
    try:
        how()
        outcome = "answered"
    except BaseException as error:
        outcome = type(error).__name__
    with open(f"{directory}/done.part", "w") as file:
        file.write(outcome)
    os.rename(f"{directory}/done.part", f"{directory}/done")


def thread(x, directory, how, daemon=False):
    threading.Thread(target=attempt, args=(directory, globals()[how]), daemon=daemon).start()
    return x + 1


def fork(x, directory, how):
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.write(tell, b"!")
        attempt(directory, globals()[how])
        os._exit(0)
    # A child that still belongs to this process's group would end with it.
    os.read(ready, 1)
    return x + 1


def process(x, directory, how):
    multiprocessing.get_context("fork").Process(target=attempt, args=(directory, globals()[how])).start()
    return x + 1


def program(x, directory, how):
    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import tricks; tricks.attempt({directory!r}, tricks.{how})"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    return x + 1


def shell(x, directory):
    """It knows nothing but the slot's path."""
    code = (f'until [ -e {directory}/go ]; do sleep 0.005; done\n'
            f'head -c {8 * len(x)} /dev/zero >"$0/result.bin" && echo flag=1 >"$0/metadata.txt" && said=answered\n'
            f'echo "${{said:-refused}}" >{directory}/done.part; mv {directory}/done.part {directory}/done')
    subprocess.Popen(["sh", "-c", code, os.environ["PYRMAP_SLOT"]], env={"PATH": os.environ["PATH"]},
                     start_new_session=True, stderr=subprocess.DEVNULL)
    return x + 1


def twice(x):
    """A child that returns from its function as well."""
    return x + (1 if os.fork() else WRONG)
