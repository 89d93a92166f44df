"""Converted networks on disk: kept once, read again, bounded, and never a reason not to start."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from eddyline_runtime.networks.folder import DIGEST, FILE, MAX_ENTRIES, cache_folder, keep, kept


def write(text: str):
    return lambda file: file.write_text(text) and None


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    assert kept(tmp_path, "a", Path.read_text) is None
    keep(tmp_path, "a", write("network"))
    assert kept(tmp_path, "a", Path.read_text) == "network"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_of_two_processes_that_keep_the_same_the_first_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def write_late(file: Path) -> None:
        keep(tmp_path, "a", write("first"))
        file.write_text("second")

    keep(tmp_path, "a", write_late)
    assert kept(tmp_path, "a", Path.read_text) == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert not caplog.records


def test_those_used_last_stay(tmp_path: Path) -> None:
    for number in range(MAX_ENTRIES):
        keep(tmp_path, str(number), write("network"))
        os.utime(tmp_path / str(number), (number, number))
    kept(tmp_path, "0", Path.read_text)
    keep(tmp_path, "new", write("network"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"0", "new", *map(str, range(2, MAX_ENTRIES))}


def test_an_entry_that_cannot_be_read_is_removed_and_made_again(tmp_path: Path) -> None:
    def read(file: Path) -> str:
        raise RuntimeError("cut")

    keep(tmp_path, "a", write("network"))
    assert kept(tmp_path, "a", read) is None
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("file", [FILE, DIGEST])
def test_an_entry_that_is_not_what_was_written_is_removed_and_made_again(tmp_path: Path, file: str) -> None:
    keep(tmp_path, "a", write("network"))
    changed = tmp_path / "a" / file
    changed.write_bytes(bytes(changed.stat().st_size))
    assert kept(tmp_path, "a", Path.read_text) is None
    keep(tmp_path, "a", write("network"))
    assert kept(tmp_path, "a", Path.read_text) == "network"


def test_a_disk_that_cannot_be_written_is_told_of_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: Path) -> None:
        raise OSError("no space left on device")

    keep(tmp_path, "a", full)
    assert not list(tmp_path.iterdir())
    (tmp_path / FILE).write_text("a file where a folder should be")
    keep(tmp_path / FILE, "a", write("network"))
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_the_folder_is_where_caches_belong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "eddyline" / "networks"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "eddyline" / "networks"
