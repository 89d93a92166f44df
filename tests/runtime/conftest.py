"""What the tests of the runtime share: the tiny world and an engine in lockstep with a clock of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from tests.runtime.seen import SeenChunk, with_latents

from eddyline_runtime.config import EngineConfig, Profile
from eddyline_runtime.engine import Engine
from eddyline_runtime.outcomes import Outcome, Told
from eddyline_runtime.weights import World, load_world


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Lockstep:
    """An engine driven step by step; what it did is kept in order."""

    engine: Engine
    clock: Clock
    outcomes: list[Outcome] = field(default_factory=list)

    def until_chunks(self, count: int, view: int = 1) -> list[SeenChunk]:
        """Run until a view made `count` more chunks; time jumps to whenever the engine has something to do."""
        made: list[SeenChunk] = []
        for _ in range(10_000):
            new = self.tick()
            made += [outcome for outcome in new if isinstance(outcome, SeenChunk) and outcome.view == view]
            if len(made) >= count:
                return made
        raise AssertionError("the engine makes no chunks")

    def tick(self) -> list[Outcome]:
        """Run one tick, when the engine next has something to do."""
        start_s = self.engine.next_start_s()
        assert start_s is not None, "the engine has nothing to do"
        self.clock.now_s = max(self.clock.now_s, start_s)
        new = self.engine.tick(self.clock.now_s)
        self.outcomes += new
        return new

    def chunks(self, view: int = 1) -> list[SeenChunk]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, SeenChunk) and outcome.view == view]

    def told(self, word: int) -> list[Told]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Told) and outcome.note.id == word]


@pytest.fixture(scope="session")
def tiny() -> Iterator[World]:
    """The tiny world in float32, on one thread, so that equal work gives equal bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_world("tiny", dtype=torch.float32, random_weights=True)
    torch.set_num_threads(threads)


@pytest.fixture
def start(tiny: World) -> Callable[..., Lockstep]:
    """Make an engine: of the tiny world or `world`, with one profile `profile` or its own; the rest is its config."""

    def make(*, world: World = tiny, profile: Profile | None = None, **config: Any) -> Lockstep:
        if profile is not None:
            world = replace(world, card=replace(world.card, profiles={"test": profile}, default_profile="test"))
        clock = Clock()
        return Lockstep(with_latents(Engine(world, EngineConfig(**config), clock=clock)), clock)

    return make


@pytest.fixture
def lockstep(start: Callable[..., Lockstep]) -> Lockstep:
    """An engine of the tiny world as it is."""
    return start()
