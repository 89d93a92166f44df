"""Speed, latency and memory of a world.

Two runtimes are started, one after the other: one makes frames as fast as it can (`real_time_factor`), the other paces
them as for a game.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from eddyline.errors import ConfigError, LaunchError
from eddyline.measure import peak_mb

STOP_S = 10.0
CLIENT_S = 1200.0
"""So much longer than it watches the client may take. It gives up by itself on a runtime that makes nothing, which is
sooner unless the client itself is stuck."""
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
    """All numbers of a stream, by name, and what computed the networks.

    Raises:
        LaunchError: a runtime or the client ended before its time; its last words say why.
        ConfigError: the stream was watched for too short a time.
    """
    serve = ["--model", arguments.model, "--device", arguments.device]
    serve += ["--profile", arguments.profile] if arguments.profile else []
    serve += ["--random-weights"] if arguments.random_weights else []
    serve += ["--threads", str(arguments.threads)] if arguments.threads else []
    unpaced_s = max(3.0, arguments.seconds / 4)
    with tqdm(total=4, desc="bench", unit="part", disable=None) as progress:
        with _runtime([*serve, "--unpaced"]) as (_, endpoint, _):
            progress.update()
            unpaced = _client(endpoint, ["--unpaced", "--seconds", str(unpaced_s)], limit_s=unpaced_s + CLIENT_S)
            progress.update()
        begin_s = time.monotonic()
        with _runtime(serve) as (process, endpoint, networks):
            progress.update()
            watched = _client(endpoint, ["--seconds", str(arguments.seconds)], limit_s=arguments.seconds + CLIENT_S)
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
    return {name: found[name] for name in ORDER}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


@contextmanager
def _runtime(arguments: Sequence[str]) -> Iterator[tuple["subprocess.Popen[str]", str, str]]:
    """A runtime that is ready, where it listens and what computes its networks; it is stopped at the end."""
    command = [sys.executable, "-m", "eddyline_runtime.cli", "serve", "--bind", "tcp://127.0.0.1:0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process, *_ready(process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(process: "subprocess.Popen[str]") -> tuple[str, str]:
    assert process.stdout is not None
    for line in process.stdout:
        said = json.loads(line)
        if said.get("ready"):
            return str(said["endpoint"]), str(said["networks"])
    raise LaunchError(f"the runtime ended with status {process.wait()} before it was ready; its last words are above")


def _client(endpoint: str, arguments: Sequence[str], *, limit_s: float) -> dict[str, Any]:
    """The SDK in a process of its own; what it measured within `limit_s`."""
    command = [sys.executable, "-m", "eddyline.measure", *arguments]
    given = endpoint + "\n"
    try:
        done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise LaunchError(f"the client was not done after {limit_s:g} s and was ended; is the machine idle?") from error
    if done.returncode:
        raise LaunchError(f"the client ended with status {done.returncode}; its last words are above")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def table(results: dict[str, Any]) -> Iterator[str]:
    """The numbers as lines."""
    for name in ORDER:
        value = results[name]
        cells = value if isinstance(value, dict) else {"": value}
        yield f"{name:<30}" + "".join(f"{label:>6} {_shown(cell):>10}" for label, cell in cells.items())


def _shown(cell: float | str) -> str:
    return cell if isinstance(cell, str) else f"{cell:.4g}"
