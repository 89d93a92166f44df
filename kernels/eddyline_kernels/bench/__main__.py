"""`python -m eddyline_kernels.bench`: every kernel against its rivals, right first, in one table.

On a GPU it takes less than nine minutes and writes kernels.json and kernels.csv into the folder as it goes; `--sweep`
tries other plans of our kernels instead, and writes sweep.json and sweep.csv with the fastest. What needs a compiler is
compiled ahead, in processes beside each other. Without a GPU it compares what runs on the processor. Ends with status 1
when a kernel of ours is wrong or fails.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from eddyline_kernels.bench import ahead
from eddyline_kernels.bench import place as places
from eddyline_kernels.bench.contest import Case, compile_case, hold
from eddyline_kernels.bench.goals import GOALS, Goal, judge
from eddyline_kernels.bench.place import Place
from eddyline_kernels.bench.record import Book, Surroundings, fastest_plans, goals_table, plans_table, table
from eddyline_kernels.bench.suite import COPY, MATMUL, cpu_cases, gpu_cases, plan_cases

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
    parser.add_argument("--sweep", action="store_true", help="try plans of our kernels (needs a GPU)")
    parser.add_argument(
        "--ahead",
        choices=("first", "only", "never"),
        default="first",
        help="when to compile what the run needs: first (default), only (measure nothing), never (done before)",
    )
    parser.add_argument("--compile", metavar="CASE", help="only compile what one case needs (needs a GPU)")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        if given.sweep or given.compile or given.ahead == "only":
            parser.error("there is no GPU here; plans are tried, and rivals compiled, on one")
        place = places.cpu()
        cases = list(cpu_cases(place))
        _check_only(parser, cases, given.only)
        print(NO_GPU)
        return run(cases, place, GOALS, folder=given.out, only=given.only, minutes=given.minutes)
    import torch._functorch.config as functorch

    # a compiled backward is called many times on one forward
    with functorch.patch(donated_buffer=False):
        return _on_gpu(given, parser)


def _check_only(parser: argparse.ArgumentParser, cases: Sequence[Case], only: str) -> None:
    """Refuse what no case has in its name: it would measure nothing, and say that all is well."""
    if not any(only in case.name for case in cases):
        parser.error(f"no case has {only!r} in its name; there are {'; '.join(case.name for case in cases)}")


def _on_gpu(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    place = places.gpu()
    cases = list((plan_cases if given.sweep else gpu_cases)(place))
    _check_only(parser, cases, given.only)
    if given.compile:
        import torch._inductor.config as inductor

        # what is tuned beside other processes is tuned badly: the run that measures shall tune again
        with inductor.patch(autotune_local_cache=False):
            for case in cases:
                if case.name == given.compile:
                    compile_case(case, place)
        return 0
    begin_s = time.monotonic()
    if given.ahead != "never":
        to_compile = names_to_compile(cases, given.only)
        print(f"compiling {len(to_compile)} cases ahead ...", file=sys.stderr, flush=True)
        ahead.compile_ahead(
            to_compile,
            start=ahead.starter(["--sweep"] if given.sweep else []),
            workers=ahead.workers(),
            end_s=begin_s + given.minutes * 60 * (1 if given.ahead == "only" else ahead.SHARE),
        )
    if given.ahead == "only":
        return 0
    minutes = given.minutes - (time.monotonic() - begin_s) / 60
    goals, name = ((), "sweep") if given.sweep else (GOALS, "kernels")
    return run(cases, place, goals, folder=given.out, name=name, only=given.only, minutes=minutes)


def names_to_compile(cases: Iterable[Case], only: str) -> list[str]:
    """The cases with something in them that takes seconds to compile."""
    return [case.name for case in cases if only in case.name and any(method.compiled for method in case.methods)]


def run(
    cases: Iterable[Case],
    place: Place,
    goals: Sequence[Goal],
    *,
    folder: Path,
    name: str = "kernels",
    only: str = "",
    minutes: float,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Measure cases one after the other, write down each result when it is there, print the tables."""
    end_s = clock() + minutes * 60
    book = Book(folder=folder, name=name, surroundings=Surroundings.of(place.device), goals=goals)
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
    if goals:
        print("\n" + goals_table(judge(goals, book.measurements)))
    if plans := fastest_plans(book.measurements):
        print("\n" + plans_table(plans))
    for measurement in book.red:
        print(f"RED: {measurement.case}: {measurement.note}", file=sys.stderr)
    return 1 if book.red else 0


if __name__ == "__main__":
    sys.exit(main())
