"""The lexicon: many phrases for every value, none for two, and tellings that mean what their plain words say."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from examples.diorama import grammar, held_out, lexicon, tellings, vocabulary
from examples.diorama.world import State

EVERY = (*lexicon.ATTRIBUTES, "colour after the hero", "doing")


@pytest.mark.parametrize("attribute", EVERY)
def test_every_value_has_hundreds_of_phrases_and_none_is_anothers(attribute: str) -> None:
    named = attribute.split()[0]
    values = lexicon.read()[attribute]
    assert set(values) == set(vocabulary.VALUES[named]) - {"none"}
    phrases = {value: set(lexicon.phrases(attribute, value)) for value in values}
    assert all(len(found) >= 250 for found in phrases.values())
    assert len(set().union(*phrases.values())) == sum(map(len, phrases.values()))


@pytest.mark.parametrize("attribute", EVERY)
def test_every_pattern_takes_one_word_and_verbs_have_two_forms(attribute: str) -> None:
    for groups in lexicon.read()[attribute].values():
        for group in groups:
            assert all(pattern.count("{}") == 1 for pattern in group["patterns"])
            assert all(word.strip() == word and word for word in group["words"])
            assert all((word.count("|") == 1) == (attribute == "doing") for word in group["words"])


def test_phrases_take_the_article_that_their_word_wants() -> None:
    phrases = {phrase for value in vocabulary.PLACES for phrase in lexicon.phrases("place", value)}
    wrong = [phrase for phrase in phrases if {("a", vowel) for vowel in "aeio"} & _articles(phrase)]
    assert not wrong


def _articles(phrase: str) -> set[tuple[str, str]]:
    """Each article with the first letter of what follows it."""
    words = phrase.split()
    return {(word, after[0]) for word, after in pairwise(words) if word in ("a", "an")}


def test_a_telling_says_in_canonical_words_what_it_says_and_no_more() -> None:
    state = State(place="cave", time="night", weather="rain", hero="cat", colour="blue", doing="jumps", prop="chest")
    rng = random.Random(0)
    told = [grammar.telling(state, rng) for _ in range(400)]
    whole = grammar.canonical(state)
    assert whole == "a blue cat jumps in a cave at night, it rains, a treasure chest"
    assert whole in {telling.plain for telling in told}
    clauses = ("blue", "jumps", "in a cave", "at night", "it rains", "a treasure chest")
    for clause in clauses:
        unsaid = [telling for telling in told if clause not in telling.plain]
        assert 0 < len(unsaid) < 300, clause
    assert all("cat" in telling.plain for telling in told)
    silent = [telling.words for telling in told if "jumps" not in telling.plain]
    jumping = [phrase.split("|")[0].split()[0] for phrase in lexicon.phrases("doing", "jumps")]
    assert not any(words.startswith(tuple(f"a blue cat {verb}" for verb in jumping)) for words in silent)
    assert max(len(telling.words.split()) for telling in told) <= grammar.MAX_WORDS


def test_tellings_are_in_words_that_captions_do_not_have() -> None:
    rng = random.Random(1)
    state = State(hero="pig", colour="purple")
    told = " ".join(grammar.telling(state, rng).words for _ in range(300)).split()
    captions = " ".join(grammar.caption(state, rng, wide=True) for _ in range(3000)).split()
    assert len(set(told) - set(captions)) > 150


def test_pairs_are_written_as_lines_and_hold_nothing_that_is_held_out(tmp_path: Path) -> None:
    tellings.main([str(tmp_path / "pairs.jsonl"), "--count", "600", "--seed", "3"])
    lines = (tmp_path / "pairs.jsonl").read_text().splitlines()
    pairs = [json.loads(line) for line in lines]
    assert len(pairs) == 600
    assert all(set(pair) == {"words", "plain"} for pair in pairs)
    held = {
        f"a {colour} {hero} {doing} {vocabulary.PLACES[place][0]} "
        for place, hero, colour in held_out.triples()
        for doing in vocabulary.VALUES["doing"]
    }
    assert not any(pair["plain"].startswith(tuple(held)) for pair in pairs)


def test_a_telling_that_goes_on_with_an_event_says_plainly_what_is_there_afterwards() -> None:
    rng = random.Random(4)
    before = State(place="cave", time="night", weather="rain", hero="cat", colour="blue", doing="stands", prop="chest")
    told = grammar.Telling("a blue tomcat, a grotto", "a blue cat in a cave", frozenset({"time", "weather", "prop"}))
    shown = {"night falls": "at night", "it starts to snow": "it snows", "the hero turns into a pig": "a blue pig"}
    met = set()
    for _ in range(1000):
        after, further = tellings._go_on(before, told, rng)
        changed = {name for name, value in after.labels().items() if value != before.labels()[name]}
        assert further.words.startswith("a blue tomcat, a grotto, ")
        assert further.plain == grammar.canonical(after, unsaid=further.unsaid)
        event = further.words.removeprefix("a blue tomcat, a grotto, ")
        if event in shown:
            assert shown[event] in further.plain
            met.add(event)
        assert told.unsaid - further.unsaid >= changed & told.unsaid, "what changes is said"
        assert len(changed) <= 1
        assert not held_out.is_held_out(after)
    assert met == set(shown)


def test_the_plain_words_of_tellings_that_go_on_with_events_know_no_change() -> None:
    told = tellings.tellings(600, seed=5)
    changes = tuple(phrases[0] for values in vocabulary.EVENTS.values() for phrases in values.values())
    happenings = {phrases[0] for phrases in vocabulary.HAPPENINGS.values() if phrases}
    turning = [phrase for phrase in changes if phrase not in happenings]
    eventful = [one for one in told if one.words != one.plain and any(one.words.endswith(p) for p in turning)]
    assert len(eventful) > 40
    assert not any(phrase in one.plain for one in eventful for phrase in turning)
