"""Captions and phrases of the diorama, and the combinations held out of recordings."""

import random
from collections import Counter
from itertools import product

import pytest
from examples.diorama import frames, grammar, held_out, vocabulary, wordings
from examples.diorama.record import random_state
from examples.diorama.world import State


def states(count: int) -> list[State]:
    rng = random.Random(4)
    return [random_state(rng) for _ in range(count)]


def test_captions_name_what_is_in_the_state() -> None:
    rng = random.Random(0)
    for state in states(300):
        words = grammar.caption(state, rng, mention=vocabulary.VALUES)
        assert any(word in words for word in vocabulary.HEROES[state.hero])
        assert any(word in words for word in vocabulary.COLOURS[state.colour])
        assert any(word in words for word in vocabulary.PLACES[state.place])
        assert any(word in words for word in vocabulary.TIMES[state.time])
        assert any(word in words for word in vocabulary.WEATHERS[state.weather])
        assert any(word in words for pair in vocabulary.DOINGS[state.doing] for word in pair)
        if state.prop != "none":
            assert any(word in words for word in vocabulary.PROPS[state.prop])


def test_captions_are_short_tidy_and_varied() -> None:
    rng = random.Random(1)
    state = State(prop="lit torch", weather="rain", time="night")
    captions = {grammar.caption(state, rng) for _ in range(200)}
    assert len(captions) > 150
    for caption in captions:
        assert len(caption.split()) <= grammar.MAX_WORDS
        assert caption == caption.strip(" ,")
        assert "  " not in caption
        assert ", ," not in caption


@pytest.mark.parametrize("attribute", vocabulary.VALUES)
def test_every_value_has_many_other_wordings(attribute: str) -> None:
    others = wordings.read()[attribute]
    assert set(others) == set(vocabulary.VALUES[attribute])
    for value, words in others.items():
        assert len(words) >= 40 or value == "none"
        assert len(words) == len({str(wording) for wording in words})
        assert all(isinstance(wording, str) for wording in words) or attribute == "doing"
    assert all(len(wordings.colours_after(colour)) >= 40 for colour in vocabulary.COLOURS)
    assert all(len(pair) == 2 for value in vocabulary.DOINGS for pair in wordings.doings(value))


def test_every_change_has_other_event_words() -> None:
    for attribute, values in vocabulary.VALUES.items():
        assert set(wordings.read()["event"][attribute]) == set(values)
        for value in values:
            assert set(wordings.events(attribute, value)).isdisjoint(vocabulary.EVENTS[attribute][value])
            assert len(wordings.events(attribute, value)) >= 2


def test_wide_captions_use_other_words_and_plain_ones_never_do() -> None:
    state = State(hero="pig", place="cave", time="night")
    others = [
        *wordings.wordings("hero", "pig"),
        *wordings.wordings("place", "cave"),
        *wordings.wordings("time", "night"),
    ]
    plain = {*vocabulary.HEROES["pig"], *vocabulary.PLACES["cave"], *vocabulary.TIMES["night"]}
    rng = random.Random(3)
    only = [wording for wording in others if not any(wording in word or word in wording for word in plain)]
    wide = [grammar.caption(state, rng, mention=vocabulary.VALUES, wide=True) for _ in range(300)]
    assert sum(any(wording in caption for wording in only) for caption in wide) > 200
    assert sum("in a cave" in caption for caption in wide) > 20, "the plain words are heard as well"
    assert all(len(caption.split()) <= grammar.MAX_WORDS for caption in wide)
    said = [grammar.caption(state, rng, mention=vocabulary.VALUES) for _ in range(300)]
    assert not any(wording in caption for wording in only for caption in said)


def test_wide_captions_come_in_many_frames_and_say_all_that_is_to_be_mentioned() -> None:
    state = State(hero="pig", colour="green", place="cave", time="night", prop="none", weather="clear")
    rng = random.Random(5)
    wide = [grammar.caption(state, rng, mention=vocabulary.VALUES, wide=True) for _ in range(400)]
    colours = {*vocabulary.COLOURS["green"], *wordings.wordings("colour", "green"), *wordings.colours_after("green")}
    commaless = {wording.replace(",", "") for wording in colours}
    assert all(any(wording in caption.lower() for wording in (s.lower() for s in commaless)) for caption in wide)
    assert sum(any(after in caption for after in wordings.colours_after("green")) for caption in wide) > 40
    assert sum(any(caption.startswith(opening) for opening in wordings.openings()) for caption in wide) > 40
    assert sum("," not in caption for caption in wide) > 20
    assert sum(". " in caption for caption in wide) > 20
    assert sum(caption[0].isupper() for caption in wide) > 20
    assert not any("  " in caption or " ," in caption or ",," in caption for caption in wide)


@pytest.mark.parametrize(
    ("words", "entry"),
    [
        ("in a forest", "forest"),
        ("at night", "night"),
        ("as the sun sets", "as the sun sets"),
        ("in front of a castle",) * 2,
    ],
)
def test_an_entry_of_a_list_has_neither_preposition_nor_article(words: str, entry: str) -> None:
    assert frames.bare(words) == entry


def test_captions_sometimes_leave_out_what_the_hero_does() -> None:
    rng = random.Random(2)
    said = [" jump" in grammar.caption(State(doing="jumps"), rng) for _ in range(300)]
    assert 0.2 < sum(said) / len(said) < 0.7  # other wordings of jumping count as not said here


def test_the_canonical_wording_is_fixed_and_tells_states_apart() -> None:
    fox = State(place="snowfield", time="night", weather="rain", doing="walks left", prop="lit torch")
    assert grammar.canonical(fox) == "a red fox walks left in a snowfield at night, it rains, a lit torch"
    drawn = set(states(300))
    assert len({grammar.canonical(state) for state in drawn}) == len(drawn)


def test_every_change_has_event_words() -> None:
    for attribute, values in vocabulary.VALUES.items():
        for value in values:
            assert grammar.event(attribute, value)
    assert grammar.event("weather", "snow") == "it starts to snow"
    assert grammar.event("time", "night") == "night falls"
    assert grammar.event("hero", "cat") == "the hero turns into a cat"


def test_phrases_are_distinct_and_cover_every_value() -> None:
    phrases = grammar.phrases()
    assert len(phrases) == len(set(phrases))
    assert "a red knight" in phrases
    for words in (vocabulary.PLACES, vocabulary.TIMES, vocabulary.WEATHERS):
        assert all(wordings[0] in phrases for wordings in words.values())


def test_the_committed_list_of_held_out_triples_is_the_seeded_choice() -> None:
    assert held_out.triples() == frozenset(held_out.choose())


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_held_out_triples_are_an_eighth_and_balanced(seed: int) -> None:
    chosen = set(held_out.choose(seed))
    everything = set(product(vocabulary.PLACES, vocabulary.HEROES, vocabulary.COLOURS))
    assert chosen < everything
    assert len(chosen) * 8 == len(everything)
    kept = everything - chosen
    for first, second in ((0, 1), (0, 2), (1, 2)):
        pairs = Counter((triple[first], triple[second]) for triple in kept)
        full = {(triple[first], triple[second]) for triple in everything}
        assert set(pairs) == full
        assert max(pairs.values()) - min(pairs.values()) <= 1
