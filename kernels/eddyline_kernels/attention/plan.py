"""Which blocks the Triton kernels of window attention work in: a table, and arithmetic on sizes.

A block is either a box of tokens, fetched by one TMA load, or a run of a window's tokens, gathered row by row. Boxes
need sizes, windows and shifts that are multiples of the box, two-byte numbers, and a GPU with TMA (Hopper or newer).
"""

from dataclasses import dataclass
from math import gcd

from eddyline_kernels.attention.geometry import Triple, Windows

HEAD_DIMS = (32, 64, 128)
TMA_CAPABILITY = (9, 0)


@dataclass(frozen=True, slots=True)
class Blocks:
    """How one kernel is launched."""

    queries: int
    """Tokens of a block of queries."""
    keys: int
    """Tokens of a block of keys and values."""
    num_warps: int
    num_stages: int
    query_box: Triple = (1, 1, 1)
    """Tokens of a block along frames, rows, columns, where blocks are boxes."""
    key_box: Triple = (1, 1, 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """The blocks of the three kernels."""

    boxes: bool
    """Whether blocks are boxes, fetched by TMA; gathered otherwise."""
    forward: Blocks
    dq: Blocks
    dkdv: Blocks


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Blocks to try for boxes, best first; they differ between head dimensions by what fits the registers."""

    forward: tuple[Blocks, ...]
    dq: tuple[Blocks, ...]
    dkdv: tuple[Blocks, ...]


_SMALL = Blocks(64, 64, num_warps=4, num_stages=2)
_BOXES = {
    32: _Candidates(
        forward=(Blocks(128, 128, num_warps=8, num_stages=2), _SMALL),
        dq=(Blocks(128, 64, num_warps=8, num_stages=2), _SMALL),
        dkdv=(Blocks(64, 128, num_warps=8, num_stages=2), _SMALL),
    ),
    64: _Candidates(
        forward=(Blocks(128, 128, num_warps=8, num_stages=2), _SMALL),
        dq=(Blocks(128, 64, num_warps=8, num_stages=2), _SMALL),
        dkdv=(Blocks(64, 128, num_warps=8, num_stages=2), _SMALL),
    ),
    128: _Candidates(
        forward=(Blocks(128, 128, num_warps=8, num_stages=2), _SMALL),
        dq=(Blocks(128, 64, num_warps=8, num_stages=2), _SMALL),
        dkdv=(Blocks(64, 128, num_warps=8, num_stages=2), _SMALL),
    ),
}

_GATHERED_WARPS = {16: (2, 2), 32: (4, 4), 64: (4, 8)}
"""Warps for a gathered block of so many tokens: of the kernels with one sum, and of the one with two."""


def plan(windows: Windows, *, head_dim: int, itemsize: int, tma: bool) -> Plan:
    """Choose the blocks for one call.

    Args:
        windows: the windows of the call.
        head_dim: D, one of HEAD_DIMS.
        itemsize: bytes of one number.
        tma: whether the GPU and the strides of the tensors allow TMA.
    """
    if tma and itemsize == 2:
        candidates = _BOXES[head_dim]
        forward, dq, dkdv = (
            _first_with_boxes(blocks, windows) for blocks in (candidates.forward, candidates.dq, candidates.dkdv)
        )
        if forward and dq and dkdv:
            return Plan(True, forward, dq, dkdv)
    # a block of 16 is the least that tl.dot takes; float32 takes twice the registers
    tokens = max(16, min(64 if itemsize == 2 else 32, 1 << (windows.tokens - 1).bit_length()))
    narrow, wide = _GATHERED_WARPS[tokens]
    stages = 2 if itemsize == 2 else 1
    queries = Blocks(tokens, tokens, num_warps=narrow, num_stages=stages)
    return Plan(False, queries, queries, Blocks(tokens, tokens, num_warps=wide, num_stages=stages))


def box(windows: Windows, tokens: int) -> Triple | None:
    """A box of `tokens` tokens of which every window is a list of whole ones; None if there is none.

    Sides are powers of two that divide size, window and shift of their axis; columns are taken first, because tokens of
    one row lie together in memory.
    """
    sides = []
    for size, window, shift in zip(
        reversed(windows.size), reversed(windows.window), reversed(windows.shift), strict=True
    ):
        common = gcd(size, window, shift)
        side = min(common & -common, tokens)
        tokens //= side
        sides.append(side)
    return (sides[2], sides[1], sides[0]) if tokens == 1 else None


def _first_with_boxes(candidates: tuple[Blocks, ...], windows: Windows) -> Blocks | None:
    for blocks in candidates:
        query_box, key_box = box(windows, blocks.queries), box(windows, blocks.keys)
        if query_box and key_box:
            return Blocks(blocks.queries, blocks.keys, blocks.num_warps, blocks.num_stages, query_box, key_box)
    return None
