"""How 3-D windows lie in a token volume: pure arithmetic on one axis at a time, and what a call may ask for.

A window on one axis is a stretch of tokens. An axis of `size` tokens is cut at `shift`, `shift + window`, ...; the
pieces at its two ends are windows of their own (Swin's separation), or are one window that wraps around the end.
"""

from dataclasses import dataclass
from math import prod
from typing import TypedDict

from torch import Tensor

from eddyline_kernels.errors import KernelInputError

Triple = tuple[int, int, int]
"""Frames, rows, columns."""
Wrap = tuple[bool, bool, bool]


class Cut(TypedDict):
    """How a call of `window_attention` says how its volume is cut."""

    window: Triple
    shift: Triple
    wrap: Wrap


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one token volume, checked and clipped. Axes are frames, rows, columns."""

    size: Triple
    """Tokens along each axis."""
    window: Triple
    """Tokens of a window along each axis, at most `size`."""
    shift: Triple
    """Where the first whole window starts, 0 <= shift < window."""
    wrap: Wrap
    """Whether windows wrap around the end of the axis."""

    @classmethod
    def cut(cls, size: Triple, window: Triple, shift: Triple, wrap: Wrap) -> "Windows":
        """Cut a volume into windows; a window larger than its axis is clipped to it.

        Raises:
            KernelInputError: a window is not positive, a shift lies outside its window, or a wrapped axis is not
                divisible by its window.
        """
        clipped = []
        for length, tokens, start, wraps in zip(size, window, shift, wrap, strict=True):
            if tokens < 1:
                raise KernelInputError(f"a window of {tokens} tokens is empty; use at least 1")
            held = min(tokens, length)
            if not 0 <= start < held:
                raise KernelInputError(f"shift {start} lies outside the window of {held} tokens; use 0 to {held - 1}")
            if wraps and length % held:
                raise KernelInputError(
                    f"a window of {held} does not divide the wrapped axis of {length}; turn wrap off for it"
                )
            clipped.append(held)
        return cls(size, (clipped[0], clipped[1], clipped[2]), shift, wrap)

    @property
    def told(self) -> Cut:
        """What `window_attention` is told of them."""
        return {"window": self.window, "shift": self.shift, "wrap": self.wrap}

    @property
    def counts(self) -> Triple:
        """Windows along each axis."""
        frames, rows, columns = (
            -(-length // tokens) if wraps else -(-(length + (tokens - start) % tokens) // tokens)
            for length, tokens, start, wraps in zip(self.size, self.window, self.shift, self.wrap, strict=True)
        )
        return frames, rows, columns

    @property
    def tokens(self) -> int:
        """Tokens of the largest window."""
        return prod(self.window)


def check_tensors(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Check that queries, keys and values can attend to each other.

    Raises:
        KernelInputError: they are not of one shape [B, F, Y, X, H, D], one floating dtype and one device.
    """
    if not q.shape == k.shape == v.shape or q.ndim != 6:
        raise KernelInputError(
            f"q {tuple(q.shape)}, k {tuple(k.shape)} and v {tuple(v.shape)} are not one shape [B, F, Y, X, H, D]; "
            "pass equal shapes of six axes"
        )
    if not q.dtype == k.dtype == v.dtype or not q.is_floating_point():
        raise KernelInputError(
            f"q {tuple(q.shape)} is {q.dtype}, k {k.dtype} and v {v.dtype}; convert them to one floating dtype"
        )
    if not q.device == k.device == v.device:
        raise KernelInputError(
            f"q {tuple(q.shape)} is on {q.device}, k on {k.device} and v on {v.device}; move them to one device"
        )
