"""What the benchmark of many viewpoints counts: frames that a view should show, those it did, and how it waited."""

from eddyline.measure_npcs import LATE_S, Seen, Shown, seen

RATE = 4.0


def shown(count: int, *, waits: dict[int, float] | None = None, sees: dict[int, float] | None = None) -> list[Shown]:
    """`count` frames, each handed out when it is due. waits: before these frames the picture stood still for so long.
    sees: these were handed out so much later."""
    due_s, frames = 100.0, []
    for index in range(count):
        due_s += (waits or {}).get(index, 0.0)
        frames.append(Shown(index + 7, due_s, due_s + (sees or {}).get(index, 0.0)))
        due_s += 1 / RATE
    return frames


def counted(frames: list[Shown], *, end_s: float) -> Seen:
    return seen("cat", frames, rate=RATE, begin_s=100.0, end_s=end_s)


def test_a_view_that_is_made_in_time_misses_nothing() -> None:
    assert counted(shown(8), end_s=102.0) == Seen("cat", wanted=8, made=8, shown=8, late=0, stood_s=0.0)


def test_a_late_chunk_makes_the_picture_stand_and_the_video_short() -> None:
    found = counted(shown(8, waits={4: 0.75}), end_s=102.75)
    assert found == Seen("cat", wanted=11, made=8, shown=8, late=0, stood_s=0.75)


def test_frames_that_were_made_in_time_but_handed_out_late_or_never_are_told_apart() -> None:
    frames = shown(8, sees={2: 2 * LATE_S, 3: LATE_S / 2})
    del frames[5:7]
    assert counted(frames, end_s=102.0) == Seen("cat", wanted=8, made=8, shown=6, late=1, stood_s=0.0)


def test_a_view_that_stops_or_never_begins_misses_what_it_should_have_shown() -> None:
    assert (counted(shown(3), end_s=110.0).wanted, counted(shown(3), end_s=110.0).made) == (40, 3)
    assert counted([], end_s=110.0) == Seen("cat", wanted=40, made=0, shown=0, late=0, stood_s=10.0)
