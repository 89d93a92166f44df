"""Receipts: what became of an event, a prompt, a cut, a rewind, a bookmark or a return, and on which frames it shows.

A receipt is live: it changes as the runtime answers, and the game reads it whenever it likes. Its states:

    sent ──► accepted ──► applied        (with first_influenced_frame, soon after also first_full_frame)
      │          ├──────► superseded     (newer words took its place before it was used)
      │          └──────► cancelled      (cancel() came in time, or the view was closed)
      └─────────────────► rejected       (reason says why)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from eddyline.protocol import ReceiptUpdate

if TYPE_CHECKING:
    from eddyline.view import View

ReceiptState: TypeAlias = Literal["sent", "accepted", "applied", "rejected", "superseded", "cancelled"]
"""Where a receipt stands; the drawing above says what follows what."""
WordKind: TypeAlias = Literal["prompt", "event", "cut", "rewind", "bookmark", "return_to"]
"""Which method of the view was called."""
_T = TypeVar("_T")

_RANK: dict[str, int] = {"sent": 0, "accepted": 1, "applied": 2, "rejected": 3, "superseded": 3, "cancelled": 3}


@dataclass(frozen=True)
class _Facts:
    """Everything about a receipt that changes, replaced as a whole so that a reader never sees half of an update."""

    state: ReceiptState = "sent"
    epoch: int | None = None
    first_influenced_frame: int | None = None
    first_full_frame: int | None = None
    understood: float | None = None
    nearest: str = ""
    unread: str = ""
    reason: str = ""


_SENT = _Facts()  # as all receipts begin


def merge_receipt(old: _Facts, update: ReceiptUpdate) -> _Facts:
    """Return `old` after `update`. Nothing goes back: a late copy of an earlier state only adds what was not known."""
    newer = _RANK[update.state] >= _RANK[old.state] and _RANK[old.state] < 3
    return _Facts(
        state=update.state if newer else old.state,
        epoch=_first(update.epoch if newer else None, old.epoch),
        first_influenced_frame=_first(update.first_influenced_frame if newer else None, old.first_influenced_frame),
        first_full_frame=_first(update.first_full_frame if newer else None, old.first_full_frame),
        understood=_first(update.understood, old.understood),
        nearest=update.nearest or old.nearest,
        unread=update.unread or old.unread,
        reason=update.reason if newer and update.reason else old.reason,
    )


def _first(new: _T | None, old: _T | None) -> _T | None:
    return old if new is None else new


class Receipt:
    """What became of one event, prompt, cut, rewind, bookmark or return. Made by the view's methods of these names."""

    def __init__(
        self, id: int, view: View, kind: WordKind, text: str, sent_s: float, cancel: Callable[[Receipt], None]
    ) -> None:
        self.id = id
        """Its number on this connection."""
        self.view = view
        """The view that the words were said in."""
        self.kind: WordKind = kind
        """Which method of the view made it."""
        self.text = text
        """What was said; the name for a bookmark and a return to one, empty for a rewind."""
        self.sent_s = sent_s
        """When it was sent, on the clock of `time.perf_counter()`, in seconds."""
        self.shown_s: float | None = None
        """When `View.frame()` first handed out a frame that it influenced, on the same clock."""
        self._facts = _SENT
        self._cancel = cancel

    @property
    def state(self) -> ReceiptState:
        """Where it stands: "sent", "accepted" by the runtime, then "applied" to frames; or ended before that, for a
        `reason`: "rejected", "superseded" by newer words, "cancelled"."""
        return self._facts.state

    @property
    def epoch(self) -> int | None:
        """The epoch that both frame indices belong to; None until it was applied."""
        return self._facts.epoch

    @property
    def first_influenced_frame(self) -> int | None:
        """Index of the first frame any of whose denoising saw these words, or of the bookmarked frame; None until it
        was applied."""
        return self._facts.first_influenced_frame

    @property
    def first_full_frame(self) -> int | None:
        """Index of the first frame denoised under these words from pure noise; may stay None."""
        return self._facts.first_full_frame

    @property
    def understood(self) -> float | None:
        """How well this world knows such words, 0 to 1; None until the runtime said so."""
        return self._facts.understood

    @property
    def nearest(self) -> str:
        """The phrase of this world that is nearest to the words; empty until the runtime said so, and where they
        are not understood at all."""
        return self._facts.nearest

    @property
    def unread(self) -> str:
        """The end of the words that this world does not read, because its text encoder reads no further; empty where
        it reads all of them, and until they were applied. An event that is read whole may push out the end of a long
        prompt for as long as it is in force: `ViewStatus.unread`."""
        return self._facts.unread

    @property
    def reason(self) -> str:
        """Why it was rejected, superseded or cancelled; else empty."""
        return self._facts.reason

    @property
    def is_final(self) -> bool:
        """Whether nothing more can change: rejected, superseded, cancelled, or applied with both dates known."""
        facts = self._facts
        if facts.state == "applied":
            return facts.first_influenced_frame is not None and facts.first_full_frame is not None
        return facts.state in ("rejected", "superseded", "cancelled")

    @property
    def steering_latency_s(self) -> float | None:
        """From the call to the first influenced frame on the screen, in seconds; None until that was shown."""
        return None if self.shown_s is None else self.shown_s - self.sent_s

    def cancel(self) -> None:
        """Ask to take the words back. Returns at once; the receipt becomes cancelled if they were not yet applied.

        Does nothing when the receipt is final.
        """
        if not self.is_final:
            self._cancel(self)

    def update(self, update: ReceiptUpdate) -> bool:
        """Internal: the socket thread takes in what the runtime says. Returns whether that changed anything."""
        merged = merge_receipt(self._facts, update)
        changed = merged != self._facts
        self._facts = merged
        return changed

    def __repr__(self) -> str:
        facts = self._facts
        dates = ""
        if facts.first_influenced_frame is not None:
            dates = f", epoch {facts.epoch}, frames {facts.first_influenced_frame} and {facts.first_full_frame}"
        reason = f", {facts.reason}" if facts.reason else ""
        said = f" {self.text[:40]!r}" if self.text else ""
        return f"<Receipt {self.id}: {self.kind}{said} {facts.state}{dates}{reason}>"
