"""Encoded recordings on disk: what comes back is what was written, and only for what it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eddyline.errors import CheckpointError
from eddyline_runtime.training.data import LatentData
from eddyline_runtime.training.latents import load_latents, save_latents


def test_encoded_clips_come_back_to_the_last_bit(data: LatentData, tmp_path: Path) -> None:
    save_latents(tmp_path / "latents.safetensors", data, made_from="this")
    again = load_latents(tmp_path / "latents.safetensors", made_from="this")
    assert again is not None
    assert again.texts == data.texts
    assert torch.equal(again.encoded.states, data.encoded.states)
    assert torch.equal(again.encoded.mask, data.encoded.mask)
    assert torch.equal(again.encoded.pooled, data.encoded.pooled)
    for mine, theirs in zip(data.clips, again.clips, strict=True):
        assert torch.equal(mine.latents, theirs.latents)
        assert torch.equal(mine.actions, theirs.actions)
        assert (mine.text, mine.stride) == (theirs.text, theirs.stride)


def test_latents_of_something_else_are_not_taken(data: LatentData, tmp_path: Path) -> None:
    path = tmp_path / "latents.safetensors"
    assert load_latents(path, made_from="this") is None
    save_latents(path, data, made_from="this")
    assert load_latents(path, made_from="that") is None


def test_a_cut_or_foreign_file_is_refused_with_the_cure(data: LatentData, tmp_path: Path) -> None:
    path = tmp_path / "latents.safetensors"
    save_latents(path, data, made_from="this")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="it is cut, delete it to encode anew"):
        load_latents(path, made_from="this")
    save_file({"latents": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"no latents of ours \(format None"):
        load_latents(path, made_from="this")
