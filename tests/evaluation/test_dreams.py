"""Dreaming for measurement: repeatable, in lockstep, and the same whether frames in between are looked at or not."""

from collections.abc import Callable

import numpy as np

from eddyline_runtime.evaluation.dreams import Cue, Frames, Script, dream
from eddyline_runtime.prompts import Wish
from eddyline_runtime.weights import World

PROMPT = "a red knight"


def dreamed(
    world: World, *scripts: Script, frames: int = 48, batch: int = 8, watched: Callable[[int], bool] | None = None
) -> list[Frames]:
    return list(dream(world, scripts, frames=frames, profile="smooth", watched=watched, batch=batch))


def test_a_dream_depends_on_its_seed_and_words_but_not_on_how_many_scenes_there_are(world: World) -> None:
    scripts = [Script(prompt=f"{PROMPT} {number}", seed=4 + number) for number in range(3)]
    first = dreamed(world, *scripts, frames=18, batch=2)
    assert [frames.shape for frames in first] == [(18, 32, 48, 3)] * 3
    again = dreamed(world, *scripts, frames=18, batch=2)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    other = dreamed(world, Script(prompt=f"{PROMPT} 0", seed=5), frames=18)
    assert not np.array_equal(first[0], other[0])


def test_words_and_keys_leave_the_frames_before_them_alone(world: World) -> None:
    rain = Wish(id=0, verb="event", text="it starts to rain", hold_frames=1000)
    plain, steered, pressed = dreamed(
        world,
        Script(prompt=PROMPT, seed=0),
        Script(prompt=PROMPT, seed=0, cues=(Cue(at=16, words=rain),)),
        Script(prompt=PROMPT, seed=0, cues=(Cue(at=16, keys=("ArrowLeft",)),)),
    )
    for other in (steered, pressed):
        assert np.abs(plain[:16].astype(int) - other[:16]).max() <= 1, "rows of one batch differ by rounding"
        assert np.abs(plain[16:].astype(int) - other[16:]).max() > 8


def test_what_became_of_the_words_is_told_with_the_number_of_their_script(world: World) -> None:
    rain = Wish(id=0, verb="event", text="it starts to rain", hold_frames=1000)
    scripts = [
        Script(prompt=PROMPT, seed=0, cues=() if cue is None else (Cue(at=cue, words=rain),)) for cue in (8, None, 16)
    ]
    told: dict[int, tuple[int | None, int | None]] = {}
    for _ in dream(
        world,
        scripts,
        frames=48,
        profile="smooth",
        on_note=lambda script, note: told.update({script: (note.first_influenced_frame, note.first_full_frame)}),
        batch=2,
    ):
        pass
    assert told == {0: (8, 32), 2: (16, 40)}


def test_keys_are_held_from_the_start(world: World) -> None:
    plain, held = dreamed(
        world, Script(prompt=PROMPT, seed=0), Script(prompt=PROMPT, seed=0, keys=("ArrowLeft",)), frames=16
    )
    assert not np.array_equal(plain, held)


def test_frames_after_a_gap_that_nobody_watches_are_what_they_would_be_without_it(world: World) -> None:
    script = Script(prompt=PROMPT, seed=3)
    (whole,) = dreamed(world, script)
    (parts,) = dreamed(world, script, watched=lambda frame: frame == 0 or frame >= 32)
    assert np.array_equal(parts, np.concatenate([whole[:8], whole[32:]]))


def test_what_is_asked_inside_a_chunk_comes_with_the_next(world: World) -> None:
    rain = Wish(id=0, verb="event", text="it starts to rain", hold_frames=1000)
    inside, at_its_border = dreamed(
        world,
        Script(prompt=PROMPT, seed=0, cues=(Cue(at=12, words=rain),)),
        Script(prompt=PROMPT, seed=0, cues=(Cue(at=16, words=rain),)),
    )
    assert np.abs(inside.astype(int) - at_its_border).max() <= 1, "rows of one batch differ by rounding"
