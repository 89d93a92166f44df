"""The socket thread: awake while frames arrive, so that calls of the game need not wake it, and asleep otherwise."""

from __future__ import annotations

import select
import threading
import time

import pytest

import eddyline
from eddyline import transport
from eddyline.link import Link
from eddyline.testing import ScriptedRuntime, wait_until
from eddyline.transport import Transport
from eddyline.view import View
from eddyline.waker import Waker


def test_while_frames_arrive_the_thread_finds_words_without_being_woken(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not(_: Waker) -> None:
        raise AssertionError("the thread sleeps though frames arrive")

    monkeypatch.setattr(Waker, "rest", must_not)
    monkeypatch.setattr(Waker, "wake", lambda _: None)
    receipt = view.event("blue")
    wait_until(lambda: receipt.is_final)
    assert receipt.state == "applied"


def test_a_call_that_writes_too_late_does_not_keep_the_thread_from_waiting(
    view: View, runtime: eddyline.Runtime
) -> None:
    """It found the thread asleep, and frames have begun to arrive since."""
    waker = runtime._link._transport._waker
    assert waker._event is not None
    waker._event.set()
    wait_until(lambda: not select.select([waker.fileno()], [], [], 0)[0], timeout_s=2.0)


def test_where_no_frames_arrive_the_thread_sleeps_until_it_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    asleep, done = threading.Event(), threading.Event()
    rest = Waker.rest

    def tell(waker: Waker) -> None:
        rest(waker)
        asleep.set()

    monkeypatch.setattr(Waker, "rest", tell)
    with ScriptedRuntime(heartbeat_s=60.0, silence_s=120.0) as scripted, eddyline.connect(scripted.endpoint) as runtime:
        for _ in range(10):  # what still came from the runtime may end the first waits
            wait_until(asleep.is_set)
            asleep.clear()
            done.clear()
            runtime._link._transport.post(done.set)
            assert done.wait(20.0), "only the next heartbeat would have ended the wait"


def test_a_while_after_the_last_frame_the_thread_sleeps_again(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = threading.Event()
    rest = Waker.rest

    def tell(waker: Waker) -> None:
        rest(waker)
        asleep.set()

    monkeypatch.setattr(Waker, "rest", tell)
    monkeypatch.setattr(transport, "FLOW_S", 0.0)
    wait_until(asleep.is_set)
    receipt = view.event("blue")
    wait_until(lambda: receipt.is_final)
    assert receipt.state == "applied"


def test_time_in_which_both_processes_were_asleep_is_not_held_against_the_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that is suspended in the middle of a turn: the runtime then says that it took as long."""
    ahead_s, measured = [0.0], []
    clear, measure = Waker.clear, Transport._measure

    def wake(waker: Waker) -> None:
        ahead_s[0] = 1000.0
        clear(waker)

    def count(self: Transport, *times_s: float) -> None:
        measured.append(times_s)
        measure(self, *times_s)

    monkeypatch.setattr(Transport, "_measure", count)
    with ScriptedRuntime(heartbeat_s=60.0, silence_s=120.0) as scripted:
        link = Link(scripted.endpoint, clock=lambda: time.perf_counter() + ahead_s[0])
        stuck_s: list[float] = []
        link.on_trouble = lambda _: stuck_s.append(link.stuck_s)
        wait_until(lambda: len(measured) == 2)  # by WELCOME and the first PONG; until the next one the thread sleeps
        scripted.stall()
        monkeypatch.setattr(Waker, "clear", wake)
        link._transport.post(lambda: None)
        wait_until(lambda: bool(stuck_s))
        link.close()
    assert stuck_s[0] < 500.0
