"""Wakes a thread that waits in a poll, from any other thread, in the time of one small system call."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading


class Waker:
    """`wake()` makes `fileno()` readable until `clear()`. On Linux an eventfd, half as dear as the pair of sockets that
    does it elsewhere."""

    def __init__(self) -> None:
        self._awake = False
        self._closed = False
        self._lock = threading.Lock()  # nobody writes to a number that the system may have given to another file
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        if sys.platform == "linux":
            self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._sockets = socket.socketpair()
            for end in self._sockets:
                end.setblocking(False)

    def fileno(self) -> int:
        """What the waiting thread polls."""
        return self._event if self._sockets is None else self._sockets[1].fileno()

    def wake(self) -> None:
        """Wake the thread, unless it was woken already and has not cleared that. Does nothing after `close()`."""
        if self._awake:
            return
        self._awake = True
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._closed:
                return
            if sys.platform == "linux":
                os.eventfd_write(self._event, 1)
            elif self._sockets is not None:
                self._sockets[0].send(b"\0")

    def clear(self) -> None:
        """Be ready to be woken again. To be called before looking for what the wake-up was about."""
        with contextlib.suppress(BlockingIOError):
            if sys.platform == "linux":
                os.eventfd_read(self._event)
            elif self._sockets is not None:
                self._sockets[1].recv(4096)
        self._awake = False

    def close(self) -> None:
        """Free the system's resources. The woken thread calls this, at its end."""
        with self._lock:
            self._closed = True
            if sys.platform == "linux":
                os.close(self._event)
            else:
                for end in self._sockets or ():
                    end.close()
