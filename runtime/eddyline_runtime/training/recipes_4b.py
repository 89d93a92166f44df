"""The paper's 4 B recipe, for `training.distributed`: stages on latents of two sets of videos (StreamDiT, sec. 5.1).

The paper starts from a text-to-video model of its own, so a plain stage goes in front here. Unpublished are the batch,
the optimiser, the warm-up and the averaging; ours are marked. `streamdit_4b_shrunk` walks the same code path in seconds
on a processor, to try a set-up before GPUs are rented for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from eddyline.errors import ConfigError
from eddyline_runtime import config
from eddyline_runtime.config import ModelConfig, Partition
from eddyline_runtime.training.recipes import MixEntry, Stage

HIGH_QUALITY, PRETRAINING = "high_quality", "pretraining"
"""Sets of videos: a few thousand fine ones; as many as there are."""


@dataclass(frozen=True, kw_only=True)
class LargeStage:
    """A stretch of training at one learning rate, on one set of videos."""

    name: str
    latents: str
    """Which set: the folder of latents it is drawn from."""
    steps: int
    learning_rate: float
    mix: tuple[MixEntry, ...]


@dataclass(frozen=True, kw_only=True)
class LargeRecipe:
    """A run over many GPUs. The codec and the text encoder are not part of it: it is given latents and token states.

    Raises:
        ConfigError: a partition of a stage is no way of cutting a window of `frames`.
    """

    name: str
    model: ModelConfig
    stages: tuple[LargeStage, ...]
    frames: int
    """Latent frames per window, the buffer size B of every partition."""
    batch: int
    """Windows of a train step, on all ranks together."""
    rows_at_once: int
    """Windows of one forward and backward pass on one rank: more of them take more memory, and are no other step."""
    warmup_steps: int
    weight_decay: float
    """Of the blocks' matrices."""
    ema_decay: float
    text_dropout: float
    action_dropout: float
    hold_action_share: float
    early_text_share: float
    early_action_share: float
    action_change_share: float
    change_share: float
    stride_share: float
    """These seven as in `recipes.Recipe`."""
    save_every: int
    held_out_every: int

    def __post_init__(self) -> None:
        for stage in self.stages:
            for entry in stage.mix:
                if entry.partition.buffer_frames != self.frames:
                    raise ConfigError(
                        f"stage {stage.name!r} mixes in {entry.partition}, which is no cut of {self.frames} latent "
                        "frames; use partitions with K + N*c of so many"
                    )

    @property
    def total_steps(self) -> int:
        """Train steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def stage_of(self, step: int) -> LargeStage:
        """The stage of train step `step`, 0 to `total_steps` - 1."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise AssertionError("a step beyond the last stage")

    def windows(self, stage: LargeStage) -> Stage:
        """What `data.draw_batch` draws for a stage."""
        return Stage(name=stage.name, frames=self.frames, batch=self.batch, steps=stage.steps, mix=stage.mix)

    def learning_rate(self, step: int) -> float:
        """The stage's, after a linear warm-up at the start of the run."""
        return self.stage_of(step).learning_rate * min(1.0, (step + 1) / self.warmup_steps)


def paper_partitions(frames: int, *, uniform_share: float) -> tuple[MixEntry, ...]:
    """Chunk sizes 1, 2, 4, 8, 16 as far as the window allows, without reference frames (StreamDiT, sec. 3.4).

    Args:
        uniform_share: of the windows, 0 to 1, those that are one chunk (c = B); the others share the rest evenly.
    """
    sizes = [c for c in (1, 2, 4, 8, 16) if c < frames and frames % c == 0]
    weights = [(c, (1 - uniform_share) / len(sizes)) for c in sizes]
    return tuple(
        MixEntry(partition=Partition(num_chunks=frames // c, chunk_frames=c), weight=weight)
        for c, weight in [*weights, (frames, uniform_share)]
    )


def streamdit_4b(*, uniform_share: float = 0.3) -> LargeRecipe:
    """512x512, 64 frames at 16 a second, 4.2 B parameters.

    The first stage's length, batch 128 (the paper had so many GPUs), warm-up, weight decay and averaging are ours.

    Args:
        uniform_share: see `paper_partitions`; of 0.1, 0.3 and 0.5 the paper's larger model liked 0.3 best.
    """
    mix = paper_partitions(16, uniform_share=uniform_share)
    uniform = (MixEntry(partition=Partition(num_chunks=1, chunk_frames=16), weight=1.0),)
    return LargeRecipe(
        name="streamdit-4b",
        model=config.streamdit_4b(),
        stages=(
            LargeStage(name="text to video", latents=PRETRAINING, steps=100_000, learning_rate=1e-4, mix=uniform),
            LargeStage(name="task learning", latents=HIGH_QUALITY, steps=10_000, learning_rate=1e-4, mix=mix),
            LargeStage(name="task generalisation", latents=PRETRAINING, steps=10_000, learning_rate=1e-5, mix=mix),
            LargeStage(name="quality fine-tuning", latents=HIGH_QUALITY, steps=10_000, learning_rate=1e-5, mix=mix),
        ),
        frames=16,
        batch=128,
        rows_at_once=1,
        warmup_steps=1000,
        weight_decay=0.01,
        ema_decay=0.999,
        text_dropout=0.1,
        action_dropout=0.3,
        hold_action_share=0.25,
        early_text_share=0.3,
        early_action_share=0.5,
        action_change_share=0.0,
        change_share=0.25,
        stride_share=0.1,
        save_every=500,
        held_out_every=500,
    )


def streamdit_4b_shrunk() -> LargeRecipe:
    """The same stages on the tiny model: one train step each, at a hundred times the rate so that it does something."""
    large = streamdit_4b()
    mix = paper_partitions(4, uniform_share=0.3)
    return replace(
        large,
        name="streamdit-4b-shrunk",
        model=config.tiny(),
        stages=tuple(
            replace(stage, steps=1, learning_rate=100 * stage.learning_rate, mix=mix) for stage in large.stages
        ),
        frames=4,
        batch=8,
        rows_at_once=2,
        warmup_steps=1,
        ema_decay=0.9,
        save_every=2,
        held_out_every=4,
    )


LARGE_RECIPES: Mapping[str, Callable[[], LargeRecipe]] = {
    "streamdit-4b": streamdit_4b,
    "streamdit-4b-shrunk": streamdit_4b_shrunk,
}
"""By the name that `python -m eddyline_runtime.training.distributed --recipe` takes."""
