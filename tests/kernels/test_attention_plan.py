"""How windows are cut into the blocks of the kernels: pure arithmetic."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline_kernels.attention.geometry import Windows
from eddyline_kernels.attention.plan import (
    HEAD_DIMS,
    Plan,
    box,
    gathered,
    multiplies_from_shared_memory,
    plans,
)
from eddyline_kernels.attention.reference import _axis_windows

NO_WRAP = (False, False, False)


@st.composite
def cuts(draw: st.DrawFn) -> Windows:
    """Any windows, with sizes that share factors often enough for boxes to exist."""
    axes = []
    for _ in range(3):
        unit = draw(st.sampled_from([1, 2, 4, 8]))
        window = unit * draw(st.integers(1, 4))
        size = unit * draw(st.integers(1, 8))
        shift = unit * draw(st.integers(0, min(window, size) // unit - 1))
        axes.append((size, window, shift, size % min(window, size) == 0 and draw(st.booleans())))
    size, window, shift, wrap = zip(*axes, strict=True)
    return Windows.cut(size, window, shift, wrap)


@given(windows=cuts())
def test_the_windows_of_every_axis_are_counted(windows: Windows) -> None:
    axes = zip(windows.size, windows.window, windows.shift, windows.wrap, strict=True)
    assert windows.counts == tuple(len(_axis_windows(*axis)) for axis in axes)


@given(windows=cuts(), tokens=st.sampled_from([64, 128]))
def test_every_window_is_a_list_of_whole_boxes(windows: Windows, tokens: int) -> None:
    sides = box(windows, tokens)
    common = [math.gcd(*axis) for axis in zip(windows.size, windows.window, windows.shift, strict=True)]
    if sides is None:
        assert math.prod(n & -n for n in common) < tokens
        return
    assert math.prod(sides) == tokens
    for side, *axis in zip(sides, windows.size, windows.window, windows.shift, windows.wrap, strict=True):
        for positions in _axis_windows(*axis):
            firsts = positions[::side]
            assert positions == [first + i for first in firsts for i in range(side)]


LARGE = Windows.cut((16, 32, 32), (8, 16, 16), (4, 8, 8), (True, True, True))


def plans_of(windows: Windows, *, head_dim: int = 64, itemsize: int = 2, tma: bool = True) -> tuple[Plan, ...]:
    return plans(windows, head_dim=head_dim, itemsize=itemsize, tma=tma)


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_large_windows_are_read_in_boxes_first_and_gathered_last(head_dim: int) -> None:
    first, *_, last = plans_of(LARGE, head_dim=head_dim)
    assert first.boxes
    assert not last.boxes


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_the_plans_of_a_call_have_names_of_their_own(head_dim: int) -> None:
    names = [plan.name for plan in plans_of(LARGE, head_dim=head_dim)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_no_plan_has_queries_in_boxes_and_as_many_keys_in_a_block_as_numbers_in_a_head(head_dim: int) -> None:
    """ptxas 12.8 then gives the queries' registers to the weights."""
    for plan in plans_of(LARGE, head_dim=head_dim):
        blocks = plan.forward
        assert not (plan.boxes and blocks.own_box and blocks.keys == head_dim), blocks


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_the_sides_of_a_box_multiply_to_its_block(head_dim: int) -> None:
    for plan in plans_of(LARGE, head_dim=head_dim)[:-1]:
        for blocks in (plan.forward, plan.dq, plan.dkdv):
            assert math.prod(blocks.query_box) == blocks.queries
            assert math.prod(blocks.key_box) == blocks.keys


@pytest.mark.parametrize(
    ("size", "itemsize", "tma"), [((16, 32, 32), 4, True), ((16, 32, 32), 2, False), ((15, 31, 33), 2, True)]
)
def test_wide_numbers_old_gpus_and_odd_sizes_are_gathered(size: tuple[int, int, int], itemsize: int, tma: bool) -> None:
    windows = Windows.cut(size, (8, 16, 16), (4, 8, 8), NO_WRAP)
    assert plans_of(windows, itemsize=itemsize, tma=tma) == (gathered(windows, head_dim=64, itemsize=itemsize),)


@pytest.mark.parametrize(
    ("capability", "suits"),
    [((8, 0), False), ((8, 9), False), ((9, 0), True), ((10, 0), True), ((10, 3), True), ((12, 0), False)],
)
def test_boxes_are_for_gpus_whose_tensor_cores_read_shared_memory(capability: tuple[int, int], suits: bool) -> None:
    assert multiplies_from_shared_memory(capability) == suits


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("itemsize", [2, 4])
def test_only_long_heads_have_other_blocks_where_registers_hold_them(head_dim: int, itemsize: int) -> None:
    usual, other = (
        gathered(LARGE, head_dim=head_dim, itemsize=itemsize, in_registers=in_registers)
        for in_registers in (False, True)
    )
    assert (usual != other) == (head_dim == 128 and itemsize == 2)


@given(windows=cuts(), itemsize=st.sampled_from([2, 4]))
def test_gathered_blocks_are_powers_of_two_that_a_dot_takes(windows: Windows, itemsize: int) -> None:
    blocks = gathered(windows, head_dim=64, itemsize=itemsize).forward
    for tokens in (blocks.queries, blocks.keys):
        assert tokens >= 16
        assert tokens & (tokens - 1) == 0


@given(windows=cuts())
def test_only_windows_of_more_than_a_block_have_a_last_block_peeled_off(windows: Windows) -> None:
    blocks = gathered(windows, head_dim=64, itemsize=2).forward
    assert blocks.peeled == (windows.tokens > blocks.keys)


@pytest.mark.parametrize(("head_dim", "size", "warps"), [(128, 16, 8), (64, 16, 4), (32, 16, 4), (128, 8, 4)])
def test_two_gathered_sums_of_long_heads_have_twice_the_warps(head_dim: int, size: int, warps: int) -> None:
    windows = Windows.cut((4, size, size), (2, size // 2, size // 2), (0, 0, 0), (False,) * 3)
    plan = gathered(windows, head_dim=head_dim, itemsize=2)
    assert (plan.dq.num_warps, plan.dkdv.num_warps) == (4, warps)
