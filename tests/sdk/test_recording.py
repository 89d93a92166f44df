"""Recordings: what is written is read back, a crash costs at most the open shard, and damage is named."""

from __future__ import annotations

import errno
import gc
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eddyline import recording as recording_module
from eddyline.errors import EddylineError, RecordingError
from eddyline.recording import Recorder, Recording, RecordingInfo

HEIGHT, WIDTH = 6, 10


def new_recorder(path: Path, **options: object) -> Recorder:
    shape = {"fps": 16, "height": HEIGHT, "width": WIDTH, "action_names": ["ArrowLeft", "KeyA"]}
    return Recorder(path, **(shape | options))  # type: ignore[arg-type]


def a_frame(value: int) -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH, 3), value % 256, np.uint8)


def record(path: Path, *, clips: int, frames: int = 3, **options: object) -> None:
    with new_recorder(path, **options) as recorder:
        for clip in range(clips):
            recorder.begin_clip(seed=clip)
            for number in range(frames):
                recorder.add(a_frame(clip * 10 + number), caption=f"clip {clip}", actions=[0.0, 1.0])


def test_a_recording_reads_back_as_it_was_written(tmp_path: Path) -> None:
    with new_recorder(tmp_path, metadata={"game": "none"}) as recorder:
        recorder.begin_clip(seed=7)
        recorder.add(a_frame(1), caption="a cat", actions=[-1.0, 0.5], labels={"hero": "cat"})
        recorder.add(a_frame(2), caption="a cat", actions=[0.0, 0.0], labels={"hero": "cat"})
        recorder.add(a_frame(3), caption="雪の中の犬", actions=np.array([1.0, 0.0]), labels={"hero": "dog"})
        recorder.begin_clip()
        recorder.add(a_frame(4), caption="nothing", actions=[0, 0])
    recording = Recording(tmp_path)
    assert recording.info == RecordingInfo(16.0, HEIGHT, WIDTH, ("ArrowLeft", "KeyA"), {"game": "none"})
    assert len(recording) == 2
    assert [recording.clip_length(i) for i in range(2)] == [3, 1]
    first, second = recording
    assert first.frames.dtype == np.uint8
    assert first.frames[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert first.captions == ("a cat", "a cat", "雪の中の犬")
    assert first.labels == {"hero": ("cat", "cat", "dog")}
    assert first.actions.dtype == np.float32
    assert first.actions.tolist() == [[-1.0, 0.5], [0.0, 0.0], [1.0, 0.0]]
    assert (first.seed, second.seed) == (7, None)
    assert recording[-1].captions == ("nothing",)
    with pytest.raises(IndexError):
        recording[2]


captions = st.text(max_size=20).map(lambda text: text + "!")
rows = st.tuples(captions, st.floats(-1, 1, width=32), captions)


@settings(max_examples=30, deadline=None)
@given(clips=st.lists(st.lists(rows, min_size=1, max_size=9), max_size=5), per_shard=st.integers(1, 3))
def test_any_captions_actions_and_labels_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, clips: list[list[tuple[str, float, str]]], per_shard: int
) -> None:
    path = tmp_path_factory.mktemp("recording")
    rng = np.random.default_rng(0)
    pictures = [[rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for _ in clip] for clip in clips]
    with new_recorder(path, clips_per_shard=per_shard) as recorder:
        for clip, frames in zip(clips, pictures, strict=True):
            recorder.begin_clip()
            for (caption, action, label), frame in zip(clip, frames, strict=True):
                recorder.add(frame, caption=caption, actions=[action, 0.0], labels={"label": label})
    back = list(Recording(path))
    assert len(back) == len(clips)
    for read, clip, frames in zip(back, clips, pictures, strict=True):
        np.testing.assert_array_equal(read.frames, np.stack(frames))
        assert read.captions == tuple(row[0] for row in clip)
        assert read.actions[:, 0].tolist() == [row[1] for row in clip]
        assert read.labels["label"] == tuple(row[2] for row in clip)


def test_numpy_alone_opens_a_shard(tmp_path: Path) -> None:
    record(tmp_path, clips=1)
    with np.load(tmp_path / "00000.npz") as shard:
        assert shard["0/frames"].shape == (3, HEIGHT, WIDTH, 3)
        assert shard["0/actions"].shape == (3, 2)


def test_an_added_frame_is_copied(tmp_path: Path) -> None:
    frame = a_frame(1)
    with new_recorder(tmp_path) as recorder:
        recorder.add(frame, caption="one", actions=[0, 0])
        frame[:] = 9
        recorder.add(frame[:, ::-1], caption="a view that is not contiguous", actions=[0, 0])
    assert Recording(tmp_path)[0].frames[:, 0, 0, 0].tolist() == [1, 9]


def test_a_long_clip_goes_on_as_a_new_clip(tmp_path: Path) -> None:
    with new_recorder(tmp_path, max_clip_frames=4) as recorder:
        recorder.begin_clip(seed=3)
        for number in range(10):
            recorder.add(a_frame(number), caption="long", actions=[0, 0])
    recording = Recording(tmp_path)
    assert [recording.clip_length(i) for i in range(len(recording))] == [4, 4, 2]
    assert {clip.seed for clip in recording} == {3}


def test_an_existing_recording_is_continued(tmp_path: Path) -> None:
    record(tmp_path, clips=2)
    record(tmp_path, clips=1)
    assert [clip.seed for clip in Recording(tmp_path)] == [0, 1, 0]


def test_a_recording_that_is_continued_keeps_its_metadata_but_for_what_is_given_anew(tmp_path: Path) -> None:
    record(tmp_path, clips=1, metadata={"game": "g", "version": "1"})
    record(tmp_path, clips=1)
    assert Recording(tmp_path).info.metadata == {"game": "g", "version": "1"}
    record(tmp_path, clips=1, metadata={"version": "2"})
    assert Recording(tmp_path).info.metadata == {"game": "g", "version": "2"}


def test_several_processes_record_into_one_folder(tmp_path: Path) -> None:
    record(tmp_path, clips=3, shard_prefix="b", metadata={"who": "b"})
    record(tmp_path, clips=2, shard_prefix="a", metadata={"who": "a", "game": "g"})
    recording = Recording(tmp_path)
    assert [clip.seed for clip in recording] == [0, 1, 0, 1, 2]
    assert recording.info.metadata == {"who": "a", "game": "g"}


def test_two_recorders_of_one_prefix_do_not_overwrite_each_other(tmp_path: Path) -> None:
    first, second = new_recorder(tmp_path), new_recorder(tmp_path)
    for recorder in (first, second):
        recorder.add(a_frame(1), caption="one", actions=[0, 0])
    first.close()
    with pytest.raises(RecordingError, match="shard_prefix"):
        second.close()
    assert len(Recording(tmp_path)) == 1


def test_what_a_game_recorded_before_it_raised_is_kept(tmp_path: Path) -> None:
    def play() -> None:
        with new_recorder(tmp_path) as recorder:
            recorder.add(a_frame(1), caption="one", actions=[0, 0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play()
    assert len(Recording(tmp_path)) == 1


def test_a_recording_without_clips_is_a_recording(tmp_path: Path) -> None:
    new_recorder(tmp_path).close()
    assert len(Recording(tmp_path)) == 0


def test_a_disk_that_stays_full_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        recorder = new_recorder(tmp_path)
        recorder.add(a_frame(1), caption="lost", actions=[0, 0])
        with pytest.raises(RecordingError, match="cannot be written"):
            recorder.close()
        del recorder
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not told


def test_a_full_disk_is_told_and_costs_only_the_open_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = new_recorder(tmp_path, clips_per_shard=1)
    recorder.add(a_frame(1), caption="safe", actions=[0, 0])
    recorder.begin_clip()
    recorder.add(a_frame(2), caption="lost", actions=[0, 0])

    def write_frames(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recording_module, "_write_frames", write_frames)
    with pytest.raises(RecordingError, match=r"No space left.*1 finished shards are safe.*Free space"):
        recorder.close()
    recorder.close()
    assert [clip.captions for clip in Recording(tmp_path)] == [("safe",)]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX signal")
def test_a_killed_recorder_loses_at_most_the_open_shard(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        from eddyline.recording import Recorder

        recorder = Recorder(sys.argv[1], fps=16, height=6, width=10, action_names=[], clips_per_shard=2)
        for clip in range(1000000):
            recorder.begin_clip(seed=clip)
            for frame in range(3):
                recorder.add(np.full((6, 10, 3), clip % 256, np.uint8), caption=f"clip {clip}", actions=[])
            print(clip, flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if int(line) == 20:
                break
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    recording = Recording(tmp_path)
    assert len(recording) >= 20
    for number, clip in enumerate(recording):
        assert clip.captions == (f"clip {number}",) * 3
        assert clip.seed == number
    with Recorder(tmp_path, fps=16, height=6, width=10, action_names=[]) as recorder:
        recorder.add(a_frame(1), caption="afterwards", actions=[])
    assert Recording(tmp_path)[-1].captions == ("afterwards",)


def test_every_wrong_call_is_refused_with_the_cure_and_changes_nothing(tmp_path: Path) -> None:
    good = {"frame": a_frame(1), "caption": "a cat", "actions": [0.0, 0.0]}
    wrong: list[tuple[dict[str, object], str]] = [
        ({"frame": a_frame(1).astype(np.float32)}, "astype"),
        ({"frame": np.zeros((WIDTH, HEIGHT, 3), np.uint8)}, "another folder"),
        ({"frame": np.zeros((HEIGHT, WIDTH), np.uint8)}, "another folder"),
        ({"frame": [[1, 2, 3]]}, "numpy array"),
        ({"caption": ""}, "say what is to be seen"),
        ({"caption": " \n"}, "say what is to be seen"),
        ({"caption": None}, "say what is to be seen"),
        ({"caption": "x" * 5000}, "shorten"),
        ({"caption": "half a pair \ud800"}, "UTF-8"),
        ({"actions": [0.0]}, "one number for each"),
        ({"actions": ["left", "up"]}, "one number for each"),
        ({"actions": [0.0, float("nan")]}, "between -1 and 1"),
        ({"actions": [0.0, 2.0]}, "between -1 and 1"),
        ({"labels": {"hero": "cat"}}, "same names"),
    ]
    with new_recorder(tmp_path) as recorder:
        recorder.add(**good)  # type: ignore[arg-type]
        for change, cure in wrong:
            with pytest.raises(RecordingError, match=cure) as caught:
                recorder.add(**(good | change))  # type: ignore[arg-type]
            assert str(tmp_path) in str(caught.value)
    with pytest.raises(RecordingError, match="closed"):
        recorder.add(**good)  # type: ignore[arg-type]
    assert Recording(tmp_path).clip_length(0) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"fps": 0},
        {"fps": float("nan")},
        {"height": 0},
        {"width": 10**6},
        {"clips_per_shard": 0},
        {"action_names": "KeyA"},
        {"action_names": ["KeyA", "KeyA"]},
        {"shard_prefix": "../elsewhere"},
    ],
)
def test_options_out_of_range_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(RecordingError):
        new_recorder(tmp_path, **options)


def test_a_folder_of_another_shape_is_not_mixed_into(tmp_path: Path) -> None:
    record(tmp_path, clips=1)
    with pytest.raises(RecordingError, match="another folder"):
        new_recorder(tmp_path, height=8)
    with pytest.raises(RecordingError, match=r"index\.json.*another folder"):
        new_recorder(tmp_path, height=8, shard_prefix="w")
    record(tmp_path, clips=1, shard_prefix="w", width=WIDTH)
    other = json.loads((tmp_path / "index-w.json").read_text())
    (tmp_path / "index-w.json").write_text(json.dumps(other | {"fps": 30}))
    with pytest.raises(RecordingError, match="different folders"):
        Recording(tmp_path)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("here first")
    with pytest.raises(RecordingError, match="another path"):
        new_recorder(file)
    with pytest.raises(RecordingError, match="no such folder"):
        Recording(file)


def cut_the_index(path: Path) -> str:
    file = path / "index.json"
    file.write_bytes(file.read_bytes()[:50])
    return "index.json"


def make_the_index_foreign(path: Path) -> str:
    (path / "index.json").write_text('{"name": "a web app"}')
    return "index.json"


def date_the_index_to_the_future(path: Path) -> str:
    index = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps(index | {"version": 99}))
    return "update eddyline"


def point_the_index_elsewhere(path: Path) -> str:
    text = (path / "index.json").read_text()
    (path / "index.json").write_text(text.replace("00001.npz", "../x.npz"))
    return "index.json"


def remove_the_index(path: Path) -> str:
    (path / "index.json").unlink()
    return "holds no recording"


def remove_a_shard(path: Path) -> str:
    (path / "00001.npz").unlink()
    return "00001.npz"


def cut_a_shard(path: Path) -> str:
    file = path / "00001.npz"
    file.write_bytes(file.read_bytes()[:-100])
    return "00001.npz"


def flip_bytes_of_a_shard(path: Path) -> str:
    file = path / "00001.npz"
    data = bytearray(file.read_bytes())
    data[60:70] = bytes(255 - byte for byte in data[60:70])
    file.write_bytes(data)
    return "00001.npz"


def swap_two_shards(path: Path) -> str:
    """Another recording's shard under this one's name and size."""
    other = path / "other"
    record(other, clips=4, frames=5, clips_per_shard=2)
    file = path / "00001.npz"
    data = (other / "00001.npz").read_bytes()
    index = json.loads((path / "index.json").read_text())
    index["shards"][1]["bytes"] = len(data)
    (path / "index.json").write_text(json.dumps(index))
    file.write_bytes(data)
    return "the index promises"


@pytest.mark.parametrize(
    "damage",
    [
        cut_the_index,
        make_the_index_foreign,
        date_the_index_to_the_future,
        point_the_index_elsewhere,
        remove_the_index,
        remove_a_shard,
        cut_a_shard,
        flip_bytes_of_a_shard,
        swap_two_shards,
    ],
)
def test_a_damaged_recording_is_refused_with_its_file_and_the_cure(tmp_path: Path, damage: object) -> None:
    record(tmp_path, clips=4, clips_per_shard=2)
    named = damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(RecordingError, match=named) as caught:
        list(Recording(tmp_path))
    assert isinstance(caught.value, EddylineError)
    assert any(cure in str(caught.value) for cure in ("restore", "copy", "give the folder", "update"))


def test_a_damaged_shard_is_to_be_taken_out_of_the_index_that_lists_it(tmp_path: Path) -> None:
    record(tmp_path, clips=1)
    record(tmp_path, clips=1, shard_prefix="b")
    file = tmp_path / "b-00000.npz"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(RecordingError, match=r"b-00000\.npz.*its entry in index-b\.json"):
        list(Recording(tmp_path))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="nowhere"):
        Recording(tmp_path / "nowhere")
