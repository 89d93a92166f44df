"""A view that is recorded: the frames the game was shown, words as subtitles, and a file that is whole at any end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

import eddyline
from eddyline import ClipEnded, cli, film
from eddyline.clip import WAITING_FRAMES, Clip
from eddyline.errors import ClosedError, FilmError, OptionError
from eddyline.film import LONGEST_GAP_FRAMES, MAX_SUBTITLE_BYTES, Film
from eddyline.testing import NoteLog, ScriptedRuntime, wait_until
from eddyline.view import View


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def subtitles_in(path: Path) -> list[tuple[float, float, str]]:
    """From when to when, in seconds, and what they say."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.subtitles[0]) if packet.size > 2]
        return [
            (
                float(packet.pts * packet.time_base),
                float((packet.pts + packet.duration) * packet.time_base),
                bytes(packet)[2:].decode(),
            )
            for packet in packets
        ]


def watch(view: View, frames: int, *, until: str = "") -> list[eddyline.Frame]:
    """Look at a view until it showed so many new frames, and one under `until`."""
    seen: list[eddyline.Frame] = []

    def enough() -> bool:
        frame = view.frame()
        if frame is not None and frame.is_new:
            seen.append(frame)
        return len(seen) >= frames and (not until or until in seen[-1].events)

    wait_until(enough)
    return seen


def test_of_two_threads_that_begin_to_record_one_view_one_is_refused(
    view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[OptionError] = []

    def too() -> None:
        try:
            view.record(tmp_path / "other.mp4")
        except OptionError as error:
            refused.append(error)

    other = threading.Thread(target=too)

    def film_path(path: Path) -> Path:
        if not other.ident:
            other.start()
            other.join(0.2)  # it comes to nothing before the first call is done
        return path

    monkeypatch.setattr("eddyline.clip.film_path", film_path)
    clip = view.record(tmp_path / "clip.mp4")
    other.join()
    clip.stop()
    assert len(refused) == 1


def test_a_clip_has_the_frames_that_were_shown_and_the_words_when_they_were_in_force(
    view: View, tmp_path: Path
) -> None:
    clip = view.record(tmp_path / "clip.mp4")
    seen = watch(view, 5)
    view.event("blue", hold_s=60.0)
    seen += watch(view, 5, until="blue")
    clip.stop()
    assert clip.state == "saved"
    places = [0]
    for before, after in pairwise(seen):
        gap = after.index - before.index
        places.append(places[-1] + (gap if gap - 1 <= LONGEST_GAP_FRAMES else 1))  # what the game skipped is filled in
    assert frames_in(clip.path) == clip.frames == places[-1] + 1
    change = next(place for place, frame in zip(places, seen, strict=True) if "blue" in frame.events) / view.rate
    first, second = subtitles_in(clip.path)
    assert first == (0.0, pytest.approx(change), "a red room")
    assert second == (pytest.approx(change), pytest.approx(clip.frames / view.rate), "a red room; blue")


def test_a_clip_ends_with_its_view_and_poll_tells(view: View, notes: NoteLog, tmp_path: Path) -> None:
    clip = view.record(tmp_path / "clip.mp4")
    watch(view, 3)
    view.close()
    assert notes.wait_kind(ClipEnded).clip is clip
    assert str(notes.wait_kind(ClipEnded)) == f"view 'main' was recorded: {clip.frames} frames in {clip.path}"
    assert frames_in(clip.path) == clip.frames >= 3


def test_a_clip_is_whole_when_the_game_is_interrupted(scripted: ScriptedRuntime, tmp_path: Path) -> None:
    def play() -> None:
        with eddyline.connect(scripted.endpoint) as runtime:
            view = runtime.open_view("a red room")
            view.record(tmp_path / "clip.mp4")
            watch(view, 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play()
    assert frames_in(tmp_path / "clip.mp4") >= 3


def test_a_clip_is_whole_when_the_program_ends_without_a_word(scripted: ScriptedRuntime, tmp_path: Path) -> None:
    program = f"""
    import eddyline
    from eddyline.testing import wait_until
    view = eddyline.connect({scripted.endpoint!r}, timeout_s=60.0).open_view("a red room")
    clip = view.record({str(tmp_path / "clip.mp4")!r})
    wait_until(lambda: view.frame() is not None)
    raise SystemExit(7)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, timeout=120)
    assert done.returncode == 7
    assert frames_in(tmp_path / "clip.mp4") >= 1


def test_a_view_without_a_frame_leaves_no_file(runtime: eddyline.Runtime, tmp_path: Path) -> None:
    clip = runtime.open_view("a red room").record(tmp_path / "clip.mp4")
    clip.stop()
    clip.stop()
    assert (clip.state, clip.reason) == ("saved", "no frame was shown")
    assert list(tmp_path.iterdir()) == []


def test_a_second_clip_of_a_view_waits_for_the_end_of_the_first(view: View, tmp_path: Path) -> None:
    clip = view.record(tmp_path / "a.mp4")
    with pytest.raises(OptionError, match=r"is being recorded into .*a\.mp4; stop\(\) that clip first"):
        view.record(tmp_path / "b.mp4")
    clip.stop()
    view.record(tmp_path / "b.mp4").stop()


def test_two_views_are_not_recorded_into_one_file(runtime: eddyline.Runtime, view: View, tmp_path: Path) -> None:
    other = runtime.open_view("a blue room", name="other")
    clip = view.record(tmp_path / "a.mp4")
    with pytest.raises(OptionError, match=r"view 'main' is being recorded into .*a\.mp4; name another file"):
        other.record(tmp_path / "a.mp4")
    clip.stop()
    other.record(tmp_path / "a.mp4").stop()


def test_a_file_that_cannot_be_written_is_told_and_the_view_goes_on(view: View, notes: NoteLog, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    clip = view.record(tmp_path / "file" / "clip.mp4")
    watch(view, 2)
    assert notes.wait_kind(ClipEnded).clip.state == "failed"
    with pytest.raises(FilmError, match="cannot be written"):
        clip.stop()
    watch(view, 2)
    again = view.record(tmp_path / "clip.mp4")
    watch(view, 2)
    again.stop()
    assert frames_in(again.path) >= 2


def test_a_film_that_the_disk_does_not_take_leaves_no_file(tmp_path: Path) -> None:
    film = Film(tmp_path / "a.mp4", fps=16.0)
    film.add(np.random.default_rng(0).integers(256, size=(96, 160, 3), dtype=np.uint8), epoch=0, index=0)
    resource = pytest.importorskip("resource")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))
    try:
        with pytest.raises(FilmError, match="cannot be written"):
            film.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert not list(tmp_path.iterdir())


def test_mistakes_in_a_call_raise_at_once(view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clip.avi", "clip", "folder.mp4"):
        (tmp_path / "folder.mp4").mkdir(exist_ok=True)
        with pytest.raises(OptionError, match="give the name of a file"):
            view.record(tmp_path / name)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        with pytest.raises(FilmError, match=r"needs PyAV \(av\); run: pip install .*\[video\]"):
            view.record(tmp_path / "clip.mp4")
    view.close()
    with pytest.raises(ClosedError):
        view.record(tmp_path / "clip.mp4")


def test_frames_that_come_faster_than_they_are_encoded_are_left_out_and_counted(
    view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    class SlowFilm(Film):
        def add(self, pixels: np.ndarray, *, epoch: int, index: int, words: str = "") -> None:
            go.wait(60.0)
            super().add(pixels, epoch=epoch, index=index, words=words)

    monkeypatch.setattr(film, "Film", SlowFilm)
    (frame,) = watch(view, 1)
    clip = Clip(tmp_path / "clip.mp4", view, lambda clip: None)
    for _ in range(3 * WAITING_FRAMES):
        clip.offer(frame)
    assert clip.left_out >= 2 * WAITING_FRAMES - 1  # one is with the encoder
    go.set()
    clip.stop()
    assert clip.frames == 1, "one frame, however often it is offered"


def test_long_words_are_cut_within_a_character_and_none_leave_no_subtitle(tmp_path: Path) -> None:
    black = np.zeros((24, 40, 3), np.uint8)
    with Film(tmp_path / "clip.mp4", fps=16.0) as made:
        for index, words in enumerate(["", "雪" * MAX_SUBTITLE_BYTES, "雪" * MAX_SUBTITLE_BYTES, ""]):
            made.add(black, epoch=0, index=index, words=words)
    assert subtitles_in(tmp_path / "clip.mp4") == [(1 / 16, 3 / 16, "雪" * (MAX_SUBTITLE_BYTES // 3))]


def test_a_journal_of_a_runtime_that_is_there_already_cannot_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["play", "--headless", "--endpoint", "tcp://127.0.0.1:1", "--journal", str(tmp_path / "a.journal")]
    assert cli.main(asked) == 1
    assert "start it by eddyline-runtime serve --journal" in capsys.readouterr().err
