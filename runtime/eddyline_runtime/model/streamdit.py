"""StreamDiT: a diffusion transformer whose latent frames carry noise levels of their own.

Paper: Kodaira et al. 2025, "StreamDiT: Real-Time Streaming Text-to-Video Generation", sec. 3.3.
https://arxiv.org/abs/2507.03745 - adaLN with one tau per latent frame, self-attention in windows with every other block
shifted by half a window, cross-attention to text. Inner sizes are unpublished; ours are in `config.py`. Beyond the
paper: each latent frame picks its own text, and carries held actions and a frame stride; a convolution joins
neighbouring patches at the output, against a mosaic; the output is preconditioned (Karras et al. 2022, EDM, written for
a straight path), so that noise need not pass through narrow layers. Shifted windows keep the ends of an axis apart
instead of wrapping, so that the oldest and the newest frames do not mix.

Shapes: B batch, F latent frames, C latent channels, Y X latent height and width, T texts, L text tokens, K text
channels, A actions, S = Y/2 * X/2 tokens per frame, N = F * S tokens, H heads, D head dimension, W width.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from eddyline_kernels.attention import window_attention
from eddyline_kernels.modulation import norm_rotate, residual_norm
from eddyline_kernels.norm import rms_norm
from eddyline_runtime.config import ModelConfig
from eddyline_runtime.model.linear import Fp8Rows, norm_for
from eddyline_runtime.model.text_refiner import TextRefiner

STRIDES = (1, 2, 4)
"""Frame strides the model knows: every frame, every second, every fourth."""


@dataclass(frozen=True)
class ProjectedTexts:
    """What the network makes of texts alone: the same in every call, so it is made once."""

    keys_values: Float[Tensor, "T depth 2 H L D"]
    """Keys, normed, and values of every block's cross-attention."""
    brief: Float[Tensor, "T condition"]
    """Each text in one vector."""

    def to(self, device: str | torch.device) -> "ProjectedTexts":
        """The same on another device."""
        return ProjectedTexts(self.keys_values.to(device), self.brief.to(device))


class KeysValues(NamedTuple):
    """What one block's cross-attention reads of the texts."""

    keys: Float[Tensor, "T H L D"]
    values: Float[Tensor, "T H L D"]


@dataclass(frozen=True)
class Conditioning:
    """What a buffer is dreamed under."""

    text: Float[Tensor, "T L K"]
    """Token states of every text in force anywhere in the batch, padded to one length."""
    text_mask: Bool[Tensor, "T L"]
    """True for real tokens."""
    text_index: Int[Tensor, "B F"]
    """Which of the T texts each latent frame is under."""
    actions: Float[Tensor, "B F A"]
    """Held keys and axes, -1 to 1; all zero means none."""
    stride: Int[Tensor, "B F"]
    """1, 2 or 4."""
    refined: bool = False
    """Whether `StreamDiT.refine` went over `text` already, as it has where texts are kept between calls."""
    projected: ProjectedTexts | None = None
    """What `StreamDiT.project` made of the texts; None: the network makes it in the call, as in training."""

    def to(self, device: str | torch.device) -> "Conditioning":
        """The same on another device."""
        return Conditioning(
            text=self.text.to(device),
            text_mask=self.text_mask.to(device),
            text_index=self.text_index.to(device),
            actions=self.actions.to(device),
            stride=self.stride.to(device),
            refined=self.refined,
            projected=None if self.projected is None else self.projected.to(device),
        )

    def rows(self, index: Int[Tensor, " N"]) -> "Conditioning":
        """That of some rows of the batch."""
        return replace(self, text_index=self.text_index[index], actions=self.actions[index], stride=self.stride[index])


@dataclass(frozen=True)
class Modulation:
    """Shift, scale and gate of one sub-block, per latent frame."""

    shift: Float[Tensor, "B F 1 W"]
    scale: Float[Tensor, "B F 1 W"]
    gate: Float[Tensor, "B F 1 W"]


class StreamDiT(nn.Module):
    """The velocity network: (noisy latents, tau, conditioning) -> d latents / d tau, float32."""

    latent_deviation: Float[Tensor, " C"]
    """Standard deviation of each latent channel in the training data, for the preconditioning."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width, condition = config.width, config.condition_width
        self.patch_in = nn.Conv2d(config.latent_channels, width, kernel_size=4, stride=2, padding=1)
        self.register_buffer("latent_deviation", torch.ones(config.latent_channels))
        self.position = nn.Parameter(torch.randn(config.latent_height // 2 * config.latent_width // 2, width) * 0.02)
        self.text_refiner = TextRefiner(config.text_dim, config.refiner_depth)
        self.text_in = nn.Sequential(nn.LayerNorm(config.text_dim), nn.Linear(config.text_dim, width))
        self.text_summary = nn.Linear(width, condition)
        self.tau_in = nn.Sequential(
            nn.Linear(_TAU_FREQUENCIES * 2, condition), nn.SiLU(), nn.Linear(condition, condition)
        )
        self.action_in = nn.Sequential(
            nn.Linear(config.action_dim, condition), nn.SiLU(), nn.Linear(condition, condition)
        )
        self.stride_in = nn.Embedding(len(STRIDES), condition)
        self.blocks = nn.ModuleList(Block(config, shifted=bool(index % 2)) for index in range(config.depth))
        self.final_modulation = nn.Linear(condition, 2 * width)
        self.patch_out = nn.Linear(width, 4 * config.head_width)
        self.head = nn.Sequential(
            nn.Conv2d(config.head_width + config.latent_channels, config.head_width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(config.head_width, config.latent_channels, 3, padding=1),
        )
        self._zero_start()

    def _zero_start(self) -> None:
        """Blocks start as the identity and the velocity as zero (adaLN-zero)."""
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        modulations = [block.modulation for block in self.blocks if isinstance(block, Block)]
        for layer in (*modulations, self.final_modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self, latents: Float[Tensor, "B F C Y X"], tau: Float[Tensor, "B F"], conditioning: Conditioning
    ) -> Float[Tensor, "B F C Y X"]:
        """Velocity of every latent frame at its own tau (0 noise, 1 clean; reference frames are at 1).

        Args:
            latents: any floating dtype; C, Y, X are the configuration's, B and F are free.
            tau: 0 to 1.
            conditioning: on the device of the model.
        """
        answer = self.answer(latents, tau_features(tau), conditioning)
        from_noisy, from_answer = precondition(tau, self.latent_deviation)
        return from_noisy * latents.float() + from_answer * answer.float()

    def answer(
        self,
        latents: Float[Tensor, "B F C Y X"],
        tau_sines: Float[Tensor, "B F features"],
        conditioning: Conditioning,
    ) -> Float[Tensor, "B F C Y X"]:
        """What the network itself says, in units of what the preconditioning cannot guess: the part of `forward` that
        may compute in half precision. `tau_sines` are `tau_features(tau)`."""
        batch, frames, _, height, width = latents.shape
        rows, columns = height // 2, width // 2
        noisy = rearrange(latents, "b f c y x -> (b f) c y x").to(self.patch_in.weight.dtype)
        x = rearrange(self.patch_in(noisy), "(b f) w y x -> b f (y x) w", b=batch)
        x = x + self.position.to(x.dtype)
        known = conditioning.projected
        if known is None:
            read = self.refined(conditioning)
            states = self._read(read.text)
            brief = self._brief(states, conditioning.text_mask)
        else:
            states, brief = None, known.brief
        condition = self._condition(tau_sines, brief, conditioning)
        rope = rotary_table(frames, rows, columns, self.config.width // self.config.heads, x.device)
        for number, block in enumerate(self.blocks):
            text = states if known is None else KeysValues(*known.keys_values[:, number].unbind(1))
            x = block(x, size=(frames, rows, columns), rope=rope, condition=condition, text=text, words=conditioning)
        shift, scale = self.final_modulation(condition)[:, :, None].chunk(2, dim=-1)
        x = self.patch_out(residual_norm(x, scale, shift)[1])
        x = rearrange(x, "b f (y x) (p q c) -> (b f) c (y p) (x q)", y=rows, x=columns, p=2, q=2)
        answer: Tensor = self.head(torch.cat([x, noisy.to(x.dtype)], dim=1))
        return rearrange(answer, "(b f) c y x -> b f c y x", b=batch)

    def refine(self, states: Float[Tensor, "T L K"], mask: Bool[Tensor, "T L"]) -> Float[Tensor, "T L K"]:
        """Token states as everything else here reads them, the same in every call; True in `mask` is a real token."""
        refined: Tensor = self.text_refiner(states.to(self.position.dtype), mask)
        return refined

    def refined(self, words: Conditioning) -> Conditioning:
        """The conditioning with its texts refined, unless they are."""
        if words.refined:
            return words
        return replace(words, text=self.refine(words.text, words.text_mask), refined=True)

    def freeze_reading(self) -> None:
        """Let nothing train that reads texts: a refiner was trained on how these layers read, and only fits them."""
        layers: list[nn.Module] = [self.text_refiner, self.text_in, self.text_summary]
        for block in self.blocks:
            assert isinstance(block, Block)
            layers += [block.text_kv, block.text_k_norm]
        for layer in layers:
            layer.requires_grad_(False)

    def project(self, states: Float[Tensor, "T L K"], mask: Bool[Tensor, "T L"]) -> ProjectedTexts:
        """What `answer` would make of texts in every call, from refined states; True in `mask` is a real token."""
        text = self._read(states)
        pairs = [block.text_keys_values(text) for block in self.blocks if isinstance(block, Block)]
        keys_values = torch.stack([torch.stack(pair, dim=1) for pair in pairs], dim=1)
        return ProjectedTexts(keys_values, self._brief(text, mask))

    def _read(self, refined: Float[Tensor, "T L K"]) -> Float[Tensor, "T L W"]:
        """Refined states as every block's cross-attention takes them."""
        text: Tensor = self.text_in(refined.to(self.position.dtype))
        return text

    def _brief(self, text: Float[Tensor, "T L W"], mask: Bool[Tensor, "T L"]) -> Float[Tensor, "T condition"]:
        real = mask[..., None].to(text.dtype)
        brief: Tensor = self.text_summary((text * real).sum(1) / real.sum(1).clamp(min=1))
        return brief

    def _condition(
        self, tau_sines: Float[Tensor, "B F features"], brief: Float[Tensor, "T condition"], words: Conditioning
    ) -> Float[Tensor, "B F condition"]:
        """One vector per latent frame: its tau, its words in brief, its held actions, the stride."""
        stride = self.stride_in(torch.div(words.stride, 2, rounding_mode="floor"))
        total = self.tau_in(tau_sines.to(brief.dtype)) + brief[words.text_index] + stride
        return F.silu(total + self.action_in(words.actions.to(brief.dtype)))


class Block(nn.Module):
    """Window attention, cross-attention to the frame's own text, feed-forward."""

    def __init__(self, config: ModelConfig, *, shifted: bool) -> None:
        super().__init__()
        self.heads = config.heads
        self.window = config.window
        self.shifted = shifted
        width = config.width
        self.modulation = nn.Linear(config.condition_width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width)
        self.q_norm, self.k_norm = RMSNorm(width // self.heads), RMSNorm(width // self.heads)
        self.text_norm = nn.LayerNorm(width)
        self.text_q = nn.Linear(width, width, bias=False)
        self.text_kv = nn.Linear(width, 2 * width, bias=False)
        self.text_out = nn.Linear(width, width)
        self.text_q_norm, self.text_k_norm = RMSNorm(width // self.heads), RMSNorm(width // self.heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.mlp_width), nn.GELU(approximate="tanh"), nn.Linear(config.mlp_width, width)
        )

    def forward(
        self,
        x: Float[Tensor, "B F S W"],
        *,
        size: tuple[int, int, int],
        rope: Float[Tensor, "2 N D"],
        condition: Float[Tensor, "B F condition"],
        text: Float[Tensor, "T L W"] | KeysValues,
        words: Conditioning,
    ) -> Float[Tensor, "B F S W"]:
        """One block; `size` are the token rows along frames, height and width, `text` the projected token states, or
        what `text_keys_values` makes of them."""
        parts = self.modulation(condition)[:, :, None].chunk(6, dim=-1)
        attention, mlp = Modulation(*parts[:3]), Modulation(*parts[3:])
        x, ready = norm_for(self.qkv, x, attention.scale, attention.shift)
        branch = self._self_attention(ready, size, rope)
        norm = self.text_norm
        x, ready = norm_for(
            self.text_q, x, norm.weight, norm.bias, branch=branch, gate=attention.gate, base=0.0, eps=norm.eps
        )
        branch = self._cross_attention(ready, text, words)
        x, ready = norm_for(self.mlp[0], x, mlp.scale, mlp.shift, branch=branch)
        return torch.addcmul(x, mlp.gate, self.mlp(ready))

    def _self_attention(
        self, x: Float[Tensor, "B F S W"] | Fp8Rows, size: tuple[int, int, int], rope: Float[Tensor, "2 N D"]
    ) -> Float[Tensor, "B F S W"]:
        qkv = rearrange(self.qkv(x), "b f s (n h d) -> b (f s) n h d", n=3, h=self.heads)
        q, k, v = norm_rotate(qkv, self.q_norm.weight, self.k_norm.weight, rope, eps=RMSNorm.EPS)
        frames, rows, columns = size
        q, k, v = (rearrange(t, "b (f y x) h d -> b f y x h d", f=frames, y=rows, x=columns) for t in (q, k, v))
        shift = tuple(w // 2 if self.shifted and w < n else 0 for w, n in zip(self.window, size, strict=True))
        assert len(shift) == 3
        out = window_attention(q, k, v, window=self.window, shift=shift)
        joined: Tensor = self.attention_out(rearrange(out, "b f y x h d -> b f (y x) (h d)"))
        return joined

    def text_keys_values(self, text: Float[Tensor, "T L W"]) -> KeysValues:
        """What cross-attention reads of texts, the same in every call."""
        k, v = rearrange(self.text_kv(text), "t l (n h d) -> n t h l d", n=2, h=self.heads)
        return KeysValues(self.text_k_norm(k), v)

    def _cross_attention(
        self, x: Float[Tensor, "B F S W"] | Fp8Rows, text: Float[Tensor, "T L W"] | KeysValues, words: Conditioning
    ) -> Float[Tensor, "B F S W"]:
        q = self.text_q_norm(rearrange(self.text_q(x), "b f s (h d) -> b f s h d", h=self.heads))
        k, v = text if isinstance(text, KeysValues) else self.text_keys_values(text)
        k, v = k[words.text_index], v[words.text_index]
        seen = words.text_mask[words.text_index][:, :, None, None, :]
        q = rearrange(q, "b f s h d -> b f h s d")
        out = (fused_attention if fuses(q) else plain_attention)(q, k, v, seen)
        joined: Tensor = self.text_out(rearrange(out, "b f h s d -> b f s (h d)"))
        return joined


def fuses(q: Float[Tensor, "B F H S D"]) -> bool:
    """Whether scores are never written to memory: on a GPU, where that takes most of the time, and only to dream."""
    return q.is_cuda and not torch.is_grad_enabled()


def plain_attention(
    q: Float[Tensor, "B F H S D"],
    k: Float[Tensor, "B F H L D"],
    v: Float[Tensor, "B F H L D"],
    seen: Bool[Tensor, "B F 1 1 L"],
) -> Float[Tensor, "B F H S D"]:
    """Softmax attention to the text tokens that are real; every latent frame has one."""
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)).masked_fill(~seen, -1e4)
    return torch.matmul(scores.softmax(dim=-1).to(v.dtype), v)


def fused_attention(
    q: Float[Tensor, "B F H S D"],
    k: Float[Tensor, "B F H L D"],
    v: Float[Tensor, "B F H L D"],
    seen: Bool[Tensor, "B F 1 1 L"],
) -> Float[Tensor, "B F H S D"]:
    """The same by torch's fused attention."""
    batch = q.shape[0]
    q, k, v, seen = (rearrange(t, "b f ... -> (b f) ...") for t in (q, k, v, seen))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    together: Tensor = rearrange(out, "(b f) h s d -> b f h s d", b=batch)
    return together


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis with a learned scale (queries and keys)."""

    EPS = 1e-6

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        return rms_norm(x, self.weight, eps=self.EPS)


def precondition(
    tau: Float[Tensor, "B F"], deviation: Float[Tensor, " C"]
) -> tuple[Float[Tensor, "B F C 1 1"], Float[Tensor, "B F C 1 1"]]:
    """Weights of the noisy latents and of the network's answer in the velocity.

    With x = tau x_1 + (1 - tau) x_0 and Var x_1 = d^2, the best linear guess of the velocity from x is
    (tau d^2 - (1 - tau)) / D x with D = tau^2 d^2 + (1 - tau)^2, and what it misses has deviation d / sqrt(D): the
    network answers in units of that.
    """
    tau, d = tau.float()[..., None], deviation.float()
    spread = tau**2 * d**2 + (1 - tau) ** 2
    from_noisy = (tau * d**2 - (1 - tau)) / spread
    return from_noisy[..., None, None], (d * spread.rsqrt())[..., None, None]


_TAU_FREQUENCIES = 64


def tau_features(tau: Float[Tensor, "B F"]) -> Float[Tensor, "B F features"]:
    """Sines and cosines of tau at geometric frequencies from 1 to 1000 radians per unit."""
    frequencies = torch.exp(torch.linspace(0.0, math.log(1000.0), _TAU_FREQUENCIES, device=tau.device))
    angles = tau.float()[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def rotary_table(frames: int, rows: int, columns: int, dim: int, device: torch.device) -> Float[Tensor, "2 N D"]:
    """Cosines and sines for tokens in raster order, the second half of D as the first; a quarter of the pairs see
    frames, the others rows and columns.

    Positions count from the buffer's start: the network always sees one buffer, never an endless stream.
    """
    pairs = dim // 2
    split = (pairs // 4, (pairs - pairs // 4) // 2, pairs - pairs // 4 - (pairs - pairs // 4) // 2)
    grid = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float32, device=device) for n in (frames, rows, columns)), indexing="ij"
    )
    angles = torch.cat(
        [
            axis.flatten()[:, None] * (100.0 ** -(torch.arange(count, device=device) / max(count, 1)))[None]
            for axis, count in zip(grid, split, strict=True)
        ],
        dim=1,
    ).repeat(1, 2)
    return torch.stack([angles.cos(), angles.sin()])
