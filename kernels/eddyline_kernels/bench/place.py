"""Where a run measures: the device, how time is taken there, what rivals may use."""

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

Call = Callable[[], object]
Timer = Callable[[Sequence[Call]], list[float]]
"""Makes calls one after the other; seconds of each."""

QUEUE_CYCLES = 50_000_000
"""For so long a GPU is kept busy first, so that calls wait for it and it never waits for a call."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A device and how it is used."""

    device: torch.device
    dtype: torch.dtype
    timer: Timer
    compile: Callable[..., Any] | None
    """What compiles rivals; without it there are none that need it."""
    sdpa: Callable[[], AbstractContextManager[None]]
    """Within it, scaled_dot_product_attention is what rivals should use."""
    sdpa_name: str
    rotated_bytes: int
    """Inputs are copies of different numbers, together so large that none is in a cache when its turn comes."""
    calls: int
    """Timed calls of each contestant."""


def gpu() -> Place:
    """The first GPU, in bf16, against cuDNN and compiled rivals."""
    return Place(
        device=torch.device("cuda"),
        dtype=torch.bfloat16,
        timer=_time_on_gpu,
        compile=torch.compile,
        sdpa=lambda: sdpa_kernel(SDPBackend.CUDNN_ATTENTION),
        sdpa_name="cuDNN",
        rotated_bytes=1 << 29,
        calls=30,
    )


def cpu() -> Place:
    """The processor, in the precision that the runtime takes there, against torch's fused attention."""
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return Place(
        device=torch.device("cpu"),
        dtype=torch.bfloat16 if has_bf16 else torch.float32,
        timer=_time_on_cpu,
        compile=None,
        sdpa=nullcontext,
        sdpa_name="SDPA",
        rotated_bytes=1 << 26,
        calls=30,
    )


def device_name(device: torch.device) -> str:
    """What a device calls itself; for a processor with the threads that torch uses of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"


def _time_on_gpu(calls: Sequence[Call]) -> list[float]:
    # one event between two calls: with two of them there would be gaps, which count where a call takes microseconds
    events = [torch.cuda.Event(enable_timing=True) for _ in range(len(calls) + 1)]
    torch.cuda._sleep(QUEUE_CYCLES)
    events[0].record()
    for call, end in zip(calls, events[1:], strict=True):
        call()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1000 for begin, end in pairwise(events)]


def _time_on_cpu(calls: Sequence[Call]) -> list[float]:
    seconds = []
    for call in calls:
        begin_s = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin_s)
    return seconds
