"""The waker: readable after a wake-up, once, with an eventfd and with a pair of sockets."""

from __future__ import annotations

import select
import sys

import pytest

from eddyline.waker import Waker


@pytest.mark.parametrize("platform", [sys.platform, "somewhere else"])
def test_a_waker_is_readable_from_wake_to_clear(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    waker = Waker()

    def readable() -> bool:
        return bool(select.select([waker.fileno()], [], [], 0)[0])

    assert not readable()
    for _ in range(3):
        waker.wake()
        waker.wake()
        assert readable()
        waker.clear()
        assert not readable()
    waker.clear()
    waker.close()
    waker.wake()
