"""Rows of a batch: what each view's next tick is under, what guidance pulls it away from, and how many rows that takes.

Pure: the state of a view and the words of a world in, rows out; nothing is computed and nothing is changed.
"""

from collections.abc import Iterator
from typing import Protocol

from eddyline_runtime import prompts
from eddyline_runtime.conditioning import Away, RowWords
from eddyline_runtime.prompts import Slot
from eddyline_runtime.view import ViewState


class Texts(Protocol):
    """How a world puts words together (`Dreamer`)."""

    def text(self, slot: Slot) -> str:
        """The text a latent frame is under."""
        ...

    def away_from(self, slot: Slot) -> str:
        """What guidance by words pulls it away from."""
        ...


def row_of(state: ViewState, texts: Texts) -> RowWords:
    """What one view is under now."""
    own = tuple(texts.text(slot) for slot in state.words.slots)
    away = (*_away_from_words(state, texts), *_away_from_actions(state, own))
    return RowWords(texts=own, actions=state.actions, stride=state.stride, away=away)


def _away_from_words(state: ViewState, texts: Texts) -> Iterator[Away]:
    slots = state.words.slots
    scales = tuple(state.profile.scale(event=bool(slot.events)) for slot in slots)
    if any(scale != 1.0 for scale in scales):
        yield Away(tuple(texts.away_from(slot) for slot in slots), state.actions, scales)


def _away_from_actions(state: ViewState, own: tuple[str, ...]) -> Iterator[Away]:
    scale = state.profile.action_guidance_scale
    if scale != 1.0 and state.action_change.is_new and state.opening is None:
        yield Away(own, state.action_change.before, (scale,) * len(own))


def rows_expected(state: ViewState) -> int:
    """How many rows the view may take in its next tick: its own, one for words, if it is guided always or an event is
    live or waits, and one for actions that have changed.

    Where events are guided, a far viewpoint (stride 2 or more) always counts the one for words. Its chunks last long,
    so it can afford to begin early; an event that comes just before it begins would make it late by as much as the
    further row takes.
    """
    profile, words = state.profile, state.words
    change = state.action_change.tick(state.actions, num_chunks=profile.partition.num_chunks)
    eventful = bool(words.pending) or any(slot.events for slot in words.slots) or state.stride > 1
    by_words = profile.scale(event=False) != 1.0 or (profile.scale(event=True) != 1.0 and eventful)
    return 1 + by_words + (profile.action_guidance_scale != 1.0 and change.is_new)


def texts_needed(state: ViewState, texts: Texts) -> Iterator[str]:
    """The texts that a view's next tick needs: those of its slots, then those of the words it applies."""
    said = {wish.id: wish.text for wish in state.words.pending}
    cut = prompts.due_cut(state.words)
    words, notes = (
        prompts.begin_tick(state.words, state.tick_frames) if cut is None else (prompts.take_cut(state.words, cut))
    )
    yield from dict.fromkeys(texts.text(slot) for slot in words.slots)
    guided = (slot for slot in words.slots if state.profile.scale(event=bool(slot.events)) != 1.0)
    yield from dict.fromkeys(texts.away_from(slot) for slot in guided)
    yield from (texts.text(Slot(said[note.id])) for note in notes if note.state == "applied")
