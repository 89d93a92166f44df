"""All that needs a GPU in one command: parts in processes of their own, what each left behind, and what it is worth."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from eddyline.errors import OptionError
from eddyline_runtime import bench
from eddyline_runtime.bench import gpu
from eddyline_runtime.bench.gpu import PARTS, Part, outcomes, run_parts
from eddyline_runtime.cli import main

WRITES = "import json, sys; json.dump({'said': sys.argv[1]}, open(sys.argv[-1], 'w')); "


def part(name: str, code: str, *, limit_s: float = 60.0, timed: bool = True) -> Part:
    return Part(name=name, arguments=("-c", code, name), limit_s=limit_s, timed=timed)


def test_a_part_that_fails_or_hangs_costs_no_other_and_all_are_told(tmp_path: Path) -> None:
    parts = [
        part("good", WRITES),
        part("red", WRITES + "sys.exit(1)"),
        part("broken", "raise MemoryError"),
        part("stuck", "import time; time.sleep(600)", limit_s=0.5),
        part("last", WRITES),
    ]
    results = run_parts(parts, tmp_path, minutes=5)
    states = {ran["name"]: (ran["state"], ran["found"]) for ran in results["parts"]}
    assert states == {
        "good": ("done", {"said": "good"}),
        "red": ("wrong", {"said": "red"}),
        "broken": ("failed", None),
        "stuck": ("ended", None),
        "last": ("done", {"said": "last"}),
    }
    assert not results["right"]
    assert json.loads((tmp_path / "gpu.json").read_text()) == json.loads(json.dumps(results))


def test_parts_that_take_no_times_run_beside_each_other_first_and_the_others_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    waits = "import os, sys, time\nopen({0!r}, 'a').write('begin ' + sys.argv[1] + chr(10))\n"
    waits += "while open({0!r}).read().count('begin') < 2: time.sleep(0.01)\n"
    waits += "open({0!r}, 'a').write('end ' + sys.argv[1] + chr(10))\n"
    code = waits.format(str(log)) + WRITES
    stuck = part("stuck", "import time; time.sleep(600)", limit_s=0.5, timed=False)
    parts = [part("timed", code), part("one", code, timed=False), stuck, part("two", code, timed=False)]
    results = run_parts([*parts, part("later", code)], tmp_path, minutes=5)
    lines = log.read_text().split("\n")
    assert sorted(lines[:2]) == ["begin one", "begin two"]
    assert lines[4:8] == ["begin timed", "end timed", "begin later", "end later"]
    states = [(ran["name"], ran["state"]) for ran in results["parts"]]
    assert states == [("timed", "done"), ("one", "done"), ("stuck", "ended"), ("two", "done"), ("later", "done")]


def test_what_ran_beside_others_is_written_when_it_ends_and_compiling_judges_nothing(tmp_path: Path) -> None:
    # which of the others ends first is not known
    written = (
        f"import json, os, time\nfile = {str(tmp_path / 'gpu.json')!r}\n"
        "def ended():\n"
        "    return [part['name'] for part in json.load(open(file))['parts']] if os.path.exists(file) else []\n"
        "while 'quick' not in ended(): time.sleep(0.01)\n"
        "assert 'waits' not in ended()\n"
    )
    parts = [part("waits", written + WRITES, timed=False), part("quick", WRITES, timed=False)]
    compiling = replace(part("compiling", "raise SystemExit(1)"), prepares="quick")
    results = run_parts([*parts, compiling], tmp_path, minutes=5)
    states = [(ran["name"], ran["state"]) for ran in results["parts"]]
    assert states == [("waits", "done"), ("quick", "done"), ("compiling", "failed")]
    assert results["right"]


def test_what_prepares_a_part_is_run_with_it() -> None:
    assert [each.name for each in gpu.chosen("kernels")] == ["compiling", "kernels"]
    assert [each.name for each in gpu.chosen("views")] == ["views_diorama"]
    assert gpu.chosen("") == list(PARTS)


def test_what_a_part_started_ends_with_it_though_it_crashed(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import os, subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); os._exit(3)"
    )
    (ran,) = run_parts([part("crashed", code)], tmp_path, minutes=5)["parts"]
    assert ran["state"] == "failed"
    pid, end_s = int(child.read_text()), time.monotonic() + 20
    while _lives(pid):
        assert time.monotonic() < end_s, "the child outlived its part"
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    """Whether a process is there and no zombie: nobody may be there to wait for it."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_part_ends_when_all_of_the_time_is_over_and_no_other_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gpu", "late", "exactness_late"):
        (tmp_path / f"{name}.json").write_text('{"said": "long ago"}')
    now = chain([0.0, 10.0, 10.0], repeat(50.0))
    parts = [part("first", WRITES), part("late", WRITES), part("exactness_late", WRITES)]
    results = run_parts(parts, tmp_path, minutes=1, clock=lambda: next(now))
    assert [(ran["name"], ran["state"], ran["found"], ran["took_s"]) for ran in results["parts"]] == [
        ("first", "done", {"said": "first"}, 40.0),
        ("late", "skipped", None, 0.0),
        ("exactness_late", "skipped", None, 0.0),
    ]
    assert [ran["name"] for ran in json.loads((tmp_path / "gpu.json").read_text())["parts"]] == [p.name for p in parts]
    assert not results["right"], "nobody looked"
    monkeypatch.setattr(gpu, "LEAST_S", 0.1)
    limited = run_parts([part("stuck", "import time; time.sleep(600)")], tmp_path, minutes=0.5 / 60)
    assert limited["parts"][0]["state"] == "ended"


def test_sigterm_ends_the_part_that_runs(tmp_path: Path) -> None:
    child = tmp_path / "child"
    sleeps = f"import os, time; open({str(child)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    code = (
        "from pathlib import Path; from eddyline_runtime.bench import gpu\n"
        f"with gpu._ended_by_signals(): gpu.run_parts([gpu.Part(name='s', arguments=('-c', {sleeps!r}), limit_s=600)], "
        f"Path({str(tmp_path)!r}), minutes=20)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        while not (child.exists() and child.read_text()):
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert not _lives(int(child.read_text()))


@pytest.mark.parametrize("name", ["file", "file/deeper"])
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot be made"):
        run_parts([part("good", WRITES)], tmp_path / name, minutes=1)


def exactness(right: bool) -> dict[str, Any]:
    return {"right": right}


def model(*frames_per_s: float, denoised: float = 1.25) -> dict[str, Any]:
    return {
        "batches": [
            {
                "frames_per_s": made,
                "denoised_frames_per_s": denoised * made,
                "real_time_factor": made / (number + 1) / 16,
            }
            for number, made in enumerate(frames_per_s)
        ]
    }


FOUND: dict[str, dict[str, Any] | None] = {
    "exactness_4b": exactness(True),
    "exactness_diorama": exactness(True),
    "model_4b": model(32.0),
    "model_4b_fp8": {**model(40.0), "fp8_error": 0.05},
    "model_diorama": model(100, 200, 290, 380, 450, 500, 550, 600),
    "stream_4b_fp8": {"real_time_factor": 2.8125},
}


def values(found: dict[str, dict[str, Any] | None]) -> list[float | None]:
    """What was measured and counts."""
    return [None if outcome.not_counted else outcome.value for outcome in outcomes(found)]


def test_a_tick_is_counted_without_decoding_and_the_socket_against_it() -> None:
    assert values(FOUND) == [40.0, 50.0, pytest.approx(0.9), 6.0]
    assert [outcome.met for outcome in outcomes(FOUND)] == [True] * 4


@pytest.mark.parametrize("wrong", [exactness(False), None])
def test_speeds_of_networks_that_were_not_found_right_are_not_counted(wrong: dict[str, Any] | None) -> None:
    assert values({**FOUND, "exactness_4b": wrong}) == [None, None, None, 6.0]
    assert values({**FOUND, "exactness_diorama": wrong}) == [40.0, 50.0, pytest.approx(0.9), None]


def test_what_was_measured_and_does_not_count_is_told_with_the_reason() -> None:
    assert gpu.not_counted(FOUND) == {}
    far = {**FOUND, "model_4b_fp8": {**model(40.0), "fp8_error": 0.2}}
    assert values(far) == [40.0, None, None, 6.0]
    reason = "FP8 moves the velocity by 0.2 of its size, over 0.1"
    assert gpu.not_counted(far) == dict.fromkeys(("model_4b_fp8", "stream_4b_fp8"), reason)
    alone = {"model_diorama": FOUND["model_diorama"]}
    assert gpu.not_counted(alone) == {"model_diorama": "exactness_diorama was not found right in this run"}


def test_a_goal_says_itself_what_was_measured_for_it_and_why_it_does_not_count(tmp_path: Path) -> None:
    found = {**FOUND, "exactness_4b": exactness(False), "stream_4b_fp8": None}
    parts = [
        part(name, f"import json, sys; json.dump({each!r}, open(sys.argv[-1], 'w'))") for name, each in found.items()
    ]
    results = run_parts(parts, tmp_path, minutes=5)
    saved = json.loads((tmp_path / "gpu.json").read_text())["goals"]
    reason = "exactness_4b was not found right in this run"
    assert [(goal["value"], goal["met"], goal["not_counted"]) for goal in saved[:4]] == [
        (40.0, None, reason),
        (50.0, None, reason),
        (None, None, None),
        (6.0, True, None),
    ]
    bf16, fp8, stream, views = goals_shown(results)
    assert bf16 == ["30", "36", f"measured 40, not counted: {reason}", ""]
    assert fp8 == ["42", "55", f"measured 50, not counted: {reason}", ""]
    assert stream == ["0.9", "", "not measured", ""]
    assert views == ["5", "7", "6", "met"]


def goals_shown(results: dict[str, Any]) -> list[list[str]]:
    """Must, aim, what was measured and the verdict of the four goals of the models, as the table has them."""
    lines = "\n".join(gpu.table(results)).splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith("| case |"))
    return [[cell.strip() for cell in line.split("|")[3:7]] for line in lines[head + 2 : head + 6]]


def test_what_was_not_measured_has_no_value() -> None:
    assert values({}) == [None] * 4
    refused = {"batches": [*model(100.0)["batches"], {"views": 2, "refused": "too large"}]}
    assert values({**FOUND, "model_diorama": refused})[3] is None


def test_every_part_of_the_runtime_is_a_bench_that_takes_what_it_is_told() -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    for each in PARTS:
        if each.into == "--json":
            module, name, verb, *rest = each.arguments
            assert (module, name, verb) == ("-m", "eddyline_runtime.cli", "bench")
            assert parser.parse_args([*rest, each.into, "numbers.json"]).device == "cuda"
    assert len({each.name for each in PARTS}) == len(PARTS)


def test_what_goals_are_measured_in_one_go_runs_before_what_keeps_each_number_as_it_comes() -> None:
    names = [each.name for each in PARTS]
    assert max(map(names.index, gpu.JUDGES)) < names.index("kernels")


def test_the_kernels_benchmark_takes_what_it_is_told_and_its_goals_are_among_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (kernels,) = (each for each in PARTS if each.name == "kernels")
    quick = Part(name="kernels", arguments=(*kernels.arguments, "--minutes", "0"), into=kernels.into, limit_s=100)
    results = run_parts([quick], tmp_path, minutes=1)
    assert results["parts"][0]["state"] == "done"
    cases = [entry["goal"]["case"] for entry in results["goals"]]
    assert "window attention, shifted, wrapped" in cases
    assert "diorama, 8 views as one batch" in cases
    shown = "\n".join(gpu.table(results))
    assert shown.count("not measured") == len(cases)


def test_without_a_gpu_or_such_a_part_it_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "gpu"]) == 2
    assert "there is no GPU here" in capsys.readouterr().err
    assert main(["bench", "gpu", "--only", "nothing"]) == 2
    assert "there are exactness_4b, " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
