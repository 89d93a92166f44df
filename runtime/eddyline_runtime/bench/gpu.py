"""Everything that needs a GPU, in one command: what is right first, then how fast it is, then what is missing.

Each part is a command of its own, in a process of its own, so that one that fails costs no other. What a part found is
in gpu.json of the folder as soon as it ends, with every goal and what was measured for it. Speeds of a model whose
networks were not found right are not counted.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from eddyline.errors import ConfigError
from eddyline_kernels.bench.goals import GOALS, Goal, Outcome
from eddyline_kernels.bench.record import goals_table
from eddyline_runtime.bench.served import here
from eddyline_runtime.files import write_whole

KERNELS_MINUTES = 4.5
RUNTIME = ("-m", "eddyline_runtime.cli", "bench")
LARGE = ("--model", "streamdit_4b", "--random-weights", "--device", "cuda")
SMALL = ("--model", "diorama", "--device", "cuda")


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


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of a part."""

    name: str
    state: Literal["done", "wrong", "failed", "ended", "skipped"]
    """`ended` at its limit; `skipped` because no time was left."""
    took_s: float
    found: dict[str, Any] | None
    """What it wrote, also if it did not get to its end."""


PARTS = (
    Part(name="exactness_diorama", arguments=(*RUNTIME, "exactness", *SMALL), limit_s=90),
    Part(name="exactness_4b", arguments=(*RUNTIME, "exactness", *LARGE), limit_s=120),
    Part(name="model_4b", arguments=(*RUNTIME, "model", *LARGE, "--views", "1"), limit_s=90),
    Part(name="model_4b_fp8", arguments=(*RUNTIME, "model", *LARGE, "--views", "1", "--linears", "fp8"), limit_s=90),
    Part(name="model_diorama", arguments=(*RUNTIME, "model", *SMALL, "--views", "8"), limit_s=90),
    Part(
        name="kernels",
        arguments=("-m", "eddyline_kernels.bench", "--minutes", str(KERNELS_MINUTES)),
        into="--out",
        limit_s=60 * KERNELS_MINUTES + 60,
    ),
    Part(
        name="stream_4b_fp8",
        arguments=(*RUNTIME, "stream", *LARGE, "--linears", "fp8", "--seconds", "12"),
        limit_s=200,
    ),
    Part(name="views_diorama", arguments=(*RUNTIME, "views", *SMALL, "--views", "1,2,4,8,16,32,64"), limit_s=90),
)
"""Most important first, as far as what is to be right comes before what is to be fast."""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that are asked for, and judge what they found.

    Raises:
        ConfigError: there is no GPU, or no part has such a name.
        OptionError: the folder cannot be written.
    """
    parts = [part for part in PARTS if arguments.only in part.name]
    if not parts:
        raise ConfigError(f"no part has {arguments.only!r} in its name; there are {', '.join(p.name for p in PARTS)}")
    if not torch.cuda.is_available():
        raise ConfigError("there is no GPU here, and all of this needs one; bench model, stream and views run without")
    return run_parts(parts, arguments.out, minutes=arguments.minutes)


def run_parts(
    parts: Sequence[Part], folder: Path, *, minutes: float, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Run parts one after the other and write gpu.json after each; after `minutes` none is begun any more."""
    folder.mkdir(parents=True, exist_ok=True)
    end_s = clock() + 60 * minutes
    done: list[Ran] = []
    for number, part in enumerate(parts, 1):
        begin_s = clock()
        if begin_s >= end_s:
            done.append(Ran(name=part.name, state="skipped", took_s=0.0, found=None))
            continue
        print(f"[{number}/{len(parts)}] {part.name} ...", file=sys.stderr, flush=True)
        file = folder / f"{part.name}.json"
        file.unlink(missing_ok=True)  # of a run before
        state = _run(part, folder, file)
        found = json.loads(file.read_text()) if file.exists() else None
        done.append(Ran(name=part.name, state=state, took_s=clock() - begin_s, found=found))
        write_whole(folder / "gpu.json", json.dumps(_told(done), indent=2) + "\n")
    return _told(done)


def outcomes(found: Mapping[str, Mapping[str, Any] | None]) -> list[Outcome]:
    """Each goal of the models and what was measured for it, from what the parts found, by their names.

    A part that found nothing is left out or None.
    """
    large, small = (_is_right(found.get(f"exactness_{name}")) for name in ("4b", "diorama"))
    plain, fp8 = (_batches(found.get(name)) if large else [] for name in ("model_4b", "model_4b_fp8"))
    views = _batches(found.get("model_diorama")) if small else []
    streamed = _streamed(found.get("stream_4b_fp8"), fp8)
    return [
        Outcome(
            goal=Goal(case="streamdit_4b, one tick, frames/s, bf16", kind="rate", must=30, aim=36),
            value=plain[0]["denoised_frames_per_s"] if plain else None,
        ),
        Outcome(
            goal=Goal(case="streamdit_4b, one tick, frames/s, linears in FP8", kind="rate", must=42, aim=55),
            value=fp8[0]["denoised_frames_per_s"] if fp8 else None,
        ),
        Outcome(
            goal=Goal(case="the same, decoded, through the socket", kind="speed", rival="its tick alone", must=0.9),
            value=streamed,
        ),
        Outcome(
            goal=Goal(case="diorama, 8 views as one batch", kind="speed", rival="one view", must=5, aim=7),
            value=views[7]["frames_per_s"] / views[0]["frames_per_s"] if len(views) > 7 else None,
        ),
    ]


def table(results: dict[str, Any]) -> Iterator[str]:
    """What became of the parts, then the goals."""
    yield f"{results['device']}, torch {results['versions']['torch']}, {results['date']}"
    for part in results["parts"]:
        yield f"{part['name']:<20}{part['state']:>10}{part['took_s']:>8.0f} s"
    yield ""
    yield goals_table([Outcome(goal=Goal(**entry["goal"]), value=entry["value"]) for entry in results["goals"]])


def _told(done: Sequence[Ran]) -> dict[str, Any]:
    found = {ran.name: ran.found for ran in done}
    judged = [*outcomes(found), *_outcomes_of_kernels(found.get("kernels"))]
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "parts": [asdict(ran) for ran in done],
        "goals": [{"goal": asdict(outcome.goal), "value": outcome.value, "met": outcome.met} for outcome in judged],
        "right": all(ran.state in ("done", "skipped") for ran in done),
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


def _is_right(exactness: Mapping[str, Any] | None) -> bool:
    return bool(exactness and exactness["right"])


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


def _run(part: Part, folder: Path, file: Path) -> Literal["done", "wrong", "failed", "ended"]:
    """Run one command to its end or its limit; what it started ends with it."""
    target = folder if part.into == "--out" else file
    command = [sys.executable, *part.arguments, part.into, str(target)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        status = process.wait(part.limit_s)
    except subprocess.TimeoutExpired:
        return "ended"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return "done" if status == 0 else "wrong" if status == 1 else "failed"
