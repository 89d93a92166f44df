"""Which blocks the Triton kernels of modulation work in: arithmetic on sizes."""

from dataclasses import dataclass

LARGEST_WIDTH = 16384
"""A row that a program can hold in its registers."""
HEAD_DIMS = (16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class RowsPlan:
    """How the kernels that own rows are launched."""

    columns: int
    """Columns of a program, a power of two that holds the width."""
    rows: int
    """Tokens of one frame that a program takes one after the other."""
    blocks: int
    """Programs of a frame."""
    num_warps: int


@dataclass(frozen=True, slots=True)
class HeadsPlan:
    """How the kernels that own heads of tokens are launched."""

    tokens: int
    """Tokens of a program."""
    heads: int
    """Heads that it holds at a time, a power of two that divides all of them."""
    blocks: int
    """Programs of all tokens of a batch row."""
    num_warps: int


def rows_plan(width: int, tokens: int, *, backward: bool = False) -> RowsPlan:
    """Choose for rows of `width` numbers, `tokens` of which share what modulates them.

    Gradients of what modulates are summed by each program and stored apart, so a program of the backward takes many
    rows; and it holds about twice as much for each column, so it has twice the warps.
    """
    columns = _power_of_two(width)
    rows = min(32 if backward else 4, tokens)
    per_warp = 512 if backward else 1024
    return RowsPlan(columns, rows, -(-tokens // rows), max(1, min(16, columns // per_warp)))


def heads_plan(heads: int, dim: int, tokens: int) -> HeadsPlan:
    """Choose for `heads` heads of `dim` numbers: about 16 numbers of each half in a thread of four warps."""
    together = heads & -heads
    together = min(together, 8)
    block = max(1, min(2048 // (together * dim // 2), _power_of_two(tokens)))
    return HeadsPlan(block, together, -(-tokens // block), 4)


def _power_of_two(number: int) -> int:
    """The least one that is not below."""
    return 1 << (number - 1).bit_length()
