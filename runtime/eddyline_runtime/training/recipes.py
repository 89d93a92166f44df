"""Training recipes: every number of a run as a frozen dataclass, every recipe a function.

A run goes through stages. Short windows first: neighbouring frames say the same, so many scenes per token teach places,
heroes and colours soonest. Long windows then teach motion and the moving buffer.
"""

from dataclasses import dataclass, replace

from eddyline_runtime import config
from eddyline_runtime.config import CodecConfig, ModelConfig, Partition, Profile


@dataclass(frozen=True, kw_only=True)
class MixEntry:
    """One way of cutting the training window, and how often it is drawn."""

    partition: Partition
    weight: float


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training on windows of one length."""

    frames: int
    """Latent frames per window, the buffer size B of every partition in the mix."""
    batch: int
    steps: int
    mix: tuple[MixEntry, ...]
    guidance_scale: float = 1.0
    """Guidance that becomes part of the target, so that serving needs none; 1 = none."""
    denoise_steps: int | None = None
    """With a number, tau is only drawn where a sampler of so many steps evaluates the network."""


@dataclass(frozen=True, kw_only=True)
class CodecRecipe:
    """How the codec is trained: linear maps fitted in closed form, corrections by gradient descent."""

    steps: int
    batch: int
    latent_frames: int
    learning_rate: float
    latent_noise: float
    """Deviation of noise added to latents half of the time: generated latents are never exact."""
    fit_frames: int = 4000


@dataclass(frozen=True, kw_only=True)
class PolishRecipe:
    """How the decoder learns, at the end, to decode what the model dreams."""

    steps: int
    batch: int
    latent_frames: int
    """Of a window, all of which the model dreams together."""
    learning_rate: float
    denoise_steps: int
    """Steps of a scene's way from noise to clean; ..."""
    last_steps: int
    """... the model takes one of them, or so many, always the last: what it makes still shows the recorded picture."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run."""

    name: str
    model: ModelConfig
    codec: CodecConfig
    text_encoder: str
    text_tokens: int
    codec_training: CodecRecipe
    polish: PolishRecipe
    stages: tuple[Stage, ...]
    learning_rate: float
    warmup_steps: int
    decay_share: float
    """Share of all train steps over which the learning rate falls linearly to zero, at the end."""
    weight_decay: float
    ema_decay: float
    text_dropout: float
    action_dropout: float
    hold_action_share: float
    """How often the action after a random cut is held, as a live stream must."""
    early_text_share: float
    """How often the newest words of a window are laid over all of it, as an event at="now" does."""
    change_share: float
    """How often a window is drawn around a change of caption."""
    stride_share: float
    """How often a window is drawn at frame stride 2 or 4."""
    max_clips: int
    """Clips of a recording that are encoded: on two cores one takes a third of a second."""
    profiles: dict[str, Profile]
    default_profile: str
    save_every: int = 250
    held_out_every: int = 250

    @property
    def total_steps(self) -> int:
        """Train steps of all stages together."""
        return sum(stage.steps for stage in self.stages)


def mixed_partitions(frames: int) -> tuple[MixEntry, ...]:
    """Every way of cutting a window of `frames` latent frames that is trained on.

    Chunk sizes 1, 2, 4, 8, 16 as far as the window allows, the uniform scheme (c = B) with a larger share, and 1, 2 or
    4 reference frames in front of single-frame chunks.
    """
    entries = [
        MixEntry(partition=Partition(num_chunks=frames // c, chunk_frames=c), weight=3.0 if c == frames else 1.5)
        for c in (1, 2, 4, 8, 16)
        if c <= frames and frames % c == 0
    ]
    for references in (1, 2, 4):
        if references < frames:
            chunks = frames - references
            entries.append(
                MixEntry(
                    partition=Partition(reference_frames=references, num_chunks=chunks, chunk_frames=1),
                    weight=1.5 if references == frames // 2 else 0.5,
                )
            )
    return tuple(entries)


def served_partitions() -> tuple[MixEntry, ...]:
    """How a buffer of eight latent frames is cut when it is served: both profiles, and a scene that begins."""
    profiles = (config.smooth(), config.responsive())
    served = [MixEntry(partition=profile.partition, weight=2.0) for profile in profiles]
    return (*served, MixEntry(partition=Partition(num_chunks=1, chunk_frames=8), weight=1.5))


def diorama() -> Recipe:
    """The embedded world on two CPU cores: about ten minutes of codec and ninety of StreamDiT."""
    return Recipe(
        name="diorama",
        model=config.diorama(),
        codec=config.diorama_codec(),
        text_encoder="all-MiniLM-L6-v2",
        text_tokens=40,
        codec_training=CodecRecipe(steps=2000, batch=4, latent_frames=2, learning_rate=8e-4, latent_noise=0.05),
        polish=PolishRecipe(steps=220, batch=8, latent_frames=8, learning_rate=3e-4, denoise_steps=4, last_steps=2),
        stages=(
            Stage(frames=2, batch=32, steps=1500, mix=mixed_partitions(2)),
            Stage(frames=4, batch=16, steps=700, mix=mixed_partitions(4)),
            Stage(frames=16, batch=4, steps=20, mix=mixed_partitions(16)),
            Stage(frames=8, batch=8, steps=600, mix=mixed_partitions(8)),
            Stage(frames=8, batch=8, steps=800, mix=served_partitions(), guidance_scale=2.5, denoise_steps=4),
        ),
        learning_rate=2e-3,
        warmup_steps=60,
        decay_share=0.35,
        weight_decay=0.01,
        ema_decay=0.998,
        text_dropout=0.1,
        action_dropout=0.3,
        hold_action_share=0.5,
        early_text_share=0.3,
        change_share=0.25,
        stride_share=0.1,
        max_clips=1300,
        profiles={
            "smooth": config.smooth(event_guidance_scale=2.5),
            "responsive": config.responsive(event_guidance_scale=2.5),
        },
        default_profile="smooth",
    )


def diorama_further() -> Recipe:
    """The embedded world's second course, for `--init-from diorama`: about an hour on two CPU cores."""
    return replace(
        diorama(),
        name="diorama-further",
        stages=(
            Stage(frames=2, batch=32, steps=450, mix=mixed_partitions(2)),
            Stage(frames=4, batch=16, steps=230, mix=mixed_partitions(4)),
            Stage(frames=16, batch=4, steps=10, mix=mixed_partitions(16)),
            Stage(frames=8, batch=8, steps=150, mix=mixed_partitions(8)),
            Stage(frames=8, batch=8, steps=700, mix=served_partitions(), guidance_scale=2.5, denoise_steps=4),
        ),
        learning_rate=1.5e-3,
        save_every=100,
        held_out_every=400,
    )


def tiny() -> Recipe:
    """Seconds on any machine: for tests and for trying one's own recording end to end."""
    return Recipe(
        name="tiny",
        model=config.tiny(),
        codec=config.tiny_codec(),
        text_encoder="bytes",
        text_tokens=24,
        codec_training=CodecRecipe(
            steps=6, batch=2, latent_frames=2, learning_rate=1e-3, latent_noise=0.05, fit_frames=400
        ),
        polish=PolishRecipe(steps=2, batch=2, latent_frames=4, learning_rate=1e-4, denoise_steps=4, last_steps=2),
        stages=(
            Stage(frames=2, batch=4, steps=4, mix=mixed_partitions(2)),
            Stage(frames=4, batch=2, steps=4, mix=mixed_partitions(4)),
        ),
        learning_rate=1e-3,
        warmup_steps=2,
        decay_share=0.5,
        weight_decay=0.01,
        ema_decay=0.9,
        text_dropout=0.1,
        action_dropout=0.3,
        hold_action_share=0.5,
        early_text_share=0.3,
        change_share=0.25,
        stride_share=0.1,
        max_clips=1000,
        profiles={
            "smooth": config.smooth(),
            "responsive": config.responsive(),
        },
        default_profile="smooth",
        save_every=4,
        held_out_every=4,
    )


RECIPES = {"diorama": diorama, "diorama-further": diorama_further, "tiny": tiny}
"""By the name that `eddyline-runtime train --recipe` takes."""
