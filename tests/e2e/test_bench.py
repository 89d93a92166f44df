"""The bench: what it says of a sample, a short run through the real socket, and what views and snapshots cost."""

import contextlib
import gc
import importlib
import io
import json
import os
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from eddyline import measure_npcs
from eddyline.errors import LaunchError
from eddyline.testing import MAX_VIEWS, ScriptedRuntime
from eddyline_runtime.bench import npcs, processes, saves, views
from eddyline_runtime.bench.stream import ORDER, percentile
from eddyline_runtime.cli import main
from eddyline_runtime.precision import default_dtype
from eddyline_runtime.weights import load_world

TINY = ["--model", "tiny", "--random-weights", "--threads", "1"]
SURROUNDINGS = {"world", "random_weights", "networks", "device", "threads", "machine", "versions", "date"}


def test_percentiles_are_values_that_were_measured():
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (1, 20, 50, 95, 100)] == [1.0, 1.0, 3.0, 5.0, 5.0]
    assert percentile([7.0], 50) == 7.0


@pytest.mark.parametrize("profile", ["smooth", "responsive"])
def test_a_short_bench_writes_every_number(tmp_path, profile):
    file = tmp_path / "numbers.json"
    assert main(["bench", "stream", "--profile", profile, "--json", str(file), "--seconds", "8", *TINY]) == 0
    numbers = json.loads(file.read_text())
    assert set(numbers) == {*ORDER, "profile", *(SURROUNDINGS - {"random_weights"})}
    precision = str(default_dtype("cpu")).removeprefix("torch.")
    assert (numbers["networks"], numbers["profile"], numbers["world"]) == (f"torch {precision}", profile, "tiny")
    for name in set(ORDER) - {"networks"}:
        value = numbers[name]
        for number in value.values() if isinstance(value, dict) else [value]:
            assert number > 0
    assert set(numbers["event_to_first_full_s"]) == {"p50", "p95"}
    assert set(numbers["event_call_us"]) == {"p50", "p99"}


def test_the_bench_of_npcs_tells_who_was_let_in_what_each_view_showed_and_what_calls_cost(
    tmp_path, monkeypatch, capsys
):
    """On a scripted runtime, and with its client in this process: the real ones are those of the bench of streams."""
    told: list[list[str]] = []

    @contextlib.contextmanager
    def scripted(arguments):
        told.append(arguments)
        with ScriptedRuntime(fps=80.0, chunk_frames=4) as runtime:
            yield SimpleNamespace(pid=os.getpid()), runtime.endpoint, "torch float32"

    def client(module, endpoint, arguments):
        monkeypatch.setattr(sys, "stdin", io.StringIO(endpoint + "\n"))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert importlib.import_module(module).main(arguments) == 0
        return json.loads(printed.getvalue())

    for name, value in (("runtime_process", scripted), ("client_process", client), ("UNPACED_S", 0.2)):
        monkeypatch.setattr(npcs, name, value)
    monkeypatch.setattr(measure_npcs, "SETTLE_S", 0.05)
    monkeypatch.setattr(measure_npcs, "CALLS", 6)
    file = tmp_path / "npcs.json"
    assert main(["bench", "npcs", "--views", "2", "--stride", "4", "--seconds", "0.6", "--json", str(file), *TINY]) == 0
    numbers = json.loads(file.read_text())
    assert [arguments[-2:] for arguments in told] == [["--max-load", "inf"], ["--max-views", "2"]]
    assert (numbers["views"], numbers["admitted"], numbers["refused"]) == (2, 2, None)
    assert (numbers["stride"], numbers["profile"], numbers["networks"]) == (4, "smooth", "torch float32")
    assert [view["name"] for view in numbers["per_view"]] == ["npc 1", "npc 2"]
    assert all(view["wanted"] >= 12 for view in numbers["per_view"])
    for name in ("turn_ms", "busy_ms", "frame_call_us", "event_call_us", "act_call_us"):
        assert 0 < numbers[name]["p50"] <= numbers[name]["p99"]
    assert numbers["busy_ms"]["p50"] >= 1000 * measure_npcs.WORK_S
    assert numbers["real_time_factor"] > 0
    assert "npc 2" in capsys.readouterr().out
    more = [*("--views", str(MAX_VIEWS + 1)), *("--seconds", "0.3")]
    monkeypatch.setattr(
        npcs,
        "client_process",
        lambda module, endpoint, arguments: (
            {"real_time_factor": 1.0} if "--unpaced" in arguments else client(module, endpoint, arguments)
        ),
    )
    assert main(["bench", "npcs", *more, *TINY]) == 0
    assert f"{MAX_VIEWS} let in" in (printed := capsys.readouterr().out)
    assert "no more are served" in printed


def test_a_world_that_is_not_there_ends_the_bench_with_one_line(capsys):
    assert main(["bench", "stream", "--model", "nowhere"]) == 2
    assert "no world called 'nowhere'" in capsys.readouterr().err


def test_a_runtime_that_ends_before_it_is_ready_ends_the_bench_with_one_line(capsys):
    assert main(["bench", "stream", "--model", "tiny"]) == 2
    assert "before it was ready" in capsys.readouterr().err


def test_a_client_that_is_stuck_is_ended_and_said():
    with pytest.raises(LaunchError, match=r"not done after 0\.01 s"):
        processes.client_process("eddyline.measure", "tcp://127.0.0.1:1", ["--seconds", "1"], limit_s=0.01)


def test_the_bench_of_views_has_a_row_for_each_count_of_each_profile(tmp_path, capsys):
    file = tmp_path / "views.json"
    assert main(["bench", "views", "--views", "2,1,3", "--rounds", "1", "--json", str(file), *TINY]) == 0
    numbers = json.loads(file.read_text())
    assert set(numbers) == {"profile", "views", "chunk_s", "frames_per_s", "fps", "rounds", *SURROUNDINGS}
    assert numbers["profile"] == ["smooth"] * 3 + ["responsive"] * 3
    assert numbers["views"] == [1, 2, 3] * 2
    frames = [8] * 3 + [4] * 3
    for count, chunk, seconds, per_s in zip(
        numbers["views"], frames, numbers["chunk_s"], numbers["frames_per_s"], strict=True
    ):
        assert per_s * seconds == pytest.approx(count * chunk)
    assert {"python", "torch"} <= set(numbers["versions"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[1:]] == [
        [profile, str(count)] for profile, count in zip(numbers["profile"], numbers["views"], strict=True)
    ]


def test_counts_of_views_take_turns_tick_by_tick(monkeypatch):
    """Whatever slows the machine for a while slows all of them alike."""
    ticked = []
    time_tick = views.time_tick
    monkeypatch.setattr(views, "time_tick", lambda *args, **how: ticked.append(args[1]) or time_tick(*args, **how))
    world = load_world("tiny", random_weights=True)
    (one, three) = views.measure_profile(world, "smooth", (1, 3), 2, clock=time.perf_counter)
    assert (one.views, three.views) == (1, 3)
    assert ticked == [3, 1, 1, 3] * 2


def test_numbers_that_cannot_be_written_are_said_in_one_line(tmp_path, capsys):
    file = tmp_path / "nowhere" / "numbers.json"
    assert main(["bench", "views", "--json", str(file), *TINY]) == 2
    printed = capsys.readouterr()
    assert f"cannot be written: there is no folder {file.parent}" in printed.err
    assert not printed.out, "nothing was measured before"


def test_the_bench_of_saves_counts_what_it_was_asked_for_and_names_the_machine(tmp_path):
    file = tmp_path / "saves.json"
    assert main(["bench", "saves", "--profile", "responsive", "--count", "3", "--json", str(file), *TINY]) == 0
    numbers = json.loads(file.read_text())
    assert set(numbers) == {"profile", "count", "snapshot_ms", "restore_ms", "bytes", "resident_mb", *SURROUNDINGS}
    assert (numbers["profile"], numbers["count"]) == ("responsive", 3)
    assert set(numbers["snapshot_ms"]) == set(numbers["restore_ms"]) == {"p50", "p99"}
    frames = 4 * 32 * 48 * 3
    assert frames < numbers["bytes"] < 2 * frames, "the frames of the chunk just made are in it"
    assert set(numbers["resident_mb"]) == {"before", "after"}


def test_two_hundred_snapshots_and_restored_views_leave_nothing_behind():
    standing = saves.standing_view(load_world("tiny", random_weights=True), "smooth")
    engine = standing.engine

    def held() -> tuple[object, ...]:
        gc.collect()
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        history = {view: (len(past._moments), len(past._chunks)) for view, past in engine._history.items()}
        return tensors, set(engine._views), set(engine._costs), history

    saves.save_and_restore(standing, clock=time.perf_counter)
    before = held()
    sizes = {saves.save_and_restore(standing, clock=time.perf_counter).bytes for _ in range(200)}
    assert held() == before
    assert len(sizes) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["views", "--views", "0"],
        ["views", "--views", "1,x"],
        ["views", "--rounds", "0"],
        ["stream", "--seconds", "0"],
        ["npcs", "--seconds", "nan"],
    ],
)
def test_counts_and_times_that_are_none_are_refused_before_anything_is_loaded(arguments):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2


def test_a_profile_the_world_does_not_have_ends_the_bench_with_one_line(capsys):
    assert main(["bench", "views", "--profile", "fast", *TINY]) == 2
    assert "responsive, smooth" in capsys.readouterr().err
