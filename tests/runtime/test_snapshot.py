"""Snapshots: what is read is what was written, another engine goes on from it, and nothing foreign is taken for one."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from eddyline.errors import SnapshotError
from eddyline_runtime import snapshot as snapshots
from eddyline_runtime.prompts import Wish
from eddyline_runtime.snapshot import FORMAT, Snapshot, read_snapshot, write_snapshot
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


def metadata_of(data):
    """A file's metadata, whose order says nothing; its digest is of everything."""
    return msgspec.json.decode(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


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


def rewritten(data, **changes):
    """The file with fields of its moment changed, and a digest that fits."""
    tensors = load(data)
    told = msgspec.json.decode(metadata_of(data)["moment"]) | {k: v for k, v in changes.items() if k not in tensors}
    tensors |= {name: value for name, value in changes.items() if name in tensors}
    encoded = msgspec.json.encode(told).decode()
    return save(tensors, {"format": FORMAT, "moment": encoded, "sha256": snapshots._digest(encoded, tensors)})


PLACE = {
    "name": "gate",
    "noise": {"seed": 1},
    "action_change": {"before": [0.0] * 5, "after": [0.0] * 5},
}
PLACES = {
    "bookmarked_latents": torch.zeros(1, 8, 4, 4, 6, dtype=torch.float16),
    "bookmarked_decoded": torch.zeros(1, 1, 1, 4, 4, 6),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, "of version 3, this runtime reads 4"),
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
        ({"bookmarks": [PLACE], **PLACES, "bookmarked_latents": torch.zeros(1, 8, 4, 4, 6)}, "do not fit together"),
    ],
)
def test_a_snapshot_that_fits_nowhere_is_refused_with_the_reason(tiny_snapshot, changes, message):
    data, card = tiny_snapshot
    if message is None:
        assert set(read_snapshot(rewritten(data, **changes), card).bookmarks) == {"gate"}
        return
    with pytest.raises(SnapshotError, match=message):
        read_snapshot(rewritten(data, **changes), card)


@pytest.mark.parametrize("data", [b"", b"x" * 7, b"\xff" * 100, save({"a": torch.zeros(1)})])
def test_what_is_no_snapshot_at_all_is_refused(tiny_snapshot, data):
    with pytest.raises(SnapshotError):
        read_snapshot(data, tiny_snapshot[1])


def test_another_worlds_weights_are_told_apart(tiny_snapshot):
    data, card = tiny_snapshot
    other = replace(card, sha256={"streamdit.safetensors": "1" * 64})
    with pytest.raises(SnapshotError, match="serve those"):
        read_snapshot(data, other)
