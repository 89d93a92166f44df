"""Which threads have workers: the engine's, and nobody beside it.

torch computes on a CPU with OpenMP: each thread that computes has workers of its own for as long as it lives. While a
process has no more of them than cores, a worker that waits for the next operation looks out for it for a while; with
one more all of them are put to sleep at once and woken again, some 500 times in a call of a small network, which then
takes nearly twice as long (runtime/SPEED_LOG.md). So what is computed before the engine's thread begins is computed in
a thread that ends, and the thread of the sockets, which packs snapshots, computes by itself.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def computed_apart(compute: Callable[[], Result]) -> Result:
    """What `compute` returns or raises, in a thread of its own, which ends before this does.

    Ctrl-C interrupts it as it would have interrupted the caller, between two operations: a process that ends while a
    thread of it is within one is aborted.
    """
    results: list[Result] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(compute())
        except BaseException as error:  # it is raised where it is waited for
            errors.append(error)
        ended.set()

    thread = threading.Thread(target=run, name="apart", daemon=True)
    thread.start()
    try:
        ended.wait()  # an interrupted join takes the thread for ended, which it is not (Python 3.11)
    except KeyboardInterrupt:
        number = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(KeyboardInterrupt))
        ended.wait()
        raise
    finally:
        thread.join()
    if errors:
        raise errors[0]
    return results[0]


def compute_here_without_workers() -> None:
    """From now on the calling thread computes by itself; threads that begin later have as many workers as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread, and of those to come
    computed_apart(lambda: torch.set_num_threads(threads))  # of those to come
