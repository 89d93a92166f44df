"""What the diorama looks like, measured: size of heroes, colours, visible differences."""

from itertools import combinations

import numpy as np
import pygame
import pytest
from examples.diorama import heroes, vocabulary
from examples.diorama.art import soften
from examples.diorama.render import Renderer
from examples.diorama.scenery import STRIP_WIDTH, scene
from examples.diorama.world import HEIGHT, WIDTH, State, begin, step
from numpy.typing import NDArray


def picture(state: State, frames: int = 3) -> NDArray[np.int16]:
    world = begin(state)
    for _ in range(frames):
        world = step(world, ())
    return Renderer().frame(world).astype(np.int16)


def test_a_frame_is_rgb_of_the_pinned_size() -> None:
    world = begin(State())
    renderer = Renderer()
    frame = renderer.frame(world)
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous
    later = renderer.frame(step(world, {"ArrowRight"}))
    assert not np.shares_memory(frame, later)


def test_softening_spreads_a_pixel_over_its_neighbours_and_leaves_flat_parts_alone() -> None:
    flat = pygame.Surface((6, 5), 0, 32)
    flat.fill((40, 90, 200))
    before = pygame.surfarray.array3d(flat)
    soften(flat)
    assert np.array_equal(pygame.surfarray.array3d(flat), before)
    dot = pygame.Surface((6, 5), 0, 32)
    dot.set_at((2, 2), (250, 0, 0))
    soften(dot)
    red = pygame.surfarray.array3d(dot)[..., 0]
    assert red[1:4, 1:4].tolist() == [[10, 30, 10], [30, 90, 30], [10, 30, 10]]
    assert int(red.sum()) == 250


@pytest.mark.parametrize("hero", vocabulary.HEROES)
def test_a_hero_is_at_least_a_third_of_the_height(hero: str) -> None:
    for pose in heroes.POSES:
        box = heroes.sprite(hero, "red", pose, 1).get_bounding_rect(min_alpha=128)
        assert box.height >= HEIGHT / 3
        assert box.height >= 40
        assert box.width >= 24


@pytest.mark.parametrize("hero", vocabulary.HEROES)
@pytest.mark.parametrize("colour", vocabulary.COLOURS)
def test_the_colour_of_a_hero_can_be_measured(hero: str, colour: str) -> None:
    sprite = heroes.sprite(hero, colour, "stand", 1)
    pixels = pygame.surfarray.array3d(sprite)[pygame.surfarray.array_alpha(sprite) > 250].astype(float)
    names = list(heroes.COLOURS)
    distances = np.stack([np.abs(pixels - np.array(heroes.COLOURS[name])).sum(axis=1) for name in names])
    near = distances.min(axis=0) < 40
    votes = np.bincount(distances.argmin(axis=0)[near], minlength=len(names))
    assert names[int(votes.argmax())] == colour


def test_facing_left_is_the_mirror_image() -> None:
    right, left = (pygame.surfarray.array3d(heroes.sprite("fox", "red", "stand", facing)) for facing in (1, -1))
    assert np.array_equal(right[::-1], left)


@pytest.mark.parametrize("attribute", ["place", "time", "weather", "hero", "colour", "prop"])
def test_any_two_values_look_different(attribute: str) -> None:
    shown = {value: picture(State(**{attribute: value})) for value in vocabulary.VALUES[attribute]}
    for first, second in combinations(shown, 2):
        different = np.abs(shown[first] - shown[second]).max(axis=2) > 24
        assert different.mean() > 0.01, (first, second)


@pytest.mark.parametrize("happening", ["lightning", "fireworks", "alarm bell", "transformation"])
def test_a_happening_is_visible(happening: str) -> None:
    different = np.abs(picture(State(happening=happening)) - picture(State())).max(axis=2) > 24
    assert different.mean() > 0.01


@pytest.mark.parametrize("place", vocabulary.PLACES)
def test_the_world_goes_on_without_a_seam(place: str) -> None:
    for strip in scene(place, "day").strips:
        pixels = pygame.surfarray.array3d(strip).astype(int)
        across_seam = np.abs(pixels[0] - pixels[-1]).mean()
        inside = np.abs(np.diff(pixels, axis=0)).mean(axis=(1, 2)).max()
        assert pixels.shape[0] == STRIP_WIDTH
        assert across_seam <= inside + 1


def test_night_keeps_the_hero_readable() -> None:
    for colour in vocabulary.COLOURS:
        night = picture(State(hero="pig", colour=colour, time="night", place="cave"))
        body = night[56:66, 72:86].reshape(-1, 3).mean(axis=0)
        assert body.max() > 90
