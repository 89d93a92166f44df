"""How fast a world streams, and what more views cost: from files of benches in plain torch and in OpenVINO."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from eddyline.errors import OptionError
from eddyline_runtime.evaluation.report import markdown_rows
from eddyline_runtime.page.measured import PROFILES

_Kind = TypeVar("_Kind")

_NETWORKS = {"torch": ("", "plain torch"), "openvino": ("_openvino", "OpenVINO")}
"""What computed the networks: what a file's name ends in, and how it is told."""


@dataclass(frozen=True)
class _Row:
    """A figure of the stream's bench; `wanted` by profile."""

    key: str
    digits: int
    wanted: dict[str, str]
    parts: tuple[str, ...] = ()
    """Of a figure that has several, those that are told."""
    note: str = ""


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
_TIMED_PROFILE = "smooth"
"""The profile of which the length of a tick is told, too."""


class _Views(msgspec.Struct, frozen=True):
    """What `bench views` wrote, as far as it is told; item i of each list is of one count of views in one profile."""

    profile: list[str]
    views: list[int]
    chunk_s: list[float]
    frames_per_s: list[float]
    fps: float
    networks: str

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.profile, self.views, self.chunk_s, self.frames_per_s)}
        if len(lengths) > 1:
            raise ValueError(f"its lists have {min(lengths)} to {max(lengths)} items, all must have equally many")
        if min([self.fps, *self.views, *self.chunk_s], default=0) <= 0:
            raise ValueError("its fps, views and chunk_s must be above 0")

    def of(self, profile: str) -> dict[int, tuple[float, float]]:
        """By the number of views: seconds of a tick, and how many times real time it is."""
        found = zip(self.profile, self.views, self.chunk_s, self.frames_per_s, strict=True)
        return {
            views: (seconds, frames / self.fps / views) for name, views, seconds, frames in found if name == profile
        }


def speed_table(folder: Path) -> str:
    """Figures of `bench stream` down, profiles and networks across.

    Raises:
        OptionError: a file is missing, holds no such bench, is of another profile or other networks than its name
            says, or lacks a figure.
    """
    wanted = [profile for profile in PROFILES if any(profile in row.wanted for row in _ROWS)]
    heads = [""]
    benches: dict[str, list[tuple[Path, dict[str, msgspec.Raw]]]] = {}
    for profile in PROFILES:
        heads += [f"wanted, {profile}"] if profile in wanted else []
        heads += [f"{profile}: {networks}" for _, networks in _NETWORKS.values()]
        benches[profile] = [_stream_bench(folder, profile, networks) for networks in _NETWORKS]
    rows = [heads]
    for row in _ROWS:
        cells = [f"`{row.key}`{' ' + ' / '.join(row.parts) if len(row.parts) > 1 else ''}{row.note}"]
        for profile, found in benches.items():
            cells += [row.wanted.get(profile, "")] if profile in wanted else []
            cells += [_cell(row, file, figures) for file, figures in found]
        rows.append(cells)
    return markdown_rows(rows)


def _stream_bench(folder: Path, profile: str, networks: str) -> tuple[Path, dict[str, msgspec.Raw]]:
    file = folder / f"bench_{profile}{_NETWORKS[networks][0]}.json"
    how = f"EDDYLINE_NETWORKS={networks} eddyline-runtime bench stream --profile {profile} --json {file.name}"
    figures = _read(file, dict[str, msgspec.Raw], how)
    try:
        of = {name: msgspec.json.decode(figures[name], type=str) for name in ("profile", "networks")}
    except (KeyError, msgspec.MsgspecError) as error:
        raise OptionError(f"{file} does not say its profile and networks; write it anew: {how}") from error
    _check(file, of["profile"], profile, how)
    _check(file, of["networks"], networks, how)
    return file, figures


def _check(file: Path, found: str, wanted: str, how: str) -> None:
    if found.partition(" ")[0] != wanted:  # networks are told with the precision they multiply in
        raise OptionError(f"{file} was measured with {found}, its name says {wanted}; write it anew: {how}")


def _cell(row: _Row, file: Path, figures: dict[str, msgspec.Raw]) -> str:
    try:
        if not row.parts:
            return f"{msgspec.json.decode(figures[row.key], type=float):.{row.digits}f}"
        parts = msgspec.json.decode(figures[row.key], type=dict[str, float])
        return " / ".join(f"{parts[part]:.{row.digits}f}" for part in row.parts)
    except (KeyError, msgspec.MsgspecError) as error:
        raise OptionError(
            f"{file} has no {row.key} as bench stream writes it; write it anew with bench stream --json"
        ) from error


def views_table(folder: Path) -> str:
    """Numbers of views down; how long a tick takes in one profile, and how many times real time each reaches.

    Raises:
        OptionError: a file is missing, holds no such bench, is of other networks than its name says, or its counts are
            not those of the others.
    """
    columns: list[tuple[str, str, dict[int, tuple[float, float]]]] = []
    benches = {networks: _views_bench(folder, networks) for networks in _NETWORKS}
    for profile in PROFILES:
        columns += [(profile, _NETWORKS[networks][1], bench.of(profile)) for networks, bench in benches.items()]
    counts = [*columns[0][2]]
    heads, rows = ["views in one batch"], [[str(count)] for count in counts]
    for profile, networks, times in columns:
        if not counts or [*times] != counts:
            raise OptionError(
                f"{folder} tells {[*times]} views of {profile} in {networks}, where the first column has {counts}; "
                "write bench_views*.json anew, with the same --views and without --profile"
            )
        one, _ = times[counts[0]]
        if profile == _TIMED_PROFILE:
            heads += [f"{profile}, {networks}: a tick takes", f"{profile}, {networks}: against {counts[0]} view"]
        heads.append(f"{profile}, {networks}: times real time")
        for row, (seconds, real_time) in zip(rows, times.values(), strict=True):
            row += [f"{seconds:.3f} s", f"{seconds / one:.2f}"] if profile == _TIMED_PROFILE else []
            row.append(f"{real_time:.2f}")
    return markdown_rows([heads, *rows])


def _views_bench(folder: Path, networks: str) -> _Views:
    file = folder / f"bench_views{_NETWORKS[networks][0]}.json"
    how = f"EDDYLINE_NETWORKS={networks} eddyline-runtime bench views --json {file.name}"
    bench = _read(file, _Views, how)
    _check(file, bench.networks, networks, how)
    return bench


def _read(file: Path, kind: type[_Kind], how: str) -> _Kind:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as error:
        raise OptionError(f"{file} cannot be read ({error.strerror}); write it: {how}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OptionError(f"{file} holds no such bench ({error}); write it anew: {how}") from error
