"""The bench: what it says of a sample, and a short run through the real socket."""

import json

import pytest

from eddyline_runtime.bench import ORDER, percentile
from eddyline_runtime.cli import main


def test_percentiles_are_values_that_were_measured():
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (1, 20, 50, 95, 100)] == [1.0, 1.0, 3.0, 5.0, 5.0]
    assert percentile([7.0], 50) == 7.0


@pytest.mark.parametrize("profile", ["smooth", "responsive"])
def test_a_short_bench_writes_every_number(tmp_path, profile):
    file = tmp_path / "numbers.json"
    world = ["--model", "tiny", "--random-weights", "--threads", "1"]
    assert main(["bench", "stream", "--profile", profile, "--json", str(file), "--seconds", "8", *world]) == 0
    numbers = json.loads(file.read_text())
    assert tuple(numbers) == ORDER
    assert numbers.pop("networks") == "torch float32"
    for value in numbers.values():
        for number in value.values() if isinstance(value, dict) else [value]:
            assert number > 0
    assert set(numbers["event_to_first_full_s"]) == {"p50", "p95"}
    assert set(numbers["event_call_us"]) == {"p50", "p99"}


def test_a_world_that_is_not_there_ends_the_bench_with_one_line(capsys):
    assert main(["bench", "stream", "--model", "nowhere"]) == 2
    assert "before it was ready" in capsys.readouterr().err
