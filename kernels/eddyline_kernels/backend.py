"""Triton or plain torch: the one place that decides which implementation of an operator runs.

On a GPU an operator runs its Triton kernels, elsewhere its reference in plain torch. Where Triton cannot run on a GPU
(it is missing, too old, has no C compiler, or the operator has no kernel for the tensors) the reference runs, and a
warning says so once.
The environment variable EDDYLINE_KERNELS overrides this:

    auto         as above (the default)
    reference    plain torch everywhere
    triton       Triton or an error; on a CPU it needs Triton's interpreter (TRITON_INTERPRET=1)

The variable is read at every call; `torch.compile` reads it once, when it traces.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch

from eddyline_kernels.errors import KernelChoiceError

VARIABLE = "EDDYLINE_KERNELS"
CHOICES = ("auto", "reference", "triton")
OLDEST_TRITON = (3, 6)
OLDEST_CAPABILITY = (8, 0)
"""Compute capability of the first GPUs that multiply bf16 (Ampere)."""
LARGEST_GRID = 65_535
"""As many programs as CUDA launches along the second and third axis of a grid."""

launches: Counter[str] = Counter()
"""How often each Triton operator was launched in this process, by name: the proof that a model really uses it."""

_log = logging.getLogger(__name__)


def runs_triton(operator: str, device: torch.device, obstacle: str | None = None) -> bool:
    """Whether an operator runs its Triton kernels for tensors on `device`; otherwise its reference runs.

    Args:
        operator: the name that warnings and errors use.
        device: where the tensors are.
        obstacle: why the operator has no kernel for these tensors, in words; None if it has one.

    Raises:
        KernelChoiceError: the environment variable asks for Triton where it cannot run, or says something unknown.
    """
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in CHOICES:
        raise KernelChoiceError(f"{VARIABLE}={choice} is not a choice; use one of {', '.join(CHOICES)}")
    if choice == "reference" or (choice == "auto" and device.type in ("cpu", "meta")):
        return False
    obstacle = obstacle or _obstacle(device)
    if obstacle is not None:
        fall_back(operator, obstacle)
    return obstacle is None


def fall_back(operator: str, obstacle: str) -> None:
    """Say once that an operator runs in plain torch, and why.

    Raises:
        KernelChoiceError: the environment variable asks for Triton.
    """
    if os.environ.get(VARIABLE) == "triton":
        raise KernelChoiceError(
            f"{VARIABLE}=triton, but {operator} cannot run in Triton: {obstacle}; unset {VARIABLE} to use plain torch"
        )
    _warn_once(f"{operator} runs in plain torch, which is slower: {obstacle}")


@contextmanager
def chosen(choice: str) -> Iterator[None]:
    """Within it the environment variable says `choice`, for the whole process; then what it said before."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = choice
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


# what torch.compiler.assume_constant_result does, without the seconds that importing the compiler takes
runs_triton._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _obstacle(device: torch.device) -> str | None:
    """Why Triton cannot run on a device, or None."""
    installed = triton_version()
    if installed is None:
        return "Triton is not installed"
    if installed < OLDEST_TRITON:
        return f"Triton {_dotted(installed)} is older than {_dotted(OLDEST_TRITON)}"
    if device.type == "cpu":
        return None if os.environ.get("TRITON_INTERPRET") == "1" else "the tensors are on the CPU"
    if device.type != "cuda" or torch.version.hip is not None:
        return f"there are no kernels for {device.type} devices of this kind"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_CAPABILITY:
        return f"the GPU has compute capability {_dotted(capability)}, and {_dotted(OLDEST_CAPABILITY)} is needed"
    return _driver_obstacle()


@lru_cache(maxsize=1)
def _driver_obstacle() -> str | None:
    """Why Triton cannot launch anything on a GPU here, or None: what launches kernels it compiles when it is used
    first, which takes a C compiler and Python's headers."""
    from triton.runtime import driver

    try:
        driver.active.get_current_device()
    except Exception as error:  # of several kinds, none of them Triton's own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"Triton cannot launch kernels here, for which it needs a C compiler and Python's headers: {reason}"
    return None


@lru_cache(maxsize=1)
def triton_version() -> tuple[int, int] | None:
    """Major and minor version of the installed Triton; (0, 0) when its version cannot be read, None without Triton.

    Looked up once: it takes longer than to launch a kernel.
    """
    if find_spec("triton") is None:
        return None
    try:
        major, minor, *_ = version("triton").split(".")
    except PackageNotFoundError:
        return (0, 0)
    return int(major), int(minor)


def _dotted(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"


@lru_cache(maxsize=256)
def _warn_once(message: str) -> None:
    _log.warning(message)
