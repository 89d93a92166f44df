"""What is asked of an engine and what came of it is in a file, whole up to any end, and nobody changes it unseen."""

import logging
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.journals import Session, event, opened, rewritten
from tests.runtime.serving import serving

from eddyline import protocol
from eddyline.errors import JournalError
from eddyline_runtime import journal, requests
from eddyline_runtime.config import EngineConfig
from eddyline_runtime.journal import ROOM_FOR_THE_END, End, Header, JournalReader, JournalWriter, Record, Tick
from eddyline_runtime.weights import World


def head_of(world: World) -> Header:
    return journal.header(world, EngineConfig(), served_as="tiny", random_weights=True)


def written(world: World, path: Path, *records: Record) -> Path:
    with JournalWriter(path, head_of(world)) as writer:
        for record in records:
            writer.write(record)
    return path


WORDS = (opened(1, "ein Fuchs über 雪"), event(1, 5, "it\nrains"), requests.Act(view=1, keys={"KeyA": -0.1}))


def test_records_come_back_as_they_were_written_and_the_end_says_why(tiny: World, tmp_path: Path) -> None:
    reader = JournalReader(written(tiny, tmp_path / "a.journal", *WORDS))
    assert reader.header == head_of(tiny)
    assert [record for _, record in reader] == [*WORDS, End(reason="the runtime ended")]
    assert (reader.ended, reader.left_out_bytes) == ("the runtime ended", 0)


def test_every_record_is_in_the_file_as_soon_as_it_is_written(tiny: World, tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "a.journal", head_of(tiny))
    for count, record in enumerate(WORDS):
        writer.write(record)
        reader = JournalReader(writer.path)
        assert [record for _, record in reader] == list(WORDS[: count + 1])
        assert (reader.ended, reader.left_out_bytes) == ("", 0)


@pytest.fixture(scope="module")
def whole(tiny: World, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tiny, tmp_path_factory.mktemp("journal") / "whole.journal", *WORDS).read_bytes()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_journal_gives_all_records_that_are_whole_and_says_what_it_left_out(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    header_bytes = whole.index(b"\n") + 1
    kept = data.draw(st.integers(header_bytes, len(whole)))
    path = tmp_path_factory.getbasetemp() / "cut.journal"
    path.write_bytes(whole[:kept])
    reader = JournalReader(path)
    records = [record for _, record in reader]
    assert records == [*WORDS, End(reason="the runtime ended")][: whole[:kept].count(b"\n") - 1]
    assert reader.left_out_bytes == kept - (whole[:kept].rindex(b"\n") + 1)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_journal_of_which_any_byte_was_changed_is_refused(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(whole) - 2))  # without its last line break it is a cut one
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    path = tmp_path_factory.getbasetemp() / "changed.journal"
    path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
    with pytest.raises(JournalError):
        list(JournalReader(path))


def test_a_journal_that_lost_a_line_is_refused(whole: bytes, tmp_path: Path) -> None:
    lines = whole.splitlines(keepends=True)
    (tmp_path / "a.journal").write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(JournalError, match="line 3: this line, or one before it, was changed or taken out"):
        list(JournalReader(tmp_path / "a.journal"))


NESTED = b"0123456789abcdef " + b"[" * 5000 + b"]" * 5000 + b"\n"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"hello\n", b'0123456789abcdef {"type":"journal"}\n', b"\xff" * 4096, NESTED]
)
def test_another_file_is_no_journal(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.journal").write_bytes(content)
    with pytest.raises(JournalError, match="is no journal of a runtime, or was cut in its first line"):
        JournalReader(tmp_path / "a.journal")


def test_a_missing_journal_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be read"):
        JournalReader(tmp_path / "none.journal")


def test_a_journal_of_a_later_version_is_refused_whatever_it_says(tiny: World, tmp_path: Path) -> None:
    later = msgspec.structs.replace(head_of(tiny), version=journal.VERSION + 1)
    JournalWriter(tmp_path / "a.journal", later).close()
    with pytest.raises(JournalError, match="is of version 2, this one reads 1"):
        JournalReader(tmp_path / "a.journal")


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, tiny: World) -> None:
    (tmp_path / "a.journal").write_text("precious")
    with pytest.raises(JournalError, match="is there already; name another file"):
        JournalWriter(tmp_path / "a.journal", head_of(tiny))
    assert (tmp_path / "a.journal").read_text() == "precious"


def test_a_journal_at_its_limit_ends_says_so_and_stays_within_it(
    tiny: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = len(written(tiny, tmp_path / "empty.journal").read_bytes()) + ROOM_FOR_THE_END
    told: list[str] = []
    writer = JournalWriter(tmp_path / "a.journal", head_of(tiny), limit_bytes=limit, on_cut=told.append)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            writer.write(Tick())
    assert told == [f"its limit of {limit} bytes is reached"]
    assert sum(told[0] in message for message in caplog.messages) == 1
    reader = JournalReader(writer.path)
    records = [record for _, record in reader]
    assert 0 < len(records) < 100
    assert "reached its limit" in reader.ended
    assert writer.path.stat().st_size <= limit


def test_a_disk_that_takes_no_more_ends_the_journal_and_not_the_runtime(
    tiny: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(tiny, tmp_path / "a.journal")
    monkeypatch.setattr("os.write", lambda file, line: 3)
    session.ask(opened(1, "a red knight"))
    session.until_chunks(1)
    assert len(session.chunks(1)) == 1
    assert sum("cannot be written" in message for message in caplog.messages) == 1


def test_a_journal_that_is_at_its_limit_and_cannot_say_so_ends_once(
    tiny: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = len(written(tiny, tmp_path / "empty.journal").read_bytes()) + ROOM_FOR_THE_END
    told: list[str] = []
    writer = JournalWriter(tmp_path / "a.journal", head_of(tiny), limit_bytes=limit, on_cut=told.append)
    while writer.path.stat().st_size < limit - ROOM_FOR_THE_END - 200:
        writer.write(Tick())
    monkeypatch.setattr("os.write", lambda file, line: 3)
    for _ in range(100):
        writer.write(Tick())
    assert told == ["it cannot be written: the disk took only a part of a record"]


def test_a_tick_says_which_views_were_one_batch_and_when_words_show(tiny: World, tmp_path: Path) -> None:
    session = Session(tiny, tmp_path / "a.journal")
    session.ask(opened(1, "a red knight"), opened(2, "a fox"), opened(3, "an owl", profile="responsive"))
    session.until_chunks(1)
    session.ask(event(2, 7, "night falls"))
    session.until_chunks(2)
    ticks = [record for _, record in session.end() if isinstance(record, Tick)]
    batches = [batch for tick in ticks for batch in tick.batches]
    assert (1, 2) in [batch.views for batch in batches]
    assert all(3 not in batch.views or batch.views == (3,) for batch in batches)
    frames = [len(row) for batch in batches for row in batch.frames]
    assert sum(frames) == sum(len(chunk.frames) for view in (1, 2, 3) for chunk in session.chunks(view))
    (dated,) = [words for tick in ticks for words in tick.words]
    assert (dated.view, dated.word, dated.state) == (2, 7, "applied")
    assert dated.first_influenced_frame == 8


def test_a_journal_knows_the_names_of_views_however_they_were_opened(tiny: World, tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "a.journal", head_of(tiny))
    with serving(tiny, journal=writer) as running:
        client = running.client()
        client.hello()
        client.open(1)
        client.open(2, name="guard")
        client.frame(1)
        client.send(protocol.ForkView(view=3, source=1, name="spare"), protocol.SaveView(id=1, view=1))
        client.wait(protocol.SnapshotHeader)
        client.send_parts(protocol.encode(protocol.RestoreView(view=4, name="as it was", credits=9)), client.binary)
        client.wait(protocol.FrameHeader, lambda frame: frame.view == 4)
    opening = (requests.Open, requests.Fork, requests.Restore)
    names = [record.name for _, record in JournalReader(writer.path) if isinstance(record, opening)]
    assert names == ["", "guard", "spare", "as it was"]


def test_a_batch_whose_rows_do_not_fit_its_views_is_refused(tiny: World, tmp_path: Path) -> None:
    session = Session(tiny, tmp_path / "a.journal")
    session.ask(opened(1, "a red knight"))
    session.until_chunks(1)

    def change(record: Record) -> tuple[Record, ...]:
        if not isinstance(record, Tick) or not record.batches:
            return (record,)
        encoded = msgspec.to_builtins(record.batches[0])
        broken = msgspec.structs.replace(record, batches=({**encoded, "views": (1, 2)},))  # type: ignore[arg-type]
        return (broken,)

    with pytest.raises(JournalError, match="a batch of 2 views with frames of 1"):
        list(rewritten(session.end(), tmp_path / "b.journal", change))
