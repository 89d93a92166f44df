"""`eddyline record`: a pygame game, as it is, becomes a recording.

The game runs in this process, under hooks (`pygame_hooks.py`): pictures are taken as it shows them, with the keys held
at that moment. Either somebody plays it in its window, or a robot does: then there is no window and no sound, time
passes as fast as the game can draw, and when the game is over it is run again.
"""

from __future__ import annotations

import math
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pygame

from eddyline.display import why_no_window
from eddyline.errors import DisplayError, KeyNameError, OptionError, RecordingError
from eddyline.game_camera import SIDE_STEP_PX, Camera, Caption, Enough, Shooting
from eddyline.game_program import GameProgram, environment, find_game, modules_from_here
from eddyline.game_time import GameTime
from eddyline.pygame_hooks import SCANCODES, HeldKeys, clocks, pictures, replaced
from eddyline.robot import Robot

SHORT_RUN_FRAMES, MOST_SHORT_RUNS = 4, 3
"""After so many runs in a row that end before so many frames, running the game again is given up."""


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """What to record.

    game: a module's name, or a script's path; arguments: what it finds in `sys.argv`.
    size: width and height in pixels, multiples of 16; None: about 160 x 96 pixels in the game's own proportions.
    fps: frames a second, 1 to 60; best a whole part of the game's own rate, so that things move evenly.
    minutes: of video; somebody who plays may stop before.
    caption: the words of all frames, or a function that makes them of the display's surface; None takes the title of
    the game's window.
    robot_seed: None lets somebody play. Equal seeds play a game alike, if it draws its chances from `random`.
    keys: W3C names of the keys that are recorded, and that a robot presses.
    add: to a recording of the same size, rate and keys that is in the folder, instead of beginning one.

    Raises OptionError and KeyNameError.
    """

    game: str
    arguments: Sequence[str] = ()
    out: Path
    size: tuple[int, int] | None = None
    fps: float = 16.0
    minutes: float = 10.0
    caption: Caption | None = None
    robot_seed: int | None = None
    keys: Sequence[str] = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Space")
    add: bool = False

    def __post_init__(self) -> None:
        if self.size and any(side < SIDE_STEP_PX or side % SIDE_STEP_PX for side in self.size):
            raise OptionError(
                f"size={self.size}: a world is trained on sides of 16, 32, 48 ... pixels; give, say, (160, 96)"
            )
        if not 1.0 <= self.fps <= 60.0:
            raise OptionError(f"fps={self.fps} is out of range; give 1 to 60 frames a second")
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise OptionError(f"minutes={self.minutes}; give how many minutes of video to record, over 0")
        if isinstance(self.caption, str) and not self.caption.strip():
            raise OptionError("the caption is empty; say what is to be seen, or leave it out")
        unknown = [name for name in self.keys if name not in SCANCODES]
        if unknown or not self.keys or len(set(self.keys)) != len(self.keys):
            raise KeyNameError(
                f"keys={','.join(self.keys)}: give names of keys, each once, such as ArrowLeft, KeyA, Space, Enter"
                + (f"; there is no {unknown[0]!r}" if unknown else "")
            )


@dataclass(frozen=True)
class Recorded:
    """What came of it: frames in all, how often the game was run, width and height of the frames in pixels."""

    frames: int
    runs: int
    size: tuple[int, int]


def record_game(options: RecordOptions, *, say: Callable[[str], None] = print) -> Recorded:
    """Run a game and record it until there are `minutes` of it; when somebody plays, until the game ends.

    Call it from the main thread, before anything else of the process uses pygame's display.

    Raises:
        OptionError: there is no such module or script.
        RecordingError: the folder is in use or cannot be written, or the game failed, ended at once, or showed nothing
            through `pygame.display`. What was recorded until then is kept.
        DisplayError: somebody is to play, and there is no display.
    """
    _check_folder(options.out, add=options.add)
    by_robot = options.robot_seed is not None
    if not by_robot and (reason := why_no_window(os.environ, sys.platform)) is not None:
        raise DisplayError(f"{reason}, so nobody can play; let a robot do it: --play 0")
    camera = Camera(_shooting(options), say=say)
    with ExitStack() as stack:
        stack.callback(camera.close)
        stack.callback(pygame.quit)
        stack.enter_context(modules_from_here())
        game = find_game(options.game)
        try:
            if by_robot:
                stack.enter_context(environment({"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}))
                _let_a_robot_play(game, options, camera)
            else:
                _let_somebody_play(game, options, camera)
        except* Enough:  # alone, or in a group of asyncio's
            pass
    if camera.frames == 0:
        raise RecordingError(
            f"{game.name} ended before it showed a picture through pygame.display; run it by hand to see why, and give "
            "it the arguments it needs"
        )
    return Recorded(camera.frames, camera.runs, camera.size)


def _check_folder(out: Path, *, add: bool) -> None:
    if add:
        if not any(out.glob("index*.json")):
            raise RecordingError(f"{out} holds no recording to add to; leave --add out to begin one")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecordingError(
            f"{out} is there already; choose another folder, delete this one, or --add to the recording in it"
        )


def _shooting(options: RecordOptions) -> Shooting:
    player = "somebody" if options.robot_seed is None else f"a robot, seed {options.robot_seed}"
    return Shooting(
        out=options.out,
        size=options.size,
        fps=options.fps,
        frames=max(1, round(options.minutes * 60.0 * options.fps)),
        keys=options.keys,
        caption=options.caption,
        metadata={"game": " ".join([options.game, *options.arguments]), "played by": player},
    )


def _let_somebody_play(game: GameProgram, options: RecordOptions, camera: Camera) -> None:
    begin_s = time.monotonic()
    camera.begin_run(None)
    with replaced(pictures(lambda: camera.see(time.monotonic() - begin_s))):
        game.run(options.arguments)


def _let_a_robot_play(game: GameProgram, options: RecordOptions, camera: Camera) -> None:
    """Run the game again and again, each time with other chances and other keys, until the camera has enough."""
    dice, short_runs = random.getstate(), 0
    try:
        while short_runs < MOST_SHORT_RUNS:
            before = camera.frames
            seed = int(np.random.SeedSequence([options.robot_seed or 0, camera.runs]).generate_state(1)[0])
            _robot_run(game, options, camera, seed)
            short_runs = short_runs + 1 if camera.frames - before < SHORT_RUN_FRAMES else 0
    finally:
        random.setstate(dice)
    if camera.frames:
        raise RecordingError(
            f"{game.name} ended within {SHORT_RUN_FRAMES} frames {MOST_SHORT_RUNS} times in a row; run it by hand to "
            f"see why, and give it the arguments it needs (the {camera.frames} frames until then are kept)"
        )


def _robot_run(game: GameProgram, options: RecordOptions, camera: Camera, seed: int) -> None:
    random.seed(seed)
    robot, keys = Robot(options.keys, seed), HeldKeys()
    camera.begin_run(seed)

    def wait(now_s: float) -> None:
        keys.hold(robot.held(now_s))
        camera.wait()

    game_time = GameTime(on_change=wait)

    def see() -> None:
        camera.see(game_time.now_ms / 1000.0)
        game_time.show()

    with replaced([*pictures(see), *clocks(game_time), *keys.hooks()]):
        game.run(options.arguments)
        pygame.quit()
