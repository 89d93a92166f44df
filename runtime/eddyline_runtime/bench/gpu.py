"""Everything that needs a GPU, in one command: what is right first, then how fast it is, then what else could be tried.

Each part is a command of its own, in a process of its own, so that one that fails costs no other. Parts that take no
times, exactness and what compilers do, run beside each other first; then each of the others has the machine for itself.
What a part found is in gpu.json of the folder as soon as it ends, with every goal and what was measured for it. Speeds
count only where exactness found the networks right in the same run, and those in FP8 only where it moves the velocity
little.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from eddyline.errors import ConfigError
from eddyline_kernels.bench.goals import GOALS, Goal, Outcome
from eddyline_kernels.bench.record import goals_table
from eddyline_runtime.bench.served import here
from eddyline_runtime.files import make_folder, write_whole

COMPILING_MINUTES = 1.5
"""What is not compiled by then, is when it is measured."""
KERNELS_MINUTES = 2.5
"""So that the parts after them have their time; what matters most they measure first."""
KERNELS = ("-m", "eddyline_kernels.bench")
RUNTIME = ("-m", "eddyline_runtime.cli", "bench")
LARGE = ("--model", "streamdit_4b", "--random-weights", "--device", "cuda")
SMALL = ("--model", "diorama", "--device", "cuda")


State = Literal["done", "wrong", "failed", "ended", "skipped"]
"""What becomes of a part; `ended` at its limit, `skipped` because no time was left."""
SKIPPED: State = "skipped"
LEAST_S = 20.0
"""With less time left no part is begun."""
POLL_S = 0.05
FP8_ALLOWED = 0.1
"""By so much of its size FP8 may move the velocity of the 4 B model for its speeds to count."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One command."""

    name: str
    """Of its file of numbers, without the ending."""
    arguments: tuple[str, ...]
    """Of Python; the folder and the file of numbers come after them."""
    into: Literal["--json", "--out"] = "--json"
    """Whether it is told its file or the folder."""
    limit_s: float
    """After so long it is ended: a part that hangs shall not cost the others."""
    timed: bool = True
    """Whether it takes times, so that nothing may run beside it."""
    prepares: str = ""
    """The part that it only prepares, with which it is run; it finds nothing out, so it cannot be wrong."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of a part."""

    name: str
    state: State
    took_s: float
    found: dict[str, Any] | None
    """What it wrote, also if it did not get to its end."""


JUDGES = {
    "model_4b": "exactness_4b",
    "model_4b_fp8": "exactness_4b",
    "stream_4b_fp8": "exactness_4b",
    "model_diorama": "exactness_diorama",
}
"""By which part a part's speeds count."""
PARTS = (
    Part(name="exactness_4b", arguments=(*RUNTIME, "exactness", *LARGE), limit_s=150, timed=False),
    Part(name="exactness_diorama", arguments=(*RUNTIME, "exactness", *SMALL), limit_s=120, timed=False),
    Part(
        name="compiling",
        arguments=(*KERNELS, "--ahead", "only", "--minutes", str(COMPILING_MINUTES)),
        into="--out",
        limit_s=60 * COMPILING_MINUTES + 20,
        timed=False,
        prepares="kernels",
    ),
    Part(name="model_4b", arguments=(*RUNTIME, "model", *LARGE, "--views", "1"), limit_s=90),
    Part(name="model_4b_fp8", arguments=(*RUNTIME, "model", *LARGE, "--views", "1", "--linears", "fp8"), limit_s=90),
    Part(name="model_diorama", arguments=(*RUNTIME, "model", *SMALL, "--views", "8"), limit_s=90),
    # before the kernels, whose numbers are kept one by one: it has none before its end
    Part(
        name="stream_4b_fp8",
        arguments=(*RUNTIME, "stream", *LARGE, "--linears", "fp8", "--seconds", "12"),
        limit_s=150,
    ),
    Part(
        name="kernels",
        arguments=(*KERNELS, "--ahead", "never", "--minutes", str(KERNELS_MINUTES)),
        into="--out",
        limit_s=60 * KERNELS_MINUTES + 45,
    ),
    Part(name="views_diorama", arguments=(*RUNTIME, "views", *SMALL, "--views", "1,2,4,8,16,32,64"), limit_s=90),
    # by themselves: a profiler can take its process with it
    Part(
        name="where_4b_fp8",
        arguments=(*RUNTIME, "model", *LARGE, "--views", "1", "--ticks", "2", "--linears", "fp8", "--where"),
        limit_s=90,
    ),
    Part(
        name="where_diorama",
        arguments=(*RUNTIME, "model", *SMALL, "--views", "8", "--ticks", "2", "--where"),
        limit_s=60,
    ),
    Part(name="sweep", arguments=(*KERNELS, "--sweep", "--minutes", "2"), into="--out", limit_s=180),
)
"""Most important first, as far as what is to be right comes before what is to be fast."""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that are asked for, and judge what they found.

    Raises:
        ConfigError: there is no GPU, or no part has such a name.
        OptionError: the folder cannot be written.
    """
    parts = chosen(arguments.only)
    if not parts:
        raise ConfigError(f"no part has {arguments.only!r} in its name; there are {', '.join(p.name for p in PARTS)}")
    if not torch.cuda.is_available():
        raise ConfigError("there is no GPU here, and all of this needs one; bench model, stream and views run without")
    with _ended_by_signals():
        return run_parts(parts, arguments.out, minutes=arguments.minutes)


def chosen(only: str) -> list[Part]:
    """The parts whose names have this in them, and those that prepare them."""
    named = {part.name for part in PARTS if only in part.name}
    return [part for part in PARTS if part.name in named or part.prepares in named]


def run_parts(
    parts: Sequence[Part], folder: Path, *, minutes: float, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Run parts, for so long in all, and write gpu.json after each.

    Raises:
        OptionError: the folder cannot be written.
    """
    end_s = clock() + 60 * minutes
    make_folder(folder)
    files = {part.name: folder / f"{part.name}.json" for part in parts}
    for file in files.values():
        file.unlink(missing_ok=True)  # of a run before
    done: list[Ran] = []
    for group in _groups(parts):
        with closing(_run(group, folder, files, left_s=end_s - clock(), clock=clock)) as ended:
            for ran in ended:
                done.append(ran)
                write_whole(folder / "gpu.json", json.dumps(_told(done, parts), indent=2) + "\n")
    return _told(done, parts)


def outcomes(found: Mapping[str, Mapping[str, Any] | None]) -> list[Outcome]:
    """Each goal of the models and what was measured for it, from what the parts found, by their names; with the reason
    where it does not count.

    A part that found nothing is left out or None.
    """
    plain, fp8, views = (_batches(found.get(f"model_{name}")) for name in ("4b", "4b_fp8", "diorama"))
    measured: list[tuple[Goal, str, float | None]] = [
        (
            Goal(case="streamdit_4b, one tick, frames/s, bf16", kind="rate", must=30, aim=36),
            "model_4b",
            plain[0]["denoised_frames_per_s"] if plain else None,
        ),
        (
            Goal(case="streamdit_4b, one tick, frames/s, linears in FP8", kind="rate", must=42, aim=55),
            "model_4b_fp8",
            fp8[0]["denoised_frames_per_s"] if fp8 else None,
        ),
        (
            Goal(case="the same, decoded, through the socket", kind="speed", rival="its tick alone", must=0.9),
            "stream_4b_fp8",
            _streamed(found.get("stream_4b_fp8"), fp8),
        ),
        (
            Goal(case="diorama, 8 views as one batch", kind="speed", rival="one view", must=5, aim=7),
            "model_diorama",
            views[7]["frames_per_s"] / views[0]["frames_per_s"] if len(views) > 7 else None,
        ),
    ]
    reasons = not_counted(found)
    return [
        Outcome(goal=goal, value=value, not_counted=None if value is None else reasons.get(part))
        for goal, part, value in measured
    ]


def not_counted(found: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """The parts whose speeds were measured and do not count, each with the reason."""
    measured = {name: judge for name, judge in JUDGES.items() if found.get(name)}
    fp8 = found.get("model_4b_fp8")
    reasons = {}
    for name, judge in measured.items():
        if not (found.get(judge) or {}).get("right"):
            reasons[name] = f"{judge} was not found right in this run"
        elif name.endswith("fp8") and fp8 and not fp8["fp8_error"] <= FP8_ALLOWED:
            reasons[name] = f"FP8 moves the velocity by {fp8['fp8_error']:.2g} of its size, over {FP8_ALLOWED:g}"
    return reasons


def table(results: dict[str, Any]) -> Iterator[str]:
    """What became of the parts, then the goals."""
    yield f"{results['device']}, torch {results['versions']['torch']}, {results['date']}"
    for part in results["parts"]:
        yield f"{part['name']:<20}{part['state']:>10}{part['took_s']:>8.0f} s"
    yield ""
    judged = (
        Outcome(goal=Goal(**entry["goal"]), value=entry["value"], not_counted=entry["not_counted"])
        for entry in results["goals"]
    )
    yield goals_table(list(judged))


def _told(ended: Sequence[Ran], parts: Sequence[Part]) -> dict[str, Any]:
    """What became of the parts so far, in their order."""
    names, prepare = [part.name for part in parts], {part.name for part in parts if part.prepares}
    done = sorted(ended, key=lambda ran: names.index(ran.name))
    found = {ran.name: ran.found for ran in done}
    judged = [*outcomes(found), *_outcomes_of_kernels(found.get("kernels"))]
    wrong = [ran for ran in done if ran.state not in ("done", SKIPPED) and ran.name not in prepare]
    unproven = [ran for ran in done if ran.state == SKIPPED and ran.name.startswith("exactness")]
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "parts": [asdict(ran) for ran in done],
        "goals": [{**asdict(outcome), "met": outcome.met} for outcome in judged],
        "not_counted": not_counted(found),
        "right": not wrong and not unproven,
        **here(),
    }


def _outcomes_of_kernels(kernels: Mapping[str, Any] | None) -> list[Outcome]:
    """As the kernels' own benchmark judged them."""
    if kernels is None:
        return [Outcome(goal=goal, value=None) for goal in GOALS]
    fields = ("case", "kind", "must", "aim", "rival")
    return [
        Outcome(goal=Goal(**{name: entry[name] for name in fields}), value=entry["value"]) for entry in kernels["goals"]
    ]


def _batches(model: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Those of `bench model` that were measured, from one view upwards."""
    return [row for row in (model or {}).get("batches", ()) if "refused" not in row]


def _streamed(stream: Mapping[str, Any] | None, batches: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of a tick's speed that arrives at the other end of the socket; both are in times real time."""
    if not stream or not batches:
        return None
    one = batches[0]
    alone = one["real_time_factor"] * one["denoised_frames_per_s"] / one["frames_per_s"]
    return float(stream["real_time_factor"] / alone)


def _groups(parts: Sequence[Part]) -> list[list[Part]]:
    """Which parts run beside each other, in their order: first all that take no times, then one after the other."""
    untimed = [part for part in parts if not part.timed]
    return [*([untimed] if untimed else []), *([part] for part in parts if part.timed)]


def _run(
    group: Sequence[Part], folder: Path, files: Mapping[str, Path], *, left_s: float, clock: Callable[[], float]
) -> Generator[Ran]:
    """Run commands beside each other, each to its end or its limit, if there is time; what they started ends with them.
    What became of each is told when it ended."""
    if left_s < LEAST_S:
        yield from (Ran(name=part.name, state=SKIPPED, took_s=0.0, found=None) for part in group)
        return
    print(f"{', '.join(part.name for part in group)} ...", file=sys.stderr, flush=True)
    begin_s = clock()
    running: dict[Part, subprocess.Popen[bytes]] = {}
    try:
        for part in group:
            target = folder if part.into == "--out" else files[part.name]
            command = [sys.executable, *part.arguments, part.into, str(target)]
            running[part] = subprocess.Popen(command, start_new_session=True)
        while running:
            for part, process in list(running.items()):
                status, took_s = process.poll(), clock() - begin_s
                if status is not None or took_s >= min(part.limit_s, left_s):
                    _end(process)
                    del running[part]
                    yield _ran(part, files[part.name], status, took_s)
            time.sleep(POLL_S)
    finally:
        for process in running.values():
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a part and what it started."""
    with suppress(ProcessLookupError):  # it left nothing behind
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ran(part: Part, file: Path, status: int | None, took_s: float) -> Ran:
    """What became of a part that ended with `status`, or was ended."""
    found = json.loads(file.read_text()) if file.exists() else None
    return Ran(name=part.name, state=_state(status, found), took_s=took_s, found=found)


def _state(status: int | None, found: Mapping[str, Any] | None) -> State:
    if status is None:
        return "ended"
    if status == 0:
        return "done"
    return "wrong" if status == 1 and found is not None else "failed"  # a traceback is 1, too


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP end this process as an exception does, so that the part that runs ends with it."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
