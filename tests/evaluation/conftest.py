"""A world of random weights, and a probe that reads brightness, so that tests can paint what is to be seen."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.weights import World, load_world


class BrightnessProbe(Probe):
    """Reads whether the upper left pixel is dark or bright; sees a happening where its blue is full, and which way the
    hero goes in its green: below 50 it stands, below 150 it goes left."""

    def __init__(self) -> None:
        super().__init__(
            {
                "time": ("night", "day"),
                "doing": ("stands", "walks left", "walks right"),
                "happening": ("none", "lightning"),
            }
        )

    def features(self, frames: NDArray[np.uint8], *, stride: int = 4) -> NDArray[np.float32]:
        return frames[: len(frames) // 4 * 4 : 4, 0, 0].astype(np.float32)

    def shares(self, features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        red, green, blue = features.T
        read = {"time": red > 127, "doing": (green >= 50).astype(int) + (green >= 150), "happening": blue == 255}
        return {
            name: np.eye(len(self.labels[name]), dtype=np.float32)[value.astype(int)] for name, value in read.items()
        }


@pytest.fixture(scope="session")
def world() -> World:
    return load_world("tiny", random_weights=True)


@pytest.fixture(scope="session")
def brightness() -> Probe:
    return BrightnessProbe()
