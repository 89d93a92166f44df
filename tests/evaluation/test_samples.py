"""Dreams that are kept to be looked at."""

from pathlib import Path

import numpy as np

from eddyline_runtime.evaluation.samples import OWN, Sample, read_samples, write_samples


def some(name: str, count: int, value: int) -> list[Sample]:
    return [Sample(name, f"prompt {i}", np.full((3, 4, 6, 3), value + i, np.uint8)) for i in range(count)]


def test_samples_are_read_back_own_ones_first_and_replaced_by_name(tmp_path: Path) -> None:
    assert read_samples(tmp_path / "nothing") == []
    write_samples(tmp_path / "s", [*some("clip", 2, 10), *some(OWN, 3, 20)])
    write_samples(tmp_path / "s", some("clip", 1, 50))
    found = read_samples(tmp_path / "s")
    assert [(sample.name, sample.prompt, int(sample.frames[0, 0, 0, 0])) for sample in found] == [
        (OWN, "prompt 0", 20),
        (OWN, "prompt 1", 21),
        (OWN, "prompt 2", 22),
        ("clip", "prompt 0", 50),
    ]
    assert found[0].frames.shape == (3, 4, 6, 3)
