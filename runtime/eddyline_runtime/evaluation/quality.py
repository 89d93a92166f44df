"""What a world makes of words, measured: dreams from frozen suites, read by the probe.

Adherence: a scene is dreamed from its prompt; each attribute the probe reads right counts. Steering: a scene runs,
words change one attribute, and the probe must see the new value within some seconds. Scores carry Wilson's 95 %
interval.

Shapes: T frames, H W picture height and width.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from eddyline.errors import OptionError
from eddyline_runtime.config import EngineConfig
from eddyline_runtime.engine import Engine
from eddyline_runtime.evaluation.probe import WINDOW_FRAMES, Probe, load_probe
from eddyline_runtime.prompts import Wish
from eddyline_runtime.view import Chunk
from eddyline_runtime.weights import World, load_world, world_folder

if TYPE_CHECKING:
    from PIL.Image import Image

Frames = NDArray[np.uint8]
"""RGB pictures [T, H, W, 3]."""

MOMENTARY = ("happening",)
"""Attributes that are only to be seen now and then while they last (lightning between two flashes)."""
_MOMENTARY_WINDOWS = 2
"""In so many windows a passing thing must be seen."""
_NOTHING = "none"
_LONG_FRAMES = 10_000
"""How long an event of a steering test is held: to its end."""
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A prompt and the labels it asks for; `keys` would make the hero do it, too."""

    prompt: str
    labels: dict[str, str]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A scene that runs, and words that then change one of its attributes."""

    scene: Scene
    verb: Literal["event", "prompt"]
    words: str
    attribute: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A frozen list of tests; see `suites/`."""

    name: str
    description: str
    scenes: tuple[Scene, ...] = ()
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Score:
    """So many right of so many."""

    right: int
    count: int

    @property
    def rate(self) -> float:
        """Share that was right; NaN of none."""
        return self.right / self.count if self.count else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate."""
        return wilson(self.right, self.count)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.rate:5.1f} %  [{100 * low:.0f}, {100 * high:.0f}]  {self.right}/{self.count}"


@dataclass(frozen=True)
class Adherence:
    """How often each attribute was dreamed as asked for; `all` counts scenes with everything right."""

    suite: str
    scores: dict[str, Score]
    read: tuple[dict[str, str], ...]
    """What the probe read, scene by scene."""


@dataclass(frozen=True)
class Steering:
    """How often words changed a running scene in time.

    scores: per attribute, and `all`. A turn counts as right if the value was not there before the words, and was there
    within `within_s`. delays_s: from the words to the first frame of the new value, of the turns that were right.
    kept: per attribute that an event left alone, and `all`: how often what was right in the second before the event was
    right in the last second. Prompts do not count: they say everything anew.
    """

    suite: str
    within_s: float
    scores: dict[str, Score]
    by_verb: dict[str, Score]
    delays_s: tuple[float, ...]
    kept: dict[str, Score]


@dataclass(frozen=True)
class Quality:
    """A world's whole report."""

    world: str
    profile: str
    seed: int
    adherence: tuple[Adherence, ...] = ()
    steering: tuple[Steering, ...] = ()
    probe: dict[str, float] = field(default_factory=dict)
    """The probe's own accuracy on recordings it was not trained on, if the caller knows it."""

    def table(self) -> str:
        """The scores as text, one line each."""
        lines = [f"{self.world}, profile {self.profile}, seed {self.seed}"]
        for part in self.adherence:
            lines += ["", f"adherence: {part.suite}"]
            lines += [f"  {name:<10} {score}" for name, score in part.scores.items()]
        for turned in self.steering:
            lines += ["", f"steering within {turned.within_s:g} s: {turned.suite}"]
            lines += [f"  {name:<10} {score}" for name, score in (turned.scores | turned.by_verb).items()]
            lines += [f"  kept {name:<10} {score}" for name, score in turned.kept.items()]
            if turned.delays_s:
                lines.append(f"  median delay {float(np.median(turned.delays_s)):.2f} s")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything, with rates and intervals spelled out."""
        plain = asdict(self)
        for part in (*plain["adherence"], *plain["steering"]):
            for group in ("scores", "by_verb", "kept"):
                for score in part.get(group, {}).values():
                    counted = Score(**score)
                    low, high = counted.interval
                    score |= {"rate": counted.rate if counted.count else None, "low": low, "high": high}
        return json.dumps(plain, indent=1)


def wilson(right: int, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a rate; (0, 1) where nothing was counted."""
    if not count:
        return 0.0, 1.0
    rate = right / count
    centre = rate + z * z / (2 * count)
    spread = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def load_suite(name: str) -> Suite:
    """Read a frozen suite, such as "diorama/held_out".

    Raises:
        OptionError: there is no such suite.
    """
    folder = Path(str(files("eddyline_runtime.evaluation"))) / "suites"
    path = folder / f"{name}.json"
    if not path.is_file():
        known = sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.glob("*/*.json"))
        raise OptionError(f"suite {name!r} is unknown; there are {', '.join(known)}")
    return msgspec.json.decode(path.read_bytes(), type=Suite)


def dream(
    world: World,
    scenes: Sequence[Scene],
    *,
    frames: int,
    profile: str = "",
    seed: int = 0,
    with_keys: bool = False,
    said: Sequence[Wish | None] = (),
    said_at: int = 0,
    batch: int = 8,
    progress: str = "dreaming",
) -> list[Frames]:
    """Dream `frames` frames of each scene; scene i has seed `seed + i`.

    Args:
        with_keys: hold the keys that make the hero do what the scene asks for; else all keys are up.
        said: for each scene words that are said once `said_at` frames have been made.
        batch: scenes dreamed in one batch.
    """
    engine = Engine(
        world, EngineConfig(paced=False, max_views=batch, max_batch=batch), clock=lambda: 0.0
    )  # as fast as it can: no clock is asked
    words = list(said) or [None] * len(scenes)
    jobs = list(zip(range(seed, seed + len(scenes)), scenes, words, strict=True))
    dreamed: list[Frames] = []
    with tqdm(total=len(scenes) * frames, desc=progress, unit="frame") as bar:
        for group in _batched(jobs, batch):
            made: list[list[Frames]] = [[] for _ in group]
            waiting = dict(enumerate(wish for _, _, wish in group))
            for view, (number, scene, _) in enumerate(group):
                engine.open_view(view, prompt=scene.prompt, seed=number, profile=profile)
                engine.act(view, dict.fromkeys(scene.keys, 1.0) if with_keys else {})
            while any(_length(parts) < frames for parts in made):
                for view, wish in list(waiting.items()):
                    if wish is not None and _length(made[view]) >= said_at:
                        engine.say(view, wish)
                        waiting[view] = None
                for outcome in engine.tick(0.0):
                    if isinstance(outcome, Chunk):
                        made[outcome.view].append(outcome.frames)
                        bar.update(min(len(outcome.frames), max(0, frames - _length(made[outcome.view][:-1]))))
            for view in range(len(group)):
                engine.close_view(view)
                dreamed.append(np.concatenate(made[view])[:frames])
    return dreamed


def read_scene(probe: Probe, frames: Frames) -> dict[str, str]:
    """Read the frames of one scene: the likeliest value of each attribute, passing things if they were seen at all."""
    seen = probe.look(frames)
    labels = {name: probe.labels[name][int(shares.mean(axis=0).argmax())] for name, shares in seen.items()}
    for name in MOMENTARY:
        if name in seen:
            values = Counter(probe.labels[name][int(row.argmax())] for row in seen[name])
            passing = [(value, count) for value, count in values.most_common() if value != _NOTHING]
            enough = min(_MOMENTARY_WINDOWS, len(seen[name]))
            labels[name] = passing[0][0] if passing and passing[0][1] >= enough else _NOTHING
    return labels


def measure_adherence(
    world: World,
    probe: Probe,
    suite: Suite,
    *,
    limit: int | None = None,
    seconds: float = 3.0,
    skip_s: float = 1.0,
    profile: str = "",
    seed: int = 0,
    with_keys: bool = False,
) -> Adherence:
    """Dream the first `limit` scenes of a suite for `seconds` and read them from `skip_s` on."""
    scenes = suite.scenes[:limit]
    fps = world.card.fps
    dreamed = dream(
        world,
        scenes,
        frames=round(seconds * fps),
        profile=profile,
        seed=seed,
        with_keys=with_keys,
        progress=f"dreaming {suite.name}",
    )
    read = tuple(read_scene(probe, frames[round(skip_s * fps) :]) for frames in dreamed)
    return Adherence(suite.name, score_labels([scene.labels for scene in scenes], read), read)


def score_labels(wanted: Sequence[Mapping[str, str]], read: Sequence[Mapping[str, str]]) -> dict[str, Score]:
    """Compare labels attribute by attribute, and all at once."""
    names = [name for name in wanted[0] if name in read[0]] if wanted else []
    hits = {name: [want[name] == got[name] for want, got in zip(wanted, read, strict=True)] for name in names}
    scores = {name: Score(sum(right), len(right)) for name, right in hits.items()}
    every = [all(row) for row in zip(*hits.values(), strict=True)]
    return scores | {"all": Score(sum(every), len(every))}


def measure_steering(
    world: World,
    probe: Probe,
    suite: Suite,
    *,
    limit: int | None = None,
    before_s: float = 3.0,
    within_s: float = 3.0,
    profile: str = "",
    seed: int = 0,
) -> Steering:
    """Run the first `limit` turns of a suite: the scene for `before_s`, then the words, then `within_s`."""
    turns, fps = suite.turns[:limit], world.card.fps
    said_at, after = round(before_s * fps), round(within_s * fps)
    dreamed = dream(
        world,
        [turn.scene for turn in turns],
        frames=said_at + after,
        profile=profile,
        seed=seed,
        said=[Wish(id=0, verb=turn.verb, text=turn.words, hold_frames=_LONG_FRAMES) for turn in turns],
        said_at=said_at,
        progress=f"dreaming {suite.name}",
    )
    delays = [_delay(probe, turn, frames, said_at) for turn, frames in zip(turns, dreamed, strict=True)]
    right = [delay is not None for delay in delays]
    scores = _split(right, [turn.attribute for turn in turns]) | {"all": Score(sum(right), len(right))}
    by_verb = _split(right, [f"by {turn.verb}" for turn in turns])
    second = round(fps)
    kept = score_kept(
        turns,
        [read_scene(probe, frames[max(0, said_at - second) : said_at]) for frames in dreamed],
        [read_scene(probe, frames[said_at:][-second:]) for frames in dreamed],
    )
    shown_s = tuple(delay / fps for delay in delays if delay is not None)
    return Steering(suite.name, within_s, scores, by_verb, shown_s, kept)


def score_kept(
    turns: Sequence[Turn], before: Sequence[Mapping[str, str]], after: Sequence[Mapping[str, str]]
) -> dict[str, Score]:
    """Of what was right before an event and is not what it changes: how often it is right after it."""
    hits: dict[str, list[bool]] = {}
    for turn, earlier, later in zip(turns, before, after, strict=True):
        for name, wanted in turn.scene.labels.items() if turn.verb == "event" else ():
            if name != turn.attribute and name not in MOMENTARY and earlier.get(name) == wanted:
                hits.setdefault(name, []).append(later[name] == wanted)
    scores = {name: Score(sum(right), len(right)) for name, right in hits.items()}
    every = [hit for right in hits.values() for hit in right]
    return scores | {"all": Score(sum(every), len(every))}


def _split(right: Sequence[bool], groups: Sequence[str]) -> dict[str, Score]:
    count, hits = Counter(groups), Counter(group for group, hit in zip(groups, right, strict=True) if hit)
    return {group: Score(hits[group], count[group]) for group in sorted(count)}


def _delay(probe: Probe, turn: Turn, frames: Frames, said_at: int) -> int | None:
    """Frames from the words to the new value: its first two windows in a row; None if it was there already or never
    comes."""
    wanted = probe.labels[turn.attribute].index(turn.value)
    before = probe.look(frames[:said_at])[turn.attribute]
    if before[-len(before) // 3 :].mean(axis=0).argmax() == wanted:
        return None
    after = probe.look(frames[said_at:])[turn.attribute].argmax(axis=1) == wanted
    for window in range(len(after) - 1):
        if after[window] and after[window + 1]:
            return window * WINDOW_FRAMES
    return None


def contact_sheet(
    pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str], *, columns: int = 4, zoom: int = 2
) -> "Image":
    """Lay RGB pictures [H, W, 3] of one size out in rows, with words under each."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = pictures[0].shape[0] * zoom, pictures[0].shape[1] * zoom
    font = ImageFont.load_default(12)
    wrapped = [_wrapped(caption, width // 6) for caption in captions]
    cell = height + 15 * max(len(lines) for lines in wrapped) + 10
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * (width + 8) + 8, rows * (cell + 8) + 8), (250, 250, 248))
    pen = ImageDraw.Draw(sheet)
    for index, (picture, lines) in enumerate(zip(pictures, wrapped, strict=True)):
        left, top = 8 + index % columns * (width + 8), 8 + index // columns * (cell + 8)
        sheet.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST), (left, top))
        for line, text in enumerate(lines):
            pen.text((left, top + height + 3 + 15 * line), text, fill=(40, 36, 48), font=font)
    return sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of measuring a world's quality."""
    parser.add_argument("--model", default="diorama", help="a shipped world's name, or a world's folder")
    parser.add_argument("--probe", type=Path, help="probe.safetensors (default: the one beside the world's weights)")
    parser.add_argument("--suite", action="append", help="repeatable; default: diorama/held_out, /seen, /steering")
    parser.add_argument("--profile", default="", help="default: the world's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only so many scenes of each suite")
    parser.add_argument("--with-keys", action="store_true", help="hold the keys of what the hero should do")
    parser.add_argument("--out", "--json", type=Path, help="write the report there as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure a world, print the table, write the report; returns the exit code.

    Raises:
        EddylineError: world, probe or suite are unusable; each says what to do.
    """
    world = load_world(arguments.model)
    probe = load_probe(arguments.probe or world_folder(arguments.model) / "probe.safetensors")
    suites = [load_suite(name) for name in arguments.suite or ("diorama/held_out", "diorama/seen", "diorama/steering")]
    profile, seed, limit = arguments.profile or world.card.default_profile, arguments.seed, arguments.limit
    report = Quality(
        world=world.card.name,
        profile=profile,
        seed=seed,
        adherence=tuple(
            measure_adherence(
                world, probe, suite, limit=limit, profile=profile, seed=seed, with_keys=arguments.with_keys
            )
            for suite in suites
            if suite.scenes
        ),
        steering=tuple(
            measure_steering(world, probe, suite, limit=limit, profile=profile, seed=seed)
            for suite in suites
            if suite.turns
        ),
    )
    print(report.table())
    if arguments.out:
        arguments.out.write_text(report.to_json() + "\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m eddyline_runtime.evaluation.quality`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def _batched(items: Sequence[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


def _length(parts: Sequence[Frames]) -> int:
    return sum(len(part) for part in parts)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
