"""Muon: orthogonal updates of the size that was asked for, whatever the shape."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from eddyline_runtime.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_singular_values_come_out_near_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrices).float())
    assert values.min().item() > 0.6
    assert values.max().item() < 1.3


def test_directions_are_those_of_the_matrix() -> None:
    """Up to how far singular values end from one."""
    u, _, v = torch.linalg.svd(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)))
    turned = orthogonalised((u @ torch.diag(torch.linspace(0.5, 1.0, 16)) @ v)[None])[0].float()
    inner = u.T @ turned @ v.T
    assert (inner - torch.diag(inner.diagonal())).abs().max().item() < 0.1


def test_parameters_of_one_shape_are_updated_as_each_alone() -> None:
    def run(count: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(2)
        weights = [nn.Parameter(torch.randn(12, 20, generator=generator)) for _ in range(2)]
        gradients = [torch.randn(12, 20, generator=generator) for _ in range(2)]
        optimiser = Muon(weights[:count], lr=0.1, weight_decay=0.0)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        optimiser.step()
        return [weight.detach() for weight in weights]

    torch.testing.assert_close(run(2)[0], run(1)[0], atol=2e-3, rtol=0)


def test_an_update_has_the_size_of_the_rate_and_decay_shrinks_the_weights() -> None:
    weight = nn.Parameter(torch.ones(32, 32))
    weight.grad = torch.randn(32, 32, generator=torch.Generator().manual_seed(3))
    Muon([weight], lr=0.01, weight_decay=0.0).step()
    moved = (weight.detach() - 1).square().mean().sqrt().item()
    assert moved == pytest.approx(0.01 * 0.2, rel=0.2), "AdamW's updates have a root mean square of about a fifth"
    still = nn.Parameter(torch.ones(4, 4))
    still.grad = torch.zeros(4, 4)
    Muon([still], lr=0.01, weight_decay=0.5).step()
    torch.testing.assert_close(still.detach(), torch.full((4, 4), 0.995))


def test_a_parameter_without_a_gradient_stays() -> None:
    idle = nn.Parameter(torch.ones(4, 4))
    Muon([idle], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(idle.detach(), torch.ones(4, 4))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9 on")
def test_several_steps_agree_with_torchs_own() -> None:
    generator = torch.Generator().manual_seed(4)
    start = torch.randn(24, 40, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    mine = Muon([ours], lr=0.05, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(24, 40, generator=generator)
        ours.grad, theirs.grad = gradient, gradient.clone()
        mine.step()
        reference.step()
    moved = (theirs.detach() - start).norm().item()
    assert (ours.detach() - theirs.detach()).norm().item() < 0.02 * moved, "theirs orthogonalises in bf16"
