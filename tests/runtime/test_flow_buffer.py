"""Noise levels and the moving buffer, for every way of cutting it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eddyline.errors import PartitionError
from eddyline_runtime.config import Partition
from eddyline_runtime.flow.buffer import shift
from eddyline_runtime.flow.partition import slot_tau, tick_delta_tau, tick_tau, training_tau

partitions = st.builds(
    Partition,
    reference_frames=st.integers(0, 5),
    num_chunks=st.integers(1, 8),
    chunk_frames=st.integers(1, 4),
    micro_steps=st.integers(1, 5),
)


@given(partitions)
@settings(deadline=None)
def test_the_oldest_frame_is_the_cleanest_at_every_micro_step(partition: Partition) -> None:
    for micro_step in range(partition.micro_steps):
        tau = tick_tau(partition, micro_step)
        assert tau.shape == (partition.buffer_frames,)
        assert bool((tau.diff() <= 0).all())
        assert bool((tau[partition.reference_frames :] < 1).all()), "nothing is denoised past clean"


@given(partitions)
@settings(deadline=None)
def test_reference_frames_stay_clean_and_are_never_moved(partition: Partition) -> None:
    for micro_step in range(partition.micro_steps):
        assert bool((tick_tau(partition, micro_step)[: partition.reference_frames] == 1).all())
    assert bool((tick_delta_tau(partition)[: partition.reference_frames] == 0).all())


@given(partitions)
@settings(deadline=None)
def test_the_tail_enters_as_pure_noise_and_the_head_leaves_clean(partition: Partition) -> None:
    assert bool((tick_tau(partition, 0)[-partition.chunk_frames :] == 0).all())
    last = tick_tau(partition, partition.micro_steps - 1) + tick_delta_tau(partition)
    head = last[partition.reference_frames :][: partition.chunk_frames]
    assert head.tolist() == pytest.approx([1.0] * partition.chunk_frames, abs=1e-6)


@given(partitions)
@settings(deadline=None)
def test_after_a_tick_every_chunk_has_the_tau_of_the_slot_ahead(partition: Partition) -> None:
    after = tick_tau(partition, 0) + partition.micro_steps * tick_delta_tau(partition)
    for chunk in range(1, partition.num_chunks):
        start = partition.reference_frames + chunk * partition.chunk_frames
        frames = after[start : start + partition.chunk_frames].tolist()
        assert frames == pytest.approx([slot_tau(partition, chunk - 1)] * partition.chunk_frames, abs=1e-6)


@given(partition=partitions, data=st.data())
@settings(deadline=None)
def test_training_draws_every_chunk_from_its_own_segment(partition: Partition, data: st.DataObject) -> None:
    draws = data.draw(
        st.lists(
            st.floats(0, 1, exclude_max=True, width=32), min_size=partition.num_chunks, max_size=partition.num_chunks
        )
    )
    tau = training_tau(partition, torch.tensor(draws))
    assert bool((tau[: partition.reference_frames] == 1).all())
    chunks = tau[partition.reference_frames :].view(partition.num_chunks, partition.chunk_frames)
    assert bool((chunks == chunks[:, :1]).all()), "a chunk has one tau"
    for chunk, value in enumerate(chunks[:, 0].tolist()):
        low = slot_tau(partition, chunk)
        assert low - 1e-6 <= value <= low + 1 / partition.num_chunks + 1e-6
        assert value == pytest.approx(low + draws[chunk] / partition.num_chunks, abs=1e-6)


def test_the_uniform_scheme_is_ordinary_flow_matching() -> None:
    uniform = Partition(num_chunks=1, chunk_frames=16, micro_steps=8)
    assert tick_tau(uniform, 3).tolist() == [3 / 8] * 16
    assert training_tau(uniform, torch.tensor([0.7])).tolist() == pytest.approx([0.7] * 16)


@given(partition=partitions, ticks=st.integers(1, 6))
@settings(deadline=None)
def test_shifts_keep_the_order_and_the_reference_frames_are_the_last_that_left(
    partition: Partition, ticks: int
) -> None:
    """Latent frames are numbered: references below 0, then 0, 1, 2, ... in the order in which they entered."""
    k, c = partition.reference_frames, partition.chunk_frames
    entered = partition.num_chunks * c
    latents = torch.arange(-k, entered).float().view(1, -1, 1, 1, 1).expand(2, -1, 1, 1, 1)
    left: list[float] = list(range(-k, 0))
    for _ in range(ticks):
        noise = torch.arange(entered, entered + c).float().view(1, -1, 1, 1, 1).expand(2, -1, 1, 1, 1)
        entered += c
        clean, latents = shift(latents, partition, noise)
        assert clean.shape == (2, c, 1, 1, 1)
        left += clean[0].flatten().tolist()
        assert latents.shape[1] == partition.buffer_frames
        numbers = latents[1].flatten().tolist()
        assert numbers[:k] == left[len(left) - k :]
        assert numbers[k:] == list(range(entered - partition.num_chunks * c, entered))
    assert left == list(range(-k, ticks * c))


@pytest.mark.parametrize(
    "counts",
    [
        {"num_chunks": 0, "chunk_frames": 1},
        {"num_chunks": 1, "chunk_frames": 0},
        {"num_chunks": 1, "chunk_frames": 1, "micro_steps": 0},
        {"num_chunks": 1, "chunk_frames": 1, "reference_frames": -1},
    ],
)
def test_a_partition_of_nothing_is_refused(counts: dict[str, int]) -> None:
    with pytest.raises(PartitionError, match="is no partition; use"):
        Partition(**counts)


def test_buffer_and_steps_follow_from_the_four_counts() -> None:
    partition = Partition(reference_frames=3, num_chunks=4, chunk_frames=2, micro_steps=5)
    assert (partition.buffer_frames, partition.denoise_steps) == (3 + 4 * 2, 5 * 4)
