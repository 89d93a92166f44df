"""The root-mean-square norm in Triton, run by Triton's interpreter, against plain torch in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eddyline_kernels import backend
from eddyline_kernels.errors import KernelInputError
from eddyline_kernels.norm import rms_norm

pytestmark = pytest.mark.usefixtures("interpreter")
EPS = 1e-3
"""Large enough that forgetting it shows."""


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(2, 37, 3, 64), (133, 128), (5, 24), (1, 1)])
@pytest.mark.usefixtures("nan_scratch")
def test_it_errs_at_most_twice_as_much_as_plain_torch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, weight = draw(*shape, dtype=dtype) * 3, draw(shape[-1], dtype=dtype) + 1
    before = backend.launches["rms_norm"]
    ours = rms_norm(x, weight, eps=EPS)
    assert backend.launches["rms_norm"] == before + 1
    exact = F.rms_norm(x.double(), shape[-1:], weight.double(), eps=EPS)
    plain = F.rms_norm(x, shape[-1:], weight, eps=EPS)
    assert (ours.shape, ours.dtype) == (plain.shape, plain.dtype)
    assert (ours.double() - exact).norm() <= 2 * (plain.double() - exact).norm() + 1e-6


def test_rows_that_lie_apart_are_read_where_they_are() -> None:
    x = draw(4, 6, 32).transpose(0, 1)
    torch.testing.assert_close(rms_norm(x, torch.ones(32), eps=EPS), F.rms_norm(x, (32,), torch.ones(32), eps=EPS))


def test_a_gradient_is_plain_torchs() -> None:
    x = draw(4, 32).requires_grad_()
    before = backend.launches["rms_norm"]
    rms_norm(x, torch.ones(32), eps=EPS).sum().backward()
    assert x.grad is not None
    assert backend.launches["rms_norm"] == before


def test_a_weight_that_does_not_fit_is_refused_with_the_shapes() -> None:
    with pytest.raises(KernelInputError, match=r"x \(4, 32\).*weight \(16,\).*do not fit; pass rows"):
        rms_norm(draw(4, 32), torch.ones(16), eps=EPS)
