"""Dreams that are kept to be looked at: which way of streaming made them, the words, the frames; and their folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OWN = "streamdit"
"""The name under which a world's own dreams are kept and compared with rivals."""
PARAPHRASED = "paraphrases"
"""The name under which its dreams of paraphrases are kept."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One dream.

    name: `OWN`, `PARAPHRASED`, or the rival that dreamed it. frames: RGB [T, H, W, 3].
    """

    name: str
    prompt: str
    frames: NDArray[np.uint8]


def write_samples(folder: Path, samples: Sequence[Sample]) -> None:
    """Keep samples; those of the same names that were there are replaced, others stay.

    Dreams of one name have equally many frames.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(sample.name for sample in samples):
        chosen = [sample for sample in samples if sample.name == name]
        prompts = np.array(json.dumps([sample.prompt for sample in chosen]))
        np.savez_compressed(folder / f"{name}.npz", prompts=prompts, frames=np.stack([s.frames for s in chosen]))


def read_samples(folder: Path) -> list[Sample]:
    """Read all samples that a folder keeps, the world's own first; none if there is no such folder."""
    samples: list[Sample] = []
    for file in sorted(folder.glob("*.npz"), key=lambda file: (file.stem != OWN, file.stem)):
        with np.load(file, allow_pickle=False) as arrays:
            prompts = json.loads(str(arrays["prompts"]))
            samples += [Sample(file.stem, *dream) for dream in zip(prompts, arrays["frames"], strict=True)]
    return samples
