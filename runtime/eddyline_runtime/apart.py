"""Which threads have workers: the engine's, and nobody beside it.

torch computes on a CPU with OpenMP: each thread that computes has workers of its own for as long as it lives. While a
process has no more of them than cores, a worker that waits for the next operation looks out for it for a while; with
one more all of them are put to sleep at once and woken again, some 500 times in a call of a small network, which then
takes nearly twice as long (runtime/SPEED_LOG.md). So what is computed before the engine's thread begins is computed in
a thread that ends, and the thread of the sockets, which packs snapshots, computes by itself.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def computed_apart(compute: Callable[[], Result]) -> Result:
    """What `compute` returns or raises, in a thread of its own, which ends before this returns unless interrupted."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(compute())
        except BaseException as error:  # it is raised where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, name="apart", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def compute_here_without_workers() -> None:
    """From now on the calling thread computes by itself; threads that begin later have as many workers as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread, and of those to come
    computed_apart(lambda: torch.set_num_threads(threads))  # of those to come
