"""Snapshots: what is read is what was written, another engine goes on from it, and nothing foreign is taken for one."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from tests.runtime.forged import metadata_of, of_numbers, rewritten, with_huge, with_words

from eddyline.errors import SnapshotError
from eddyline.snapshots import snapshot_info
from eddyline_runtime import snapshot as snapshots
from eddyline_runtime.prompts import Wish
from eddyline_runtime.snapshot import Snapshot, read_snapshot, write_snapshot
from eddyline_runtime.view import Unshown


@pytest.fixture
def taken(start):
    """A view with an event, a waiting prompt and a held key; its snapshot, and the run it was taken from."""
    run = start()
    run.engine.open_view(1, prompt="a red fox \u96ea", seed=7)
    run.until_chunks(3)
    run.engine.act(1, {"ArrowLeft": 0.5})
    run.engine.say(1, Wish(id=1, verb="event", text="it rains", hold_frames=48))
    (chunk,) = run.until_chunks(1)
    run.engine.say(1, Wish(id=2, verb="prompt", text="a cat", at=chunk.first_frame + 48))
    unshown = Unshown(chunk.frames[3:], chunk.prompt, chunk.events)
    return run, Snapshot(run.engine.moment(1), (unshown,))


def test_another_engine_goes_on_from_the_file_bit_for_bit(start, taken):
    run, snapshot = taken
    card = run.engine.world.card
    data = write_snapshot(snapshot, card)
    read = read_snapshot(data, card)
    other = start()
    (again,) = other.engine.revive_view(1, read.moment, at_s=other.clock.now_s, unshown=read.unshown)
    np.testing.assert_array_equal(again.frames, snapshot.unshown[0].frames)
    for ours, theirs in zip(run.until_chunks(12), other.until_chunks(12), strict=True):
        assert torch.equal(ours.latents, theirs.latents)
        np.testing.assert_array_equal(ours.frames, theirs.frames)
    assert ours.prompt == theirs.prompt == "a cat"


def test_what_is_read_is_written_again_the_same(taken):
    run, snapshot = taken
    card = run.engine.world.card
    data = write_snapshot(snapshot, card)
    assert metadata_of(write_snapshot(read_snapshot(data, card), card)) == metadata_of(data)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_snapshot_that_was_cut_or_changed_anywhere_is_refused(tiny_snapshot, data):
    bytes_, card = tiny_snapshot
    if data.draw(st.booleans()):
        spoiled = bytes_[: data.draw(st.integers(0, len(bytes_) - 1))]
    else:
        at = data.draw(st.integers(0, len(bytes_) - 1))
        spoiled = bytes_[:at] + bytes([bytes_[at] ^ data.draw(st.integers(1, 255))]) + bytes_[at + 1 :]
    try:
        read = read_snapshot(spoiled, card)
    except SnapshotError:
        return
    assert metadata_of(write_snapshot(read, card)) == metadata_of(bytes_), "only what says nothing may have changed"


@pytest.fixture(scope="module")
def tiny_snapshot(tiny):
    from eddyline_runtime.config import EngineConfig
    from eddyline_runtime.engine import Engine
    from eddyline_runtime.view import Chunk

    engine = Engine(tiny, EngineConfig(paced=False), clock=lambda: 0.0)
    engine.open_view(1, prompt="a red fox", seed=7)
    while not any(isinstance(outcome, Chunk) for outcome in engine.tick(0.0)):
        pass
    return write_snapshot(Snapshot(engine.moment(1)), tiny.card), tiny.card


PLACE = {
    "name": "gate",
    "noise": {"seed": 1},
    "action_change": {"before": [0.0] * 5, "after": [0.0] * 5},
}
FRAME = torch.zeros(1, 32, 48, 3, dtype=torch.uint8)
PLACES = {
    "bookmarked_latents": torch.zeros(1, 8, 4, 4, 6, dtype=torch.float16),
    "bookmarked_decoded": torch.zeros(1, 1, 1, 4, 4, 6),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 4}, "of version 4, this runtime reads 5"),
        ({"weights": "0" * 64, "world": "moon"}, "of the world 'moon', with other weights"),
        ({"stride": 3}, "do not fit together"),
        ({"actions": [0.0]}, "do not fit together"),
        ({"actions": [2.0] * 5}, "says what none says"),
        ({"noise": {"seed": -1, "epoch": 0, "index": 0}}, "do not fit together"),
        ({"unshown": [{"frames": 9, "prompt": "", "events": []}]}, "its frames have the shape"),
        ({"latents": torch.zeros(2, 2)}, "its latents have the shape"),
        ({"decoded": torch.full((1, 1, 4, 4, 6), torch.nan)}, "do not fit together"),
        ({"words": 7}, "says what none says"),
        ({"bookmarks": [PLACE]}, "its bookmarked_latents have the shape"),
        ({"bookmarks": [PLACE] * 9}, "says what none says"),
        ({"bookmarks": [PLACE | {"name": ""}]}, "says what none says"),
        ({"bookmarks": [PLACE], **PLACES}, None),
        ({"bookmarks": [PLACE | {"action_change": {"before": [], "after": []}}], **PLACES}, "do not fit together"),
        ({"bookmarks": [PLACE | {"noise": {"seed": 1, "epoch": -1}}], **PLACES}, "do not fit together"),
        ({"bookmarks": [PLACE], **PLACES, "bookmarked_latents": torch.zeros(1, 8, 4, 4, 6)}, "are torch.float32, not"),
        ({"latents": torch.zeros(())}, "its latents have the shape"),
        ({"latents": torch.zeros(8, 4, 4, 6, dtype=torch.float8_e4m3fn)}, "latents are torch.float8_e4m3fn, not"),
        ({"latents": torch.zeros(8, 4, 4, 6, dtype=torch.float64)}, "latents are torch.float64, not torch.float32"),
        ({"decoded": torch.zeros(1, 1, 4, 4, 6, dtype=torch.complex64)}, "decoded are torch.complex64, not"),
        ({"frames": torch.zeros(0, 32, 48, 3)}, "frames are torch.float32, not torch.uint8"),
        ({"unshown": [{"frames": 1, "prompt": "\u96ea" * 2000, "events": []}], "frames": FRAME}, "do not fit together"),
        ({"unshown": [{"frames": 1, "prompt": "", "events": ["a"] * 17}], "frames": FRAME}, "says what none says"),
    ],
)
def test_a_snapshot_that_fits_nowhere_is_refused_with_the_reason(tiny_snapshot, changes, message):
    data, card = tiny_snapshot
    if message is None:
        assert set(read_snapshot(rewritten(data, **changes), card).bookmarks) == {"gate"}
        return
    with pytest.raises(SnapshotError, match=message):
        read_snapshot(rewritten(data, **changes), card)


SLOT = {"prompt": "a red fox", "events": []}
RAIN = {"id": 1, "verb": "event", "text": "it rains"}


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"prompt": ""}, False),
        ({"prompt": " \n"}, False),
        ({"prompt": "a" * 4096}, True),
        ({"prompt": "a" * 5000}, False),
        ({"prompt": "\u96ea" * 2000}, False),
        ({"slots": [{**SLOT, "prompt": "a" * 5000}] * 8}, False),
        ({"slots": [{**SLOT, "events": ["it rains"] * 16}] * 8}, True),
        ({"slots": [{**SLOT, "events": ["it rains"] * 17}] * 8}, False),
        ({"slots": [{**SLOT, "events": ["a" * 5000]}] * 8}, False),
        ({"slots": [SLOT] * 7}, False),
        ({"live": [{"text": "it rains", "until": 8}] * 16}, True),
        ({"live": [{"text": "it rains", "until": 8}] * 17}, False),
        ({"live": [{"text": "it rains", "until": 2**63}]}, False),
        ({"pending": [RAIN] * 64}, True),
        ({"pending": [RAIN] * 65}, False),
        ({"pending": [{**RAIN, "text": "a" * 5000}]}, False),
        ({"pending": [{**RAIN, "hold_frames": 2**63}]}, False),
        ({"pending": [{**RAIN, "verb": "cut", "seed": -(2**63)}]}, False),
        ({"pending": [{**RAIN, "verb": "cut", "bookmark": "gate"}]}, False),
    ],
)
def test_only_words_that_a_view_can_have_are_gone_on_with(tiny_snapshot, changes, fits):
    data, card = tiny_snapshot
    altered = with_words(data, **changes)
    if fits:
        read = read_snapshot(altered, card)
        assert read_snapshot(write_snapshot(read, card), card).moment.words == read.moment.words
        return
    with pytest.raises(SnapshotError, match="do not fit together"):
        read_snapshot(altered, card)


def test_a_number_that_could_not_be_written_again_is_refused(tiny_snapshot):
    data, card = tiny_snapshot
    told = rewritten(data, noise={"seed": 987654321, "epoch": 0, "index": 8})
    assert read_snapshot(told, card).moment.noise.seed == 987654321
    with pytest.raises(SnapshotError, match="do not fit together"):
        read_snapshot(with_huge(told, 987654321, 2**70), card)


def test_words_that_are_too_long_for_a_snapshot_are_refused_where_it_is_written(tiny_snapshot):
    """A quote mark takes four bytes of the header, which holds a text within a text."""
    data, card = tiny_snapshot
    read = read_snapshot(data, card)
    longest = tuple(Wish(id=number, verb="prompt", text='"' * 4096, at=1000) for number in range(64))
    some = Snapshot(replace(read.moment, words=replace(read.moment.words, pending=longest[:32])))
    assert read_snapshot(write_snapshot(some, card), card).moment.words.pending == longest[:32]
    assert snapshot_info(write_snapshot(some, card)).prompt == "a red fox"
    with pytest.raises(SnapshotError, match="holds 1048576; ask again when some are over"):
        write_snapshot(Snapshot(replace(read.moment, words=replace(read.moment.words, pending=longest))), card)


def with_header(**header):
    encoded = msgspec.json.encode(header)
    return len(encoded).to_bytes(8, "little") + encoded


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 7,
        b"\xff" * 100,
        save({"a": torch.zeros(1)}),
        with_header(__metadata__=None),
        with_header(a={"dtype": "F32", "shape": [0, 2**62, 4], "data_offsets": [0, 0]}),
        with_header(a={"dtype": "F32", "shape": [0, 2**64 - 1], "data_offsets": [0, 0]}),
        of_numbers(""),
        of_numbers("[" * 100_000),
        of_numbers(f'{{"version": {snapshots.VERSION}}}'),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_what_is_no_snapshot_at_all_is_refused(tiny_snapshot, data):
    with pytest.raises(SnapshotError):
        read_snapshot(data, tiny_snapshot[1])


def test_another_worlds_weights_are_told_apart(tiny_snapshot):
    data, card = tiny_snapshot
    other = replace(card, sha256={"streamdit.safetensors": "1" * 64})
    with pytest.raises(SnapshotError, match="serve those"):
        read_snapshot(data, other)
