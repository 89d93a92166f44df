"""The director: who is told what of a game's events, in which words, how often; and the rules it refuses."""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eddyline.director import (
    MAX_REMEMBERED,
    MAX_WAITING,
    Director,
    GameEvent,
    Line,
    Observer,
    Rule,
    knows_of,
    sees,
    side,
    unknown_words,
    word,
)
from eddyline.errors import OptionError

PHRASES = (
    "a red thief",
    "it starts to rain",
    "an alarm bell rings",
    "the hero walks left",
    "a chest",
    "fireworks go off",
)
BELL = Rule("bell", "an alarm bell rings", heard_within=math.inf, priority=2)
RAIN = Rule("rain", "it starts to rain")
THEFT = Rule("theft", "{who} walks {where}")
GUARD = Observer("guard", x=0.0, sight=100.0)


def told(director: Director, *events: GameEvent, now_s: float = 0.0, observer: Observer = GUARD) -> list[Line]:
    return director.direct(events, [observer], now_s=now_s)


def test_each_observer_is_told_from_its_own_side() -> None:
    cat = Observer("cat", x=80.0)
    lines = Director([THEFT]).direct([GameEvent("theft", x=40.0, who="a thief")], [GUARD, cat], now_s=0.0)
    assert [(line.observer, line.text) for line in lines] == [
        ("guard", "a thief walks on the right"),
        ("cat", "a thief walks on the left"),
    ]


def test_a_side_is_named_alone_or_with_its_preposition() -> None:
    rule = Rule("theft", "the hero walks {side}, {who} {where}")
    assert word(rule, GameEvent("theft", 1.0, who="a thief"), GUARD) == "the hero walks right, a thief on the right"
    looking = Observer("o", 0.0, facing_deg=0.0)
    assert word(rule, GameEvent("theft", 1.0, who="a thief"), looking) == "the hero walks ahead, a thief ahead"


@pytest.mark.parametrize(
    ("x", "y", "wanted"),
    [(10, 0, "ahead"), (0, 10, "right"), (0, -10, "left"), (-10, 1, "behind"), (10, 4, "ahead"), (10, 20, "right")],
)
def test_sides_turn_with_the_observer(x: float, y: float, wanted: str) -> None:
    assert side(Observer("o", 0.0, facing_deg=0.0), GameEvent("e", x, y)) == wanted
    turned = Observer("o", 5.0, -3.0, facing_deg=90.0)  # y points down: what was ahead along x is ahead along y
    assert side(turned, GameEvent("e", 5.0 - y, -3.0 + x)) == wanted


POSITION = st.floats(-50, 50, allow_subnormal=False)  # of which the test's own cosine would be rounded


@example(x=-0.0, y=0.0, facing=0.0, fov=1.0)
@given(x=POSITION, y=POSITION, facing=st.floats(-720, 720), fov=st.floats(1, 360))
def test_what_is_seen_is_within_half_the_field_of_view_whichever_way_round(
    x: float, y: float, facing: float, fov: float
) -> None:
    event, observer = GameEvent("e", x, y), Observer("o", 0.0, facing_deg=facing, fov_deg=fov, sight=60.0)
    between = math.degrees(math.acos(max(-1.0, min(1.0, _cosine(x, y, facing)))))
    if abs(between - fov / 2) > 1e-3 and math.hypot(x, y) < 59.9:
        assert sees(observer, event) == (between <= fov / 2)
    assert not sees(observer, GameEvent("e", 100.0, 0.0))


def _cosine(x: float, y: float, facing: float) -> float:
    length = math.hypot(x, y)
    return _dot(x, y, math.radians(facing)) / length if length else 1.0


def _dot(x: float, y: float, angle: float) -> float:
    return x * math.cos(angle) + y * math.sin(angle)


def test_what_is_out_of_sight_is_told_only_where_it_is_heard() -> None:
    far = GameEvent("bell", x=500.0)
    assert not knows_of(GUARD, far, Rule("bell", "a bell rings"))
    assert not knows_of(GUARD, far, Rule("bell", "a bell rings", heard_within=499.0))
    assert knows_of(GUARD, far, Rule("bell", "a bell rings", heard_within=500.0))
    assert not knows_of(GUARD, far, Rule("bell", "a bell rings", observers=("cat",), heard_within=math.inf))


def test_events_of_one_tick_become_one_line_the_most_important_first() -> None:
    (line,) = told(Director([RAIN, BELL]), GameEvent("rain", x=1.0), GameEvent("bell", x=900.0))
    assert line.text == "an alarm bell rings, it starts to rain"
    assert line.kinds == ("bell", "rain")
    assert line.hold_s == 4.0


def test_an_observer_is_told_at_most_one_line_a_gap_and_the_rest_when_its_time_comes() -> None:
    director = Director([RAIN, BELL], gap_s=1.0, clauses=1)
    assert [line.text for line in told(director, GameEvent("rain", 1.0), GameEvent("bell", 1.0))] == [
        "an alarm bell rings"
    ]
    assert told(director, now_s=0.9) == []
    assert [line.text for line in told(director, now_s=1.0)] == ["it starts to rain"]
    assert told(director, now_s=5.0) == []
    assert director.left_out == 0


def test_what_waited_too_long_is_left_out_and_counted() -> None:
    director = Director([RAIN, BELL], gap_s=5.0, clauses=1, stale_s=3.0)
    told(director, GameEvent("rain", 1.0), GameEvent("bell", 1.0))
    assert told(director, now_s=5.0) == []
    assert director.left_out == 1


def test_a_rule_is_not_told_again_before_its_cooldown() -> None:
    director = Director([Rule("rain", "it starts to rain", cooldown_s=2.0)], gap_s=0.0)
    rain = GameEvent("rain", 1.0)
    assert [len(told(director, rain, now_s=now)) for now in (0.0, 1.9, 2.0, 2.1, 4.0)] == [1, 0, 1, 0, 1]


def test_one_observers_cooldown_is_not_anothers() -> None:
    director = Director([Rule("rain", "it starts to rain", cooldown_s=60.0)])
    assert told(director, GameEvent("rain", 1.0))
    assert told(director, GameEvent("rain", 1.0), observer=Observer("cat", x=0.0))


@given(st.lists(st.tuples(st.sampled_from(["rain", "bell", "theft", "nothing"]), st.floats(0, 2)), max_size=40))
def test_no_flood_of_events_tells_a_view_more_than_its_gap_allows(flood: list[tuple[str, float]]) -> None:
    director = Director([RAIN, BELL, THEFT], gap_s=1.0, clauses=2)
    now, spoken = 0.0, []
    for kind, later in flood:
        now += later
        spoken += [now] * len(told(director, GameEvent(kind, 1.0, who="a thief"), now_s=now))
    assert all(second - first >= 1.0 for first, second in pairwise(spoken))


def test_what_waits_is_bounded_and_the_least_important_goes_first() -> None:
    rules = [Rule("all", f"it rains {'and rains ' * n}", priority=n) for n in range(MAX_WAITING + 4)]
    director = Director(rules, clauses=1, gap_s=0.0, stale_s=100.0)
    texts = [told(director, *([GameEvent("all", 1.0)] if not now else []), now_s=float(now)) for now in range(20)]
    assert director.left_out == 4
    assert sum(map(len, texts)) == MAX_WAITING
    assert [line.text for line in texts[0]] == [rules[-1].words]


def test_a_rule_that_names_nobody_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(OptionError, match="'wizard', who is nobody here; use some of guard, cat"):
        Director([Rule("rain", "it starts to rain", observers=("wizard",))], observers=("guard", "cat"))


def test_words_that_the_world_does_not_know_are_refused_with_those_that_it_knows() -> None:
    with pytest.raises(OptionError, match=r"says 'belly'.*it knows bell"):
        Director([Rule("bell", "a belly rings")], phrases=PHRASES)
    Director([Rule("bell", "a belly rings")], phrases=PHRASES, known_words=("belly",))
    Director([Rule("bell", "alarm bells ringing, walking left")], phrases=PHRASES)
    director = Director([THEFT], phrases=PHRASES)
    assert told(director, GameEvent("theft", 1.0, who="a red thief"))
    with pytest.raises(OptionError, match=r"says 'dragon'.*; use words of its phrases"):
        told(director, GameEvent("theft", 1.0, who="a dragon"), now_s=9.0)
    assert unknown_words("a dragon walks past the chest on the left", PHRASES) == ("dragon",)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"words": " "}, "no words"),
        ({"words": "{whom} walks"}, r"names \{whom\}"),
        ({"words": "a {"}, r"'a \{' cannot be read"),
        ({"words": "a } b"}, "a brace as such twice"),
        ({"words": "{who:d} runs"}, r"say how \{who\} is written"),
        ({"words": "{who!r} runs"}, "give its name alone"),
        ({"words": "it rains", "hold_s": 0.0}, "hold_s=0.0"),
        ({"words": "it rains", "hold_s": math.nan}, "hold_s=nan"),
        ({"words": "it rains", "cooldown_s": -1.0}, "neither may be below 0"),
    ],
)
def test_a_rule_out_of_range_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Rule("rain", **wrong)  # type: ignore[arg-type]


def test_an_event_that_lacks_what_its_rule_names_is_refused() -> None:
    with pytest.raises(OptionError, match=r"says \{who\}, and the event has none"):
        word(THEFT, GameEvent("theft", 1.0), GUARD)
    with pytest.raises(OptionError, match="one name"):
        Director([RAIN]).direct([], [GUARD, GUARD], now_s=0.0)
    with pytest.raises(OptionError, match="gap_s=-1"):
        Director([RAIN], gap_s=-1.0)


def test_of_very_many_observers_those_that_came_least_recently_are_forgotten() -> None:
    director = Director([Rule("rain", "it starts to rain", cooldown_s=math.inf)])
    rain, here = GameEvent("rain", 0.0), Observer("here", 0.0)
    told_first = director.direct([rain], [here, Observer("gone", 0.0)], now_s=0.0)
    assert len(told_first) == 2
    for turn in range(MAX_REMEMBERED):
        director.direct([], [here, Observer(f"passes {turn}", 0.0)], now_s=10.0)
    lines = director.direct([rain], [here, Observer("gone", 0.0)], now_s=20.0)
    assert [line.observer for line in lines] == ["gone"], "told again as if it were new"
    crowd = [Observer(f"stays {number}", 0.0) for number in range(MAX_REMEMBERED + 1)]
    assert len(director.direct([rain], crowd, now_s=30.0)) == len(crowd)
    assert director.direct([rain], crowd, now_s=40.0) == [], "all that are there are remembered"


def test_what_happens_at_a_place_that_is_no_number_is_seen_by_nobody() -> None:
    assert not sees(Observer("guard", x=0.0), GameEvent("theft", x=math.nan))
    assert not sees(Observer("guard", x=math.nan, sight=10.0), GameEvent("theft", x=0.0))
