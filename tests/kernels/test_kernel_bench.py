"""The benchmark of the kernels, all but the clock of a GPU: rivals are right, what is wrong has no number."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest
import torch
import torch._inductor.config as inductor
from tests.kernels.naive import visible
from torch import Tensor

from eddyline_kernels import backend
from eddyline_kernels.bench import __main__ as command
from eddyline_kernels.bench import ahead
from eddyline_kernels.bench import place as places
from eddyline_kernels.bench.attention_cases import Volume, attention_case, tile_order, window_ids
from eddyline_kernels.bench.contest import Case, Measurement, Method, compile_case, hold
from eddyline_kernels.bench.filter_cases import Pictures
from eddyline_kernels.bench.goals import GOALS, Goal, judge
from eddyline_kernels.bench.modulation_cases import Tokens
from eddyline_kernels.bench.place import Call, Place
from eddyline_kernels.bench.record import FastestPlan, fastest_plans, plans_table, table
from eddyline_kernels.bench.suite import BACKWARD, COPY, LARGE, MATMUL, cpu_cases, gpu_cases
from eddyline_kernels.bench.sweep import (
    BOXES,
    GATHERED,
    PLAN,
    attention_plan_cases,
    attention_plans,
    modulation_plan_cases,
)

WRAPPED = Volume(size=(2, 4, 4), window=(2, 2, 2), shift=(1, 1, 1), wrap=(True, True, True), heads=1, dim=64)
APART = replace(WRAPPED, size=(3, 4, 5), wrap=(False, False, False))
NEVER = 1e9


def instant(calls: list[Call]) -> list[float]:
    """A timer that calls nothing: every call took a millisecond."""
    return [1e-3] * len(calls)


@pytest.fixture
def small() -> Place:
    """This processor as if it were a GPU, rivals not compiled."""
    return replace(places.cpu(), dtype=torch.bfloat16, timer=instant, compile=lambda f: f, rotated_bytes=0, calls=2)


def everything(cases: Iterator[Case], place: Place) -> list[Measurement]:
    return [measurement for case in cases for measurement in hold(case, place, end_s=NEVER)]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.usefixtures("interpreter")
def test_every_method_of_a_gpus_run_is_right(small: Place) -> None:
    tokens = Tokens(frames=2, per_frame=3, heads=1, dim=16)
    pictures = Pictures(count=2, height=5, width=9)
    found = everything(gpu_cases(small, volume=WRAPPED, tokens=tokens, pictures=pictures, side=8), small)
    problems = [m for m in found if m.state != "measured"]
    # torch has no gradient of FlexAttention on processors
    assert {(m.case, m.method.split(",")[0]) for m in problems} <= {(BACKWARD, "FlexAttention")}, problems
    assert {m.case for m in found if m.ours} == {m.case for m in found} - {COPY, MATMUL}
    assert {goal.case for goal in GOALS} <= {m.case for m in found}
    rivals = {goal.rival.replace("cuDNN", "SDPA") for goal in GOALS if goal.rival}
    assert rivals <= {m.method for m in found}


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("backward", [False, True])
def test_every_plan_is_checked_beside_the_one_in_use(small: Place, backward: bool) -> None:
    volume = Volume(size=(2, 8, 16), window=(2, 8, 16), heads=1, dim=128)
    case = attention_case("heads of 128", volume, small, backward=backward, flex=False)
    chosen = [method for method in case.methods if method.name.startswith("plan ")]
    found = everything(iter([replace(case, methods=tuple(chosen))]), small)
    assert [m.method for m in found] == ["plan 'boxes of 128'", "plan 'boxes of 64'", "plan 'gathered'"]
    assert {(m.state, m.ours) for m in found} == {("measured", False)}, found


@pytest.mark.usefixtures("interpreter")
def test_every_plan_that_is_tried_for_modulation_is_right(small: Place) -> None:
    tokens = Tokens(frames=1, per_frame=3, heads=2, dim=16)
    found = everything(modulation_plan_cases(tokens, small), small)
    assert {m.state for m in found} == {"measured"}, found
    assert len({m.case for m in found}) == 6
    assert len(fastest_plans(found)) == 6


@pytest.mark.usefixtures("interpreter")
def test_plans_that_are_tried_for_attention_are_right_and_change_the_kernel_that_they_say(small: Place) -> None:
    volume = Volume(size=(2, 4, 8), window=(2, 4, 8), heads=1, dim=32)
    for kernel, case in zip(GATHERED, attention_plan_cases(volume, small), strict=True):
        ours, *tried = case.methods
        some = (ours, next(m for m in tried if "gathered" in m.name), next(m for m in tried if "boxes" in m.name))
        found = everything(iter([replace(case, methods=some)]), small)
        assert {m.state for m in found} == {"measured"}, (kernel, found)


@pytest.mark.parametrize("kernel", GATHERED)
@pytest.mark.parametrize("dim", [64, 128])
def test_plans_to_try_are_different(kernel: str, dim: int) -> None:
    plans = attention_plans(replace(LARGE, dim=dim), kernel, itemsize=2)
    assert len(plans) == len(set(plans.values())) == len(GATHERED[kernel]) + 2 * len(BOXES[kernel])


def test_the_fastest_right_plan_is_told_beside_the_one_in_use() -> None:
    found = [
        measured("a", "ours", 3.0, 1.0, ours=True),
        measured("a", f"{PLAN}large", 2.0, 1.5),
        measured("a", f"{PLAN}small", 4.0, 0.7),
        Measurement(case="a", method=f"{PLAN}wrong", ours=False, state="wrong"),
        Measurement(case="b", method="ours", ours=True, state="wrong"),
        measured("b", f"{PLAN}other", 1.0, 1.0),
        measured("c", "ours", 1.0, 1.0, ours=True),
    ]
    plans = fastest_plans(found)
    assert plans == [
        FastestPlan(case="a", plan="large", median_s=2.0, in_use_s=3.0),
        FastestPlan(case="b", plan="other", median_s=1.0, in_use_s=None),
    ]
    assert "| a | large | 2000 | 1.50 |\n| b | other | 1000 |  |" in plans_table(plans)


def test_every_method_of_a_processors_run_is_right(small: Place) -> None:
    place = replace(small, dtype=torch.float32, compile=None)
    found = everything(cpu_cases(place, volume=replace(WRAPPED, shift=(0, 0, 0), wrap=APART.wrap)), place)
    assert {m.state for m in found} == {"measured"}
    assert {m.method for m in found} >= {"plain torch", "SDPA, windows packed before", "SDPA, all tokens, masked"}


@pytest.mark.parametrize("volume", [WRAPPED, APART, replace(APART, shift=(0, 0, 0))])
def test_useful_operations_and_masks_are_those_of_the_windows(volume: Volume) -> None:
    together = visible(volume.size, volume.window, volume.shift, volume.wrap)
    ids = window_ids(volume)
    assert torch.equal(ids[:, None] == ids, together)
    assert volume.operations == 4 * int(together.sum()) * volume.heads * volume.dim


def test_in_tile_order_windows_shifted_or_not_are_runs_of_tiles() -> None:
    volume = replace(WRAPPED, size=(4, 8, 8), window=(2, 4, 4), shift=(1, 2, 2))
    order = tile_order(volume)
    assert order.sort().values.equal(torch.arange(256))
    for cut in (volume, replace(volume, shift=(0, 0, 0))):
        tiles = window_ids(cut)[order].view(-1, 4)
        assert bool((tiles == tiles[:, :1]).all())


def toy(*methods: Method) -> Case:
    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randn(8, generator=generator),)

    return Case(name="toy", unit="TB/s", work=2e9, draw=draw, plain=lambda x: (x / 3,), methods=methods)


def launching(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], tuple[Tensor]]:
    def compute(x: Tensor) -> tuple[Tensor]:
        backend.launches["toy"] += 1
        return (function(x),)

    return compute


def broken(x: Tensor) -> tuple[Tensor]:
    raise ValueError("no memory\nfor this")


@pytest.mark.parametrize(
    ("method", "state", "note"),
    [
        (Method(name="off", compute=lambda x: (x / 3.001,)), "wrong", "result 0 is off by"),
        (Method(name="nan", compute=lambda x: (x * float("nan"),)), "wrong", "off by nan"),
        (Method(name="broken", compute=broken), "failed", "ValueError: no memory"),
        (Method(name="ours", compute=lambda x: (x / 3,), operator="toy"), "failed", "toy was not launched"),
    ],
)
def test_what_is_wrong_or_fails_has_a_reason_and_no_number(method: Method, state: str, note: str, small: Place) -> None:
    place = replace(small, dtype=torch.float32)
    right = Method(name="right", compute=launching(lambda x: x / 3), operator="toy")
    first, second = hold(toy(method, right), place, end_s=NEVER)
    assert (first.state, first.median_s, first.rate) == (state, None, None)
    assert note in first.note
    assert (second.state, second.median_s, second.rate) == ("measured", 1e-3, 2.0)


def test_the_median_of_the_timed_calls_counts_and_inputs_rotate(small: Place) -> None:
    seen: list[float] = []

    def timer(calls: list[Call]) -> list[float]:
        for call in calls:
            call()
        return [9.0, 9.0, 9.0, 1.0, 5.0, 2.0]

    def compute(x: Tensor) -> tuple[Tensor]:
        seen.append(float(x[0]))
        return (x / 3,)

    place = replace(small, dtype=torch.float32, timer=timer, rotated_bytes=64, calls=3)
    (found,) = hold(toy(Method(name="m", compute=compute)), place, end_s=NEVER)
    assert found.median_s == 2.0
    check, *timed = seen
    assert timed == [check, timed[1]] * 3
    assert check != timed[1]


def test_each_result_is_on_disk_before_the_next_is_measured(tmp_path: Path, small: Place) -> None:
    def look(x: Tensor) -> tuple[Tensor]:
        raise KeyboardInterrupt

    place = replace(small, dtype=torch.float32)
    case = toy(Method(name="first", compute=lambda x: (x / 3,)), Method(name="second", compute=look))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            command.run([case], place, (), folder=tmp_path, minutes=1)
    saved = json.loads((tmp_path / "kernels.json").read_text())
    assert [m["method"] for m in saved["measurements"]] == ["first"]
    assert saved["torch_version"] == torch.__version__
    lines = list(csv.DictReader((tmp_path / "kernels.csv").open()))
    assert [line["method"] for line in lines] == ["first", "first"], "one more line for each run, one header"
    assert lines[0]["device"] == saved["device"]


@pytest.mark.parametrize(("ours", "status"), [("right", 0), ("wrong", 1)])
def test_a_run_ends_red_when_ours_is_wrong(
    ours: str, status: int, tmp_path: Path, small: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place = replace(small, dtype=torch.float32)
    method = Method(name="ours", compute=launching(lambda x: x / (3 if ours == "right" else 2)), operator="toy")
    rival = Method(name="rival", compute=broken)
    assert command.run([toy(method, rival)], place, (), folder=tmp_path, minutes=1) == status
    said = capsys.readouterr()
    assert ("RED: toy" in said.err) == bool(status)
    assert "| rival | failed | ValueError: no memory |" in said.out


@dataclass
class Side:
    """A process that runs for some looks at it."""

    looks: int
    killed: bool = False

    def poll(self) -> int | None:
        self.looks -= 1
        return 0 if self.looks < 0 else None

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> int:
        assert self.killed
        return -9


def test_cases_are_compiled_side_by_side_and_what_is_not_done_in_time_is_ended() -> None:
    now, started = [0.0], dict[str, Side]()

    def start(name: str) -> Side:
        assert sum(not side.killed and side.looks >= 0 for side in started.values()) < 2, "two at once at most"
        started[name] = Side(looks={"slow": 1000}.get(name, 3))
        return started[name]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    names = ["a", "slow", "b", "c"]
    done = ahead.compile_ahead(names, start=start, workers=2, end_s=30.0, clock=lambda: now[0], sleep=sleep)
    assert (list(started), done) == (names, 3)
    assert [name for name, side in started.items() if side.killed] == ["slow"]
    late = ahead.compile_ahead(names, start=start, workers=2, end_s=30.0, clock=lambda: 30.0, sleep=sleep)
    assert (late, len(started)) == (0, 4), "after the end nothing is begun"


def test_only_what_takes_a_compiler_is_called_to_compile_and_its_failures_wait(small: Place) -> None:
    called = []

    def compute(x: Tensor) -> tuple[Tensor]:
        called.append(x)
        return (x / 3,)

    broke = Method(name="broken", compute=broken, compiled=True)
    right = Method(name="right", compute=compute, compiled=True)
    case = toy(broke, right, Method(name="eager", compute=compute))
    compile_case(replace(case, differentiated=(0,)), small)
    assert len(called) == 1
    assert called[0].requires_grad
    assert command.names_to_compile([case, toy(Method(name="eager", compute=compute))], "") == ["toy"]
    assert command.names_to_compile([case], "other") == []


def test_a_gpus_run_compiles_ahead_then_measures_and_a_sweep_has_files_of_its_own(
    tmp_path: Path, small: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def starter(arguments: list[str]) -> Callable[[str], Side]:
        def start(case: str) -> Side:
            started.append((*arguments, case))
            return Side(looks=0)

        return start

    ours = Method(name="ours", compute=launching(lambda x: x / 3), operator="toy")
    kept = []

    def compute(x: Tensor) -> tuple[Tensor]:
        kept.append(inductor.autotune_local_cache)
        return (x / 3,)

    case = toy(ours, Method(name=f"{PLAN}other", compute=compute, compiled=True))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(command.places, "gpu", lambda: replace(small, dtype=torch.float32))
    monkeypatch.setattr(command, "gpu_cases", lambda place: iter([case]))
    monkeypatch.setattr(command, "plan_cases", lambda place: iter([case]))
    monkeypatch.setattr(ahead, "starter", starter)
    monkeypatch.setattr(ahead, "POLL_S", 0.0)
    assert command.main(["--compile", "toy", "--out", str(tmp_path)]) == 0
    assert kept == [False], "what is tuned beside others is not to be found again"
    assert (started, list(tmp_path.iterdir())) == ([], [])
    assert command.main(["--ahead", "only", "--out", str(tmp_path)]) == 0
    assert (started, list(tmp_path.iterdir())) == ([("toy",)], [])
    started.clear()
    assert command.main(["--sweep", "--out", str(tmp_path)]) == 0
    assert command.main(["--out", str(tmp_path)]) == 0
    assert started == [("--sweep", "toy"), ("toy",)]
    assert command.main(["--ahead", "never", "--out", str(tmp_path)]) == 0
    assert len(started) == 2
    assert {file.name for file in tmp_path.iterdir()} == {"sweep.json", "sweep.csv", "kernels.json", "kernels.csv"}
    saved = json.loads((tmp_path / "sweep.json").read_text())
    assert [found["plan"] for found in saved["fastest_plans"]] == ["other"]
    assert saved["goals"] == []


def test_when_the_time_is_over_the_rest_is_skipped_and_said_so(tmp_path: Path, small: Place) -> None:
    ticks = count(step=40)
    place = replace(small, dtype=torch.float32)
    methods = [Method(name=str(n), compute=lambda x: (x / 3,)) for n in range(3)]
    command.run([toy(*methods)], place, (), folder=tmp_path, minutes=1.0, clock=lambda: next(ticks))
    saved = json.loads((tmp_path / "kernels.json").read_text())
    assert [m["state"] for m in saved["measurements"]] == ["measured", "skipped", "skipped"]


def measured(case: str, method: str, seconds: float, rate: float, *, ours: bool = False) -> Measurement:
    return Measurement(case=case, method=method, ours=ours, state="measured", median_s=seconds, rate=rate, unit="TB/s")


def test_goals_are_judged_by_rate_by_share_of_the_peak_and_against_rivals() -> None:
    found = [
        measured(COPY, "torch", 1.0, 4.0),
        measured("a", "ours", 2.0, 3.0, ours=True),
        measured("a", "b", 3.0, 2.0),
    ]
    goals = [
        Goal(case="a", kind="rate", must=3.5),
        Goal(case="a", kind="share", must=0.75),
        Goal(case="a", kind="speed", rival="b", must=1.5),
        Goal(case="a", kind="speed", rival="nobody", must=1.0),
        Goal(case="other", kind="rate", must=1.0),
    ]
    outcomes = judge(goals, found)
    assert [outcome.value for outcome in outcomes] == [3.0, 0.75, 1.5, None, None]
    assert [outcome.met for outcome in outcomes] == [False, True, True, None, None]
    assert "| | b | 3000 | 2 TB/s | 50% | 1.50 |" in table(found).replace("|  |", "| |")


def test_without_a_gpu_it_says_so_and_measures_what_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["--out", str(tmp_path), "--only", "window attention, shifted"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("There is no GPU here, so the Triton kernels are not measured.")
    assert "| window attention, shifted, ends apart | plain torch |" in said
    assert said.count("| not measured |") == len(GOALS)


def test_a_name_that_no_case_has_is_refused_with_those_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        command.main(["--out", str(tmp_path / "out"), "--only", "nobody"])
    assert "no case has 'nobody' in its name; there are window attention" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
