"""Compiles ahead, in processes beside each other, what a run will measure, so that a GPU does not wait for compilers.

What torch.compile and Triton make is kept on disk (TORCHINDUCTOR_CACHE_DIR, TRITON_CACHE_DIR) by what it is made of; a
process that compiles a case leaves it there, and the run that measures finds it. These processes use the GPU too, so
all of them end before anything is timed; what inductor tunes by the clock meanwhile is not kept.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

POLL_S = 0.2
SHARE = 1 / 3
"""Of a run's time that may be spent so; what is not compiled by then is compiled when it is measured."""
CORES_EACH = 2
"""Of the processor, for a process: compilers have threads of their own."""


class Process(Protocol):
    """As much of a `subprocess.Popen` as is used."""

    def poll(self) -> int | None:
        """The exit status, None while it runs."""

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """The exit status, once it has ended."""


def compile_ahead(
    names: Sequence[str],
    *,
    start: Callable[[str], Process],
    workers: int,
    end_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Compile cases, so many at once, in their order; what still runs at `end_s` is ended.

    Returns:
        how many were done in time; a case that failed fails again when it is measured, and says why there.
    """
    waiting, running, done = list(names), list[Process](), 0
    try:
        while (waiting or running) and clock() < end_s:
            still = [process for process in running if process.poll() is None]
            done += len(running) - len(still)
            running = still
            while waiting and len(running) < workers:
                running.append(start(waiting.pop(0)))
            if running:
                sleep(POLL_S)
    finally:
        for process in running:
            process.kill()
            process.wait()
    return done


def workers() -> int:
    """How many processes suit this machine."""
    return max(1, (os.cpu_count() or 1) // CORES_EACH)


def starter(arguments: Sequence[str]) -> Callable[[str], Process]:
    """Starts `python -m eddyline_kernels.bench ARGUMENTS --compile CASE`; what it prints is dropped."""

    def start(case: str) -> Process:
        command = [sys.executable, "-m", "eddyline_kernels.bench", *arguments, "--compile", case]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return start
