"""Mistakes in a call raise at once, with a typed error that says what to do."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

import eddyline
from eddyline import protocol
from eddyline.errors import (
    AxisError,
    ClosedError,
    EddylineError,
    EndpointError,
    KeyNameError,
    KeysNeededError,
    OptionError,
    PastFrameError,
    SnapshotError,
    TextError,
    UsageError,
)
from eddyline.testing import ScriptedRuntime, wait_until
from eddyline.view import View


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\ud800", 7, None, b"rain"])
def test_text_that_says_nothing_or_is_no_text_is_refused(view: View, runtime: eddyline.Runtime, text: Any) -> None:
    for call in (view.event, view.prompt, view.cut, runtime.open_view):
        with pytest.raises(TextError):
            call(text)


def test_one_wrong_plan_opens_no_view_at_all(scripted: ScriptedRuntime, runtime: eddyline.Runtime) -> None:
    plans = [eddyline.ViewPlan("a red room", name="guard"), eddyline.ViewPlan("a hall", stride=3)]
    with pytest.raises(OptionError, match="stride=3"):
        runtime.open_views(plans)
    with pytest.raises(OptionError, match=r"of type str; give ViewPlan\(prompt"):
        runtime.open_views([*plans[:1], "a cat"])  # type: ignore[list-item]
    (view,) = runtime.open_views(plans[:1])
    wait_until(lambda: view.frame() is not None)
    (opened,) = scripted.wait_for(protocol.OpenView)
    assert isinstance(opened, protocol.OpenView)
    assert (opened.name, opened.prompt) == ("guard", "a red room")


@pytest.mark.parametrize("text", ["x" * 10_000_000, "x" * 4097, "é" * 2049, "雪" * 1366])
def test_text_over_the_limit_is_refused_and_the_limit_is_named(view: View, text: str) -> None:
    for call in (view.event, view.prompt, view.cut):
        with pytest.raises(TextError, match="4096 bytes"):
            call(text)


def test_text_of_exactly_the_limit_is_taken(view: View) -> None:
    receipts = [view.event("x" * 4096), view.event("é" * 2048)]
    wait_until(lambda: all(receipt.state == "applied" for receipt in receipts))


@pytest.mark.parametrize("hold_s", [0, -1.0, math.nan, math.inf, 3600.1, 10**400, "4", None])
def test_a_hold_that_is_no_length_of_time_is_refused(view: View, hold_s: Any) -> None:
    with pytest.raises(OptionError, match="hold_s"):
        view.event("rain", hold_s=hold_s)


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan, math.inf, 3600.1, "4", None])
def test_a_rewind_that_is_no_way_back_is_refused(view: View, seconds: Any) -> None:
    with pytest.raises(OptionError, match="seconds="):
        view.rewind(seconds)


@pytest.mark.parametrize("name", ["", "  ", "x" * 129, "\ud800", None, 7])
def test_a_bookmark_without_a_proper_name_is_refused(view: View, name: Any) -> None:
    for call in (view.bookmark, view.return_to):
        with pytest.raises(OptionError, match="name"):
            call(name)
    with pytest.raises(TextError):
        view.return_to("courtyard", prompt=" ")


@pytest.mark.parametrize("at", [-1, 1.5, "soon", None, True, 2**60, ["now"]])
def test_a_moment_that_is_none_is_refused(view: View, at: Any) -> None:
    for call in (view.event, view.prompt):
        with pytest.raises(OptionError, match="at="):
            call("rain", at=at)


def test_a_frame_in_the_past_is_refused_and_the_newest_one_is_named(view: View) -> None:
    frame = view.frame()
    assert frame is not None
    with pytest.raises(PastFrameError, match="epoch 0 has already been made"):
        view.event("rain", at=frame.index)


@pytest.mark.parametrize("keys", [["Left"], ["a"], ["keya"], {"Left": 1.0}, "KeyA", [7], [""], [["KeyA"]], None, 7])
def test_a_key_that_is_none_is_refused(view: View, keys: Any) -> None:
    with pytest.raises(KeyNameError):
        view.act(keys)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.01, -2, "full", "1", b"1", None])
def test_an_axis_that_is_no_number_between_minus_one_and_one_is_refused(view: View, value: Any) -> None:
    with pytest.raises(AxisError, match="ArrowLeft"):
        view.act({"ArrowLeft": value})


def test_too_many_keys_are_refused(view: View) -> None:
    from eddyline.keys import KEY_CODES

    with pytest.raises(OptionError, match="64"):
        view.act(sorted(KEY_CODES))


def test_actions_that_are_no_keys_are_taken_when_the_world_has_them() -> None:
    with ScriptedRuntime(action_names=["CameraYaw"]) as scripted, eddyline.connect(scripted.endpoint) as runtime:
        view = runtime.open_view("a red room")
        view.act({"CameraYaw": -0.5})
        with pytest.raises(KeyNameError, match="CameraYaw"):
            view.act(["CameraPitch"])


def test_before_the_world_is_known_a_game_may_name_its_own_axes_but_no_nonsense() -> None:
    with eddyline.launch(command=[sys.executable, "-c", "import time; time.sleep(600)"], wait=False) as runtime:
        view = runtime.open_view("a red room")
        view.act({"Throttle": 0.5, "KeyA": 1.0})
        for name in ("", "two words", "x" * 33, "1st", "A\n", 7):
            with pytest.raises(KeyNameError):
                view.act([name])  # type: ignore[list-item]


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "7", True])
def test_a_seed_that_is_none_is_refused(view: View, runtime: eddyline.Runtime, seed: Any) -> None:
    with pytest.raises(OptionError, match="seed"):
        view.cut("a hall", seed=seed)
    with pytest.raises(OptionError, match="seed"):
        runtime.open_view("a hall", seed=seed)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 3},
        {"stride": 0},
        {"stride": 2.0},
        {"stride": True},
        {"profile": "fast"},
        {"profile": 5},
        {"name": "x" * 129},
        {"name": None},
    ],
)
def test_an_option_out_of_range_is_refused(runtime: eddyline.Runtime, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        runtime.open_view("a hall", **options)


@pytest.mark.parametrize("name", [7, None, b"guard"])
def test_a_name_of_another_type_is_refused_with_its_type(runtime: eddyline.Runtime, view: View, name: Any) -> None:
    for call in (
        lambda: runtime.open_view("a hall", name=name),
        lambda: view.fork(name),
        lambda: runtime.watch_view(name),
    ):
        with pytest.raises(OptionError, match=f"a name of type {type(name).__name__}; give a str"):
            call()


@pytest.mark.parametrize("timeout_s", [math.nan, None, "5"])
def test_a_patience_that_is_no_number_is_refused(
    scripted: ScriptedRuntime, view: View, runtime: eddyline.Runtime, timeout_s: Any
) -> None:
    for wait in (view.wait_open, runtime.wait_ready, lambda s: eddyline.connect(scripted.endpoint, timeout_s=s)):
        with pytest.raises(OptionError, match="timeout_s="):
            wait(timeout_s)


def test_a_closed_view_refuses_everything_but_frames_and_status(view: View) -> None:
    view.close()
    calls = (
        lambda: view.event("rain"),
        lambda: view.prompt("a hall"),
        lambda: view.cut("a hall"),
        lambda: view.act(["KeyA"]),
        view.pause,
        view.resume,
    )
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    assert view.frame() is not None
    assert view.status.state == "closed"


def test_a_closed_runtime_opens_no_views(scripted: ScriptedRuntime) -> None:
    with eddyline.connect(scripted.endpoint) as runtime:
        pass
    with pytest.raises(ClosedError):
        runtime.open_view("a hall")
    with pytest.raises(ClosedError):
        runtime.wait_ready()
    assert not runtime.ready
    runtime.poll()


def test_a_closed_runtime_records_nothing(scripted: ScriptedRuntime, tmp_path: Path) -> None:
    with eddyline.connect(scripted.endpoint) as runtime:
        view = runtime.open_view("a hall")
    with pytest.raises(ClosedError):
        view.record(tmp_path / "clip.mp4")


def test_whoever_waits_for_a_runtime_that_is_closed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with eddyline.launch(command=[sys.executable, "-c", "import time; time.sleep(600)"], wait=False) as runtime:
        monkeypatch.setattr(runtime, "_tell_progress", runtime.close)  # as another thread may while this one waits
        with pytest.raises(ClosedError):
            runtime.wait_ready(timeout_s=30.0)


def test_a_snapshot_that_is_nested_too_deep_is_refused(runtime: eddyline.Runtime) -> None:
    header = b'{"__metadata__": {"format": "", "moment": ""}, "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    with pytest.raises(SnapshotError, match="this is no snapshot"):
        runtime.restore_view(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize(
    "endpoint",
    ["", "127.0.0.1:7860", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999", "ipc:///x", "tcp://:1"],
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(EndpointError, match="tcp://HOST:PORT"):
        eddyline.connect(endpoint)


def test_an_endpoint_that_is_no_text_is_refused_as_one() -> None:
    with pytest.raises(EndpointError, match="7860 is not an endpoint; give tcp://HOST:PORT"):
        eddyline.connect(7860)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", ["a.eddyline", Path("a.eddyline"), None])
def test_a_snapshot_that_is_no_bytes_is_refused_and_said_how_to_read(runtime: eddyline.Runtime, data: Any) -> None:
    with pytest.raises(OptionError, match=rf"type {type(data).__name__}; give its bytes: .*read_bytes\(\)"):
        runtime.restore_view(data)


def test_a_text_of_another_type_is_refused_with_its_type(view: View) -> None:
    with pytest.raises(TextError, match="the text is of type int; give a str"):
        view.event(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["192.168.0.7", "gpu-box", "0.0.0.0", "[2001:db8::1]", "8.8.8.8"])
def test_a_runtime_elsewhere_needs_keys(host: str) -> None:
    with pytest.raises(KeysNeededError, match="keys"):
        eddyline.connect(f"tcp://{host}:7860")


def test_mistakes_in_calls_are_value_errors_and_eddyline_errors() -> None:
    for error in (TextError, PastFrameError, KeyNameError, AxisError, OptionError, ClosedError):
        assert issubclass(error, UsageError)
        assert issubclass(error, ValueError)
        assert issubclass(error, EddylineError)
