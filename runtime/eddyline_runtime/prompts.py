"""Words of one view: prompt and events -> the text that each latent frame of the buffer is under.

Pure: values in, values out; no clock, no tensors. Every latent frame of the buffer carries its own words, so that an
event can take hold of the whole buffer (`at="now"`), of the chunk that enters next (`"next"`), or of the chunk that
carries a frame (of the whole buffer, when that chunk has entered already). Wishes are applied at the start of a tick,
in the order in which they were accepted.

Frames are counted within one epoch. At a tick, `head` is the first frame it will emit and `entry` the first frame of
the newest chunk, which is still pure noise.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Verb = Literal["prompt", "event", "cut"]
At = Literal["now", "next"] | int
NoteState = Literal["accepted", "applied", "rejected", "superseded", "cancelled"]

MAX_PENDING = 64
"""Wishes that wait in one view before it rejects more."""
NOBODY = -1
"""The id of a wish whose receipt nobody holds: it came with a moment of another view."""
MAX_EVENTS = 16
"""Events that wait or are live in one view before it rejects more; no frame is ever under more."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A prompt, event or cut that a game asked for."""

    id: int
    verb: Verb
    text: str
    at: At = "now"
    """A cut is always "now"."""
    hold_frames: int = 0
    """Events only: how many frames of video chunks enter under it; never less than one chunk."""
    seed: int | None = None
    """Cuts only: the seed of the new scene; None keeps the view's."""
    bookmark: str = ""
    """Cuts only: the bookmark that the new scene begins from; empty: from noise."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """What became of a wish: one change of its receipt. Dates are frames of the epoch in force after the tick."""

    id: int
    state: NoteState
    first_influenced_frame: int | None = None
    first_full_frame: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Slot:
    """The words one latent frame is under."""

    prompt: str
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class LiveEvent:
    """An event that entering chunks are under; `until` is the first frame that enters without it."""

    text: str
    until: int


@dataclass(frozen=True, kw_only=True)
class TickFrames:
    """Where a tick stands, in frames of the epoch: what it emits first, what enters, and how long a chunk is."""

    head: int
    entry: int
    chunk: int


@dataclass(frozen=True, kw_only=True)
class Words:
    """Everything a view knows of its words."""

    prompt: str
    slots: tuple[Slot, ...]
    """One per latent frame of the buffer, oldest first."""
    reference_frames: int
    """How many of the first slots are finished and keep their words."""
    chunk_frames: int
    """How many slots enter together."""
    pending: tuple[Wish, ...] = ()
    live: tuple[LiveEvent, ...] = ()

    @property
    def in_force(self) -> Slot:
        """The words that a chunk entering now is under."""
        return Slot(self.prompt, tuple(event.text for event in self.live))


def merge(prompt: str, events: Sequence[str], *, length: Callable[[str], int], room: int) -> str:
    """The text in force: the prompt, then its events, oldest first; what comes later is meant to overrule.

    An event said twice counts once, where it is newest. An encoder reads from the front and cuts the end off, so what
    is longer than `room` is taken from where it matters least: the prompt's end until the prompt takes half of the
    room, then the oldest events, then more of the prompt. The newest event stays, whether it fits or not. `length` is
    in the encoder's own measure.
    """
    return _join(*_read(prompt, events, length=length, room=room))


def unread(prompt: str, events: Sequence[str], *, length: Callable[[str], int], room: int) -> str:
    """The prompt's end that `merge` leaves out: it does not fit beside the events. Empty where all of it does."""
    start, _ = _read(prompt, events, length=length, room=room)
    return _tidy(prompt)[len(start) :].lstrip(" .,;")


def _read(prompt: str, events: Sequence[str], *, length: Callable[[str], int], room: int) -> tuple[str, list[str]]:
    """As much of the prompt and of its events as fits together, as `merge` says."""
    kept = [event for event in dict.fromkeys(_tidy(event) for event in reversed(events)) if event][::-1]
    text = _tidy(prompt)
    if kept and length(_join(text, kept)) > room:
        half = _start(text, lambda start: length(start) <= room // 2)
        while len(kept) > 1 and length(_join(half, kept)) > room:
            del kept[0]
    return _start(text, lambda start: length(_join(start, kept)) <= room), kept


def _start(text: str, fits: Callable[[str], bool]) -> str:
    """As much of a text as fits, in whole words; of a first word that does not fit, as many characters."""
    words = text.split()
    most = bisect_right(range(1, len(words) + 1), False, key=lambda count: not fits(" ".join(words[:count])))
    if most or not words:
        return " ".join(words[:most]).rstrip(".,;")
    first = words[0]
    most = bisect_right(range(1, len(first) + 1), False, key=lambda count: not fits(first[:count]))
    return first[:most]


def _tidy(text: str) -> str:
    return " ".join(text.split()).rstrip(".,;")


def _join(prompt: str, events: Sequence[str]) -> str:
    return ", ".join([prompt, *events] if prompt else events)


def open_words(prompt: str, *, reference_frames: int, num_chunks: int, chunk_frames: int) -> Words:
    """The words of a new scene: the whole buffer is under its prompt."""
    slots = (Slot(prompt),) * (reference_frames + num_chunks * chunk_frames)
    return Words(
        prompt=prompt,
        slots=slots,
        reference_frames=reference_frames,
        chunk_frames=chunk_frames,
    )


def accept(words: Words, wish: Wish, frames: TickFrames) -> tuple[Words, Note]:
    """Take a wish in (accepted), or say why not (rejected). `frames` is where the view's next tick stands."""
    reason = _refusal(words, wish, frames)
    if reason is not None:
        return words, Note(id=wish.id, state="rejected", reason=reason)
    return replace(words, pending=(*words.pending, wish)), Note(id=wish.id, state="accepted")


def _refusal(words: Words, wish: Wish, frames: TickFrames) -> str | None:
    if not wish.text.strip():
        return f"the {wish.verb} is empty; say in words what should happen"
    if len(words.pending) >= MAX_PENDING:
        return f"{MAX_PENDING} prompts and events wait in this view already; wait until some are applied or cancel some"
    events = len(words.live) + sum(other.verb == "event" for other in words.pending)
    if wish.verb == "event" and events >= MAX_EVENTS:
        return f"{MAX_EVENTS} events wait or are live in this view already; wait for some to end or shorten hold_s"
    if isinstance(wish.at, int) and wish.at < frames.head:
        return f'frame {wish.at} is past: it was made already; use a frame from {frames.head} on, or at="now"'
    return None


def cancel(words: Words, wish_id: int) -> tuple[Words, Note | None]:
    """Withdraw a wish that was not applied yet; without a note there was no such wish waiting."""
    kept = tuple(wish for wish in words.pending if wish.id != wish_id)
    if len(kept) == len(words.pending):
        return words, None
    return replace(words, pending=kept), Note(id=wish_id, state="cancelled", reason="cancelled before it was applied")


def due_cut(words: Words) -> Wish | None:
    """The cut with which the next tick begins a new epoch: the last one, where several wait."""
    cuts = [wish for wish in words.pending if wish.verb == "cut"]
    return cuts[-1] if cuts else None


def take_cut(words: Words, cut: Wish) -> tuple[Words, list[Note]]:
    """Begin a new scene under `cut`. What was asked before it and not applied is superseded; what waited for a frame of
    the old epoch is due at once."""
    place = next(index for index, wish in enumerate(words.pending) if wish is cut)  # an equal one may wait before it
    notes = [Note(id=cut.id, state="applied", first_influenced_frame=0, first_full_frame=0)]
    kept = []
    for index, wish in enumerate(words.pending):
        if wish is cut:
            continue
        if isinstance(wish.at, int):
            kept.append(due_at_once(wish))
        elif index < place:
            notes.append(Note(id=wish.id, state="superseded", reason="a cut began a new scene before it was applied"))
        else:
            kept.append(wish)
    fresh = open_words(
        cut.text,
        reference_frames=words.reference_frames,
        num_chunks=(len(words.slots) - words.reference_frames) // words.chunk_frames,
        chunk_frames=words.chunk_frames,
    )
    return replace(fresh, pending=tuple(kept)), notes


def begin_tick(words: Words, frames: TickFrames) -> tuple[Words, list[Note]]:
    """Apply what is due, and put the chunk that enters under the words in force.

    Call `due_cut` and `take_cut` first.
    """
    due = [_due_now(wish, frames) for wish in words.pending if _is_due(wish, frames)]
    live = [event for event in words.live if frames.entry < event.until]
    slots = list(words.slots)
    unfinished = range(words.reference_frames, len(slots))
    prompt, last_prompt = words.prompt, _last_prompt(due)
    notes = []
    for index, wish in enumerate(due):
        enters = True
        if wish.verb == "prompt":
            overruled = [later for later in due[index + 1 :] if later.verb == "prompt"]
            if any(later.at == "now" or wish.at != "now" for later in overruled):
                notes.append(Note(id=wish.id, state="superseded", reason="a later prompt replaced it"))
                continue
            enters = wish is last_prompt
            prompt = wish.text
        else:
            live.append(LiveEvent(wish.text, frames.entry + max(wish.hold_frames, frames.chunk)))
        if wish.at == "now":
            for slot in unfinished:
                slots[slot] = _under(slots[slot], wish)
        notes.append(
            Note(
                id=wish.id,
                state="applied",
                first_influenced_frame=frames.head,
                first_full_frame=frames.entry if enters else None,
            )
        )
    live = live[-MAX_EVENTS:]  # a rewind brings back those of then, beside those that wait now
    pending = tuple(wish for wish in words.pending if not _is_due(wish, frames))
    words = replace(words, prompt=prompt, pending=pending, live=tuple(live))
    slots[len(slots) - words.chunk_frames :] = [words.in_force] * words.chunk_frames
    return replace(words, slots=tuple(slots)), notes


def _is_due(wish: Wish, frames: TickFrames) -> bool:
    return not isinstance(wish.at, int) or wish.at < frames.entry + frames.chunk


def _due_now(wish: Wish, frames: TickFrames) -> Wish:
    """A wish for a frame whose chunk has entered already is one for now."""
    return replace(wish, at="now") if isinstance(wish.at, int) and wish.at < frames.entry else wish


def _last_prompt(due: list[Wish]) -> Wish | None:
    prompts = [wish for wish in due if wish.verb == "prompt"]
    return prompts[-1] if prompts else None


def _under(slot: Slot, wish: Wish) -> Slot:
    if wish.verb == "prompt":
        return replace(slot, prompt=wish.text)
    return replace(slot, events=(*slot.events, wish.text)[-MAX_EVENTS:])


def end_tick(words: Words) -> Words:
    """The head chunk left: its words move on with it, and the chunk that enters waits for `begin_tick`."""
    entering = (Slot(words.prompt),) * words.chunk_frames
    return replace(words, slots=(*words.slots[words.chunk_frames :], *entering))


def due_at_once(wish: Wish) -> Wish:
    """A wish that waits for a frame of an epoch that is over is due now."""
    return replace(wish, at="now") if isinstance(wish.at, int) else wish


def without_receipts(words: Words) -> Words:
    """The same words for another view: what waits still applies, and tells nobody."""
    return replace(words, pending=tuple(replace(wish, id=NOBODY) for wish in words.pending))


def shifted(words: Words, frames: int) -> Words:
    """The same words where every frame has an index that is `frames` higher."""
    pending = tuple(replace(w, at=w.at + frames) if isinstance(w.at, int) else w for w in words.pending)
    live = tuple(replace(event, until=event.until + frames) for event in words.live)
    return replace(words, pending=pending, live=live)
