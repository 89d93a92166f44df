"""The parts of an evaluation: each dreams the items of a suite and hands the frames to the functions that judge them.

A part yields what it has found piece by piece, so that whoever stops it keeps the pieces before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eddyline_runtime.config import Partition
from eddyline_runtime.evaluation import actions, places, steering
from eddyline_runtime.evaluation.clips import CLIP_S, SKIP_S, ClipMeasure, measure_clip, motion_figures
from eddyline_runtime.evaluation.dreams import Frames, Script, dream
from eddyline_runtime.evaluation.drift import DriftPlan, drift_figures, judge_stream
from eddyline_runtime.evaluation.frechet import frechet_figure, spread
from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.reading import read_scene, score_labels
from eddyline_runtime.evaluation.reference import Question, Reference
from eddyline_runtime.evaluation.samples import OWN, PARAPHRASED, Sample
from eddyline_runtime.evaluation.suite import ACTIONS, HELD_OUT, PARAPHRASE, STEERING, Scene, load_suite, suite_path
from eddyline_runtime.prompts import Note
from eddyline_runtime.weights import World

SEED_STRIDE = 10_000
"""Item i under seed s has the noise of SEED_STRIDE s + i: no two items of a suite share theirs."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured. The defaults are what a published figure should rest on."""

    seeds: tuple[int, ...] = (0, 1)
    """Adherence is measured under each, everything else under the first."""
    limit: int | None = None
    """Only so many items of each suite, from its start; suites are shuffled."""
    drift_streams: int = 12
    drift: DriftPlan = field(default_factory=DriftPlan)
    samples: int = 12
    """Dreams kept to be looked at."""
    rivals: tuple[str, ...] = ()
    rival_scenes: int = 48
    rival_s: float = 6.0
    """How long samples are, and what rivals dream: several of their clips."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured, and with what."""

    world: World
    profile: str
    probe: Probe
    suites: Path
    """The folder of the suites."""
    reference: Reference | None = None
    """Without it figures have no ceilings, and there is no Fréchet distance."""

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.world.card.fps

    @property
    def partition(self) -> Partition:
        """How the profile cuts the buffer."""
        return self.world.card.profiles[self.profile].partition

    @property
    def chunk_frames(self) -> int:
        """Frames of a chunk."""
        return self.world.card.chunk_frames(self.world.card.profiles[self.profile])

    def dream(
        self,
        scripts: Sequence[Script],
        seconds: float,
        progress: str,
        on_note: Callable[[int, Note], None] = lambda script, note: None,
    ) -> Iterator[Frames]:
        """Dream `seconds` of each script; see `dream`."""
        frames = round(seconds * self.fps)
        return dream(self.world, scripts, frames=frames, profile=self.profile, on_note=on_note, progress=progress)

    def measure(self, frames: Frames) -> ClipMeasure:
        """Measure a clip that was dreamed in chunks of this profile."""
        return measure_clip(self.probe, frames, fps=self.fps, chunk_frames=self.chunk_frames)

    def realism(self, clips: Sequence[ClipMeasure], scenes: int) -> dict[str, Any]:
        """How clips look and move. They are of the first `scenes` held-out scenes in their order, of all of them under
        one seed and then under the next; the Fréchet distance is of the first seed, as many windows as recorded."""
        figures: dict[str, Any] = dict(motion_figures(clips, self.ceilings("motion")))
        if self.reference is not None:
            known = self.reference
            dreamed = [spread(clip.features, known.windows) for clip in clips[:scenes]]
            figures["frechet"] = frechet_figure(dreamed, [*known.recorded[:scenes]], [*known.again[:scenes]])
        return figures

    def ceilings(self, question: Question) -> Mapping[str, float]:
        """What recordings reach; nothing where there is no reference."""
        return {} if self.reference is None else self.reference.ceilings.of(question, self.chunk_frames)


@dataclass(frozen=True)
class Piece:
    """Something that a part found: fields of an `Evaluation`, and dreams to keep."""

    fields: Mapping[str, Any]
    samples: tuple[Sample, ...] = ()


Part = Callable[[Subject, Plan], Iterator[Piece]]


def scene_scripts(scenes: Sequence[Scene], seed: int) -> list[Script]:
    """Scenes as they are asked for: by their prompts alone, all keys up."""
    return [Script(prompt=scene.prompt, seed=SEED_STRIDE * seed + index) for index, scene in enumerate(scenes)]


def measure_adherence(subject: Subject, plan: Plan) -> Iterator[Piece]:
    """Adherence of held-out scenes, and how they look and move."""
    scenes = load_suite(subject.suites, HELD_OUT).scenes[: plan.limit]
    clips: list[ClipMeasure] = []
    for seed in plan.seeds:
        dreamed = subject.dream(scene_scripts(scenes, seed), CLIP_S, f"adherence, seed {seed}")
        clips += [subject.measure(frames) for frames in dreamed]
    wanted = [scene.labels for _ in plan.seeds for scene in scenes]
    adherence = score_labels(wanted, [clip.labels for clip in clips], subject.ceilings("adherence"))
    yield Piece({"adherence": adherence} | subject.realism(clips, len(scenes)))


def measure_paraphrase(subject: Subject, plan: Plan) -> Iterator[Piece]:
    """Adherence to the same kind of scenes in words that the grammar does not have; recordings are the same, too."""
    scenes = load_suite(subject.suites, PARAPHRASE).scenes[: plan.limit]
    skip = round(SKIP_S * subject.fps)
    dreamed = subject.dream(scene_scripts(scenes, plan.seeds[0]), CLIP_S, "paraphrase")
    read = [read_scene(subject.probe, frames[skip:]) for frames in dreamed]
    wanted = [scene.labels for scene in scenes]
    yield Piece({"paraphrase": score_labels(wanted, read, subject.ceilings("adherence"))})


def measure_steering(subject: Subject, plan: Plan) -> Iterator[Piece]:
    """Words that change a running scene, and what the receipts of those that are events said of them."""
    turns = load_suite(subject.suites, STEERING).turns[: plan.limit]
    fps, first, probe = subject.fps, SEED_STRIDE * plan.seeds[0], subject.probe
    scripts = [steering.turn_script(turn, first + index, fps=fps) for index, turn in enumerate(turns)]
    full_at: dict[int, int | None] = {}
    length = steering.watched_frames(
        fps=fps, num_chunks=subject.partition.num_chunks, chunk_frames=subject.chunk_frames
    )
    dreamed = subject.dream(
        scripts, length / fps, "steering", lambda script, note: full_at.update({script: note.first_full_frame})
    )
    said_at, judged = round(steering.BEFORE_S * fps), round((steering.BEFORE_S + steering.AFTER_S) * fps)
    outcomes, events, seen = [], [], []
    for number, (turn, frames) in enumerate(zip(turns, dreamed, strict=True)):
        outcomes.append(steering.judge_turn(probe, turn, frames[:judged], fps=fps, said_at=said_at))
        if turn.verb == "event":
            events.append(turn)
            at = full_at.get(number)
            seen.append(steering.seen_when_full(probe, turn, frames, fps=fps, said_at=said_at, full_at=at))
    within_s = steering.within_s(fps=fps, chunk_frames=subject.chunk_frames)
    found = steering.steering_figures(turns, outcomes, within_s=within_s, ceilings=subject.ceilings("steering"))
    yield Piece({"steering": found, "receipts": steering.receipt_figures(events, seen, subject.ceilings("receipts"))})


def measure_actions(subject: Subject, plan: Plan) -> Iterator[Piece]:
    """Keys that go down in a running scene."""
    presses = load_suite(subject.suites, ACTIONS).presses[: plan.limit]
    fps, first = subject.fps, SEED_STRIDE * plan.seeds[0]
    scripts = [actions.press_script(press, first + index, fps=fps) for index, press in enumerate(presses)]
    dreamed = subject.dream(scripts, actions.BEFORE_S + actions.AFTER_S, "actions")
    pressed_at = round(actions.BEFORE_S * fps)
    delays = [
        actions.press_delay_s(subject.probe, press, frames, fps=fps, pressed_at=pressed_at)
        for press, frames in zip(presses, dreamed, strict=True)
    ]
    yield Piece({"actions": actions.action_figures(delays, subject.ceilings("actions"))})


def measure_places(subject: Subject, plan: Plan) -> Iterator[Piece]:
    """Scenes that are left for another place and returned to."""
    every = load_suite(subject.suites, STEERING).turns
    turns = [turn for turn in every if turn.attribute == places.PLACE][: plan.limit]
    first = SEED_STRIDE * plan.seeds[0]
    scripts = [places.place_scripts(turn, first + index, fps=subject.fps) for index, turn in enumerate(turns)]
    names = [name for script in scripts for name in script]
    dreamed = subject.dream([one for script in scripts for one in script.values()], places.LENGTH_S, "places")
    found: dict[str, list[places.Likeness]] = {}
    for name, frames in zip(names, dreamed, strict=True):
        found.setdefault(name, []).append(places.judge_place(subject.probe, frames, fps=subject.fps))
    yield Piece({"places": places.place_figures(found)})


def measure_drift(subject: Subject, plan: Plan) -> Iterator[Piece]:
    """Long streams of held-out scenes; frames between the windows are dreamed, but not decoded."""
    scenes = load_suite(subject.suites, HELD_OUT).scenes[: plan.drift_streams]
    fps, chunk_frames = subject.fps, subject.chunk_frames
    starts = plan.drift.window_starts(fps=fps, chunk_frames=chunk_frames)
    length = plan.drift.window_frames(fps=fps, chunk_frames=chunk_frames)
    watched = {start + offset for start in starts for offset in range(0, length, chunk_frames)}
    dreamed = dream(
        subject.world,
        scene_scripts(scenes, plan.seeds[0]),
        frames=starts[-1] + length,
        profile=subject.profile,
        watched=watched.__contains__,
        progress="drift",
    )
    streams = [
        judge_stream(subject.probe, scene.labels, [frames[at : at + length] for at in range(0, len(frames), length)])
        for scene, frames in zip(scenes, dreamed, strict=True)
    ]
    yield Piece({"drift": drift_figures(streams)})


def dream_samples(subject: Subject, plan: Plan) -> Iterator[Piece]:
    """Dreams to look at, of the first held-out scenes and of the first paraphrases, where there are any."""
    for suite, name in ((HELD_OUT, OWN), (PARAPHRASE, PARAPHRASED)):
        if suite_path(subject.suites, suite).is_file():
            scenes = load_suite(subject.suites, suite).scenes[: plan.samples]
            dreamed = subject.dream(scene_scripts(scenes, plan.seeds[0]), plan.rival_s, f"samples: {suite}")
            yield Piece({}, tuple(Sample(name, *pair) for pair in _with_prompts(scenes, dreamed)))


def _with_prompts(scenes: Sequence[Scene], dreamed: Iterator[Frames]) -> Iterator[tuple[str, Frames]]:
    return ((scene.prompt, frames) for scene, frames in zip(scenes, dreamed, strict=True))
