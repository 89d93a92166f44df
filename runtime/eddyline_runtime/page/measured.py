"""What was measured of one world: files of evaluations, put together where they agree."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.figures import Evaluation, Figure, RivalEvaluation, read_evaluation
from eddyline_runtime.evaluation.measures import GROUPS, MOTION, figures_of
from eddyline_runtime.evaluation.samples import OWN

PROFILES = ("smooth", "responsive", "fine")
ROUNDING = 1e-6
"""By so much, of itself or in all, a figure may differ between two files; no table shows that many digits."""


@dataclass(frozen=True)
class Measured:
    """What was measured of one world, from whichever files."""

    profiles: Mapping[str, Evaluation]
    """In the order in which profiles are told; rivals left out."""
    ways: Mapping[int, Mapping[str, RivalEvaluation]]
    """By the number of scenes, which a Fréchet distance depends on: ways of streaming, the profiles' own as
    `profile_way(PROFILE)`, rivals by their names."""

    def figures(self) -> dict[str, dict[str, Figure]]:
        """All figures of each profile by their keys."""
        return {name: figures_of(evaluation) for name, evaluation in self.profiles.items()}


def read_measured(folder: Path) -> Measured:
    """Read `evaluation_PROFILE.json` and `evaluation_PROFILE_*.json`; parts that are in two files must not differ by
    more than the last digits of a sum, which other processors round otherwise. The file before counts.

    Raises:
        OptionError: a file is no evaluation, of another profile than its name says or of another world than the first,
            two files tell a figure differently, or there are none.
    """
    profiles: dict[str, Evaluation] = {}
    ways: dict[int, dict[str, RivalEvaluation]] = {}
    told: dict[tuple[str, str], tuple[Figure | RivalEvaluation, Path]] = {}

    def agree(what: tuple[str, str], value: Figure | RivalEvaluation, file: Path) -> None:
        before, earlier = told.setdefault(what, (value, file))
        if not _alike(before, value):
            raise OptionError(f"{file} tells {what[1]} differently from {earlier}; keep one of them")

    for name in PROFILES:
        for file in sorted(folder.glob(f"evaluation_{name}*.json")):
            found = read_evaluation(file)
            if found.profile != name:
                raise OptionError(f"{file} is of the profile {found.profile}; name it evaluation_{found.profile}*.json")
            first = next(iter(profiles.values()), found)
            if found.world != first.world:
                raise OptionError(f"{file} is of the world {found.world}, others of {first.world}; keep those of one")
            for way, rival in found.rivals.items():
                key, scenes = profile_way(name) if way == OWN else way, _scenes(rival)
                agree((f"{key}, {scenes} scenes", f"rivals.{way}"), rival, file)
                ways.setdefault(scenes, {}).setdefault(key, rival)
            found = replace(found, rivals={})
            for key, figure in figures_of(found).items():
                agree((name, key), figure, file)
            profiles[name] = _merged(profiles[name], found) if name in profiles else found
    if not profiles:
        raise OptionError(f"{folder} holds no evaluation_PROFILE.json; write them there with evaluate --json")
    return Measured(profiles, ways)


def profile_way(profile: str) -> str:
    """The name of the world's own way in a profile, among ways of streaming."""
    return f"{OWN}, {profile}"


def _scenes(way: RivalEvaluation) -> int:
    return max((figure.n for figure in figures_of(way).values()), default=0)


def _merged(first: Evaluation, second: Evaluation) -> Evaluation:
    """Both files' figures as one evaluation's, made as the first was."""
    merged: dict[str, Any] = {name: {**getattr(second, name), **getattr(first, name)} for name in GROUPS}
    for name in MOTION:
        figure = getattr(first, name)
        merged[name] = getattr(second, name) if figure is None else figure
    return replace(first, **merged)


def _alike(one: Figure | RivalEvaluation, other: Figure | RivalEvaluation) -> bool:
    """Whether two files tell the same, up to the rounding of sums."""
    return _same(msgspec.to_builtins(one), msgspec.to_builtins(other))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
