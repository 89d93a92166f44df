"""What the benchmark's client counts, and that it gives up on a runtime that makes nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from eddyline import measure
from eddyline.client import Runtime, ViewPlan
from eddyline.errors import EddylineError


class Watched:
    """A runtime of one view, and that view: it has a new frame every `every_s` seconds, `frames` of them.

    Time passes as it is slept.
    """

    id, rate = 1, 16.0

    def __init__(self, *, every_s: float, frames: int) -> None:
        self.now_s = 100.0
        self._every_s, self._frames, self._shown = every_s, frames, -1

    def open_views(self, plans: Sequence[ViewPlan]) -> list[Any]:
        return [nullcontext(self) for _ in plans]

    def frame(self) -> Any:
        index = min(int((self.now_s - 100.0) / self._every_s), self._frames - 1)
        is_new, self._shown = index > self._shown, index
        return SimpleNamespace(index=index, made_s=100.0 + index * self._every_s, is_new=is_new)

    def poll(self) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def counted(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    clock = SimpleNamespace(perf_counter=lambda: watched.now_s, sleep=watched.sleep)
    monkeypatch.setattr(measure, "time", clock)
    return measure.count_frames(cast(Runtime, watched), [ViewPlan("a fox", seed=1)], 240.0)


def test_a_runtime_that_dies_after_its_first_frames_ends_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(every_s=1.0, frames=3)
    with pytest.raises(EddylineError, match="a further frame did not come within 120 s"):
        counted(watched, monkeypatch)
    assert watched.now_s < 100.0 + 3.0 + 2 * measure.PATIENCE_S


def test_a_slow_runtime_is_counted_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(Watched(every_s=80.0, frames=100), monkeypatch) == {"real_time_factor": 1 / 80.0 / 16.0}
