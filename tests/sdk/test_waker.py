"""The waker: readable after a wake-up, once, with an eventfd and with a pair of sockets."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque

import pytest

from eddyline.waker import Waker

PLATFORMS = [sys.platform, "somewhere else"]


@pytest.fixture(params=PLATFORMS)
def waker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Waker:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", request.param)
        return Waker()


def readable(waker: Waker) -> bool:
    return bool(select.select([waker.fileno()], [], [], 0)[0])


def test_a_waker_is_readable_from_wake_to_clear(waker: Waker) -> None:
    assert not readable(waker)
    for _ in range(3):
        waker.rest()
        assert not readable(waker)
        waker.wake()
        waker.wake()
        assert readable(waker)
        waker.clear()
        assert not readable(waker)
    waker.clear()
    waker.close()
    waker.wake()


def test_a_thread_that_is_awake_is_not_woken(waker: Waker) -> None:
    waker.wake()
    assert not readable(waker)
    waker.rest()
    waker.clear()
    waker.wake()
    assert not readable(waker)


def test_nothing_is_missed_by_a_thread_that_falls_asleep_over_and_over(waker: Waker) -> None:
    work: deque[int] = deque()
    done: list[int] = []

    def workman() -> None:
        while len(done) < 4000:
            waker.rest()
            if not work and not select.select([waker.fileno()], [], [], 30.0)[0]:
                return
            waker.clear()
            while work:
                done.append(work.popleft())

    def give(first: int) -> None:
        for number in range(first, first + 1000):
            work.append(number)
            waker.wake()

    threads = [threading.Thread(target=workman)]
    threads += [threading.Thread(target=give, args=(1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(4000))


def test_a_closed_waker_frees_its_file_when_nobody_wakes_it_any_more(waker: Waker) -> None:
    number, event = waker.fileno(), waker._event
    assert event is not None
    waker.close()
    event.set()
    del event
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(number)
    waker.rest()
    waker.wake()
    waker.clear()
