"""A runtime and a game beside it, each in a process of its own, for benchmarks through the real socket."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from eddyline.errors import LaunchError
from eddyline_runtime.weights import card_of

STOP_S = 10.0
CLIENT_S = 1200.0
"""The client may take so long. It gives up by itself on a runtime that makes nothing, which is sooner unless the client
itself is stuck."""


def serve_arguments(arguments: argparse.Namespace) -> list[str]:
    """What `serve` is told about the world, of what a benchmark was told.

    Raises:
        ConfigError: there is no such profile.
        WeightsError: there is no such world.
    """
    card_of(arguments.model).profile_name(arguments.profile)
    serve = ["--model", arguments.model, "--device", arguments.device]
    serve += ["--profile", arguments.profile] if arguments.profile else []
    serve += ["--random-weights"] if arguments.random_weights else []
    serve += ["--threads", str(arguments.threads)] if arguments.threads else []
    return serve


@contextmanager
def runtime_process(arguments: Sequence[str]) -> Iterator[tuple["subprocess.Popen[str]", str, str]]:
    """A runtime that is ready, where it listens and what computes its networks; it is stopped at the end, and ends by
    itself should this process be killed.

    Raises:
        LaunchError: it ended before it was ready.
    """
    serve = ["serve", "--bind", "tcp://127.0.0.1:0", "--parent-pid", str(os.getpid())]
    command = [sys.executable, "-m", "eddyline_runtime.cli", *serve, *arguments]
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


def client_process(
    module: str, endpoint: str, arguments: Sequence[str], *, limit_s: float = CLIENT_S
) -> dict[str, Any]:
    """The SDK in a process of its own, which runs a module of it; what it measured within `limit_s`.

    Raises:
        LaunchError: it ended before its time, or did not end.
    """
    command = [sys.executable, "-m", module, *arguments]
    given = endpoint + "\n"
    try:
        done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise LaunchError(f"the client was not done after {limit_s:g} s and was ended; is the machine idle?") from error
    if done.returncode:
        raise LaunchError(f"the client ended with status {done.returncode}; its last words are above")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
