"""The engine's thread: nobody waits for news, and what hangs in it shows."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from eddyline_runtime.config import EngineConfig
from eddyline_runtime.engine import Engine, Outcome, Rested
from eddyline_runtime.runner import Runner
from eddyline_runtime.weights import World

DEADLINE_S = 20.0


@contextmanager
def running(world: World, wake: Callable[[], None]) -> Iterator[Runner]:
    runner = Runner(Engine(world, EngineConfig(), clock=time.monotonic), clock=time.monotonic, wake=wake)
    runner.start()
    try:
        yield runner
    finally:
        assert runner.stop(DEADLINE_S)
    assert runner.failure is None


def test_outcomes_are_announced_though_others_are_taken_at_that_very_moment(tiny: World) -> None:
    woken = threading.Event()
    news = Rested(view=1, resting=False, by_s=0.0)
    with running(tiny, woken.set) as runner:

        def command(engine: Engine) -> Iterator[Outcome]:
            yield news
            runner.take_outcomes()

        runner.post(command)
        assert woken.wait(DEADLINE_S)
        assert runner.take_outcomes() == [news]


@pytest.mark.parametrize("where", ["a command", "a text"])
def test_what_hangs_outside_of_a_tick_shows_in_the_age_of_the_turn(tiny: World, where: str) -> None:
    hang, inside = threading.Event(), threading.Event()

    def wait(engine: Engine) -> tuple[Outcome, ...]:
        inside.set()
        hang.wait(DEADLINE_S)
        return ()

    with running(tiny, lambda: None) as runner:
        if where == "a command":
            runner.post(wait)
        else:
            runner._engine.prepare = lambda: bool(wait(runner._engine))  # type: ignore[method-assign]
            runner.post(lambda engine: ())
        try:
            assert inside.wait(DEADLINE_S)
            assert runner.tick_age_s() > 0.0
        finally:
            hang.set()
