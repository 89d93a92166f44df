"""The rules of the diorama: what state it is in and how one frame follows from the last. Pure, no drawing.

Units: pixels and frames (16 frames a second). x grows to the right; height is pixels above the ground.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

from . import vocabulary

FPS = 16
WIDTH, HEIGHT = 160, 96
WALK_SPEED = 2.0  # 8 px, one codec cell, per latent frame
JUMP_SPEED = 3.0  # with GRAVITY: an arc about 20 px high and 25 frames, six latent frames, long
GRAVITY = 0.25
CAMERA_PULL = 0.25  # the camera trails a walking hero by WALK_SPEED / CAMERA_PULL = 8 px
PAN_SPEED, PAN_REACH = 2.0, 20.0
PROP_PERIOD = 184  # distance after which the prop appears again, so that one is nearly always in sight
HAPPENING_FRAMES = {"lightning": 24, "fireworks": 36, "alarm bell": 32, "transformation": 16}
FADE_FRAMES = {"place": 8, "time": 12, "weather": 8, "hero": 7, "colour": 5, "prop": 6}


@dataclass(frozen=True)
class State:
    """The labels of one frame; every field is one of `vocabulary.VALUES[field]`."""

    place: str = "meadow"
    time: str = "day"
    weather: str = "clear"
    hero: str = "fox"
    colour: str = "red"
    doing: str = "stands"
    prop: str = "none"
    happening: str = "none"

    def __post_init__(self) -> None:
        for attribute, value in asdict(self).items():
            if value not in vocabulary.VALUES[attribute]:
                known = ", ".join(vocabulary.VALUES[attribute])
                raise ValueError(f"{value!r} is no {attribute} of the diorama; choose one of {known}")

    def labels(self) -> dict[str, str]:
        """Return attribute -> value, in the order of `vocabulary.VALUES`."""
        return {attribute: getattr(self, attribute) for attribute in vocabulary.VALUES}


@dataclass(frozen=True)
class Fade:
    """An attribute that changed a moment ago: its value before, and the frames since."""

    attribute: str
    before: str
    age: int = 0


@dataclass(frozen=True)
class World:
    """Everything the picture depends on."""

    state: State
    frame: int = 0
    x: float = 0.0
    height: float = 0.0
    rise: float = 0.0
    facing: int = 1
    walked: int = 0  # frames walked without a stop
    camera: float = 0.0  # world x of the middle of the screen
    pan: float = 0.0
    prop_x: float = 48.0
    happening_age: int = 0
    happening_frames: int = 0
    fades: tuple[Fade, ...] = ()

    def fade(self, attribute: str) -> tuple[str, float]:
        """Return the value before the last change and how far the change is, 0 just begun to 1 done."""
        for fade in self.fades:
            if fade.attribute == attribute:
                return fade.before, min(1.0, (fade.age + 1) / FADE_FRAMES[attribute])
        return getattr(self.state, attribute), 1.0


def begin(state: State, *, facing: int = 1, x: float = 0.0, prop_side: int = 1) -> World:
    """Return a world at rest in `state`; its prop stands to the right (`prop_side` 1) or left (-1) of the hero."""
    world = World(state=replace(state, happening="none"), facing=facing, x=x, camera=x, prop_x=x + 50.0 * prop_side)
    return change(world, happening=state.happening) if state.happening != "none" else world


def change(world: World, happening_frames: int | None = None, /, **values: str) -> World:
    """Change attributes of the state from this frame on; a new hero comes in a transformation.

    `doing` cannot be changed: it follows from keys.
    """
    if "doing" in values:
        raise ValueError("doing follows from the keys given to step(); change another attribute")
    old = world.state
    if values.get("hero", old.hero) != old.hero:
        values.setdefault("happening", "transformation")
    changed = {name: value for name, value in values.items() if getattr(old, name) != value}
    fades = [fade for fade in world.fades if fade.attribute not in changed]
    fades += [Fade(name, getattr(old, name), -1) for name in changed if name in FADE_FRAMES]
    prop_x = world.prop_x
    if "prop" in changed and old.prop == "none":
        prop_x = world.camera + 50.0 * world.facing
    world = replace(world, state=replace(old, **changed), fades=tuple(fades), prop_x=prop_x)
    if "happening" in values:
        frames = happening_frames or HAPPENING_FRAMES.get(world.state.happening, 0)
        world = replace(world, happening_age=-1, happening_frames=frames)
    return world


def step(world: World, keys: Collection[str]) -> World:
    """Return the world one frame later, with `keys` (names of `vocabulary.ACTION_NAMES`) held."""
    direction = ("ArrowRight" in keys) - ("ArrowLeft" in keys)
    up = "ArrowUp" in keys
    height, rise = world.height, world.rise
    if height <= 0 and up:
        rise = JUMP_SPEED
    if height > 0 or rise > 0:
        height, rise = height + rise, rise - GRAVITY
    if height <= 0:
        height, rise = 0.0, 0.0
    x = world.x + WALK_SPEED * direction

    panning = ("KeyD" in keys) - ("KeyA" in keys)
    if panning:
        pan = max(-PAN_REACH, min(PAN_REACH, world.pan + PAN_SPEED * panning))
    else:
        pan = math.copysign(max(0.0, abs(world.pan) - PAN_SPEED), world.pan)
    camera = world.camera - world.pan
    camera += (x - camera) * CAMERA_PULL + pan

    if height > 0 or up:
        doing = "jumps"
    elif direction:
        doing = "walks right" if direction > 0 else "walks left"
    else:
        doing = "stands"

    happening, age, frames = world.state.happening, world.happening_age + 1, world.happening_frames
    if happening != "none" and age >= frames:
        happening, age, frames = "none", 0, 0
    fades = tuple(replace(fade, age=fade.age + 1) for fade in world.fades)
    return replace(
        world,
        state=replace(world.state, doing=doing, happening=happening),
        frame=world.frame + 1,
        x=x,
        height=height,
        rise=rise,
        facing=direction or world.facing,
        walked=world.walked + 1 if direction else 0,
        camera=camera,
        pan=pan,
        happening_age=age if happening != "none" else 0,
        happening_frames=frames,
        fades=tuple(fade for fade in fades if fade.age < FADE_FRAMES[fade.attribute]),
    )
