"""What was measured of one world: files of evaluations, put together where they agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.figures import Evaluation, Figure, RivalEvaluation, read_evaluation
from eddyline_runtime.evaluation.measures import GROUPS, MOTION, figures_of, spell, spell_interval
from eddyline_runtime.evaluation.samples import OWN

PROFILES = ("smooth", "responsive", "fine")


@dataclass(frozen=True)
class Measured:
    """What was measured of one world, from whichever files."""

    profiles: Mapping[str, Evaluation]
    """In the order in which profiles are told; rivals left out."""
    ways: Mapping[int, Mapping[str, RivalEvaluation]]
    """By the number of scenes, which a Fréchet distance depends on: ways of streaming, the profiles' own as
    `own_way(PROFILE)`, rivals by their names."""

    def figures(self) -> dict[str, dict[str, Figure]]:
        """All figures of each profile by their keys."""
        return {name: figures_of(evaluation) for name, evaluation in self.profiles.items()}


def read_measured(folder: Path) -> Measured:
    """Read `evaluation_PROFILE.json` and `evaluation_PROFILE_*.json`; parts that are in two files must not differ.

    Raises:
        OptionError: a file is no evaluation or of another profile than its name says, two files of a profile tell a
            figure differently, or there are none.
    """
    profiles: dict[str, Evaluation] = {}
    ways: dict[int, dict[str, RivalEvaluation]] = {}
    for name in PROFILES:
        for file in sorted(folder.glob(f"evaluation_{name}*.json")):
            found = read_evaluation(file)
            if found.profile != name:
                raise OptionError(f"{file} is of the profile {found.profile}; name it evaluation_{found.profile}*.json")
            for way, rival in found.rivals.items():
                same = ways.setdefault(max(figure.n for figure in figures_of(rival).values()), {})
                key = own_way(name) if way == OWN else way
                _refuse_twice([f"rivals.{way}"] if same.get(key, rival) != rival else [], file)
                same[key] = rival
            found = replace(found, rivals={})
            profiles[name] = _merged(profiles[name], found, file) if name in profiles else found
    if not profiles:
        raise OptionError(f"{folder} holds no evaluation_PROFILE.json; write them there with evaluate --json")
    return Measured(profiles, ways)


def own_way(profile: str) -> str:
    return f"{OWN}, {profile}"


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
        raise OptionError(f"{file} tells {min(keys)} differently from another file; keep one of them")


def ceiling(key: str, ceiling: float | None) -> str:
    return "" if ceiling is None else spell(key, ceiling)


def told(key: str, figure: Figure) -> str:
    return f"{spell(key, figure.value)} {spell_interval(key, figure)}"
