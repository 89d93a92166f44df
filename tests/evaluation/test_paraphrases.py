"""The paraphrases say what the grammar says in words that are neither its plain nor its wide ones."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from examples.diorama import vocabulary, wordings

from eddyline_runtime.evaluation.suite import PARAPHRASE, load_suite, suite_folder

WORDS = (
    vocabulary.PLACES,
    vocabulary.TIMES,
    vocabulary.WEATHERS,
    vocabulary.HEROES,
    vocabulary.COLOURS,
    vocabulary.DOINGS,
    vocabulary.PROPS,
    vocabulary.HAPPENINGS,
    vocabulary.EVENTS,
    wordings.read(),
)
_FREE = """
a an the in on at by of to and or is it its as with there this that while among inside during just has been into from
for no now out up off left right about above after along amid around before beneath beside between can near next not one
over s through toward under where without
"""
FREE = frozenset(_FREE.split())
"""Function words, and the two directions, which have no other names."""


def words(source: Any) -> Iterator[str]:
    """All words of nested names and wordings."""
    if isinstance(source, str):
        yield from re.findall(r"[a-z]+", source.lower())
    elif isinstance(source, dict):
        yield from words(list(source.items()))
    else:
        for inner in source:
            yield from words(inner)


def stem(word: str) -> str:
    """A word without the ending that only grammar gave it."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


@pytest.fixture(scope="module")
def grammar() -> frozenset[str]:
    return frozenset(stem(word) for word in words(WORDS) if word not in FREE)


def test_stems_are_equal_for_forms_of_one_word() -> None:
    assert {stem(form) for form in ("walk", "walks", "walking", "walked")} == {"walk"}
    assert stem("sing") == "sing"


def test_no_content_word_of_a_paraphrase_is_the_grammars(grammar: frozenset[str]) -> None:
    assert {"forest", "fox", "walk", "torch", "night", "torchlight", "wintry"} <= grammar
    scenes = load_suite(suite_folder("diorama"), PARAPHRASE).scenes
    borrowed = {
        word: scene.prompt
        for scene in scenes
        for word in words(scene.prompt)
        if word not in FREE and stem(word) in grammar
    }
    assert not borrowed


def test_paraphrases_are_many_and_all_different() -> None:
    prompts = [scene.prompt for scene in load_suite(suite_folder("diorama"), PARAPHRASE).scenes]
    assert len(prompts) >= 200
    assert len(set(prompts)) == len(prompts)
    assert all(prompt.strip() for prompt in prompts)
