"""The text line of `eddyline play`: typing, erasing, completing with what the world knows."""

from __future__ import annotations

import pytest

from eddyline.wordline import MAX_CHARS, WordLine, overlap, suggest

PHRASES = ("a red fox", "a blue fox", "in a forest", "at night", "it starts to rain", "night falls", "fog rolls in")


def test_what_is_typed_is_taken_once_with_its_spaces_tidied() -> None:
    line = WordLine(PHRASES)
    line.type("  it  starts")
    line.type(" to rain ")
    assert line.take() == "it starts to rain"
    assert line.text == ""
    assert line.take() == ""


def test_letters_that_cannot_be_printed_and_too_many_letters_are_left_out() -> None:
    line = WordLine()
    line.type("a\x00\n\tb")
    assert line.text == "ab"
    line.type("x" * 1000)
    assert len(line.text) == MAX_CHARS


def test_erasing_removes_a_letter_or_a_word() -> None:
    line = WordLine(text="a red fox ")
    line.erase()
    assert line.text == "a red fox"
    line.erase(word=True)
    assert line.text == "a red "
    line.erase(word=True)
    line.erase(word=True)
    line.erase(word=True)
    line.erase()
    assert line.text == ""


def test_escape_empties_the_line_first_and_gives_up_the_focus_then() -> None:
    line = WordLine(text="oops")
    line.escape()
    assert (line.text, line.has_focus) == ("", True)
    line.escape()
    assert not line.has_focus


@pytest.mark.parametrize(
    ("text", "phrase", "size"),
    [
        ("it st", "it starts to rain", 5),
        ("a red fox at n", "at night", 4),
        ("a red fox ni", "night falls", 2),
        ("FO", "in a forest", 2),
        ("xyz", "in a forest", 0),
        ("", "in a forest", 0),
        ("a ", "a red fox", 2),
    ],
)
def test_overlap_counts_the_letters_that_begin_a_phrase(text: str, phrase: str, size: int) -> None:
    assert overlap(text, phrase) == size


def test_suggestions_go_on_from_what_was_typed() -> None:
    assert suggest("it", PHRASES, limit=3) == ["it starts to rain"]
    assert suggest("a red fox at n", PHRASES, limit=3)[0] == "at night"
    assert "fog rolls in" in suggest("fo", PHRASES, limit=5)
    assert len(suggest("at night", PHRASES, limit=5)) == 5
    assert suggest("xyz", PHRASES, limit=5) == []
    assert suggest("", (), limit=5) == []


def test_an_empty_line_suggests_another_handful_after_each_sent_line() -> None:
    line = WordLine(PHRASES)
    first = line.suggestions(3)
    assert len(first) == len(set(first)) == 3
    line.type("night falls")
    line.take()
    assert line.suggestions(3) != first


@pytest.mark.parametrize(
    ("text", "phrase", "completed"),
    [
        ("", "at night", "at night"),
        ("a red f", "a red fox", "a red fox"),
        ("a red fox at n", "at night", "a red fox at night"),
        ("a red fox", "in a forest", "a red fox in a forest"),
        ("a cat fo", "fog rolls in", "a cat fog rolls in"),
    ],
)
def test_completing_replaces_what_was_begun(text: str, phrase: str, completed: str) -> None:
    line = WordLine(text=text)
    line.complete(phrase)
    assert line.text == completed
