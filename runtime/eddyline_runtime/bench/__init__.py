"""Speed, latency and memory of a world.

`stream` is what one game sees through the real socket, `npcs` what one with many viewpoints sees, `views` what more
views cost, `model` what the networks alone take, `networks` plain torch against OpenVINO, `saves` what snapshots cost.
`exactness` says whether a device computes the networks right, `gpu` does all that needs a GPU. Each prints a table;
`--json` writes the same numbers. Seconds, milliseconds or microseconds: the suffix says which.
"""

import argparse
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eddyline_runtime.arguments import above_zero, device_name, positive, threads
from eddyline_runtime.files import check_writable, write_whole

_WHAT = {
    "stream": "one view as a game sees it, through the real socket",
    "npcs": "many viewpoints beside a game of 60 Hz, through the real socket",
    "views": "how long one tick takes with more and more views in it",
    "model": "the networks alone, in batches of one view and more; memory is counted first",
    "networks": "plain torch against OpenVINO, by turns in one process",
    "saves": "taking snapshots and going on from them: time, size, memory",
    "exactness": "how far a device's networks are off, against plain torch in a wider precision; status 1 if wrong",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    commands = parser.add_subparsers(required=True, dest="what", metavar="WHAT")
    benches = {name: commands.add_parser(name, help=about, description=about) for name, about in _WHAT.items()}
    for bench in benches.values():
        bench.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
        bench.add_argument("--model", default="diorama", help="a world's name, or its folder (default: %(default)s)")
        bench.add_argument("--random-weights", action="store_true", help="seeded noise instead of weights")
        bench.add_argument(
            "--device", type=device_name, default="cpu", help="cpu, cuda, cuda:1, ... (default: %(default)s)"
        )
        bench.add_argument("--threads", type=threads, help="CPU threads of the model (default: all cores)")
    for name, bench in benches.items():
        default = "all of them" if name in ("views", "exactness") else "the world's own"
        bench.add_argument("--profile", help=f"smooth, responsive, fine or another (default: {default})")
    benches["stream"].add_argument(
        "--seconds", type=above_zero, default=40.0, help="of paced stream to watch (default: %(default)g)"
    )
    benches["npcs"].add_argument("--views", type=positive, default=4, help="viewpoints (default: %(default)s)")
    benches["npcs"].add_argument(
        "--stride", type=int, choices=(1, 2, 4), default=4, help="of each (default: %(default)s)"
    )
    benches["npcs"].add_argument(
        "--seconds", type=above_zero, default=20.0, help="to watch them (default: %(default)g)"
    )
    benches["views"].add_argument(
        "--views", type=_counts, default=(1, 2, 4, 8), metavar="N,N,...", help="how many (default: 1,2,4,8)"
    )
    benches["views"].add_argument(
        "--rounds", type=positive, default=15, help="ticks of each count, in turns (default: %(default)s)"
    )
    benches["networks"].add_argument("--rounds", type=positive, default=30, help="turns of each (default: %(default)s)")
    benches["model"].add_argument(
        "--views", type=positive, default=8, help="batches of 1 to so many (default: %(default)s)"
    )
    benches["model"].add_argument(
        "--ticks", type=positive, default=10, help="timed ticks of each batch (default: %(default)s)"
    )
    benches["model"].add_argument(
        "--where", action="store_true", help="tell, too, which kernels or operators a tick's time goes to"
    )
    for name in ("model", "stream"):
        benches[name].add_argument(
            "--linears", choices=("plain", "fp8"), default="plain", help="fp8: large matrix products in FP8, row by row"
        )
    about = (
        "all that needs a GPU: exactness first, then models, the socket, kernels, many views, other plans of kernels"
    )
    gpu = commands.add_parser("gpu", help=about, description=about)
    gpu.add_argument(
        "--out",
        type=Path,
        default=Path("bench"),
        metavar="FOLDER",
        help="for gpu.json and each part's file (default: %(default)s)",
    )
    gpu.add_argument(
        "--only", default="", metavar="TEXT", help="parts whose names have this in them; one that none has lists them"
    )
    gpu.add_argument("--minutes", type=above_zero, default=8.5, help="for all of it (default: %(default)s)")
    gpu.set_defaults(json=None)
    benches["saves"].add_argument(
        "--count", type=positive, default=1000, help="snapshots taken and gone on from (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write; status 1 where the bench says that something is wrong."""
    if arguments.json is not None:
        check_writable(arguments.json)
    bench: Any = importlib.import_module(f"eddyline_runtime.bench.{arguments.what}")
    measure: Callable[[argparse.Namespace], dict[str, Any]] = bench.measure
    results = measure(arguments)
    for line in bench.table(results):
        print(line)
    if arguments.json is not None:
        write_whole(arguments.json, json.dumps(results, indent=2) + "\n")
    return 0 if results.get("right", True) else 1


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive(part) for part in text.split(",")}))
