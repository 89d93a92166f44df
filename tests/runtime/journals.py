"""A session of the tiny world of which a journal is kept, step by step, and journals that were tampered with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from eddyline_runtime import journal, requests
from eddyline_runtime.config import EngineConfig
from eddyline_runtime.engine import Engine
from eddyline_runtime.journal import Header, Journaled, JournalReader, JournalWriter, Record
from eddyline_runtime.outcomes import Outcome, Saved
from eddyline_runtime.prompts import Wish
from eddyline_runtime.snapshot import write_snapshot
from eddyline_runtime.view import Chunk
from eddyline_runtime.weights import World


@dataclass
class RunningClock:
    """Seconds that pass by themselves, a little with each look, so that nothing happens at the same moment."""

    now_s: float = 100.0

    def __call__(self) -> float:
        self.now_s += 0.003
        return self.now_s


@dataclass
class Session:
    """An engine with a journal; what it did is kept in order."""

    world: World
    path: Path
    clock: RunningClock = field(default_factory=RunningClock)
    outcomes: list[Outcome] = field(default_factory=list)
    made: list[Chunk] = field(default_factory=list)
    """The chunks of ticks: those of forks and of restored views that were made before are not among them."""

    def __post_init__(self) -> None:
        config = EngineConfig()
        head = journal.header(self.world, config, served_as="tiny", random_weights=True)
        self.writer = JournalWriter(self.path, head)
        self.engine = Engine(self.world, config, clock=self.clock)
        self.journaled = Journaled(self.engine, self.writer)

    def ask(self, *asked: requests.Request) -> None:
        for request in asked:
            self.outcomes += self.journaled.carry_out(request)

    def until_chunks(self, count: int, view: int = 1) -> None:
        """Run until a view made `count` more chunks; time jumps to whenever the engine has something to do."""
        wanted = len(self.chunks(view)) + count
        while len(self.chunks(view)) < wanted:
            start_s = self.engine.next_start_s()
            assert start_s is not None
            self.clock.now_s = max(self.clock.now_s, start_s)
            new = self.journaled.tick(self.clock.now_s)
            self.outcomes += new
            self.made += [outcome for outcome in new if isinstance(outcome, Chunk)]

    def chunks(self, view: int) -> list[Chunk]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Chunk) and outcome.view == view]

    def end(self) -> JournalReader:
        self.journaled.end("the test ended")
        return JournalReader(self.path)


def opened(view: int, prompt: str, seed: int = 0, profile: str = "smooth") -> requests.Open:
    return requests.Open(view=view, prompt=prompt, seed=seed, profile=profile, stride=1, epoch=0)


def event(view: int, word: int, text: str) -> requests.Say:
    return requests.Say(view=view, wish=Wish(id=word, verb="event", text=text, hold_frames=16))


def long_session(world: World, path: Path) -> Session:
    """Everything that can be asked, in two profiles; views 1 and 2 share batches."""
    session = Session(world, path)
    session.ask(opened(1, "a red knight"), opened(2, "a fox", seed=3), opened(5, "an owl", profile="responsive"))
    session.until_chunks(2)
    session.ask(
        event(1, 11, "it starts to rain"),
        event(2, 21, "night falls"),
        requests.Cancel(view=2, word=21),
        requests.Act(view=2, keys={"ArrowRight": 1.0}),
        requests.Close(view=5),
    )
    session.until_chunks(2)
    session.ask(requests.Rewind(view=1, word=12, seconds=0.5, at_s=session.clock()))
    session.ask(requests.Fork(view=3, source=2, at_s=session.clock()))
    session.ask(requests.Act(view=2, keys={}), requests.Rewind(view=2, word=22, seconds=3000.0, at_s=session.clock()))
    session.until_chunks(1)
    session.ask(requests.Rest(view=1, at_s=session.clock(), paused=True))
    session.ask(requests.Say(view=3, wish=Wish(id=31, verb="cut", text="a desert", seed=9)))
    session.until_chunks(1, view=3)
    session.ask(requests.Bookmark(view=3, word=32, name="desert", at_s=session.clock()))
    session.ask(requests.Rest(view=1, at_s=session.clock(), paused=False))
    saved = session.engine.save_view(2, 1, at_s=session.clock())
    session.ask(requests.Restore(view=4, epoch=0, at_s=session.clock(), snapshot=_file(saved, world)))
    session.ask(requests.Say(view=3, wish=Wish(id=33, verb="cut", text="", bookmark="desert")))
    session.until_chunks(1)
    session.until_chunks(1, view=3)
    return session


def _file(saved: Saved, world: World) -> bytes:
    assert saved.snapshot is not None
    return write_snapshot(saved.snapshot, world.card)


def rewritten(reader: JournalReader, path: Path, change: Callable[[Record], Iterable[Record]]) -> JournalReader:
    """A journal that says something else, with digests that fit."""
    (head,) = change(reader.header)
    assert isinstance(head, Header)
    writer = JournalWriter(path, head)
    for _, record in reader:
        for changed in change(record):
            writer.write(changed)
    return JournalReader(path)
