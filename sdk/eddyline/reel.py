"""Play without a window: a short script of prompts and events, filmed, with a contact sheet of what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eddyline.client import Runtime
from eddyline.errors import EddylineError, RuntimeConnectionError
from eddyline.film import Film
from eddyline.frames import Frame
from eddyline.link import World
from eddyline.notes import Note, ReceiptChanged, RuntimeGone, ViewClosed
from eddyline.receipts import Receipt
from eddyline.sheet import SheetPicture, contact_sheet, save_sheet
from eddyline.view import ViewStatus

FILM = "eddyline-play.mp4"
PATIENCE_S = 180.0
"""Without a new frame for this long, the runtime is given up."""
POLL_S = 0.004
"""Pause between two looks for a new frame: far shorter than a frame, and the processor is left to the runtime."""
STEP_S = 2.5
"""What a step of a script lasts at least: words need some 1.5 s until they show fully, and then a moment to be seen."""
LATE_S = 0.2
"""When the film jumped over the moment of a step by more than this, all that follows is put off by as much."""

DIORAMA_SCRIPT: tuple[tuple[Literal["prompt", "event"], str], ...] = (
    ("prompt", "a red fox walks right in a forest by day, the sky is clear"),
    ("event", "it starts to rain"),
    ("prompt", "a blue knight stands in a castle hall at night, a lit torch"),
    ("event", "the hero turns into a ghost"),
    ("prompt", "a yellow pig walks left on a beach at sunset"),
    ("event", "night falls"),
    ("prompt", "a purple cat jumps in a snowfield by day, it snows"),
    ("event", "fireworks go off"),
)


@dataclass(frozen=True)
class ScriptLine:
    """Words to be sent when the film has reached `at_s` seconds."""

    at_s: float
    kind: Literal["prompt", "event"]
    text: str


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


def steps_that_fit(seconds: float) -> int:
    """How many steps of a script have STEP_S each within so many seconds; one at least."""
    return max(1, int(seconds / STEP_S))


def script_for(world: World, *, seconds: float, opening: str | None = None) -> list[ScriptLine]:
    """A script of prompts and events for a world, as many as fit, spread evenly over `seconds`; other worlds than the
    embedded one get their own phrases as prompts. `opening` takes the place of the first words."""
    words: Sequence[tuple[Literal["prompt", "event"], str]] = DIORAMA_SCRIPT
    if world.model != "diorama":
        phrases = world.phrases or ("a quiet landscape", "a storm comes up")
        stride = max(1, len(phrases) // len(DIORAMA_SCRIPT))
        words = [("prompt", phrase) for phrase in phrases[::stride][: len(DIORAMA_SCRIPT)]]
    if opening is not None:
        words = [("prompt", opening), *words[1:]]
    words = words[: steps_that_fit(seconds)]
    return [ScriptLine(number * seconds / len(words), kind, text) for number, (kind, text) in enumerate(words)]


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

    `script`: its first words are the prompt that the view is opened with; without one, what fits into `seconds`,
    beginning with `opening` where that is given. Each picture of the contact sheet is the last frame before the next
    words show, with the words in force on it. Stopped by Ctrl+C, it finishes the film and says so.

    Raises FilmError when the files cannot be written, and the runtime's error when it stops for good.
    """
    began_s = clock()
    world = wait_for_world(runtime, say=say, sleep=sleep)
    ready_s = clock() - began_s
    steps = list(script) if script is not None else script_for(world, seconds=seconds, opening=opening)
    pictures: list[SheetPicture] = []
    receipts: list[Receipt] = []
    shown_s: list[float] = []
    frame: Frame | None = None
    awaited: Receipt | None = None  # of the words sent last, until they show
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
        while waiting or film.frames < round((seconds + late_s) * world.fps):
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
            if frame is not None and awaited is not None and awaited.shown_s is not None:
                pictures.append(_picture(frame, at_s))
                awaited = None
            if waiting and at_s >= waiting[0].at_s + late_s:
                step = waiting.pop(0)
                behind_s = at_s - step.at_s - late_s
                if behind_s > LATE_S:
                    late_s += behind_s
                if frame is not None and awaited is not None:  # never shown
                    pictures.append(_picture(frame, at_s))
                hold_s = (waiting[0].at_s if waiting else seconds) - step.at_s
                is_event = step.kind == "event"
                awaited = view.event(step.text, hold_s=hold_s) if is_event else view.prompt(step.text)
                receipts.append(awaited)
                say(f"{at_s:5.1f} s  {step.kind}: {step.text}")
            film.add(latest.pixels, epoch=latest.epoch, index=latest.index, words=latest.words)
            frame = latest
        assert frame is not None
        pictures.append(_picture(frame, film.frames / world.fps))
    sheet = out / "eddyline-play.png"
    save_sheet(contact_sheet(pictures), sheet)
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


def _picture(frame: Frame, at_s: float) -> SheetPicture:
    return SheetPicture(frame.pixels, at_s, frame.prompt, frame.events)


def _look_for_the_end(notes: Sequence[Note]) -> None:
    """Raise when a note says that nothing more will come."""
    for note in notes:
        if isinstance(note, RuntimeGone | ViewClosed):
            raise EddylineError(str(note))
