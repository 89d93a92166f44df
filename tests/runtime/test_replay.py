"""A journal played again gives the same frames, and what was changed in it shows on the right frame."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import msgspec
import pytest
from tests.runtime.journals import Session, event, long_session, opened, rewritten

from eddyline.errors import JournalError
from eddyline_runtime import cli, config, replay, requests
from eddyline_runtime.journal import JournalReader, Record, Tick
from eddyline_runtime.outcomes import Rewound
from eddyline_runtime.replay import Counts, Difference
from eddyline_runtime.weights import World


def verified(reader: JournalReader, world: World) -> tuple[Counts, Difference | None]:
    counts = Counts()
    for step in replay.play(reader, world):
        difference = replay.compare(step, counts)
        if difference is not None:
            return counts, difference
    return counts, None


@pytest.fixture(scope="module")
def session(tiny: World, tmp_path_factory: pytest.TempPathFactory) -> Session:
    made = long_session(tiny, tmp_path_factory.mktemp("journal") / "long.journal")
    made.end()
    return made


def test_a_session_with_everything_in_it_is_made_again_frame_for_frame(session: Session, tiny: World) -> None:
    counts, difference = verified(JournalReader(session.path), tiny)
    assert difference is None
    assert any(isinstance(outcome, Rewound) for outcome in session.outcomes)
    assert counts.chunks == len(session.made)
    assert counts.frames == sum(len(chunk.frames) for chunk in session.made)
    assert counts.views == {1, 2, 3, 4, 5}


def test_one_flipped_key_is_found_on_the_first_frame_made_under_it(
    session: Session, tiny: World, tmp_path: Path
) -> None:
    def change(record: Record) -> tuple[Record, ...]:
        if isinstance(record, requests.Act) and record.keys:
            return (requests.Act(view=record.view, keys={"ArrowLeft": 1.0}),)
        return (record,)

    _, difference = verified(rewritten(JournalReader(session.path), tmp_path / "b.journal", change), tiny)
    assert difference is not None
    assert (difference.view, difference.epoch, difference.what) == (2, 0, "other pixels")
    under_it = session.chunks(2)[2]  # the key went down after two chunks
    assert difference.frame == under_it.first_frame


def test_an_event_that_is_taken_out_is_found_on_its_first_influenced_frame(tiny: World, tmp_path: Path) -> None:
    session = Session(tiny, tmp_path / "a.journal")
    session.ask(opened(1, "a red knight"))
    session.until_chunks(1)
    session.ask(event(1, 7, "it starts to rain"))
    session.until_chunks(1)

    def change(record: Record) -> tuple[Record, ...]:
        return () if isinstance(record, requests.Say) else (record,)

    _, difference = verified(rewritten(session.end(), tmp_path / "b.journal", change), tiny)
    assert difference is not None
    assert (difference.view, difference.line) == (1, _line_of_last_chunk(session.path) - 1)


def _line_of_last_chunk(path: Path) -> int:
    return max(line for line, record in JournalReader(path) if isinstance(record, Tick) and record.batches)


def test_words_that_got_other_dates_are_a_difference_though_no_frame_is(
    session: Session, tiny: World, tmp_path: Path
) -> None:
    def change(record: Record) -> tuple[Record, ...]:
        if not isinstance(record, Tick):
            return (record,)
        moved = tuple(
            msgspec.structs.replace(words, first_full_frame=99) if words.word == 11 else words for words in record.words
        )
        return (msgspec.structs.replace(record, words=moved),)

    _, difference = verified(rewritten(JournalReader(session.path), tmp_path / "b.journal", change), tiny)
    assert difference is not None
    assert (difference.view, difference.frame) == (1, None)
    assert "words 11 were applied" in difference.what
    assert "99" in difference.what


@pytest.mark.parametrize("change", ["profiles", "weights", "actions"])
def test_a_journal_of_another_world_is_refused_with_what_is_other(session: Session, tiny: World, change: str) -> None:
    card = tiny.card
    match change:
        case "profiles":
            other = replace(card, profiles={**card.profiles, "smooth": config.smooth(event_guidance_scale=2.0)})
        case "weights":
            other = replace(card, sha256={"streamdit.safetensors": "0" * 64})
        case _:
            other = replace(card, action_names=(*card.action_names[:-1], "KeyX"))
    with pytest.raises(JournalError, match=f"with other {change} than 'tiny' has here; name the world"):
        next(replay.play(JournalReader(session.path), replace(tiny, card=other)))


def test_a_journal_that_asks_what_cannot_be_done_is_refused(session: Session, tiny: World, tmp_path: Path) -> None:
    def never_opened(record: Record) -> tuple[Record, ...]:
        return () if isinstance(record, requests.Open) else (record,)

    def made_too_early(record: Record) -> tuple[Record, ...]:
        return () if isinstance(record, Tick) and not record.batches else (record,)

    for number, change in enumerate((never_opened, made_too_early)):
        reader = rewritten(JournalReader(session.path), tmp_path / f"{number}.journal", change)
        with pytest.raises(JournalError, match="this cannot be done again"):
            verified(reader, tiny)


def film_of(path: Path) -> tuple[int, list[tuple[float, float, str]]]:
    """Frames of a film, and its subtitles: from when to when, in seconds, and what they say."""
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    with av.open(str(path)) as container:
        track = container.streams.subtitles[0]
        packets = [packet for packet in container.demux(track) if packet.size > 2]
        return frames, [
            (
                float(packet.pts * packet.time_base),
                float((packet.pts + packet.duration) * packet.time_base),
                bytes(packet)[2:].decode(),
            )
            for packet in packets
        ]


def test_the_film_of_a_journal_has_the_frames_that_were_made_under_the_words_they_were_made_under(
    tiny: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(tiny, tmp_path / "a.journal")
    session.ask(opened(1, "ein Ritter über 雪"))
    session.until_chunks(2)
    session.ask(event(1, 7, "it starts to rain"))
    session.until_chunks(8)
    session.end()
    status = cli.main(["replay", str(session.path), "--verify", "--video", str(tmp_path / "out.mp4")])
    assert status == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert "identical: all 80 frames of 1 view, in 10 chunks" in said
    assert "why the journal ends: the test ended" in said
    frames, subtitles = film_of(tmp_path / "out.mp4")
    assert frames == 80
    words = ["; ".join((chunk.prompt, *chunk.events)) for chunk in session.chunks(1)]
    changes = [0, *(number for number in range(1, len(words)) if words[number] != words[number - 1]), len(words)]
    assert len(changes) == 4, "the prompt, the prompt with the event, and the prompt again"
    assert subtitles == [(begin * 0.5, end * 0.5, words[begin]) for begin, end in pairwise(changes)]


def test_a_film_leaves_out_what_a_rewind_made_void(tiny: World, tmp_path: Path) -> None:
    session = Session(tiny, tmp_path / "a.journal")
    session.ask(opened(1, "a red knight"))
    session.until_chunks(3)
    at_s = session.chunks(1)[-1].due_s[2] + 0.001
    session.clock.now_s = max(session.clock.now_s, at_s)
    session.ask(requests.Rewind(view=1, word=5, seconds=0.25, at_s=at_s))
    session.until_chunks(1)
    session.end()
    assert cli.main(["replay", str(session.path), "--video", str(tmp_path / "out.mp4"), "--view", "1"]) == 0
    frames, _ = film_of(tmp_path / "out.mp4")
    assert frames == 2 * 8 + 3 + 8


def test_the_command_line_tells_a_difference_by_its_status_and_mistakes_in_one_line(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(record: Record) -> tuple[Record, ...]:
        return (opened(2, "a wolf", seed=3),) if isinstance(record, requests.Open) and record.view == 2 else (record,)

    path = rewritten(JournalReader(session.path), tmp_path / "b.journal", change).path
    assert cli.main(["replay", str(path), "--verify"]) == 1
    assert "different: view 2, epoch 0, frame " in capsys.readouterr().out
    assert cli.main(["replay", str(path)]) == 2
    assert "give --verify, --video MP4 or both" in capsys.readouterr().err
    monkeypatch.setattr(replay, "play", lambda reader, world: pytest.fail("it was played all the same"))
    assert cli.main(["replay", str(path), "--video", str(tmp_path / "c.mp4"), "--view", "77"]) == 2
    assert "the journal has no view '77'; it has 1, 2, 5, 3, 4" in capsys.readouterr().err
    assert not (tmp_path / "c.mp4").exists()


def test_a_terminal_is_told_how_far_a_replay_is_and_a_file_is_not(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["replay", str(session.path), "--verify"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(["replay", str(session.path), "--verify"]) == 0
    assert "played again: " in capsys.readouterr().err


def test_a_view_is_filmed_by_its_number_or_by_its_name(
    tiny: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(tiny, tmp_path / "a.journal")
    names = {1: "", 2: "-guard", 3: "1", 4: "twin", 5: "twin", 6: "6"}
    session.ask(*(msgspec.structs.replace(opened(view, "a fox"), name=name) for view, name in names.items()))
    session.ask(*(requests.Close(view=view) for view in (3, 4, 5, 6)))
    session.until_chunks(1)
    session.until_chunks(1, view=2)
    session.end()

    def filmed(view: str) -> str:
        """What is said of a film of a view that is called so."""
        cli.main(["replay", str(session.path), "--video", str(tmp_path / "out.mp4"), f"--view={view}"])
        told = capsys.readouterr()
        return told.out + told.err

    assert "frames of view 2" in filmed("-guard")
    assert "frames of view 1" in filmed("1"), "a number goes before a name"
    assert "2 views are called 'twin'; give the number of one: 4, 5" in filmed("twin")
    others = "1, 2 ('-guard'), 3 ('1'), 4 ('twin'), 5 ('twin'), 6 ('6')"
    for unknown in ("ghost", ""):
        assert f"the journal has no view {unknown!r}; it has {others}" in filmed(unknown)
