"""How many rows the kernels of modulation hold: pure arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline_kernels.modulation.plan import AHEAD_BYTES, LARGEST_WIDTH, rows_plan


@given(width=st.integers(1, LARGEST_WIDTH), ahead=st.integers(0, 16), backward=st.booleans())
def test_rows_to_come_fit_what_a_program_may_hold_of_them(width: int, ahead: int, backward: bool) -> None:
    chosen = rows_plan(width, 1024, ahead=ahead, backward=backward)
    held = chosen.columns * chosen.parts
    assert held >= width
    assert 1 <= chosen.stages <= 3
    assert (chosen.stages - 1) * held * ahead <= AHEAD_BYTES
    assert chosen.stages > 1 or not ahead or held * ahead > AHEAD_BYTES


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("width", "held"), [(3072, (1024, 3)), (6144, (2048, 3)), (384, (128, 3)), (96, (128, 1)), (4096, (4096, 1))]
)
def test_a_width_of_three_powers_of_two_is_held_in_three_parts_where_loads_stay_wide(
    width: int, held: tuple[int, int], backward: bool
) -> None:
    chosen = rows_plan(width, 1024, ahead=0, backward=backward)
    assert (chosen.columns, chosen.parts) == held


@given(tokens=st.integers(1, 5000), backward=st.booleans())
def test_every_token_of_a_frame_is_some_programs(tokens: int, backward: bool) -> None:
    chosen = rows_plan(256, tokens, ahead=0, backward=backward)
    assert chosen.rows * (chosen.blocks - 1) < tokens <= chosen.rows * chosen.blocks
