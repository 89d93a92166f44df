"""Actions: a key is followed when its direction comes within a second and lasts another."""

import numpy as np
import pytest

from eddyline_runtime.evaluation.actions import action_figures, press_delay_s, press_script
from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.suite import Press, Scene

PRESS = Press(
    scene=Scene(prompt="a fox", labels={"doing": "walks left"}, keys=("ArrowLeft",)),
    keys=("ArrowRight",),
    attribute="doing",
    value="walks right",
)
LEFT, RIGHT = 100, 200


@pytest.mark.parametrize(
    ("right_from", "right_to", "delay_s"),
    [(24, 56, 0.0), (32, 56, 0.5), (40, 56, 1.0), (44, 56, None), (28, 32, None), (28, 44, 0.25)],
    ids=["at once", "half a second later", "just in time", "too late", "for a moment", "for a second"],
)
def test_a_direction_counts_when_it_comes_in_time_and_lasts(
    brightness: Probe, right_from: int, right_to: int, delay_s: float | None
) -> None:
    frames = np.zeros((56, 4, 4, 3), np.uint8)
    frames[..., 1] = LEFT
    frames[right_from:right_to, ..., 1] = RIGHT
    assert press_delay_s(brightness, PRESS, frames, fps=16.0, pressed_at=24) == delay_s


def test_figures_are_the_share_that_was_followed_and_its_median_delay() -> None:
    figures = action_figures([0.25, None, 0.75, 0.5], {"direction": 0.97})
    assert (figures["direction"].value, figures["direction"].ceiling) == (0.75, 0.97)
    assert (figures["delay_s"].value, figures["delay_s"].n) == (0.5, 3)
    assert set(action_figures([None])) == {"direction"}


def test_a_press_holds_its_scenes_keys_first_and_then_its_own() -> None:
    script = press_script(PRESS, 3, fps=16.0)
    assert (script.keys, script.cues[0].at, script.cues[0].keys) == (("ArrowLeft",), 24, ("ArrowRight",))
