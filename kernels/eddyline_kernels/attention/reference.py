"""Window attention in plain torch: the contract, and the CPU path.

StreamDiT (arXiv 2507.03745, sec. 3.3) cuts the token volume [F, Y, X] into windows; tokens of one window attend to
each other, and every other layer shifts the windows by half their size. A shifted axis either wraps around its end (the
paper) or keeps the two end pieces apart as smaller windows (Swin's separation; no mask matrix is needed for it here).

Attention is written as matmul, softmax, matmul: on CPUs with bf16 instructions this runs two to four times faster at
window sizes than torch's fused attention.

Shapes: B batch, F frames, Y X token rows and columns, H heads, D head dimension.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eddyline_kernels.attention.geometry import Triple, Windows, Wrap, check_tensors


def window_attention(
    q: Float[Tensor, "B F Y X H D"],
    k: Float[Tensor, "B F Y X H D"],
    v: Float[Tensor, "B F Y X H D"],
    *,
    window: Triple,
    shift: Triple = (0, 0, 0),
    wrap: Wrap = (False, False, False),
) -> Float[Tensor, "B F Y X H D"]:
    """Softmax attention, scaled by 1/sqrt(D), inside 3-D windows: as `eddyline_kernels.attention.window_attention`."""
    check_tensors(q, k, v)
    return _in_windows(attend, (q, k, v), Windows.cut(_volume(q), window, shift, wrap))


def window_log_sum_exp(
    q: Float[Tensor, "B F Y X H D"],
    k: Float[Tensor, "B F Y X H D"],
    *,
    window: Triple,
    shift: Triple = (0, 0, 0),
    wrap: Wrap = (False, False, False),
) -> Float[Tensor, "B H F Y X"]:
    """log(sum(exp(q k' / sqrt(D)))) over the window of every token, in float32 or wider."""
    check_tensors(q, k, k)
    lse = _in_windows(log_sum_exp, (q, k), Windows.cut(_volume(q), window, shift, wrap))
    return lse[..., 0].permute(0, 4, 1, 2, 3)


def window_gradients(
    grad: Float[Tensor, "B F Y X H D"],
    lse_grad: Float[Tensor, "B H F Y X"] | None,
    q: Float[Tensor, "B F Y X H D"],
    k: Float[Tensor, "B F Y X H D"],
    v: Float[Tensor, "B F Y X H D"],
    *,
    window: Triple,
    shift: Triple = (0, 0, 0),
    wrap: Wrap = (False, False, False),
) -> tuple[Float[Tensor, "B F Y X H D"], Float[Tensor, "B F Y X H D"], Float[Tensor, "B F Y X H D"]]:
    """Gradients of queries, keys and values from those of the result and of its log-sum-exp, without autograd.

    With weights p: dv = p' grad, ds = p (grad v' - sum(p grad v') + lse_grad), dq = ds k / sqrt(D) and
    dk = ds' q / sqrt(D).

    Returns:
        the gradients of q, k and v, contiguous, in their dtype.

    Raises:
        KernelInputError: as `window_attention`.
    """
    check_tensors(q, k, v)
    extra = torch.zeros_like(grad[..., :1]) if lse_grad is None else lse_grad.permute(0, 2, 3, 4, 1)[..., None]
    windows = Windows.cut(_volume(q), window, shift, wrap)
    given = grad, extra.to(grad.dtype), q, k, v
    dq, dk, dv = _in_windows(lambda *t: torch.cat(gradients(*t), dim=-1), given, windows).chunk(3, dim=-1)
    return dq.contiguous(), dk.contiguous(), dv.contiguous()


def _in_windows(
    function: Callable[..., Float[Tensor, "B W T H E"]],
    tensors: tuple[Float[Tensor, "B F Y X H D"], ...],
    windows: Windows,
) -> Float[Tensor, "B F Y X H E"]:
    """Apply a function of W windows of T tokens to all windows of a volume."""
    batch, frames, height, width, heads, _ = tensors[0].shape
    groups = window_groups(windows)
    flat = [t.flatten(1, 3) for t in tensors]
    if len(groups) == 1 and len(groups[0]) == 1:
        found = function(*(t[:, None] for t in flat))[:, 0]
        return found.view(batch, frames, height, width, heads, found.shape[-1])
    # what is made while a compiler traces, or beside tensors that only tell their shapes, is not for others
    lasting = type(flat[0]) is Tensor and not flat[0].is_meta and not torch.compiler.is_compiling()
    order, inverse = (_kept_order if lasting else _order)(windows, flat[0].device)
    pieces = []
    for group, index in zip(groups, order, strict=True):
        count, tokens = len(group), len(group[0])
        picked = (t.index_select(1, index).view(batch, count, tokens, heads, t.shape[-1]) for t in flat)
        pieces.append(function(*picked).flatten(1, 2))
    found = torch.cat(pieces, dim=1).index_select(1, inverse)
    return found.view(batch, frames, height, width, heads, found.shape[-1])


def _order(windows: Windows, device: torch.device) -> tuple[list[Int[Tensor, " tokens"]], Int[Tensor, " N"]]:
    """Token indices of each group of `window_groups`, and where each token is among all of those."""
    order = [torch.tensor(group, device=device).flatten() for group in window_groups(windows)]
    return order, torch.argsort(torch.cat(order))


@cache
def _kept_order(windows: Windows, device: torch.device) -> tuple[list[Int[Tensor, " tokens"]], Int[Tensor, " N"]]:
    """The same, made once for good: while a CUDA graph is captured nothing can come from the host, and one that was
    captured reads them for as long as it lives."""
    with torch.inference_mode(False):
        return _order(windows, device)


def attend(
    q: Float[Tensor, "B W Q H D"], k: Float[Tensor, "B W T H D"], v: Float[Tensor, "B W T H D"]
) -> Float[Tensor, "B W Q H D"]:
    """Attention of some tokens of each of W windows to all T of it."""
    return torch.matmul(_scores(q, k).softmax(dim=-1).to(v.dtype), v.transpose(2, 3)).transpose(2, 3)


def log_sum_exp(q: Float[Tensor, "B W Q H D"], k: Float[Tensor, "B W T H D"]) -> Float[Tensor, "B W Q H 1"]:
    """That of the scores of some tokens of each of W windows with all T of it, in float32 or wider."""
    scores = _scores(q, k)
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).logsumexp(dim=-1, keepdim=True).transpose(2, 3)


def gradients(
    grad: Float[Tensor, "B W Q H D"],
    lse_grad: Float[Tensor, "B W Q H 1"],
    q: Float[Tensor, "B W Q H D"],
    k: Float[Tensor, "B W T H D"],
    v: Float[Tensor, "B W T H D"],
) -> tuple[Float[Tensor, "B W Q H D"], Float[Tensor, "B W T H D"], Float[Tensor, "B W T H D"]]:
    """Gradients of queries, and what these queries add to those of the keys and values of their windows."""
    grad, lse_grad, q, k, v = (t.transpose(2, 3) for t in (grad, lse_grad, q, k, v))
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)
    steps = grad @ v.mT
    slopes = weights * (steps - (weights * steps).sum(-1, keepdim=True) + lse_grad) * q.shape[-1] ** -0.5
    return (slopes @ k).transpose(2, 3), (slopes.mT @ q).transpose(2, 3), (weights.mT @ grad).transpose(2, 3)


def _scores(q: Float[Tensor, "B W Q H D"], k: Float[Tensor, "B W T H D"]) -> Float[Tensor, "B W H Q T"]:
    return torch.matmul(q.transpose(2, 3) * q.shape[-1] ** -0.5, k.permute(0, 1, 3, 4, 2))


def _volume(q: Float[Tensor, "B F Y X H D"]) -> Triple:
    _, frames, height, width, _, _ = q.shape
    return frames, height, width


@lru_cache(maxsize=256)
def window_groups(windows: Windows) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Token indices of every window, the windows grouped by how many tokens they hold: [group][window][token]."""
    axes = [
        _axis_windows(*axis) for axis in zip(windows.size, windows.window, windows.shift, windows.wrap, strict=True)
    ]
    by_size: dict[int, list[tuple[int, ...]]] = {}
    _, height, width = windows.size
    for frame_window in axes[0]:
        for row_window in axes[1]:
            for column_window in axes[2]:
                tokens = [(f * height + y) * width + x for f in frame_window for y in row_window for x in column_window]
                by_size.setdefault(len(tokens), []).append(tuple(tokens))
    return tuple(tuple(group) for group in by_size.values())


def _axis_windows(size: int, window: int, shift: int, wrap: bool) -> list[list[int]]:
    """Positions along one axis of every window, in the order in which the windows start."""
    if wrap or shift == 0:
        starts = range(0, size, window)
        return [[(shift + start + i) % size for i in range(min(window, size - start))] for start in starts]
    edges = [0, *range(shift, size, window), size]
    return [list(range(first, end)) for first, end in pairwise(edges)]
