"""The recipe for one's own game: sizes follow the recording, and what it says of itself can be built and served."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eddyline.errors import TrainingError
from eddyline.recording import RecordingInfo
from eddyline_runtime.training.recipes import diorama
from eddyline_runtime.training.recipes_game import WINDOW_TOKENS, fitted, game, game_student, window_in

KEYS = ("ArrowLeft", "ArrowRight", "Space")


def info(width: int, height: int, keys: tuple[str, ...] = KEYS) -> RecordingInfo:
    return RecordingInfo(20.0, height, width, keys, {})


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_windows_are_the_whole_frame_or_parts_of_it_that_are_small_enough(rows: int, columns: int) -> None:
    down, across = window_in(rows, columns)
    assert down * across <= WINDOW_TOKENS
    assert (down, across) == (rows, columns) or down * across >= WINDOW_TOKENS / 2


def test_sizes_are_those_of_the_recording() -> None:
    model = fitted(game(), info(160, 112)).model
    assert (model.latent_width, model.latent_height, model.action_dim) == (20, 14, 3)
    assert model.window == (4, 7, 10)
    assert model.width == game().model.width


def test_a_recording_of_the_recipes_own_size_changes_nothing() -> None:
    assert fitted(diorama(), info(160, 96, ("A", "B", "C", "D", "E"))) == diorama()


def test_pictures_that_do_not_split_into_patches_are_refused() -> None:
    with pytest.raises(TrainingError, match="128x100, and training takes sides that are multiples of 16"):
        fitted(game(), info(128, 100))


def test_the_student_is_distilled_from_what_the_game_recipe_trains() -> None:
    recipe, student = game(), game_student()
    assert (student.model, student.codec, student.text_encoder) == (recipe.model, recipe.codec, recipe.text_encoder)
    assert all(stage.denoise_steps is None for stage in recipe.stages), "the teacher answers at every tau"
    assert all(stage.teacher_steps for stage in student.stages)
    for profile in recipe.profiles.values():
        trained = [entry.partition for stage in student.stages for entry in stage.mix]
        assert profile.partition in trained
