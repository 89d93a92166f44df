"""Which blocks the Triton kernels of modulation work in: arithmetic on sizes."""

from dataclasses import dataclass

LARGEST_WIDTH = 16384
"""A row that a program can hold in its registers."""
AHEAD_BYTES = 65536
"""What a program may hold in shared memory of rows to come."""
LEAST_NUMBERS = 4
"""Of a part of a row in a thread; with fewer of two bytes, loads would be less than 64 bits wide."""
HEAD_DIMS = (16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class RowsPlan:
    """How the kernels that own rows are launched."""

    columns: int
    """Columns of a part of a row, a power of two."""
    parts: int
    """Parts of a row: 1 that holds the width, or 3 that are the width."""
    rows: int
    """Tokens of one frame that a program takes one after the other."""
    blocks: int
    """Programs of a frame."""
    num_warps: int
    stages: int
    """Rows that are on their way or computed at a time; those on their way go to shared memory."""


@dataclass(frozen=True, slots=True)
class HeadsPlan:
    """How the kernels that own heads of tokens are launched."""

    tokens: int
    """Tokens of which a program holds heads at a time."""
    heads: int
    """Heads that it holds at a time, a power of two that divides all of them."""
    turns: int
    """How often it takes so many tokens, one time after the other; the forward takes them once."""
    blocks: int
    """Programs of all tokens of a batch row."""
    num_warps: int


def rows_plan(width: int, tokens: int, *, ahead: int, backward: bool = False) -> RowsPlan:
    """Choose for rows of `width` numbers, `tokens` of which share what modulates them.

    Gradients of what modulates are summed by each program and stored apart, so a program of the backward takes many
    rows; and it holds about twice as much for each column, so it has twice the warps.

    Args:
        width: W.
        tokens: S.
        ahead: bytes of a column that are fetched for rows to come while one is computed; 0 where that is not needed,
            because there are programs enough on a multiprocessor to wait for memory in turns.
        backward: whether it is for the gradients.
    """
    num_warps = max(1, min(16, _power_of_two(width) // (512 if backward else 1024)))
    columns, parts = _parts(width, num_warps)
    stages = min(3, 1 + AHEAD_BYTES // (columns * parts * ahead)) if ahead else 1
    return rows_blocks(width, tokens, rows=32 if backward else 4, num_warps=num_warps, stages=stages)


def rows_blocks(width: int, tokens: int, *, rows: int, num_warps: int, stages: int) -> RowsPlan:
    """The plan whose programs take `rows` rows each, where a frame has so many."""
    rows = min(rows, tokens)
    return RowsPlan(*_parts(width, num_warps), rows, -(-tokens // rows), num_warps, stages)


def heads_plan(heads: int, dim: int, tokens: int, *, backward: bool = False) -> HeadsPlan:
    """Choose for `heads` heads of `dim` numbers: about 16 numbers of each half in a thread of four warps.

    The backward holds gradients and sums besides, so it takes half of that at a time; and since a program ends with
    adding up its sums, which takes as long as some tokens do, it takes several times as many of them.
    """
    return heads_blocks(heads, dim, tokens, numbers=1024 if backward else 2048, turns=4 if backward else 1)


def heads_blocks(heads: int, dim: int, tokens: int, *, numbers: int, turns: int, num_warps: int = 4) -> HeadsPlan:
    """The plan that holds about `numbers` numbers of each half at a time, `turns` times where there are tokens."""
    together = min(heads & -heads, 8)
    block = max(1, min(numbers // (together * dim // 2), _power_of_two(tokens)))
    turns = min(turns, -(-tokens // block))
    return HeadsPlan(block, together, turns, -(-tokens // (block * turns)), num_warps)


def _parts(width: int, num_warps: int) -> tuple[int, int]:
    """Columns of a part of a row, and parts.

    A width of three times a power of two is held in three parts, so that no thread idles, where each thread has
    LEAST_NUMBERS of a part.
    """
    third = width & -width
    if width == 3 * third and third >= 32 * num_warps * LEAST_NUMBERS:
        return third, 3
    return _power_of_two(width), 1


def _power_of_two(number: int) -> int:
    """The least one that is not below."""
    return 1 << (number - 1).bit_length()
