"""Which blocks the Triton kernels of window attention work in: a table, and arithmetic on sizes.

A block is either a box of tokens, fetched by one TMA load, or a run of a window's tokens, gathered row by row. Boxes
need sizes, windows and shifts that are multiples of the box, two-byte numbers, and a GPU whose tensor cores read what
TMA wrote to shared memory (Hopper, B200). Those of other GPUs take what they multiply from registers, which then do not
hold blocks as large.

There are several plans for a call, the fastest first; `proof` finds the first that is right on the GPU at hand. That is
no formality: the assembler of Triton 3.6 and 3.7 (ptxas 12.8) gives the registers that hold a program's own block of
queries for the whole loop away to the weights, where both take equally many registers, and from the second block of
keys on the weights stand where the queries should be. It befalls own blocks that are fetched as boxes; gathered ones
stay in shared memory. It can be read off the machine code, without a GPU (`tests/kernels/clobber.py`).
"""

from dataclasses import dataclass, replace
from math import gcd, prod

from eddyline_kernels.attention.geometry import Triple, Windows

HEAD_DIMS = (32, 64, 128)
FROM_SHARED_MEMORY = ((9, 0), (12, 0))
"""Compute capabilities, from and up to but not including, of GPUs with TMA whose tensor cores read shared memory."""
LARGEST_PRODUCT = 2**31
"""The tokens of a window times its rows, and times its columns, must be less: kernels divide the number of a token by
them, by multiplying (`_divided`). They never divide by frames."""


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

    name: str
    boxes: bool
    """Whether blocks are boxes, fetched by TMA; gathered otherwise."""
    forward: Blocks
    dq: Blocks
    dkdv: Blocks


_SHORT_HEADS = (
    Plan(
        name="boxes of 128",
        boxes=True,
        forward=Blocks(128, 128, num_warps=8, num_stages=2),
        dq=Blocks(128, 64, num_warps=8, num_stages=2),
        dkdv=Blocks(64, 128, num_warps=8, num_stages=2),
    ),
)
_LONG_HEADS = (
    Plan(
        name="boxes of 128",
        boxes=True,
        forward=Blocks(128, 128, num_warps=8, num_stages=3, own_box=False),
        dq=Blocks(64, 64, num_warps=4, num_stages=3),
        dkdv=Blocks(64, 64, num_warps=4, num_stages=2, own_box=False),
    ),
    Plan(
        name="boxes of 64",
        boxes=True,
        forward=Blocks(64, 64, num_warps=4, num_stages=3, own_box=False),
        dq=Blocks(64, 64, num_warps=4, num_stages=2, own_box=False),
        dkdv=Blocks(64, 64, num_warps=4, num_stages=2, own_box=False),
    ),
)
_BOXES = {32: _SHORT_HEADS, 64: _SHORT_HEADS, 128: _LONG_HEADS}
"""Plans in boxes by head dimension, the fastest first, before it is known whether windows can be cut into them."""

_GATHERED_WARPS = {16: 2, 32: 4, 64: 4}
"""Warps for a gathered block of so many tokens."""


def axis_for_frames(window: Triple) -> int | None:
    """The axis that kernels have to take for frames to walk over a window: frames, or, where it is too long otherwise,
    its longest. None if it is too large then, too: it has 1.6 million tokens at least, and plain torch has no room for
    their scores either."""
    frames, height, width = window
    if prod(window) * max(height, width) < LARGEST_PRODUCT:
        return 0
    axis, short = (1, width) if height > width else (2, height)
    return axis if prod(window) * max(frames, short) < LARGEST_PRODUCT else None


def multiplies_from_shared_memory(capability: tuple[int, int]) -> bool:
    """Whether tensor cores read shared memory and TMA fills it: on Hopper and B200, not on Ampere, Ada, RTX 50."""
    first, beyond = FROM_SHARED_MEMORY
    return first <= capability < beyond


def plans(windows: Windows, *, head_dim: int, itemsize: int, tma: bool, in_registers: bool = False) -> tuple[Plan, ...]:
    """The plans for one call, the fastest first; the last one gathers, which suits any windows.

    Args:
        windows: the windows of the call.
        head_dim: D, one of HEAD_DIMS.
        itemsize: bytes of one number.
        tma: whether the GPU and the strides of the tensors allow TMA.
        in_registers: whether the GPU multiplies from registers.
    """
    boxes = [_in_boxes(plan, windows) for plan in _BOXES[head_dim]] if tma and itemsize == 2 else []
    last = gathered(windows, head_dim=head_dim, itemsize=itemsize, in_registers=in_registers)
    return *(plan for plan in boxes if plan), last


def gathered(windows: Windows, *, head_dim: int, itemsize: int, in_registers: bool = False) -> Plan:
    """The plan whose blocks are gathered: of 64 tokens, of fewer where windows are smaller or numbers wide."""
    # a block of 16 is the least that tl.dot takes; float32 takes twice the registers
    tokens = max(16, min(64 if itemsize == 2 else 32, 1 << (windows.tokens - 1).bit_length()))
    warps = _GATHERED_WARPS[tokens]
    stages = 2 if itemsize == 2 else 1
    # in float32 the registers of both codes do not fit
    peeled = itemsize == 2 and windows.tokens > tokens
    blocks = Blocks(tokens, tokens, num_warps=warps, num_stages=stages, peeled=peeled)
    if tokens == 64 and head_dim == 128 and in_registers:
        # neither both codes fit the registers there, nor a block of keys beside the queries in four warps
        blocks = replace(blocks, peeled=False)
        wide = replace(blocks, num_warps=2 * warps)
        return Plan("gathered", False, replace(blocks, keys=32), wide, wide)
    # two sums of long heads do not fit the registers of four warps
    dkdv = replace(blocks, num_warps=2 * warps) if tokens == 64 and head_dim == 128 else blocks
    return Plan("gathered", False, blocks, blocks, dkdv)


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


def _in_boxes(plan: Plan, windows: Windows) -> Plan | None:
    """The plan with the sides of its boxes; None if windows cannot be cut into them."""
    found = []
    for blocks in (plan.forward, plan.dq, plan.dkdv):
        query_box, key_box = box(windows, blocks.queries), box(windows, blocks.keys)
        if not query_box or not key_box:
            return None
        found.append(replace(blocks, query_box=query_box, key_box=key_box))
    forward, dq, dkdv = found
    return replace(plan, forward=forward, dq=dq, dkdv=dkdv)
