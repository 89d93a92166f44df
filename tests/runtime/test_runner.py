"""The engine's thread: nobody waits for news, and what hangs in it shows."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.runtime.conftest import Lockstep

from eddyline_runtime import requests
from eddyline_runtime.config import EngineConfig
from eddyline_runtime.engine import Engine
from eddyline_runtime.outcomes import Outcome, Rested, Saved
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


def turn(runner: Runner) -> None:
    """Take a turn that finds something asked at its end, so that it does not rest."""

    def ask_more(engine: Engine) -> tuple[Outcome, ...]:
        runner.post(lambda engine: ())
        return ()

    runner.post(ask_more)
    runner._turn()


def held(runner: Runner, view: int) -> dict[str, float]:
    state, names = runner._engine._views[view], runner._engine.world.card.action_names
    return {name: value for name, value in zip(names, state.actions, strict=True) if value}


@pytest.fixture
def paused(lockstep: Lockstep) -> Runner:
    """A runner without a thread, whose turns the test takes; views 1 and 2 show frames."""
    for view in (1, 2):
        lockstep.engine.open_view(view, prompt="a red fox", seed=7)
    lockstep.until_chunks(1)
    return Runner(lockstep.engine, clock=lockstep.clock, wake=lambda: None)


def test_keys_hold_in_what_is_asked_after_them_and_not_in_what_was_asked_before(paused: Runner) -> None:
    left, right = {"ArrowLeft": 1.0}, {"ArrowRight": 1.0}
    at_s = paused._clock()

    def save(engine: Engine) -> Iterator[Outcome]:
        yield engine.save_view(1, 5, at_s=at_s)

    paused.act(1, left)
    paused.post(requests.Fork(view=3, source=1, at_s=at_s))
    paused.post(save)
    paused.act(1, right)
    paused.post(requests.Fork(view=4, source=1, at_s=at_s))
    turn(paused)
    assert [held(paused, view) for view in (1, 3, 4)] == [right, left, right]
    (saved,) = (outcome for outcome in paused.take_outcomes() if isinstance(outcome, Saved))
    assert saved.snapshot is not None
    names = paused._engine.world.card.action_names
    assert saved.snapshot.moment.actions == tuple(left.get(name, 0.0) for name in names)


def test_keys_of_two_views_that_change_all_the_time_wait_once_for_each(paused: Runner) -> None:
    for step in range(100):
        paused.act(1, {"ArrowLeft": step / 100})
        paused.act(2, {"ArrowRight": step / 100})
    assert len(paused._commands) == 2
    paused.post(requests.Close(view=2))
    turn(paused)
    assert held(paused, 1) == {"ArrowLeft": 0.99}
