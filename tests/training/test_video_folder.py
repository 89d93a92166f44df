"""A folder of videos reads like a recording: the right picture and the right words at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from eddyline.errors import TrainingError
from eddyline_runtime.training.video_folder import VideoFolder, decode_video, read_captions

av = pytest.importorskip("av")

GREYS = (40, 200, 90, 160)


def write_video(
    path: Path, *, times: Sequence[Fraction], greys: Sequence[int], size: tuple[int, int] = (48, 32), rate: int = 8
) -> Path:
    """A video of plain pictures, each shown from its time on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        stream.codec_context.time_base = Fraction(1, 48)
        for time, grey in zip(times, greys, strict=True):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), grey, np.uint8), format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 48), int(time * 48)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def steady(fps: int, seconds: int) -> list[Fraction]:
    return [Fraction(i, fps) for i in range(fps * seconds)]


def greys_of(frames: np.ndarray) -> list[int]:
    """Which of GREYS each frame is nearest to."""
    means = frames.reshape(len(frames), -1).mean(1)
    return [min(GREYS, key=lambda grey: abs(grey - mean)) for mean in means]


@pytest.mark.parametrize("fps", [8, 16, 24, 48])
def test_every_tick_shows_the_picture_that_was_on_the_screen_then(tmp_path: Path, fps: int) -> None:
    """Four half seconds of four greys, at any frame rate, read at 16 frames a second."""
    times = steady(fps, 2)
    video = write_video(tmp_path / "v.mp4", times=times, greys=[GREYS[int(t * 2)] for t in times], rate=fps)
    frames = decode_video(video, fps=16.0, height=32, width=48)
    assert frames.shape == (32, 32, 48, 3)
    assert frames.dtype == np.uint8
    assert greys_of(frames) == [grey for grey in GREYS for _ in range(8)]


def test_frames_at_uneven_times_are_held_until_the_next(tmp_path: Path) -> None:
    times = [Fraction(0), Fraction(1, 2), Fraction(5, 8)]
    video = write_video(tmp_path / "v.mp4", times=times, greys=GREYS[:3])
    frames = decode_video(video, fps=16.0, height=32, width=48)
    assert greys_of(frames)[:10] == [40] * 8 + [200] * 2
    assert set(greys_of(frames)[10:]) <= {90}


def test_pictures_are_scaled(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", times=steady(8, 1), greys=[200] * 8, size=(96, 80))
    frames = decode_video(video, fps=16.0, height=32, width=48)
    assert frames.shape == (16, 32, 48, 3)
    assert abs(float(frames.mean()) - 200) < 6


def test_a_folder_reads_like_a_recording_and_words_change_at_their_time(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_video(tmp_path / f"{name}.mp4", times=steady(8, 2), greys=[GREYS[0] if name == "a" else GREYS[1]] * 16)
    (tmp_path / "a.txt").write_text("0.75\tit rains\n0\ta fox\n\n1.5\ta fox sleeps\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("a café at night\n", encoding="utf-8")
    folder = VideoFolder(tmp_path, fps=16.0, height=32, width=48, num_actions=5)
    assert (len(folder), folder.info.fps, folder.info.height, folder.info.width) == (2, 16.0, 32, 48)
    assert len(folder.info.action_names) == 5
    first, second = folder[0], folder[1]
    assert set(greys_of(first.frames)) == {GREYS[0]}
    assert first.captions == ("a fox",) * 12 + ("it rains",) * 12 + ("a fox sleeps",) * 8
    assert second.captions == ("a café at night",) * 32
    assert first.actions.shape == (32, 5)
    assert not first.actions.any()


def test_before_the_first_timed_caption_that_one_holds_already(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", times=steady(8, 1), greys=[200] * 8)
    (tmp_path / "a.txt").write_text("0.5\tit rains\n")
    assert VideoFolder(tmp_path, fps=16.0, height=32, width=48, num_actions=0)[0].captions == ("it rains",) * 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is missing; write the video's caption into it"),
        ("", "is empty; write"),
        (" \n\n", "is empty; write"),
        ("one\ntwo", "'one' is not `seconds<TAB>caption`"),
        ("0\tok\nlater\tno", "'later.*no' is not"),
        ("nan\tno\n1\tok", "'nan.*no' is not"),
        ("-1\tno\n1\tok", "'-1.*no' is not"),
        ("0\t \n1\tok", "is not `seconds<TAB>caption`"),
        (b"caf\xe9", "is not UTF-8 text"),
    ],
)
def test_captions_that_cannot_be_read_are_refused_with_the_cure(
    tmp_path: Path, text: str | bytes | None, message: str
) -> None:
    path = tmp_path / "a.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TrainingError, match=rf"a\.txt.*{message}"):
        read_captions(path)


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(TrainingError, match=r"holds neither a recording nor videos; record a game .*\.mp4"):
        VideoFolder(tmp_path, fps=16.0, height=32, width=48, num_actions=5)


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(TrainingError, match=r"a\.mp4 cannot be decoded .*convert it to H\.264, or take it out"):
        decode_video(tmp_path / "a.mp4", fps=16.0, height=32, width=48)
