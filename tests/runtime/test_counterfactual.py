"""The counterfactual, for any script: two runs in lockstep that differ by one event are equal bit for bit before the
frame that its receipt names, they differ by the frame that is fully under it, and another view of the batch does not
notice beyond rounding. In so shallow a network words of the newest chunk need some ticks to reach the oldest."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eddyline_runtime.config import Partition, Profile
from eddyline_runtime.prompts import Wish

PROFILES = {
    "smooth": Profile(partition=Partition(num_chunks=4, chunk_frames=2)),
    "responsive": Profile(partition=Partition(reference_frames=4, num_chunks=4, chunk_frames=1)),
    "two micro steps": Profile(partition=Partition(num_chunks=3, chunk_frames=2, micro_steps=2)),
    "events guided": Profile(partition=Partition(num_chunks=4, chunk_frames=2), event_guidance_scale=2.5),
    "one chunk": Profile(partition=Partition(reference_frames=1, num_chunks=1, chunk_frames=3, micro_steps=2)),
}
CHUNKS = 8
TEXTS = ("ab", "cd", "ef", "gh")
"""So short that all of them fit into what the tiny world's encoder takes in: what is cut off influences nothing."""
THE_EVENT = 99


@dataclass(frozen=True)
class Said:
    """Something that is said once `chunk` chunks were made; `ahead`: frames from there, for an `at`."""

    chunk: int
    verb: str
    text: str
    ahead: int | str
    hold: int
    cancelled: bool
    view: int


said = st.builds(
    Said,
    chunk=st.integers(0, CHUNKS - 2),
    verb=st.sampled_from(["event", "event", "prompt"]),
    text=st.sampled_from(TEXTS),
    ahead=st.one_of(st.sampled_from(["now", "next"]), st.integers(0, 40)),
    hold=st.integers(1, 40),
    cancelled=st.booleans(),
    view=st.sampled_from([1, 1, 2]),
)


def played(start, profile, script, event):
    """A run of two views in one batch; `event` is said last of what is said at its time."""
    run = start(profile=profile, paced=False)
    for view, prompt in ((1, "fox"), (2, "pig")):
        run.engine.open_view(view, prompt=prompt, seed=7)
    everything = [*enumerate(script), *([(THE_EVENT, event)] if event else [])]
    while len(run.chunks(1)) < CHUNKS:
        made = len(run.chunks(1))
        head = made * (len(run.chunks(1)[0].frames) if made else 0)
        due = [(number, words) for number, words in everything if words.chunk == made]
        everything = [entry for entry in everything if entry not in due]
        for number, words in due:
            at = head + words.ahead if isinstance(words.ahead, int) else words.ahead
            wish = Wish(id=number, verb=words.verb, text=words.text, at=at, hold_frames=words.hold)
            told = run.engine.say(words.view, wish)
            assert told.note.state == "accepted"
            if words.cancelled:
                run.engine.cancel(words.view, number)
        run.until_chunks(1)
    return run


@pytest.mark.parametrize("name", PROFILES)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(said, max_size=3), event=said)
def test_runs_that_differ_by_one_event_are_equal_before_the_frame_its_receipt_names(start, name, script, event):
    event = Said(**{**vars(event), "verb": "event", "view": 1, "text": "zz"})
    steered, plain = (played(start, PROFILES[name], script, said) for said in (event, None))
    notes = [told.note for told in steered.told(THE_EVENT) if told.note.state == "applied"]
    assert bool(notes) == (bool(steered.told(THE_EVENT)) and not event.cancelled), "what nobody took back applies"
    first = notes[0].first_influenced_frame if notes else None
    full = notes[0].first_full_frame if notes else None
    differs = []
    for one, other in zip(steered.chunks(1), plain.chunks(1), strict=True):
        if first is None or one.first_frame < first:
            assert torch.equal(one.latents, other.latents)
            assert np.array_equal(one.frames, other.frames)
        elif not torch.equal(one.latents, other.latents):
            differs.append(one.first_frame)
    if full is not None and full <= steered.chunks(1)[-1].first_frame:
        assert differs, "it never shows"
        assert differs[0] <= full
    for one, other in zip(steered.chunks(2), plain.chunks(2), strict=True):  # longer words pad the batch otherwise
        assert one.events == other.events
        torch.testing.assert_close(one.latents, other.latents, rtol=1e-3, atol=1e-4)
