"""A journal played again: the same requests, in the same batches, through a fresh engine of the same world.

The engine depends on nothing but what it is asked, its batches, and when a batch was done, which moves the playhead and
so decides what a rewind or a fork goes on from. All three are in the journal. The networks are called as then, so that
on one build and device every frame is the same bit for bit.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eddyline.errors import JournalError, OptionError, SnapshotError
from eddyline_runtime import journal
from eddyline_runtime.engine import Engine
from eddyline_runtime.journal import Dated, End, JournalReader, Tick
from eddyline_runtime.outcomes import Outcome, Rested, Rewound
from eddyline_runtime.requests import Fork, Open, Request, Rest, Restore, Rewind, needed_view
from eddyline_runtime.snapshot import read_snapshot
from eddyline_runtime.view import Chunk, FrameRing, WaitingFrame
from eddyline_runtime.weights import World, WorldCard

WAITING_FRAMES = 4096
"""Frames of one view that may wait to be shown in a replay; far more than an engine ever makes ahead."""


@dataclass
class _ToldClock:
    """The moments a journal tells."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True)
class Step:
    """One record of a journal, the number of its line, and what came of it this time."""

    line: int
    record: Request | Tick | End
    outcomes: list[Outcome]


@dataclass(frozen=True)
class Difference:
    """The first thing that is not as the journal says."""

    line: int
    view: int
    what: str
    epoch: int
    frame: int | None = None
    """Index of the frame within the epoch; None where words got other dates and no frame differs."""


@dataclass
class Counts:
    """How much of a journal was played, and the views that frames were made for."""

    frames: int = 0
    chunks: int = 0
    views: set[int] = field(default_factory=set)


def play(reader: JournalReader, world: World) -> Iterator[Step]:
    """Play a journal again, record by record.

    Raises:
        JournalError: it is of another world, was changed, or asks what cannot be done.
    """
    journal.check_same_world(reader.header, world.card)
    clock = _ToldClock()
    engine = Engine(world, reader.header.engine, clock=clock)
    for line, record in reader:
        try:
            yield Step(line, record, _repeat(engine, clock, record))
        except (OptionError, SnapshotError) as error:
            raise JournalError(
                f"{reader.path}, line {line}: this cannot be done again ({error}); the journal is of another release, "
                "or its records were changed"
            ) from error


def _repeat(engine: Engine, clock: _ToldClock, record: Request | Tick | End) -> list[Outcome]:
    if isinstance(record, End):
        return []
    if isinstance(record, Tick):
        return engine.tick(clock.now_s, _batches(record, clock))
    needed = needed_view(record)
    if needed is not None and not engine.is_open(needed):
        raise OptionError(f"view {needed} is not open there")
    return list(record(engine))


def _batches(tick: Tick, clock: _ToldClock) -> Iterator[tuple[int, ...]]:
    """The batches of a tick, each at the moment it was done then."""
    for batch in tick.batches:
        clock.now_s = batch.made_s
        yield batch.views


def compare(step: Step, counts: Counts) -> Difference | None:
    """What of a step is not as the journal says, the first thing of it; counts what is."""
    if not isinstance(step.record, Tick):
        return None
    made = iter([outcome for outcome in step.outcomes if isinstance(outcome, Chunk)])
    for batch in step.record.batches:
        for view, told in zip(batch.views, batch.frames, strict=True):
            chunk = next(made)
            difference = _other_frame(step.line, chunk, told)
            if difference is not None:
                return difference
            counts.frames += len(told)
            counts.chunks += 1
            counts.views.add(view)
    now = journal.tick_record((), step.outcomes).words
    for then, again in zip(step.record.words, now, strict=False):
        if then != again:
            return Difference(step.line, then.view, _other_dates(then, again), then.epoch)
    if len(step.record.words) != len(now):
        first = (step.record.words + now)[min(len(step.record.words), len(now))]
        return Difference(step.line, first.view, f"words {first.word} were applied in one of the two only", first.epoch)
    return None


def _other_frame(line: int, chunk: Chunk, told: tuple[str, ...]) -> Difference | None:
    if len(told) != len(chunk.frames):
        what = f"{len(chunk.frames)} frames where there were {len(told)}"
        return Difference(line, chunk.view, what, chunk.epoch, chunk.first_frame)
    for offset, (then, frame) in enumerate(zip(told, chunk.frames, strict=True)):
        if journal.frame_digest(frame) != then:
            return Difference(line, chunk.view, "other pixels", chunk.epoch, chunk.first_frame + offset)
    return None


def _other_dates(then: Dated, now: Dated) -> str:
    return (
        f"words {then.word} were {then.state}, first on frame {then.first_influenced_frame}, fully on "
        f"{then.first_full_frame}; now words {now.word} were {now.state}, {now.first_influenced_frame}, "
        f"{now.first_full_frame}"
    )


class Shown:
    """The frames of one view as a player with time for each of them saw them: what a rewind made void is left out."""

    def __init__(self, view: int) -> None:
        self._view = view
        self._ring = FrameRing(WAITING_FRAMES)
        self._stands_s: float | None = None
        """Since when the playhead stands still."""

    def after(self, step: Step) -> list[WaitingFrame]:
        """The frames that are known to have been shown once this step is done."""
        shown: list[WaitingFrame] = []
        for outcome in step.outcomes:
            if outcome.view != self._view:
                continue
            match outcome, step.record:
                case Chunk(made_s=made_s), _:
                    shown += self._due(made_s)
                    self._ring.push(outcome)
                case Rested(resting=resting, by_s=by_s), Rest(at_s=at_s):
                    shown += self._due(at_s)
                    if not resting:
                        self._stands_s = None
                    elif self._stands_s is None:  # paused, and then parked as well: it stands since the first
                        self._stands_s = at_s
                    self._ring.delay(by_s)
                case Rewound(), Rewind(at_s=at_s):
                    shown += self._due(at_s)
                    self._ring.clear()
        return shown

    def rest(self) -> list[WaitingFrame]:
        """The frames that were made and would have been shown next."""
        self._stands_s = None
        return self._due(math.inf)

    def _due(self, now_s: float) -> list[WaitingFrame]:
        due: list[WaitingFrame] = []
        until_s = now_s if self._stands_s is None else min(now_s, self._stands_s)
        while (frame := self._ring.pop()) is not None:
            if frame.due_s > until_s:
                self._ring.put_back(frame)
                break
            due.append(frame)
        return due


def stride(request: Request, known: Mapping[int, int], card: WorldCard) -> int | None:
    """The stride of the view that a request opens, where those opened before it have the `known` ones; None for a
    request that opens none."""
    match request:
        case Open(stride=chosen):
            return chosen
        case Fork(source=source):
            return known[source]
        case Restore(snapshot=data):
            return read_snapshot(data, card).moment.stride
        case _:
            return None
