"""Record the diorama without a window: the training set of the shipped model.

    python -m examples.diorama.record OUT --clips 1000 --seed 0 --workers 2

Clip i of seed S is the same whatever the number of workers. Combinations in held_out.json are never shown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.queues
import os
import queue
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from eddyline.recording import RecordedClip, Recorder

from . import grammar, held_out, vocabulary
from .world import FPS, HEIGHT, WIDTH, State, World, begin, change, step

DEFAULT_FRAMES = 128
_KEYS = {
    "stands": (),
    "walks left": ("ArrowLeft",),
    "walks right": ("ArrowRight",),
    "jumps": ("ArrowUp",),
}
# A hero that jumps is seen at every height, which takes more to learn than one that stays on the ground.
_DOING_WEIGHTS = {"stands": 0.17, "walks left": 0.2, "walks right": 0.2, "jumps": 0.43}
_CHANGING = ("place", "time", "weather", "hero", "colour", "prop")
_HAPPENINGS = ("lightning", "fireworks", "alarm bell")
_CHANGE_SPACING = 8  # frames between two changes at least
# The runtime says an event after the standing prompt; so do some captions.
_EVENT_CAPTIONS = 0.3
# Of the clips, those in which little changes: a stream is mostly under words and keys that stay.
_CALM_CLIPS = 0.35
# Of the captions, those in words from far more than the vocabulary.
_WIDE_CAPTIONS = 0.65


@dataclass(frozen=True)
class Shot:
    """One frame of a clip, before it is drawn."""

    world: World
    caption: str
    keys: frozenset[str]

    def actions(self) -> list[float]:
        """Return the held keys as numbers, in the order of `vocabulary.ACTION_NAMES`."""
        return [float(name in self.keys) for name in vocabulary.ACTION_NAMES]


class Narrator:
    """Finds words for a world as it goes: new words exactly when a label changes."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._state: State | None = None
        self._caption = ""
        self._plain = True

    def say(self, state: State) -> str:
        """Return the caption of a frame in `state`."""
        if self._state is None:
            self._caption = self._describe(state)
        elif state != self._state:
            before = self._state.labels()
            changed = [name for name, value in state.labels().items() if before[name] != value]
            as_event = self._plain and len(changed) == 1 and getattr(state, changed[0]) != "none"
            if as_event and self._rng.random() < _EVENT_CAPTIONS:
                words = grammar.event(changed[0], getattr(state, changed[0]), self._rng)
                self._caption, self._plain = f"{self._caption}, {words}", False
            else:
                self._caption, self._plain = self._describe(state, mention=changed), True
        self._state = state
        return self._caption

    def _describe(self, state: State, mention: Collection[str] = ()) -> str:
        return grammar.caption(state, self._rng, mention=mention, wide=self._rng.random() < _WIDE_CAPTIONS)


def random_state(rng: random.Random) -> State:
    """Draw a state that is not held out, nothing happening."""
    while True:
        drawn = {name: rng.choice(values) for name, values in vocabulary.VALUES.items()}
        state = State(**{**drawn, "doing": "stands", "happening": "none"})
        if not held_out.is_held_out(state):
            return state


def _held_keys(rng: random.Random, frames: int, *, calm: bool) -> list[frozenset[str]]:
    """Draw which keys are held on each frame: something else every one to three seconds, in a calm clip every three to
    eight."""
    held: list[frozenset[str]] = []
    doing = ""
    while len(held) < frames:
        choices = [name for name in _DOING_WEIGHTS if name != doing]
        doing = rng.choices(choices, [_DOING_WEIGHTS[name] for name in choices])[0]
        length = rng.randint(3 * FPS, 8 * FPS) if calm else rng.randint(FPS, 3 * FPS)
        keys = set(_KEYS[doing])
        if doing == "jumps" and rng.random() < 0.3:
            keys.add(rng.choice(("ArrowLeft", "ArrowRight")))
        if rng.random() < 0.12:
            keys.add(rng.choice(("KeyA", "KeyD")))
        held += [frozenset(keys)] * length
    return held[:frames]


def _planned_changes(rng: random.Random, frames: int, *, calm: bool) -> dict[int, str]:
    """Draw on which frames which attributes change: one to three of them, and sometimes a happening; in a calm clip one
    of them, or a happening."""
    attributes = rng.sample(_CHANGING, rng.randint(0, 1) if calm else rng.randint(1, 3))
    if not attributes or (not calm and rng.random() < 0.45):
        attributes.append("happening")
    rng.shuffle(attributes)
    places = list(range(_CHANGE_SPACING, frames - _CHANGE_SPACING, _CHANGE_SPACING))
    chosen = rng.sample(places, min(len(places), len(attributes)))
    return {frame + rng.randrange(_CHANGE_SPACING): name for frame, name in zip(chosen, attributes, strict=False)}


def _changed(world: World, attribute: str, rng: random.Random) -> World:
    """Change `attribute` to something else that is not held out."""
    if attribute == "happening":
        return change(world, rng.randint(FPS, 5 * FPS // 2), happening=rng.choice(_HAPPENINGS))
    now = getattr(world.state, attribute)
    options = [value for value in vocabulary.VALUES[attribute] if value != now]
    options = [value for value in options if not held_out.is_held_out(replace(world.state, **{attribute: value}))]
    return change(world, None, **{attribute: rng.choice(options)})


def shots(seed: int, frames: int, state: State | None = None, changes: bool = True) -> Iterator[Shot]:
    """Play one clip without drawing it.

    The clip starts in `state` (drawn from `seed` when None; its `doing` is left to the keys). With `changes`,
    attributes change on the way; without, only what the hero does.
    """
    rng = random.Random(seed)
    narrator = Narrator(random.Random(f"words of {seed}"))
    start = state or random_state(rng)
    world = begin(start, facing=rng.choice((-1, 1)), x=float(2 * rng.randrange(640)), prop_side=rng.choice((-1, 1)))
    calm = rng.random() < _CALM_CLIPS
    keys = _held_keys(rng, frames, calm=calm)
    planned = _planned_changes(rng, frames, calm=calm) if changes else {}
    for _ in range(rng.randrange(FPS)):  # so that clips do not all begin at rest
        world = step(world, keys[0])
    for index in range(frames):
        if index in planned:
            world = _changed(world, planned[index], rng)
        world = step(world, keys[index])
        yield Shot(world=world, caption=narrator.say(world.state), keys=keys[index])


def render_clip(
    seed: int, frames: int = DEFAULT_FRAMES, state: State | None = None, changes: bool = True
) -> RecordedClip:
    """Play and draw one clip in memory; see `shots`."""
    from .render import Renderer

    renderer = Renderer()
    pictures: list[NDArray[np.uint8]] = []
    taken = []
    for shot in shots(seed, frames, state, changes):
        pictures.append(renderer.frame(shot.world))
        taken.append(shot)
    return RecordedClip(
        frames=np.stack(pictures),
        captions=tuple(shot.caption for shot in taken),
        actions=np.array([shot.actions() for shot in taken], dtype=np.float32),
        labels={name: tuple(getattr(shot.world.state, name) for shot in taken) for name in vocabulary.VALUES},
        seed=seed,
    )


def clip_seed(seed: int, index: int) -> int:
    """Return the seed of clip `index` of a recording with `seed`."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def _record_share(
    out: Path, clips: int, frames: int, seed: int, worker: int, workers: int, done: multiprocessing.queues.Queue[int]
) -> None:
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    from .render import Renderer

    renderer = Renderer()
    with Recorder(
        out,
        fps=FPS,
        height=HEIGHT,
        width=WIDTH,
        action_names=vocabulary.ACTION_NAMES,
        metadata={"world": "diorama", "seed": str(seed)},
        shard_prefix=f"part{worker}",
    ) as recorder:
        for index in range(worker, clips, workers):
            number = clip_seed(seed, index)
            recorder.begin_clip(seed=number)
            for shot in shots(number, frames):
                recorder.add(
                    renderer.frame(shot.world),
                    caption=shot.caption,
                    actions=shot.actions(),
                    labels=shot.world.state.labels(),
                )
            done.put(1)


def record(out: Path, *, clips: int, frames: int = DEFAULT_FRAMES, seed: int = 0, workers: int = 1) -> None:
    """Record `clips` clips of `frames` frames into the folder `out` with `workers` processes."""
    context = multiprocessing.get_context("spawn")
    done: multiprocessing.queues.Queue[int] = context.Queue()
    processes = [
        context.Process(target=_record_share, args=(out, clips, frames, seed, worker, workers, done))
        for worker in range(workers)
    ]
    for process in processes:
        process.start()
    with tqdm(total=clips, unit="clip", desc="recording") as bar:
        while bar.n < clips:
            try:
                bar.update(done.get(timeout=1.0))
            except queue.Empty:
                if any(process.exitcode not in (None, 0) for process in processes):
                    break
    for process in processes:
        process.join()
    failed = [process.exitcode for process in processes if process.exitcode]
    if failed:
        raise RuntimeError(f"{len(failed)} of {workers} recording processes failed (see above); {out} is incomplete")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and record."""
    parser = argparse.ArgumentParser(prog="python -m examples.diorama.record", description="Record the diorama.")
    parser.add_argument("out", type=Path, help="folder of the recording")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--frames", type=int, default=DEFAULT_FRAMES, help="frames of each clip, 16 a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.clips < 1 or given.frames < 1 or given.workers < 1:
        parser.error("--clips, --frames and --workers must be at least 1")
    record(given.out, clips=given.clips, frames=given.frames, seed=given.seed, workers=given.workers)


if __name__ == "__main__":
    main()
