"""How fast a world streams, and what more views cost: from files of benches in plain torch and in OpenVINO."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.report import markdown_rows
from eddyline_runtime.page.measured import PROFILES

_Kind = TypeVar("_Kind")

_NETWORKS = {"": "plain torch", "_openvino": "OpenVINO"}
"""What a file's name ends in, and what its networks were computed by."""


@dataclass(frozen=True)
class _Row:
    """A figure of the stream's bench; `wanted` by profile."""

    key: str
    digits: int
    wanted: dict[str, str]
    parts: tuple[str, ...] = ()
    """Of a figure that has several, those that are told."""
    told: str = ""


_MIDDLE, _TAIL = ("p50", "p95"), ("p50", "p99")
_CALLS = {"smooth": "≤ 50 / ≤ 2000", "responsive": "≤ 50 / ≤ 2000"}
_ROWS = (
    _Row("real_time_factor", 2, {"smooth": "≥ 2.0, with OpenVINO ≥ 4.0", "responsive": "≥ 1.2"}),
    _Row("event_to_first_influenced_s", 2, {"smooth": "p95 ≤ 0.75", "responsive": "p95 ≤ 0.5"}, _MIDDLE),
    _Row("event_to_first_full_s", 2, {}, _MIDDLE),
    _Row("time_to_first_frame_cold_s", 1, {}, ("p50",)),
    _Row("time_to_first_frame_warm_s", 2, {"smooth": "≤ 1.5", "responsive": "≤ 1.5"}, ("p50",)),
    _Row("chunk_interval_s", 2, {"smooth": "0.5", "responsive": "0.25"}, _MIDDLE),
    _Row("denoise_ms", 0, {}, _MIDDLE, ", events live"),
    _Row("decode_ms", 0, {}, _MIDDLE),
    _Row("frame_call_us", 0, _CALLS, _TAIL),
    _Row("event_call_us", 0, _CALLS, _TAIL),
    _Row("runtime_peak_mb", 0, {}),
    _Row("sdk_peak_mb", 0, {"smooth": "≤ 120", "responsive": "≤ 120"}),
)
_ONE_VIEW = "smooth"
"""The profile of which the length of a tick is told, too."""


class _Views(msgspec.Struct, frozen=True):
    """What `bench views` wrote, as far as it is told; item i of each list is of one count of views in one profile."""

    profile: list[str]
    views: list[int]
    chunk_s: list[float]
    frames_per_s: list[float]
    fps: float

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.profile, self.views, self.chunk_s, self.frames_per_s)}
        if len(lengths) > 1:
            raise ValueError(f"its lists have {min(lengths)} to {max(lengths)} items, where each has as many")

    def of(self, profile: str) -> dict[int, tuple[float, float]]:
        """By the number of views: seconds of a tick, and how many times real time it is."""
        found = zip(self.profile, self.views, self.chunk_s, self.frames_per_s, strict=True)
        return {
            views: (seconds, frames / self.fps / views) for name, views, seconds, frames in found if name == profile
        }


def speed_table(folder: Path) -> str:
    """Figures of `bench stream` down, profiles and networks across.

    Raises:
        OptionError: a file is missing, holds no such bench, or lacks a figure.
    """
    benches = {profile: [folder / f"bench_{profile}{ending}.json" for ending in _NETWORKS] for profile in PROFILES}
    wanted = [profile for profile in PROFILES if any(profile in row.wanted for row in _ROWS)]
    heads = [""]
    for profile in PROFILES:
        heads += [f"wanted, {profile}"] if profile in wanted else []
        heads += [f"{profile}: {networks}" for networks in _NETWORKS.values()]
    rows = [heads]
    found = {file: _read(file, dict[str, msgspec.Raw]) for files in benches.values() for file in files}
    for row in _ROWS:
        cells = [f"`{row.key}`{' ' + ' / '.join(row.parts) if len(row.parts) > 1 else ''}{row.told}"]
        for profile, files in benches.items():
            cells += [row.wanted.get(profile, "")] if profile in wanted else []
            cells += [_told(row, file, found[file]) for file in files]
        rows.append(cells)
    return markdown_rows(rows)


def _told(row: _Row, file: Path, figures: dict[str, msgspec.Raw]) -> str:
    try:
        if not row.parts:
            return f"{msgspec.json.decode(figures[row.key], type=float):.{row.digits}f}"
        parts = msgspec.json.decode(figures[row.key], type=dict[str, float])
        return " / ".join(f"{parts[part]:.{row.digits}f}" for part in row.parts)
    except (KeyError, msgspec.MsgspecError) as error:
        raise OptionError(f"{file} has no {row.key} as bench stream writes it; write it anew with --json") from error


def views_table(folder: Path) -> str:
    """Numbers of views down; how long a tick takes in one profile, and how many times real time each reaches.

    Raises:
        OptionError: a file is missing, holds no such bench, or its counts are not those of the others.
    """
    files = {networks: folder / f"bench_views{ending}.json" for ending, networks in _NETWORKS.items()}
    columns = [
        (profile, networks, _read(file, _Views).of(profile)) for profile in PROFILES for networks, file in files.items()
    ]
    counts = [*columns[0][2]]
    if not counts or any([*times] != counts for _, _, times in columns):
        raise OptionError(
            f"{' and '.join(map(str, files.values()))} do not tell the same counts of views of each profile"
        )
    heads, rows = ["views in one batch"], [[str(count)] for count in counts]
    for profile, networks, times in columns:
        one, _ = times[counts[0]]
        if profile == _ONE_VIEW:
            heads += [f"{profile}, {networks}: a tick takes", f"against {counts[0]}"]
        heads.append(f"{profile}, {networks}: times real time")
        for row, (seconds, real_time) in zip(rows, times.values(), strict=True):
            row += [f"{seconds:.3f} s", f"{seconds / one:.2f}"] if profile == _ONE_VIEW else []
            row.append(f"{real_time:.2f}")
    return markdown_rows([heads, *rows])


def _read(file: Path, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as error:
        raise OptionError(f"{file} cannot be read ({error.strerror}); write it with bench --json") from error
    except msgspec.MsgspecError as error:
        raise OptionError(f"{file} holds no such bench ({error}); write it anew with bench --json") from error
