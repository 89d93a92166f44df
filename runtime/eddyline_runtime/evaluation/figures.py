"""What an evaluation found: every figure with its interval, its count and the most it could be; and the file of them.

The file is JSON; its keys are the fields below, so `adherence.place.value`, `steering.kept.ci95`, `frechet.ceiling`,
`rivals.fifo.adherence.hero.n`. Parts that were not measured are absent.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from eddyline.errors import OptionError
from eddyline_runtime.files import write_whole


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number that was measured. Rates are shares, 0 to 1."""

    value: float
    ci95: tuple[float, float]
    """95 % interval: Wilson's for rates, else by bootstrap."""
    n: int
    """How many it was counted over: scenes, streams, clips."""
    ceiling: float | None = None
    """What the same measurement finds on recordings of the real game; None where there is no such thing."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """How an evaluation came about."""

    date: str
    """ISO 8601, the day of the last part."""
    command: str
    machine: str
    networks: str = ""
    """What computed the world: "torch float32"; files of earlier releases do not say."""
    versions: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """What each part took."""


@dataclass(frozen=True, kw_only=True)
class RivalEvaluation:
    """One way of streaming on the same weights, on the scenes that all rivals get; one of them is the world's own."""

    calls_per_second: float
    """Network calls for a second of video, rows of guidance counted."""
    adherence: dict[str, Figure] = field(default_factory=dict)
    frechet: Figure | None = None
    dynamic_degree: Figure | None = None
    flicker: Figure | None = None
    border_jump: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A world's whole evaluation in one profile.

    adherence, paraphrase: per attribute, and `all` for everything right at once. steering: `right`, `kept`,
    `right_{attribute}`, `right_by_{verb}`, `kept_{attribute}`, `delay_s` (median). receipts: `seen`,
    `seen_{attribute}`, whether what an event says is to be seen in the second from its first full frame on. actions:
    `direction`, `delay_s` (median). places: how much a scene that was left looks as it did, cosines: `returned` (to its
    bookmark), `prompted` (by its prompt alone), `stayed` (it was never left), `left` (while away). drift: per attribute
    what minute 10 has lost against minute 1 (0.03: three points), and `dynamic_degree`, the share of motion lost; below
    0 it grew.
    """

    world: str
    profile: str
    seeds: tuple[int, ...]
    made: Made
    adherence: dict[str, Figure] = field(default_factory=dict)
    paraphrase: dict[str, Figure] = field(default_factory=dict)
    steering: dict[str, Figure] = field(default_factory=dict)
    receipts: dict[str, Figure] = field(default_factory=dict)
    actions: dict[str, Figure] = field(default_factory=dict)
    places: dict[str, Figure] = field(default_factory=dict)
    drift: dict[str, Figure] = field(default_factory=dict)
    frechet: Figure | None = None
    """Fréchet distance to recordings of the same scenes in the probe's features; 0 is best."""
    dynamic_degree: Figure | None = None
    """Mean optical flow, pixels a frame."""
    flicker: Figure | None = None
    """Mean change of pixels that no motion explains, 0 to 255."""
    border_jump: Figure | None = None
    """Mean change of pixels across borders of chunks over that inside chunks; 1: no border is to be seen."""
    rivals: dict[str, RivalEvaluation] = field(default_factory=dict)


def to_json(evaluation: Evaluation) -> str:
    """An evaluation as indented JSON, without what was not measured."""
    return msgspec.json.format(msgspec.json.encode(_measured(asdict(evaluation))), indent=1).decode() + "\n"


def write_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation; whoever reads meanwhile finds the old file or the new one, whole.

    Raises:
        OptionError: the file cannot be written; what was there before is untouched.
    """
    write_whole(path, to_json(evaluation))


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation.

    Raises:
        OptionError: the file is missing or holds no evaluation.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Evaluation)
    except OSError as error:
        raise OptionError(f"{path} cannot be read ({error.strerror}); name a file that evaluate wrote") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} holds no evaluation ({error}); write it anew with evaluate --json") from error


def _measured(value: Any) -> Any:
    """Leave out None and empty mappings, at every depth."""
    if not isinstance(value, dict):
        return value
    kept = {name: _measured(inner) for name, inner in value.items()}
    return {name: inner for name, inner in kept.items() if inner is not None and inner != {}}
