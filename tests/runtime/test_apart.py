"""Who has workers: what is computed apart leaves none behind, and a thread can do without."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from eddyline_runtime.apart import computed_apart

COUNTED = """
import json, os, threading, time, torch
from eddyline_runtime.apart import compute_here_without_workers, computed_apart

def threads():
    return len(os.listdir("/proc/self/task"))

def compute():
    torch.rand(1 << 20).exp_()
    return threads(), torch.get_num_threads()

def settled(count, until_s=time.monotonic() + 60):
    while threads() != count and time.monotonic() < until_s:
        time.sleep(0.01)
    return threads()

torch.set_num_threads(3)
before = threads()
apart = computed_apart(compute)
after = settled(before)
compute_here_without_workers()
settled(before)
here = compute()
later = computed_apart(compute)
print(json.dumps({"apart": [apart[0] - before, apart[1]], "after": after - before,
                  "here": [here[0] - before, here[1]], "later": [later[0] - before, later[1]]}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_workers_end_with_what_was_computed_apart_and_a_thread_can_do_without() -> None:
    done = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, timeout=120, check=True)
    counted = json.loads(done.stdout)
    assert counted["apart"] == [3, 3], "the thread and two workers"
    assert counted["after"] == 0, "none is left"
    assert counted["here"] == [0, 1], "no workers"
    assert counted["later"] == [3, 3], "threads that begin later have them as before"


def test_what_is_computed_apart_is_returned_and_raised_where_it_is_asked_for() -> None:
    assert computed_apart(threading.current_thread) not in (threading.current_thread(), *threading.enumerate())
    with pytest.raises(KeyError, match="what is wrong"):
        computed_apart(lambda: {}["what is wrong"])


INTERRUPTED = """
import itertools, os, signal, threading, torch
from eddyline_runtime.apart import computed_apart

def compute():
    for turn in itertools.count():
        torch.rand(1 << 20).exp_()
        if turn == 3:
            os.kill(os.getpid(), signal.SIGINT)

try:
    computed_apart(compute)
except KeyboardInterrupt:
    print([thread.name for thread in threading.enumerate()])
"""


def test_ctrl_c_ends_what_is_computed_apart_before_it_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("['MainThread']\n", "")
