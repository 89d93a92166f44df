"""What a run leaves behind: a table, a JSON file that is whole after every measurement, a CSV that only ever grows."""

import csv
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path

import torch

from eddyline_kernels.bench.contest import Measurement
from eddyline_kernels.bench.goals import PEAKS, Goal, Outcome, judge
from eddyline_kernels.bench.place import device_name
from eddyline_kernels.bench.sweep import PLAN

COLUMNS = (
    "date",
    "device",
    "torch_version",
    "triton_version",
    "python_version",
    "case",
    "method",
    "state",
    "median_s",
    "rate",
    "unit",
    "note",
)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where and with what a run measured."""

    date: str
    device: str
    torch_version: str
    triton_version: str
    python_version: str

    @classmethod
    def of(cls, device: torch.device) -> "Surroundings":
        """Those of this process and a device, now."""
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            device=device_name(device),
            torch_version=torch.__version__,
            triton_version=_installed("triton"),
            python_version=platform.python_version(),
        )


@dataclass(kw_only=True)
class Book:
    """Measurements of one run, written down as they come."""

    folder: Path
    name: str
    """Of the two files, without their endings."""
    surroundings: Surroundings
    goals: Sequence[Goal]
    measurements: list[Measurement] = field(default_factory=list)

    def add(self, measurement: Measurement) -> None:
        """Keep one; both files have it when this returns."""
        self.measurements.append(measurement)
        self.folder.mkdir(parents=True, exist_ok=True)
        line = {**asdict(self.surroundings), **asdict(measurement)}
        path = self.folder / f"{self.name}.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            if fresh:
                writer.writeheader()
            writer.writerow(line)
        part = self.folder / f"{self.name}.json.part"
        part.write_text(json.dumps(self.as_json(), indent=2) + "\n")
        part.replace(self.folder / f"{self.name}.json")

    def as_json(self) -> dict[str, object]:
        """All of it."""
        outcomes = judge(self.goals, self.measurements)
        return {
            **asdict(self.surroundings),
            "measurements": [asdict(m) for m in self.measurements],
            "goals": [{**asdict(o.goal), "value": o.value, "met": o.met} for o in outcomes],
            "fastest_plans": [asdict(found) for found in fastest_plans(self.measurements)],
        }

    @property
    def red(self) -> list[Measurement]:
        """Those of ours that are wrong or failed."""
        return [m for m in self.measurements if m.ours and m.state in ("wrong", "failed")]


@dataclass(frozen=True, kw_only=True)
class FastestPlan:
    """The fastest right plan that was tried for a case."""

    case: str
    plan: str
    median_s: float
    in_use_s: float | None
    """What the plan in use took; None where it is wrong or was not measured."""


def fastest_plans(measurements: Sequence[Measurement]) -> list[FastestPlan]:
    """The fastest plan of each case in which plans were tried."""
    found = []
    for case, group in groupby(measurements, lambda m: m.case):
        times = {m.method: (m.median_s, m.ours) for m in group if m.median_s is not None}
        tried = {method: seconds for method, (seconds, _) in times.items() if method.startswith(PLAN)}
        if tried:
            fastest = min(tried, key=lambda method: tried[method])
            in_use_s = next((seconds for seconds, ours in times.values() if ours), None)
            name = fastest.removeprefix(PLAN)
            found.append(FastestPlan(case=case, plan=name, median_s=tried[fastest], in_use_s=in_use_s))
    return found


def plans_table(found: Sequence[FastestPlan]) -> str:
    """A Markdown table of the fastest plans."""
    lines = ["| case | fastest plan | ms | times as fast as the plan in use |", "| --- | --- | --- | --- |"]
    for plan in found:
        gain = "" if plan.in_use_s is None else f"{plan.in_use_s / plan.median_s:.2f}"
        lines.append(f"| {plan.case} | {plan.plan} | {plan.median_s * 1e3:.4g} | {gain} |")
    return "\n".join(lines)


def table(measurements: Sequence[Measurement]) -> str:
    """A Markdown table; `of peak` is of the device's own copy or matrix product in the same run."""
    peaks = {unit: m.rate for unit, case in PEAKS.items() for m in measurements if m.case == case and m.rate}
    lines = ["| case | method | ms | rate | of peak | times the first |", "| --- | --- | --- | --- | --- | --- |"]
    for case, group in groupby(measurements, lambda m: m.case):
        first: float | None = None
        for number, m in enumerate(group):
            name = case if number == 0 else ""
            if m.median_s is None or m.rate is None:
                lines.append(f"| {name} | {m.method} | {m.state} | {m.note} | | |")
                continue
            first = first if number else m.median_s
            share = f"{m.rate / peaks[m.unit]:.0%}" if m.unit in peaks else ""
            times = f"{m.median_s / first:.2f}" if first else ""
            lines.append(
                f"| {name} | {m.method} | {m.median_s * 1e3:.4g} | {m.rate:.4g} {m.unit} | {share} | {times} |"
            )
    return "\n".join(lines)


def goals_table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table of what was wanted and what was measured."""
    lines = ["| case | what | must | aim | measured | |", "| --- | --- | --- | --- | --- | --- |"]
    for outcome in outcomes:
        goal = outcome.goal
        what = {"rate": "rate", "share": "of peak", "speed": f"times as fast as {goal.rival}"}[goal.kind]
        value = "not measured" if outcome.value is None else f"{outcome.value:.3g}"
        if outcome.not_counted is not None:
            value = f"measured {value}, not counted: {outcome.not_counted}"
        verdict = {None: "", True: "met", False: "missed"}[outcome.met]
        aim = "" if goal.aim is None else f"{goal.aim:g}"
        lines.append(f"| {goal.case} | {what} | {goal.must:g} | {aim} | {value} | {verdict} |")
    return "\n".join(lines)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
