"""One view of the scripted runtime in `eddyline.testing`: words, dates, frames; arithmetic on times it is given."""

from __future__ import annotations

import colorsys
import math
import zlib
from collections import deque
from dataclasses import dataclass, field

import msgspec
import numpy as np
from msgspec.structs import replace

from eddyline import protocol
from eddyline.protocol import ClientMessage, ReceiptUpdate, RuntimeMessage, Words

COLOURS = {
    "red": (200, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 190),
    "yellow": (210, 190, 50),
    "white": (230, 230, 230),
    "black": (15, 15, 20),
    "night": (20, 20, 60),
}
MAX_BOOKMARKS = 8
STATUS_S = 1.0
MARGIN_S = 0.05
"""A chunk is made so long before its first frame is due: just in time, so that words show soon."""


def colour_of(prompt: str, events: tuple[str, ...] = ()) -> tuple[int, int, int]:
    """The ground's RGB under these words: of the last colour that is named, else one made from the text."""
    text = " ".join((prompt, *events))
    named = [COLOURS[word] for word in text.lower().split() if word in COLOURS]
    if named:
        return named[-1]
    red, green, blue = colorsys.hsv_to_rgb(zlib.crc32(text.encode()) / 2**32, 0.6, 0.7)
    return int(red * 255), int(green * 255), int(blue * 255)


@dataclass
class _LiveEvent:
    """An event that is in force on the chunks from `first` up to, not including, `end`."""

    text: str
    first: int
    end: int


@dataclass(eq=False)
class Seat:
    """What one client has of a view: its number for it, its credits, the frames and receipts that wait for it."""

    number: int
    credits: int
    ring: deque[tuple[protocol.FrameHeader, bytes]] = field(default_factory=deque)
    dropped: int = 0
    receipts: dict[int, ReceiptUpdate] = field(default_factory=dict)
    news: list[RuntimeMessage] = field(default_factory=list)

    def push(self, header: protocol.FrameHeader, pixels: bytes, room: int) -> None:
        """Let a frame wait; the oldest goes when there is no room."""
        self.ring.append((header, pixels))
        if len(self.ring) > room:
            self.ring.popleft()
            self.dropped += 1

    def clear(self) -> None:
        """What waits will not be shown."""
        self.dropped += len(self.ring)
        self.ring.clear()


class ScriptedView:
    """A view that keeps to the protocol: chunks just in time, a ring of two chunks, frames by credit, exact dates."""

    def __init__(
        self,
        opening: protocol.OpenView,
        *,
        fps: float,
        chunk_frames: int,
        num_chunks: int,
        height: int,
        width: int,
        phrases: tuple[str, ...],
        max_words: int | None = None,
        now_s: float,
    ) -> None:
        self.fps = fps
        self.epoch = opening.epoch
        self.name = opening.name
        self.profile = opening.profile
        self.shared = False
        self.owner = Seat(opening.view, opening.credits)
        self.seats = [self.owner]
        """The owner's, then those of who watches."""
        self.prompt = opening.prompt
        self.seed = opening.seed
        self._next_prompt: tuple[int, str] | None = None
        self._chunk_frames, self._num_chunks = chunk_frames, num_chunks
        self._height, self._width = height, width
        self._phrases, self._max_words = phrases, max_words
        self._events: list[_LiveEvent] = []
        self._waiting: list[tuple[Seat, protocol.Prompt | protocol.Event | protocol.Cut | protocol.ReturnTo]] = []
        self.bookmarks: frozenset[str] = frozenset()
        self._keys: dict[str, float] = {}
        self._chunk = 0
        self._origin_s = now_s + MARGIN_S
        self._paused_s: float | None = None
        self._made_s = now_s
        self._status_s = now_s

    @property
    def _chunk_s(self) -> float:
        return self._chunk_frames / self.fps

    def refusal(self, seat: Seat, message: ClientMessage) -> str | None:
        """Why a client may not send this about the view; None when it may."""
        if seat is self.owner or isinstance(message, protocol.Credit):
            return None
        if isinstance(message, protocol.SaveView | protocol.ShareView | protocol.Pause | protocol.Resume):
            return "only who opened the view may do this"
        return None if self.shared else "the view is watched, and not shared"

    def reject(self, seat: Seat, message: Words, reason: str) -> None:
        """Let these words be rejected when they are taken."""
        seat.receipts[message.id] = self._receipt(message, "rejected", reason=reason)

    def take(self, seat: Seat, message: ClientMessage, now_s: float) -> list[RuntimeMessage]:
        """Take in a message about this view. Returns the answers."""
        receipts = seat.receipts
        match message:
            case protocol.Prompt() | protocol.Event() | protocol.Cut():
                if message.id not in receipts:
                    at = getattr(message, "at", "now")
                    if isinstance(at, int) and at < self._chunk * self._chunk_frames:
                        self.reject(seat, message, f"frame {at} has already been made")
                    else:
                        receipts[message.id] = self._receipt(message, "accepted")
                        self._waiting.append((seat, message))
                return [receipts[message.id]]
            case protocol.Rewind():
                if message.id not in receipts:
                    self._rewind(seat, message, now_s)
                return [receipts[message.id]]
            case protocol.Bookmark():
                if message.id not in receipts:
                    self._bookmark(seat, message)
                return [receipts[message.id]]
            case protocol.ReturnTo(name=name):
                if message.id not in receipts and name not in self.bookmarks:
                    known = ", ".join(sorted(self.bookmarks)) or "none"
                    self.reject(seat, message, f"{name!r} is no bookmark of this view; there are: {known}")
                elif message.id not in receipts:
                    receipts[message.id] = self._receipt(message, "accepted")
                    self._waiting.append((seat, message))
                return [receipts[message.id]]
            case protocol.Cancel(id=word_id):
                if word_id not in receipts:
                    text = f"words {word_id} never came"
                    return [protocol.ErrorMessage(code="unknown_word", message=text, view=seat.number, id=word_id)]
                if receipts[word_id].state == "accepted":
                    self._waiting = [said for said in self._waiting if (said[0], said[1].id) != (seat, word_id)]
                    receipts[word_id] = replace(receipts[word_id], state="cancelled")
                return [receipts[word_id]]
            case protocol.Act(keys=keys):
                self._keys = keys
            case protocol.ShareView(shared=shared):
                if shared != self.shared:
                    self.shared = shared
                    for other in self.seats[1:]:
                        other.news.append(protocol.ViewShared(view=other.number, shared=shared))
            case protocol.Credit(frames=frames):
                seat.credits = min(seat.credits + frames, protocol.MAX_CREDITS)
            case protocol.Pause():
                if self._paused_s is None:
                    self._paused_s = now_s
                    self._tell_status(now_s)
            case protocol.Resume():
                if self._paused_s is not None:
                    self._origin_s += now_s - self._paused_s
                    self._paused_s = None
                    self._tell_status(now_s)
        return []

    def snapshot(self) -> bytes:
        """A file that says what this view shows, without any latents."""
        words = {"prompt": self.prompt}
        moment = {"world": "scripted", "stride": 1, "noise": {"seed": self.seed}, "words": words}
        metadata = {"format": protocol.SNAPSHOT_FORMAT, "moment": msgspec.json.encode(moment).decode()}
        header = msgspec.json.encode({"__metadata__": metadata})
        return len(header).to_bytes(8, "little") + header

    def advance(self, now_s: float, *, slowness: float) -> int:
        """Make the chunks that are to be made by now, MARGIN_S before they are due. Returns how many."""
        made = 0
        while self._paused_s is None and now_s >= self._due_s(self._chunk * self._chunk_frames) - MARGIN_S:
            if now_s < self._made_s + (slowness - 1.0) * self._chunk_s:
                break
            self._use_words()
            self._make_chunk(now_s)
            made += 1
        return made

    def leave(self, seat: Seat, now_s: float) -> list[tuple[RuntimeMessage, bytes | None]]:
        """Return what a client is to be sent now: receipts, frames as far as its credit goes, a status every second."""
        if now_s - self._status_s >= STATUS_S:
            self._tell_status(now_s)
        leaving: list[tuple[RuntimeMessage, bytes | None]] = [(news, None) for news in seat.news]
        seat.news.clear()
        while seat.ring and seat.credits and self._paused_s is None:
            header, pixels = seat.ring.popleft()
            seat.credits -= 1
            due_s = self._due_s(header.index)
            leaving.append((replace(header, view=seat.number, due_s=due_s, dropped=seat.dropped), pixels))
        return leaving

    def _due_s(self, index: int) -> float:
        return self._origin_s + index / self.fps

    def _use_words(self) -> None:
        """Before chunk `_chunk` leaves: put the waiting words in force that are due, and date their receipts.

        The chunk that enters now leaves `num_chunks - 1` chunks later. Words for a frame enter with the chunk that
        carries it; where that chunk has entered already, they are due as "now". Events hold from the entering chunk on.
        """
        entering = self._chunk + self._num_chunks - 1
        for seat, words in tuple(self._waiting):
            at = getattr(words, "at", "now")
            if isinstance(at, int):
                if at // self._chunk_frames > entering:
                    continue
                at = "next" if at // self._chunk_frames == entering else "now"
            self._waiting.remove((seat, words))
            if isinstance(words, protocol.Cut | protocol.ReturnTo):
                self._cut(seat, words)
                return
            first = self._chunk if at == "now" else entering
            if isinstance(words, protocol.Event):
                end = entering + max(1, math.ceil(round(words.hold_s * self.fps) / self._chunk_frames))
                self._events = [*self._events, _LiveEvent(words.text, first, end)][-protocol.MAX_LIVE_EVENTS :]
            else:
                self._next_prompt = (first, words.text)
            self._date(seat, words, epoch=self.epoch, influenced=self._chunk, full=entering)

    def _rewind(self, seat: Seat, words: protocol.Rewind, now_s: float) -> None:
        """All pictures of one prompt look the same here, so going back is beginning anew under it."""
        made_s = self._chunk * self._chunk_frames / self.fps
        if words.seconds > made_s:
            self.reject(seat, words, f"only {made_s:.1f} s were made")
            return
        seat.receipts[words.id] = self._receipt(words, "accepted")
        self._origin_s = now_s
        self._begin_epoch()
        self._date(seat, words, epoch=self.epoch, influenced=0, full=0)
        seat.news.pop()  # it is the answer itself

    def _bookmark(self, seat: Seat, words: protocol.Bookmark) -> None:
        if words.name not in self.bookmarks and len(self.bookmarks) >= MAX_BOOKMARKS:
            self.reject(seat, words, f"there are {MAX_BOOKMARKS} bookmarks, and no more are kept")
            return
        self.bookmarks |= {words.name}
        seat.receipts[words.id] = self._receipt(words, "accepted")
        self._date(seat, words, epoch=self.epoch, influenced=self._chunk, full=self._chunk)
        seat.news.pop()  # it is the answer itself

    def _cut(self, seat: Seat, words: protocol.Cut | protocol.ReturnTo) -> None:
        """All pictures of one prompt look the same here, so returning to a place is beginning anew."""
        self._origin_s = self._due_s(self._chunk * self._chunk_frames)
        self._begin_epoch()
        self.prompt = words.text if isinstance(words, protocol.Cut) else words.prompt or self.prompt
        self._date(seat, words, epoch=self.epoch, influenced=0, full=0)

    def _begin_epoch(self) -> None:
        for seat in self.seats:
            seat.clear()
        self.epoch, self._chunk = self.epoch + 1, 0
        self._next_prompt, self._events = None, []
        self._waiting = [
            (seat, replace(waiting, at="now") if isinstance(waiting, protocol.Event | protocol.Prompt) else waiting)
            for seat, waiting in self._waiting
        ]

    def _date(self, seat: Seat, words: Words, *, epoch: int, influenced: int, full: int) -> None:
        dates = (influenced * self._chunk_frames, full * self._chunk_frames)
        receipt = replace(
            seat.receipts[words.id],
            state="applied",
            epoch=epoch,
            first_influenced_frame=dates[0],
            first_full_frame=dates[1],
            unread=self._unread(getattr(words, "text", "")),
        )
        seat.receipts[words.id] = receipt
        seat.news.append(receipt)

    def _make_chunk(self, now_s: float) -> None:
        if self._next_prompt is not None and self._next_prompt[0] <= self._chunk:
            self.prompt, self._next_prompt = self._next_prompt[1], None
        self._events = [event for event in self._events if event.end > self._chunk]
        events = tuple(event.text for event in self._events if event.first <= self._chunk)
        ground = np.full((self._height, self._width, 3), colour_of(self.prompt, events), dtype=np.uint8)
        steering = self._keys.get("ArrowRight", 0.0) - self._keys.get("ArrowLeft", 0.0)
        for index in range(self._chunk * self._chunk_frames, (self._chunk + 1) * self._chunk_frames):
            pixels = ground.copy()
            left = round(index * (1 + steering)) % max(1, self._width - 4)
            pixels[self._height // 2 - 2 : self._height // 2 + 2, left : left + 4] = 255
            header = protocol.FrameHeader(
                view=self.owner.number,
                epoch=self.epoch,
                index=index,
                chunk=self._chunk,
                height=self._height,
                width=self._width,
                due_s=0.0,
                made_s=now_s,
                prompt=self.prompt,
                events=events,
            )
            for seat in self.seats:
                seat.push(header, pixels.tobytes(), 2 * self._chunk_frames)
        self._chunk += 1
        self._made_s = now_s

    def _receipt(self, words: Words, state: protocol.WordState, reason: str = "") -> ReceiptUpdate:
        understood, nearest = self._understanding(getattr(words, "text", ""))
        return ReceiptUpdate(
            id=words.id, view=words.view, state=state, understood=understood, nearest=nearest, reason=reason
        )

    def _unread(self, text: str) -> str:
        return "" if self._max_words is None else " ".join(text.split()[self._max_words :])

    def _understanding(self, text: str) -> tuple[float | None, str]:
        """The share of the words that are in the nearest phrase, and that phrase; None where it knows no phrases."""
        if not self._phrases:
            return None, ""
        said = set(text.lower().split())
        shared = [(len(said & set(phrase.lower().split())), phrase) for phrase in self._phrases]
        best, nearest = max(shared)
        if not best:
            return 0.0, ""
        return min(1.0, best / max(1, len(said))), nearest

    def _tell_status(self, now_s: float) -> None:
        self._status_s = now_s
        for seat in self.seats:
            seat.news.append(self._status(seat, now_s))

    def _status(self, seat: Seat, now_s: float) -> protocol.StatusUpdate:
        still_s = now_s if self._paused_s is None else self._paused_s
        made = self._chunk * self._chunk_frames
        playhead = min(max(0, int((still_s - self._origin_s) * self.fps)), max(0, made - 1))
        understood, nearest = self._understanding(self.prompt)
        return protocol.StatusUpdate(
            view=seat.number,
            state="live" if self._paused_s is None else "paused",
            epoch=self.epoch,
            playhead=playhead,
            lead_s=(made - playhead) / self.fps,
            dropped=seat.dropped,
            fps=self.fps,
            understood=understood,
            nearest=nearest,
            unread=self._unread(self.prompt),
        )
