"""The video codec: four frames of 8x8 pixels become one latent cell, and back.

Encoder and decoder are each a linear map between 4x8x8 cells and latents plus a convolutional correction. The linear
maps start as the principal components of the training recordings, scaled so that large components lose part of their
lead ("half whitening": divided by the square root of their deviation); so training starts from a codec that works, and
coarse content stays in the first channels. The encoder looks at the four frames of a latent frame alone; the decoder is
causal in time: it sees a latent frame and the one before. No convolution runs at full resolution: pixels are unshuffled
to a quarter on the way in and shuffled on the way out, which keeps processors without a GPU fast. What that leaves in
flat places a filter takes out, where the codec has one.

Every latent frame decodes to four frames, the first included. Decoding piece by piece equals decoding at once.

Shapes: B batch, T frames, F latent frames, C latent channels, Y X latent height and width, H W picture height and
width, N samples, cell = 4*3*8*8 the values of a cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eddyline.errors import ConfigError
from eddyline_kernels.bilateral import bilateral_filter
from eddyline_runtime.config import CodecConfig


@dataclass(frozen=True)
class DecoderState:
    """What decoding remembers between two pieces of one stream: the last latent frame."""

    last: Float[Tensor, "B 1 C Y X"]

    def row(self, index: int) -> "DecoderState":
        """The state of stream `index` of a batch."""
        return DecoderState(self.last[index : index + 1])


def stack_states(states: Sequence[DecoderState]) -> DecoderState:
    """Join the states of several streams into a batch."""
    return DecoderState(torch.cat([state.last for state in states]))


class Codec(nn.Module):
    """Encoder and decoder; see the module's docstring."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        cell = config.frames_per_latent * 3 * config.cell_px**2
        detail = cell // 4  # values of a quarter-resolution position: 4x4 pixels, RGB, four frames
        self.linear_in = nn.Linear(cell, config.latent_channels)
        self.linear_out = nn.Linear(config.latent_channels, cell)
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(config.cell_px // 2),
            nn.Conv2d(detail, config.detail_width, 3, padding=1),
            ResidualBlock(config.detail_width),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * config.detail_width, config.width, 1),
            *(ResidualBlock(config.width) for _ in range(config.depth)),
            nn.Conv2d(config.width, config.latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(2 * config.latent_channels, config.width, 3, padding=1),
            *(ResidualBlock(config.width) for _ in range(config.depth)),
            nn.Conv2d(config.width, 4 * config.detail_width, 1),
            nn.PixelShuffle(2),
            *(ResidualBlock(config.detail_width) for _ in range(config.depth)),
            nn.Conv2d(config.detail_width, detail, 3, padding=1),
            nn.PixelShuffle(config.cell_px // 2),
        )
        for correction in (self.encoder[-1], self.decoder[-2]):
            assert isinstance(correction, nn.Conv2d)
            assert correction.bias is not None
            nn.init.zeros_(correction.weight)
            nn.init.zeros_(correction.bias)

    @torch.no_grad()
    def fit_linear(self, cells: Float[Tensor, "N cell"]) -> None:
        """Set the linear maps to the half-whitened principal components of `cells`, unit deviation overall.

        Raises:
            ConfigError: there are fewer samples than a cell has values.
        """
        if cells.shape[0] < cells.shape[1]:
            raise ConfigError(f"{cells.shape[0]} cells do not span {cells.shape[1]} values; record more frames")
        mean = cells.double().mean(0)
        centred = cells.double() - mean
        variance, basis = torch.linalg.eigh(centred.T @ centred / len(cells))
        variance = variance.flip(0)[: self.config.latent_channels].clamp(min=1e-10)
        basis = basis.flip(1)[:, : self.config.latent_channels]
        scale = variance**0.25 * variance.sqrt().mean().sqrt()  # deviation**0.5, then overall variance 1
        self.linear_in.weight.copy_((basis / scale).T)
        self.linear_in.bias.copy_(-mean @ (basis / scale))
        self.linear_out.weight.copy_(basis * scale)
        self.linear_out.bias.copy_(mean)

    def cells(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B F Y X cell"]:
        """Cut frames into 4x8x8 cells.

        Raises:
            ConfigError: the number of frames or the picture does not split into cells.
        """
        _, count, _, height, width = frames.shape
        depth, px = self.config.frames_per_latent, self.config.cell_px
        if count % depth or height % px or width % px:
            raise ConfigError(
                f"{count} frames of {width}x{height} do not split into cells of {depth}x{px}x{px}; crop or pad them"
            )
        return rearrange(frames, "b (f t) c (y p) (x q) -> b f y x (t c p q)", t=depth, p=px, q=px)

    def encode(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B F C Y X"]:
        """Frames in [-1, 1] to latents; F = T / 4. Each latent frame depends on its own four frames.

        Raises:
            ConfigError: the number of frames or the picture does not split into cells.
        """
        linear: Tensor = rearrange(self.linear_in(self.cells(frames)), "b f y x c -> b f c y x")
        stacked = rearrange(frames, "b (f t) c h w -> (b f) (t c) h w", t=self.config.frames_per_latent)
        correction: Tensor = rearrange(self.encoder(stacked), "(b f) c y x -> b f c y x", b=frames.shape[0])
        return linear + correction

    def start_state(self, latents: Float[Tensor, "B F C Y X"]) -> DecoderState:
        """The state before a stream's first latent frame."""
        return DecoderState(torch.zeros_like(latents[:, :1]))

    @staticmethod
    def state_after(latents: Float[Tensor, "B F C Y X"]) -> DecoderState:
        """The state when a stream was decoded up to the last of `latents`."""
        return DecoderState(latents[:, -1:])

    def decode(
        self, latents: Float[Tensor, "B F C Y X"], state: DecoderState | None = None
    ) -> tuple[Float[Tensor, "B T 3 H W"], DecoderState]:
        """Latents to frames around [-1, 1], as the continuation of the stream that `state` remembers.

        Returns:
            T = 4 F frames (clip them before showing), and the state to go on from.
        """
        frames, after = self.decode_unfiltered(latents, state)
        if not self.config.filter_reach:
            return frames, after
        filtered = bilateral_filter(frames.flatten(0, 1), reach=self.config.filter_reach / 127.5)
        return filtered.unflatten(0, frames.shape[:2]), after

    def decode_unfiltered(
        self, latents: Float[Tensor, "B F C Y X"], state: DecoderState | None = None
    ) -> tuple[Float[Tensor, "B T 3 H W"], DecoderState]:
        """As `decode`, before neighbours are evened out: what is learned is learned on these."""
        state = state or self.start_state(latents)
        earlier = torch.cat([state.last, latents[:, :-1]], dim=1)
        stacked = rearrange(torch.cat([latents, earlier], dim=2), "b f c y x -> (b f) c y x")
        correction: Tensor = rearrange(
            self.decoder(stacked),
            "(b f) (c t) h w -> b (f t) c h w",
            b=latents.shape[0],
            t=self.config.frames_per_latent,
        )
        cells = self.linear_out(rearrange(latents, "b f c y x -> b f y x c"))
        depth, px = self.config.frames_per_latent, self.config.cell_px
        linear: Tensor = rearrange(cells, "b f y x (t c p q) -> b (f t) c (y p) (x q)", t=depth, c=3, p=px, q=px)
        return linear + correction, self.state_after(latents)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C Y X"]) -> Float[Tensor, "B C Y X"]:
        change: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + change
