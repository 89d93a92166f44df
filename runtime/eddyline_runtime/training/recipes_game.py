"""The recipe for a game of one's own, and how any recipe takes its sizes from a recording."""

from dataclasses import replace

from eddyline.errors import TrainingError
from eddyline.recording import RecordingInfo
from eddyline_runtime import config
from eddyline_runtime.config import ModelConfig, Partition
from eddyline_runtime.training.recipes import (
    CodecRecipe,
    MixEntry,
    PolishRecipe,
    Recipe,
    Stage,
    mixed_partitions,
    served_partitions,
)

WINDOW_TOKENS = 80
"""So many tokens of a latent frame attend to each other at most; the embedded world's 60 are a whole frame."""


def fitted(recipe: Recipe, info: RecordingInfo) -> Recipe:
    """The recipe for pictures and keys as a recording has them: its latent, windows and actions follow them.

    Raises:
        TrainingError: the pictures do not split into patches.
    """
    patch = 2 * recipe.codec.cell_px
    if info.height % patch or info.width % patch:
        raise TrainingError(
            f"the recording is {info.width}x{info.height}, and training takes sides that are multiples of {patch}; "
            "record at such a size"
        )
    model = replace(recipe.model, action_dim=len(info.action_names))
    rows, columns = info.height // patch, info.width // patch
    if (2 * rows, 2 * columns) != (model.latent_height, model.latent_width):
        window = (model.window[0], *window_in(rows, columns))
        model = replace(model, latent_height=2 * rows, latent_width=2 * columns, window=window)
    return replace(recipe, model=model)


def window_in(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of the windows of a frame of so many tokens: all of it, or the parts that halving its longer
    side leaves, until they have `WINDOW_TOKENS` at most."""
    while rows * columns > WINDOW_TOKENS:
        if rows > columns:
            rows = -(-rows // 2)
        else:
            columns = -(-columns // 2)
    return rows, columns


def game() -> Recipe:
    """A game of one's own, recorded with `eddyline record`: about an hour and a half on two CPU cores at 128x96.

    Keys matter more than words here, which may be the same throughout: keys are seldom hidden, laid over frames that do
    not show them or held past the truth, and no guidance is trained in. Half of the time goes to the partitions that
    are served, most of all the one that answers keys soonest. Its sizes are a small world's; `fitted` makes them the
    recording's.
    """
    return Recipe(
        name="game",
        model=ModelConfig(
            latent_channels=32,
            latent_height=12,
            latent_width=16,
            width=192,
            depth=6,
            heads=4,
            mlp_width=768,
            condition_width=192,
            head_width=64,
            window=(4, 6, 8),
            text_dim=384,
            action_dim=3,
        ),
        codec=config.diorama_codec(),
        text_encoder="all-MiniLM-L6-v2",
        text_tokens=40,
        codec_training=CodecRecipe(steps=800, batch=4, latent_frames=2, learning_rate=8e-4, latent_noise=0.05),
        polish=PolishRecipe(steps=120, batch=4, latent_frames=8, learning_rate=3e-4, denoise_steps=4, last_steps=2),
        stages=(
            Stage(name="short windows", frames=2, batch=32, steps=500, mix=mixed_partitions(2)),
            Stage(name="longer windows", frames=4, batch=16, steps=350, mix=mixed_partitions(4)),
            Stage(
                name="the whole buffer", frames=8, batch=8, steps=700, mix=(*mixed_partitions(8), *served_partitions())
            ),
            Stage(name="as served", frames=8, batch=8, steps=2400, mix=_keys_first()),
        ),
        learning_rate=2e-3,
        warmup_steps=60,
        decay_share=0.35,
        weight_decay=0.01,
        ema_decay=0.998,
        text_dropout=0.1,
        action_dropout=0.05,
        hold_action_share=0.1,
        early_text_share=0.3,
        early_action_share=0.25,
        action_change_share=0.0,
        change_share=0.25,
        stride_share=0.05,
        max_clips=2400,
        profiles={
            name: replace(profile, action_guidance_scale=3.0, opening_steps=(4, 1, 1, 1))
            for name, profile in (("smooth", config.smooth()), ("responsive", config.responsive()))
        },
        default_profile="responsive",
    )


def _keys_first() -> tuple[MixEntry, ...]:
    """The partitions that are served, half of the time the responsive one, and scenes that begin."""
    return (
        MixEntry(partition=config.smooth().partition, weight=1.0),
        MixEntry(partition=config.responsive().partition, weight=3.0),
        MixEntry(partition=Partition(num_chunks=1, chunk_frames=8), weight=2.0),
    )


def game_student() -> Recipe:
    """Multistep distillation (StreamDiT, sec. 4.2) of what `game` trained, for `--init-from` its folder: one call where
    the teacher takes four, in the partitions that are served. About ten minutes on two CPU cores at 128x96."""
    return replace(
        game(),
        name="game-student",
        stages=(
            Stage(
                name="distillation",
                frames=8,
                batch=8,
                steps=250,
                mix=served_partitions(),
                denoise_steps=4,
                teacher_steps=4,
            ),
        ),
        learning_rate=1e-3,
        save_every=50,
        held_out_every=125,
    )


GAME_RECIPES = {"game": game, "game-student": game_student}
"""By the name that `eddyline-runtime train --recipe` takes."""
