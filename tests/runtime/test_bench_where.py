"""Where the time of a call goes, by name."""

from __future__ import annotations

import pytest
import torch

from eddyline_runtime.bench.where import where_time_goes


def test_the_operators_of_a_call_are_counted_and_what_takes_longest_comes_first(
    capfd: pytest.CaptureFixture[str],
) -> None:
    wide, narrow = torch.randn(600, 600), torch.randn(8)

    def call() -> None:
        for _ in range(3):
            torch.mm(wide, wide)
        narrow.exp()

    spent = where_time_goes(call, torch.device("cpu"))
    by_name = {entry.name: entry for entry in spent}
    assert spent[0].name == "aten::mm"
    assert (by_name["aten::mm"].calls, by_name["aten::exp"].calls) == (3, 1)
    assert [entry.ms for entry in spent] == sorted((entry.ms for entry in spent), reverse=True)
    assert by_name["aten::mm"].ms > 0
    assert capfd.readouterr() == ("", ""), "the profiler keeps to itself"
