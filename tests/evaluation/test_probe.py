"""The probe learns what recordings show, keeps it on disk, and refuses what is no probe."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eddyline.errors import TrainingError, WeightsError
from eddyline.recording import RecordedClip
from eddyline_runtime.evaluation import probe as probing
from eddyline_runtime.evaluation.probe import Probe, ProbeRecipe, cut_windows, load_probe, train_probe
from eddyline_runtime.evaluation.reading import read_scene
from eddyline_runtime.weights import load_world

HUES = {"red": (200, 40, 40), "green": (40, 190, 60), "blue": (40, 60, 210)}
QUICK = ProbeRecipe(steps=60, batch=16, windows_per_clip=6, max_clips=30, codec_share=0.5, seed=1)


def coloured_clip(index: int, frames: int = 20, labels: bool = True) -> RecordedClip:
    """A plain picture in one hue with a bar that moves left or right."""
    rng = np.random.default_rng(index)
    hue, way = list(HUES)[index % 3], index // 3 % 2
    pictures = np.empty((frames, 32, 48, 3), np.uint8)
    for frame in range(frames):
        pictures[frame] = HUES[hue]
        at = (4 * frame * (1 if way else -1) + int(rng.integers(2)) + 5 * index) % 48
        pictures[frame, :, at : at + 6] = 255
    told = {"hue": (hue,) * frames, "doing": (("left", "right")[way],) * frames} if labels else {}
    return RecordedClip(pictures, ("a picture",) * frames, np.zeros((frames, 5), np.float32), told, index)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    out = tmp_path_factory.mktemp("probe") / "probe.safetensors"
    codec = load_world("tiny", random_weights=True).codec
    return out, train_probe([coloured_clip(i) for i in range(30)], out, codec=codec, recipe=QUICK)


def test_a_probe_learns_what_a_recording_shows(trained: tuple[Path, dict[str, float]]) -> None:
    out, accuracy = trained
    assert accuracy["hue"] > 0.9
    probe = load_probe(out)
    assert probe.labels == {"hue": ("blue", "green", "red"), "doing": ("left", "right")}
    assert read_scene(probe, coloured_clip(31).frames)["hue"] == "green"


def test_training_again_gives_the_same_probe(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    codec = load_world("tiny", random_weights=True).codec
    train_probe([coloured_clip(i) for i in range(30)], tmp_path / "again.safetensors", codec=codec, recipe=QUICK)
    first, second = load_probe(trained[0]).state_dict(), load_probe(tmp_path / "again.safetensors").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    recipe = ProbeRecipe(steps=2, batch=2, windows_per_clip=2)
    train_probe([coloured_clip(i) for i in range(4)], tmp_path / "p.safetensors", recipe=recipe)
    assert torch.equal(before, torch.get_rng_state())


def test_looking_gives_probabilities_for_each_window() -> None:
    probe = Probe({"hue": ("red", "green", "blue")})
    seen = probe.look(coloured_clip(0).frames[:18])["hue"]
    assert seen.shape == (4, 3)
    assert np.allclose(seen.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="3 frames are too few"):
        probe.look(coloured_clip(0).frames[:3])


def test_an_attribute_counts_only_once_its_change_has_settled() -> None:
    clip = coloured_clip(0, frames=40)
    changing = tuple("red" if frame < 20 else "green" for frame in range(40))
    clip = RecordedClip(clip.frames, clip.captions, clip.actions, {"hue": changing, "doing": changing}, 0)
    recipe = ProbeRecipe(windows_per_clip=40, settle_frames=8)
    _, settled = cut_windows([clip], [0], recipe, np.random.default_rng(0))
    starts = np.random.default_rng(0).permutation(37).tolist()
    for start, window in zip(starts, settled, strict=True):
        expected = "red" if start <= 16 else None if start < 28 else "green"
        assert window["hue"] == expected
        assert window["doing"] == ("red" if start <= 16 else None if start < 20 else "green")


def test_a_recording_without_labels_or_with_one_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no labels"):
        train_probe([coloured_clip(i, labels=False) for i in range(3)], tmp_path / "p.safetensors", recipe=QUICK)
    with pytest.raises(TrainingError, match="1 clips"):
        train_probe([coloured_clip(0)], tmp_path / "p.safetensors", recipe=QUICK)


def test_no_clip_is_both_trained_and_measured_on_however_long_clips_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [
        replace(coloured_clip(i, frames=4 + i % 5), frames=np.full((4 + i % 5, 32, 48, 3), i, np.uint8))
        for i in range(40)
    ]
    parts: list[set[int]] = []

    def see(probe: Probe, windows: probing.Windows, *more: object) -> dict[str, float]:
        parts.append(set(windows.frames.flatten().tolist()))
        return {}

    monkeypatch.setattr(probing, "_fit", see)
    monkeypatch.setattr(probing, "measure_probe", see)
    train_probe(clips, tmp_path / "p.safetensors", recipe=replace(QUICK, max_clips=40, held_out_share=0.5))
    trained_on, measured_on = parts
    assert trained_on | measured_on == set(range(40))
    assert len(measured_on) == 20
    assert not trained_on & measured_on


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (Path.unlink, "is not there"),
        (_cut, "cannot be read .*train the probe again"),
        (_foreign, "has the format None"),
    ],
)
def test_a_missing_cut_or_foreign_file_is_refused_with_a_cure(
    tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    path = tmp_path / "probe.safetensors"
    Probe({"hue": ("red", "green")}).save(path)
    spoil(path)
    with pytest.raises(WeightsError, match=told):
        load_probe(path)
