"""`eddyline-runtime serve` as a process: it keeps the protocol, the SDK steers it, it starts and ends cleanly."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from eddyline.conformance import CHECKS
from eddyline.install import install_hint
from eddyline.testing import check_runtime, wait_until
from eddyline_runtime.cli import main
from eddyline_runtime.model.codec import Codec
from eddyline_runtime.model.streamdit import StreamDiT
from eddyline_runtime.weights import save_world, tiny_card

MODULE = ("-m", "eddyline_runtime.cli")
SERVE = ["serve", "--model", "tiny", "--random-weights", "--threads", "1"]
SERVE += ["--max-load", "inf"]  # a machine that does other things as well opens all the same
DEADLINE_S = 120.0


class Served:
    """A runtime process, once it is ready."""

    def __init__(self, *arguments: str, program: tuple[str, str] = MODULE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *program, *SERVE, "--bind", "tcp://127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said: list[dict[str, Any]] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            if self.said[-1].get("ready"):
                break
        self.endpoint: str = self.said[-1]["endpoint"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    running = Served()
    yield running
    assert running.stop() == 0


def game(endpoint: str, program: str) -> Any:
    """Run a small game in a process of its own; `view` and `runtime` are there, `print` what was seen as JSON."""
    source = f"""
import json, sys, time
import eddyline
from eddyline.errors import EddylineError

def frames(view, until):
    seen = {{}}
    deadline_s = time.monotonic() + {DEADLINE_S}
    while not until(seen):
        assert time.monotonic() < deadline_s, (view.state, sorted(seen)[-3:])
        frame = view.frame()
        if frame is not None:
            seen[frame.epoch, frame.index] = frame
        runtime.poll()
        time.sleep(0.002)
    return seen

with eddyline.connect({endpoint!r}, timeout_s={DEADLINE_S}) as runtime:
{textwrap.indent(textwrap.dedent(program), "    ")}
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=2 * DEADLINE_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_runtime_keeps_the_protocol(served):
    assert len(check_runtime(served.endpoint, patience_s=DEADLINE_S)) == len(CHECKS)


def test_words_change_the_stream_from_the_named_frame_on_and_nothing_before_it(served):
    """The counterfactual through the socket: one seed, with and without an event; the frames that were shown."""
    seen = game(
        served.endpoint,
        """
        streams = []
        for steered in (True, False):
            view = runtime.open_view("a red fox", seed=7)
            receipt = view.event("it rains", at=40, hold_s=1.0) if steered else None
            seen = frames(view, lambda seen: any(index >= 56 for _, index in seen))
            streams.append({index: hash(frame.pixels.tobytes()) for (_, index), frame in seen.items()})
            if steered:
                dates = [receipt.first_influenced_frame, receipt.first_full_frame]
            view.close()
        both = sorted(streams[0].keys() & streams[1].keys())
        print(json.dumps({"dates": dates, "same": [[index, streams[0][index] == streams[1][index]] for index in both]}))
        """,
    )
    first, full = seen["dates"]
    assert (first, full) == (16, 40)
    assert [index for index, same in seen["same"] if index < first and not same] == []
    assert [index for index, same in seen["same"] if index >= full and same] == []
    assert len([index for index, _ in seen["same"] if index < first]) > 0


def test_a_game_steers_by_prompt_event_cut_and_keys_and_every_receipt_is_answered(served):
    seen = game(
        served.endpoint,
        """
        view = runtime.open_view("a red fox", seed=7, profile="responsive")
        frames(view, lambda seen: len(seen) > 2)
        view.act({"ArrowLeft": 1.0})
        said = [view.event("it rains", hold_s=1.0), view.prompt("a blue cat"), view.event("снег", at="next")]
        frames(view, lambda seen: all(receipt.is_final for receipt in said))
        cut = view.cut("a castle hall", seed=3)
        seen = frames(view, lambda seen: any(epoch == 1 and index > 20 for epoch, index in seen))
        late = ""
        try:
            view.event("too late", at=0)
        except EddylineError as error:
            late = str(error)
        words = {frame.prompt for (epoch, _), frame in seen.items() if epoch == 1}
        print(json.dumps({
            "states": [receipt.state for receipt in [*said, cut]],
            "late": late,
            "understood": [receipt.understood for receipt in said],
            "cut": [cut.epoch, cut.first_influenced_frame, cut.first_full_frame],
            "words": sorted(words),
        }))
        """,
    )
    assert seen["states"] == ["applied"] * 4
    assert "past" in seen["late"]
    assert all(0 <= understood <= 1 for understood in seen["understood"])
    assert seen["cut"] == [1, 0, 0]
    assert seen["words"] == ["a castle hall"]


def test_two_views_run_side_by_side_and_pausing_one_leaves_the_other_running(served):
    seen = game(
        served.endpoint,
        """
        one, two = (runtime.open_view("a red fox", seed=seed) for seed in (1, 2))
        frames(one, lambda seen: len(seen) > 2)
        frames(two, lambda seen: len(seen) > 2)
        one.pause()
        still = one.frame()
        before = max(frames(two, lambda seen: len(seen) > 20))
        same = one.frame()
        one.resume()
        after = max(frames(one, lambda seen: len(seen) > 10))
        print(json.dumps({"still": still.index == same.index, "after": list(after), "paused": still.index}))
        """,
    )
    assert seen["still"]
    assert seen["after"][1] > seen["paused"]


def test_progress_is_told_until_it_is_ready(served):
    progress = [said["progress"] for said in served.said if "progress" in said]
    assert progress == sorted(progress)
    assert progress[0] == 0.0
    assert all(0 <= share < 1 for share in progress)
    assert served.said[-1]["ready"]


def test_it_ends_with_its_parent():
    parent = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys\n"
            "command = [*sys.argv[1:], '--parent-pid', str(os.getpid())]\n"
            "child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)\n"
            "while 'ready' not in child.stdout.readline(): pass\n"
            "print(child.pid)",
            sys.executable,
            *MODULE,
            *SERVE,
            "--bind",
            "tcp://127.0.0.1:0",
        ],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=True,
    )
    child = int(parent.stdout)

    def the_runtime_ends_with_its_parent() -> bool:
        return not _is_alive(child)

    wait_until(the_runtime_ends_with_its_parent, DEADLINE_S)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not (status.exists() and "State:\tZ" in status.read_text())


def test_ctrl_c_ends_it_cleanly_and_the_port_is_free_again():
    running = Served()
    assert running.stop(signal.SIGINT) == 0
    again = Served("--bind", running.endpoint)
    assert again.endpoint == running.endpoint
    assert again.stop() == 0


def serve(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Call `serve` with a mistake; returns the one line that it prints."""
    assert main(["serve", "--bind", "tcp://127.0.0.1:0", "--threads", "1", *arguments]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert json.loads(printed.out.splitlines()[-1])["error"] in line
    return line


def test_a_taken_port_is_told_before_a_model_is_loaded(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert "choose another port" in serve("--model", "nowhere", "--bind", bind, capsys=capsys)


def test_a_journal_that_cannot_begin_is_told_before_a_model_is_loaded(capsys, tmp_path):
    (tmp_path / "file").write_text("precious")
    for name, why in (("file", "is there already"), ("file/a", "cannot be made"), ("file/a/b", "cannot be made")):
        assert why in serve("--model", "nowhere", "--journal", str(tmp_path / name), capsys=capsys)
    too_long = str(tmp_path / ("a" * 300))
    assert "File name too long" in serve("--model", "nowhere", "--journal", too_long, capsys=capsys)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_machine_without_torch_is_told_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert f"torch is not installed; run: {install_hint('runtime')}" in serve(capsys=capsys)


@pytest.mark.parametrize("share", ["0", "-1", "nan", "much"])
def test_a_load_that_is_no_share_is_refused_before_anything_is_loaded(share):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--max-load", share])
    assert ended.value.code == 2


@pytest.mark.parametrize("command", [["serve"], ["bench", "model"], ["replay", "a.journal"]])
def test_more_threads_than_processors_are_refused_with_how_many_there_are(command, capsys, monkeypatch):
    monkeypatch.setattr("eddyline_runtime.arguments.usable_cores", lambda: 2)
    with pytest.raises(SystemExit) as ended:
        main([*command, "--threads", "3"])
    assert ended.value.code == 2
    told = "argument --threads: 3 are too many, for this process may use 2 processors; give 1 to 2"
    assert told in capsys.readouterr().err


def test_an_address_that_others_can_reach_is_refused(capsys):
    assert "keys" in serve("--model", "tiny", "--bind", "tcp://0.0.0.0:7860", capsys=capsys)


def test_a_gpu_that_is_too_small_is_told_in_one_line(capsys, monkeypatch):
    def fails(*given, **options):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB"
        )

    monkeypatch.setattr("eddyline_runtime.weights.load_world", fails)
    told = serve("--model", "tiny", "--random-weights", capsys=capsys)
    assert "(CUDA out of memory. Tried to allocate 2.00 GiB); close what else uses it" in told


def test_linears_in_fp8_are_refused_on_a_processor_before_a_model_is_loaded(capsys):
    assert "the networks are on cpu; use --linears plain" in serve(
        "--model", "nowhere", "--linears", "fp8", capsys=capsys
    )


def test_an_unknown_world_a_world_without_weights_and_an_unknown_profile_are_told(capsys):
    free = ("--bind", "tcp://127.0.0.1:0")
    assert "no world called 'nowhere'" in serve("--model", "nowhere", *free, capsys=capsys)
    assert "--random-weights" in serve("--model", "streamdit_4b", *free, capsys=capsys)
    tiny = ("--model", "tiny", "--random-weights")
    assert "responsive, smooth" in serve(*tiny, "--profile", "fast", *free, capsys=capsys)


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "another shape", "no card"])
def test_damaged_weights_are_named_with_the_cure(tmp_path, capsys, damage):
    card = tiny_card()
    save_world(tmp_path, card, model=StreamDiT(card.model), codec=Codec(card.codec))
    weights = tmp_path / "streamdit.safetensors"
    match damage:
        case "missing":
            weights.unlink()
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "changed":
            weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        case "another shape":
            wider = replace(card, model=replace(card.model, width=64))
            save_world(tmp_path / "wider", wider, model=StreamDiT(wider.model), codec=Codec(card.codec))
            (tmp_path / "card.json").write_text(
                (tmp_path / "wider" / "card.json").read_text().replace('"width": 64', '"width": 32')
            )
            (tmp_path / "wider" / "streamdit.safetensors").rename(weights)
        case "no card":
            (tmp_path / "card.json").write_text("{")
    line = serve("--model", str(tmp_path), "--bind", "tcp://127.0.0.1:0", capsys=capsys)
    assert "card.json" in line if damage == "no card" else "streamdit.safetensors" in line
    assert "train" in line or "reinstall" in line or "belongs to" in line


def test_the_thread_of_the_sockets_never_computes_with_workers():
    """It would keep them, and with more of them than cores the engine's are put to sleep at every operation."""
    watched = """
import json, sys, torch
from torch.utils._python_dispatch import TorchDispatchMode
from eddyline_runtime.cli import main

class Watched(TorchDispatchMode):
    alone, with_workers = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        (self.alone if torch.get_num_threads() == 1 else self.with_workers).append(str(func))
        return func(*args, **(kwargs or {}))

with Watched():  # what this thread computes, others are not watched
    main([*sys.argv[1:], "--threads", "2"])
print(json.dumps({"alone": len(Watched.alone), "with_workers": Watched.with_workers}))
"""
    running = Served(program=("-c", watched))
    game(
        running.endpoint,
        """
        view = runtime.open_view("a red fox", seed=7)
        frames(view, lambda seen: len(seen) >= 8)
        snapshot = view.snapshot()
        frames(view, lambda seen: snapshot.state == "taken")
        runtime.restore_view(snapshot.data).close()
        frames(view, lambda seen: len(seen) >= 8)
        print("null")
        """,
    )
    running.process.send_signal(signal.SIGTERM)
    said, _ = running.process.communicate(timeout=DEADLINE_S)
    computed = json.loads(said.splitlines()[-1])
    assert computed["alone"] > 0, "snapshots are packed there"
    assert computed["with_workers"] == []
