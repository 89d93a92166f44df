"""The stream against velocity fields whose answer is known in closed form, for every way of cutting the buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.openings import warm_start
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from eddyline_runtime.config import Partition
from eddyline_runtime.flow.buffer import shift
from eddyline_runtime.flow.partition import slot_tau, tick_tau
from eddyline_runtime.flow.sampler import Opening, VelocityFn, advance_openings, denoise_tick, guided

SHAPE = (2, 2, 3)
PARTITIONS = [
    Partition(num_chunks=1, chunk_frames=4, micro_steps=8),
    Partition(num_chunks=2, chunk_frames=2, micro_steps=4),
    Partition(num_chunks=4, chunk_frames=1, micro_steps=2),
    Partition(num_chunks=4, chunk_frames=2, micro_steps=1),
    Partition(num_chunks=8, chunk_frames=1, micro_steps=3),
    Partition(reference_frames=1, num_chunks=1, chunk_frames=3, micro_steps=8),
    Partition(reference_frames=4, num_chunks=4, chunk_frames=1, micro_steps=2),
    Partition(reference_frames=2, num_chunks=2, chunk_frames=3, micro_steps=5),
]
every_partition = pytest.mark.parametrize(
    "partition",
    PARTITIONS,
    ids=lambda p: f"K{p.reference_frames}-N{p.num_chunks}-c{p.chunk_frames}-s{p.micro_steps}",
)
small_partitions = st.builds(
    Partition,
    reference_frames=st.integers(0, 3),
    num_chunks=st.integers(1, 5),
    chunk_frames=st.integers(1, 3),
    micro_steps=st.integers(1, 4),
)


def draw(frames: int, *, batch: int = 2, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(batch, frames, *shape, generator=torch.Generator().manual_seed(seed))


def stream(latents: Tensor, partition: Partition, velocity_at: Callable[[int], VelocityFn], noise: Tensor) -> Tensor:
    """Everything that leaves the buffer while all of `noise` enters; tick t runs under `velocity_at(t)`."""
    emitted = []
    for tick, chunk in enumerate(noise.split(partition.chunk_frames, dim=1)):
        latents = denoise_tick(velocity_at(tick), latents, partition)
        clean, latents = shift(latents, partition, chunk)
        emitted.append(clean)
    return torch.cat(emitted, dim=1)


def towards(target: Tensor) -> VelocityFn:
    """The straight field into `target`: x_tau = (1 - tau) noise + tau target."""

    def velocity(latents: Tensor, tau: Tensor) -> Tensor:
        left = (1 - tau).clamp(min=1e-6)[..., None, None, None]  # reference frames are there already
        return (target - latents) / left

    return velocity


def gaussian(mean: float, deviation: float) -> VelocityFn:
    """E[x_1 - x_0 | x_tau] for data x_1 ~ N(mean, deviation^2) and noise x_0 ~ N(0, 1)."""

    def velocity(latents: Tensor, tau: Tensor) -> Tensor:
        t = tau[..., None, None, None]
        slope = (t * deviation**2 - (1 - t)) / (t**2 * deviation**2 + (1 - t) ** 2)
        return mean + slope * (latents - t * mean)

    return velocity


@every_partition
def test_gaussian_data_comes_out_with_its_mean_and_deviation(partition: Partition) -> None:
    """Every emitted frame is the Euler solution of the one-dimensional flow, near mean + deviation * noise."""
    mean, deviation, shape = 1.5, 0.5, (8, 8, 8)
    start = draw(partition.buffer_frames, shape=shape)
    noise = draw(6 * partition.chunk_frames, seed=1, shape=shape)
    field = gaussian(mean, deviation)
    emitted = stream(warm_start(field, start, partition), partition, lambda tick: field, noise)

    entered = torch.cat([start[:, partition.reference_frames :], noise], dim=1)[:, : emitted.shape[1]]
    expected, steps = entered.double(), partition.denoise_steps
    for step in range(steps):
        tau = torch.full(expected.shape[:2], step / steps, dtype=torch.float64)
        expected = expected + field(expected, tau) / steps
    torch.testing.assert_close(emitted.double(), expected, rtol=1e-4, atol=1e-4)
    assert emitted.mean().item() == pytest.approx(mean, abs=0.05)
    assert emitted.std().item() == pytest.approx(deviation, abs=1 / steps), "Euler errs by O(1/T)"


def test_more_denoise_steps_come_closer_to_the_data() -> None:
    errors = []
    for micro_steps in (1, 4, 16):
        partition = Partition(num_chunks=4, chunk_frames=1, micro_steps=micro_steps)
        field = gaussian(0.0, 0.25)
        start = draw(4, shape=(8, 8, 8))
        emitted = stream(
            warm_start(field, start, partition), partition, lambda tick, f=field: f, draw(4, shape=(8, 8, 8))
        )
        errors.append((emitted - 0.25 * start).abs().max().item())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@given(small_partitions)
@settings(deadline=None, max_examples=40)
def test_frames_leave_in_order_each_with_its_own_target(partition: Partition) -> None:
    """Each latent frame of the stream has a picture of its own for a target; Euler reaches it, whatever the cut."""
    k, c = partition.reference_frames, partition.chunk_frames
    ticks = partition.num_chunks + 3
    pictures = draw(partition.buffer_frames + ticks * c, seed=2)

    def field(tick: int) -> VelocityFn:
        return towards(pictures[:, tick * c : tick * c + partition.buffer_frames])

    latents = warm_start(field(0), draw(partition.buffer_frames), partition)
    emitted = stream(latents, partition, field, draw(ticks * c, seed=3))
    torch.testing.assert_close(emitted, pictures[:, k : k + ticks * c], rtol=1e-4, atol=1e-5)


@given(small_partitions)
@settings(deadline=None, max_examples=40)
def test_reference_frames_are_not_touched_by_a_tick(partition: Partition) -> None:
    latents = draw(partition.buffer_frames)
    after = denoise_tick(gaussian(1.0, 0.5), latents, partition)
    assert torch.equal(after[:, : partition.reference_frames], latents[:, : partition.reference_frames])
    assert not bool((after[:, partition.reference_frames :] == latents[:, partition.reference_frames :]).any())


@every_partition
def test_a_tick_asks_for_the_velocity_once_per_micro_step_at_the_taus_of_the_slots(partition: Partition) -> None:
    asked: list[Tensor] = []

    def velocity(latents: Tensor, tau: Tensor) -> Tensor:
        asked.append(tau)
        return torch.zeros_like(latents)

    denoise_tick(velocity, draw(partition.buffer_frames, batch=3), partition)
    assert len(asked) == partition.micro_steps
    for micro_step, tau in enumerate(asked):
        assert torch.equal(tau, tick_tau(partition, micro_step).expand(3, -1))


@given(small_partitions)
@settings(deadline=None, max_examples=40)
def test_the_warm_start_fills_each_slot_at_its_own_tau(partition: Partition) -> None:
    """Under a straight field an ordinary generation is (1 - tau) noise + tau target at every step."""
    noise, target = draw(partition.buffer_frames), draw(partition.buffer_frames, seed=5)
    slots = warm_start(towards(target), noise, partition)
    assert slots.shape == noise.shape
    k = partition.reference_frames
    torch.testing.assert_close(slots[:, :k], target[:, :k], rtol=1e-4, atol=1e-5)
    for chunk in range(partition.num_chunks):
        frames = slice(k + chunk * partition.chunk_frames, k + (chunk + 1) * partition.chunk_frames)
        tau = slot_tau(partition, chunk)
        torch.testing.assert_close(
            slots[:, frames], (1 - tau) * noise[:, frames] + tau * target[:, frames], rtol=1e-4, atol=1e-5
        )
    assert torch.equal(slots[:, -partition.chunk_frames :], noise[:, -partition.chunk_frames :]), (
        "the tail is pure noise"
    )


@every_partition
def test_the_warm_start_takes_its_slots_from_one_ordinary_generation(partition: Partition) -> None:
    """With a field that ties frames together, slots must come from cached steps of the whole generation."""

    def tied(latents: Tensor, tau: Tensor) -> Tensor:
        return latents.mean(dim=1, keepdim=True) - 0.5 * latents + tau[..., None, None, None]

    noise = draw(partition.buffer_frames)
    steps = [noise]
    for step in range(partition.denoise_steps):
        tau = torch.full(noise.shape[:2], step / partition.denoise_steps)
        steps.append(steps[-1] + tied(steps[-1], tau) / partition.denoise_steps)
    slots = warm_start(tied, noise, partition)
    for frame in range(partition.buffer_frames):
        step = round(tick_tau(partition, 0)[frame].item() * partition.denoise_steps)
        torch.testing.assert_close(slots[:, frame], steps[step][:, frame])


def test_scenes_at_different_steps_share_a_call_and_begin_as_they_would_alone() -> None:
    partition = PARTITIONS[3]
    noise, field = draw(partition.buffer_frames, batch=2), gaussian(1.0, 0.5)
    first, second = (Opening(row, partition) for row in noise)
    advance_openings([first], field)
    while not first.complete:
        advance_openings([first, second], field)
    assert not second.complete
    advance_openings([second], field)
    torch.testing.assert_close(torch.stack([first.slots(), second.slots()]), warm_start(field, noise, partition))


@every_partition
def test_new_words_for_the_whole_buffer_show_in_shares_of_the_ticks_they_were_in_force(partition: Partition) -> None:
    """at="now": under a constant drift a frame ends at noise + drift, weighed by its ticks under each prompt."""
    old, new, switch = 10.0, -4.0, 3
    ticks, slots = switch + partition.num_chunks + 2, partition.num_chunks
    start, noise = draw(partition.buffer_frames), draw(ticks * partition.chunk_frames, seed=1)

    def drift(tick: int) -> VelocityFn:
        return lambda latents, tau: torch.full_like(latents, old if tick < switch else new)

    emitted = stream(warm_start(drift(0), start, partition), partition, drift, noise)
    entered = torch.cat([start[:, partition.reference_frames :], noise], dim=1)[:, : emitted.shape[1]]
    for tick in range(ticks):
        share = min(max(tick - switch + 1, 0), slots) / slots
        frames = slice(tick * partition.chunk_frames, (tick + 1) * partition.chunk_frames)
        expected = entered[:, frames] + (1 - share) * old + share * new
        torch.testing.assert_close(emitted[:, frames], expected, rtol=1e-4, atol=1e-4)


@every_partition
def test_words_for_entering_chunks_only_show_whole_and_a_buffer_later(partition: Partition) -> None:
    """at="next": each chunk is under its own words from noise to clean."""
    old, new, switch = 10.0, -4.0, 2
    ticks, c = switch + partition.num_chunks + 2, partition.chunk_frames
    start, noise = draw(partition.buffer_frames), draw(ticks * c, seed=1)
    first_new = (partition.num_chunks + switch) * c  # of the stream: what is pushed at the end of tick `switch`

    def drift(tick: int) -> VelocityFn:
        number = torch.arange(partition.buffer_frames) - partition.reference_frames + tick * c
        per_frame = torch.where(number < first_new, old, new)[None, :, None, None, None]
        return lambda latents, tau: per_frame.expand_as(latents)

    emitted = stream(warm_start(drift(0), start, partition), partition, drift, noise)
    entered = torch.cat([start[:, partition.reference_frames :], noise], dim=1)[:, : emitted.shape[1]]
    drifted = emitted - entered
    torch.testing.assert_close(drifted[:, :first_new], torch.full_like(drifted[:, :first_new], old), rtol=0, atol=1e-3)
    assert drifted.shape[1] > first_new
    torch.testing.assert_close(drifted[:, first_new:], torch.full_like(drifted[:, first_new:], new), rtol=0, atol=1e-3)


def test_guidance_at_one_is_the_conditional_velocity_and_more_pulls_further() -> None:
    conditional, unconditional = draw(3), draw(3, seed=1)
    assert torch.equal(guided(conditional, unconditional, 1.0), conditional)
    torch.testing.assert_close(guided(conditional, unconditional, 0.0), unconditional)
    torch.testing.assert_close(guided(conditional, unconditional, 3.0), 3 * conditional - 2 * unconditional)


class FromHost(TorchDispatchMode):
    """Counts the copies from the host to another device."""

    copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].is_cpu and not result.is_cpu:
            self.copies += 1
        return result


@every_partition
def test_a_device_that_computes_a_tick_is_given_nothing_more_by_the_host(partition: Partition) -> None:
    copies = FromHost()
    before = []

    def velocity(latents: Tensor, tau: Tensor) -> Tensor:
        before.append(copies.copies)
        return torch.zeros_like(latents)

    with copies:
        denoise_tick(velocity, torch.zeros(2, partition.buffer_frames, *SHAPE, device="meta"), partition)
    assert before == [copies.copies] * partition.micro_steps
