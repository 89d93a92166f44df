"""The socket thread: awake while frames arrive, so that calls of the game need not wake it, and asleep otherwise."""

from __future__ import annotations

import threading

import pytest

import eddyline
from eddyline import transport
from eddyline.testing import ScriptedRuntime, wait_until
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


def test_where_no_frames_arrive_the_thread_sleeps_until_it_is_woken(
    scripted: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = threading.Event()
    rest = Waker.rest

    def tell(waker: Waker) -> None:
        rest(waker)
        asleep.set()

    monkeypatch.setattr(Waker, "rest", tell)
    with eddyline.connect(scripted.endpoint) as runtime:
        asleep.clear()
        wait_until(asleep.is_set)
        view = runtime.open_view("a red room")
        wait_until(lambda: view.frame() is not None)


def test_a_while_after_the_last_frame_the_thread_sleeps_again(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FLOW_S", 0.0)
    asleep = threading.Event()
    monkeypatch.setattr(Waker, "rest", lambda _: asleep.set())
    wait_until(asleep.is_set)
    receipt = view.event("blue")
    wait_until(lambda: receipt.is_final)
    assert receipt.state == "applied"
