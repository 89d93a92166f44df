"""Where the time of a call goes: the kernels that a GPU ran in it, or the operators of torch on a processor."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Spent:
    """One kernel or operator in all of a call."""

    name: str
    calls: int
    ms: float
    """Without what it called itself."""


def where_time_goes(call: Callable[[], object], device: torch.device) -> list[Spent]:
    """What a call that ends with the device idle ran on it, by name, what took longest first.

    Looking on makes the call itself slower, on a processor most of all; shares are what to go by. What cannot be looked
    at, for a driver that forbids it or has someone else looking, has taken no time.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it tells its every step on stderr otherwise
    on_gpu = device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as seen:
        call()
    kind = "CUDA" if on_gpu else "CPU"
    found = [
        Spent(entry.key, entry.count, (entry.self_device_time_total if on_gpu else entry.self_cpu_time_total) / 1e3)
        for entry in seen.key_averages()
        if entry.device_type.name == kind
    ]
    return sorted(found, key=lambda spent: spent.ms, reverse=True)
