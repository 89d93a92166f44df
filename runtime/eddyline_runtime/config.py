"""Every knob of the runtime as a frozen dataclass; presets are functions that return them."""

from dataclasses import dataclass, replace

from eddyline.errors import ConfigError, PartitionError


@dataclass(frozen=True, kw_only=True)
class Partition:
    """How the buffer is cut (StreamDiT, sec. 3.2): B = K + N*c latent frames, T = s*N denoise steps per frame.

    Raises:
        PartitionError: a count is out of range.
    """

    reference_frames: int = 0
    """K: clean latent frames kept in front as context, >= 0."""
    num_chunks: int
    """N: chunks in the buffer, each at a tau of its own, >= 1."""
    chunk_frames: int
    """c: latent frames that share a tau and leave together, >= 1."""
    micro_steps: int = 1
    """s: denoise calls between two shifts of the buffer, >= 1."""

    def __post_init__(self) -> None:
        counts = (self.num_chunks, self.chunk_frames, self.micro_steps)
        if self.reference_frames < 0 or min(counts) < 1:
            raise PartitionError(
                f"{self} is no partition; use reference_frames >= 0 and num_chunks, chunk_frames, micro_steps >= 1"
            )

    @property
    def buffer_frames(self) -> int:
        """B: latent frames in the buffer."""
        return self.reference_frames + self.num_chunks * self.chunk_frames

    @property
    def denoise_steps(self) -> int:
        """T: network calls each latent frame gets on its way from noise to clean."""
        return self.num_chunks * self.micro_steps


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How a view is streamed: its partition and how strongly the words pull (1 = no guidance)."""

    partition: Partition
    guidance_scale: float = 1.0
    event_guidance_scale: float | None = None
    """For latent frames under a live event, away from the prompt alone; None: as `guidance_scale`. Where only this is
    not 1, a view takes a second row of the network while it has a live event, and one otherwise."""
    action_guidance_scale: float = 1.0
    """Away from the actions held before, while the chunks that were in the buffer when they changed leave it, which
    takes one more row."""
    opening_steps: tuple[int, ...] = ()
    """Network calls that a scene which begins gets on its way from each slot's noise to that of the next, pure noise
    first: one number >= 1 for each of the N chunks. What stands where is decided in the first ones, and few calls leave
    small things between two places. Empty: as many as a tick takes, in each."""

    def __post_init__(self) -> None:
        chunks = self.partition.num_chunks
        if self.opening_steps and (len(self.opening_steps) != chunks or min(self.opening_steps) < 1):
            raise ConfigError(
                f"opening_steps is {self.opening_steps}; give {chunks} numbers of 1 or more, one for each chunk of the "
                "partition, or none"
            )

    def scale(self, *, event: bool) -> float:
        """Guidance of a latent frame that is under a live event or not."""
        return self.guidance_scale if self.event_guidance_scale is None or not event else self.event_guidance_scale


MOST_APART = 442
"""No two colours are further apart, in levels of 255 (Euclidean, over RGB)."""


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """The causal video autoencoder: four frames of 8x8 pixels become one latent cell.

    Raises:
        ConfigError: `filter_reach` is no difference of colours.
    """

    latent_channels: int
    width: int
    """Channels of the decoder at an eighth of the picture's height and width."""
    detail_width: int
    """Channels of the decoder at a quarter."""
    depth: int
    """Residual blocks at each of the two resolutions (the encoder has one at a quarter)."""
    frames_per_latent: int = 4
    cell_px: int = 8
    filter_reach: float = 0.0
    """Neighbouring pixels of a decoded frame that differ by less, in levels of 255 (Euclidean, over RGB), are evened
    out (`eddyline_kernels.bilateral`); 0: none are. Recipes have 0: what suits a world is found at the end of its
    training."""

    def __post_init__(self) -> None:
        if not 0 <= self.filter_reach <= MOST_APART:
            raise ConfigError(
                f"filter_reach is {self.filter_reach}; give 0 for no filter, or up to {MOST_APART} levels"
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """StreamDiT's sizes. Latent [B, F, C, Y, X], patch 1x2x2.

    Raises:
        ConfigError: the width does not split into heads, or the latent into patches.
    """

    latent_channels: int
    latent_height: int
    latent_width: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    condition_width: int
    """Width of the per-frame conditioning vector that the blocks are modulated by."""
    head_width: int
    """Channels of the convolution that joins neighbouring patches at the output."""
    window: tuple[int, int, int]
    """Tokens that attend to each other along frames, rows, columns."""
    text_dim: int
    action_dim: int
    refiner_depth: int = 0
    """Layers that refine the token states of texts before anything else reads them; 0: read as the encoder has them."""

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 8:
            raise ConfigError(
                f"width {self.width} does not split into {self.heads} heads of a multiple of 8; change width or heads"
            )
        if self.latent_height % 2 or self.latent_width % 2:
            raise ConfigError(f"latent {self.latent_height}x{self.latent_width} does not split into 2x2 patches")


def diorama() -> ModelConfig:
    """The embedded world: 160x96, real time on two CPU cores."""
    return ModelConfig(
        latent_channels=32,
        latent_height=12,
        latent_width=20,
        width=256,
        depth=6,
        heads=4,
        mlp_width=1024,
        condition_width=256,
        head_width=64,
        window=(4, 6, 10),
        text_dim=384,
        action_dim=5,
    )


def diorama_codec() -> CodecConfig:
    """The codec of the embedded world."""
    return CodecConfig(latent_channels=32, width=128, detail_width=96, depth=2)


def tiny() -> ModelConfig:
    """For tests: a few milliseconds per tick, random weights only."""
    return ModelConfig(
        latent_channels=4,
        latent_height=4,
        latent_width=6,
        width=32,
        depth=2,
        heads=2,
        mlp_width=64,
        condition_width=32,
        head_width=8,
        window=(2, 2, 2),
        text_dim=32,
        action_dim=5,
    )


def tiny_codec() -> CodecConfig:
    """The codec of the test world: 48x32 pixels."""
    return CodecConfig(latent_channels=4, width=16, detail_width=8, depth=1)


def streamdit_4b() -> ModelConfig:
    """The paper's real-time model: 512x512, 4 B parameters (its inner sizes are unpublished, these are ours)."""
    return ModelConfig(
        latent_channels=8,
        latent_height=64,
        latent_width=64,
        width=3072,
        depth=26,
        heads=24,
        mlp_width=12288,
        condition_width=512,
        head_width=128,
        window=(8, 16, 16),
        text_dim=4096,
        action_dim=16,
    )


def streamdit_30b() -> ModelConfig:
    """The paper's quality model: 512x512, 30 B parameters (48 layers of width 6144, as Movie Gen)."""
    return ModelConfig(
        latent_channels=8,
        latent_height=64,
        latent_width=64,
        width=6144,
        depth=48,
        heads=48,
        mlp_width=24576,
        condition_width=512,
        head_width=128,
        window=(8, 16, 16),
        text_dim=4096,
        action_dim=16,
    )


def smooth(*, event_guidance_scale: float | None = None) -> Profile:
    """Steadier motion, half a second per chunk at 16 fps."""
    return Profile(
        partition=Partition(num_chunks=4, chunk_frames=2),
        event_guidance_scale=event_guidance_scale,
    )


def fine() -> Profile:
    """As `smooth`, in two network calls where that takes one: sharper outlines and more flicker at twice the price."""
    profile = smooth()
    return replace(profile, partition=replace(profile.partition, micro_steps=2))


def responsive(*, event_guidance_scale: float | None = None) -> Profile:
    """Quicker to react, a quarter of a second per chunk at 16 fps, behind four reference frames."""
    return Profile(
        partition=Partition(reference_frames=4, num_chunks=4, chunk_frames=1),
        event_guidance_scale=event_guidance_scale,
    )


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """When calls of the network on a GPU are captured as CUDA graphs, which replay them without Python."""

    max_graphs: int = 8
    """Kept, one for each shape of a call; the least recently used goes first. 0: none are captured."""
    plain_calls: int = 2
    """Calls of a shape before one is captured: they compile kernels, and a shape may never come again."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How the engine makes time: seconds of safety, bounds of what it keeps."""

    paced: bool = True
    """False makes chunks as fast as it can (benchmarks); True just in time."""
    margin_s: float = 0.05
    """How long before the playhead needs it a chunk should be done."""
    max_views: int = 16
    max_load: float | None = 0.9
    """Share of the time that ticks of paced views may take; a view beyond it is refused. The rest is for texts, and for
    scenes that begin. None refuses none."""
    max_batch: int = 8
    """Views denoised in one call."""
    warm_up_views: int = 1
    """A batch of so many views is made to warm up, besides one of 1: on a GPU it takes far less time than as many
    batches of 1, and what it takes says how many views fit."""
    text_cache: int = 256
    """Encoded texts kept."""
    cost_memory: int = 16
    """Ticks whose costs predict the next one's; their 95th percentile counts."""
    history_s: float = 30.0
    """So much video of a view can be rewound."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How the server treats clients: where it listens, seconds of patience, bounds."""

    bind: str = "tcp://127.0.0.1:7860"
    """Loopback only; port 0 takes a free one."""
    heartbeat_s: float = 0.5
    silence_s: float = 3.0
    """A client that says nothing for so long has vanished: its keys are let go and its views park."""
    resume_s: float = 30.0
    """How long the views of a vanished client are kept."""
    park_s: float = 3.0
    """A view parks when no frame of it was asked for in so long."""
    status_s: float = 1.0
    max_clients: int = 64
    max_watchers: int = 16
    """Clients that may watch one view, besides the one that opened it."""
    lead_chunks: int = 1
    """Chunks made ahead of the playhead; the ring holds one more."""
    outbox: int = 4096
    """Messages kept for a client that does not read before it is let go."""
    max_receipts: int = 1024
    """Answered words remembered for each view, to answer them again when they are sent again."""
