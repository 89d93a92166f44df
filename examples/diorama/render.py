"""From a world to a picture: cached sprites and layers, composed anew for each frame."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pygame
from numpy.typing import NDArray

from . import heroes, props, scenery
from .art import Colour, soften, tinted
from .world import FPS, HEIGHT, PROP_PERIOD, WIDTH, World

_PREMULTIPLIED = pygame.BLEND_PREMULTIPLIED
_VEILS: dict[str, tuple[Colour, float]] = {
    "rain": ((70, 84, 116), 0.36),
    "snow": ((168, 186, 216), 0.3),
    "fog": ((206, 212, 222), 0.42),
}
_BURSTS: tuple[tuple[int, int, int, Colour], ...] = (  # first frame, x, y, colour
    (0, 34, 26, (255, 90, 90)),
    (4, 124, 24, (90, 220, 255)),
    (8, 80, 20, (255, 220, 90)),
    (12, 28, 32, (150, 255, 130)),
    (16, 132, 34, (255, 140, 240)),
)
_BURST_FRAMES = 14
# how dense fog is behind the hero and before it, so that the hero stays readable
_FOG_BEHIND, _FOG_BEFORE = 0.8, 0.32

# Sprites never change, so every renderer of a process shares them; they are drawn when first needed.
_hero = cache(
    lambda hero, colour, pose, facing, time: tinted(heroes.sprite(hero, colour, pose, facing), scenery.HERO_TINTS[time])
)
_prop = cache(  # what shines keeps its own light
    lambda name, flame, time: tinted(
        props.prop(name, flame), scenery.HERO_TINTS["day" if name == "lit torch" else time]
    )
)
_scene = cache(scenery.scene)
_rain = cache(scenery.rain_tile)
_snow = cache(scenery.snow_tile)
_fog = cache(scenery.fog_tile)
_glow = cache(props.glow)
_bolt = cache(props.bolt)
_burst = cache(props.burst)
_bell = cache(props.bell)
_puff = cache(props.puff)
_sparkle = cache(props.sparkle)


class Renderer:
    """Draws worlds onto one 160x96 picture."""

    def __init__(self) -> None:
        self.picture = pygame.Surface((WIDTH, HEIGHT), 0, 32)
        self._other = pygame.Surface((WIDTH, HEIGHT), 0, 32)
        self._veil = pygame.Surface((WIDTH, HEIGHT), 0, 32)

    def draw(self, world: World) -> pygame.Surface:
        """Draw `world`; the surface is reused by the next call."""
        self._background(world)
        self._weather_behind(world)
        self._props(world)
        self._happening(world)
        self._draw_hero(world)
        self._weather_before(world)
        self._flash(world)
        soften(self.picture)
        return self.picture

    def frame(self, world: World) -> NDArray[np.uint8]:
        """Draw `world` and return RGB uint8 [96, 160, 3], a fresh array."""
        pixels = pygame.surfarray.array3d(self.draw(world))
        return np.ascontiguousarray(pixels.transpose(1, 0, 2))

    def _background(self, world: World) -> None:
        state = world.state
        _scene(state.place, state.time).draw(self.picture, world.camera)
        old_place, place_share = world.fade("place")
        old_time, time_share = world.fade("time")
        share = min(place_share, time_share)
        if share < 1:
            before = old_place if place_share < 1 else state.place, old_time if time_share < 1 else state.time
            _scene(*before).draw(self._other, world.camera)
            self._other.set_alpha(round(255 * (1 - share)))
            self.picture.blit(self._other, (0, 0))

    def _weathers(self, world: World) -> list[tuple[str, float]]:
        """List the weathers in sight with their strength: two while one fades into the other."""
        old, share = world.fade("weather")
        shown = [(world.state.weather, share)] if share == 1 else [(old, 1 - share), (world.state.weather, share)]
        return [(weather, strength) for weather, strength in shown if weather != "clear" and strength > 0]

    def _weather_behind(self, world: World) -> None:
        for weather, strength in self._weathers(world):
            colour, share = _VEILS[weather]
            night = world.state.time == "night"
            self._veil.fill(tuple(round(c * 0.5) for c in colour) if night else colour)
            self._veil.set_alpha(round(255 * share * strength * (0.7 if night else 1.0)))
            self.picture.blit(self._veil, (0, 0))
            if weather == "fog":
                self._tile(_fog(), world.frame, 0, _FOG_BEHIND * strength)

    def _weather_before(self, world: World) -> None:
        frame = world.frame
        for weather, strength in self._weathers(world):
            if weather == "rain":
                self._tile(_rain(), -2 * frame, 8 * frame, strength)
            elif weather == "snow":
                sway = 3 * math.sin(math.tau * frame / 32)
                self._tile(_snow(1, 2.2), round(sway - frame / 2), frame, strength)
                self._tile(_snow(2, 3.1), round(-sway - frame / 2), 2 * frame, strength)
            else:
                self._tile(_fog(), -2 * frame, 0, _FOG_BEFORE * strength)

    def _tile(self, tile: pygame.Surface, x: int, y: int, strength: float) -> None:
        if strength < 1:
            tile = scenery.faded(tile, strength)
        left, top = x % WIDTH, y % HEIGHT
        for dx in (left, left - WIDTH):
            for dy in (top, top - HEIGHT) if top else (0,):
                self.picture.blit(tile, (dx, dy), special_flags=_PREMULTIPLIED)

    def _sprite(self, sprite: pygame.Surface, x: float, y: float, alpha: float = 1.0) -> None:
        """Blit `sprite` with its upper left corner at (x, y)."""
        if alpha < 1:
            sprite = scenery.faded(sprite, alpha)
        self.picture.blit(sprite, (round(x), round(y)), special_flags=_PREMULTIPLIED)

    def _props(self, world: World) -> None:
        old, share = world.fade("prop")
        shown = [(old, 1 - share), (world.state.prop, share)]
        distance = world.prop_x - world.camera
        nearest = (distance + PROP_PERIOD / 2) % PROP_PERIOD - PROP_PERIOD / 2
        for name, alpha in shown:
            if name == "none" or alpha <= 0:
                continue
            flame = world.frame // 2 % props.FLAMES if name == "lit torch" else 0
            for x in (nearest, nearest - math.copysign(PROP_PERIOD, nearest)):
                left = WIDTH / 2 + x - props.PROP_WIDTH / 2
                if not -props.PROP_WIDTH < left < WIDTH:
                    continue
                top = scenery.FEET_LINE - 3 - props.PROP_HEIGHT + 2
                if name == "lit torch" and alpha == 1:
                    light = _glow()
                    centre = left + props.PROP_WIDTH / 2, top + 18
                    corner = round(centre[0] - light.get_width() / 2), round(centre[1] - light.get_height() / 2)
                    self.picture.blit(light, corner, special_flags=pygame.BLEND_RGB_ADD)
                self._sprite(_prop(name, flame, world.state.time), left, top, alpha)

    def _draw_hero(self, world: World) -> None:
        state = world.state
        old_hero, change = world.fade("hero")
        old_colour, colour_share = world.fade("colour")
        hero = old_hero if change < 0.5 else state.hero
        if world.height > 0:
            pose = "jump"
        elif state.doing in ("walks left", "walks right"):
            pose = f"walk{world.walked // 2 % heroes.WALK_POSES}"
        else:
            pose = "stand"
        x = WIDTH / 2 + world.x - world.camera - heroes.SPRITE_WIDTH / 2
        y = scenery.FEET_LINE - heroes.FEET - world.height
        if hero == "ghost":
            y += 2 * math.sin(math.tau * world.frame / 32) - 2
        if colour_share < 1:
            self._sprite(_hero(hero, old_colour, pose, world.facing, state.time), x, y)
            self._sprite(_hero(hero, state.colour, pose, world.facing, state.time), x, y, colour_share)
        else:
            self._sprite(_hero(hero, state.colour, pose, world.facing, state.time), x, y)
        if state.happening == "transformation":
            self._transformation(world, WIDTH / 2 + world.x - world.camera, y + 32)

    def _transformation(self, world: World, x: float, y: float) -> None:
        age = world.happening_age
        if age < 8:
            size = (0.55, 0.85, 1.0, 1.0, 1.0, 0.9, 0.75, 0.5)[age]
            self._sprite(_puff(size), x - 36, y - 34, 1.0 if age < 6 else 0.6)
        for star in range(5):
            angle = star * math.tau / 5 + age * 0.12
            reach = 20 + age
            self._sprite(_sparkle(), x + reach * math.cos(angle) - 8, y + 0.75 * reach * math.sin(angle) - 8)

    def _happening(self, world: World) -> None:
        age = world.happening_age
        match world.state.happening:
            case "lightning":
                if age % FPS < 6:
                    self._sprite(_bolt(), 16 if age // FPS % 2 == 0 else 100, -2)
            case "fireworks":
                for start, x, y, colour in _BURSTS:
                    since = (age - start) % 20 if age >= start else -1
                    if 0 <= since < _BURST_FRAMES:
                        self._sprite(
                            _burst(colour, since / _BURST_FRAMES), x - 32, y - 32, 1 - (since / _BURST_FRAMES) ** 3
                        )
            case "alarm bell":
                swing = round(9 * math.sin(math.tau * age / 8))
                self._sprite(_bell(float(swing)), 6, -2)

    def _flash(self, world: World) -> None:
        if world.state.happening == "lightning":
            strength = (120, 70, 30, 90, 40)[world.happening_age % FPS] if world.happening_age % FPS < 5 else 0
            if strength:
                self.picture.fill((strength, strength, strength), special_flags=pygame.BLEND_RGB_ADD)
