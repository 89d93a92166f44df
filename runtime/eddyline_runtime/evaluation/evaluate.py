"""An evaluation, part after part, written down after every piece of it, so that a break loses only what was running."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from eddyline.errors import OptionError
from eddyline_runtime.evaluation import parts
from eddyline_runtime.evaluation.figures import Evaluation, Made
from eddyline_runtime.evaluation.parts import Part, Plan, Subject
from eddyline_runtime.evaluation.rival_part import measure_rivals
from eddyline_runtime.evaluation.samples import Sample
from eddyline_runtime.evaluation.suite import ACTIONS, HELD_OUT, PARAPHRASE, STEERING, suite_path
from eddyline_runtime.machine import processor, versions

PARTS: Mapping[str, Part] = {
    "adherence": parts.measure_adherence,
    "paraphrase": parts.measure_paraphrase,
    "steering": parts.measure_steering,
    "actions": parts.measure_actions,
    "places": parts.measure_places,
    "samples": parts.dream_samples,
    "drift": parts.measure_drift,
    "rivals": measure_rivals,
}
"""In the order in which they are measured."""
SUITE_OF = {
    "adherence": HELD_OUT,
    "paraphrase": PARAPHRASE,
    "steering": STEERING,
    "actions": ACTIONS,
    "places": STEERING,
    "samples": HELD_OUT,
    "drift": HELD_OUT,
    "rivals": HELD_OUT,
}
_PACKAGES = ("eddyline", "torch", "numpy", "opencv-python-headless")
QUICK = Plan(seeds=(0,), limit=12)
"""A smoke test: under a minute on two cores."""
QUICK_ATTRIBUTES = ("place", "time", "hero", "colour")
QUICK_SHARE = 0.8
"""What a world must reach in it."""


def evaluate(
    subject: Subject,
    plan: Plan,
    names: Sequence[str],
    before: Evaluation,
    *,
    save: Callable[[Evaluation, Sequence[Sample]], None],
    clock: Callable[[], float],
) -> Evaluation:
    """Measure the parts called `names` and put them in place of those in `before`.

    Args:
        save: is handed the evaluation so far after every piece, and the samples of this piece; and once more when a
            part is done, with the seconds that it took.
    """
    evaluation = before
    for name in names:
        begin_s = clock()
        for piece in PARTS[name](subject, plan):
            fields = dict(piece.fields)
            if "rivals" in fields:
                fields["rivals"] = evaluation.rivals | fields["rivals"]
            evaluation = replace(evaluation, **fields)
            save(evaluation, piece.samples)
        seconds = evaluation.made.seconds | {name: round(clock() - begin_s, 1)}
        evaluation = replace(evaluation, made=replace(evaluation.made, seconds=seconds))
        save(evaluation, ())
    return evaluation


def parts_with_suites(folder: Path, *, samples: bool, rivals: bool) -> tuple[str, ...]:
    """The parts that a folder of suites allows, in their order; samples and rivals only where they are wanted."""
    wanted = [name for name in PARTS if (name != "samples" or samples) and (name != "rivals" or rivals)]
    return tuple(name for name in wanted if suite_path(folder, SUITE_OF[name]).is_file())


def check_parts(names: Sequence[str]) -> tuple[str, ...]:
    """Names of parts in the order in which they are measured.

    Raises:
        OptionError: there is no such part.
    """
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise OptionError(f"part {unknown[0]!r} is unknown; use some of {', '.join(PARTS)}")
    return tuple(name for name in PARTS if name in names)


def continued(before: Evaluation, fresh: Evaluation) -> Evaluation:
    """An evaluation that goes on from one that was written: its parts, this one's date and command.

    Raises:
        OptionError: they are not of one world, profile and seeds.
    """
    for name in ("world", "profile", "seeds"):
        was, now = getattr(before, name), getattr(fresh, name)
        if was != now:
            raise OptionError(f"the file there is of {name} {was!r}, this evaluation of {now!r}; write to another file")
    return replace(before, made=replace(fresh.made, seconds=before.made.seconds))


def quick_share(evaluation: Evaluation) -> float:
    """The share of place, time, hero and colour read right, all together."""
    figures = [evaluation.adherence[name] for name in QUICK_ATTRIBUTES if name in evaluation.adherence]
    return sum(figure.value for figure in figures) / len(figures) if figures else 0.0


def made_here(command: str, date: str, *, networks: str) -> Made:
    """How an evaluation that is made by this process comes about."""
    return Made(date=date, command=command, machine=processor(), networks=networks, versions=versions(_PACKAGES))
