"""Window attention the naive way: every token, every head, an explicit mask."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

Triple = tuple[int, int, int]
Wrap = tuple[bool, bool, bool]


def window_of(position: int, size: int, window: int, shift: int, wrap: bool) -> int:
    """The number of the window that a position on one axis is in."""
    window = min(window, size)
    if wrap:
        return (position - shift) % size // window
    return 0 if position < shift else 1 + (position - shift) // window


def visible(size: Triple, window: Triple, shift: Triple, wrap: Wrap) -> Tensor:
    """[tokens, tokens], True where both are in one window."""
    windows = torch.tensor(
        [
            [window_of(*axis) for axis in zip(token, size, window, shift, wrap, strict=True)]
            for token in itertools.product(*(range(n) for n in size))
        ]
    )
    return (windows[:, None] == windows).all(-1)


def naive(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over all tokens with a mask, one batch row and one head after the other; means and log-sum-exps."""
    batch, frames, height, width, heads, dim = q.shape
    means, sums = [], []
    for row in range(batch):
        for head in range(heads):
            one_q, one_k, one_v = (t[row, ..., head, :].reshape(-1, dim) for t in (q, k, v))
            scores = (one_q @ one_k.T / dim**0.5).masked_fill(~mask, float("-inf"))
            means.append(scores.softmax(-1) @ one_v)
            sums.append(scores.logsumexp(-1))
    volume = (frames, height, width)
    return (
        torch.stack(means).view(batch, heads, *volume, dim).permute(0, 2, 3, 4, 1, 5),
        torch.stack(sums).view(batch, heads, *volume),
    )
