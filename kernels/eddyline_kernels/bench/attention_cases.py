"""Window attention against those who could take its place: FlexAttention, and fused attention on packed windows.

Shapes: B batch, F frames, Y X token rows and columns, H heads, D head dimension, N = F * Y * X tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from eddyline_kernels.attention import reference, window_attention
from eddyline_kernels.attention.geometry import Triple, Windows, Wrap
from eddyline_kernels.attention.plan import Plan, plans
from eddyline_kernels.bench.contest import Case, Method, Tensors
from eddyline_kernels.bench.place import Place
from eddyline_kernels.bench.planned import planned


@dataclass(frozen=True, kw_only=True)
class Volume:
    """The tokens of one call and how they are cut."""

    size: Triple
    window: Triple
    shift: Triple = (0, 0, 0)
    wrap: Wrap = (False, False, False)
    heads: int
    dim: int

    @property
    def windows(self) -> Windows:
        """The windows, checked."""
        return Windows.cut(self.size, self.window, self.shift, self.wrap)

    @property
    def equal_windows(self) -> bool:
        """Whether all windows are of one size, so that they can be packed into one tensor."""
        whole = all(s % w == 0 for s, w in zip(self.size, self.windows.window, strict=True))
        return whole and all(wraps or not start for start, wraps in zip(self.shift, self.wrap, strict=True))

    @property
    def operations(self) -> float:
        """Useful operations of a forward: two products over all pairs of tokens of each window."""
        w = self.windows
        pairs = prod(_axis_pairs(*axis) for axis in zip(w.size, w.window, w.shift, w.wrap, strict=True))
        return 4.0 * pairs * self.heads * self.dim


def attention_case(
    name: str, volume: Volume, place: Place, *, backward: bool = False, ours: bool = True, flex: bool = True
) -> Case:
    """All ways to attend within the windows of a volume; `ours` is there where Triton runs.

    `flex` says whether FlexAttention is among them where rivals are compiled: that takes most of a run's time.
    """

    def draw(generator: torch.Generator) -> Tensors:
        shape = (1, *volume.size, 3, volume.heads, volume.dim)
        packed = torch.randn(shape, generator=generator, device=place.device).to(place.dtype)
        return packed.unbind(4)

    def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensors:
        return (reference.window_attention(q, k, v, **volume.windows.told),)

    def triton(q: Tensor, k: Tensor, v: Tensor) -> Tensors:
        return (window_attention(q, k, v, **volume.windows.told),)

    operator = "window_attention_backward" if backward else "window_attention"
    return Case(
        name=name,
        unit="TFLOP/s",
        work=volume.operations * (2.5 if backward else 1.0),
        draw=draw,
        plain=plain,
        methods=(
            *([Method(name="ours", compute=triton, operator=operator), *_plans(volume, place)] if ours else []),
            Method(name="plain torch", compute=plain),
            *_fused_on_windows(volume, place),
            *_fused_on_all(volume, place),
            *(_flex(volume, place) if flex and place.compile else []),
        ),
        differentiated=(0, 1, 2) if backward else (),
    )


def _plans(volume: Volume, place: Place) -> list[Method]:
    """All plans of our kernels: `ours` is the first of them that is right here."""
    from eddyline_kernels.attention import launch

    def method(plan: Plan) -> Method:
        return Method(name=f"plan '{plan.name}'", compute=planned_attention(volume, plan), compiled=True)

    able = launch.from_shared_memory(place.device)
    known = plans(volume.windows, head_dim=volume.dim, itemsize=place.dtype.itemsize, tma=able, in_registers=not able)
    return [method(plan) for plan in known]


def planned_attention(volume: Volume, plan: Plan) -> Callable[[Tensor, Tensor, Tensor], Tensors]:
    """Window attention by the Triton kernels in blocks of one's own choice."""

    def forth(q: Tensor, k: Tensor, v: Tensor) -> Tensors:
        from eddyline_kernels.attention import launch

        return launch.forward(q, k, v, volume.windows, plan, near=True)

    def back(grads: Tensors, inputs: Tensors, results: Tensors) -> Tensors:
        from eddyline_kernels.attention import launch

        q, k, v, out, lse = *inputs, *results
        return launch.backward(grads[0], None, q, k, v, out, lse, volume.windows, plan, near=True)

    return lambda q, k, v: planned(forth, back)(q, k, v)[:1]


def _fused_on_windows(volume: Volume, place: Place) -> list[Method]:
    """Fused attention on windows packed into a batch: packed before, and with the copies that packing takes."""
    if not volume.equal_windows:
        return []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensors:
        with place.sdpa():
            return (F.scaled_dot_product_attention(q, k, v),)

    def copying(q: Tensor, k: Tensor, v: Tensor) -> Tensors:
        return (to_raster(attend(to_windows(q), to_windows(k), to_windows(v))[0]),)

    axes = (1, 2, 3)
    counts = dict(zip(("f", "y", "x"), volume.windows.counts, strict=True))

    def to_windows(t: Float[Tensor, "B F Y X H D"]) -> Float[Tensor, "windows H tokens D"]:
        rolled = t.roll(tuple(-s for s in volume.shift), axes) if any(volume.shift) else t
        pattern = "b (f i) (y j) (x k) h d -> (b f y x) h (i j k) d"
        return rearrange(rolled, pattern, **counts).contiguous()

    def to_raster(t: Float[Tensor, "windows H tokens D"]) -> Float[Tensor, "B F Y X H D"]:
        i, j, k = volume.windows.window
        pattern = "(b f y x) h (i j k) d -> b (f i) (y j) (x k) h d"
        whole = rearrange(t, pattern, i=i, j=j, k=k, **counts)
        return whole.roll(volume.shift, axes) if any(volume.shift) else whole

    return [
        Method(name=f"{place.sdpa_name}, windows packed before", compute=attend, pack=to_windows, unpack=to_raster),
        Method(name=f"roll, partition, {place.sdpa_name}, reverse", compute=copying),
    ]


def _fused_on_all(volume: Volume, place: Place) -> list[Method]:
    """Fused attention among all tokens: without a mask as a yardstick, with it where windows cannot be packed."""
    to_heads, to_raster = _flat(volume)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensors:
        with place.sdpa():
            return (F.scaled_dot_product_attention(q, k, v),)

    methods = [
        Method(name=f"{place.sdpa_name}, all tokens", compute=attend, pack=to_heads, unpack=to_raster, checked=False)
    ]
    if volume.equal_windows or place.device.type != "cpu":
        return methods
    mask = _together(volume, place)

    def attend_masked(q: Tensor, k: Tensor, v: Tensor) -> Tensors:
        return (F.scaled_dot_product_attention(q, k, v, attn_mask=mask),)

    name = f"{place.sdpa_name}, all tokens, masked"
    return [*methods, Method(name=name, compute=attend_masked, pack=to_heads, unpack=to_raster)]


def _flex(volume: Volume, place: Place) -> list[Method]:
    """FlexAttention with the same windows as its mask: tokens in raster order, and in order of half-window tiles."""
    windows = window_ids(volume).to(place.device)
    tiles = tile_order(volume).to(place.device)
    assert place.compile is not None
    compiled = place.compile(flex_attention)

    def method(name: str, order: Int[Tensor, " N"] | None) -> Method:
        ids = windows if order is None else windows[order]
        masks: list[Any] = []

        def together(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Bool[Tensor, ""]:
            return ids[q] == ids[k]

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensors:
            if not masks:  # made when it is needed first: it takes a gigabyte for a moment
                masks.append(create_block_mask(together, None, None, len(ids), len(ids), device=str(place.device)))
            return (compiled(q, k, v, block_mask=masks[0]),)

        to_heads, to_raster = _flat(volume, order)
        return Method(name=name, compute=attend, pack=to_heads, unpack=to_raster, compiled=True)

    return [method("FlexAttention, raster order", None), method("FlexAttention, tile order", tiles)]


def _flat(
    volume: Volume, order: Int[Tensor, " N"] | None = None
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """To [B, H, N, D] and back, tokens in raster order or in another."""
    frames, rows, _ = volume.size

    def to_heads(t: Float[Tensor, "B F Y X H D"]) -> Float[Tensor, "B H N D"]:
        flat = rearrange(t, "b f y x h d -> b h (f y x) d")
        return (flat if order is None else flat[:, :, order]).contiguous()

    def to_raster(t: Float[Tensor, "B H N D"]) -> Float[Tensor, "B F Y X H D"]:
        flat = t if order is None else t[:, :, order.argsort()]
        return rearrange(flat, "b h (f y x) d -> b f y x h d", f=frames, y=rows)

    return to_heads, to_raster


def window_ids(volume: Volume) -> Int[Tensor, " N"]:
    """The number of the window of every token in raster order."""
    w = volume.windows
    axes = [_axis_ids(*axis) for axis in zip(w.size, w.window, w.shift, w.wrap, strict=True)]
    places = [(f * w.counts[1] + y) * w.counts[2] + x for f, y, x in product(*axes)]
    return torch.tensor(places)


def tile_order(volume: Volume) -> Int[Tensor, " N"]:
    """Raster numbers of the tokens, those of one half-window tile side by side: windows, shifted or not, are tiles."""
    tile = [window // 2 if start else window for window, start in zip(volume.windows.window, volume.shift, strict=True)]
    tiles = Volume(size=volume.size, window=(tile[0], tile[1], tile[2]), heads=1, dim=1)
    return window_ids(tiles).argsort(stable=True)


def _together(volume: Volume, place: Place) -> Bool[Tensor, "N N"]:
    ids = window_ids(volume).to(place.device)
    return ids[:, None] == ids


def _axis_ids(size: int, window: int, shift: int, wrap: bool) -> list[int]:
    if wrap or not shift:
        return [(position - shift) % size // window for position in range(size)]
    return [0 if position < shift else 1 + (position - shift) // window for position in range(size)]


def _axis_pairs(size: int, window: int, shift: int, wrap: bool) -> int:
    """Pairs of positions of one axis that are in one window."""
    ids = _axis_ids(size, window, shift, wrap)
    return sum(ids.count(number) ** 2 for number in set(ids))
