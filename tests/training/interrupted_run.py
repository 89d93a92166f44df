"""`eddyline-runtime` as a process of its own, which `test_faults.py` interrupts: before the model's third train step it
writes "ready" and waits for a line, so that Ctrl-C comes when the test says.

    python interrupted_run.py train --recording ...
"""

import sys

from eddyline_runtime.cli import main
from eddyline_runtime.training import trainer
from eddyline_runtime.training.data import Batch, LatentData, draw_batch

WAITS_AT_STEP = 2


def draw(data: LatentData, *, step: int, seed: int, **more: object) -> Batch:
    """As `draw_batch`."""
    if step == WAITS_AT_STEP and seed != trainer.HELD_OUT_SEED:
        print("ready", flush=True)
        sys.stdin.readline()
    return draw_batch(data, step=step, seed=seed, **more)  # type: ignore[arg-type]


if __name__ == "__main__":
    trainer.draw_batch = draw  # type: ignore[assignment,unused-ignore]
    sys.exit(main(sys.argv[1:]))
