"""Play without a window: a script (`screenplay.py`), filmed, with a contact sheet of what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from eddyline.client import Runtime
from eddyline.errors import EddylineError, RuntimeConnectionError
from eddyline.film import Film
from eddyline.frames import Frame
from eddyline.keys import held_state
from eddyline.link import World
from eddyline.notes import Note, ReceiptChanged, RuntimeGone, ViewClosed
from eddyline.receipts import Receipt
from eddyline.screenplay import ScriptLine, script_for
from eddyline.sheet import SheetPicture, contact_sheet, save_sheet
from eddyline.view import View, ViewStatus

FILM = "eddyline-play.mp4"
PATIENCE_S = 180.0
"""Without a new frame for this long, the runtime is given up."""
POLL_S = 0.004
"""Pause between two looks for a new frame: far shorter than a frame, and the processor is left to the runtime."""
LATE_S = 0.2
"""When the film jumped over the moment of a step by more than this, all that follows is put off by as much."""


@dataclass(frozen=True)
class Reel:
    """What became of a script. Times in seconds of the wall clock, frames a second as shown."""

    film: Path
    sheet: Path
    frames: int
    repeated: int
    """Frames of the film that repeat the one before, because they were dropped or came too late."""
    fps: float
    ready_s: float
    """From the start until the runtime was ready."""
    first_frame_s: float
    """From the opening of the view until its first frame was shown."""
    receipts: tuple[Receipt, ...]


def wait_for_world(
    runtime: Runtime, *, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> World:
    """Wait until the runtime is ready, saying what it does meanwhile. Raises what made it impossible."""
    said = ""
    while not (runtime.ready and runtime.world is not None):
        _look_for_the_end(runtime.poll())
        doing = runtime.progress.doing
        if doing and doing != said:
            said = doing
            say(f"  {runtime.progress.fraction:4.0%} {doing}")
        sleep(0.05)
    return runtime.world


def film_script(
    runtime: Runtime,
    *,
    out: Path,
    seconds: float = 20.0,
    script: Sequence[ScriptLine] | None = None,
    opening: str | None = None,
    profile: str | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Reel:
    """Send a script to a new view while `seconds` of video play; write `eddyline-play.mp4` and `.png` into `out`.

    `script`: its first words are the prompt that the view is opened with; without one, what fits into `seconds`.
    `opening` takes the place of the first words. Each picture of the contact sheet is the last frame before the next
    words show, or other keys are held, with the words in force on it. However short `seconds` are, one frame is filmed.
    Stopped by Ctrl+C, it finishes the film and says so.

    Raises KeyNameError for keys that are none in this world, FilmError when the files cannot be written, and the
    runtime's error when it stops for good.
    """
    began_s = clock()
    world = wait_for_world(runtime, say=say, sleep=sleep)
    ready_s = clock() - began_s
    steps = list(script) if script is not None else script_for(world, seconds=seconds)
    if opening is not None:
        steps[0] = replace(steps[0], text=opening)
    for step in steps:
        if step.verb == "keys":
            held_state(step.keys, world.action_names)
    pictures = _Pictures()
    receipts: list[Receipt] = []
    shown_s: list[float] = []
    opened_s = last_s = clock()
    with (
        runtime.open_view(steps[0].text, seed=seed, profile=profile) as view,
        Film(out / FILM, fps=world.fps) as film,
        _told_when_stopped(film, say),
    ):
        say(f"  0.0 s  prompt: {steps[0].text}")
        waiting = steps[1:]
        late_s = 0.0
        opening_told = False
        while waiting or film.frames < max(1, round((seconds + late_s) * world.fps)):
            for note in runtime.poll():
                _look_for_the_end([note])
                if isinstance(note, ReceiptChanged):
                    continue
                say(f"  {note}")
            latest = view.frame()
            now_s = clock()
            if latest is None or not latest.is_new:
                if now_s - last_s > PATIENCE_S:
                    raise RuntimeConnectionError(
                        f"no new frame for {PATIENCE_S:.0f} s; see what the runtime says with `eddyline-runtime serve`"
                    )
                sleep(POLL_S)
                continue
            last_s = now_s
            shown_s.append(now_s)
            status = view.status
            if not (opening_told or receipts) and (understood := _understood(status)):
                opening_told = True
                say(f"         the prompt: {understood}")
            at_s = film.frames / world.fps
            due, late_s = _due(waiting, at_s=at_s, late_s=late_s)
            del waiting[: len(due)]
            said = [receipt for step in due if (receipt := _do(view, step)) is not None]
            receipts += said
            for step in due:
                say(f"{at_s:5.1f} s  {step.verb}: {step.text or 'none'}")
            pictures.go_on(latest, at_s, due=due, said=said)
            film.add(latest.pixels, epoch=latest.epoch, index=latest.index, words=latest.words)
        pictures.end(film.frames / world.fps)
    sheet = out / "eddyline-play.png"
    save_sheet(contact_sheet(pictures.taken), sheet)
    return Reel(
        film=film.path,
        sheet=sheet,
        frames=film.frames,
        repeated=film.frames - len(shown_s),
        fps=(len(shown_s) - 1) / (shown_s[-1] - shown_s[0]) if len(shown_s) > 1 else 0.0,
        ready_s=ready_s,
        first_frame_s=shown_s[0] - opened_s,
        receipts=tuple(receipts),
    )


def summary(reel: Reel) -> str:
    """What a reel showed, in a few lines for people."""
    lines = [
        f"{reel.frames} frames, {reel.fps:.1f} a second, {reel.repeated} repeated; "
        f"ready after {reel.ready_s:.1f} s, first frame {reel.first_frame_s:.2f} s later"
    ]
    lines += [f"  {describe(receipt)}" for receipt in reel.receipts]
    lines += [f"film           {reel.film}", f"contact sheet  {reel.sheet}"]
    return "\n".join(lines)


def describe(receipt: Receipt) -> str:
    """What became of some words, in one line."""
    parts = [f"{receipt.kind} {receipt.text!r}: {receipt.state}"]
    if receipt.steering_latency_s is not None:
        parts.append(f"on the screen after {receipt.steering_latency_s:.2f} s")
    if receipt.first_influenced_frame is not None:
        parts.append(f"from frame {receipt.first_influenced_frame}")
    if receipt.first_full_frame is not None:
        parts.append(f"fully from {receipt.first_full_frame}")
    if understood := _understood(receipt):
        parts.append(understood)
    if receipt.reason:
        parts.append(receipt.reason)
    return ", ".join(parts)


def _understood(words: Receipt | ViewStatus) -> str:
    """How well this world knows some words, or the standing prompt, and what it does not read of them."""
    parts = []
    if words.understood is not None:
        parts.append(f"understood {words.understood:.0%}" + (f" ({words.nearest})" if words.nearest else ""))
    if words.unread:
        parts.append(f"not read: {words.unread!r}")
    return ", ".join(parts)


@contextmanager
def _told_when_stopped(film: Film, say: Callable[[str], None]) -> Iterator[None]:
    """Within it, Ctrl+C finishes the film, and where it is, is said."""
    try:
        yield
    except KeyboardInterrupt:
        film.close()
        if film.frames:
            say(f"the film ends here: its {film.frames} frames are in {film.path}")
        raise


def _due(waiting: Sequence[ScriptLine], *, at_s: float, late_s: float) -> tuple[list[ScriptLine], float]:
    """The lines that are due when the film has reached `at_s`, and by how much all that follow are put off now;
    `late_s` before."""
    due: list[ScriptLine] = []
    for step in waiting:
        behind_s = at_s - step.at_s - late_s
        if behind_s < 0.0:
            break
        due.append(step)
        if behind_s > LATE_S:
            late_s += behind_s
    return due, late_s


class _Pictures:
    """The pictures of a contact sheet: each the last frame before the next words show, or other keys are held."""

    def __init__(self) -> None:
        self.taken: list[SheetPicture] = []
        self._last: Frame | None = None
        self._awaited: Receipt | None = None  # of the words sent last, until they show
        self._held: tuple[str, ...] = ()

    def go_on(self, frame: Frame, at_s: float, *, due: Sequence[ScriptLine], said: Sequence[Receipt]) -> None:
        """The next frame is there, and what was due then was done; `said` are the receipts of words among it."""
        if self._awaited is not None and self._awaited.shown_s is not None:
            self.end(at_s)
            self._awaited = None
        if due:
            keys = [step.keys for step in due if step.verb == "keys"]
            if keys or self._awaited is not None:  # the words before never were shown
                self.end(at_s)
            self._awaited = said[-1] if said and not keys else None
            self._held = keys[-1] if keys else self._held
        self._last = frame

    def end(self, at_s: float) -> None:
        """Take a picture of the last frame, if there is one."""
        if self._last is not None:
            self.taken.append(_picture(self._last, at_s, self._held))


def _do(view: View, step: ScriptLine) -> Receipt | None:
    """Do what a line of a script says; keys have no receipt."""
    match step.verb:
        case "prompt":
            return view.prompt(step.text)
        case "event":
            return view.event(step.text, hold_s=step.hold_s)
        case "cut":
            return view.cut(step.text)
        case "keys":
            view.act(step.keys)
            return None


def _picture(frame: Frame, at_s: float, held: tuple[str, ...]) -> SheetPicture:
    return SheetPicture(frame.pixels, at_s, frame.prompt, frame.events, held)


def _look_for_the_end(notes: Sequence[Note]) -> None:
    """Raise when a note says that nothing more will come."""
    for note in notes:
        if isinstance(note, RuntimeGone | ViewClosed):
            raise EddylineError(note.reason if isinstance(note, RuntimeGone) else str(note))
