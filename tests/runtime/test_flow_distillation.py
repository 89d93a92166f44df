"""Distillation targets against fields whose solution is known, and a student that learns its teacher's walk."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from eddyline_runtime.config import Partition
from eddyline_runtime.flow.distillation import distillation_sample
from eddyline_runtime.flow.loss import FlowSample, flow_matching_loss, flow_sample
from eddyline_runtime.flow.partition import tick_delta_tau
from eddyline_runtime.flow.sampler import euler_step

STREAM = Partition(num_chunks=4, chunk_frames=2)
BEHIND_REFERENCES = Partition(reference_frames=4, num_chunks=4, chunk_frames=1)


def start(*partitions: Partition) -> FlowSample:
    clean = torch.randn(len(partitions), 8, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    return flow_sample(clean, partitions, torch.Generator().manual_seed(2), denoise_steps=4)


def decay(latents: Tensor, tau: Tensor) -> Tensor:
    """d x / d tau = -x: over a stretch d a latent falls to exp(-d) of itself."""
    return -latents


def test_the_target_takes_the_student_where_the_teacher_got() -> None:
    begun = start(STREAM)
    target = distillation_sample(decay, begun, step=0.25, teacher_steps=5)
    arrived = euler_step(begun.latents, target.velocity, tick_delta_tau(STREAM))
    torch.testing.assert_close(arrived, begun.latents * (1 - 0.05) ** 5)


def test_more_teacher_steps_come_closer_to_the_exact_solution() -> None:
    begun = start(STREAM)
    exact = begun.latents * (math.exp(-0.25) - 1) / 0.25
    errors = [
        (distillation_sample(decay, begun, step=0.25, teacher_steps=n).velocity - exact).abs().max().item()
        for n in (1, 4, 16, 64)
    ]
    assert all(later < 0.4 * earlier for earlier, later in itertools.pairwise(errors))


def test_the_teacher_is_asked_at_every_stop_between_two_calls_of_the_student() -> None:
    begun, seen = start(STREAM), []

    def field(latents: Tensor, tau: Tensor) -> Tensor:
        seen.append(tau.clone())
        return torch.zeros_like(latents)

    distillation_sample(field, begun, step=0.25, teacher_steps=2)
    torch.testing.assert_close(torch.stack(seen), torch.stack([begun.tau, begun.tau + 0.125]))


def test_reference_frames_stay_clean_and_carry_no_loss() -> None:
    begun = start(BEHIND_REFERENCES)

    def field(latents: Tensor, tau: Tensor) -> Tensor:
        assert bool((tau[:, :4] == 1).all())
        torch.testing.assert_close(latents[:, :4], begun.latents[:, :4])
        return torch.ones_like(latents)

    target = distillation_sample(field, begun, step=0.25, teacher_steps=4)
    wrong = target.velocity.clone()
    wrong[:, :4] += 7
    assert flow_matching_loss(wrong, target).item() == pytest.approx(0, abs=1e-10)
    wrong[:, 4:] += 1
    assert flow_matching_loss(wrong, target).item() == pytest.approx(1, rel=1e-5)


def test_no_gradient_reaches_the_teacher() -> None:
    scale = torch.tensor(2.0, requires_grad=True)
    target = distillation_sample(lambda latents, tau: latents * scale, start(STREAM), step=0.25, teacher_steps=2)
    assert not target.velocity.requires_grad
