"""Words of a view: what is merged, when it is applied, what becomes of each wish."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline_runtime.prompts import (
    MAX_EVENTS,
    MAX_PENDING,
    NOBODY,
    Note,
    TickFrames,
    Wish,
    Words,
    accept,
    begin_tick,
    cancel,
    due_cut,
    end_tick,
    merge,
    open_words,
    take_cut,
    unread,
)

CHUNK = 8
CHUNKS = 4


def at_tick(number: int) -> TickFrames:
    return TickFrames(head=number * CHUNK, entry=(number + CHUNKS - 1) * CHUNK, chunk=CHUNK)


def a_view(*, reference_frames: int = 0) -> Words:
    return open_words("a fox", reference_frames=reference_frames, num_chunks=CHUNKS, chunk_frames=2)


def texts_of(words: Words) -> tuple[str, ...]:
    return tuple(merge(slot.prompt, slot.events, length=len, room=160) for slot in words.slots)


def merged(prompt_text: str, events: list[str], room: int) -> str:
    """Merged by a measure that counts characters."""
    return merge(prompt_text, events, length=len, room=room)


def say(words: Words, *wishes: Wish, tick: int = 0) -> Words:
    for wish in wishes:
        words, note = accept(words, wish, at_tick(tick))
        assert note.state == "accepted"
    return words


def run(words: Words, first: int, count: int) -> tuple[Words, list[Note], list[tuple[str, ...]]]:
    notes: list[Note] = []
    texts: list[tuple[str, ...]] = []
    for number in range(first, first + count):
        words, new = begin_tick(words, at_tick(number))
        notes += new
        texts.append(texts_of(words))
        words = end_tick(words)
    return words, notes, texts


def event(wish_id: int = 1, text: str = "it rains", **fields: object) -> Wish:
    return replace(Wish(id=wish_id, verb="event", text=text, hold_frames=CHUNK), **fields)


def prompt(wish_id: int, text: str, **fields: object) -> Wish:
    return replace(Wish(id=wish_id, verb="prompt", text=text), **fields)


RAIN = "a fox, it rains"


def test_an_event_now_takes_hold_of_the_whole_buffer_and_both_dates_are_known():
    words = say(a_view(), event(), tick=3)
    _, notes, texts = run(words, 3, 1)
    assert texts == [(RAIN,) * 8]
    assert notes == [Note(id=1, state="applied", first_influenced_frame=24, first_full_frame=48)]


def test_an_event_next_takes_hold_of_the_entering_chunk_only():
    _, notes, texts = run(say(a_view(), event(at="next")), 0, 1)
    assert texts == [("a fox",) * 6 + (RAIN,) * 2]
    assert notes == [Note(id=1, state="applied", first_influenced_frame=0, first_full_frame=24)]


def test_an_event_at_a_frame_waits_for_the_chunk_that_carries_it():
    _, notes, texts = run(say(a_view(), event(at=45)), 0, 3)
    assert texts[0] == texts[1] == ("a fox",) * 8
    assert texts[2] == ("a fox",) * 6 + (RAIN,) * 2
    assert notes == [Note(id=1, state="applied", first_influenced_frame=16, first_full_frame=40)]


def test_chunks_that_enter_after_the_hold_are_under_the_prompt_alone():
    _, _, texts = run(say(a_view(), event(hold_frames=2 * CHUNK)), 0, 4)
    assert texts[1] == (RAIN,) * 8
    assert texts[2] == (RAIN,) * 6 + ("a fox",) * 2
    assert texts[3] == (RAIN,) * 4 + ("a fox",) * 4


def test_the_shortest_event_still_gets_one_chunk():
    _, _, texts = run(say(a_view(), event(hold_frames=1)), 0, 2)
    assert texts[0] == (RAIN,) * 8
    assert texts[1] == (RAIN,) * 6 + ("a fox",) * 2


def test_finished_reference_frames_keep_their_words():
    _, _, texts = run(say(a_view(reference_frames=3), event()), 0, 1)
    assert texts == [("a fox",) * 3 + (RAIN,) * 8]


def test_a_prompt_now_replaces_the_words_of_every_unfinished_chunk_and_keeps_live_events():
    words, _, _ = run(say(a_view(), event(hold_frames=10 * CHUNK)), 0, 1)
    _, _, texts = run(say(words, prompt(2, "a cat", at="now"), tick=1), 1, 1)
    assert texts == [("a cat, it rains",) * 8]


def test_the_later_of_two_prompts_wins_and_the_earlier_is_superseded():
    _, notes, texts = run(say(a_view(), prompt(1, "a cat"), prompt(2, "a pig")), 0, 1)
    assert texts == [("a pig",) * 8]
    assert [(note.id, note.state) for note in notes] == [(1, "superseded"), (2, "applied")]


def test_a_prompt_now_then_one_next_share_the_buffer():
    _, notes, texts = run(say(a_view(), prompt(1, "a cat"), prompt(2, "a pig", at="next")), 0, 1)
    assert texts == [("a cat",) * 6 + ("a pig",) * 2]
    assert [(note.state, note.first_full_frame) for note in notes] == [("applied", None), ("applied", 24)]


def test_cancelling_works_until_the_words_are_applied():
    words = say(a_view(), event())
    cancelled, note = cancel(words, 1)
    assert note is not None
    assert note.state == "cancelled"
    assert run(cancelled, 0, 1)[2] == [("a fox",) * 8]
    applied, _, _ = run(words, 0, 1)
    assert cancel(applied, 1) == (applied, None)


def test_a_cancelled_prompt_supersedes_nothing():
    words = say(a_view(), prompt(1, "a cat"), prompt(2, "a pig"))
    words, _ = cancel(words, 2)
    _, notes, texts = run(words, 0, 1)
    assert texts == [("a cat",) * 8]
    assert [(note.id, note.state) for note in notes] == [(1, "applied")]


def test_a_cut_supersedes_what_came_before_and_makes_due_what_waited_for_a_frame():
    cut = Wish(id=3, verb="cut", text="a castle")
    words = say(a_view(), event(1), event(2, "night falls", at=800), cut, event(4, "a bell rings"))
    assert due_cut(words) == cut
    words, notes = take_cut(words, cut)
    states = {note.id: note.state for note in notes}
    assert states == {1: "superseded", 3: "applied"}
    _, later, texts = run(words, 0, 1)
    assert texts == [("a castle, night falls, a bell rings",) * 8]
    assert [(note.id, note.first_influenced_frame, note.first_full_frame) for note in later] == [(2, 0, 24), (4, 0, 24)]


def test_of_two_cuts_only_the_last_is_taken():
    words = say(a_view(), Wish(id=1, verb="cut", text="a castle"), Wish(id=2, verb="cut", text="a beach"))
    cut = due_cut(words)
    assert cut is not None
    words, notes = take_cut(words, cut)
    assert {note.id: note.state for note in notes} == {1: "superseded", 2: "applied"}
    assert texts_of(words) == ("a beach",) * 8
    assert due_cut(words) is None


def test_of_two_equal_cuts_that_nobody_holds_receipts_of_one_scene_begins_and_what_lies_between_gives_way():
    """So they wait in a view that was forked or restored before either was taken."""
    cut, between = Wish(id=NOBODY, verb="cut", text="a castle"), prompt(NOBODY, "a pig")
    words = replace(a_view(), pending=(cut, between, replace(cut)))
    taken = due_cut(words)
    assert taken is not None
    words, _ = take_cut(words, taken)
    assert words.pending == ()


@pytest.mark.parametrize("at", [24, 31, 47])
def test_a_frame_whose_chunk_has_entered_but_is_not_made_counts_as_now(at: int):
    late, now = (run(say(a_view(), event(at=when), tick=3), 3, 3) for when in (at, "now"))
    assert late == now


@pytest.mark.parametrize("at", [0, 8, 23])
def test_a_frame_in_the_past_is_rejected_with_the_cure(at: int):
    words, note = accept(a_view(), event(at=at), at_tick(3))
    assert note.state == "rejected"
    assert "from 24 on" in note.reason
    assert words == a_view()


def test_empty_words_are_rejected():
    _, note = accept(a_view(), event(text="  \n "), at_tick(0))
    assert note.state == "rejected"
    assert "empty" in note.reason


def test_what_a_view_holds_is_bounded():
    words = say(a_view(), *(event(number + 1, at="next") for number in range(MAX_EVENTS)))
    _, note = accept(words, event(99), at_tick(0))
    assert note.state == "rejected"
    words = say(a_view(), *(prompt(number + 1, "a cat") for number in range(MAX_PENDING)))
    _, note = accept(words, prompt(99, "a pig"), at_tick(0))
    assert note.state == "rejected"
    assert "cancel some" in note.reason


def test_no_frame_is_ever_under_more_events_than_a_view_may_hold():
    words = a_view()
    for tick in range(3 * MAX_EVENTS):
        words = say(words, event(tick + 1, f"thing {tick} happens"), tick=tick)
        words, _, _ = run(words, tick, 1)
        assert max(len(slot.events) for slot in words.slots) <= MAX_EVENTS


def test_no_frame_is_under_more_events_either_when_those_of_then_meet_those_that_wait_now():
    """A rewind brings back the events of then, beside those that wait."""
    then, _, _ = run(say(a_view(), *(event(number, hold_frames=10**6) for number in range(MAX_EVENTS))), 0, 1)
    now = replace(say(a_view(), event(99, text="night falls")), live=then.live)
    words, _ = begin_tick(now, at_tick(1))
    assert len(words.slots[-1].events) == len(words.live) == MAX_EVENTS
    assert words.slots[-1].events[-1] == "night falls"


def test_merging_tidies_and_says_a_repeated_event_once_where_it_is_newest():
    assert merged(" a fox. ", ["it rains", "night falls.", "it rains"], 99) == "a fox, night falls, it rains"
    assert merged("a fox", [], 99) == "a fox"


def test_what_does_not_fit_is_taken_from_the_oldest_events_then_from_the_prompt():
    prompt_text = "a small red fox walks through a snowy forest"
    events = ["an alarm bell rings in the tower", "it starts to rain"]
    assert merged(prompt_text, events, 48) == "a small red fox walks through, it starts to rain"


@given(st.text(max_size=200), st.lists(st.text(max_size=60), max_size=20), st.integers(min_value=8, max_value=200))
def test_merged_text_fits_unless_the_newest_event_alone_does_not(prompt_text: str, events: list[str], max_chars: int):
    said = [event for event in events if event.split() and event.strip(".,; \t\n")]  # blank ones are refused before
    newest = max((len(event) + 2 for event in said[-1:]), default=0)
    assert len(merged(prompt_text, events, max_chars)) <= max(max_chars, newest)


def test_a_long_prompt_leaves_half_of_the_room_to_events():
    prompt_text = "a small red fox walks through a snowy forest at night while the moon is bright"
    events = ["a bell rings", "it rains"]
    assert merged(prompt_text, events, 48) == "a small red fox walks, a bell rings, it rains"


def test_a_text_without_spaces_is_cut_by_characters_and_does_not_vanish():
    japanese = "雪の降る静かな夜の森を小さな赤い狐がゆっくりと歩いていく"
    assert merged(japanese, [], 12) == japanese[:12]
    assert merged(japanese, ["雨が降る"], 12) == f"{japanese[:6]}, 雨が降る"


@given(
    st.text(alphabet="ab .,;", max_size=60),
    st.lists(st.text(alphabet="cd ", max_size=20), max_size=3),
    st.integers(1, 60),
)
def test_what_is_read_of_a_prompt_and_what_is_not_are_the_whole_prompt(text: str, events: list[str], room: int):
    rest = unread(text, events, length=len, room=room)
    read = merged(text, events, room)
    words = "".join(letter for letter in text if letter in "ab")
    assert "".join(letter for letter in read + rest if letter in "ab") == words
    assert rest == "" or len(merged(text, events, len(read) + len(rest) + 80)) > len(read), (
        "with more room, more is read"
    )


def test_what_an_event_pushes_out_of_a_prompt_is_the_prompts_end():
    told = unread("a red fox walks in a forest, it snows", ["night falls"], length=len, room=36)
    assert merged("a red fox walks in a forest, it snows", ["night falls"], 36) == "a red fox walks in a, night falls"
    assert told == "forest, it snows"
    assert unread("a red fox", ["night falls"], length=len, room=36) == ""
