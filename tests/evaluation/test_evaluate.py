"""An evaluation, part after part: everything is measured and written, a break loses only what was running."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from eddyline.errors import OptionError
from eddyline_runtime import cli
from eddyline_runtime.evaluation import evaluate as evaluating
from eddyline_runtime.evaluation.drift import DriftPlan
from eddyline_runtime.evaluation.evaluate import PARTS, check_parts, continued, evaluate, parts_with_suites, quick_share
from eddyline_runtime.evaluation.figures import Evaluation, Figure, Made, read_evaluation, to_json
from eddyline_runtime.evaluation.measures import figures_of
from eddyline_runtime.evaluation.parts import Piece, Plan, Subject
from eddyline_runtime.evaluation.probe import Probe
from eddyline_runtime.evaluation.reference import Ceilings, Reference
from eddyline_runtime.evaluation.rival_part import rival_names
from eddyline_runtime.evaluation.samples import OWN, PARAPHRASED, Sample
from eddyline_runtime.evaluation.suite import Press, Scene, Suite, Turn
from eddyline_runtime.evaluation.table import table
from eddyline_runtime.weights import World, save_world

SCENE = Scene(prompt="a red knight by day", labels={"time": "day", "doing": "stands", "happening": "none"})
FRESH = Evaluation(world="tiny", profile="smooth", seeds=(0, 1), made=Made(date="d", command="c", machine="m"))
REFERENCE = Reference(
    probe="",
    scenes="",
    ceilings=Ceilings(
        adherence={"time": 0.99},
        motion={"dynamic_degree": 1.5, "flicker": 2.5},
        border_jump={8: 1.0},
        steering={8: {"right": 0.98}},
        actions={"direction": 0.97},
        receipts={"seen": 0.96},
    ),
    recorded=np.random.default_rng(0).uniform(0, 255, (3, 6, 3)).astype(np.float32),
    again=np.random.default_rng(1).uniform(0, 255, (3, 6, 3)).astype(np.float32),
)


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suites")
    turns = [
        Turn(scene=SCENE, verb=verb, words="night falls", attribute="time", value=value)
        for verb in ("event", "prompt")
        for value in ("day", "night")
    ]
    press = Press(scene=SCENE, keys=("ArrowLeft",), attribute="doing", value="walks left")
    written = {
        "held_out": Suite(name="", description="", scenes=(SCENE,) * 3),
        "paraphrase": Suite(name="", description="", scenes=(SCENE,) * 2),
        "steering": Suite(name="", description="", turns=tuple(turns)),
        "actions": Suite(name="", description="", presses=(press,) * 2),
    }
    for name, suite in written.items():
        (folder / f"{name}.json").write_bytes(msgspec.json.encode(asdict(suite)))
    return folder


@pytest.fixture(scope="module")
def subject(world: World, brightness: Probe, suites: Path) -> Subject:
    return Subject(world=world, profile="smooth", probe=brightness, suites=suites, reference=REFERENCE)


def never_saved(evaluation: Evaluation, samples: object) -> None:
    """A save that keeps nothing."""


def ticking() -> Callable[[], float]:
    seconds = iter(range(100))
    return lambda: float(next(seconds))


def test_every_part_gives_its_figures_with_ceilings_and_is_saved_when_it_is_done(subject: Subject) -> None:
    plan = Plan(
        drift_streams=2,
        drift=DriftPlan(minutes=3, minute_s=2.0, windows=2, window_s=0.5),
        rivals=("clip-t16",),
        rival_scenes=2,
        rival_s=2.0,
        samples=1,
    )
    saved: list[tuple[set[str], list[Sample]]] = []
    found = evaluate(
        subject,
        plan,
        tuple(PARTS),
        FRESH,
        save=lambda so_far, samples: saved.append((set(so_far.made.seconds), list(samples))),
        clock=ticking(),
    )
    assert found.adherence["time"].n == 3 * 2, "three scenes under two seeds"
    assert found.adherence["time"].ceiling == 0.99
    assert found.paraphrase["time"].n == 2
    assert found.steering["right"].n == 4
    assert found.steering["right"].ceiling == 0.98
    assert found.receipts["seen"].n == 2, "of four turns two are events"
    assert found.receipts["seen"].ceiling == 0.96
    assert found.actions["direction"].n == 2
    assert found.places == {}, "no turn of these changes the place"
    assert set(found.drift) == {"time", "doing", "happening", "dynamic_degree"}
    assert found.frechet is not None
    assert found.frechet.n == 3, "the scenes of the first seed"
    assert found.frechet.ceiling is not None
    assert found.border_jump is not None
    assert found.border_jump.ceiling == 1.0
    assert list(found.rivals) == [OWN, "clip-t16"]
    own, clip = found.rivals.values()
    assert (own.calls_per_second, clip.calls_per_second) == (2.0, 16 * 16 / 32)
    assert own.border_jump is not None
    assert clip.border_jump is None
    assert all(np.isfinite(figure.value) for figure in figures_of(found).values())
    pieces = (1, 1, 1, 1, 1, 2, 1, 2)
    done = [part + ended for part, count in enumerate(pieces) for ended in (*[False] * count, True)]
    assert [seconds for seconds, _ in saved] == [set(tuple(PARTS)[:count]) for count in done]
    assert [sample.name for _, samples in saved for sample in samples] == [OWN, PARAPHRASED, OWN, "clip-t16"]
    assert json.loads(to_json(found))["rivals"]["clip-t16"]["adherence"]["time"]["n"] == 2
    printed = table(found)
    assert "adherence.time" in printed
    assert "clip-t16: 8.0 network calls a second" in printed


def test_parts_measured_again_replace_themselves_and_leave_others(subject: Subject) -> None:
    kept = Figure(value=0.5, ci95=(0.4, 0.6), n=10)
    before = replace(FRESH, steering={"right": kept}, actions={"direction": kept})
    after = evaluate(subject, Plan(limit=1), ("actions",), before, save=never_saved, clock=ticking())
    assert after.steering == {"right": kept}
    assert after.actions["direction"].n == 1


def test_without_a_reference_there_are_figures_without_ceilings(subject: Subject) -> None:
    bare = replace(subject, reference=None)
    found = evaluate(bare, Plan(seeds=(0,), limit=1), ("adherence",), FRESH, save=never_saved, clock=ticking())
    assert found.frechet is None
    assert all(figure.ceiling is None for figure in figures_of(found).values())


def test_parts_come_in_their_order_and_unknown_ones_are_refused(suites: Path, tmp_path: Path) -> None:
    assert check_parts(("drift", "adherence")) == ("adherence", "drift")
    with pytest.raises(OptionError, match="'drfit' is unknown; use some of adherence, "):
        check_parts(("drfit",))
    everything = ("adherence", "paraphrase", "steering", "actions", "places", "drift")
    assert parts_with_suites(suites, samples=False, rivals=False) == everything
    assert parts_with_suites(suites, samples=True, rivals=True) == tuple(PARTS)
    assert parts_with_suites(tmp_path, samples=True, rivals=True) == ()


def test_rivals_are_named_one_by_one_or_in_groups() -> None:
    assert rival_names(("default",)) == ("fifo", "reuse_and_diffuse", "clip")
    assert rival_names(("clip", "default")) == ("clip", "fifo", "reuse_and_diffuse")
    assert len(rival_names(("all",))) > 10
    with pytest.raises(OptionError, match="'fifa' is unknown; use some of default, "):
        rival_names(("fifa",))


def test_an_evaluation_goes_on_only_from_one_of_the_same_world_profile_and_seeds() -> None:
    before = replace(FRESH, made=replace(FRESH.made, date="earlier", seconds={"drift": 3.0}))
    assert continued(before, FRESH).made == replace(FRESH.made, seconds={"drift": 3.0})
    for other in (replace(FRESH, profile="responsive"), replace(FRESH, seeds=(1,)), replace(FRESH, world="w")):
        with pytest.raises(OptionError, match="write to another file"):
            continued(before, other)


def test_the_quick_share_is_of_four_attributes_together() -> None:
    def figure(value: float) -> Figure:
        return Figure(value=value, ci95=(0.0, 1.0), n=12)

    read = {"place": figure(1.0), "time": figure(0.5), "weather": figure(0.0), "all": figure(0.0)}
    assert quick_share(replace(FRESH, adherence=read)) == 0.75
    assert quick_share(FRESH) == 0.0


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of random weights on disk, with a probe that knows nothing."""
    out = tmp_path_factory.mktemp("world")
    save_world(out, world.card, model=world.model, codec=world.codec)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        labels = {"time": ("night", "day"), "doing": ("stands", "walks left"), "happening": ("none", "lightning")}
        Probe(labels | {"hero": tuple("abcdefgh")}).save(out / "probe.safetensors")
    return out


def test_the_command_measures_writes_goes_on_and_prints(
    folder: Path, suites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "e.json"
    given = ["evaluate", "--model", str(folder), "--suite", str(suites), "--seeds", "3", "--json", str(file)]
    assert cli.main([*given, "--only", "actions"]) == 0
    assert cli.main([*given, "--only", "paraphrase", "--limit", "1"]) == 0
    found = read_evaluation(file)
    assert (found.actions["direction"].n, found.paraphrase["time"].n) == (2, 1)
    assert set(found.made.seconds) == {"actions", "paraphrase"}
    assert "--only paraphrase,actions --limit 1" in found.made.command, "all that is in the file"
    assert str(tmp_path) not in found.made.command + json.dumps(found.made.versions)
    assert "actions.direction" in capsys.readouterr().out
    assert cli.main([*given[:-3], "4", "--json", str(file), "--only", "actions"]) == cli.MISTAKE
    assert "write to another file" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told_before_anything_is_measured(
    folder: Path, suites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    given = ["evaluate", "--model", str(folder), "--suite", str(suites), "--only", "actions"]
    assert cli.main([*given, "--report", str(tmp_path / "file" / "report")]) == cli.MISTAKE
    told = capsys.readouterr()
    assert f"the folder {tmp_path / 'file' / 'report'} cannot be made" in told.err
    assert not told.out


def test_rivals_get_as_many_scenes_as_are_asked_for_and_a_file_holds_those_of_one_number(
    folder: Path, suites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "e.json"
    given = ["evaluate", "--model", str(folder), "--suite", str(suites), "--json", str(file), "--only", "rivals"]
    assert cli.main([*given, "--rivals", "clip-t16", "--rival-scenes", "1"]) == 0
    found = read_evaluation(file)
    assert {name: rival.adherence["time"].n for name, rival in found.rivals.items()} == {OWN: 1, "clip-t16": 1}
    assert found.made.command.endswith("--rivals clip-t16 --rival-scenes 1")
    assert cli.main([*given, "--rivals", "clip-t32", "--rival-scenes", "2"]) == cli.MISTAKE
    assert "has streamdit on 1 scenes, this evaluation has 2; write to another file" in capsys.readouterr().err
    assert read_evaluation(file) == found


def test_ctrl_c_loses_only_the_part_that_was_running_and_says_how_to_go_on(
    folder: Path,
    suites: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def found(subject: Subject, plan: Plan) -> Iterator[Piece]:
        yield Piece({"actions": {"direction": Figure(value=1.0, ci95=(0.5, 1.0), n=4)}})

    def stopped(subject: Subject, plan: Plan) -> Iterator[Piece]:
        yield Piece({"drift": {"hero": Figure(value=0.0, ci95=(0.0, 0.0), n=1)}})
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluating, "PARTS", {"actions": found, "drift": stopped, "rivals": stopped})
    file = tmp_path / "e.json"
    given = ["evaluate", "--model", str(folder), "--suite", str(suites), "--json", str(file)]
    assert cli.main([*given, "--only", "actions,drift,rivals"]) == 130
    assert read_evaluation(file).actions["direction"].n == 4
    assert "e.json keeps the parts before; go on with --only drift,rivals" in capsys.readouterr().err


def test_a_world_that_follows_no_words_fails_the_quick_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = tuple(Scene(prompt="a knight", labels={"hero": letter}) for letter in "abcdefgh")
    suite = asdict(Suite(name="", description="", scenes=scenes))
    (tmp_path / "held_out.json").write_bytes(msgspec.json.encode(suite))
    assert cli.main(["evaluate", "--quick", "--model", str(folder), "--suite", str(tmp_path)]) == 1
    assert "FAILED" in capsys.readouterr().out
    for amount in ("--limit", "--rival-scenes"):
        assert cli.main(["evaluate", "--quick", amount, "3", "--model", str(folder)]) == cli.MISTAKE


def test_the_shipped_world_passes_the_quick_run(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    assert cli.main(["evaluate", "--quick", "--json", str(file)]) == 0
    found = read_evaluation(file)
    assert found.adherence["place"].n == 12
    assert found.frechet is not None
    assert found.frechet.ceiling is not None
