"""`eddyline record`: a game is recorded as it is, its keys as they were held, and everything is put back afterwards."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pygame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eddyline import cli, record_game
from eddyline.errors import DisplayError, EddylineError, KeyNameError, OptionError, RecordingError
from eddyline.game_camera import FrameTimes, fitting_size
from eddyline.game_time import GameClock, GameTime
from eddyline.pygame_hooks import SCANCODES
from eddyline.record_game import Recorded, RecordOptions
from eddyline.recording import Recorder, Recording
from eddyline.robot import AXES, LONGEST_S, SHORTEST_S, Robot

KEYS = ("ArrowLeft", "ArrowRight", "Space")
COLOURED = """
import sys
import pygame

pygame.init()
screen = pygame.display.set_mode((64, 32))
pygame.display.set_caption("Colours")
clock = pygame.time.Clock()
told = set()
turns = int(sys.argv[1])
while turns:
    for event in pygame.event.get():
        if event.type == pygame.KEYDOWN:
            told.add(event.key)
        if event.type == pygame.KEYUP:
            told.remove(event.key)
    held = pygame.key.get_pressed()
    names = (pygame.K_LEFT, pygame.K_RIGHT, pygame.K_SPACE)
    assert told == {name for name in names if held[name]}
    screen.fill([255 * held[name] for name in names])
    pygame.display.update(screen.get_rect())
    clock.tick(40)
    turns -= 1
"""
"""A game whose picture is red while Left is held, green while Right is, blue while Space is; it lasts some turns."""

Play = Callable[..., Recorded]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """play(source, *arguments, seconds=1.0, ...): record a script into tmp_path / "out" by a robot."""

    def record(source: str, *arguments: str, seconds: float = 1.0, **options: object) -> Recorded:
        script = tmp_path / "game.py"
        script.write_text(source, encoding="utf-8")
        given: dict[str, object] = {"fps": 20.0, "robot_seed": 3, "keys": KEYS, "size": (32, 16), **options}
        return record_game.record_game(
            RecordOptions(
                game=str(script),
                arguments=arguments,
                out=tmp_path / "out",
                minutes=seconds / 60.0,
                **given,  # type: ignore[arg-type]
            ),
            say=lambda text: None,
        )

    return record


# ---- what is recorded


def test_as_many_frames_as_asked_for_are_recorded_at_the_size_and_rate_asked_for(play: Play, tmp_path: Path) -> None:
    assert play(COLOURED, "-1", seconds=9.0) == Recorded(frames=180, runs=1, size=(32, 16))
    recording = Recording(tmp_path / "out")
    assert (recording.info.fps, recording.info.width, recording.info.height) == (20.0, 32, 16)
    assert recording.info.action_names == KEYS
    assert [recording.clip_length(clip) for clip in range(len(recording))] == [128, 52], "long ones go on as new ones"


def test_keys_are_recorded_on_the_very_frames_that_show_what_they_did(play: Play, tmp_path: Path) -> None:
    """The game itself asserts that events and `get_pressed` agree."""
    play(COLOURED, "-1", seconds=20.0)
    clips = list(Recording(tmp_path / "out"))
    pictures, actions = (np.concatenate(parts) for parts in zip(*((c.frames, c.actions) for c in clips), strict=True))
    assert np.array_equal(pictures[:, 8, 16] // 255, actions)
    assert (actions.mean(axis=0) > 0.1).all(), "every key is held now and then"
    assert not (actions[:, 0] * actions[:, 1]).any(), "never both ways at once"


def test_a_game_that_is_over_is_run_again_as_a_clip_of_its_own_and_with_other_chances(
    play: Play, tmp_path: Path
) -> None:
    assert play(COLOURED, "30", seconds=2.0).runs == 3
    clips = list(Recording(tmp_path / "out"))
    assert [len(clip.frames) for clip in clips] == [15, 15, 10]
    assert len({clip.seed for clip in clips}) == 3
    assert not np.array_equal(clips[0].actions, clips[1].actions)


def test_the_same_seed_records_the_same_game(play: Play, tmp_path: Path) -> None:
    source = COLOURED.replace("import sys\n", "import sys, random\n").replace(
        "turns -= 1", "turns -= random.random() < 0.9"
    )
    play(source, "30", seconds=4.0)
    (tmp_path / "out").rename(tmp_path / "first")
    play(source, "30", seconds=4.0)
    for ours, theirs in zip(Recording(tmp_path / "first"), Recording(tmp_path / "out"), strict=True):
        assert np.array_equal(ours.frames, theirs.frames)
        assert np.array_equal(ours.actions, theirs.actions)


def test_each_run_finds_the_modules_of_the_game_as_they_were_at_first(play: Play, tmp_path: Path) -> None:
    (tmp_path / "played.py").write_text("times = 0\n")
    again = "import played\nassert played.times == 0\nplayed.times += 1\n"
    assert play(again + COLOURED, "10", seconds=1.0).runs == 4
    assert "played" not in sys.modules


def test_the_words_are_the_windows_title_or_what_was_said_or_made_of_the_picture(play: Play, tmp_path: Path) -> None:
    def words(caption: object) -> set[str]:
        play(COLOURED, "-1", caption=caption)
        told = {text for clip in Recording(tmp_path / "out") for text in clip.captions}
        (tmp_path / "out").rename(tmp_path / str(len(list(tmp_path.iterdir()))))
        return told

    assert words(None) == {"Colours"}
    assert words("a coloured wall") == {"a coloured wall"}
    assert words(lambda surface: f"{surface.get_width()} wide") == {"64 wide"}
    assert words(lambda surface: f"turn {turns()}") == {f"turn {-1 - 2 * i}" for i in range(20)}


def test_a_recording_can_be_added_to_with_other_words(play: Play, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds no recording to add to"):
        play(COLOURED, "-1", add=True)
    play(COLOURED, "-1", caption="summer")
    play(COLOURED, "-1", caption="winter", add=True)
    assert [clip.captions[0] for clip in Recording(tmp_path / "out")] == ["summer", "winter"]
    with pytest.raises(RecordingError, match="record into another folder"):
        play(COLOURED, "-1", size=(16, 16), add=True)


def test_a_picture_that_stands_for_long_ends_the_clip(play: Play, tmp_path: Path) -> None:
    pause = "    if turns == -20:\n        pygame.time.wait(5000)\n"
    play(COLOURED + pause, "-1", seconds=2.0)
    assert [len(clip.frames) for clip in Recording(tmp_path / "out")] == [10, 30]


def test_the_display_is_scaled_to_a_size_that_training_takes_and_keeps_its_proportions() -> None:
    assert fitting_size(640, 480) == (128, 96)
    assert fitting_size(160, 96) == (160, 96)
    for display in ((1280, 720), (400, 800), (1000, 300), (5, 5)):
        width, height = fitting_size(*display)
        assert width % 16 == height % 16 == 0
        assert width / height == pytest.approx(display[0] / display[1], rel=0.1)
        assert 0.4 < width * height / (160 * 96) < 1.5


def test_the_example_of_pygame_is_recorded_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["record", str(tmp_path / "out"), "--play", "0", "--minutes", str(2 / 60), "--fps", "20"]
    words = ["--size", "64x48", "--keys", ",".join(KEYS), "--caption", "aliens attack"]
    assert cli.main([*given, *words, "--", "pygame.examples.aliens"]) == 0
    assert "40 frames of 64 x 48" in capsys.readouterr().out
    clips = list(Recording(tmp_path / "out"))
    assert {text for clip in clips for text in clip.captions} == {"aliens attack"}
    assert all((clip.frames.max(axis=0) > clip.frames.min(axis=0)).any() for clip in clips if len(clip.frames) > 4)


def test_somebody_can_play(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_game, "why_no_window", lambda *_: None)
    recorded = play(COLOURED, "4", robot_seed=None)
    assert recorded.runs == 1, "who plays decides whether to play again"
    assert 1 <= recorded.frames == sum(len(clip.frames) for clip in Recording(tmp_path / "out"))


# ---- what the game sees of time


def test_time_passes_for_the_game_as_it_waits_however_it_waits(play: Play) -> None:
    source = """
import asyncio
import time
import pygame

pygame.init()
screen = pygame.display.set_mode((64, 32))

def lasts(ms, what, slack=1.0):
    clocks = (
        (pygame.time.get_ticks, 1), (time.time, 1e3), (time.monotonic, 1e3), (time.perf_counter, 1e3),
        (time.time_ns, 1e-6), (time.monotonic_ns, 1e-6), (time.perf_counter_ns, 1e-6),
    )
    begins = [clock() for clock, _ in clocks]
    what()
    ends = [clock() for clock, _ in clocks]
    for begin, end, (_, unit) in zip(begins, ends, clocks):
        assert abs((end - begin) * unit - ms) <= slack + 1, (ms, (end - begin) * unit)

def look_at_the_clock():
    begin = pygame.time.get_ticks()
    while pygame.time.get_ticks() < begin + 50:
        pass

clock = pygame.time.Clock()
lasts(25, lambda: clock.tick(40))
assert clock.get_time() == 25 and clock.get_fps() == 40.0
lasts(200, lambda: pygame.time.wait(200))
lasts(1, lambda: pygame.time.delay(1))
lasts(3600_000, lambda: time.sleep(3600))
lasts(50, look_at_the_clock)
lasts(3600_000, lambda: asyncio.run(asyncio.sleep(3600)))
pygame.event.clear()
lasts(100, lambda: pygame.event.wait(100), slack=100.0)
pygame.event.clear()
pygame.time.set_timer(pygame.USEREVENT, 30)
pygame.time.set_timer(pygame.USEREVENT + 1, 10, 3)
pygame.time.wait(100)
kinds = [event.type for event in pygame.event.get()]
assert kinds.count(pygame.USEREVENT) == 3 and kinds.count(pygame.USEREVENT + 1) == 3
pygame.time.set_timer(pygame.USEREVENT, 0)
pygame.time.wait(100)
assert not pygame.event.get(pygame.USEREVENT)
for turn in range(8):
    pygame.display.flip()
    clock.tick(40)
"""
    assert play(source, seconds=0.2).frames == 4


ASYNC = """
import asyncio
import pygame

pygame.init()
screen = pygame.display.set_mode((64, 32))

async def draw():
    while True:
        pygame.display.flip()
        await asyncio.sleep(1 / 40)

async def main():
"""


@pytest.mark.parametrize(
    "body",
    [
        "    task = asyncio.create_task(draw())\n    while True:\n        await asyncio.sleep(1)\n",
        "    task = asyncio.create_task(draw())\n    await asyncio.Event().wait()\n",
        "    async with asyncio.TaskGroup() as group:\n        group.create_task(draw())\n",
    ],
)
def test_a_game_of_asyncio_is_recorded_until_there_is_enough(play: Play, body: str) -> None:
    recorded = play(f"{ASYNC}{body}asyncio.run(main())\n", seconds=0.5)
    assert (recorded.frames, recorded.runs) == (10, 1)


def test_a_game_that_never_waits_is_held_up_as_by_a_screen(play: Play, tmp_path: Path) -> None:
    play(COLOURED.replace("    clock.tick(40)\n", ""), "-1", seconds=3.0, fps=30.0, caption=lambda _: str(turns()))
    told = [int(text) for clip in Recording(tmp_path / "out") for text in clip.captions]
    assert {before - after for before, after in pairwise(told[1:])} == {2}, "every second of sixty pictures a second"


def turns() -> int:
    return int(sys.modules["__main__"].turns)


@given(st.floats(5, 200), st.floats(1, 60), st.integers(1, 400))
def test_a_game_of_any_rate_gives_as_many_frames_as_its_time_has(game_fps: float, fps: float, turns: int) -> None:
    times = FrameTimes(fps)
    taken = sum(times.due(7.0 + turn / game_fps) for turn in range(turns))
    assert abs(taken - (1 + (turns - 1) / game_fps * fps)) <= 1


@given(st.lists(st.floats(0, 40), max_size=30), st.integers(1, 120))
def test_a_clock_that_is_ticked_keeps_its_rate_whatever_else_the_game_waits_for(waits: list[float], fps: int) -> None:
    game_time = GameTime()
    clock = GameClock(game_time)
    period_ms = 1000.0 / fps
    for wait_ms in waits:
        before_ms = game_time.now_ms
        game_time.wait(wait_ms)
        clock.tick(fps)
        assert game_time.now_ms - before_ms == pytest.approx(max(period_ms, wait_ms))


# ---- the robot


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sets(st.sampled_from(sorted(SCANCODES)), min_size=1, max_size=6))
def test_the_robot_holds_keys_it_was_given_for_a_while_and_never_two_that_pull_apart(seed: int, keys: set[str]) -> None:
    robot, again = Robot(sorted(keys), seed), Robot(sorted(keys), seed)
    step_s = 0.05
    states = [robot.held(turn * step_s) for turn in range(400)]
    assert states == [again.held(turn * step_s) for turn in range(400)]
    assert all(state <= keys for state in states)
    assert all(len(state.intersection(axis)) <= 1 for state in states for axis in AXES)
    for key in keys:
        down = [turn for turn, state in enumerate(states) if key in state]
        assert down, "twenty seconds are enough for every key"
        changes = [turn for turn in range(1, 400) if (key in states[turn]) != (key in states[turn - 1])]
        lengths = [end - begin for begin, end in pairwise(changes)]
        assert min(lengths, default=400) >= SHORTEST_S / step_s - 1
        if not any(key in axis for axis in AXES):
            assert max(lengths) <= LONGEST_S / step_s + 1


# ---- what is put back


@pytest.fixture
def state() -> Callable[[], list[object]]:
    """Everything that recording replaces for a while."""

    def look() -> list[object]:
        replaced = [
            (pygame.display, "flip update"),
            (pygame.time, "Clock wait delay get_ticks set_timer"),
            (pygame.key, "get_pressed"),
            (pygame.event, "wait"),
            (time, "sleep time monotonic perf_counter"),
        ]
        functions = [getattr(owner, name) for owner, names in replaced for name in names.split()]
        return [*functions, sys.argv, sys.path[:], dict(os.environ), sys.modules["__main__"], random.getstate()]

    return look


@pytest.mark.parametrize("source", [COLOURED, COLOURED + "    if turns == 5: 1 / 0"], ids=["played", "failed"])
def test_afterwards_everything_is_as_it_was(
    play: Play, state: Callable[[], list[object]], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER")
    before = state()
    try:
        play(source, "20")
    except RecordingError:
        assert "1 / 0" in source
    assert state() == before
    assert not pygame.display.get_init()


# ---- what goes wrong


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "ended before it showed a picture"),
        ("import pygame\npygame.init()\npygame.display.set_mode((64, 32))\n", "ended before it showed a picture"),
        ("raise SystemExit('no arguments')", "ended before it showed a picture"),
        ("1 / 0", "game failed (ZeroDivisionError: division by zero)"),
        (COLOURED.replace("turns = int(sys.argv[1])", "turns = 2"), "ended within 4 frames 3 times in a row"),
    ],
    ids=["nothing", "no picture", "exit", "failure", "two turns"],
)
def test_a_game_that_cannot_be_recorded_says_why(play: Play, source: str, message: str) -> None:
    with pytest.raises(RecordingError) as raised:
        play(source)
    assert message in str(raised.value)


@pytest.mark.parametrize("shown", [0, 5])
def test_a_game_that_shows_nothing_and_never_ends_is_given_up(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: int
) -> None:
    monkeypatch.setattr("eddyline.game_camera.MOST_WAITS", 100)
    source = COLOURED.replace("pygame.display.update(", "turns > 100 - int(sys.argv[2]) and pygame.display.update(")
    with pytest.raises(RecordingError, match="waited 100 times and showed no picture meanwhile"):
        play(source.replace("while turns:", "while True:"), "100", str(shown), seconds=60.0, fps=40.0)
    assert not shown or [len(clip.frames) for clip in Recording(tmp_path / "out")] == [shown]


def test_what_was_recorded_before_a_game_failed_is_kept(play: Play, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="what was recorded until then is kept"):
        play(COLOURED + "    if turns == -21: 1 / 0", "-1")
    assert [len(clip.frames) for clip in Recording(tmp_path / "out")] == [10]


def test_a_full_disk_ends_a_game_that_catches_every_error(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RecordingError("the disk is full")

    monkeypatch.setattr(Recorder, "add", full)
    stubborn = COLOURED.replace(
        "    pygame.display.update(screen.get_rect())",
        """\
    try:
        pygame.display.flip()
    except Exception:
        pass""",
    )
    with pytest.raises(RecordingError, match="the disk is full"):
        play(stubborn, "-1")


def test_a_folder_with_something_in_it_is_left_alone(play: Play, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(RecordingError, match="is there already; choose another folder"):
        play(COLOURED, "-1")


def test_nobody_can_play_without_a_display(play: Play) -> None:
    with pytest.raises(DisplayError, match="let a robot do it: --play 0"):
        play(COLOURED, "-1", robot_seed=None)


@pytest.mark.parametrize("name", ["no.such.module", "no_such_module", "nowhere.py", ".relative", ""])
def test_a_game_that_is_not_there_is_said_to_be_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no such script, nor a module"):
        record_game.record_game(RecordOptions(game=name, out=tmp_path / "out", robot_seed=0))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"size": (100, 96)}, OptionError, "sides of 16, 32, 48"),
        ({"size": (0, 16)}, OptionError, "sides of 16, 32, 48"),
        ({"fps": 0.0}, OptionError, "give 1 to 60 frames a second"),
        ({"fps": float("nan")}, OptionError, "give 1 to 60 frames a second"),
        ({"minutes": 0.0}, OptionError, "give how many minutes"),
        ({"minutes": float("inf")}, OptionError, "give how many minutes"),
        ({"caption": " "}, OptionError, "say what is to be seen"),
        ({"keys": ("Left",)}, KeyNameError, "there is no 'Left'"),
        ({"keys": ()}, KeyNameError, "give names of keys"),
        ({"keys": ("Space", "Space")}, KeyNameError, "each once"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    wrong: dict[str, object], error: type[EddylineError], message: str
) -> None:
    with pytest.raises(error, match=message):
        RecordOptions(game="game", out=Path("out"), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [["--size", "big"], ["--play", "often"], ["--fps", "fast"]])
def test_a_command_line_that_makes_no_sense_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["record", "out", *wrong, "--", "game"])
    assert stopped.value.code == 2
