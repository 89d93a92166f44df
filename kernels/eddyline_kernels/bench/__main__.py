"""`python -m eddyline_kernels.bench`: every kernel against its rivals, right first, in one table.

On a GPU it takes less than nine minutes and writes kernels.json and kernels.csv into the folder as it goes; without one
it compares what runs on the processor. Ends with status 1 when a kernel of ours is wrong or fails.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from eddyline_kernels.bench import place as places
from eddyline_kernels.bench.contest import Case, hold
from eddyline_kernels.bench.goals import GOALS, Goal, judge
from eddyline_kernels.bench.place import Place
from eddyline_kernels.bench.record import Book, Surroundings, goals_table, table
from eddyline_kernels.bench.suite import COPY, MATMUL, cpu_cases, gpu_cases

NO_GPU = (
    "There is no GPU here, so the Triton kernels are not measured. Measured instead is what runs on this processor: "
    "window attention in plain torch against torch's fused attention, at the embedded model's size."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m eddyline_kernels.bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench"), metavar="FOLDER", help="where results are written")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose names have this in them")
    parser.add_argument("--minutes", type=float, default=8.5, help="after so long nothing new is begun")
    given = parser.parse_args(arguments)
    if torch.cuda.is_available():
        import torch._functorch.config as functorch

        # a compiled backward is called many times on one forward
        with functorch.patch(donated_buffer=False):
            place = places.gpu()
            return run(gpu_cases(place), place, GOALS, folder=given.out, only=given.only, minutes=given.minutes)
    print(NO_GPU)
    place = places.cpu()
    return run(cpu_cases(place), place, GOALS, folder=given.out, only=given.only, minutes=given.minutes)


def run(
    cases: Iterable[Case],
    place: Place,
    goals: Sequence[Goal],
    *,
    folder: Path,
    only: str = "",
    minutes: float,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Measure cases one after the other, write down each result when it is there, print the tables."""
    end_s = clock() + minutes * 60
    book = Book(folder=folder, surroundings=Surroundings.of(place.device), goals=goals)
    for case in cases:
        if only not in case.name and case.name not in (COPY, MATMUL):
            continue
        print(f"{case.name} ...", file=sys.stderr, flush=True)
        for measurement in hold(case, place, end_s=end_s, clock=clock):
            book.add(measurement)
        if place.device.type == "cuda":
            torch.cuda.empty_cache()
    s = book.surroundings
    versions = f"torch {s.torch_version}, Triton {s.triton_version or 'none'}, Python {s.python_version}"
    print(f"\n{s.device}, {versions}, {s.date}\n")
    print(table(book.measurements))
    print("\n" + goals_table(judge(goals, book.measurements)))
    for measurement in book.red:
        print(f"RED: {measurement.case}: {measurement.note}", file=sys.stderr)
    return 1 if book.red else 0


if __name__ == "__main__":
    sys.exit(main())
