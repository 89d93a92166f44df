"""Speed of a world's networks alone, as the engine calls them: one tick of a batch of views, without socket or words.

Memory is counted and printed before anything is made; what does not fit is refused with the figure. A tick is the calls
of StreamDiT that make one chunk of every view, and the decoding of these chunks.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from eddyline.errors import ConfigError
from eddyline_kernels import backend
from eddyline_kernels.bench.place import device_name
from eddyline_runtime.bench.stream import percentile
from eddyline_runtime.bench.where import Spent, where_time_goes
from eddyline_runtime.conditioning import RowWords
from eddyline_runtime.config import Profile
from eddyline_runtime.dreamer import Dreamer
from eddyline_runtime.flow.sampler import denoise_tick
from eddyline_runtime.model.memory import DreamMemory, dream_memory
from eddyline_runtime.networks.fp8 import quantise_world
from eddyline_runtime.precision import check_device, default_dtype
from eddyline_runtime.weights import World, WorldCard, card_of, load_world

WARM_UP_TICKS = 4
"""The last of them replays the graph that the one before captured."""
UNEVEN = 2.0
"""Times of one batch that are further apart say little."""
TOLD = 8
"""Kernels or operators that the table has for a batch."""
SPARE = 1.1
"""So much more than what was counted must be free: allocators and libraries take some too."""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All numbers, by name; raises as `measure_world`."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return measure_world(
        arguments.model,
        profile=arguments.profile,
        device=arguments.device,
        random_weights=arguments.random_weights,
        views=arguments.views,
        ticks=arguments.ticks,
        linears=arguments.linears,
        where=arguments.where,
    )


def measure_world(
    name: str,
    *,
    profile: str | None,
    device: str,
    random_weights: bool,
    views: int,
    ticks: int,
    linears: str = "plain",
    where: bool = False,
    free: Callable[[torch.device], int | None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """All numbers of one world, for batches of 1 to `views`.

    Args:
        linears: "plain" or "fp8"; with "fp8", how far that takes the velocity is among the numbers.
        where: whether it is told, too, which kernels, on a processor which operators, take the time of a tick of the
            smallest and of the largest batch.
        free: bytes that are free on a device, None where that is not known.

    Raises:
        ConfigError: the profile is unknown, there is no such device, not even one view fits into its memory, the
            model cannot multiply in FP8, or the kernels of a GPU were not used.
        WeightsError: the world is unknown, or has no weights and none were asked for at random.
    """
    check_device(device)
    card = card_of(name)
    chosen = card.profiles[card.profile_name(profile)]
    dtype, place = default_dtype(device), torch.device(device)
    available = (free or free_bytes)(place)
    counted = [_count(card, chosen, place, dtype, number + 1) for number in range(views)]
    _say_memory(card.name, counted, available)
    refusals = [_refusal(card.name, number + 1, memory, available) for number, memory in enumerate(counted)]
    if refusals[0] is not None:
        raise ConfigError(refusals[0])
    world = load_world(name, device=device, random_weights=random_weights)
    error = quantise_world(world, chosen.partition) if linears == "fp8" else None
    rows: list[dict[str, Any]] = []
    for number, refusal in enumerate(tqdm(refusals, desc="bench", unit="batch", disable=None)):
        if refusal is None:
            rows.append(measure_batch(world, chosen, views=number + 1, ticks=ticks, clock=clock))
        else:
            rows.append({"views": number + 1, "refused": refusal})
    measured = [row["views"] for row in rows if "refused" not in row]
    looked_at = sorted({measured[0], measured[-1]}) if where else []
    launched = next(row["launches_per_tick"] for row in rows if "refused" not in row)
    if place.type == "cuda" and not launched.get("window_attention"):
        raise ConfigError(f"the Triton kernels did not run on {device}; the log says why")
    return {
        "model": card.name,
        "device": device_name(place),
        "dtype": str(dtype).removeprefix("torch."),
        "linears": linears,
        "fp8_error": error,
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "memory_gb": counted[-1].total / 1e9,
        "launches_per_tick": launched,
        "batches": rows,
        # after all that is timed, for what was looked at once may stay slower
        "where": [
            {"views": views, "spent": [asdict(spent) for spent in look_at_batch(world, chosen, views=views)]}
            for views in looked_at
        ],
    }


def measure_batch(
    world: World, profile: Profile, *, views: int, ticks: int, clock: Callable[[], float]
) -> dict[str, Any]:
    """Times of one tick of a batch, in milliseconds, and what comes of them.

    `frames_per_s` are those of all views together, decoding included; `denoised_frames_per_s` without it;
    `real_time_factor` is how much faster than it is played a view is made.
    """
    tick = _ticker(world, profile, views=views, clock=clock)
    with torch.inference_mode():
        for _ in range(WARM_UP_TICKS):
            tick()
        before = backend.launches.copy()
        denoise_s, decode_s = zip(*(tick() for _ in range(ticks)), strict=True)
        launched = backend.launches - before
    made = views * profile.partition.chunk_frames * world.card.codec.frames_per_latent
    denoise, decode = percentile(denoise_s, 50), percentile(decode_s, 50)
    return {
        "views": views,
        "denoise_ms": {f"p{share}": percentile(denoise_s, share) * 1e3 for share in (50, 95)},
        "decode_ms": {f"p{share}": percentile(decode_s, share) * 1e3 for share in (50, 95)},
        "denoised_frames_per_s": made / denoise,
        "frames_per_s": made / (denoise + decode),
        "real_time_factor": made / views / (denoise + decode) / world.card.fps,
        "launches_per_tick": {name: count / ticks for name, count in launched.items()},
    }


@torch.inference_mode()
def look_at_batch(world: World, profile: Profile, *, views: int) -> list[Spent]:
    """The kernels, on a processor the operators, of one tick of a batch."""
    tick = _ticker(world, profile, views=views, clock=time.perf_counter)
    for _ in range(WARM_UP_TICKS):
        tick()
    return where_time_goes(tick, next(world.model.parameters()).device)


def _ticker(
    world: World, profile: Profile, *, views: int, clock: Callable[[], float]
) -> Callable[[], tuple[float, float]]:
    """A tick of a batch of so many views, again and again the same, which returns the seconds of denoising and of
    decoding."""
    partition, card = profile.partition, world.card
    frames = partition.buffer_frames
    dreamer = Dreamer(world, text_cache=views)
    velocity = dreamer.velocity([_row(card, frames, number) for number in range(views)])
    drawn = [dreamer.noise(seed=seed, epoch=0, first=0, frames=frames) for seed in range(views)]
    latents = torch.stack(drawn).to(dreamer.device)
    states = [dreamer.start_decoder(latents[row, :0], latents[row]) for row in range(views)]
    first, end = partition.reference_frames, partition.reference_frames + partition.chunk_frames

    def tick() -> tuple[float, float]:
        dreamer.synchronise()
        begin_s = clock()
        clean = denoise_tick(velocity, latents, partition)[:, first:end]
        dreamer.synchronise()
        between_s = clock()
        dreamer.decode(clean, states)
        dreamer.synchronise()
        return between_s - begin_s, clock() - between_s

    return tick


def table(results: dict[str, Any]) -> Iterator[str]:
    """The numbers as lines."""
    yield f"{results['model']} on {results['device']}, {results['dtype']}, torch {results['torch']}, {results['date']}"
    if results["fp8_error"] is not None:
        yield f"linears in FP8, row by row: the velocity differs by {results['fp8_error']:.2g} of its size"
    yield f"{'views':>5} {'denoise ms':>11} {'p95':>8} {'decode ms':>10} {'frames/s':>9} {'real time':>9} {'of one':>7}"
    for row in results["batches"]:
        if "refused" in row:
            yield f"{row['views']:>5} {row['refused']}"
            continue
        gain = row["frames_per_s"] / results["batches"][0]["frames_per_s"]
        yield (
            f"{row['views']:>5} {row['denoise_ms']['p50']:>11.4g} {row['denoise_ms']['p95']:>8.4g} "
            f"{row['decode_ms']['p50']:>10.4g} {row['frames_per_s']:>9.4g} {row['real_time_factor']:>9.3g} {gain:>7.3g}"
        )
    measured = [row for row in results["batches"] if "refused" not in row]
    uneven = max(row["denoise_ms"]["p95"] / row["denoise_ms"]["p50"] for row in measured)
    if uneven > UNEVEN:
        yield f"p95 is up to {uneven:.3g} times the median: something held this machine up; measure again"
    launched = ", ".join(f"{name} {count:g}" for name, count in results["launches_per_tick"].items())
    yield f"Triton launches a tick: {launched or 'none, plain torch'}"
    for looked_at in results["where"]:
        yield from _where(looked_at["views"], looked_at["spent"])


def _where(views: int, all_spent: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What takes most of a tick, in lines."""
    total = sum(spent["ms"] for spent in all_spent)
    if not total:
        yield f"{views} view{'s' * (views > 1)}: the device does not tell what ran on it"
        return
    yield f"one tick of {views} view{'s' * (views > 1)}, {total:.4g} ms in all:"
    for spent in all_spent[:TOLD]:
        yield f"{spent['ms'] / total:>7.1%} {spent['calls']:>5} x  {spent['name'][:90]}"


def free_bytes(device: torch.device) -> int | None:
    """Bytes that a device has left; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def _count(card: WorldCard, profile: Profile, device: torch.device, dtype: torch.dtype, views: int) -> DreamMemory:
    return dream_memory(
        card.model,
        card.codec,
        device=device,
        dtype=dtype,
        views=views,
        frames=profile.partition.buffer_frames,
        chunk_frames=profile.partition.chunk_frames,
        text_tokens=card.text_tokens,
    )


def _say_memory(name: str, counted: Sequence[DreamMemory], available: int | None) -> None:
    free = "unknown" if available is None else f"{available / 1e9:.2f} GB"
    print(f"{name} needs {counted[0]} for one view")
    if len(counted) > 1:
        print(f"{name} needs {counted[-1]} for {len(counted)} views")
    print(f"free: {free}", flush=True)


def _refusal(name: str, views: int, memory: DreamMemory, available: int | None) -> str | None:
    """Why a batch does not fit, or None."""
    needed = memory.total * SPARE
    if available is None or needed <= available:
        return None
    return (
        f"{name} with {views} view{'s' * (views > 1)} needs {needed / 1e9:.2f} GB, {available / 1e9:.2f} GB are free; "
        "use fewer views, a smaller model, or a device with more memory"
    )


def _row(card: WorldCard, frames: int, number: int) -> RowWords:
    """The words of one view: a text of its own, no guidance, no keys."""
    text = card.phrases[number % len(card.phrases)] if card.phrases else f"scene {number}"
    return RowWords(texts=(text,) * frames, actions=(0.0,) * len(card.action_names), stride=1)
