"""A world's networks as the engine uses them: rows of words -> velocity, noise, frames. Keeps nothing of any view.

Shapes: B views, F latent frames, c latent frames per chunk, C channels, Y X latent height and width, T frames.
"""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from eddyline_runtime.conditioning import UNCONDITIONAL, RowWords, TextCache, all_rows, conditioning, texts_of
from eddyline_runtime.config import GraphConfig
from eddyline_runtime.flow.noise import noise_latents
from eddyline_runtime.flow.sampler import VelocityFn, pull
from eddyline_runtime.host import to_host
from eddyline_runtime.model.codec import DecoderState, stack_states
from eddyline_runtime.model.streamdit import Conditioning
from eddyline_runtime.networks.graphs import Capture, CudaCapture, GraphedModel
from eddyline_runtime.prompts import Slot, merge, unread
from eddyline_runtime.weights import World


class Dreamer:
    """The networks of one world on their device, and the texts encoded for them."""

    def __init__(
        self,
        world: World,
        *,
        text_cache: int,
        graphs: GraphConfig = GraphConfig(),  # noqa: B008 - frozen
        capture: Capture | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`capture` takes the network's calls; by default CUDA does on a GPU, and nothing does elsewhere. By `clock` it
        is known what encoding a text takes."""
        self._world = world
        parameter = next(world.model.parameters())
        self.device = parameter.device
        """Where the networks compute."""
        self._codec_dtype = next(world.codec.parameters()).dtype
        encoder = world.text_encoder
        length, room = encoder.count_tokens, encoder.max_tokens
        self._merge = lru_cache(text_cache)(lambda slot: merge(slot.prompt, slot.events, length=length, room=room))
        self._unread = lru_cache(text_cache)(lambda slot: unread(slot.prompt, slot.events, length=length, room=room))
        on_gpu = self.device.type == "cuda"
        self.texts = TextCache(
            world.text_encoder,
            capacity=text_cache,
            device=parameter.device,
            dtype=parameter.dtype,
            refine=world.model.refine,
            # on a CPU it would save a hundredth of a call, and round otherwise than texts that go through together
            project=world.model.project if on_gpu else None,
            clock=clock,
        )
        self._last: tuple[list[RowWords], Conditioning] | None = None
        capture = capture or (CudaCapture(self.device) if on_gpu else None)
        self._model = GraphedModel(world.model, graphs, capture=capture) if capture else world.model

    def text(self, slot: Slot) -> str:
        """The text a latent frame is under: its words merged, so that the encoder takes in what matters."""
        return self._merge(slot)

    def unread(self, slot: Slot) -> str:
        """The end of a latent frame's prompt that its text leaves out, because the encoder does not read so far."""
        return self._unread(slot)

    def away_from(self, slot: Slot) -> str:
        """What guidance by words pulls a latent frame away from: no text, or the prompt alone while events are live.

        The prompt still says what the event is to change ("by day, night falls"); pulling from the prompt towards the
        prompt with its event makes the event win.
        """
        return self._merge(Slot(slot.prompt)) if slot.events else UNCONDITIONAL

    def velocity(self, rows: Sequence[RowWords]) -> VelocityFn:
        """The network under the words of a batch; what guidance pulls away from is further rows of the same call."""
        model = self._model
        words = self._words(rows)
        further = [(number, away.scales) for number, row in enumerate(rows) for away in row.away]
        if not further:
            return lambda latents, tau: model(latents, tau, words).float()
        of = torch.tensor([number for number, _ in further], device=self.device)
        scales = torch.tensor([scales for _, scales in further], device=self.device)[..., None, None, None]

        def guided_velocity(latents: Tensor, tau: Tensor) -> Tensor:
            answer: Tensor = model(torch.cat([latents, latents[of]]), torch.cat([tau, tau[of]]), words).float()
            towards, away = answer[: len(rows)], answer[len(rows) :]
            return towards.index_add(0, of, pull(towards[of], away, scales))

        return guided_velocity

    def _words(self, rows: Sequence[RowWords]) -> Conditioning:
        """The conditioning of a batch: that of the last call where the words and keys are still the same."""
        if self._last is not None and self._last[0] == [*rows]:
            for text in texts_of(all_rows(rows)):
                self.texts.get(text)  # it is in use, so it is not to be forgotten
            return self._last[1]
        words = conditioning(rows, self.texts, device=self.device)
        self._last = ([*rows], words)
        return words

    def noise(self, *, seed: int, epoch: int, first: int, frames: int) -> Float[Tensor, "F C Y X"]:
        """Noise of `frames` latent frames of a view from index `first` on, on the host.

        It is drawn there, while a device may still compute; to take it there waits until that is done.
        """
        sizes = self._world.card.model
        shape = (sizes.latent_channels, sizes.latent_height, sizes.latent_width)
        return noise_latents(seed=seed, epoch=epoch, first_index=first, frames=frames, shape=shape)

    def decode(
        self, clean: Float[Tensor, "B c C Y X"], states: Sequence[DecoderState]
    ) -> tuple[NDArray[np.uint8], list[DecoderState]]:
        """Latents to RGB frames [B, T, H, W, 3], each row as the continuation of its stream."""
        pixels, after = self._world.codec.decode(clean.to(self._codec_dtype), stack_states(states))
        frames = rearrange(to_uint8(pixels), "b t c h w -> b t h w c").contiguous()
        return to_host(frames).numpy(), [after.row(row) for row in range(len(states))]

    def start_decoder(self, references: Float[Tensor, "K C Y X"], latents: Float[Tensor, "F C Y X"]) -> DecoderState:
        """The codec's state before a scene's first chunk: after its reference frames, where there are any."""
        codec = self._world.codec
        if len(references):
            return codec.state_after(references[None].to(self._codec_dtype))
        return codec.start_state(latents[None].to(self._codec_dtype))

    def synchronise(self) -> None:
        """Wait until the device has done what it was given (clocks are read afterwards)."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def to_uint8(pixels: Float[Tensor, "*batch"]) -> Tensor:
    """Pixels in [-1, 1] to 0 .. 255."""
    return pixels.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
