"""What `test_distributed.py` starts under torchrun, as two processes on the processor: the shrunk recipe, three times.

    torchrun --standalone --nproc-per-node 2 two_ranks.py LATENTS OUT

OUT/whole: never stopped. OUT/stopped: Ctrl-C reaches rank 1 in the third train step; resumed. OUT/full: rank 1 cannot
write while the third step is saved; resumed. Each rank leaves what it said as OUT/said-RANK.json.
"""

import argparse
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from eddyline.errors import EddylineError
from eddyline_runtime.training import distributed
from eddyline_runtime.training.data import Batch, LatentData, draw_batch
from eddyline_runtime.training.sharded import joined

FAULT_STEP = 2


def main(latents: str, out: Path) -> None:
    """Run this rank."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    distributed.add_arguments(parser)
    said = {}
    with joined("cpu") as ranks:

        def train(name: str, *more: str) -> None:
            given = ["--recipe", "streamdit-4b-shrunk", "--latents", latents, "--out", str(out / name), *more]
            distributed.run(parser.parse_args(given), ranks, command=given)

        train("whole")
        for name, fault in (("stopped", press_ctrl_c), ("full", fill_the_disk)):
            try:
                with at_the_fault_step(fault):
                    train(name)
            except EddylineError as error:
                said[name] = f"{type(error).__name__}: {error}"
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            said[f"{name}, left"] = " ".join(sorted(p.name for p in (out / name / distributed.CHECKPOINTS).iterdir()))
            train(name, "--resume")
    (out / f"said-{os.environ['RANK']}.json").write_text(json.dumps(said))


@contextmanager
def at_the_fault_step(fault: Callable[[], None]) -> Iterator[None]:
    """Let rank 1 suffer `fault` when it draws the batch of the fault's train step."""

    def draw(data: LatentData, *, step: int, seed: int, **more: object) -> Batch:
        if os.environ["RANK"] == "1" and step == FAULT_STEP and seed != distributed.HELD_OUT_SEED:
            fault()
        return draw_batch(data, step=step, seed=seed, **more)  # type: ignore[arg-type]

    distributed.draw_batch = draw  # type: ignore[assignment]
    try:
        yield
    finally:
        distributed.draw_batch = draw_batch


def press_ctrl_c() -> None:
    """As if it was pressed on this rank's terminal alone."""
    signal.raise_signal(signal.SIGINT)


def fill_the_disk() -> None:
    """Files of this rank end after a few bytes from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
