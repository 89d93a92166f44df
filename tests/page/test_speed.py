"""Tables of speed: they say what the benches wrote, of the profile and the networks that a file is named after."""

import json
from pathlib import Path
from typing import Any

import pytest

from eddyline.errors import OptionError
from eddyline_runtime.page.speed import speed_table, views_table

STREAM: dict[str, Any] = {
    "real_time_factor": 2.0,
    **{
        name: {"p50": 0.5, "p95": 0.75}
        for name in (
            "event_to_first_influenced_s",
            "event_to_first_full_s",
            "time_to_first_frame_cold_s",
            "time_to_first_frame_warm_s",
            "chunk_interval_s",
            "denoise_ms",
            "decode_ms",
        )
    },
    "frame_call_us": {"p50": 9.4, "p99": 80.6},
    "event_call_us": {"p50": 20.0, "p99": 30.0},
    "runtime_peak_mb": 700.4,
    "sdk_peak_mb": 40,
}
VIEWS: dict[str, Any] = {
    "profile": ["smooth", "smooth", "responsive", "responsive", "fine", "fine"],
    "views": [1, 4] * 3,
    "chunk_s": [0.04, 0.1, 0.05, 0.2, 0.08, 0.2],
    "frames_per_s": [160.0, 256.0, 80.0, 80.0, 100.0, 160.0],
    "fps": 16.0,
    "networks": "torch bfloat16",
}
LISTS = ("profile", "views", "chunk_s", "frames_per_s")


def bench(**changed: Any) -> bytes:
    return json.dumps({**STREAM, "profile": "fine", "networks": "torch bfloat16", **changed}).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, profile in enumerate(("smooth", "responsive", "fine")):
        for networks, factor in (("", 2.0), ("_openvino", 8.0)):
            of = {"profile": profile, "networks": f"{networks.removeprefix('_') or 'torch'} bfloat16"}
            bench = STREAM | of | {"real_time_factor": factor + number}
            (tmp_path / f"bench_{profile}{networks}.json").write_text(json.dumps(bench))
    (tmp_path / "bench_views.json").write_text(json.dumps(VIEWS))
    fast = VIEWS | {"chunk_s": [0.02, 0.08, 0.04, 0.1, 0.04, 0.1], "networks": "openvino bfloat16"}
    (tmp_path / "bench_views_openvino.json").write_text(json.dumps(fast))
    return tmp_path


def rows(table: str) -> dict[str, dict[str, str]]:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return {line[0]: dict(zip(lines[0][1:], line[1:], strict=True)) for line in lines[2:]}


def test_each_figure_stands_under_its_profile_and_networks_with_what_is_wanted(folder: Path) -> None:
    told = rows(speed_table(folder))
    assert told["`real_time_factor`"] == {
        "wanted, smooth": "≥ 2.0, with OpenVINO ≥ 4.0",
        "smooth: plain torch": "2.00",
        "smooth: OpenVINO": "8.00",
        "wanted, responsive": "≥ 1.2",
        "responsive: plain torch": "3.00",
        "responsive: OpenVINO": "9.00",
        "fine: plain torch": "4.00",
        "fine: OpenVINO": "10.00",
    }
    assert told["`frame_call_us` p50 / p99"]["fine: OpenVINO"] == "9 / 81"
    assert told["`runtime_peak_mb`"]["smooth: plain torch"] == "700"


def test_more_views_are_told_against_one_and_in_times_of_real_time_for_each(folder: Path) -> None:
    told = rows(views_table(folder))
    assert {views: row["smooth, plain torch: a tick takes"] for views, row in told.items()} == {
        "1": "0.040 s",
        "4": "0.100 s",
    }
    assert told["4"]["smooth, plain torch: against 1 view"] == "2.50"
    assert told["4"]["smooth, OpenVINO: against 1 view"] == "4.00"
    assert told["4"]["smooth, plain torch: times real time"] == "4.00", "256 frames a second for four views of 16"
    assert told["1"]["smooth, OpenVINO: a tick takes"] == "0.020 s"
    assert told["4"]["responsive, plain torch: times real time"] == "1.25"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"bench_fine\.json cannot be read \(No such file or directory\); write it: EDDYLINE_NETWORKS=torch"),
        (b"[]", r"bench_fine\.json holds no such bench"),
        (b'{"\xff": 1}', r"bench_fine\.json holds no such bench"),
        (b"{}", r"bench_fine\.json does not say its profile and networks"),
        (bench(profile="smooth"), r"bench_fine\.json was measured with smooth, its name says fine"),
        (bench(networks="openvino float32"), r"was measured with openvino float32, its name says torch; write it anew"),
        (bench(decode_ms=3.0), r"bench_fine\.json has no decode_ms as bench stream writes it"),
    ],
)
def test_a_bench_that_cannot_be_told_is_refused_with_what_to_write(
    folder: Path, content: bytes | None, told: str
) -> None:
    file = folder / "bench_fine.json"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(OptionError, match=told):
        speed_table(folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"views": [1, 4, 1, 4, 1, 8]},
        {name: VIEWS[name][:4] for name in LISTS},
        {name: [] for name in LISTS},
    ],
    ids=["other counts", "no fine", "nothing"],
)
def test_views_of_other_counts_are_not_put_beside_each_other(folder: Path, changed: dict[str, Any]) -> None:
    (folder / "bench_views.json").write_text(json.dumps(VIEWS | changed))
    with pytest.raises(OptionError, match=r"where the first column has .* with the same --views"):
        views_table(folder)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"chunk_s": [0.04]}, "its lists have 1 to 6 items, all must have equally many"),
        ({"fps": 0.0}, "its fps, views and chunk_s must be above 0"),
        ({"chunk_s": [0.0] * 6}, "its fps, views and chunk_s must be above 0"),
    ],
)
def test_a_bench_of_views_that_cannot_be_is_refused(folder: Path, changed: dict[str, Any], told: str) -> None:
    (folder / "bench_views.json").write_text(json.dumps(VIEWS | changed))
    with pytest.raises(OptionError, match=f"holds no such bench .{told}"):
        views_table(folder)
