"""Noise is named by numbers: the same ones give the same bits, others give other noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eddyline_runtime.flow.noise import noise_latents

GOLDEN = Path(__file__).parent.parent / "golden" / "noise.json"
SHAPE = (3, 4, 5)


def noise(*, seed: int = 7, epoch: int = 0, first_index: int = 0, frames: int = 2) -> Tensor:
    return noise_latents(seed=seed, epoch=epoch, first_index=first_index, frames=frames, shape=SHAPE)


def test_the_bits_are_those_of_every_earlier_release() -> None:
    """A run repeated from its journal depends on these bits; a numpy that draws otherwise must not pass unseen."""
    for case in json.loads(GOLDEN.read_text()):
        drawn = noise_latents(
            **{name: case[name] for name in ("seed", "epoch", "first_index", "frames")}, shape=case["shape"]
        )
        assert drawn.flatten().tolist() == [float(np.float32(value)) for value in case["values"]], case


@given(seed=st.integers(-(2**70), 2**70), epoch=st.integers(0, 2**40), index=st.integers(0, 2**40))
@settings(deadline=None)
def test_the_same_numbers_give_the_same_bits(seed: int, epoch: int, index: int) -> None:
    first, second = (noise(seed=seed, epoch=epoch, first_index=index, frames=1) for _ in range(2))
    assert torch.equal(first, second)
    assert bool(first.isfinite().all())


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"epoch": 1}, {"first_index": 1}, {"seed": 7 + 2**32}, {"epoch": 2**33}]
)
def test_another_seed_epoch_or_index_gives_other_noise(other: dict[str, int]) -> None:
    a, b = noise(frames=1), noise(frames=1, **other)
    assert not bool((a == b).any())


def test_seed_and_epoch_are_not_interchangeable() -> None:
    assert not torch.equal(noise(seed=3, epoch=5), noise(seed=5, epoch=3))


@given(first=st.integers(0, 1000), parts=st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(deadline=None)
def test_how_frames_are_cut_into_chunks_does_not_matter(first: int, parts: list[int]) -> None:
    whole = noise(first_index=first, frames=sum(parts))
    starts = [first + sum(parts[:i]) for i in range(len(parts))]
    pieces = [noise(first_index=start, frames=part) for start, part in zip(starts, parts, strict=True)]
    assert torch.equal(whole, torch.cat(pieces))


def test_it_is_standard_normal_and_frames_are_independent() -> None:
    drawn = noise_latents(seed=1, epoch=0, first_index=0, frames=64, shape=(8, 12, 20))
    assert drawn.dtype == torch.float32
    assert abs(drawn.mean().item()) < 0.01
    assert abs(drawn.std().item() - 1) < 0.01
    flat = drawn.flatten(1)
    correlation = torch.corrcoef(flat) - torch.eye(64)
    assert correlation.abs().max().item() < 0.12


def test_drawing_leaves_the_global_generators_alone() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1]
    noise()
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
