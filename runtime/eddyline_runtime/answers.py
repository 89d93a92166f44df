"""Between the wire and the engine: words as wishes, notes as receipts, costs as status. Pure."""

from eddyline import protocol
from eddyline.protocol import ReceiptUpdate
from eddyline_runtime.outcomes import Told, ViewStatus
from eddyline_runtime.prompts import Wish
from eddyline_runtime.understanding import Understanding


def wish(
    message: protocol.Prompt | protocol.Event | protocol.Cut | protocol.ReturnTo, *, word: int, fps: float
) -> Wish:
    """What a view is told. `word`: the engine's id for it; `fps`: the view's rate."""
    match message:
        case protocol.Prompt():
            return Wish(id=word, verb="prompt", text=message.text, at=message.at)
        case protocol.Event():
            hold_frames = max(1, round(message.hold_s * fps))
            return Wish(id=word, verb="event", text=message.text, at=message.at, hold_frames=hold_frames)
        case protocol.Cut():
            return Wish(id=word, verb="cut", text=message.text, seed=message.seed)
        case protocol.ReturnTo():
            return Wish(id=word, verb="cut", text=message.prompt or "", bookmark=message.name)


def receipt(view: int, word: int, told: Told) -> ReceiptUpdate:
    """What became of the words that a client calls `word`, in the view that it calls `view`."""
    note, (understood, nearest) = told.note, _in_message(told.understanding)
    return ReceiptUpdate(
        id=word,
        view=view,
        state=note.state,
        epoch=told.epoch if note.state == "applied" else None,
        first_influenced_frame=note.first_influenced_frame,
        first_full_frame=note.first_full_frame,
        understood=understood,
        nearest=nearest,
        unread=told.unread,
        reason=note.reason,
    )


def status(view: int, status: ViewStatus, *, dropped: int) -> protocol.StatusUpdate:
    """How a view does that a client calls `view`, which lost `dropped` of its frames."""
    understood, nearest = _in_message(status.understanding)
    return protocol.StatusUpdate(
        view=view,
        state=status.state,
        epoch=status.epoch,
        playhead=status.playhead,
        lead_s=status.lead_s,
        dropped=dropped,
        fps=status.fps,
        denoise_ms=1000 * status.denoise_s,
        decode_ms=1000 * status.decode_s,
        tick_ms=1000 * status.tick_s,
        understood=understood,
        nearest=nearest,
        unread=status.unread,
    )


def _in_message(understanding: Understanding | None) -> tuple[float | None, str]:
    """How well words are understood, and the phrase nearest to them, as messages say it."""
    return (None, "") if understanding is None else (understanding.score, understanding.nearest[: protocol.MAX_NAME])
