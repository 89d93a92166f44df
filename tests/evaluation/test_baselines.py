"""The rivals against velocity fields whose answer is known in closed form, and on the tiny world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eddyline.errors import ConfigError, OptionError
from eddyline_runtime.config import Partition
from eddyline_runtime.evaluation.baselines.clip import ClipAfterClip
from eddyline_runtime.evaluation.baselines.fifo import Fifo, fifo_step, fifo_tick, fill_queue
from eddyline_runtime.evaluation.baselines.method import Method
from eddyline_runtime.evaluation.baselines.reuse_and_diffuse import ReuseAndDiffuse, held_frames, reused_noise
from eddyline_runtime.evaluation.baselines.rivals import RIVALS, SWEEP, Rival, dream_rival
from eddyline_runtime.flow.buffer import shift
from eddyline_runtime.flow.sampler import VelocityFn, denoise_tick
from eddyline_runtime.weights import World, load_world

SHAPE = (2, 2, 3)
METHODS = [
    Fifo(partitions=1, lookahead=False, clip_frames=4),
    Fifo(partitions=2, clip_frames=4),
    Fifo(partitions=3, lookahead=False, clip_frames=3),
    Fifo(partitions=2, fresh_noise=1.0, clip_frames=4),
    ReuseAndDiffuse(steps=10, overlap_frames=2, clip_frames=4),
    ClipAfterClip(steps=7, clip_frames=4),
    ClipAfterClip(steps=7, reference_frames=1, clip_frames=4),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=repr)


def noise_of(*, batch: int = 2, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Callable[[int, int], Tensor]:
    """Noise by the index of the latent frame, as the engine draws it."""

    def frame(index: int) -> Tensor:
        return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1000 * seed + index))

    return lambda first, frames: torch.stack([frame(first + index) for index in range(frames)], dim=1)


def latents_of(method: Method, velocity_fn: VelocityFn, frames: int, **noise: Any) -> Tensor:
    """The first latent frames, as many as leave together at once or more than `frames`."""
    made: list[Tensor] = []
    for clean in method.stream(velocity_fn, noise_of(**noise)):
        made.append(clean)
        if sum(piece.shape[1] for piece in made) >= frames:
            return torch.cat(made, dim=1)
    raise AssertionError("a stream has no end")


def towards(target: Tensor) -> VelocityFn:
    """The straight field into `target`: x_tau = (1 - tau) noise + tau target."""
    return lambda latents, tau: (target - latents) / (1 - tau).clamp(min=1e-6)[..., None, None, None]


def correlated(rho: float) -> VelocityFn:
    """E[x_1 - x_0 | x_tau] for video whose latent frames follow each other: x_1 ~ N(0, rho^|i-j|) along the frames."""

    def velocity(latents: Tensor, tau: Tensor) -> Tensor:
        frames, level = torch.arange(latents.shape[1]), tau[0].double()
        covariance = rho ** (frames[:, None] - frames).abs().double()
        seen = level[:, None] * covariance * level + torch.diag((1 - level).square())
        expected = torch.einsum("ij,bj...->bi...", covariance * level @ torch.linalg.inv(seen), latents.double())
        return ((expected - latents) / (1 - level).clamp(min=1e-6)[:, None, None, None]).float()

    return velocity


@dataclass
class Watched:
    """A velocity function that remembers at which tau it was asked."""

    velocity_fn: VelocityFn = lambda latents, tau: -latents
    asked: list[Tensor] = field(default_factory=list)

    def __call__(self, latents: Tensor, tau: Tensor) -> Tensor:
        self.asked.append(tau.clone())
        return self.velocity_fn(latents, tau)


# ---- every rival


@every_method
def test_every_rival_arrives_where_a_straight_field_leads(method: Method) -> None:
    target = torch.randn(SHAPE, generator=torch.Generator().manual_seed(9))
    made = latents_of(method, towards(target), 13)
    torch.testing.assert_close(made, target.expand_as(made), rtol=1e-4, atol=1e-4)


@every_method
def test_a_rival_calls_the_network_as_often_as_it_says_and_gives_chunks_as_long_as_it_says(method: Method) -> None:
    watched = Watched()
    for chunk, made in enumerate(islice(method.stream(watched, noise_of()), 3), start=1):
        assert made.shape == (2, method.chunk_frames, *SHAPE)
        frames = chunk * method.chunk_frames
        assert len(watched.asked) == method.opening_calls + frames * method.calls_per_latent
    assert all(tau.shape == (2, method.clip_frames) for tau in watched.asked)


@pytest.mark.parametrize(
    ("name", "opening", "per_latent"),
    [("fifo", 32 + 24 * 8, 8), ("reuse_and_diffuse", 0, 50 / 8), ("clip", 0, 50 / 8)],
)
def test_the_published_defaults_cost_what_their_papers_say(name: str, opening: int, per_latent: float) -> None:
    method = RIVALS[name].method
    assert (method.opening_calls, method.calls_per_latent) == (opening, per_latent)


@every_method
def test_the_same_noise_gives_the_same_latents_and_other_noise_others(method: Method) -> None:
    first, again, other = (latents_of(method, correlated(0.5), 9, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@every_method
def test_scenes_of_a_batch_do_not_know_of_each_other(method: Method) -> None:
    both = latents_of(method, correlated(0.5), 9)
    noise = noise_of()
    alone = torch.cat([*islice(method.stream(correlated(0.5), lambda *which: noise(*which)[1:]), 2)], dim=1)
    torch.testing.assert_close(alone, both[1:, : alone.shape[1]])


def jumps(latents: Tensor) -> Tensor:
    """Mean squared change from each latent frame to the next."""
    return (latents[:, 1:] - latents[:, :-1]).square().mean(dim=(0, 2, 3, 4))


@pytest.mark.parametrize(
    "method",
    [Fifo(partitions=2, clip_frames=6), Fifo(partitions=2, lookahead=False, clip_frames=6), Fifo(fresh_noise=1.0)],
    ids=repr,
)
def test_fifo_has_no_seams(method: Fifo) -> None:
    """Video whose frames follow each other comes out so everywhere: no jump stands out, at no distance from another."""
    rho, period = 0.9, method.clip_frames
    made = jumps(latents_of(method, correlated(rho), 4 * period, batch=4, shape=(8, 8, 8)))
    for phase in range(period):
        assert made[phase::period].mean().item() == pytest.approx(made.mean().item(), rel=0.25)
    assert made.mean().item() < 2 * (2 - 2 * rho), "of independent frames it would be 2"


def test_independent_clips_jump_at_their_joints_and_reference_frames_take_the_jump_away() -> None:
    rho, size = 0.9, {"batch": 4, "shape": (8, 8, 8)}
    apart = jumps(latents_of(ClipAfterClip(steps=24, clip_frames=6), correlated(rho), 24, **size))
    joints = apart[5::6]
    assert joints.min().item() > 5 * apart[apart < joints.min()].max().item()
    joined = jumps(latents_of(ClipAfterClip(steps=24, clip_frames=6, reference_frames=2), correlated(rho), 24, **size))
    assert joined.max().item() < 1.5 * joined.median().item()


def test_reuse_and_diffuse_mirrors_the_clip_before_so_that_joints_are_soft() -> None:
    method = ReuseAndDiffuse(steps=24, overlap_frames=3, clip_frames=6, guided_share=0.8)
    made = latents_of(method, correlated(0.9), 24, batch=4, shape=(8, 8, 8))
    change = jumps(made)
    assert change[5::6].max().item() < change.median().item()
    before, after = made[:, :6], made[:, 6:12]
    mirrored = (after[:, :3] - before.flip(1)[:, :3]).square().mean()
    assert mirrored.item() < (after[:, :3] - before[:, :3]).square().mean().item()


# ---- FIFO-Diffusion


def test_with_one_partition_fifo_makes_the_ticks_of_the_diagonal_partition() -> None:
    fifo, diagonal = Fifo(partitions=1, lookahead=False), Partition(num_chunks=8, chunk_frames=1)
    velocity_fn, noise = correlated(0.8), noise_of()
    start = denoise_tick(velocity_fn, noise(0, 8), Partition(num_chunks=1, chunk_frames=8, micro_steps=8))
    latents = fill_queue(start, noise(8, 8), fifo)
    for tick, made in enumerate(islice(fifo.stream(velocity_fn, noise), 12)):
        latents = denoise_tick(velocity_fn, latents, diagonal)
        clean, latents = shift(latents, diagonal, noise(16 + tick, 1))
        torch.testing.assert_close(made, clean, rtol=0, atol=1e-6)


def test_with_one_partition_and_lookahead_the_cleaner_half_is_denoised_behind_reference_frames() -> None:
    fifo, behind = Fifo(partitions=1, clip_frames=4), Partition(reference_frames=2, num_chunks=2, chunk_frames=1)
    watched = Watched(correlated(0.8))
    latents = noise_of()(0, 6)
    after = fifo_tick(watched, latents, fifo)
    assert watched.asked[0][0].tolist() == [1.0, 1.0, 0.75, 0.5]
    assert watched.asked[1][0].tolist() == [0.75, 0.5, 0.25, 0.0]
    assert torch.equal(after[:, : behind.reference_frames], latents[:, :2])


@given(st.integers(1, 4), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_lookahead_keeps_the_noisier_half_of_each_window_and_reads_the_queue_as_it_was(parts: int, half: int) -> None:
    fifo = Fifo(partitions=parts, clip_frames=2 * half)
    latents = torch.randn(1, half + fifo.steps, *SHAPE, generator=torch.Generator().manual_seed(parts))
    calls = []

    def velocity_fn(seen: Tensor, tau: Tensor) -> Tensor:
        calls.append(seen)
        velocity = torch.full_like(seen, 1.0 + len(calls))
        velocity[:, :half] = torch.nan  # of the cleaner half, which is not kept
        return velocity

    after = fifo_tick(velocity_fn, latents, fifo)
    assert torch.equal(after[:, :half], latents[:, :half])
    for window, seen in enumerate(calls):
        assert torch.equal(seen, latents[:, window * half : (window + 2) * half])
        kept = slice((window + 1) * half, (window + 2) * half)
        expected = latents[:, kept] + (2.0 + window) / fifo.steps
        torch.testing.assert_close(after[:, kept], expected)


def test_the_first_queue_repeats_the_first_frame_and_ends_with_the_clip() -> None:
    fifo = Fifo(partitions=2, clip_frames=4)
    clip = torch.arange(1.0, 5.0)[None, :, None, None, None].expand(1, 4, *SHAPE)
    queue = fill_queue(clip, torch.zeros(1, 8, *SHAPE), fifo)
    frames = torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 2, 3, 4])
    share = torch.tensor([1.0, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0])
    torch.testing.assert_close(queue[0, :, 0, 0, 0], frames * share)


@given(st.integers(0, 15), st.sampled_from([0.0, 0.3, 1.0]))
@settings(deadline=None, max_examples=30)
def test_fresh_noise_leaves_the_noise_as_strong_as_the_step_asks(step: int, fresh_noise: float) -> None:
    """Under the true velocity, tau x_1 + (1 - tau) x_0 becomes a sample of the next level; the clean part stays."""
    tau, delta = step / 16, 1 / 16
    clean = torch.full((1, 1, 16, 32, 32), 3.0)
    noise, fresh = noise_of(batch=1, shape=(16, 32, 32))(0, 2).split(1, dim=1)
    after = fifo_step(
        tau * clean + (1 - tau) * noise,
        clean - noise,
        torch.full((1, 1), tau),
        delta_tau=delta,
        fresh_noise=fresh_noise,
        fresh=fresh,
    )
    left = after - (tau + delta) * clean
    assert left.std().item() == pytest.approx(1 - tau - delta, rel=0.03, abs=1e-5)
    euler = after - ((tau + delta) * clean + (1 - tau - delta) * noise)
    assert (euler.abs().max().item() < 1e-5) == (fresh_noise == 0.0 or step == 15)


# ---- Reuse and Diffuse


def test_frames_are_held_for_twenty_fifteen_ten_and_five_of_fifty_steps() -> None:
    held = [held_frames(step, ReuseAndDiffuse()) for step in range(50)]
    assert [sum(frame < count for count in held) for frame in range(5)] == [20, 15, 10, 5, 0]


def test_reused_noise_keeps_deviation_one_and_mirrors_the_overlap() -> None:
    past, fresh = noise_of(shape=(16, 32, 32))(0, 16).split(8, dim=1)
    reused = reused_noise(past, fresh, ReuseAndDiffuse())
    assert torch.equal(reused[:, :4], past[:, :4])
    assert reused[:, 4:].std().item() == pytest.approx(1.0, abs=0.01)
    share = (reused[:, 4:] * past[:, 4:]).mean().item()
    assert share == pytest.approx(4 / 17**0.5, abs=0.01)


def test_without_reuse_it_is_clip_after_clip() -> None:
    nothing = ReuseAndDiffuse(steps=12, overlap_frames=0, noise_reuse=0.0)
    made, plain = (latents_of(m, correlated(0.7), 24) for m in (nothing, ClipAfterClip(steps=12)))
    torch.testing.assert_close(made, plain)


def test_a_frame_held_to_the_end_is_the_last_frame_of_the_clip_before() -> None:
    """Where frames do not look at each other, the frame at the joint is the same twice."""
    made = latents_of(ReuseAndDiffuse(steps=12, guided_share=1.0), correlated(0.0), 16)
    torch.testing.assert_close(made[:, 8], made[:, 7])
    assert not torch.allclose(made[:, 12], made[:, 3])


# ---- dreams


@dataclass(frozen=True)
class Said:
    prompt: str


SCENES = [Said("a red knight"), Said("night falls"), Said("a blue fox")]


@pytest.fixture(scope="module")
def world() -> World:
    return load_world("tiny", random_weights=True, dtype=torch.float32)


@pytest.mark.parametrize(
    "method",
    [Fifo(partitions=1), ReuseAndDiffuse(steps=5), ClipAfterClip(steps=4, reference_frames=2)],
    ids=lambda method: type(method).__name__,
)
def test_dreams_are_as_long_as_asked_and_the_same_for_a_seed_whatever_the_batch(world: World, method: Method) -> None:
    rival = Rival(name="test", method=method, guidance_scale=2.0)
    made = dream_rival(world, SCENES, frames=42, rival=rival, seed=3, batch=2)
    again = dream_rival(world, SCENES[1:], frames=42, rival=rival, seed=4, batch=2)
    other = dream_rival(world, SCENES[:1], frames=42, rival=rival, seed=5)
    assert [frames.shape for frames in made.frames] == [(42, 32, 48, 3)] * 3
    for frames, same in zip(made.frames[1:], again.frames, strict=True):
        assert np.abs(frames.astype(int) - same).max() <= 1, "another batch changes a scene by rounding only"
    assert not np.array_equal(made.frames[0], other.frames[0])


def test_the_calls_that_are_told_are_those_of_the_network_and_guidance_counts_twice(world: World) -> None:
    rows = []
    watch = world.model.register_forward_pre_hook(lambda model, given: rows.append(len(given[0])))
    plain = Rival(name="test", method=Fifo(partitions=2))
    guided = replace(plain, guidance_scale=2.5)
    try:
        told = [dream_rival(world, SCENES[:2], frames=32, rival=rival, seed=0) for rival in (plain, guided)]
    finally:
        watch.remove()
    seconds = 32 / world.card.fps
    assert (told[0].calls_per_second, told[1].calls_per_second) == (16.0, 32.0)
    expected = [2 * (dreams.opening_calls + dreams.calls_per_second * seconds) for dreams in told]
    assert sum(rows) == sum(expected)
    assert not np.array_equal(told[0].frames[0], told[1].frames[0])


def test_names_of_rivals_and_of_the_sweep_are_all_different() -> None:
    everyone = {**RIVALS, **SWEEP}
    assert len(everyone) == len(RIVALS) + len(SWEEP)
    assert all(name == rival.name for name, rival in everyone.items())
    settings_of = {repr(rival.method) for rival in everyone.values()}
    assert len(settings_of) == len(everyone), "no setting is measured twice"


# ---- bad input


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: Fifo(partitions=0), "partitions"),
        (lambda: Fifo(clip_frames=7), "even number"),
        (lambda: Fifo(fresh_noise=1.5), "0 to 1"),
        (lambda: ReuseAndDiffuse(steps=0), "steps"),
        (lambda: ReuseAndDiffuse(overlap_frames=9), "0 to 8"),
        (lambda: ReuseAndDiffuse(noise_reuse=float("nan")), "finite"),
        (lambda: ReuseAndDiffuse(guided_share=-0.1), "0 to 1"),
        (lambda: ClipAfterClip(steps=0), "steps"),
        (lambda: ClipAfterClip(reference_frames=8), "0 to 7"),
        (lambda: Rival(name="test", method=Fifo(), guidance_scale=float("nan")), "guidance_scale"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Callable[[], object], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        make()


@pytest.mark.parametrize(("frames", "batch"), [(0, 8), (4, 0)])
def test_dreams_of_no_frames_are_refused(world: World, frames: int, batch: int) -> None:
    with pytest.raises(OptionError, match="1 or more"):
        dream_rival(world, SCENES, frames=frames, batch=batch, rival=RIVALS["clip"], seed=0)
