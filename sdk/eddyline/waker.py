"""Wakes a thread that waits in a poll, from any other thread, in the time of one small system call."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial


@dataclass(eq=False)
class _Event:
    """Something that is readable from `set()` to `reset()`.

    It is closed when the last thread that uses it lets go of it, so nobody ever writes to a number that the system has
    given to another file. A lock would do the same, but a game that calls once in a turn comes to it with cold caches.
    """

    fileno: int
    set: Callable[[], object]
    reset: Callable[[], object]
    close: Callable[[], object]

    def __del__(self) -> None:
        self.close()


def _make_event() -> _Event:
    """On Linux an eventfd, half as dear as the pair of sockets that does it elsewhere."""
    if sys.platform == "linux":
        number = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        write, read = partial(os.eventfd_write, number, 1), partial(os.eventfd_read, number)
        return _Event(number, write, read, partial(os.close, number))
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.setblocking(False)
    send, receive = partial(writer.send, b"\0"), partial(reader.recv, 4096)
    return _Event(reader.fileno(), send, receive, lambda: (reader.close(), writer.close()))


class Waker:
    """Between `rest()` and `clear()`, `wake()` makes `fileno()` readable; else the thread is awake, and `wake()` is
    free. Nothing is missed by a thread that goes round like this:

        rest(), look for work, wait for fileno() unless there is some, clear(), do all work

    A thread that does not `rest()` is not woken, and has to look for work by itself, after a wait with an end.
    """

    def __init__(self) -> None:
        self._event: _Event | None = _make_event()
        self._awake = True

    def fileno(self) -> int:
        """What the waiting thread polls; -1 after `close()`."""
        return -1 if self._event is None else self._event.fileno

    def wake(self) -> None:
        """Wake the thread, unless it is awake or being woken. To be called after its work is there for it to find.

        Does nothing after `close()`.
        """
        if self._awake:
            return
        self._awake = True
        event = self._event
        if event is not None:
            event.set()

    def rest(self) -> None:
        """The thread is about to wait."""
        self._awake = False

    def clear(self) -> None:
        """The thread waits no more."""
        self._awake = True
        if self._event is not None:
            with contextlib.suppress(BlockingIOError):  # something else ended the wait
                self._event.reset()

    def close(self) -> None:
        """Free the system's resources. The woken thread calls this, at its end."""
        self._event = None
