"""One view of the scripted runtime in `eddyline.testing`: words, dates, frames; arithmetic on times it is given."""

from __future__ import annotations

import colorsys
import math
import zlib
from collections import deque
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec.structs import replace

from eddyline import protocol
from eddyline.protocol import ClientMessage, ReceiptUpdate, RuntimeMessage, Words
from eddyline.snapshots import FORMAT

COLOURS = {
    "red": (200, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 190),
    "yellow": (210, 190, 50),
    "white": (230, 230, 230),
    "black": (15, 15, 20),
    "night": (20, 20, 60),
}
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
        now_s: float,
    ) -> None:
        self.fps = fps
        self.epoch = opening.epoch
        self.credits = opening.credits
        self._view = opening.view
        self.prompt = opening.prompt
        self.seed = opening.seed
        self._next_prompt: tuple[int, str] | None = None
        self._chunk_frames, self._num_chunks = chunk_frames, num_chunks
        self._height, self._width = height, width
        self._phrases = phrases
        self._events: list[_LiveEvent] = []
        self._waiting: list[protocol.Prompt | protocol.Event | protocol.Cut] = []
        self._receipts: dict[int, ReceiptUpdate] = {}
        self._news: list[RuntimeMessage] = []
        self._keys: dict[str, float] = {}
        self._ring: deque[tuple[protocol.FrameHeader, bytes]] = deque()
        self._chunk = 0
        self._dropped = 0
        self._origin_s = now_s + MARGIN_S
        self._paused_s: float | None = None
        self._made_s = now_s
        self._status_s = now_s

    @property
    def _chunk_s(self) -> float:
        return self._chunk_frames / self.fps

    def knows(self, word_id: int) -> bool:
        """Whether words of this id came before."""
        return word_id in self._receipts

    def reject(self, message: Words, reason: str) -> None:
        """Let these words be rejected when they are taken."""
        self._receipts[message.id] = self._receipt(message, "rejected", reason=reason)

    def take(self, message: ClientMessage, now_s: float) -> list[RuntimeMessage]:
        """Take in a message about this view. Returns the answers."""
        match message:
            case protocol.Prompt() | protocol.Event() | protocol.Cut():
                if message.id not in self._receipts:
                    at = getattr(message, "at", "now")
                    if isinstance(at, int) and at < self._chunk * self._chunk_frames:
                        self.reject(message, f"frame {at} has already been made")
                    else:
                        self._receipts[message.id] = self._receipt(message, "accepted")
                        self._waiting.append(message)
                return [self._receipts[message.id]]
            case protocol.Rewind():
                if message.id not in self._receipts:
                    self._rewind(message, now_s)
                return [self._receipts[message.id]]
            case protocol.Cancel(id=word_id):
                if word_id not in self._receipts:
                    text = f"words {word_id} never came"
                    return [protocol.ErrorMessage(code="unknown_word", message=text, view=self._view, id=word_id)]
                if self._receipts[word_id].state == "accepted":
                    self._waiting = [words for words in self._waiting if words.id != word_id]
                    self._receipts[word_id] = replace(self._receipts[word_id], state="cancelled")
                return [self._receipts[word_id]]
            case protocol.Act(keys=keys):
                self._keys = keys
            case protocol.Credit(frames=frames):
                self.credits = min(self.credits + frames, protocol.MAX_CREDITS)
            case protocol.Pause():
                if self._paused_s is None:
                    self._paused_s = now_s
                    return [self._status(now_s)]
            case protocol.Resume():
                if self._paused_s is not None:
                    self._origin_s += now_s - self._paused_s
                    self._paused_s = None
                    return [self._status(now_s)]
        return []

    def snapshot(self) -> bytes:
        """A file that says what this view shows, without any latents."""
        words = {"prompt": self.prompt}
        moment = {"world": "scripted", "stride": 1, "noise": {"seed": self.seed}, "words": words}
        metadata = {"format": FORMAT, "moment": msgspec.json.encode(moment).decode()}
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

    def leave(self, now_s: float) -> list[tuple[RuntimeMessage, bytes | None]]:
        """Return what is to be sent now: receipts, frames as far as the credit goes, a status every second."""
        leaving: list[tuple[RuntimeMessage, bytes | None]] = [(news, None) for news in self._news]
        self._news.clear()
        while self._ring and self.credits and self._paused_s is None:
            header, pixels = self._ring.popleft()
            self.credits -= 1
            leaving.append((replace(header, due_s=self._due_s(header.index), dropped=self._dropped), pixels))
        if now_s - self._status_s >= STATUS_S:
            leaving.append((self._status(now_s), None))
        return leaving

    def _due_s(self, index: int) -> float:
        return self._origin_s + index / self.fps

    def _use_words(self) -> None:
        """Before chunk `_chunk` leaves: put the waiting words in force that are due, and date their receipts.

        The chunk that enters now leaves `num_chunks - 1` chunks later. Words for a frame enter with the chunk that
        carries it; where that chunk has entered already, they are due as "now". Events hold from the entering chunk on.
        """
        entering = self._chunk + self._num_chunks - 1
        for words in tuple(self._waiting):
            at = getattr(words, "at", "now")
            if isinstance(at, int):
                if at // self._chunk_frames > entering:
                    continue
                at = "next" if at // self._chunk_frames == entering else "now"
            self._waiting.remove(words)
            if isinstance(words, protocol.Cut):
                self._cut(words)
                return
            first = self._chunk if at == "now" else entering
            if isinstance(words, protocol.Event):
                end = entering + max(1, math.ceil(round(words.hold_s * self.fps) / self._chunk_frames))
                self._events = [*self._events, _LiveEvent(words.text, first, end)][-protocol.MAX_LIVE_EVENTS :]
            else:
                self._next_prompt = (first, words.text)
            self._date(words, epoch=self.epoch, influenced=self._chunk, full=entering)

    def _rewind(self, words: protocol.Rewind, now_s: float) -> None:
        """All pictures of one prompt look the same here, so going back is beginning anew under it."""
        made_s = self._chunk * self._chunk_frames / self.fps
        if words.seconds > made_s:
            self.reject(words, f"only {made_s:.1f} s were made")
            return
        self._receipts[words.id] = self._receipt(words, "accepted")
        self._origin_s = now_s
        self._begin_epoch()
        self._date(words, epoch=self.epoch, influenced=0, full=0)
        self._news.pop()  # it is the answer itself

    def _cut(self, words: protocol.Cut) -> None:
        self._origin_s = self._due_s(self._chunk * self._chunk_frames)
        self._begin_epoch()
        self.prompt = words.text
        self._date(words, epoch=self.epoch, influenced=0, full=0)

    def _begin_epoch(self) -> None:
        self._dropped += len(self._ring)
        self._ring.clear()
        self.epoch, self._chunk = self.epoch + 1, 0
        self._next_prompt, self._events = None, []
        self._waiting = [
            replace(waiting, at="now") if isinstance(waiting, protocol.Event | protocol.Prompt) else waiting
            for waiting in self._waiting
        ]

    def _date(self, words: Words, *, epoch: int, influenced: int, full: int) -> None:
        dates = (influenced * self._chunk_frames, full * self._chunk_frames)
        receipt = replace(
            self._receipts[words.id],
            state="applied",
            epoch=epoch,
            first_influenced_frame=dates[0],
            first_full_frame=dates[1],
        )
        self._receipts[words.id] = receipt
        self._news.append(receipt)

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
                view=self._view,
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
            self._ring.append((header, pixels.tobytes()))
        while len(self._ring) > 2 * self._chunk_frames:
            self._ring.popleft()
            self._dropped += 1
        self._chunk += 1
        self._made_s = now_s

    def _receipt(self, words: Words, state: protocol.WordState, reason: str = "") -> ReceiptUpdate:
        said = set() if isinstance(words, protocol.Rewind) else set(words.text.lower().split())
        shared = [(len(said & set(phrase.lower().split())), phrase) for phrase in self._phrases]
        best, nearest = max(shared, default=(0, ""))
        return ReceiptUpdate(
            id=words.id,
            view=words.view,
            state=state,
            understood=min(1.0, best / max(1, len(said))),
            nearest=nearest,
            reason=reason,
        )

    def _status(self, now_s: float) -> protocol.StatusUpdate:
        self._status_s = now_s
        still_s = now_s if self._paused_s is None else self._paused_s
        made = self._chunk * self._chunk_frames
        playhead = min(max(0, int((still_s - self._origin_s) * self.fps)), max(0, made - 1))
        return protocol.StatusUpdate(
            view=self._view,
            state="live" if self._paused_s is None else "paused",
            epoch=self.epoch,
            playhead=playhead,
            lead_s=(made - playhead) / self.fps,
            dropped=self._dropped,
            fps=self.fps,
        )
