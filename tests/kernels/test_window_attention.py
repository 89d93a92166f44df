"""Window attention against the naive way: every token, every head, float64, an explicit mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels.naive import Triple, Wrap, naive, visible
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from eddyline_kernels.attention import reference, window_attention, window_attention_with_lse
from eddyline_kernels.errors import KernelInputError

NO_WRAP = (False, False, False)

CASES = {
    "plain": ((4, 4, 6), (2, 2, 3), (0, 0, 0), NO_WRAP),
    "plain, ragged edges": ((3, 5, 7), (2, 2, 3), (0, 0, 0), NO_WRAP),
    "shifted, ends apart": ((4, 6, 6), (2, 3, 2), (1, 1, 1), NO_WRAP),
    "shifted, ends apart, ragged": ((5, 5, 7), (2, 4, 3), (1, 3, 1), NO_WRAP),
    "shifted, wrapped": ((4, 6, 6), (2, 3, 2), (1, 2, 1), (True, True, True)),
    "wrapped along columns only": ((3, 5, 6), (2, 3, 2), (1, 2, 1), (False, False, True)),
    "wrapped along frames and rows": ((4, 6, 5), (2, 3, 4), (1, 1, 2), (True, True, False)),
    "wrapped without a shift": ((2, 4, 4), (2, 2, 2), (0, 0, 0), (True, True, True)),
    "a window larger than the volume": ((3, 2, 5), (8, 16, 16), (0, 0, 0), NO_WRAP),
    "one window, shifted and wrapped": ((2, 3, 4), (2, 3, 4), (1, 1, 3), (True, True, True)),
    "axes of one token": ((1, 7, 1), (2, 3, 2), (0, 2, 0), NO_WRAP),
}


def draw(
    size: Triple, *, dtype: torch.dtype = torch.float64, batch: int = 2, heads: int = 2, dim: int = 4
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(size))
    return [torch.randn(batch, *size, heads, dim, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3)]


@pytest.mark.parametrize(("size", "window", "shift", "wrap"), CASES.values(), ids=CASES.keys())
def test_it_equals_masked_attention_over_all_tokens(size: Triple, window: Triple, shift: Triple, wrap: Wrap) -> None:
    q, k, v = draw(size)
    out = window_attention(q, k, v, window=window, shift=shift, wrap=wrap)
    torch.testing.assert_close(out, naive(q, k, v, visible(size, window, shift, wrap))[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "window", "shift", "wrap"), CASES.values(), ids=CASES.keys())
def test_its_gradients_equal_those_of_masked_attention(size: Triple, window: Triple, shift: Triple, wrap: Wrap) -> None:
    inputs = [t.requires_grad_() for t in draw(size)]
    weights = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = torch.autograd.grad(
        (window_attention(*inputs, window=window, shift=shift, wrap=wrap) * weights).sum(), inputs
    )
    plain = torch.autograd.grad((naive(*inputs, visible(size, window, shift, wrap))[0] * weights).sum(), inputs)
    for name, a, b in zip("qkv", ours, plain, strict=True):
        torch.testing.assert_close(
            a, b, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"gradient of {name}: {text}"
        )


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_volume_window_and_shift_gives_masked_attention(data: st.DataObject) -> None:
    size, window, shift, wrap = [], [], [], []
    for _ in range(3):
        size.append(data.draw(st.integers(1, 5)))
        window.append(data.draw(st.integers(1, 6)))
        clipped = min(window[-1], size[-1])
        shift.append(data.draw(st.integers(0, clipped - 1)))
        wrap.append(size[-1] % clipped == 0 and data.draw(st.booleans()))
    q, k, v = draw(tuple(size), batch=1, heads=1)
    out = window_attention(q, k, v, window=tuple(window), shift=tuple(shift), wrap=tuple(wrap))
    torch.testing.assert_close(out, naive(q, k, v, visible(size, window, shift, wrap))[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "window", "shift", "wrap"), CASES.values(), ids=CASES.keys())
def test_gradients_without_autograd_equal_those_of_autograd(
    size: Triple, window: Triple, shift: Triple, wrap: Wrap
) -> None:
    cut = {"window": window, "shift": shift, "wrap": wrap}
    inputs = [t.requires_grad_() for t in draw(size)]
    means, sums = window_attention_with_lse(*inputs, **cut)
    grads = torch.randn_like(means), torch.randn_like(sums)
    wanted = torch.autograd.grad([means, sums], inputs, grads)
    found = reference.window_gradients(*grads, *(t.detach() for t in inputs), **cut)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("wrap", [NO_WRAP, (True, True, True)], ids=["ends apart", "wrapped"])
def test_a_token_never_sees_another_window(wrap: Wrap) -> None:
    size, window, shift = (4, 4, 6), (2, 2, 3), (1, 1, 1)
    q, k, v = draw(size, dtype=torch.float32)
    clean = window_attention(q, k, v, window=window, shift=shift, wrap=wrap).flatten(1, 3)
    mask = visible(size, window, shift, wrap)
    for token in (0, 17, 50, 95):
        hidden = ~mask[token].view(1, *size, 1, 1)
        poisoned = window_attention(
            q, k.masked_fill(hidden, 1e9), v.masked_fill(hidden, 1e30), window=window, shift=shift, wrap=wrap
        )
        seen = mask[token].nonzero()[:, 0]
        assert torch.equal(poisoned.flatten(1, 3)[:, seen], clean[:, seen])


def test_it_gives_the_log_sum_exp_of_the_scores_too() -> None:
    size, window, shift = (3, 5, 7), (2, 4, 3), (1, 3, 1)
    q, k, v = draw(size)
    out, lse = window_attention_with_lse(q, k, v, window=window, shift=shift)
    torch.testing.assert_close(lse, naive(q, k, v, visible(size, window, shift, NO_WRAP))[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(out, window_attention(q, k, v, window=window, shift=shift))


def test_windows_of_one_token_return_the_values() -> None:
    q, k, v = draw((2, 3, 4))
    torch.testing.assert_close(window_attention(q, k, v, window=(1, 1, 1)), v)


@pytest.mark.parametrize("window", [(2, 2, 3), (8, 8, 8)], ids=["several windows", "one window"])
@pytest.mark.parametrize(("batch", "heads"), [(0, 2), (2, 0)])
def test_no_batch_rows_and_no_heads_give_nothing(batch: int, heads: int, window: Triple) -> None:
    inputs = [t.requires_grad_() for t in draw((3, 4, 5), batch=batch, heads=heads)]
    out, lse = window_attention_with_lse(*inputs, window=window)
    assert out.shape == inputs[0].shape
    assert lse.shape == (batch, heads, 3, 4, 5)
    for gradient in torch.autograd.grad(out.sum() + lse.sum(), inputs):
        assert gradient.shape == out.shape


@pytest.mark.parametrize("window", [(2, 2, 3), (8, 8, 8)], ids=["several windows", "one window"])
def test_strides_of_the_inputs_do_not_matter(window: Triple) -> None:
    q, k, v = draw((3, 4, 5))
    plain = window_attention(q, k, v, window=window)
    strided_q = q.permute(4, 1, 0, 3, 2, 5).contiguous().permute(2, 1, 4, 3, 0, 5)
    strided_k = torch.stack([k, torch.full_like(k, 7.0)], dim=-1)[..., 0]
    strided_v = torch.cat([v, torch.full_like(v, 7.0)], dim=3)[:, :, :, :5]
    assert not any(t.is_contiguous() for t in (strided_q, strided_k, strided_v))
    torch.testing.assert_close(window_attention(strided_q, strided_k, strided_v, window=window), plain)


def test_in_bf16_it_errs_no_more_than_twice_as_much_as_plain_attention_in_bf16() -> None:
    size, window, shift = (4, 6, 10), (2, 4, 6), (1, 2, 3)
    q, k, v = draw(size, dim=32)
    mask = visible(size, window, shift, NO_WRAP)
    exact, _ = naive(q, k, v, mask)
    low = [t.bfloat16() for t in (q, k, v)]
    ours = window_attention(*low, window=window, shift=shift)
    assert ours.dtype == torch.bfloat16
    error = (ours.double() - exact).abs().max()
    plain = (naive(*low, mask)[0].double() - exact).abs().max()
    assert 0 < error <= 2 * plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (0, 2, 2)}, "window of 0 tokens is empty"),
        ({"window": (2, 2, -1)}, "window of -1 tokens is empty"),
        ({"window": (2, 2, 2), "shift": (0, 2, 0)}, "shift 2 lies outside the window of 2"),
        ({"window": (2, 2, 2), "shift": (0, -1, 0)}, "shift -1 lies outside"),
        ({"window": (8, 2, 2), "shift": (4, 0, 0)}, "shift 4 lies outside the window of 4"),
        ({"window": (2, 2, 4), "wrap": (False, False, True)}, "does not divide the wrapped axis of 6"),
    ],
)
def test_windows_that_cannot_be_cut_are_refused(options: dict[str, Triple], message: str) -> None:
    q, k, v = draw((4, 4, 6))
    with pytest.raises(ValueError, match=message):
        window_attention(q, k, v, **options)


def test_dtypes_and_devices_that_differ_are_refused_by_name() -> None:
    q, k, v = draw((4, 4, 6))
    with pytest.raises(
        KernelInputError, match=r"q \(2, 4, 4, 6, 2, 4\) is torch.float64, k torch.float32.*one floating"
    ):
        window_attention(q, k.float(), v, window=(2, 2, 2))
    with pytest.raises(KernelInputError, match=r"is torch.int64.*one floating dtype"):
        window_attention(q.long(), k.long(), v.long(), window=(2, 2, 2))
    with pytest.raises(KernelInputError, match=r"is on cpu, k on meta.*one device"):
        window_attention(q, k.to("meta"), v, window=(2, 2, 2))


def test_shapes_that_differ_are_refused_by_name() -> None:
    q, k, v = draw((4, 4, 6))
    with pytest.raises(ValueError, match=r"k \(2, 4, 4, 5, 2, 4\).*equal shapes"):
        window_attention(q, k[:, :, :, :5], v, window=(2, 2, 2))
    with pytest.raises(ValueError, match="six axes"):
        window_attention(q[0], k[0], v[0], window=(2, 2, 2))


def test_a_second_call_takes_no_numbers_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can come from there while a CUDA graph is captured; and what the first call kept may be differentiated
    with, too, wherever that was."""
    q, k, v = (t.requires_grad_() for t in torch.randn(3, 1, 4, 6, 7, 2, 8))
    with torch.inference_mode():
        expected = reference.window_attention(q, k, v, window=(2, 3, 3), shift=(1, 0, 1))
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, None)
    again = reference.window_attention(q, k, v, window=(2, 3, 3), shift=(1, 0, 1))
    assert torch.equal(again, expected)
    again.sum().backward()


def test_what_is_made_beside_tensors_that_only_tell_their_shapes_is_not_kept_for_others() -> None:
    def attended() -> Tensor:
        q, k, v = torch.ones(3, 1, 2, 3, 5, 1, 4)
        return reference.window_attention(q, k, v, window=(1, 2, 3), shift=(0, 1, 2))

    with FakeTensorMode():
        attended()
    assert torch.equal(attended(), torch.ones(1, 2, 3, 5, 1, 4))
