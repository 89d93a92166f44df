"""What the tests of the kernels share: Triton's interpreter on the CPU, and scratch memory full of NaN."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from eddyline_kernels import backend

GUARD = 256
"""Numbers before and after a tensor; a multiple of 16, so that it begins where a tensor of its own would."""
GUARD_NUMBER = 96.0
"""Has the same bits wherever it is read; e4m3 has it too."""


@pytest.fixture(scope="module")
def interpreter() -> Iterator[None]:
    """In this module kernels run in Triton's interpreter, and operators choose Triton on the CPU."""
    if find_spec("triton") is None or os.environ["TRITON_INTERPRET"] != "1":
        pytest.skip("needs Triton and TRITON_INTERPRET=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(backend.VARIABLE, "triton")
        _mend_small_floats(patch)
        _mend_loop_bounds(patch)
        yield


@pytest.fixture
def nan_scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """New tensors hold NaN instead of whatever was there, so that what a kernel forgets to write shows, and there are
    numbers around them that no kernel may touch."""
    made: list[Tensor] = []
    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, _guarded(getattr(torch, name), made))
    yield
    assert made, "nothing was made"
    for whole in made:
        assert (whole[:GUARD] == GUARD_NUMBER).all(), "something was written before a tensor"
        assert (whole[-GUARD:] == GUARD_NUMBER).all(), "something was written after a tensor"


def _guarded(make: Any, kept: list[Tensor]) -> Any:
    """As `make`; what is around the tensors that it made is added to `kept`."""

    def made(*args: Any, **options: Any) -> Tensor:
        tensor: Tensor = make(*args, **options)
        if not tensor.is_floating_point() or tensor.is_meta:
            return tensor
        numbers = tensor.numel()
        whole = torch.full((numbers + 2 * GUARD,), float("nan"), dtype=tensor.dtype, device=tensor.device)
        whole[:GUARD] = whole[GUARD + numbers :] = GUARD_NUMBER
        kept.append(whole)
        return whole.as_strided(tensor.shape, tensor.stride(), GUARD)

    return made


def _mend_loop_bounds(patch: pytest.MonkeyPatch) -> None:
    """Let numbers computed in a kernel be bounds of its loops: Triton 3.6 holds them as [n], numpy 2.4 takes no [n]."""
    from triton.runtime import interpreter

    patch_tensors = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch_tensors(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    patch.setattr(interpreter, "_patch_lang_tensor", patched)


def _mend_small_floats(patch: pytest.MonkeyPatch) -> None:
    """Give the interpreter the GPU's bf16 and e4m3: it holds them as integers, multiplies those, cuts off digits."""
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    builder = interpreter.InterpreterBuilder
    plain_dot, plain_cast, plain_fp8 = builder.create_dot, builder.cast_impl, builder.create_fp_to_fp

    def values(handle: Any) -> Any:
        if handle.dtype.scalar != tl.bfloat16:
            return handle.data
        return (handle.data.astype(np.uint32) << 16).view(np.float32)

    def create_dot(self: Any, a: Any, b: Any, total: Any, *options: Any) -> Any:
        if tl.bfloat16 not in (a.dtype.scalar, b.dtype.scalar):
            return plain_dot(self, a, b, total, *options)
        product = np.matmul(values(a), values(b), dtype=total.data.dtype)
        return interpreter.TensorHandle(product + total.data, total.dtype.scalar)

    def rounded(source: Any, kind: torch.dtype, bits: torch.dtype) -> Any:
        return torch.from_numpy(np.ascontiguousarray(source.data)).to(kind).view(bits).numpy()

    def cast(self: Any, source: Any, target: Any) -> Any:
        if (source.dtype.scalar, target.scalar) != (tl.float32, tl.bfloat16):
            return plain_cast(self, source, target)
        return interpreter.TensorHandle(rounded(source, torch.bfloat16, torch.int16).view(np.uint16), tl.bfloat16)

    def create_fp_to_fp(self: Any, source: Any, target: Any, rounding: Any) -> Any:
        if (source.dtype.scalar, target.scalar) != (tl.float32, tl.float8e4nv):
            return plain_fp8(self, source, target, rounding)
        return interpreter.TensorHandle(rounded(source, torch.float8_e4m3fn, torch.uint8), tl.float8e4nv)

    patch.setattr(builder, "create_dot", create_dot)
    patch.setattr(builder, "cast_impl", cast)
    patch.setattr(builder, "create_fp_to_fp", create_fp_to_fp)
