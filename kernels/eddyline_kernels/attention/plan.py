"""Which blocks the Triton kernels of window attention work in: a table, and arithmetic on sizes.

A block is either a box of tokens, fetched by one TMA load, or a run of a window's tokens, gathered row by row. Boxes
need sizes, windows and shifts that are multiples of the box, two-byte numbers, and a GPU with TMA (Hopper or newer).

Heads of 128 are gathered all the same: on an H200 the kernel of boxes gave wrong means for them. The assembler of
Triton 3.6 and 3.7 (ptxas 12.8) gives the registers that hold a block of queries for the whole loop away to the weights,
so that from the second block of keys on the weights stand where the queries should be. It befalls boxes whose block of
keys has as many tokens as a head has numbers, 64 and 64 too: both then take equally many registers. Gathered queries
are safe: they stay in shared memory. It can be read off the machine code, without a GPU (`tests/kernels/clobber.py`).
`candidates` are plans to prove and to measure on a GPU before one of them may become the plan.
"""

from dataclasses import dataclass, replace
from math import gcd

from eddyline_kernels.attention.geometry import Triple, Windows

HEAD_DIMS = (32, 64, 128)
LARGEST_PROVEN_BOX = 64
"""Head dimension up to which boxes gave the right results on a GPU."""
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
    own_box: bool = True
    """Whether the block that a program owns is fetched by TMA too, where blocks are boxes; gathered otherwise."""
    peeled: bool = False
    """Whether gathered blocks that run over the end of their window have their own code; others need no mask then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The blocks of the three kernels."""

    boxes: bool
    """Whether blocks are boxes, fetched by TMA; gathered otherwise."""
    forward: Blocks
    dq: Blocks
    dkdv: Blocks


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The blocks of the three kernels before it is known whether windows can be cut into them."""

    forward: Blocks
    dq: Blocks
    dkdv: Blocks


_BOXES = _Boxes(
    forward=Blocks(128, 128, num_warps=8, num_stages=2),
    dq=Blocks(128, 64, num_warps=8, num_stages=2),
    dkdv=Blocks(64, 128, num_warps=8, num_stages=2),
)
_UNPROVEN = {
    128: {
        "boxes of 64": _Boxes(
            forward=Blocks(64, 64, num_warps=4, num_stages=3),
            dq=Blocks(64, 64, num_warps=4, num_stages=3),
            dkdv=Blocks(64, 64, num_warps=4, num_stages=2),
        ),
        "boxes of 128, queries gathered": _Boxes(
            forward=Blocks(128, 128, num_warps=8, num_stages=2, own_box=False),
            dq=Blocks(128, 64, num_warps=8, num_stages=3),
            dkdv=Blocks(64, 128, num_warps=8, num_stages=3),
        ),
    },
}
"""Boxes by head dimension and name that no GPU has proven yet."""

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
    if tma and itemsize == 2 and head_dim <= LARGEST_PROVEN_BOX:
        boxes = _in_boxes(_BOXES, windows)
        if boxes:
            return boxes
    # a block of 16 is the least that tl.dot takes; float32 takes twice the registers
    tokens = max(16, min(64 if itemsize == 2 else 32, 1 << (windows.tokens - 1).bit_length()))
    narrow, wide = _GATHERED_WARPS[tokens]
    stages = 2 if itemsize == 2 else 1
    # in float32 the registers of both codes do not fit
    peeled = itemsize == 2 and windows.tokens > tokens
    queries = Blocks(tokens, tokens, num_warps=narrow, num_stages=stages, peeled=peeled)
    return Plan(False, queries, queries, replace(queries, num_warps=wide))


def candidates(windows: Windows, *, head_dim: int) -> dict[str, Plan]:
    """Plans by name that may be better than `plan` and that no GPU has proven yet: for benchmarks, not for use."""
    named = {name: _in_boxes(boxes, windows) for name, boxes in _UNPROVEN.get(head_dim, {}).items()}
    return {name: found for name, found in named.items() if found}


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


def _in_boxes(boxes: _Boxes, windows: Windows) -> Plan | None:
    found = []
    for blocks in (boxes.forward, boxes.dq, boxes.dkdv):
        query_box, key_box = box(windows, blocks.queries), box(windows, blocks.keys)
        if not query_box or not key_box:
            return None
        found.append(replace(blocks, query_box=query_box, key_box=key_box))
    return Plan(True, *found)
