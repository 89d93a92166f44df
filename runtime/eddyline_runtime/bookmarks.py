"""Bookmarks: the memory of places. A game names what is on the screen, and later a scene begins from there.

A bookmark is a moment of the view (`moments.Moment`) without its words: the buffer with its reference frames and its
chunks on their way, what the codec remembers, and the noise that enters next. A scene that begins from one needs no
opening: where a profile has reference frames they stand in front again, and every chunk goes on from the noise level it
had, so the first frames are those that were on the screen, whatever the profile.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from eddyline.errors import OptionError
from eddyline_runtime.model.codec import DecoderState
from eddyline_runtime.moments import Moment
from eddyline_runtime.prompts import Wish, Words
from eddyline_runtime.view import Bookmark, ViewState

MAX_BOOKMARKS = 8
"""Of one view. With half precision all of them are 1.2 MB of the embedded world, and a snapshot stays below 2 MB."""


def bookmark_of(moment: Moment) -> Bookmark:
    """What a bookmark keeps of a moment."""
    return Bookmark(
        noise=moment.noise,
        action_change=moment.action_change,
        latents=moment.latents.half(),
        decoded=moment.decoded,
    )


def with_bookmark(bookmarks: Mapping[str, Bookmark], name: str, bookmark: Bookmark) -> dict[str, Bookmark]:
    """The bookmarks of a view and one more, which takes the place of one of its name.

    Raises:
        OptionError: there are MAX_BOOKMARKS of other names.
    """
    if name not in bookmarks and len(bookmarks) >= MAX_BOOKMARKS:
        raise OptionError(
            f"{len(bookmarks)} places are bookmarked in this view, which is the limit: {_named(bookmarks)}; use one "
            "of these names again, or keep the view as it is with a snapshot"
        )
    return {**bookmarks, name: bookmark}


def settled(wish: Wish, words: Words, bookmarks: Mapping[str, Bookmark]) -> Wish:
    """A wish with the prompt that it is to be under: one that returns to a bookmark and brings none keeps the prompt
    that stands when all that was said before it is applied. Other wishes are as they were.

    Raises:
        OptionError: there is no such bookmark.
    """
    if not wish.bookmark:
        return wish
    if wish.bookmark not in bookmarks:
        known = f"there are {_named(bookmarks)}" if bookmarks else "it has none"
        raise OptionError(f"{wish.bookmark!r} is no bookmark of this view; {known}")
    return wish if wish.text else replace(wish, text=_standing(words))


def begin_from(state: ViewState, bookmark: Bookmark, *, device: torch.device | str) -> None:
    """Let a view's scene begin from a bookmark; the words are the caller's."""
    state.noise, state.action_change = bookmark.noise, bookmark.action_change
    state.opening = None
    state.latents = bookmark.latents.float().to(device)
    state.decoder = DecoderState(bookmark.decoded.to(device))


def _standing(words: Words) -> str:
    """The prompt that stands once what waits is applied; what waits for a frame to come is not counted."""
    waiting = [wish.text for wish in words.pending if wish.verb != "event" and not isinstance(wish.at, int)]
    return waiting[-1] if waiting else words.prompt


def _named(bookmarks: Mapping[str, Bookmark]) -> str:
    return ", ".join(map(repr, bookmarks))
