"""Speed, latency and memory of a world.

Two runtimes are started, one after the other: one makes frames as fast as it can (`real_time_factor`), the other paces
them as for a game.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from eddyline.errors import ConfigError
from eddyline.measure import peak_mb
from eddyline_runtime.bench.processes import client_process, runtime_process, serve_arguments
from eddyline_runtime.bench.served import here
from eddyline_runtime.weights import card_of

CLIENT = "eddyline.measure"
PERCENTILES = {"frame_call_us": (50, 99), "event_call_us": (50, 99)}
"""Which percentiles of a sample are reported; of all others the 50th and the 95th."""
ORDER = (
    "networks",
    "real_time_factor",
    "time_to_first_frame_cold_s",
    "time_to_first_frame_warm_s",
    "chunk_interval_s",
    "event_to_first_influenced_s",
    "event_to_first_full_s",
    "denoise_ms",
    "decode_ms",
    "frame_call_us",
    "event_call_us",
    "runtime_peak_mb",
    "sdk_peak_mb",
)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All numbers of a stream, by name, and what they were measured on.

    Raises:
        LaunchError: a runtime or the client ended before its time; its last words say why.
        ConfigError: there is no such profile, or the stream was watched for too short a time.
        WeightsError: there is no such world.
    """
    serve = [*serve_arguments(arguments), "--linears", arguments.linears]
    unpaced_s = max(3.0, arguments.seconds / 4)
    with tqdm(total=4, desc="bench", unit="part", disable=None) as progress:
        with runtime_process([*serve, "--unpaced"]) as (_, endpoint, _):
            progress.update()
            unpaced = client_process(CLIENT, endpoint, ["--unpaced", "--seconds", str(unpaced_s)])
            progress.update()
        begin_s = time.monotonic()
        with runtime_process(serve) as (process, endpoint, networks):
            progress.update()
            watched = client_process(CLIENT, endpoint, ["--seconds", str(arguments.seconds)])
            held_mb = peak_mb(process.pid)
            progress.update()
    samples: dict[str, list[float]] = watched["samples"]
    samples["time_to_first_frame_cold_s"] = [watched["first_frame_s"] - begin_s]
    found: dict[str, Any] = {
        "networks": networks,
        "real_time_factor": unpaced["real_time_factor"],
        "runtime_peak_mb": held_mb,
        "sdk_peak_mb": watched["sdk_peak_mb"],
    }
    for name, values in samples.items():
        if not values:
            raise ConfigError(f"nothing was measured for {name}; watch for longer: --seconds 60")
        found[name] = {f"p{share}": percentile(values, share) for share in PERCENTILES.get(name, (50, 95))}
    return {
        **{name: found[name] for name in ORDER},
        "profile": card_of(arguments.model).profile_name(arguments.profile),
        "world": arguments.model,
        "device": arguments.device,
        "threads": arguments.threads,
        **here(),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def table(results: dict[str, Any]) -> Iterator[str]:
    """The numbers as lines."""
    yield f"{results['world']}, {results['profile']}, on {results['machine']}"
    for name in ORDER:
        value = results[name]
        cells = value if isinstance(value, dict) else {"": value}
        yield f"{name:<30}" + "".join(f"{label:>6} {_shown(cell):>10}" for label, cell in cells.items())


def _shown(cell: float | str) -> str:
    return cell if isinstance(cell, str) else f"{cell:.4g}"
