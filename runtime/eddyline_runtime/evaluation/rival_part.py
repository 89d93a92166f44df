"""Rivals on the same weights: other ways of streaming the same scenes from the same noise, and what they cost.

The world's own way is measured on these scenes too, since a Fréchet distance of few clips is larger than one of many.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.baselines.rivals import RIVALS, SWEEP, Rival, dream_rival
from eddyline_runtime.evaluation.clips import ClipMeasure
from eddyline_runtime.evaluation.dreams import BATCH, Frames
from eddyline_runtime.evaluation.figures import Evaluation, RivalEvaluation
from eddyline_runtime.evaluation.measures import figures_of
from eddyline_runtime.evaluation.parts import SEED_STRIDE, Piece, Plan, Subject, scene_scripts
from eddyline_runtime.evaluation.reading import score_labels
from eddyline_runtime.evaluation.samples import OWN, Sample
from eddyline_runtime.evaluation.suite import HELD_OUT, Scene, load_suite

GROUPS = {"default": tuple(RIVALS), "sweep": tuple(SWEEP), "all": (*RIVALS, *SWEEP)}
"""Names for several rivals."""


def rival_names(asked: Sequence[str]) -> tuple[str, ...]:
    """Rivals by name or group, each once.

    Raises:
        OptionError: there is no such rival.
    """
    names = [name for word in asked for name in GROUPS.get(word, (word,))]
    unknown = [name for name in names if name not in GROUPS["all"]]
    if unknown:
        known = ", ".join((*GROUPS, *GROUPS["all"]))
        raise OptionError(f"rival {unknown[0]!r} is unknown; use some of {known}")
    return tuple(dict.fromkeys(names))


def rival_scenes(suites: Path, plan: Plan) -> Sequence[Scene]:
    """The scenes that all ways of streaming get."""
    return load_suite(suites, HELD_OUT).scenes[: plan.rival_scenes]


def check_same_scenes(before: Evaluation, suites: Path, plan: Plan) -> None:
    """Rivals that were measured are to stand beside those to come, as a Fréchet distance can only on as many scenes.

    Raises:
        OptionError: they were measured on another number of scenes.
    """
    scenes = len(rival_scenes(suites, plan))
    for name, rival in before.rivals.items():
        count = max((figure.n for figure in figures_of(rival).values()), default=scenes)
        if count != scenes:
            raise OptionError(
                f"the file there has {name} on {count} scenes, this evaluation has {scenes}; write to another file, or "
                f"ask for --rival-scenes {count}"
            )


def measure_rivals(subject: Subject, plan: Plan) -> Iterator[Piece]:
    """The world's own way, then one rival after another; they get the guidance that the profile has."""
    scenes = rival_scenes(subject.suites, plan)
    own = subject.dream(scene_scripts(scenes, plan.seeds[0]), plan.rival_s, OWN)
    guidance = subject.world.card.profiles[subject.profile].guidance_scale
    calls = subject.partition.micro_steps * subject.fps / subject.chunk_frames * (1 if guidance == 1.0 else 2)
    yield _piece(subject, plan, scenes, OWN, own, calls)
    for name in plan.rivals:
        rival = replace((RIVALS | SWEEP)[name], guidance_scale=guidance)
        frames, calls = _dream(subject, plan, scenes, rival)
        yield _piece(subject, plan, scenes, name, iter(frames), calls)


def _dream(subject: Subject, plan: Plan, scenes: Sequence[Scene], rival: Rival) -> tuple[list[Frames], float]:
    dreams = dream_rival(
        subject.world,
        scenes,
        frames=round(plan.rival_s * subject.fps),
        rival=rival,
        seed=SEED_STRIDE * plan.seeds[0],
        batch=BATCH,
    )
    return dreams.frames, dreams.calls_per_second


def _piece(
    subject: Subject, plan: Plan, scenes: Sequence[Scene], name: str, dreamed: Iterator[Frames], calls: float
) -> Piece:
    clips: list[ClipMeasure] = []
    samples: list[Sample] = []
    for scene, frames in zip(scenes, dreamed, strict=True):
        clips.append(subject.measure(frames))
        if len(samples) < plan.samples:
            samples.append(Sample(name, scene.prompt, frames))
    wanted = [scene.labels for scene in scenes]
    adherence = score_labels(wanted, [clip.labels for clip in clips], subject.ceilings("adherence"))
    realism = subject.realism(clips, len(scenes))
    if name != OWN:
        del realism["border_jump"]  # it is of the profile's chunks
    return Piece(
        {"rivals": {name: RivalEvaluation(calls_per_second=calls, adherence=adherence, **realism)}}, tuple(samples)
    )
