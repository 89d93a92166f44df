"""What changes views between two ticks, as values: the runner carries them out, a journal keeps them, a replay repeats
them. `at_s` is when the thing was asked for, on the engine's clock; views have the engine's numbers.
"""

from collections.abc import Callable, Iterable

import msgspec

from eddyline.errors import OptionError
from eddyline_runtime.engine import Engine
from eddyline_runtime.outcomes import Outcome, Told
from eddyline_runtime.prompts import Note, Wish
from eddyline_runtime.snapshot import read_snapshot


class Open(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """Open a view; see `Engine.open_view`."""

    view: int
    prompt: str
    seed: int
    profile: str
    stride: int
    epoch: int
    name: str = ""
    """As the client called it; a replay finds it by that."""

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        engine.open_view(
            self.view,
            prompt=self.prompt,
            seed=self.seed,
            profile=self.profile,
            stride=self.stride,
            epoch=self.epoch,
        )
        return ()


class Fork(msgspec.Struct, frozen=True, kw_only=True, tag="fork"):
    """Open a view that goes on from `source`."""

    view: int
    source: int
    at_s: float
    name: str = ""

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        return engine.fork_view(self.source, self.view, at_s=self.at_s)


class Restore(msgspec.Struct, frozen=True, kw_only=True, tag="restore"):
    """Open a view that goes on from a snapshot, which is one that this world can read."""

    view: int
    epoch: int
    at_s: float
    snapshot: bytes
    name: str = ""

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        snapshot = read_snapshot(self.snapshot, engine.world.card)
        return engine.revive_view(
            self.view,
            snapshot.moment,
            at_s=self.at_s,
            epoch=self.epoch,
            unshown=snapshot.unshown,
            bookmarks=snapshot.bookmarks,
        )


class Close(msgspec.Struct, frozen=True, kw_only=True, tag="close"):
    """Forget a view."""

    view: int

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        engine.close_view(self.view)
        return ()


class Say(msgspec.Struct, frozen=True, kw_only=True, tag="say"):
    """A prompt, event or cut."""

    view: int
    wish: Wish

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        return [engine.say(self.view, self.wish)]


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel"):
    """Withdraw words that wait."""

    view: int
    word: int

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        told = engine.cancel(self.view, self.word)
        return () if told is None else (told,)


class Act(msgspec.Struct, frozen=True, kw_only=True, tag="act"):
    """The keys and axes that are held from now on."""

    view: int
    keys: dict[str, float]

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        engine.act(self.view, self.keys)
        return ()


class Rest(msgspec.Struct, frozen=True, kw_only=True, tag="rest"):
    """Pause or park a view, or let it go on; None leaves it as it is."""

    view: int
    at_s: float
    paused: bool | None = None
    parked: bool | None = None

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        return [
            engine.rest(self.view, at_s=self.at_s, paused=self.paused, parked=self.parked),
            engine.status(self.view),
        ]


class Rewind(msgspec.Struct, frozen=True, kw_only=True, tag="rewind"):
    """Go on from what was `seconds` before; the receipt of `word` says so, or why not."""

    view: int
    word: int
    seconds: float
    at_s: float

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        try:
            rewound = engine.rewind(self.view, self.seconds, at_s=self.at_s)
        except OptionError as error:
            return [Told(self.view, 0, Note(id=self.word, state="rejected", reason=str(error)))]
        done = Note(id=self.word, state="applied", first_influenced_frame=0, first_full_frame=0)
        return [rewound, Told(self.view, rewound.epoch, done)]


class Bookmark(msgspec.Struct, frozen=True, kw_only=True, tag="bookmark"):
    """Remember what is on the screen under a name; the receipt of `word` says so, or why not."""

    view: int
    word: int
    name: str
    at_s: float

    def __call__(self, engine: Engine) -> Iterable[Outcome]:
        try:
            epoch, frame = engine.bookmark(self.view, self.name, at_s=self.at_s)
        except OptionError as error:
            return [Told(self.view, 0, Note(id=self.word, state="rejected", reason=str(error)))]
        done = Note(id=self.word, state="applied", first_influenced_frame=frame, first_full_frame=frame)
        return [Told(self.view, epoch, done)]


Command = Callable[[Engine], Iterable[Outcome]]
"""What the engine is asked; a `Request` where that changes views."""

Request = Open | Fork | Restore | Close | Say | Cancel | Act | Rest | Rewind | Bookmark


def needed_view(request: Request) -> int | None:
    """The view that must be open for a request to be carried out; None for one that needs none."""
    match request:
        case Open() | Restore():
            return None
        case Fork(source=source):
            return source
        case _:
            return request.view
