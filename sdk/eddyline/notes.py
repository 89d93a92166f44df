"""Notes: what happened since the game last asked. `Runtime.poll()` hands them out; `str(note)` reads as a sentence.

    Note
    ├── ReceiptChanged      a receipt has news
    ├── ViewOpened          a view is open: its rate and size are known
    ├── ViewClosed          a view was closed by the runtime
    ├── SnapshotTaken       a snapshot that was asked for has come, or failed
    ├── ClipEnded           a clip that was recorded is saved, or failed
    ├── ConnectionLost      the runtime is silent, hangs up, or cannot be reached any more
    ├── ConnectionRegained  it answers again
    ├── RuntimeStalled      it answers, but has been in one turn of its work for too long
    ├── RuntimeStopped      the process that `launch` started has ended; it is being started again
    ├── JournalEnded        the journal that `launch` asked for ended before its runtime did
    ├── RuntimeGone         nothing more will come: the runtime is not started again, or refuses this client
    ├── Progress            how far the start of a launched runtime is
    ├── ErrorReported       the runtime, or its messages, report a mistake
    └── NotesLost           the game asked so seldom that old notes were thrown away

Every note is a frozen dataclass; `match` or `isinstance` tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eddyline.clip import Clip
    from eddyline.receipts import Receipt, ReceiptState
    from eddyline.snapshots import Snapshot
    from eddyline.view import View


@dataclass(frozen=True)
class Note:
    """Something that happened; the base of all notes."""


@dataclass(frozen=True)
class ReceiptChanged(Note):
    """A receipt has news. What it was when this note was written is told; the receipt itself may be further on."""

    receipt: Receipt
    state: ReceiptState
    """As of the receipt, then."""
    first_influenced_frame: int | None = None
    """As of the receipt, then."""
    first_full_frame: int | None = None
    """As of the receipt, then."""
    reason: str = ""
    """As of the receipt, then."""

    @classmethod
    def of(cls, receipt: Receipt) -> ReceiptChanged:
        """Internal: what there is to say of a receipt now."""
        return cls(receipt, receipt.state, receipt.first_influenced_frame, receipt.first_full_frame, receipt.reason)

    def __str__(self) -> str:
        receipt = self.receipt
        said = f" {receipt.text[:60]!r}" if receipt.text else ""
        text = f"{receipt.kind}{said} {self.state}"
        if receipt.kind != "bookmark" and self.first_influenced_frame is not None:
            text += f": shows from frame {self.first_influenced_frame}"
            text += "" if self.first_full_frame is None else f", fully from frame {self.first_full_frame}"
        return f"{text}: {self.reason}" if self.reason else text


@dataclass(frozen=True)
class SnapshotTaken(Note):
    """A snapshot that was asked for has come, or failed: its `state` says which."""

    snapshot: Snapshot

    def __str__(self) -> str:
        came = "was taken" if self.snapshot.state == "taken" else f"failed: {self.snapshot.reason}"
        return f"the snapshot of {self.snapshot.view} {came}"


@dataclass(frozen=True)
class ClipEnded(Note):
    """Nothing more goes into a clip: it is saved, or it failed; its `state` says which."""

    clip: Clip

    def __str__(self) -> str:
        clip = self.clip
        if clip.state == "failed":
            return f"recording {clip.view} failed: {clip.reason}"
        return f"{clip.view} was recorded: {clip.reason or f'{clip.frames} frames in {clip.path}'}"


@dataclass(frozen=True)
class ViewOpened(Note):
    """A view is open: its rate and size are known."""

    view: View
    again: bool = False
    """Whether it was opened anew, in a new epoch, after its runtime was lost."""

    def __str__(self) -> str:
        return f"{self.view} is open{' again, in a new epoch' if self.again else ''}"


@dataclass(frozen=True)
class ViewClosed(Note):
    """A view was not opened, or was closed, and not by the game; `View.error` has the typed error."""

    view: View
    reason: str
    """Why, as one sentence."""

    def __str__(self) -> str:
        return f"{self.view} was closed: {self.reason}"


@dataclass(frozen=True)
class ConnectionLost(Note):
    """The connection to the runtime is lost. The SDK tries to regain it; nothing that was sent is forgotten."""

    reason: str

    def __str__(self) -> str:
        return f"connection lost: {self.reason}"


@dataclass(frozen=True)
class ConnectionRegained(Note):
    """The runtime answers again."""

    same_runtime: bool
    """False when it is another process, which opens all views anew."""

    def __str__(self) -> str:
        return "connection regained" + ("" if self.same_runtime else ", to a new runtime process")


@dataclass(frozen=True)
class RuntimeStalled(Note):
    """The runtime answers, but has been in one turn of its work (commands, texts, a tick) for too long."""

    tick_age_s: float
    """How long that turn has taken so far."""

    def __str__(self) -> str:
        return f"the runtime has been in one turn for {self.tick_age_s:.1f} s"


@dataclass(frozen=True)
class RuntimeStopped(Note):
    """The launched process ended, or hung and was ended. It is being started again."""

    reason: str
    last_lines: tuple[str, ...]
    """What it wrote last, up to five lines."""
    restarts_left: int
    """How many more times it is started again after this."""

    def __str__(self) -> str:
        left = "1 restart is left" if self.restarts_left == 1 else f"{self.restarts_left} restarts are left"
        return f"the runtime stopped ({self.reason}) and is started again; {left}"


@dataclass(frozen=True)
class JournalEnded(Note):
    """The journal of a launched runtime is at its limit, or the disk takes no more; the runtime goes on."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"the journal {self.path} ends here: {self.reason}"


@dataclass(frozen=True)
class RuntimeGone(Note):
    """Nothing more will come from this runtime; close it, and connect or launch anew."""

    reason: str

    def __str__(self) -> str:
        return f"the runtime is gone: {self.reason}"


@dataclass(frozen=True)
class Progress(Note):
    """How far the start of a launched runtime is."""

    fraction: float
    """0 to 1."""
    doing: str
    """What it does now, in words."""

    def __str__(self) -> str:
        return f"{self.fraction:.0%} {self.doing}"


@dataclass(frozen=True)
class ErrorReported(Note):
    """The runtime, or its messages, report a mistake that belongs to no receipt."""

    code: str
    """One of the error codes of `sdk/PROTOCOL.md`."""
    message: str
    """What is wrong, in words."""
    view: View | None = None
    """The view that it is about, if it is about one."""

    def __str__(self) -> str:
        where = "" if self.view is None else f" in {self.view}"
        return f"error{where}: {self.message} ({self.code})"


@dataclass(frozen=True)
class NotesLost(Note):
    """Older notes were thrown away, because `poll()` was not called for long."""

    count: int
    """How many."""

    def __str__(self) -> str:
        return f"{self.count} older notes were thrown away; call poll() in every turn of the game's loop"
