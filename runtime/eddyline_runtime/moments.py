"""A view between two ticks, as a value: what saving, forking and rewinding take from one view and give to another.

A moment holds everything the next chunk depends on. A view that is revived from it goes on as the first one would have,
bit for bit on one build, device and batch shape; its frames count from 0 in an epoch of its own.

Shapes: F latent frames, C channels, Y X latent height and width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from eddyline.errors import OptionError
from eddyline_runtime import prompts
from eddyline_runtime.actions import ActionChange
from eddyline_runtime.config import Profile
from eddyline_runtime.host import to_host
from eddyline_runtime.model.codec import DecoderState, stack_states
from eddyline_runtime.prompts import Wish, Words
from eddyline_runtime.view import NoiseKey, ViewState


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The state of a view at the border of a chunk."""

    profile: Profile
    stride: int
    noise: NoiseKey
    """Of the latent frame that enters next."""
    words: Words
    """Frames in it count from the next frame that will be made."""
    actions: tuple[float, ...]
    action_change: ActionChange
    latents: Float[Tensor, "F C Y X"]
    """The buffer, float32 on the host."""
    decoded: Float[Tensor, "1 1 C Y X"]
    """What the codec remembers, on the host."""


def take(state: ViewState) -> Moment:
    """The moment at which a view stands.

    Raises:
        OptionError: its scene is still beginning.
    """
    (moment,) = take_all([state])
    return moment


def take_all(batch: Sequence[ViewState]) -> list[Moment]:
    """The moments at which views of one profile stand, which leave the device in two copies, however many they are.

    Raises:
        OptionError: the scene of one of them is still beginning.
    """
    latents = to_host(torch.stack([_begun(state)[0] for state in batch]).detach())
    decoded = to_host(stack_states([_begun(state)[1] for state in batch]).last.detach())
    return [
        Moment(
            profile=state.profile,
            stride=state.stride,
            noise=state.noise,
            words=prompts.shifted(state.words, -state.tick_frames.head),
            actions=state.actions,
            action_change=state.action_change,
            latents=latents[row].clone(),
            decoded=decoded[row : row + 1].clone(),
        )
        for row, state in enumerate(batch)
    ]


def _begun(state: ViewState) -> tuple[Tensor, DecoderState]:
    if state.latents is None or state.decoder is None:
        raise OptionError(f"the scene of view {state.view} is still beginning; ask again once it shows its first frame")
    return state.latents, state.decoder


def begin_alike(state: ViewState, *, view: int, epoch: int, shown_again: int = 0) -> ViewState:
    """A view whose scene begins as that of another view, from where that one's beginning stands.

    Args:
        shown_again: frames of the epoch that were made before the scene and are shown first.
    """
    assert state.opening is not None
    return ViewState(
        view=view,
        profile=state.profile,
        stride=state.stride,
        frames_per_latent=state.frames_per_latent,
        words=prompts.shifted(prompts.without_receipts(state.words), shown_again),
        actions=state.actions,
        action_change=state.action_change,
        epoch=epoch,
        noise=state.noise,
        frames_before=shown_again,
        opening=state.opening.copy(),
        begun=state.begun,
        bookmarks=state.bookmarks,
    )


def revive(
    moment: Moment,
    *,
    view: int,
    epoch: int,
    frames_per_latent: int,
    device: torch.device | str,
    shown_again: int = 0,
    pending: tuple[Wish, ...] = (),
) -> ViewState:
    """A view that goes on from a moment, in a new epoch.

    Args:
        shown_again: frames of the epoch that were made before the moment and are shown first.
        pending: words that wait instead of those that waited then; their frames count from the next one made.
    """
    words = replace(moment.words, pending=pending)
    return ViewState(
        view=view,
        profile=moment.profile,
        stride=moment.stride,
        frames_per_latent=frames_per_latent,
        words=prompts.shifted(words, shown_again),
        actions=moment.actions,
        action_change=moment.action_change,
        epoch=epoch,
        noise=moment.noise,
        frames_before=shown_again,
        latents=moment.latents.to(device),
        decoder=DecoderState(moment.decoded.to(device)),
    )
