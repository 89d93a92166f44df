"""What `test_distributed.py` starts under torchrun, as two processes on the processor: the shrunk recipe, twice.

    torchrun --standalone --nproc-per-node 2 two_ranks.py LATENTS OUT

OUT/whole is never stopped. Of OUT/broken, Ctrl-C reaches rank 1 in the third train step; resumed, rank 1 cannot write
while the fourth is saved; it is resumed once more. Each rank leaves what it said as OUT/said-RANK.json.
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
        for step, fault, more in ((2, press_ctrl_c, ()), (3, fill_the_disk, ("--resume",))):
            try:
                with suffering(fault, step):
                    train("broken", *more)
            except EddylineError as error:
                said[fault.__name__] = f"{type(error).__name__}: {error}"
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        said["left"] = " ".join(sorted(path.name for path in (out / "broken" / distributed.CHECKPOINTS).iterdir()))
        train("broken", "--resume")
    said["threads"] = " ".join(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    (out / f"said-{os.environ['RANK']}.json").write_text(json.dumps(said))


@contextmanager
def suffering(fault: Callable[[], None], at: int) -> Iterator[None]:
    """Let rank 1 suffer `fault` when it draws the batch of train step `at`."""

    def draw(data: LatentData, *, step: int, seed: int, **more: object) -> Batch:
        if os.environ["RANK"] == "1" and step == at and seed != distributed.HELD_OUT_SEED:
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
