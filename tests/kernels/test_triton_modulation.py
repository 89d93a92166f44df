"""Modulation in Triton, run by Triton's interpreter, against plain torch in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from eddyline_kernels import backend, errors
from eddyline_kernels.exactness import error
from eddyline_kernels.modulation import norm_rotate, reference, residual_norm, residual_norm_fp8
from eddyline_kernels.modulation.norm_operator import triton_residual_norm, triton_residual_norm_fp8
from eddyline_kernels.modulation.rotary_operator import triton_norm_rotate

pytestmark = pytest.mark.usefixtures("interpreter")
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32
EPS = 1e-3
"""Large enough that forgetting it shows."""


@dataclass(frozen=True)
class Rows:
    """One call of the residual norm."""

    size: tuple[int, int, int, int]
    """B, F, S, W."""
    dtype: torch.dtype
    branch: bool = True
    gate: bool = True
    learned: bool = False
    """Whether scale and shift are learned weights [W] instead of numbers of each frame."""
    parameters: torch.dtype | None = None
    """The dtype of gate, scale and shift where it is not that of the tokens."""


ROWS = {
    "gated, odd width, rows left over": Rows((2, 2, 5, 37), FULL),
    "gated, many rows a program": Rows((1, 1, 35, 24), BRAIN),
    "gated, fp16, one token a frame": Rows((1, 3, 1, 48), HALF),
    "without a gate": Rows((1, 2, 6, 33), BRAIN, gate=False),
    "without a branch": Rows((2, 1, 7, 40), HALF, branch=False, gate=False),
    "learned weights in float32": Rows((1, 2, 5, 19), BRAIN, gate=False, learned=True, parameters=FULL),
    "a width of one": Rows((1, 1, 3, 1), FULL),
    "a row in thirds": Rows((2, 2, 5, 384), BRAIN),
    "a row in thirds, in float32, without a gate": Rows((1, 2, 3, 384), FULL, gate=False),
    "a row without a rest": Rows((1, 2, 5, 64), HALF),
}
rows = pytest.mark.parametrize("case", ROWS.values(), ids=ROWS.keys())


def draw(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def tensors(case: Rows) -> dict[str, Tensor]:
    """What a call is given; numbers of frames are slices of one tensor, as a linear layer makes them."""
    batch, frames, _, width = case.size
    kind = case.parameters or case.dtype
    given = {"x": draw(*case.size, dtype=case.dtype, seed=1) + 3}
    if case.branch:
        given["branch"] = draw(*case.size, dtype=case.dtype, seed=2)
    packed = draw(batch, frames, 1, 3 * width, dtype=kind, seed=3).chunk(3, dim=-1)
    given |= {"scale": packed[0][0, 0, 0], "shift": packed[1][0, 0, 0]} if case.learned else {}
    given |= {} if case.learned else {"scale": packed[0], "shift": packed[1]}
    given |= {"gate": packed[2]} if case.gate else {}
    return {name: t.detach().requires_grad_() for name, t in given.items()}


def differentiated(
    function: Callable[..., tuple[Tensor, ...]], given: dict[str, Tensor], **options: float
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Results, and the gradient of a weighted sum of all of them for every tensor that has one."""
    results = function(**given, **options)
    weights = [draw(*t.shape, dtype=torch.float32, seed=9 + i).to(t.dtype) for i, t in enumerate(results)]
    wanted = {name: t for name, t in given.items() if t.requires_grad}
    return results, dict(zip(wanted, torch.autograd.grad(results, list(wanted.values()), weights), strict=True))


def doubled(given: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().double().requires_grad_(t.requires_grad) for name, t in given.items()}


def check_against_float64(
    ours: Callable[..., tuple[Tensor, ...]],
    plain: Callable[..., tuple[Tensor, ...]],
    given: dict[str, Tensor],
    **options: float,
) -> None:
    """Results and gradients err at most twice as much as those of plain torch in the same precision."""
    results, gradients = differentiated(ours, given, **options)
    plain_results, plain_gradients = differentiated(plain, given, **options)
    exact_results, exact_gradients = differentiated(plain, doubled(given), **options)
    for number, (a, b, c) in enumerate(zip(results, plain_results, exact_results, strict=True)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert error(a, c) <= 2 * error(b, c) + 1e-7, f"result {number}"
    for name, exact in exact_gradients.items():
        a, b = gradients[name], plain_gradients[name]
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert error(a, exact) <= 2 * error(b, exact) + 1e-7, f"gradient of {name}"


def plain_residual_norm(**given: Tensor | float) -> tuple[Tensor, ...]:
    whole = {"branch": None, "gate": None, **given}
    return reference.residual_norm(**whole)  # type: ignore[arg-type]


@rows
@pytest.mark.usefixtures("nan_scratch")
def test_residual_norms_and_gradients_err_at_most_twice_as_much_as_plain_torch(case: Rows) -> None:
    options = {"base": 0.0 if case.learned else 1.0, "eps": EPS}
    check_against_float64(residual_norm, plain_residual_norm, tensors(case), **options)


@pytest.mark.parametrize("name", ["gated, odd width, rows left over", "without a branch", "learned weights in float32"])
@pytest.mark.usefixtures("nan_scratch")
def test_quantised_rows_are_those_of_plain_torch_but_for_rounding(name: str) -> None:
    case = ROWS[name]
    given = {name: t.detach() for name, t in tensors(case).items()}
    options = {"base": 0.0 if case.learned else 1.0, "eps": EPS}
    total, values, row_scale = residual_norm_fp8(**given, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(backend.VARIABLE, "reference")
        plain_total, plain_values, plain_row_scale = residual_norm_fp8(**given, **options)
    torch.testing.assert_close(total, plain_total)
    torch.testing.assert_close(row_scale, plain_row_scale, rtol=1e-5, atol=0)
    # a number on the border between two of e4m3 may go to either side
    assert int((values.float() != plain_values.float()).sum()) <= 1
    torch.testing.assert_close(values.float(), plain_values.float(), rtol=0.13, atol=2**-9)


@dataclass(frozen=True)
class Heads:
    """One call of norm and rotary positions."""

    size: tuple[int, int, int, int]
    """B, N, H, D."""
    dtype: torch.dtype
    weights: torch.dtype | None = None


HEADS = {
    "odd tokens": Heads((2, 7, 2, 16), FULL),
    "three heads, weights in float32": Heads((1, 5, 3, 32), BRAIN, FULL),
    "several programs": Heads((1, 11, 8, 64), HALF),
    "one token": Heads((1, 1, 1, 128), BRAIN),
    "several turns and programs, tokens left over": Heads((2, 39, 4, 64), BRAIN),
}
heads = pytest.mark.parametrize("case", HEADS.values(), ids=HEADS.keys())


def packed(case: Heads) -> dict[str, Tensor]:
    batch, tokens, count, dim = case.size
    angles = draw(tokens, dim // 2, dtype=FULL, seed=4)
    given = {
        # as a linear layer makes it, with room between rows
        "qkv": draw(batch, tokens, 4, count, dim, dtype=case.dtype, seed=1)[:, :, :3].detach().requires_grad_(),
        "q_weight": draw(dim, dtype=case.weights or case.dtype, seed=2).requires_grad_(),
        "k_weight": draw(dim, dtype=case.weights or case.dtype, seed=3).requires_grad_(),
        "rope": torch.stack([angles.cos(), angles.sin()]).repeat(1, 1, 2),
    }
    return given


@heads
@pytest.mark.usefixtures("nan_scratch")
def test_turned_queries_and_keys_and_gradients_err_at_most_twice_as_much_as_plain_torch(case: Heads) -> None:
    check_against_float64(norm_rotate, reference.norm_rotate, packed(case), eps=EPS)


def test_no_tokens_give_no_output() -> None:
    given = tensors(ROWS["gated, odd width, rows left over"])
    empty = {name: (t[:0] if t.ndim == 4 else t) for name, t in given.items()}
    total, out = residual_norm(**empty)
    assert total.shape == out.shape == (0, 2, 5, 37)
    torch.autograd.grad(out.sum(), given["scale"])
    turned = packed(HEADS["odd tokens"])
    assert norm_rotate(**{**turned, "qkv": turned["qkv"][:0]})[0].shape == (0, 7, 2, 16)


def test_tokens_with_any_strides_give_the_same() -> None:
    given = {name: t.detach() for name, t in tensors(ROWS["gated, odd width, rows left over"]).items()}
    plain = residual_norm(**given)
    strided = {name: t.transpose(0, 3).contiguous().transpose(0, 3) for name, t in given.items()}
    assert not any(t.is_contiguous() for t in strided.values())
    for a, b in zip(residual_norm(**strided), plain, strict=True):
        assert torch.equal(a, b)


SMALL = Rows((1, 2, 2, 8), FULL)
TURNED = Heads((1, 2, 2, 16), FULL)


def test_heads_farther_apart_than_32_bits_tell_are_found() -> None:
    rooms = torch.empty(2**32 + 256, dtype=HALF)  # of memory that is hardly ever touched
    far = rooms.as_strided((1, 2, 3, 3, 16), (96, 48, 16, 2**30, 1), storage_offset=2**31)
    near = far.copy_(draw(*far.shape, dtype=HALF, seed=1)).contiguous()
    operands = [draw(*size, dtype=HALF, seed=2) for size in ((16,), (16,), (2, 2, 16))]
    for a, b in zip(norm_rotate(far, *operands), norm_rotate(near, *operands), strict=True):
        assert torch.equal(a, b)
    backward = torch.ops.eddyline.norm_rotate_backward
    for a, b in zip(*(backward(*t.unbind(2), t, *operands, EPS) for t in (far, near)), strict=True):
        assert torch.equal(a, b)


def test_torch_takes_them_as_operators() -> None:
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    for case in (SMALL, replace(SMALL, branch=False, gate=False)):
        given = tensors(case)
        order = [given.get(name) for name in ("x", "branch", "gate", "scale", "shift")]
        torch.library.opcheck(triton_residual_norm, (*order, 1.0, EPS), test_utils=checks)
    plain = [None if t is None else t.detach() for t in order]
    torch.library.opcheck(triton_residual_norm_fp8, (*plain, 1.0, EPS), test_utils=(checks[0], checks[2]))
    given = packed(TURNED)
    qkv, *operands = (given[name].detach() for name in ("qkv", "q_weight", "k_weight", "rope"))
    forward, back = (qkv[:, :, :2], *operands, EPS), (*qkv.unbind(2), qkv, *operands, EPS)
    torch.library.opcheck(triton_norm_rotate, forward, test_utils=(checks[0], checks[2]))
    torch.library.opcheck(torch.ops.eddyline.norm_rotate_backward, back, test_utils=(checks[0], checks[2]))


def test_both_compile_into_one_graph_with_their_gradients() -> None:
    norm, turn = tensors(SMALL), packed(TURNED)

    def loss(norm: dict[str, Tensor], turn: dict[str, Tensor]) -> Tensor:
        results = (*residual_norm(**norm), *norm_rotate(**turn))
        return torch.stack([t.square().sum() for t in results]).sum()

    wanted = [*norm.values(), *(t for t in turn.values() if t.requires_grad)]
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for a, b in zip(
        torch.autograd.grad(compiled(norm, turn), wanted), torch.autograd.grad(loss(norm, turn), wanted), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_every_call_and_every_gradient_is_counted() -> None:
    before = backend.launches.copy()
    norm, turn = tensors(SMALL), packed(TURNED)
    residual_norm(**norm)[1].sum().backward()
    norm_rotate(**turn)[0].sum().backward()
    with torch.no_grad():
        residual_norm_fp8(**norm)
    assert backend.launches - before == {
        "residual_norm": 1,
        "residual_norm_backward": 1,
        "residual_norm_fp8": 1,
        "norm_rotate": 1,
        "norm_rotate_backward": 1,
    }


def test_second_gradients_are_refused_with_the_shape() -> None:
    norm, turn = tensors(SMALL), packed(TURNED)
    (first,) = torch.autograd.grad(residual_norm(**norm)[1].square().sum(), norm["x"], create_graph=True)
    with pytest.raises(errors.KernelInputError, match=r"\(1, 2, 2, 8\) has no second gradient"):
        torch.autograd.grad(first.sum(), norm["x"])
    (first,) = torch.autograd.grad(norm_rotate(**turn)[0].square().sum(), turn["qkv"], create_graph=True)
    with pytest.raises(errors.KernelInputError, match=r"\(1, 2, 3, 2, 16\) have no second gradient"):
        torch.autograd.grad(first.sum(), turn["qkv"])


def test_what_has_no_kernel_is_refused_when_triton_is_demanded() -> None:
    wide = torch.zeros(1, 1, 1, 16385)
    with pytest.raises(errors.KernelChoiceError, match="widths up to 16384 only"):
        residual_norm(wide, wide, wide)
    with pytest.raises(errors.KernelChoiceError, match="bfloat16, float16 and float32 only"):
        residual_norm_fp8(wide[..., :8].double(), wide[..., :8], wide[..., :8])
    with pytest.raises(errors.KernelChoiceError, match="head dimensions 16, 32, 64, 128, 256 only"):
        norm_rotate(torch.zeros(1, 2, 3, 1, 24), torch.zeros(24), torch.zeros(24), torch.zeros(2, 2, 24))
    many = torch.zeros(256, 256, 1, 8)
    for operator in (residual_norm, residual_norm_fp8):
        with pytest.raises(errors.KernelChoiceError, match="at most 65535 frames of all batch rows"):
            operator(many, many[0, 0, 0], many[0, 0, 0])
    with pytest.raises(errors.KernelChoiceError, match="at most 65535 batch rows"):
        norm_rotate(torch.zeros(65_536, 1, 3, 1, 16), torch.zeros(16), torch.zeros(16), torch.zeros(2, 1, 16))
