"""Whether what the arrow keys move goes where they say, seen on pictures alone: for any world of any game.

What moves (the hero) is cut out of one frame of a recording, and found again in every frame of a dream where it fits
best. A key goes down while the dream runs; the press is followed if the hero is found before it and `WITHIN_S` after
it, and has moved at least `LEAST_PX` towards the key's side. Presses that would drive it into the picture's edge are
left out. The same rule on recordings is the ceiling: what it cannot see there, it cannot see in a dream.

    python -m eddyline_runtime.evaluation.directions --model WORLD --recording HELD_OUT --hero 0,20,50,84,18,12

Shapes: T frames, H W picture height and width, h w those of the hero.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch.nn import functional as F

from eddyline.errors import EddylineError, OptionError
from eddyline.recording import RecordedClip, Recording
from eddyline_runtime.arguments import MISTAKE, positive, seed_number
from eddyline_runtime.evaluation.dreams import Cue, Frames, Script, dream
from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.intervals import median, rate
from eddyline_runtime.evaluation.samples import OWN, Sample
from eddyline_runtime.evaluation.sheets import contact_sheet
from eddyline_runtime.files import check_writable, whole, write_whole
from eddyline_runtime.networks.choice import fitted
from eddyline_runtime.networks.folder import cache_folder
from eddyline_runtime.weights import World, card_of, load_world

SIDES = {"ArrowLeft": -1, "ArrowRight": 1}
"""Which way each key goes along the picture's width."""
BEFORE_S, WITHIN_S, REST_S = 1.5, 1.0, 0.5
"""How long a dream runs before its first key goes down; how soon a press must be followed; the rest between two."""
SHORTEST_HOLD_S = 0.5
"""Of a key in a recording, to be counted."""
LEAST_PX = 4
"""How far the hero must have moved."""
EDGE_PX = 12
"""So near the edge that a key points at, a press is left out."""
SETTLED_FRAMES = 3
"""A place is the median over so many frames."""
ELSEWHERE_CLIPS = 16
"""From so many clips it is learned how badly the hero fits where it is not."""
SLACK_PX = 3
"""How far up and down the hero is looked for."""


@dataclass(frozen=True)
class Hero:
    """What the keys move, as cut out of a frame.

    picture: [h, w, 3], found mirrored as well; top: the row it was cut at; strange: how badly it fits where it is not,
    mean squared error.
    """

    picture: UInt8[NDArray[np.uint8], "h w 3"]
    top: int
    strange: float


@dataclass(frozen=True)
class Track:
    """Where the hero is. left: the column of its left side, [T]; found: whether anything like it is there, [T]."""

    left: NDArray[np.int64]
    found: NDArray[np.bool_]

    def place(self, frames: slice) -> float | None:
        """The median column over some frames; None if it was found in fewer than half of them."""
        seen = self.left[frames][self.found[frames]]
        return float(np.median(seen)) if 2 * len(seen) > len(self.left[frames]) else None


@dataclass(frozen=True)
class Press:
    """A key goes down before frame `at` and is held to frame `end`."""

    key: str
    at: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Directions:
    """What was found. direction: the share of presses that were followed; delay_s: the median time to `LEAST_PX`, of
    those that were; at_edge: presses left out."""

    world: str
    profile: str
    direction: Figure
    delay_s: Figure | None
    at_edge: int


def cut_hero(frames: Sequence[Frames], box: tuple[int, int, int, int], picture: Frames) -> Hero:
    """Cut the hero out of one picture.

    Args:
        frames: clips of a recording, from which it is learned how badly the hero fits elsewhere.
        box: left, top, width and height in pixels.
        picture: [1, H, W, 3], the one to cut from.

    Raises:
        OptionError: the box does not lie inside the picture.
    """
    left, top, width, height = box
    _, rows, columns, _ = picture.shape
    if min(left, top) < 0 or min(width, height) < 1 or left + width > columns or top + height > rows:
        raise OptionError(
            f"a hero of {width}x{height} at column {left}, row {top} is not inside a picture of {columns}x{rows}; give "
            "its left and top side, width and height in pixels"
        )
    hero = Hero(picture[0, top : top + height, left : left + width], top, 0.0)
    elsewhere = []
    for clip in frames:
        errors = _errors(clip, hero)
        best = errors.argmin(axis=1)
        near = np.abs(np.arange(errors.shape[1]) - best[:, None]) < width
        elsewhere.append(np.where(near, np.inf, errors).min(axis=1))
    return Hero(hero.picture, top, float(np.median(np.concatenate(elsewhere))))


def track(frames: Frames, hero: Hero) -> Track:
    """Where the hero is in each frame: where its picture fits best, and at least twice as well as where it is not."""
    errors = _errors(frames, hero)
    return Track(errors.argmin(axis=1), errors.min(axis=1) < hero.strange / 2)


def _errors(frames: Frames, hero: Hero) -> Float[NDArray[np.float32], "T columns"]:
    """How badly the hero fits at each column, at the best row and looking the better way: mean squared error."""
    rows = slice(max(0, hero.top - SLACK_PX), hero.top + len(hero.picture) + SLACK_PX)
    strip = torch.from_numpy(np.ascontiguousarray(frames[:, rows])).permute(0, 3, 1, 2).float()
    one_way = torch.from_numpy(hero.picture.copy()).permute(2, 0, 1).float()
    both = torch.stack([one_way, one_way.flip(2)])
    squares = F.conv2d(strip.square(), torch.ones_like(both[:1]))
    errors = squares - 2 * F.conv2d(strip, both) + one_way.square().sum()
    fits: NDArray[np.float32] = (errors.amin(dim=(1, 2)) / one_way.numel()).numpy()
    return fits


@dataclass(frozen=True)
class Answer:
    """What became of a press: whether it was followed, and after how many frames the hero had moved by `LEAST_PX`."""

    followed: bool
    delay_frames: int | None = None


def answer(seen: Track, press: Press, *, columns: int) -> Answer | None:
    """What became of one press; None if it points at an edge of the `columns` where the hero can be that is too near.

    A hero that is not found before the press or at its end has not followed.
    """
    side = SIDES[press.key]
    before = seen.place(slice(press.at - SETTLED_FRAMES, press.at))
    if before is None:
        return Answer(False)
    if (before if side < 0 else columns - 1 - before) < EDGE_PX:
        return None
    after = seen.place(slice(press.end - SETTLED_FRAMES, press.end))
    if after is None or side * (after - before) < LEAST_PX:
        return Answer(False)
    moved = side * (seen.left[press.at : press.end] - before) >= LEAST_PX
    return Answer(True, int((moved & seen.found[press.at : press.end]).argmax()))


# ---- dreams


def scripts_of(world: World, *, prompt: str, streams: int, presses: int, profile: str, seed: int) -> list[Script]:
    """Dreams that begin with no key held; then keys of both sides go down and up, drawn by `seed`.

    All times are whole chunks: only between two of them can a key reach a dream.
    """
    rng = np.random.default_rng(seed)
    hold, rest = (_whole_chunks(world, profile, seconds) for seconds in (WITHIN_S, REST_S))
    scripts = []
    for stream in range(streams):
        keys = rng.choice(list(SIDES), size=presses)
        downs = [_whole_chunks(world, profile, BEFORE_S) + number * (hold + rest) for number in range(presses)]
        pressed = [Cue(at=at, keys=(str(key),)) for at, key in zip(downs, keys, strict=True)]
        released = [Cue(at=at + hold, keys=()) for at in downs]
        scripts.append(Script(prompt=prompt, seed=seed + stream, cues=(*pressed, *released)))
    return scripts


def presses_of(script: Script, *, fps: float) -> list[Press]:
    """The presses of a script, each with its last frame `WITHIN_S` after it."""
    downs = [(cue.at, key) for cue in script.cues for key in cue.keys or ()]
    return [Press(key, at, at + round(WITHIN_S * fps)) for at, key in downs]


def _whole_chunks(world: World, profile: str, seconds: float) -> int:
    """So many frames as whole chunks take for at least `seconds`."""
    chunk = world.card.chunk_frames(world.card.profiles[profile])
    return -(-round(seconds * world.card.fps) // chunk) * chunk


def recorded_presses(clip: RecordedClip, names: Sequence[str], *, fps: float) -> Iterator[Press]:
    """The presses of a recorded clip that are held for `SHORTEST_HOLD_S`, each up to `WITHIN_S`."""
    for key in SIDES:
        held = clip.actions[:, names.index(key)] > 0.5
        for at in np.flatnonzero(held[1:] & ~held[:-1]) + 1:
            lasts = int((~held[at:]).argmax()) if not held[at:].all() else len(held) - int(at)
            if at >= SETTLED_FRAMES and lasts >= SHORTEST_HOLD_S * fps:
                yield Press(key, int(at), int(at) + min(lasts, round(WITHIN_S * fps)))


# ---- figures


def measure_directions(
    world: World, recording: Recording, hero: Hero, scripts: Sequence[Script], *, profile: str
) -> tuple[Directions, list[Sample]]:
    """Dream the scripts and read them, and the recording for the ceiling; the samples show each dream's first press.

    Raises:
        OptionError: the recording has other sizes than the world, one of them lacks a key of SIDES, or no press could
            be counted.
    """
    fps, columns = world.card.fps, world.card.width - hero.picture.shape[1] + 1
    _check_same_pictures(world, recording)
    _check_has_sides(f"the recording {recording.path}", recording.info.action_names)
    _check_has_sides(f"the world {world.card.name}", world.card.action_names)
    real = _counted(_recorded_answers(recording, hero, fps=fps, columns=columns))
    answers: list[Answer | None] = []
    samples = []
    frames = max(cue.at for script in scripts for cue in script.cues)
    for script, dreamed in zip(scripts, dream(world, scripts, frames=frames, profile=profile), strict=True):
        seen, presses = track(dreamed, hero), presses_of(script, fps=fps)
        answers += [answer(seen, press, columns=columns) for press in presses]
        first = presses[0]
        samples.append(Sample(name=OWN, prompt=f"{first.key} is held", frames=dreamed[first.at - 1 : first.end]))
    told = _counted(answers)
    if not told or not real:
        raise OptionError(
            f"{len(told)} presses in dreams and {len(real)} in the recording could be counted; give more streams, "
            "and a recording in which the arrow keys are held"
        )
    delays, real_delays = _delays_s(told, fps=fps), _delays_s(real, fps=fps)
    ceiling = sum(found.followed for found in real) / len(real)
    return Directions(
        world=world.card.name,
        profile=profile,
        direction=rate([found.followed for found in told], ceiling),
        delay_s=median(delays, float(np.median(real_delays)) if real_delays else None) if delays else None,
        at_edge=len(answers) - len(told),
    ), samples


def _recorded_answers(recording: Recording, hero: Hero, *, fps: float, columns: int) -> Iterator[Answer | None]:
    for clip in recording:
        seen = track(clip.frames, hero)
        for press in recorded_presses(clip, recording.info.action_names, fps=fps):
            yield answer(seen, press, columns=columns)


def _counted(answers: Iterable[Answer | None]) -> list[Answer]:
    """Without those of presses that point at an edge."""
    return [found for found in answers if found is not None]


def _delays_s(answers: Iterable[Answer], *, fps: float) -> list[float]:
    return [found.delay_frames / fps for found in answers if found.delay_frames is not None]


def _check_same_pictures(world: World, recording: Recording) -> None:
    card, info = world.card, recording.info
    if (info.width, info.height, info.fps) != (card.width, card.height, card.fps):
        raise OptionError(
            f"the recording {recording.path} is of {info.width}x{info.height} at {info.fps:g} frames a second, the "
            f"world {card.name} of {card.width}x{card.height} at {card.fps:g}; give one of these sizes"
        )


def _check_has_sides(what: str, names: Sequence[str]) -> None:
    if missing := [key for key in SIDES if key not in names]:
        raise OptionError(f"{what} has no {' and no '.join(missing)}; only what these keys move is measured")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a world, print what was found; returns the exit status."""
    given = _parser().parse_args(arguments)
    try:
        for file in (given.json, given.sheet):
            if file is not None:
                check_writable(file)
        found, samples = _measured(given)
        told = json.dumps(asdict(found), indent=1)
        print(told)
        if given.json is not None:
            write_whole(given.json, told + "\n")
        if given.sheet is not None:
            title = f"{found.world}, {found.profile}: from the frame before a key goes down to {WITHIN_S:g} s after it"
            sheet = contact_sheet(samples[:8], title=title, fps=card_of(given.model).fps)
            with whole(given.sheet) as part:
                sheet.save(part, format="PNG")
    except EddylineError as error:
        print(f"directions: {error}", file=sys.stderr)
        return MISTAKE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eddyline_runtime.evaluation.directions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="a world's folder")
    parser.add_argument("--recording", required=True, help="of the same game, not the one that was trained on")
    parser.add_argument(
        "--hero", required=True, type=_numbers, metavar="CLIP,FRAME,LEFT,TOP,WIDTH,HEIGHT", help="where it is seen"
    )
    parser.add_argument("--prompt", help="default: the world's first phrase")
    parser.add_argument("--profile", help="default: the world's own")
    parser.add_argument("--streams", type=positive, default=40)
    parser.add_argument("--presses", type=positive, default=4, help="in each stream")
    parser.add_argument("--seed", type=seed_number, default=0)
    parser.add_argument("--json", type=Path, help="write what was found there")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the first presses there, a PNG")
    return parser


def _measured(given: argparse.Namespace) -> tuple[Directions, list[Sample]]:
    """What was found in the world and the recording that the command line names."""
    profile = card_of(given.model).profile_name(given.profile)
    world, recording = fitted(load_world(given.model), cache=cache_folder()), Recording(given.recording)
    clip, frame, *box = given.hero
    picture = _picture_of(recording, clip, frame)
    elsewhere = [recorded.frames for recorded in islice(recording, ELSEWHERE_CLIPS)]
    hero = cut_hero(elsewhere, (box[0], box[1], box[2], box[3]), picture)
    prompt = given.prompt or next(iter(world.card.phrases), "")
    scripts = scripts_of(
        world, prompt=prompt, streams=given.streams, presses=given.presses, profile=profile, seed=given.seed
    )
    return measure_directions(world, recording, hero, scripts, profile=profile)


def _picture_of(recording: Recording, clip: int, frame: int) -> Frames:
    """One frame of a recording, [1, H, W, 3]. Raises OptionError where it has none of these numbers."""
    if not 0 <= clip < len(recording):
        raise OptionError(f"clip {clip} of {recording.path}, which has {len(recording)}; count clips from 0")
    length = recording.clip_length(clip)
    if not 0 <= frame < length:
        raise OptionError(f"frame {frame} of clip {clip} of {recording.path}, which has {length}; count frames from 0")
    return recording[clip].frames[frame : frame + 1]


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(number) for number in text.split(","))
    if len(numbers) != 6:
        raise argparse.ArgumentTypeError(f"{text!r} has {len(numbers)} numbers, give 6")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
