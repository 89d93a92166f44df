"""Many viewpoints beside a game of 60 Hz, through the real socket, with the SDK in a process of its own.

Two runtimes are started, one after the other: one makes frames as fast as it can, with nobody refused
(`real_time_factor`, of the slowest view), the other paces them as for a game, and lets in what it makes in time. The
game computes for a quarter of each turn, and tells the views something in turns.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from eddyline.errors import ConfigError
from eddyline.measure import peak_mb
from eddyline_runtime.bench.processes import client_process, runtime_process, serve_arguments
from eddyline_runtime.bench.served import here
from eddyline_runtime.bench.stream import percentile

CLIENT = "eddyline.measure_npcs"
TURN_MS = 1000 / 60
UNPACED_S = 3.0
"""Of the runtime that makes frames as fast as it can, at least: some ticks of each view."""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All numbers: what was asked for and let in, each view's frames, the loop's turns, what calls cost.

    Raises:
        LaunchError: a runtime or the client ended before its time; its last words say why.
        WeightsError: there is no such world.
        ConfigError: there is no such profile, or the views were watched for too short a time.
    """
    views, stride, seconds = arguments.views, arguments.stride, arguments.seconds
    serve = [*serve_arguments(arguments), "--max-views", str(views)]
    client = ["--views", str(views), "--stride", str(stride)]
    unpaced_s = max(UNPACED_S, seconds / 4)
    with tqdm(total=4, desc="bench", unit="part", disable=None) as progress:
        with runtime_process([*serve, "--unpaced", "--max-load", "inf"]) as (_, endpoint, _):
            progress.update()
            unpaced = client_process(CLIENT, endpoint, [*client, "--unpaced", "--seconds", str(unpaced_s)])
            progress.update()
        with runtime_process(serve) as (process, endpoint, networks):
            progress.update()
            watched = client_process(CLIENT, endpoint, [*client, "--seconds", str(seconds)])
            held_mb = peak_mb(process.pid)
            progress.update()
    per_view: list[dict[str, Any]] = watched["per_view"]
    if not all(view["wanted"] for view in per_view):
        raise ConfigError(f"no frame was due in {seconds:g} s; watch for longer: --seconds 20")
    samples: dict[str, list[float]] = watched["samples"]
    return {
        "networks": networks,
        "views": views,
        "stride": stride,
        "profile": watched["profile"],
        "admitted": watched["admitted"],
        "refused": watched["refused"],
        "real_time_factor": unpaced["real_time_factor"],
        "in_time": min(view["made"] / view["wanted"] for view in per_view),
        "per_view": per_view,
        **{name: {f"p{share}": percentile(values, share) for share in (50, 99)} for name, values in samples.items()},
        "runtime_peak_mb": held_mb,
        "sdk_peak_mb": watched["sdk_peak_mb"],
        "world": arguments.model,
        "device": arguments.device,
        "threads": arguments.threads,
        **here(),
    }


def table(results: dict[str, Any]) -> Iterator[str]:
    """The numbers as lines."""
    asked = f"{results['views']} views of stride {results['stride']}, {results['profile']}"
    yield f"{asked}: {results['admitted']} let in; {results['networks']} on {results['machine']}"
    if results["refused"]:
        yield results["refused"]
    for name in ("real_time_factor", "in_time"):
        yield f"{name:<30} {results[name]:>10.4g} (of the slowest view)"
    for name in ("turn_ms", "busy_ms", "frame_call_us", "event_call_us", "act_call_us"):
        goal = f"   a turn is {TURN_MS:.1f}" if name.endswith("_ms") else ""
        yield f"{name:<30}" + "".join(f"{label:>6} {value:>10.4g}" for label, value in results[name].items()) + goal
    for name in ("runtime_peak_mb", "sdk_peak_mb"):
        yield f"{name:<30} {results[name]:>10.4g}"
    yield f"{'view':<12}{'wanted':>8}{'made':>8}{'shown':>8}{'late':>8}{'stood_s':>10}"
    for view in results["per_view"]:
        counts = "".join(f"{view[name]:>8}" for name in ("wanted", "made", "shown", "late"))
        yield f"{view['name']:<12}{counts}{view['stood_s']:>10.3f}"
