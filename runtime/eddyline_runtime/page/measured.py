"""What was measured of one world: files of evaluations, put together where they agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.figures import Evaluation, Figure, RivalEvaluation, read_evaluation
from eddyline_runtime.evaluation.measures import GROUPS, MOTION, figures_of
from eddyline_runtime.evaluation.samples import OWN

PROFILES = ("smooth", "responsive", "fine")


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
    """Read `evaluation_PROFILE.json` and `evaluation_PROFILE_*.json`; parts that are in two files must not differ.

    Raises:
        OptionError: a file is no evaluation, of another profile than its name says or of another world than the first,
            two files tell a figure differently, or there are none.
    """
    profiles: dict[str, Evaluation] = {}
    ways: dict[int, dict[str, RivalEvaluation]] = {}
    for name in PROFILES:
        for file in sorted(folder.glob(f"evaluation_{name}*.json")):
            found = read_evaluation(file)
            if found.profile != name:
                raise OptionError(f"{file} is of the profile {found.profile}; name it evaluation_{found.profile}*.json")
            first = next(iter(profiles.values()), found)
            if found.world != first.world:
                raise OptionError(f"{file} is of the world {found.world}, others of {first.world}; keep those of one")
            for way, rival in found.rivals.items():
                same = ways.setdefault(_scenes(rival), {})
                key = profile_way(name) if way == OWN else way
                _refuse_twice([f"rivals.{way}"] if same.get(key, rival) != rival else [], file)
                same[key] = rival
            found = replace(found, rivals={})
            profiles[name] = _merged(profiles[name], found, file) if name in profiles else found
    if not profiles:
        raise OptionError(f"{folder} holds no evaluation_PROFILE.json; write them there with evaluate --json")
    return Measured(profiles, ways)


def profile_way(profile: str) -> str:
    """The name of the world's own way in a profile, among ways of streaming."""
    return f"{OWN}, {profile}"


def _scenes(way: RivalEvaluation) -> int:
    return max((figure.n for figure in figures_of(way).values()), default=0)


def _merged(first: Evaluation, second: Evaluation, file: Path) -> Evaluation:
    """Both files' figures as one evaluation's, made as the first was."""
    merged: dict[str, Any] = {}
    for name in GROUPS:
        old, new = getattr(first, name), getattr(second, name)
        twice = [f"{name}.{key}" for key in old.keys() & new.keys() if old[key] != new[key]]
        merged[name] = {**old, **new}
        _refuse_twice(twice, file)
    for name in MOTION:
        old, new = getattr(first, name), getattr(second, name)
        merged[name] = new if old is None else old
        _refuse_twice([name] if None not in (old, new) and old != new else [], file)
    return replace(first, **merged)


def _refuse_twice(keys: Sequence[str], file: Path) -> None:
    if keys:
        raise OptionError(f"{file} tells {min(keys)} differently from a file before it; keep one of them")
