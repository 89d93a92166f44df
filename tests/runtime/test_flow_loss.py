"""The buffered flow matching loss against what it should be by hand, partitions mixed in one batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eddyline_runtime.config import Partition
from eddyline_runtime.flow.loss import FlowSample, flow_matching_loss, flow_sample, guided_sample
from eddyline_runtime.flow.partition import slot_tau

MIXED = [Partition(num_chunks=16 // c, chunk_frames=c) for c in (1, 2, 4, 8, 16)]
REFERENCES = [
    Partition(reference_frames=4, num_chunks=12, chunk_frames=1),
    Partition(reference_frames=8, num_chunks=2, chunk_frames=4),
]


def clean(rows: int) -> Tensor:
    return torch.randn(rows, 16, 3, 4, 6, generator=torch.Generator().manual_seed(0)) * 2 + 1


def sample(partitions: list[Partition], seed: int = 1) -> FlowSample:
    return flow_sample(clean(len(partitions)), partitions, torch.Generator().manual_seed(seed))


def test_the_exact_velocity_has_no_loss() -> None:
    partitions = MIXED + REFERENCES
    drawn = sample(partitions)
    left = (1 - drawn.tau).clamp(min=1e-9)[..., None, None, None]
    velocity = (
        clean(len(partitions)) - drawn.latents
    ) / left  # straight paths: what is left, over the time that is left
    assert flow_matching_loss(velocity, drawn).item() == pytest.approx(0, abs=1e-5)


def test_the_loss_is_the_mean_square_over_the_frames_that_count() -> None:
    drawn = sample(MIXED + REFERENCES)
    velocity = torch.randn(drawn.velocity.shape, generator=torch.Generator().manual_seed(2))
    counted = [
        (velocity[row, frame] - drawn.velocity[row, frame]).square().mean()
        for row, partition in enumerate(MIXED + REFERENCES)
        for frame in range(partition.reference_frames, 16)
    ]
    assert flow_matching_loss(velocity, drawn).item() == pytest.approx(torch.stack(counted).mean().item(), rel=1e-5)


def test_reference_frames_are_clean_and_carry_no_loss() -> None:
    drawn = sample(REFERENCES)
    spoilt = drawn.velocity.clone()
    for row, partition in enumerate(REFERENCES):
        k = partition.reference_frames
        assert torch.equal(drawn.latents[row, :k], clean(2)[row, :k])
        assert bool((drawn.tau[row, :k] == 1).all())
        spoilt[row, :k] = 1e6
    assert flow_matching_loss(spoilt, drawn).item() == 0
    spoilt[0, 4] += 1
    assert flow_matching_loss(spoilt, drawn).item() == pytest.approx(1 / (12 + 8))


def test_every_chunk_draws_its_tau_from_its_own_segment_in_every_row_of_a_mixed_batch() -> None:
    for seed in range(20):
        drawn = sample(MIXED, seed)
        for row, partition in enumerate(MIXED):
            chunks = drawn.tau[row].view(partition.num_chunks, partition.chunk_frames)
            assert bool((chunks == chunks[:, :1]).all())
            for chunk, tau in enumerate(chunks[:, 0].tolist()):
                assert slot_tau(partition, chunk) <= tau + 1e-6
                assert tau <= slot_tau(partition, chunk) + 1 / partition.num_chunks + 1e-6


def test_chunks_draw_independently_over_all_of_their_segment() -> None:
    partition = Partition(num_chunks=4, chunk_frames=4)
    drawn = flow_sample(clean(1).expand(400, -1, -1, -1, -1), [partition] * 400, torch.Generator().manual_seed(3))
    phase = (drawn.tau[:, ::4] - torch.tensor([slot_tau(partition, chunk) for chunk in range(4)])) * 4
    assert phase.min().item() < 0.02
    assert phase.max().item() > 0.98
    assert phase.mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.06)
    off_diagonal = torch.corrcoef(phase.T) - torch.eye(4)
    assert off_diagonal.abs().max().item() < 0.15


def test_latents_lie_on_the_straight_path_from_noise_to_clean() -> None:
    drawn = sample(MIXED)
    share = drawn.tau[..., None, None, None]
    noise = clean(5) - drawn.velocity
    torch.testing.assert_close(drawn.latents, share * clean(5) + (1 - share) * noise)
    assert noise.mean().item() == pytest.approx(0, abs=0.05)
    assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_the_generator_alone_decides_what_is_drawn() -> None:
    torch.manual_seed(1)
    first = sample(MIXED)
    torch.manual_seed(2)
    again, other = sample(MIXED), sample(MIXED, seed=9)
    assert torch.equal(first.latents, again.latents)
    assert torch.equal(first.tau, again.tau)
    assert not bool((first.tau == other.tau).any())


def test_a_low_precision_velocity_is_compared_in_float32() -> None:
    drawn = sample(MIXED)
    loss = flow_matching_loss(drawn.velocity.bfloat16(), drawn)
    assert loss.dtype == torch.float32
    assert 0 < loss.item() < 1e-3


def test_with_a_number_of_steps_tau_is_drawn_where_such_a_sampler_stops() -> None:
    partitions = [
        Partition(num_chunks=4, chunk_frames=4),
        Partition(num_chunks=1, chunk_frames=16),
        Partition(num_chunks=16, chunk_frames=1),
    ]
    seen: list[set[float]] = [set() for _ in partitions]
    for seed in range(40):
        drawn = flow_sample(clean(3), partitions, torch.Generator().manual_seed(seed), denoise_steps=4)
        for row, partition in enumerate(partitions):
            starts = torch.tensor([slot_tau(partition, chunk) for chunk in range(partition.num_chunks)])
            within = drawn.tau[row, :: partition.chunk_frames] - starts
            seen[row] |= {round(value, 5) for value in within.tolist()}
    assert seen == [{0.0}, {0.0, 0.25, 0.5, 0.75}, {0.0}]


def test_only_windows_of_one_chunk_keep_to_the_range_of_tau_that_is_asked_for() -> None:
    partitions = [Partition(num_chunks=1, chunk_frames=16), Partition(num_chunks=4, chunk_frames=4)]
    seen: list[list[float]] = [[], []]
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        drawn = flow_sample(clean(2), partitions, generator, one_chunk_tau=(0.25, 0.5))
        seen[0].append(drawn.tau[0, 0].item())
        seen[1].append(drawn.tau[1, -1].item())
    assert 0.25 <= min(seen[0]) < 0.27
    assert 0.48 < max(seen[0]) < 0.5
    assert min(seen[1]) < 0.1, "the newest chunk of several has its own segment"


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_network_that_meets_the_guided_target_answers_what_guidance_would(scale: float) -> None:
    """The exact answer g under words must satisfy g = u + scale * (v - u), v the plain velocity, u that of no words."""
    drawn = sample(MIXED)
    away = torch.randn(drawn.velocity.shape, generator=torch.Generator().manual_seed(5))
    answer = away + scale * (drawn.velocity - away)
    assert flow_matching_loss(answer, guided_sample(drawn, answer, away, scale)).item() == pytest.approx(0, abs=1e-8)


def test_no_gradient_flows_through_the_guided_target() -> None:
    drawn = sample(MIXED)
    velocity = torch.zeros_like(drawn.velocity, requires_grad=True)
    target = guided_sample(drawn, velocity, torch.ones_like(velocity), 2.0)
    assert not target.velocity.requires_grad
    assert torch.equal(target.velocity, drawn.velocity - 0.5)
