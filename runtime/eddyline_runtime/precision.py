"""A device: whether it is there, and which precision networks are computed in on it."""

import platform
from contextlib import AbstractContextManager

import torch

from eddyline.errors import ConfigError


def check_device(device: str) -> None:
    """Raise ConfigError where a GPU is asked for that is not there."""
    if not device.startswith("cuda"):
        return
    if not torch.cuda.is_available():
        raise ConfigError(f"there is no GPU for --device {device}; use --device cpu")
    number, count = int(device.partition(":")[2] or 0), torch.cuda.device_count()
    if number >= count:
        known = ", ".join(f"cuda:{index}" for index in range(count))
        raise ConfigError(f"there is no GPU for --device {device}; there are {known}")


def default_dtype(device: str) -> torch.dtype:
    """bf16 where the device computes it natively, else float32."""
    if device.startswith("cuda"):
        return torch.bfloat16
    return torch.bfloat16 if _cpu_has_bf16() else torch.float32


def half_precision(device: str) -> AbstractContextManager[object]:
    """Within it, networks with float32 weights compute in bf16 where `device` does so natively."""
    dtype = default_dtype(device)
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself; on x86, oneDNN's answer also counts its emulation by AVX-512."""
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    has_mkldnn: bool = torch.backends.mkldnn.is_available()
    return has_mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
