"""Window attention in Triton, run by Triton's interpreter, against the naive way in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels.naive import Triple, Wrap, naive, visible
from torch import Tensor

from eddyline_kernels import backend, errors
from eddyline_kernels.attention import operator, reference, window_attention, window_attention_with_lse
from eddyline_kernels.attention import plan as plan_module
from eddyline_kernels.attention.geometry import Windows
from eddyline_kernels.attention.plan import LARGEST_PRODUCT, Plan, axis_for_frames, plans
from eddyline_kernels.exactness import error

pytestmark = pytest.mark.usefixtures("interpreter")
NO_WRAP = (False, False, False)


@dataclass(frozen=True)
class Case:
    """One call: how the volume is cut, and what the tensors are."""

    size: Triple
    window: Triple
    shift: Triple
    wrap: Wrap
    dtype: torch.dtype
    batch: int = 1
    heads: int = 1
    dim: int = 32

    @property
    def cut(self) -> dict[str, Triple | Wrap]:
        return {"window": self.window, "shift": self.shift, "wrap": self.wrap}


HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32
BOXES = {
    "boxes, one window of two": Case((2, 8, 16), (2, 8, 16), (0, 0, 0), NO_WRAP, HALF),
    "boxes, shifted frames, wrapped": Case((2, 8, 16), (2, 8, 16), (1, 0, 0), (True, False, True), BRAIN, batch=2),
    "boxes, shifted columns, ends apart": Case((2, 8, 24), (2, 8, 16), (0, 0, 8), NO_WRAP, HALF, heads=2),
    "boxes, shifted rows, wrapped": Case((2, 16, 8), (2, 16, 8), (0, 8, 0), (False, True, False), BRAIN, dim=64),
    "boxes, an end window of half a size": Case((6, 8, 8), (4, 8, 8), (0, 0, 0), NO_WRAP, HALF, dim=64),
}
GATHERED = {
    "plain, ragged edges": Case((3, 2, 5), (2, 2, 3), (0, 0, 0), NO_WRAP, FULL, batch=2),
    "shifted, ends apart, ragged": Case((2, 3, 5), (2, 2, 3), (0, 1, 2), NO_WRAP, HALF, heads=2),
    "shifted on all axes, ends apart": Case((3, 3, 3), (2, 3, 2), (1, 2, 1), NO_WRAP, BRAIN),
    "shifted, wrapped": Case((4, 3, 4), (2, 3, 2), (1, 2, 1), (True, True, True), FULL),
    "wrapped along columns only": Case((2, 3, 6), (2, 2, 3), (0, 1, 2), (False, False, True), HALF),
    "a window of several blocks": Case((3, 5, 5), (8, 8, 8), (0, 0, 0), NO_WRAP, FULL, dim=64),
    "a block more than whole ones, ragged": Case((3, 5, 10), (3, 5, 5), (0, 0, 2), NO_WRAP, HALF),
    "a block more than whole ones, shifted, wrapped": Case((3, 5, 10), (3, 5, 5), (1, 2, 3), (True,) * 3, BRAIN),
    "axes of one token": Case((1, 7, 1), (2, 3, 2), (0, 2, 0), NO_WRAP, BRAIN),
}
CASES = {**BOXES, **GATHERED}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def draw(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values in one packed tensor, as a linear layer makes them."""
    generator = torch.Generator().manual_seed(sum(case.size))
    packed = torch.randn(case.batch, *case.size, 3, case.heads, case.dim, generator=generator)
    return packed.to(case.dtype).unbind(4)  # type: ignore[return-value]


def weights_like(t: Tensor) -> Tensor:
    return torch.randn(t.shape, generator=torch.Generator().manual_seed(1)).to(t.dtype)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.usefixtures("nan_scratch")
def test_results_and_gradients_err_at_most_twice_as_much_as_those_of_plain_torch(case: Case) -> None:
    check_errors(case)


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.usefixtures("nan_scratch")
def test_they_do_so_in_the_plan_for_gpus_that_multiply_from_registers(
    wrap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eddyline_kernels.attention import launch

    monkeypatch.setattr(launch, "from_shared_memory", lambda device: False)
    case = Case((3, 5, 10), (3, 5, 5), (1, 0, 2), (wrap,) * 3, HALF, dim=128)
    (plan,) = operator._kind(Windows.cut(case.size, **case.cut), *draw(case)).plans
    assert (plan.forward.keys, plan.dq.num_warps, plan.dkdv.peeled) == (32, 8, False)
    check_errors(case)


def check_errors(case: Case) -> None:
    """Check results, their log-sum-exp and gradients of window attention against float64 and plain torch."""
    inputs = [t.detach().requires_grad_() for t in draw(case)]
    doubles = [t.detach().double().requires_grad_() for t in inputs]
    weights = weights_like(inputs[0])
    ours, our_lse = window_attention_with_lse(*inputs, **case.cut)
    plain = reference.window_attention(*inputs, **case.cut)
    exact, exact_lse = naive(*doubles, visible(case.size, **case.cut))
    assert ours.dtype == case.dtype
    assert error(ours, exact) <= 2 * error(plain, exact)
    assert error(our_lse, exact_lse) <= 2 * error(reference.window_log_sum_exp(*inputs[:2], **case.cut), exact_lse)

    gradients = torch.autograd.grad(ours, inputs, weights), torch.autograd.grad(plain, inputs, weights)
    for name, a, b, c in zip("qkv", *gradients, torch.autograd.grad(exact, doubles, weights.double()), strict=True):
        assert error(a, c) <= 2 * error(b, c), f"gradient of {name}"


@pytest.mark.parametrize(
    "case", [CASES["axes of one token"], BOXES["boxes, one window of two"]], ids=["gathered", "boxes"]
)
def test_the_log_sum_exp_has_a_gradient_too(case: Case) -> None:
    inputs = [t.detach().requires_grad_() for t in draw(case)]
    out, lse = window_attention_with_lse(*inputs, **case.cut)
    ours = torch.autograd.grad([out, lse], inputs, [weights_like(out), weights_like(lse)])
    doubles = [t.detach().double().requires_grad_() for t in inputs]
    exact_out, exact_lse = naive(*doubles, visible(case.size, **case.cut))
    grads = [weights_like(out).double(), weights_like(lse).double()]
    for a, b in zip(ours, torch.autograd.grad([exact_out, exact_lse], doubles, grads), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-2, atol=2e-2)


def test_the_cases_are_read_in_both_ways() -> None:
    for name, case in CASES.items():
        kind = operator._kind(Windows.cut(case.size, **case.cut), *draw(case))
        assert kind.plans[0].boxes == (name in BOXES), name


HEADS_OF_128 = Case((2, 8, 16), (2, 8, 16), (0, 0, 0), NO_WRAP, HALF, dim=128)
IN_BOXES, IN_SMALL_BOXES, GATHERING = plans(
    Windows.cut(HEADS_OF_128.size, **HEADS_OF_128.cut), head_dim=128, itemsize=2, tma=True
)


def planned(plan: Plan, *, near: bool = True) -> list[Tensor]:
    """Results and gradients of heads of 128 under a plan."""
    from eddyline_kernels.attention import launch

    windows = Windows.cut(HEADS_OF_128.size, **HEADS_OF_128.cut)
    q, k, v = draw(HEADS_OF_128)
    out, lse = launch.forward(q, k, v, windows, plan, near=near)
    return [out, lse, *launch.backward(v, None, q, k, v, out, lse, windows, plan, near=near)]


@pytest.fixture(scope="module")
def gathering(interpreter: None) -> list[Tensor]:
    return planned(GATHERING)


@pytest.mark.parametrize("plan", [IN_BOXES, IN_SMALL_BOXES], ids=lambda plan: plan.name)
def test_all_plans_compute_the_same(plan: Plan, gathering: list[Tensor]) -> None:
    for gathered, boxes in zip(gathering, planned(plan), strict=True):
        torch.testing.assert_close(boxes, gathered, rtol=2e-3, atol=2e-3)


@settings(max_examples=50)
@given(divisor=st.integers(1, 2000), numbers=st.lists(st.integers(0, LARGEST_PRODUCT - 1), min_size=1, max_size=16))
def test_kernels_divide_exactly_by_one_multiplication(divisor: int, numbers: list[int]) -> None:
    from tests.kernels.division import divide_kernel

    # the number of a token times a side of its window is below LARGEST_PRODUCT
    source = torch.tensor([number // divisor for number in numbers] + [0] * (16 - len(numbers)), dtype=torch.int32)
    quotients = torch.empty_like(source)
    divide_kernel[(1,)](source, quotients, divisor, block=16)
    assert torch.equal(quotients, source // divisor)


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(
    "length",
    [(50_000, 1, 1), (2**30, 1, 1), (2**20, 40, 1), (2**20, 1, 40), (1, 46_340, 1), (1, 1, 46_340), (1, 1290, 1290)],
)
def test_kernels_find_the_tokens_of_the_largest_windows(length: Triple, wrap: bool) -> None:
    from tests.kernels.division import place_kernel

    assert axis_for_frames(length) == 0
    tokens, block = math.prod(length), 64
    start: Triple = tuple(side - 1 if wrap else 0 for side in length)  # type: ignore[assignment]
    for first in (0, tokens // 3 // block * block, (tokens - 1) // block * block):
        places = torch.zeros(3, block, dtype=torch.int32)
        place_kernel[(1,)](places, first // block, start, length, length, wrap=(wrap,) * 3, block=block)
        number = torch.arange(first, min(first + block, tokens))
        _, rows, columns = length
        inside = number // (rows * columns), number // columns % rows, number % columns
        for found, s, n, side in zip(places, start, inside, length, strict=True):
            assert torch.equal(found[: len(number)].long(), (s + n) % side)
            assert (found[len(number) :] == -1).all()


@pytest.mark.parametrize(
    "case",
    [
        Case((2, 3, 11), (2, 3, 8), (1, 2, 3), NO_WRAP, FULL, batch=2, heads=2),
        Case((4, 10, 3), (2, 10, 2), (1, 4, 1), (True, True, False), FULL),
        Case((1, 1, 128), (1, 1, 128), (0, 0, 0), NO_WRAP, HALF),
    ],
    ids=["columns", "rows, wrapped", "boxes"],
)
@pytest.mark.usefixtures("nan_scratch")
def test_of_windows_that_are_too_long_another_axis_is_taken_for_frames(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_of_it() -> list[Tensor]:
        inputs = [t.detach().requires_grad_() for t in draw(case)]
        out, lse = window_attention_with_lse(*inputs, **case.cut)
        assert torch.equal(window_attention(*inputs, **case.cut), out)
        return [out, lse, *torch.autograd.grad([out, lse], inputs, [weights_like(out), weights_like(lse)])]

    plain = all_of_it()
    monkeypatch.setattr(plan_module, "LARGEST_PRODUCT", math.prod(case.window) * 4)
    assert axis_for_frames(case.window) in (1, 2)
    for a, b in zip(all_of_it(), plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=2e-3)


def test_any_window_that_plain_torch_has_room_for_can_be_walked_over() -> None:
    assert axis_for_frames((1, 1, 46_341)) == 2
    assert axis_for_frames((1, 50_000, 1)) == 1
    assert axis_for_frames((2, 4, 2**24)) == 2
    assert axis_for_frames((1, 1291, 1291)) is None


@pytest.mark.parametrize("plan", [IN_BOXES, GATHERING], ids=lambda plan: plan.name)
def test_addresses_of_64_bits_give_the_same_bits(plan: Plan) -> None:
    for a, b in zip(planned(plan, near=False), planned(plan), strict=True):
        assert torch.equal(a, b)


def test_only_tensors_of_more_than_two_thousand_million_numbers_a_batch_row_need_64_bits() -> None:
    from eddyline_kernels.attention import launch

    def near(*size: int) -> bool:
        return launch.near(torch.empty(size, device="meta"))

    assert near(2**20, 16, 32, 32, 24, 128)  # of batch rows there may be any number
    assert near(1, 2, 2**10, 2**10, 1, 2**10)
    assert not near(1, 2, 2**10, 2**10, 1, 2**10 + 1)
    heads_apart = torch.empty((1, 4, 1, 2**10, 2**10, 2**10), device="meta").movedim(1, 4)
    assert not launch.near(heads_apart), "its results have heads side by side"


def test_a_gradient_that_is_contiguous_and_not_aligned_is_read_all_the_same() -> None:
    case = BOXES["boxes, one window of two"]
    inputs = [t.detach().requires_grad_() for t in draw(case)]
    out = window_attention(*inputs, **case.cut)
    joined = torch.cat([torch.zeros(3, dtype=case.dtype), out.flatten()])
    aligned = torch.autograd.grad(out.square().sum(), inputs, retain_graph=True)
    for a, b in zip(torch.autograd.grad(joined.square().sum(), inputs), aligned, strict=True):
        assert torch.equal(a, b)


def test_tensors_that_lie_otherwise_than_those_that_plans_are_proven_on_are_copied() -> None:
    case = BOXES["boxes, one window of two"]
    plain = window_attention(*draw(case), **case.cut)
    strided = [torch.stack([t, torch.full_like(t, 7.0)], dim=-1)[..., 0] for t in draw(case)]
    torch.testing.assert_close(window_attention(*strided, **case.cut), plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["boxes, shifted frames, wrapped", "shifted, ends apart, ragged"])
def test_queries_keys_and_values_that_begin_anywhere_are_read_and_differentiated_as_others(name: str) -> None:
    """TMA and wide loads want addresses that are multiples of 16 bytes."""
    case = CASES[name]
    packed = torch.stack(draw(case), dim=4)
    shifted = torch.cat([packed.new_full((3,), 7.0), packed.flatten()])[3:].view_as(packed)
    results = []
    for qkv in (packed, shifted):
        inputs = [t.detach().requires_grad_() for t in qkv.unbind(4)]
        assert all((t.data_ptr() % 16 == 0) == (qkv is packed) for t in inputs)
        out = window_attention(*inputs, **case.cut)
        results.append([out, *torch.autograd.grad(out, inputs, weights_like(out))])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("axis", [0, 1, 4], ids=["batch", "frames", "heads"])
def test_keys_and_values_that_are_repeated_without_a_copy_are_gathered(axis: int) -> None:
    """A stride of 0 is none for TMA."""
    case = Case((2, 8, 16), (2, 8, 16), (0, 0, 0), NO_WRAP, HALF, batch=2, heads=2)
    q, *once = (t.detach().clone().requires_grad_() for t in draw(case))
    k, v = (t.narrow(axis, 0, 1).expand(q.shape) for t in once)
    windows = Windows.cut(case.size, **case.cut)
    assert operator._kind(windows, q, q, q).tma
    assert not operator._kind(windows, q, k, v).tma
    results = []
    for keys, values in ((k, v), (k.contiguous(), v.contiguous())):
        out = window_attention(q, keys, values, **case.cut)
        results.append([out, *torch.autograd.grad(out, [q, *once], weights_like(out))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("name", ["plain, ragged edges", "boxes, shifted frames, wrapped"])
def test_torch_takes_it_as_an_operator(name: str) -> None:
    case = CASES[name]
    inputs = [t.detach().requires_grad_() for t in draw(case)]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        operator.triton_window_attention, (*inputs, case.window, case.shift, case.wrap), test_utils=checks
    )


@pytest.mark.parametrize("dynamic", [False, True])
def test_it_compiles_into_one_graph_with_its_gradient(dynamic: bool) -> None:
    case = CASES["axes of one token"]
    inputs = [t.detach().requires_grad_() for t in draw(case)]

    def loss(*tensors: Tensor) -> Tensor:
        return window_attention(*tensors, **case.cut).float().square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    ours = torch.autograd.grad(compiled(*inputs), inputs)
    for a, b in zip(ours, torch.autograd.grad(loss(*inputs), inputs), strict=True):
        assert torch.equal(a, b)


def test_every_call_and_every_gradient_is_counted() -> None:
    case = CASES["axes of one token"]
    inputs = [t.detach().requires_grad_() for t in draw(case)]
    before = backend.launches.copy()
    window_attention(*inputs, **case.cut).sum().backward()
    assert backend.launches - before == {"window_attention": 1, "window_attention_backward": 1}


@pytest.mark.parametrize(("batch", "heads"), [(0, 1), (1, 0)])
def test_no_batch_rows_and_no_heads_give_nothing(batch: int, heads: int) -> None:
    inputs = [torch.empty(batch, 1, 7, 1, heads, 32, requires_grad=True) for _ in range(3)]
    out, lse = window_attention_with_lse(*inputs, window=(1, 3, 1))
    assert out.shape == inputs[0].shape
    assert lse.shape == (batch, heads, 1, 7, 1)
    for gradient in torch.autograd.grad(out.sum() + lse.sum(), inputs):
        assert gradient.shape == out.shape


def test_windows_that_cannot_be_cut_are_refused_as_the_reference_refuses_them() -> None:
    q, k, v = draw(CASES["plain, ragged edges"])
    with pytest.raises(errors.KernelInputError, match="does not divide the wrapped axis of 5"):
        window_attention(q, k, v, window=(1, 1, 2), wrap=(False, False, True))


def test_a_second_gradient_is_refused_with_the_shape() -> None:
    case = CASES["axes of one token"]
    inputs = [t.detach().float().requires_grad_() for t in draw(case)]
    first = torch.autograd.grad(window_attention(*inputs, **case.cut).square().sum(), inputs, create_graph=True)
    with pytest.raises(errors.KernelInputError, match=r"\(1, 1, 7, 1, 1, 32\) has no second gradient"):
        torch.autograd.grad(first[0].sum(), inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": torch.float64}, "bfloat16, float16 and float32 only"),
        ({"dim": 48}, "head dimensions 32, 64, 128 only"),
    ],
)
def test_what_has_no_kernel_is_refused_when_triton_is_demanded(change: dict[str, object], message: str) -> None:
    q, k, v = draw(
        Case(
            **{"size": (1, 2, 2), "window": (1, 2, 2), "shift": (0, 0, 0), "wrap": NO_WRAP, **{"dtype": FULL, **change}}
        )
    )
    with pytest.raises(errors.KernelChoiceError, match=message):
        window_attention(q, k, v, window=q.shape[1:4])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 1291, 1291, 1, 32), "a window of 1 x 1291 x 1291 tokens is too large"),
        ((65_536, 1, 1, 4, 1, 32), "at most 65535 batch rows, and as many heads"),
        ((1, 1, 1, 4, 65_536, 32), "at most 65535 batch rows, and as many heads"),
    ],
)
def test_what_is_too_large_for_the_kernels_is_refused_when_triton_is_demanded(
    shape: tuple[int, ...], message: str
) -> None:
    q = torch.empty(shape, device="meta")
    with pytest.raises(errors.KernelChoiceError, match=message):
        window_attention(q, q, q, window=(4, 2000, 2000))
