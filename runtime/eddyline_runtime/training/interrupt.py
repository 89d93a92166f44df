"""Ctrl-C during training: it never tears an update apart, and always says how to go on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from eddyline.errors import TrainingError


@contextmanager
def ctrl_c_waits() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait, so that it never falls into an optimiser update; yields whether it was pressed."""
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if threading.current_thread() is not threading.main_thread():  # only the main thread sees signals
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ctrl_c_tells(message: str) -> Iterator[None]:
    """Turn Ctrl-C into a TrainingError with `message`, where there is nothing to save."""
    try:
        yield
    except KeyboardInterrupt:
        raise TrainingError(message) from None
