"""Dreams that are kept to be looked at: which way of streaming made them, the words, the frames; and their folder."""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eddyline.errors import OptionError
from eddyline_runtime.files import make_folder, whole

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

    Raises:
        OptionError: they cannot be written.
    """
    make_folder(folder)
    for name in dict.fromkeys(sample.name for sample in samples):
        chosen = [sample for sample in samples if sample.name == name]
        prompts = np.array(json.dumps([sample.prompt for sample in chosen]))
        with whole(folder / f"{name}.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, prompts=prompts, frames=np.stack([s.frames for s in chosen]))


def read_samples(folder: Path) -> list[Sample]:
    """Read all samples that a folder keeps, the world's own first; none if there is no such folder.

    Raises:
        OptionError: a file is damaged.
    """
    samples: list[Sample] = []
    for file in sorted(folder.glob("*.npz"), key=lambda file: (file.stem != OWN, file.stem)):
        try:
            with np.load(file, allow_pickle=False) as arrays:
                prompts = json.loads(str(arrays["prompts"]))
                samples += [Sample(file.stem, *dream) for dream in zip(prompts, arrays["frames"], strict=True)]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise OptionError(f"{file} cannot be read ({error}); delete it, and dream its samples again") from error
    return samples
