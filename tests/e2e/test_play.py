"""`eddyline play`, from the keys to the files, against scripted runtimes: with a window, without one, gone wrong."""

from __future__ import annotations

import errno
import importlib.util
import io
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import av
import msgspec
import numpy as np
import pygame
import pytest
from PIL import Image

import eddyline
from eddyline import cli, protocol, testing
from eddyline.errors import FilmError, KeyNameError, OptionError
from eddyline.film import Film
from eddyline.film_files import check_folder, unwritable
from eddyline.hud import FAINT, SMALL_PX, TEXT, WARM, Writer, receipt_colour, receipt_line
from eddyline.install import install_hint
from eddyline.play import play
from eddyline.receipts import Receipt
from eddyline.reel import describe, film_script
from eddyline.screenplay import DIORAMA_SCRIPT, STEP_S, ScriptLine, script_for, steps_that_fit
from eddyline.sheet import SheetPicture, contact_sheet, save_sheet
from eddyline.testing import ScriptedRuntime
from eddyline.view import View
from eddyline.window import KEYS_PLAYING, KEYS_TYPING, PANEL_PX, PlayOptions, Window

HEIGHT, WIDTH = 24, 40
PATIENCE_S = 60.0
"""A busy machine may be this slow; nothing here depends on speed."""
wait_until = partial(testing.wait_until, timeout_s=PATIENCE_S)


def frames_of(film: Path) -> list[np.ndarray]:
    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def key(code: int, mod: int = 0) -> pygame.event.Event:
    return pygame.event.Event(pygame.KEYDOWN, key=code, mod=mod, unicode="", scancode=0)


def key_up(code: int) -> pygame.event.Event:
    return pygame.event.Event(pygame.KEYUP, key=code, mod=0, unicode="", scancode=0)


def typed(text: str) -> list[pygame.event.Event]:
    return [pygame.event.Event(pygame.TEXTINPUT, text=letter) for letter in text]


def texts_of(
    scripted: ScriptedRuntime, kind: type[protocol.Event | protocol.Prompt | protocol.Cut], count: int = 1
) -> list[str]:
    """The texts of the words of one kind that came, once there are `count`."""
    came = scripted.wait_for(kind, count, PATIENCE_S)
    return [message.text for message in came if isinstance(message, protocol.Event | protocol.Prompt | protocol.Cut)]


def watch(window: Window, frames: int) -> None:
    """Turn until so many frames more were shown."""
    seen: set[int] = set()

    def enough() -> bool:
        frame = window.turn([]) and window.view is not None and window.view.frame()
        seen.update([frame.index] if frame else [])
        return len(seen) > frames

    wait_until(enough)


@pytest.fixture
def scripted() -> Iterator[ScriptedRuntime]:
    with ScriptedRuntime(height=HEIGHT, width=WIDTH, fps=30, chunk_frames=4, silence_s=PATIENCE_S) as runtime:
        yield runtime


@pytest.fixture
def window(scripted: ScriptedRuntime, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Window]:
    """A window that shows frames; a test may give its prompt."""
    pygame.display.init()
    pygame.font.init()
    screen = pygame.display.set_mode((640, 480), pygame.RESIZABLE)
    with eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime:
        window = Window(
            screen, runtime, PlayOptions(out=tmp_path / "out", prompt=getattr(request, "param", "a red room"))
        )
        wait_until(lambda: window.turn([]) and window.view is not None and window.view.frame() is not None)
        yield window
    pygame.quit()


# ---- the window


def test_enter_sends_an_event_shift_enter_a_prompt_and_control_enter_a_cut(
    window: Window, scripted: ScriptedRuntime
) -> None:
    for text, mod in (("thunder", 0), ("a green meadow", pygame.KMOD_LSHIFT), ("a blue night", pygame.KMOD_LCTRL)):
        window.turn([*typed(text), key(pygame.K_RETURN, mod), key_up(pygame.K_RETURN)])
        assert window.line.text == ""
    assert texts_of(scripted, protocol.Event) == ["thunder"]
    assert texts_of(scripted, protocol.Prompt) == ["a green meadow"]
    assert texts_of(scripted, protocol.Cut) == ["a blue night"]


def test_the_picture_follows_the_words(window: Window) -> None:
    window.turn([*typed("a green room"), key(pygame.K_RETURN, pygame.KMOD_SHIFT)])

    def is_green() -> bool:
        window.turn([])
        red, green, blue, _ = window.screen.get_at((320, 20))
        return green > red and green > blue

    wait_until(is_green)


def test_control_z_goes_back_and_says_what_became_of_it(window: Window, scripted: ScriptedRuntime) -> None:
    window.turn([key(pygame.K_z), *typed("z"), key_up(pygame.K_z)])
    assert window.line.text == "z", "without Ctrl it is a letter"
    window.turn([key(pygame.K_z, pygame.KMOD_LCTRL), key_up(pygame.K_z)])
    (rewind,) = scripted.wait_for(protocol.Rewind)
    assert isinstance(rewind, protocol.Rewind)
    assert rewind.seconds == 5.0
    wait_until(lambda: window.turn([]) and any(text.startswith("rewind") for text in window.news()))


def test_an_empty_line_sends_nothing(window: Window, scripted: ScriptedRuntime) -> None:
    window.turn([key(pygame.K_RETURN), key_up(pygame.K_RETURN), *typed("   "), key(pygame.K_RETURN)])
    window.turn([*typed("thunder"), key_up(pygame.K_RETURN), key(pygame.K_RETURN)])
    assert texts_of(scripted, protocol.Event) == ["thunder"]


def test_letters_are_text_with_the_focus_and_keys_without_it(window: Window) -> None:
    window.turn([key(pygame.K_r), *typed("r"), key_up(pygame.K_r)])
    assert window.line.text == "r"
    assert window.clip is None
    window.turn([key(pygame.K_BACKSPACE), key_up(pygame.K_BACKSPACE), key(pygame.K_ESCAPE)])
    assert not window.line.has_focus
    window.turn([key(pygame.K_r), *typed("r"), key_up(pygame.K_r)])
    assert window.line.text == ""
    assert window.clip is not None
    window.turn([key(pygame.K_RETURN), key_up(pygame.K_RETURN)])
    assert window.line.has_focus


def test_suggestions_are_completed_by_tab_and_by_a_click(window: Window) -> None:
    window.turn([*typed("thun"), key(pygame.K_TAB), key_up(pygame.K_TAB)])
    assert window.line.text == "thunder and lightning"
    window.turn([key(pygame.K_ESCAPE), key_up(pygame.K_ESCAPE)])
    rect, phrase = window.chips[1]
    click = pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=rect.center)
    window.turn([click])
    assert window.line.text == phrase
    window.turn([pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=(300, 100))])
    assert not window.line.has_focus, "a click on the picture leaves the line"


def test_a_film_is_recorded_between_two_presses(window: Window) -> None:
    window.turn([key(pygame.K_r, pygame.KMOD_LCTRL), key_up(pygame.K_r)])
    clip = window.clip
    assert clip is not None
    watch(window, 20)
    window.turn([key(pygame.K_r, pygame.KMOD_LCTRL), key_up(pygame.K_r)])
    assert window.clip is None
    assert len(frames_of(clip.path)) == clip.frames >= 20
    assert [file.suffix for file in clip.path.parent.iterdir()] == [".mp4"], "nothing unfinished is left"


def test_a_film_is_finished_when_the_runtime_is_closed(window: Window) -> None:
    window.turn([key(pygame.K_r, pygame.KMOD_LCTRL)])
    clip = window.clip
    assert clip is not None
    watch(window, 3)
    window.runtime.close()
    assert len(frames_of(clip.path)) == clip.frames >= 3


def test_f12_saves_pictures_under_names_of_their_own(window: Window, tmp_path: Path) -> None:
    def pressed() -> list[Path]:
        window.turn([key(pygame.K_F12), key_up(pygame.K_F12)])
        return sorted((tmp_path / "out").glob("*.png"))

    wait_until(pressed)  # the frame that was seen before the test may be no news to the window
    pictures = pressed()
    assert len(pictures) == 2
    with Image.open(pictures[0]) as picture:
        assert picture.size == (WIDTH * 4, HEIGHT * 4)
        assert picture.convert("RGB").getpixel((3, 3)) == (200, 40, 40)


def test_files_that_cannot_be_written_are_told_in_the_window(window: Window, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    before = pygame.image.tobytes(window.screen, "RGB")
    window.turn([key(pygame.K_F12)])
    window.turn([key(pygame.K_r, pygame.KMOD_LCTRL)])
    wait_until(lambda: window.turn([]) and any("recording" in line and "failed" in line for line in window.news()))
    assert window.clip is None
    assert pygame.image.tobytes(window.screen, "RGB") != before


@pytest.mark.parametrize("out", ["\udcff", "n" * 300])
def test_a_folder_with_an_odd_name_breaks_nothing(window: Window, tmp_path: Path, out: str) -> None:
    window.options = PlayOptions(out=tmp_path / out)
    assert window.turn([key(pygame.K_F12), key(pygame.K_r, pygame.KMOD_LCTRL)])
    assert "picture" in window.news()[0]


def test_the_overlay_is_shown_and_hidden_by_f1(window: Window) -> None:
    window.turn([])
    window.turn([key(pygame.K_F1), key_up(pygame.K_F1)])
    assert window.overlay
    shown = tuple(window.screen.get_at((18, 18)))[:3]
    window.turn([key(pygame.K_F1), key_up(pygame.K_F1)])
    assert not window.overlay
    assert tuple(window.screen.get_at((18, 18)))[:3] != shown


@pytest.mark.parametrize("keys", [KEYS_TYPING, KEYS_PLAYING])
def test_what_the_keys_do_is_said_in_whole_words_however_wide_the_window_is(
    window: Window, keys: tuple[str, ...]
) -> None:
    writer = Writer()
    shown = [writer.fitting(keys, width) for width in range(0, 1200, 10)]
    assert shown[0] == ""
    assert shown[-1] == "   ".join(keys)
    assert set(shown) <= {"   ".join(keys[:count]) for count in range(len(keys) + 1)}
    assert all(
        writer.render(text, SMALL_PX, TEXT).get_width() <= 10 * place for place, text in enumerate(shown) if text
    )
    assert "Esc keys" in writer.fitting(KEYS_TYPING, 800), "how to leave the line is told in the window's own width"


def test_a_key_held_down_toggles_once(window: Window) -> None:
    window.turn([key(pygame.K_F1), key(pygame.K_F1), key(pygame.K_F1)])
    assert window.overlay


@pytest.mark.parametrize("size", [(1, 1), (60, 40), (200, PANEL_PX), (300, 900), (1600, 130)])
def test_the_window_may_have_any_size(window: Window, size: tuple[int, int]) -> None:
    window.screen = pygame.display.set_mode(size, pygame.RESIZABLE)
    window.overlay = True
    assert window.turn([*typed("a long line " * 30), key(pygame.K_F1), key(pygame.K_RETURN)])


def test_any_text_can_be_typed_and_sent(window: Window, scripted: ScriptedRuntime) -> None:
    for text in ("идёт снег", "雪が降る", "🦊", 'quotes " and \\ and \0'):
        window.turn([pygame.event.Event(pygame.TEXTINPUT, text=text), key(pygame.K_RETURN), key_up(pygame.K_RETURN)])
    assert texts_of(scripted, protocol.Event, 4)[:3] == ["идёт снег", "雪が降る", "🦊"]


def test_letters_that_have_no_width_can_be_typed(window: Window) -> None:
    assert window.turn([pygame.event.Event(pygame.TEXTINPUT, text="\ufe0f")])


def test_where_there_is_no_room_for_all_lines_the_newest_are_seen(window: Window) -> None:
    area = pygame.Rect(0, 0, 300, 80)

    def written(lines: list[str], *, at_top: bool) -> bytes:
        window.screen.fill((0, 0, 0))
        Writer().block(window.screen, [(line, TEXT) for line in lines], area, at_top=at_top)
        return pygame.image.tobytes(window.screen.subsurface(area), "RGB")

    assert written(["old", "older", "new", "newest"], at_top=False) == written(["new", "newest"], at_top=False)
    assert written(["first", "second", "third"], at_top=True) == written(["first", "second"], at_top=True)


def test_words_that_are_rejected_are_shown_with_the_reason(window: Window, scripted: ScriptedRuntime) -> None:
    scripted.reject_next("this world is closed today")
    window.turn([*typed("thunder"), key(pygame.K_RETURN)])
    scripted.wait_for(protocol.Event)
    wait_until(lambda: window.turn([]) and any("this world is closed today" in line for line in window.news()))


def test_words_that_are_not_read_whole_stand_out_and_say_what_is_missing() -> None:
    paper = Receipt(id=1, view=cast(View, None), kind="event", text="rain", sent_s=0.0, cancel=lambda _: None)
    facts: dict[str, Any] = {"id": 1, "view": 1, "state": "applied", "understood": 0.9}
    paper.update(msgspec.convert(facts, protocol.ReceiptUpdate))
    assert receipt_colour(paper) == FAINT
    paper.update(msgspec.convert({**facts, "unread": "and a lantern " * 9}, protocol.ReceiptUpdate))
    assert receipt_colour(paper) == WARM
    assert "not read: 'and a lantern and a lantern" in receipt_line(paper)
    assert len(receipt_line(paper)) < 120
    assert repr(paper.unread) in describe(paper)


@pytest.mark.parametrize("window", ["spreadsheets everywhere"], indirect=True)
def test_a_first_prompt_that_the_world_hardly_knows_is_told_for_it_has_no_receipt(window: Window) -> None:
    wait_until(lambda: window.turn([]) and any("the first prompt: understood 0%" in text for text in window.news()))


@pytest.mark.parametrize("window", ["thunder and lightning"], indirect=True)
def test_what_is_said_of_the_first_prompt_is_not_said_of_another(window: Window) -> None:
    window.turn([*typed("spreadsheets everywhere"), key(pygame.K_RETURN, pygame.KMOD_LSHIFT)])
    wait_until(lambda: window.turn([]) and window.view is not None and window.view.status.understood == 0.0)
    window.turn([])
    assert not any("the first prompt" in text for text in window.news())


def test_the_window_closes_by_its_button_and_by_control_q(window: Window) -> None:
    assert not window.turn([pygame.event.Event(pygame.QUIT)])
    assert not window.turn([key(pygame.K_q, pygame.KMOD_LCTRL)])


def test_a_runtime_that_is_gone_for_good_is_told_and_nothing_breaks(tmp_path: Path) -> None:
    pygame.display.init()
    pygame.font.init()
    screen = pygame.display.set_mode((640, 480))
    command = [sys.executable, "-m", "eddyline.testing", "--fail", "no weights here"]
    with eddyline.launch(wait=False, command=command) as runtime:
        window = Window(screen, runtime, PlayOptions(out=tmp_path))
        wait_until(lambda: window.turn([]) and window.failure)
        assert "no weights here" in window.failure
        assert window.turn([*typed("hello"), key(pygame.K_RETURN), key(pygame.K_F12), key(pygame.K_F1)])
    pygame.quit()


# ---- without a window


def test_pictures_of_a_script_are_taken_when_the_next_words_show_not_when_they_are_sent(
    scripted: ScriptedRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    def take(frame: eddyline.Frame, at_s: float, held: tuple[str, ...]) -> SheetPicture:
        happened.append(f"a picture of {frame.prompt}")
        return SheetPicture(frame.pixels, at_s, frame.prompt, frame.events)

    monkeypatch.setattr("eddyline.reel._picture", take)
    steps = [ScriptLine(0.0, "prompt", "a red room"), ScriptLine(0.6, "prompt", "a green meadow")]
    with eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime:
        film_script(runtime, out=tmp_path, seconds=2.0, script=steps, say=lambda line: happened.append(line[9:]))
    order = ["prompt: a red room", "prompt: a green meadow", "a picture of a red room", "a picture of a green meadow"]
    assert [what for what in happened if what in order] == order


def test_a_script_of_no_length_at_all_is_filmed_for_one_frame(scripted: ScriptedRuntime, tmp_path: Path) -> None:
    steps = [ScriptLine(0.0, "prompt", "a red room")]
    with eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime:
        reel = film_script(runtime, out=tmp_path, seconds=0.01, script=steps, say=lambda _: None)
    assert len(frames_of(reel.film)) == reel.frames >= 1
    assert reel.sheet.exists()


def test_without_a_display_a_script_is_filmed_with_its_words(scripted: ScriptedRuntime, tmp_path: Path) -> None:
    steps = [
        ScriptLine(0.0, "prompt", "a red room"),
        ScriptLine(2.0, "prompt", "a green meadow"),
        ScriptLine(2.8, "event", "night"),
    ]
    said: list[str] = []
    with eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime:
        reel = film_script(runtime, out=tmp_path, seconds=3.4, script=steps, say=said.append)
    assert reel.frames >= 100
    frames = frames_of(reel.film)
    assert len(frames) == reel.frames
    assert frames[0].shape == (HEIGHT * 16, WIDTH * 16, 3)
    red, green, _ = frames[0][5, 5].astype(int)
    assert red > green
    assert any(frame[5, 5, 1] > frame[5, 5, 0] for frame in frames), "the prompt was replaced meanwhile"
    assert [receipt.text for receipt in reel.receipts] == ["a green meadow", "night"]
    assert all(receipt.state == "applied" for receipt in reel.receipts)
    assert reel.first_frame_s > 0
    assert any("event: night" in line for line in said)
    assert sum("the prompt: understood" in line for line in said) == 1
    with Image.open(reel.sheet) as sheet:
        assert sheet.width > 3 * 320


def test_a_script_of_ones_own_is_filmed_with_a_display_too(
    scripted: ScriptedRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures: list[SheetPicture] = []

    def sheet(taken: list[SheetPicture]) -> Image.Image:
        pictures.extend(taken)
        return contact_sheet(taken)

    script = tmp_path / "walk.txt"
    script.write_text(
        "0 prompt: a red room\n0.5 event (1.5 s): night\n1 keys: ArrowRight\n1.5 keys:\n1.5 event: thunder\n"
        "2 cut: a green meadow\n3 end\n"
    )
    monkeypatch.setattr("eddyline.play._open_window", lambda: pytest.fail("a window was opened"))
    monkeypatch.setattr("eddyline.reel.contact_sheet", sheet)
    arguments = ["--endpoint", scripted.endpoint, "--out", str(tmp_path / "out"), "--script", str(script)]
    assert cli.main(["play", *arguments, "--prompt", "a white room"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("no window (--script was given): playing 3 s of video through ")
    assert "0.0 s  prompt: a white room\n" in printed, "--prompt takes the place of the first words"
    assert re.findall(r"  (\w+): (?!a white room)(\w+)", printed) == [
        ("event", "night"),
        ("keys", "ArrowRight"),
        ("keys", "none"),
        ("event", "thunder"),
        ("cut", "a"),
    ]
    holds = [came.hold_s for came in scripted.wait_for(protocol.Event, 2) if isinstance(came, protocol.Event)]
    assert holds == [1.5, 4.0]
    assert texts_of(scripted, protocol.Cut) == ["a green meadow"]
    acts = [dict(came.keys) for came in scripted.wait_for(protocol.Act, 2) if isinstance(came, protocol.Act)]
    assert acts == [{"ArrowRight": 1.0}, {}]
    assert ("ArrowRight",) in [picture.keys for picture in pictures]
    assert pictures[0].prompt == "a white room"
    assert pictures[-1].prompt == "a green meadow"
    assert len(frames_of(tmp_path / "out" / "eddyline-play.mp4")) >= 90


def test_keys_of_a_script_that_are_none_in_this_world_are_told_before_anything_is_filmed(
    scripted: ScriptedRuntime, tmp_path: Path
) -> None:
    steps = [ScriptLine(0.0, "prompt", "a red room"), ScriptLine(60.0, "keys", "ArowRight")]
    with (
        eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime,
        pytest.raises(KeyNameError, match="'ArowRight' is not a key"),
    ):
        film_script(runtime, out=tmp_path, seconds=61.0, script=steps, say=lambda _: None)
    assert list(tmp_path.iterdir()) == []


EMBEDDED = eddyline.World(
    model="diorama",
    fps=16.0,
    height=96,
    width=160,
    action_names=(),
    phrases=(),
    profiles={},
    default_profile="",
    max_views=1,
    runtime="",
)


@pytest.mark.parametrize(
    ("seconds", "steps"), [(0.5, 1), (2.4, 1), (5.0, 2), (6.0, 2), (7.5, 3), (19.9, 7), (60.0, 24)]
)
def test_a_step_of_a_script_has_time_to_show_its_words(seconds: float, steps: int) -> None:
    assert steps_that_fit(seconds) == steps
    assert steps == 1 or seconds / steps >= STEP_S


def test_a_short_script_is_the_first_steps_of_the_long_one() -> None:
    steps = script_for(EMBEDDED, seconds=6.0)
    assert steps == [
        ScriptLine(0.0, *DIORAMA_SCRIPT[0], hold_s=3.0),
        ScriptLine(3.0, *DIORAMA_SCRIPT[1], hold_s=3.0),
    ]


def test_the_script_of_the_embedded_world_fills_the_time_evenly() -> None:
    steps = script_for(EMBEDDED, seconds=20)
    assert [(step.verb, step.text) for step in steps] == list(DIORAMA_SCRIPT)
    assert [step.at_s for step in steps] == [number * 2.5 for number in range(8)]
    assert {step.verb for step in steps} == {"prompt", "event"}


def test_play_says_that_there_is_no_display_and_films_instead(
    scripted: ScriptedRuntime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--endpoint", scripted.endpoint, "--out", str(tmp_path), "--seconds", "1", "--prompt", "a white room"]
    status = cli.main(["play", *arguments])
    printed = capsys.readouterr().out
    assert status == 0
    assert printed.startswith("no window (SDL_VIDEODRIVER is dummy)")
    assert str(tmp_path / "eddyline-play.mp4") in printed
    assert str(tmp_path / "eddyline-play.png") in printed
    assert "prompt: a white room" in printed
    frames = frames_of(tmp_path / "eddyline-play.mp4")
    assert len(frames) >= 30
    assert f"\n{len(frames)} frames, " in printed


def test_play_dreams_with_the_real_runtime(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["play", "--model", "tiny", "--random-weights", "--out", str(tmp_path), "--seconds", "5"])
    assert status == 0
    assert re.search(r"prompt '.*': applied", capsys.readouterr().out)
    frames = frames_of(tmp_path / "eddyline-play.mp4")
    assert len(frames) >= 80
    assert any((frame != frames[0]).any() for frame in frames)


def test_words_that_the_terminal_cannot_write_are_told_in_letters_that_it_can(
    scripted: ScriptedRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(terminal, encoding="ascii", write_through=True))
    options = ["--headless", "--seconds", "0.2", "--endpoint", scripted.endpoint, "--prompt", "雪"]
    assert cli.main(["play", *options, "--out", str(tmp_path / "\udcff")]) == 0
    assert rb"\u96ea" in terminal.getvalue()


def test_a_film_that_is_stopped_by_control_c_is_whole_and_said_to_be_there(
    scripted: ScriptedRuntime, tmp_path: Path
) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "green meadow" in line:
            raise KeyboardInterrupt

    steps = [ScriptLine(0.0, "prompt", "a red room"), ScriptLine(0.5, "prompt", "a green meadow")]
    with eddyline.connect(scripted.endpoint, timeout_s=PATIENCE_S) as runtime, pytest.raises(KeyboardInterrupt):
        film_script(runtime, out=tmp_path, seconds=60.0, script=steps, say=say)
    (film,) = tmp_path.iterdir()
    assert said[-1] == f"the film ends here: its {len(frames_of(film))} frames are in {film}"
    assert film.name == "eddyline-play.mp4"


def test_play_launches_stops_and_explains_a_runtime_that_cannot_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = [sys.executable, "-m", "eddyline.testing", "--fail", "the weights are cut; install eddyline again"]
    monkeypatch.setattr(sys.modules["eddyline.launch"], "_installed_runtime", lambda: failing)
    assert cli.main(["play", "--out", str(tmp_path)]) == 1
    assert "the weights are cut; install eddyline again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out", "file"], r"file is a file, not a folder\); choose another folder \(eddyline play: --out\)"),
        (["--out", "file/deeper"], r"file is a file, not a folder\); choose another folder \(eddyline play: --out\)"),
        (["--journal", "file"], "file is there already; name another file, or remove it"),
        (["--prompt", ""], "the text is empty"),
        (["--script", "file"], "file says nothing; begin with a scene"),
        pytest.param(
            ["--out", "/proc/nope"],
            r"/proc does not take it: .*\); choose another folder",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="a folder that takes no file"),
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    options: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    started: list[str] = []
    monkeypatch.setattr("eddyline.play.launch", lambda model, **_: started.append(model))
    assert cli.main(["play", *options]) == 1
    printed = capsys.readouterr()
    assert re.search(told, printed.err)
    assert "space" not in printed.err
    assert (printed.out, started) == ("", [])
    assert [file.name for file in tmp_path.iterdir()] == ["file"], "nothing is left behind"


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
def test_control_c_stops_play_and_its_runtime(tmp_path: Path) -> None:
    program = (
        "import sys; import eddyline; "
        "sys.modules['eddyline.launch']._installed_runtime = lambda: [sys.executable, '-m', 'eddyline.testing']; "
        "from eddyline.cli import main; sys.exit(main(['play', '--seconds', '600', '--out', sys.argv[1]]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "is open" in line:
            break
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "stopped", "pygame may warn of its own imports before"
    assert "Traceback" not in stderr


# ---- displays


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere DISPLAY names no display")
def test_play_films_where_the_display_does_not_open_as_where_there_is_none(
    scripted: ScriptedRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":98765")
    assert cli.main(["play", "--endpoint", scripted.endpoint, "--out", str(tmp_path), "--seconds", "0.5"]) == 0
    assert re.match(r"no window \(the display .*does not open", capsys.readouterr().out)
    assert len(frames_of(tmp_path / "eddyline-play.mp4")) >= 15


def test_no_sound_device_does_not_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "nosuchdriver")
    with ScriptedRuntime(fps=30, chunk_frames=4) as scripted:
        options = PlayOptions(endpoint=scripted.endpoint, out=tmp_path, seconds=0.5)
        assert play(options, say=lambda _: None) == 0


# ---- films and contact sheets


def test_a_film_keeps_its_time_over_gaps_repeats_and_cuts(tmp_path: Path) -> None:
    dark, light = np.zeros((10, 15, 3), np.uint8), np.full((10, 15, 3), 255, np.uint8)
    with Film(tmp_path / "film.mp4", fps=16) as film:
        film.add(dark, epoch=0, index=5)
        film.add(dark, epoch=0, index=5)
        film.add(light, epoch=0, index=9)
        film.add(dark, epoch=1, index=0)
        film.add(light, epoch=0, index=10)
    levels = [round(float(frame.mean()) / 255) for frame in frames_of(tmp_path / "film.mp4")]
    assert levels == [0, 0, 0, 0, 1, 0, 1]
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.video[0].average_rate == 16


@pytest.mark.parametrize("name", ["out.avi", "out", "folder.mp4"])
def test_a_film_is_an_mp4_by_its_name_too(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OptionError, match="give the name of a file"):
        Film(tmp_path / name, fps=16)
    assert cli.main(["replay", str(tmp_path / "no.journal"), "--video", str(tmp_path / name)]) == 1
    assert "give the name of a file" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["folder.mp4"]


def test_that_the_working_directory_is_gone_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FilmError, match="out: cannot be written"):
        check_folder(Path("out"))


def test_that_a_disk_is_full_is_told_as_such(tmp_path: Path) -> None:
    error = unwritable(tmp_path / "film.mp4", OSError(errno.ENOSPC, "No space left on device"), folder=tmp_path)
    assert str(error).endswith("No space left on device); free space, or choose another folder (eddyline play: --out)")


def test_a_film_without_frames_leaves_no_file(tmp_path: Path) -> None:
    with Film(tmp_path / "sub" / "film.mp4", fps=16):
        pass
    assert list((tmp_path / "sub").iterdir()) == []


def test_a_film_that_cannot_be_finished_leaves_no_half_of_one(tmp_path: Path) -> None:
    film = Film(tmp_path / "film.mp4", fps=16)
    film.add(np.zeros((HEIGHT, WIDTH, 3), np.uint8), epoch=0, index=0)
    film.path.mkdir()
    with pytest.raises(FilmError, match=r"film\.mp4"):
        film.close()
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FilmError, match=r"film\.mp4"):
        Film(tmp_path / "file" / "film.mp4", fps=16)
    with pytest.raises(FilmError, match=r"sheet\.png"):
        save_sheet(Image.new("RGB", (4, 4)), tmp_path / "file" / "sheet.png")


@pytest.mark.parametrize(("count", "columns"), [(1, 4), (3, 4), (8, 4), (5, 2)])
def test_a_contact_sheet_holds_every_picture_with_room_for_its_words(count: int, columns: int) -> None:
    words = "a very long prompt that goes on and on until it needs several lines " * 2
    pictures = [
        SheetPicture(np.full((6, 10, 3), 40 + number, np.uint8), number, words, ("it rains", "雪")[: number % 3])
        for number in range(count)
    ]
    sheet = contact_sheet(pictures, columns=columns, picture_width_px=200)
    pixels = np.asarray(sheet)
    for number in range(count):
        assert (pixels == 40 + number).all(axis=-1).sum() >= 200 * 120 - 400
    with io.BytesIO() as file:
        sheet.save(file, format="PNG")


# ---- the other verbs


def test_ping_says_who_answers(scripted: ScriptedRuntime, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ping", scripted.endpoint, "--timeout", "60"]) == 0
    assert "40 x 24 at 30 frames a second" in capsys.readouterr().out


def test_ping_says_that_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ping", "tcp://127.0.0.1:9", "--timeout", "0.3"]) == 1
    assert "no runtime answered at tcp://127.0.0.1:9 within 0.3 s" in capsys.readouterr().err
    assert cli.main(["ping", "not an endpoint"]) == 1


def test_doctor_lists_what_is_there_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in ("python", "torch", "openvino", "pygame", "weights", "processor", "display"):
        assert word in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["play", "--seconds", "nan"],
        ["play", "--seconds", "0"],
        ["play", "--seed", "-1"],
        ["play", "--script", "a.txt", "--seconds", "5"],
        [],
        ["paint"],
    ],
)
def test_wrong_arguments_are_refused_with_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: eddyline" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["play", "--seconds", "soon"], "'soon'; give seconds, over 0 and up to 3600"),
        (["play", "--seed", "x"], "'x'; give a whole number from 0 to 2**63 - 1"),
        (["record", "out", "--play", "x", "game"], "'x'; give a whole number from 0 to 2**63 - 1, or none"),
        (["record", "out", "--size", "128", "game"], "'128'; give width and height in pixels, such as 128x96"),
        (["record", "out", "--size", "1x2x3", "game"], "'1x2x3'; give width and height in pixels"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert told in capsys.readouterr().err


def test_a_missing_extra_is_named_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    assert cli.main(["play"]) == 1
    assert capsys.readouterr().err == f"eddyline play needs PyAV; run: {install_hint('play')}\n"


def test_the_command_starts_without_the_heavy_packages() -> None:
    program = (
        "import sys; import eddyline.cli; eddyline.cli._parser(); "
        "print(*(name for name in ('torch', 'pygame', 'av', 'PIL', 'numpy', 'zmq') if name in sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" not in loaded
    assert "pygame" not in loaded
    assert "av" not in loaded
