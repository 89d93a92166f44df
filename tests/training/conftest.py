"""What the tests of training share: a small recording, latents without one, a recipe of seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from eddyline.recording import Recorder
from eddyline_runtime.model.text_encoder import ByteTextEncoder
from eddyline_runtime.training import recipes
from eddyline_runtime.training.data import LatentClip, LatentData
from eddyline_runtime.training.recipes import Recipe

HEIGHT, WIDTH = 32, 48
ACTIONS = ("ArrowLeft", "ArrowRight", "ArrowUp", "KeyA", "KeyD")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Equal work gives equal bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def picture(clip: int, frame: int) -> NDArray[np.uint8]:
    """A light square that moves over a gradient, and a little grain."""
    rng = np.random.default_rng((clip, frame))
    grid = np.add.outer(np.arange(HEIGHT) * 3, np.arange(WIDTH) * 2)[..., None] + np.array([0, 30, 60])
    pixels = grid + rng.integers(0, 20, (HEIGHT, WIDTH, 3))
    left = (3 * clip + frame) % (WIDTH - 8)
    pixels[8:16, left : left + 8] = 250
    return pixels.clip(0, 255).astype(np.uint8)


def record(folder: Path, *, clips: int, frames: int = 48) -> Path:
    """Clips whose caption changes half way and whose keys change every ten frames."""
    with Recorder(folder, fps=16, height=HEIGHT, width=WIDTH, action_names=ACTIONS) as recorder:
        for clip in range(clips):
            recorder.begin_clip(seed=clip)
            for frame in range(frames):
                colour = "red" if frame < frames // 2 else "blue"
                actions = [float(frame // 10 % 5 == key) for key in range(5)]
                recorder.add(picture(clip, frame), caption=f"a {colour} square {clip % 3}", actions=actions)
    return folder


@pytest.fixture(scope="session", name="record")
def record_fixture() -> Callable[..., Path]:
    """record(folder, clips=..., frames=48) -> folder."""
    return record


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recording"), clips=6)


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("held_out"), clips=2)


def latent_clip(seed: int, *, frames: int = 12, changes: tuple[int, ...] = (5,), stride: int = 1) -> LatentClip:
    """Random latents of the tiny world; the text's number grows by one at each change."""
    generator = torch.Generator().manual_seed(seed)
    return LatentClip(
        latents=torch.randn(frames, 4, 4, 6, generator=generator).half(),
        text=tuple(1 + seed % 2 + sum(frame >= change for change in changes) for frame in range(frames)),
        actions=torch.rand(frames, 5, generator=generator) * 2 - 1,
        stride=stride,
    )


def latent_data(*clips: LatentClip) -> LatentData:
    """Clips, and the texts they may name."""
    texts = ("", "a red square", "a blue square", "night falls", "a cat")
    return LatentData(clips, texts, ByteTextEncoder(dim=32, max_tokens=24).encode(texts))


@pytest.fixture(scope="session", name="latent_clip")
def latent_clip_fixture() -> Callable[..., LatentClip]:
    """latent_clip(seed, frames=12, changes=(5,), stride=1)."""
    return latent_clip


@pytest.fixture(scope="session", name="latent_data")
def latent_data_fixture() -> Callable[..., LatentData]:
    """latent_data(*clips)."""
    return latent_data


@pytest.fixture(scope="session")
def data() -> LatentData:
    strided = [latent_clip(10 + i, frames=6, changes=(3,), stride=2 + 2 * (i % 2)) for i in range(2)]
    return latent_data(*(latent_clip(i) for i in range(6)), *strided)


@pytest.fixture
def recipe() -> Recipe:
    """Eight train steps, saved and measured after the fourth and the eighth."""
    return replace(recipes.tiny(), save_every=4, held_out_every=4)
