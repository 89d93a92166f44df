"""Play the frozen suites in the real game and record them: what a perfect model would show.

    python -m examples.diorama.suite_recordings OUT

writes OUT/held_out, OUT/steering, OUT/actions, one clip for each item of the suite in its order. Reference statistics
are measured from them (`python -m eddyline_runtime.evaluation.reference`); nothing is ever trained on them, since they
show the combinations that are held out.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from eddyline.recording import Recorder

from . import vocabulary
from .suites import SUITES
from .world import FPS, HEIGHT, WIDTH, State, World, begin, change, step

SCENE_FRAMES, TURN_FRAMES, PRESS_FRAMES = 32, 80, 56
TURN_AT, PRESS_AT = 2 * FPS, 3 * FPS // 2
"""On which frame the words are said, the key goes down."""
SCENE_REPEATS = 2
"""How often each scene is played, from another place and moment each time."""


@dataclass(frozen=True)
class Part:
    """A clip to be played: keys held, and from frame `at` on other keys, or an attribute with another value."""

    prompt: str
    state: State
    frames: int
    keys: tuple[str, ...]
    at: int = 0
    then_keys: tuple[str, ...] = ()
    then: tuple[str, str] | None = None


def scene_part(scene: dict[str, Any], frames: int = SCENE_FRAMES) -> Part:
    """A scene under the keys that make the hero do what it asks for."""
    keys = tuple(scene["keys"])
    return Part(scene["prompt"], State(**scene["labels"]), frames, keys, then_keys=keys)


def turn_part(turn: dict[str, Any]) -> Part:
    """A scene in which an attribute changes when the words are said."""
    return replace(scene_part(turn["scene"], TURN_FRAMES), at=TURN_AT, then=(turn["attribute"], turn["value"]))


def press_part(press: dict[str, Any]) -> Part:
    """A scene in which other keys go down."""
    return replace(scene_part(press["scene"], PRESS_FRAMES), at=PRESS_AT, then_keys=tuple(press["keys"]))


def play(part: Part, rng: random.Random) -> Iterator[tuple[World, tuple[str, ...]]]:
    """Play a clip: each frame's world and held keys. What happens in the scene happens again and again."""
    happening = part.state.happening
    facing, side = rng.choice((-1, 1)), rng.choice((-1, 1))
    world = begin(part.state, facing=facing, x=float(2 * rng.randrange(640)), prop_side=side)
    for _ in range(rng.randrange(FPS)):  # so that clips do not all begin at rest
        world = step(world, part.keys)
    for frame in range(part.frames):
        keys = part.then_keys if frame >= part.at else part.keys
        if part.then is not None and frame == part.at:
            attribute, value = part.then
            world = change(world, **{attribute: value})
        if world.state.happening == "none" != happening:
            world = change(world, happening=happening)
        world = step(world, keys)
        yield world, keys


def suite_parts() -> dict[str, list[Part]]:
    """The clips to be played, by the suite's name."""
    suites = {name.removesuffix(".json"): make() for name, make in SUITES.items()}
    return {
        "held_out": SCENE_REPEATS * [scene_part(scene) for scene in suites["held_out"]["scenes"]],
        "steering": [turn_part(turn) for turn in suites["steering"]["turns"]],
        "actions": [press_part(press) for press in suites["actions"]["presses"]],
    }


def record_parts(out: Path, name: str, parts: list[Part], seed: int = 0) -> None:
    """Play and record clips into the folder `out`; clip i of a seed is always the same."""
    from .render import Renderer

    renderer = Renderer()
    with Recorder(
        out,
        fps=FPS,
        height=HEIGHT,
        width=WIDTH,
        action_names=vocabulary.ACTION_NAMES,
        metadata={"world": "diorama", "suite": name, "seed": str(seed)},
    ) as recorder:
        for index, part in enumerate(tqdm(parts, desc=f"playing {name}", unit="clip")):
            recorder.begin_clip(seed=index)
            for world, keys in play(part, random.Random(f"{seed} {name} {index}")):
                recorder.add(
                    renderer.frame(world),
                    caption=part.prompt,
                    actions=[float(key in keys) for key in vocabulary.ACTION_NAMES],
                    labels=world.state.labels(),
                )


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and record."""
    parser = argparse.ArgumentParser(prog="python -m examples.diorama.suite_recordings", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the recordings")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    for name, parts in suite_parts().items():
        record_parts(given.out / name, name, parts, given.seed)


if __name__ == "__main__":
    main()
