"""Dreams that are kept to be looked at."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eddyline.errors import OptionError
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


def test_a_full_disk_leaves_the_samples_that_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(tmp_path, some(OWN, 1, 10))

    def full(file: Any, **arrays: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OptionError, match=r"streamdit\.npz cannot be written \(No space left on device\)"):
        write_samples(tmp_path, some(OWN, 1, 20))
    assert [path.name for path in tmp_path.iterdir()] == ["streamdit.npz"]
    assert [int(sample.frames[0, 0, 0, 0]) for sample in read_samples(tmp_path)] == [10]


@pytest.mark.parametrize("kept", [0, 100, 300])
def test_a_cut_file_of_samples_is_refused_with_the_cure(tmp_path: Path, kept: int) -> None:
    write_samples(tmp_path, some(OWN, 1, 10))
    file = tmp_path / "streamdit.npz"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(OptionError, match=r"streamdit\.npz cannot be read .*; delete it"):
        read_samples(tmp_path)
