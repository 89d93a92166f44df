"""The rules of the diorama: keys move the hero, changes fade, everything follows from its inputs."""

from dataclasses import replace

import pygame
import pytest
from examples.diorama import vocabulary
from examples.diorama.__main__ import pressed
from examples.diorama.world import FADE_FRAMES, State, World, begin, change, step


def run(world: World, keys: set[str], frames: int) -> World:
    for _ in range(frames):
        world = step(world, keys)
    return world


@pytest.mark.parametrize(("key", "direction"), [("ArrowLeft", -1), ("ArrowRight", 1)])
def test_arrows_walk_the_hero_and_the_label_says_so(key: str, direction: int) -> None:
    world = run(begin(State()), {key}, 10)
    assert world.x * direction == 20
    assert world.facing == direction
    assert world.state.doing == ("walks right" if direction > 0 else "walks left")
    assert step(world, set()).state.doing == "stands"


def test_both_arrows_together_stand_still() -> None:
    world = run(begin(State()), {"ArrowLeft", "ArrowRight"}, 5)
    assert (world.x, world.state.doing) == (0, "stands")


def test_a_jump_rises_about_twenty_pixels_and_lands_after_a_second_and_a_half() -> None:
    world = step(begin(State()), {"ArrowUp"})
    heights = []
    while world.height > 0:
        assert world.state.doing == "jumps"
        heights.append(world.height)
        world = step(world, set())
    assert 17 < max(heights) < 24
    assert 22 <= len(heights) <= 26
    assert max(abs(now - before) for before, now in zip([0.0, *heights], [*heights, 0.0], strict=True)) <= 3.2
    assert world.state.doing == "stands"


def test_the_hero_stays_near_the_middle_while_walking() -> None:
    world = run(begin(State()), {"ArrowRight"}, 60)
    assert 0 < world.x - world.camera <= 18
    assert world.camera > 90


def test_a_and_d_pan_the_camera_and_releasing_returns_it() -> None:
    left, right = (run(begin(State()), {key}, 20) for key in ("KeyA", "KeyD"))
    assert left.camera < -15
    assert right.camera > 15
    assert run(left, set(), 40).camera == pytest.approx(0, abs=0.5)


def test_a_new_hero_comes_in_a_transformation_that_ends() -> None:
    world = step(change(begin(State(hero="fox")), hero="cat"), set())
    assert (world.state.hero, world.state.happening) == ("cat", "transformation")
    assert world.fade("hero")[0] == "fox"
    world = run(world, set(), 30)
    assert (world.state.happening, world.fade("hero")) == ("none", ("cat", 1.0))


@pytest.mark.parametrize("attribute", sorted(FADE_FRAMES))
def test_a_change_fades_monotonically_and_completely(attribute: str) -> None:
    old, new = vocabulary.VALUES[attribute][:2]
    world = change(begin(State(**{attribute: old})), None, **{attribute: new})
    shares = []
    for _ in range(FADE_FRAMES[attribute] + 1):
        world = step(world, set())
        shares.append(world.fade(attribute)[1])
    assert shares == sorted(shares)
    assert 0 < shares[0] < 1
    assert shares[-1] == 1


def test_a_happening_lasts_as_long_as_asked() -> None:
    world = change(begin(State()), 20, happening="fireworks")
    seen = 0
    for _ in range(40):
        world = step(world, set())
        seen += world.state.happening == "fireworks"
    assert seen == 20


def test_the_same_steps_give_the_same_world() -> None:
    keys: list[set[str]] = [{"ArrowRight"}, {"ArrowUp", "KeyA"}, set()] * 20
    first = second = begin(State(prop="chest"))
    for held in keys:
        first, second = step(first, held), step(second, held)
    assert first == second


def test_unknown_values_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'dragon' is no hero.*choose one of pig, cat"):
        State(hero="dragon")
    with pytest.raises(ValueError, match="keys"):
        change(begin(State()), None, doing="jumps")


def test_number_keys_cycle_attributes_and_letters_start_happenings() -> None:
    world = begin(State())
    cycled = {pygame.K_1: "place", pygame.K_2: "time", pygame.K_3: "weather", pygame.K_5: "colour"}
    for key, attribute in cycled.items():
        forth = pressed(world, key)
        assert getattr(forth.state, attribute) != getattr(world.state, attribute)
        assert pressed(forth, key, backwards=True).state == world.state
    assert pressed(world, pygame.K_b).state.happening == "alarm bell"
    assert pressed(world, pygame.K_q) == world


def test_cycling_reaches_every_hero_even_held_out_ones() -> None:
    world, seen = begin(State()), set()
    for _ in vocabulary.HEROES:
        world = pressed(world, pygame.K_4)
        seen.add(world.state.hero)
    assert seen == set(vocabulary.HEROES)


def test_states_are_values() -> None:
    assert replace(State(), hero="cat") == State(hero="cat")
    assert list(State().labels()) == list(vocabulary.VALUES)
