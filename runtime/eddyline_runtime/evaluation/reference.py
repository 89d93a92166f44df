"""What recordings of the real game show, measured as dreams are: the ceiling of every figure, frozen in a file.

    python -m eddyline_runtime.evaluation.reference RECORDINGS runtime/eddyline_runtime/evaluation/suites/diorama

RECORDINGS holds a recording of each suite, played by the game itself: `held_out`, `steering`, `actions`. Clip i is of
item i of the suite, and of the first again after the last. Scenes are played twice at least: for the Fréchet distance
dreams are compared with the first time, and the second time shows how far recordings are from recordings.

Shapes: S scenes, W windows of the probe, D features.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from eddyline.errors import EddylineError, OptionError, RecordingError
from eddyline.recording import Recording
from eddyline_runtime.arguments import MISTAKE
from eddyline_runtime.evaluation import actions, steering
from eddyline_runtime.evaluation.clips import (
    CLIP_S,
    SKIP_S,
    ClipMeasure,
    border_figure,
    is_calm,
    measure_clip,
    motion_figures,
)
from eddyline_runtime.evaluation.dreams import Frames
from eddyline_runtime.evaluation.figures import Figure
from eddyline_runtime.evaluation.motion import Borders, measure_borders
from eddyline_runtime.evaluation.probe import Probe, load_probe
from eddyline_runtime.evaluation.reading import score_labels
from eddyline_runtime.evaluation.suite import ACTIONS, HELD_OUT, STEERING, Scene, load_suite
from eddyline_runtime.files import check_writable, sha256_of, whole
from eddyline_runtime.weights import world_folder

Question = Literal["adherence", "steering", "receipts", "actions", "motion"]

FILE = "reference.safetensors"
FORMAT = "eddyline-reference-1"
CHUNK_FRAMES = (4, 8, 16)
"""Lengths of chunks for which recordings are measured."""
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What recordings reach, by part."""

    adherence: dict[str, float]
    motion: dict[str, float]
    """Dynamic degree and flicker."""
    border_jump: dict[int, float]
    """By frames of a chunk."""
    steering: dict[int, dict[str, float]]
    """By frames of a chunk: words have so many chunks to be followed."""
    actions: dict[str, float]
    receipts: dict[str, float] = field(default_factory=dict)
    """In the last second of a turn: the game shows at once what words say, so there is no date to wait for."""

    def of(self, question: Question, chunk_frames: int) -> Mapping[str, float]:
        """Ceilings of a part's figures, in a profile with chunks of `chunk_frames`."""
        match question:
            case "adherence":
                return self.adherence
            case "actions":
                return self.actions
            case "receipts":
                return self.receipts
            case "steering":
                return self.steering.get(chunk_frames, {})
            case "motion":
                jump = self.border_jump.get(chunk_frames)
                return self.motion | ({} if jump is None else {"border_jump": jump})


@dataclass(frozen=True, eq=False)
class Reference:
    """Ceilings, and the features of recordings of each held-out scene."""

    probe: str
    """SHA-256 of the probe that looked: features of another one mean something else."""
    scenes: str
    """SHA-256 of the suite of held-out scenes."""
    ceilings: Ceilings
    recorded: NDArray[np.float32]
    """[S, W, D]."""
    again: NDArray[np.float32]
    """[S, W, D] of another recording of the same scenes."""

    @property
    def windows(self) -> int:
        """W: windows of each scene."""
        return int(self.recorded.shape[1])


def save_reference(reference: Reference, suites: Path) -> None:
    """Write a reference beside its suites; features as float16.

    Raises:
        OptionError: it cannot be written; what was there before is untouched.
    """
    about = {
        "format": FORMAT,
        "probe": reference.probe,
        "scenes": reference.scenes,
        "ceilings": msgspec.json.encode(asdict(reference.ceilings)).decode(),
    }
    tensors = {"recorded": reference.recorded, "again": reference.again}
    with whole(suites / FILE) as part:
        part.write_bytes(save({name: values.astype(np.float16) for name, values in tensors.items()}, about))


def load_reference(suites: Path, probe_digest: str) -> Reference:
    """Read the reference of a folder of suites.

    Raises:
        OptionError: it is missing, damaged, or was made with another probe.
    """
    path = suites / FILE
    cure = f"make it: python -m eddyline_runtime.evaluation.reference RECORDINGS {suites}"
    try:
        with safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            features = [file.get_tensor(name).astype(np.float32) for name in ("recorded", "again")]
        ceilings = msgspec.json.decode(about.get("ceilings", ""), type=Ceilings)
    except (OSError, SafetensorError, msgspec.MsgspecError) as error:
        raise OptionError(f"{path} cannot be read ({error}); {cure}") from error
    if about.get("format") != FORMAT:
        raise OptionError(f"{path} has the format {about.get('format')!r}, a reference has {FORMAT!r}; {cure}")
    if about.get("probe") != probe_digest:
        raise OptionError(f"{path} was made with another probe than this world's; {cure} --probe FILE")
    scenes = sha256_of(suites / f"{HELD_OUT}.json")
    if about.get("scenes") != scenes:
        raise OptionError(f"{path} was made of other scenes than {HELD_OUT}.json has now; {cure}")
    return Reference(probe_digest, scenes, ceilings, *features)


def measure_reference(probe: Probe, probe_digest: str, recordings: Path, suites: Path) -> Reference:
    """Measure the recordings of a folder of suites.

    Raises:
        RecordingError: a recording is missing, or has too few clips or frames for its suite.
        OptionError: a suite is missing.
    """
    scenes = load_suite(suites, HELD_OUT).scenes
    clips, borders = _measure_scenes(probe, recordings / HELD_OUT, scenes)
    features = [np.stack([clip.features for clip in clips[at : at + len(scenes)]]) for at in (0, len(scenes))]
    wanted = [scene.labels for scene, _ in zip(cycle(scenes), clips, strict=False)]
    motion = motion_figures(clips)
    by_chunk, receipts = _measure_turns(probe, recordings / STEERING, suites)
    ceilings = Ceilings(
        adherence=_values(score_labels(wanted, [clip.labels for clip in clips])),
        motion=_values({name: motion[name] for name in ("dynamic_degree", "flicker")}),
        border_jump={chunk: _values({"": border_figure(found)})[""] for chunk, found in borders.items()},
        steering=by_chunk,
        receipts=receipts,
        actions=_measure_presses(probe, recordings / ACTIONS, suites),
    )
    return Reference(probe_digest, sha256_of(suites / f"{HELD_OUT}.json"), ceilings, *features)


def _measure_scenes(
    probe: Probe, path: Path, scenes: Sequence[Scene]
) -> tuple[list[ClipMeasure], dict[int, list[Borders]]]:
    recording = Recording(path)
    if len(recording) < 2 * len(scenes):
        raise RecordingError(f"{path}: {len(recording)} clips of {len(scenes)} scenes; play each scene twice at least")
    fps = recording.info.fps
    skip = round(SKIP_S * fps)
    clips: list[ClipMeasure] = []
    borders: dict[int, list[Borders]] = {chunk: [] for chunk in CHUNK_FRAMES}
    for _, frames in _played(path, scenes, seconds=CLIP_S):
        clips.append(measure_clip(probe, frames, fps=fps, chunk_frames=CHUNK_FRAMES[0]))
        for chunk, found in borders.items():
            if is_calm(clips[-1]):
                found.append(measure_borders(frames[skip:], chunk, first=skip))
    return clips, borders


def _measure_turns(probe: Probe, path: Path, suites: Path) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
    """What recorded turns reach in steering, by frames of a chunk, and what their events reach in receipts."""
    turns = load_suite(suites, STEERING).turns
    fps = Recording(path).info.fps
    said_at = round(steering.BEFORE_S * fps)
    played, outcomes, events, seen = [], [], [], []
    for turn, frames in _played(path, turns, seconds=steering.BEFORE_S + steering.AFTER_S):
        played.append(turn)
        outcomes.append(steering.judge_turn(probe, turn, frames, fps=fps, said_at=said_at))
        if turn.verb == "event":
            events.append(turn)
            last = len(frames) - round(fps)
            seen.append(steering.seen_when_full(probe, turn, frames, fps=fps, said_at=said_at, full_at=last))
    by_chunk = {
        chunk: _values(
            steering.steering_figures(played, outcomes, within_s=steering.within_s(fps=fps, chunk_frames=chunk))
        )
        for chunk in CHUNK_FRAMES
    }
    return by_chunk, _values(steering.receipt_figures(events, seen))


def _measure_presses(probe: Probe, path: Path, suites: Path) -> dict[str, float]:
    presses = load_suite(suites, ACTIONS).presses
    fps = Recording(path).info.fps
    pressed_at = round(actions.BEFORE_S * fps)
    delays = [
        actions.press_delay_s(probe, press, frames, fps=fps, pressed_at=pressed_at)
        for press, frames in _played(path, presses, seconds=actions.BEFORE_S + actions.AFTER_S)
    ]
    return _values(actions.action_figures(delays))


def _played(path: Path, items: Sequence[_Item], *, seconds: float) -> Iterator[tuple[_Item, Frames]]:
    """Each clip of a recording, cut to `seconds`, with the item of the suite that it is of."""
    recording = Recording(path)
    frames = round(seconds * recording.info.fps)
    if len(recording) < len(items):
        raise RecordingError(f"{path}: {len(recording)} clips for {len(items)} items of the suite; play them all")
    for item, clip in zip(cycle(items), tqdm(recording, desc=f"measuring {path.name}", unit="clip"), strict=False):
        if len(clip.frames) < frames:
            raise RecordingError(f"{path}: a clip of {len(clip.frames)} frames; each needs {frames} ({seconds} s)")
        yield item, clip.frames[:frames]


def _values(figures: Mapping[str, Figure | None]) -> dict[str, float]:
    """Values alone, in six figures."""
    return {name: float(f"{figure.value:.6g}") for name, figure in figures.items() if figure is not None}


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m eddyline_runtime.evaluation.reference`; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, help="folder of the recordings of the suites")
    parser.add_argument("suites", type=Path, help=f"folder of the suites; {FILE} is written there")
    parser.add_argument("--probe", type=Path, help="probe.safetensors (default: the shipped diorama's)")
    given = parser.parse_args(arguments)
    path = given.probe or world_folder("diorama") / "probe.safetensors"
    try:
        check_writable(given.suites / FILE)
        save_reference(
            measure_reference(load_probe(path), sha256_of(path), given.recordings, given.suites), given.suites
        )
    except EddylineError as error:
        print(f"reference: {error}", file=sys.stderr)
        return MISTAKE
    return 0


if __name__ == "__main__":
    sys.exit(main())
