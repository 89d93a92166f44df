"""References: recordings of the suites give ceilings of every part, and only for the probe they were made with."""

from dataclasses import asdict
from pathlib import Path

import msgspec
import numpy as np
import pytest

from eddyline.errors import OptionError, RecordingError
from eddyline.recording import Recorder
from eddyline_runtime.evaluation import reference
from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.reference import FILE, Reference, load_reference, measure_reference, save_reference
from eddyline_runtime.evaluation.suite import ACTIONS, HELD_OUT, STEERING, Press, Scene, Suite, Turn

DAY = {"time": "day", "doing": "stands", "happening": "none"}
NIGHT = DAY | {"time": "night"}
RECORDED = {"held_out": 4 * [32], "steering": [80], "actions": [56]}


def write_suites(folder: Path) -> None:
    day, night = Scene(prompt="by day", labels=DAY), Scene(prompt="at night", labels=NIGHT)
    turn = Turn(scene=day, verb="event", words="night falls", attribute="time", value="night")
    press = Press(scene=day, keys=("ArrowLeft",), attribute="doing", value="walks left")
    suites = {
        HELD_OUT: Suite(name="", description="", scenes=(day, night)),
        STEERING: Suite(name="", description="", turns=(turn,)),
        ACTIONS: Suite(name="", description="", presses=(press,)),
    }
    for question, suite in suites.items():
        (folder / f"{question}.json").write_bytes(msgspec.json.encode(asdict(suite)))


def record(folder: Path, lengths: dict[str, list[int]]) -> None:
    """Clips that show what the suites ask for: every second one night, night that falls, a hero who goes left."""
    rng = np.random.default_rng(0)
    for name, clips in lengths.items():
        with Recorder(folder / name, fps=16, height=32, width=48, action_names=[]) as recorder:
            for number, length in enumerate(clips):
                recorder.begin_clip()
                for frame in range(length):
                    picture = rng.integers(0, 20, (32, 48, 3), np.uint8)
                    night = number % 2 if name == HELD_OUT else name == STEERING and frame >= 36
                    picture[..., 0] += 0 if night else 200
                    picture[..., 1] += 100 if name == ACTIONS and frame >= 28 else 0
                    recorder.add(picture, caption="a picture", actions=[])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, brightness: Probe) -> Reference:
    folder = tmp_path_factory.mktemp("suites")
    write_suites(folder)
    record(folder, RECORDED)
    return measure_reference(brightness, "abc", folder, folder)


def test_recordings_that_show_what_is_asked_for_reach_everything(measured: Reference) -> None:
    ceilings = measured.ceilings
    assert set(ceilings.adherence.values()) == {1.0}
    assert ceilings.of("actions", 8) == {"direction": 1.0, "delay_s": 0.25}
    steering = ceilings.of("steering", 8)
    assert (steering["right"], steering["kept"], steering["delay_s"]) == (1.0, 1.0, 0.25)
    assert ceilings.of("receipts", 8) == {"seen": 1.0, "seen_time": 1.0}
    motion = ceilings.of("motion", 8)
    assert motion["border_jump"] == pytest.approx(1, abs=0.1)
    assert motion["flicker"] > 0
    assert ceilings.of("steering", 5) == {}
    assert "border_jump" not in ceilings.of("motion", 5)


def test_features_are_kept_scene_by_scene_of_two_recordings(measured: Reference) -> None:
    assert measured.recorded.shape == measured.again.shape == (2, 6, 3)
    for features in (measured.recorded, measured.again):
        assert (features[0, :, 0] > 150).all(), "by day"
        assert (features[1, :, 0] < 50).all(), "at night"
    assert not np.array_equal(measured.recorded, measured.again)


def test_a_reference_is_read_back_whole_and_only_for_its_probe_and_scenes(measured: Reference, tmp_path: Path) -> None:
    write_suites(tmp_path)
    save_reference(measured, tmp_path)
    again = load_reference(tmp_path, "abc")
    assert again.ceilings == measured.ceilings
    assert np.array_equal(again.recorded, measured.recorded.astype(np.float16))
    with pytest.raises(OptionError, match="another probe"):
        load_reference(tmp_path, "abd")
    (tmp_path / "held_out.json").write_text("{}")
    with pytest.raises(OptionError, match="other scenes"):
        load_reference(tmp_path, "abc")
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:100])
    with pytest.raises(OptionError, match=r"reference\.safetensors cannot be read"):
        load_reference(tmp_path, "abc")


@pytest.mark.parametrize(
    ("lengths", "words"),
    [({"held_out": 3 * [32]}, "twice at least"), ({"held_out": 4 * [31]}, "a clip of 31 frames; each needs 32")],
)
def test_recordings_with_too_few_clips_or_frames_are_refused(
    tmp_path: Path, brightness: Probe, lengths: dict[str, list[int]], words: str
) -> None:
    write_suites(tmp_path)
    record(tmp_path, lengths)
    with pytest.raises(RecordingError, match=words):
        measure_reference(brightness, "abc", tmp_path, tmp_path)


def test_a_full_disk_leaves_the_reference_that_was_there(
    measured: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).write_bytes(b"earlier")

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OptionError, match=r"cannot be written \(No space left on device\)"):
        save_reference(measured, tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"earlier"


def test_a_recording_that_is_missing_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_suites(tmp_path)
    assert reference.main([str(tmp_path / "nowhere"), str(tmp_path)]) == reference.MISTAKE
    told = capsys.readouterr().err
    assert told.startswith(f"reference: {tmp_path / 'nowhere'}")
    assert len(told.splitlines()) == 1
    assert not (tmp_path / FILE).exists()
