"""`eddyline-runtime evaluate`: how well a world follows words and keys, how it looks and moves, and for how long.

Dreams the scenes of a frozen suite, reads them with the probe, prints every figure with its 95 % interval and with what
recordings of the real game reach, and writes them as JSON. `--report` draws tables, contact sheets and a rating page.
"""

import argparse
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from eddyline.errors import OptionError
from eddyline_runtime.arguments import positive
from eddyline_runtime.evaluation.evaluate import (
    PARTS,
    QUICK,
    QUICK_SHARE,
    check_parts,
    continued,
    evaluate,
    made_here,
    parts_with_suites,
    quick_share,
)
from eddyline_runtime.evaluation.figures import Evaluation, read_evaluation, write_evaluation
from eddyline_runtime.evaluation.parts import Plan, Subject
from eddyline_runtime.evaluation.probe import load_probe
from eddyline_runtime.evaluation.reference import FILE, load_reference
from eddyline_runtime.evaluation.report import REPORT, write_report
from eddyline_runtime.evaluation.rival_part import GROUPS, check_same_scenes, rival_names
from eddyline_runtime.evaluation.samples import Sample, read_samples, write_samples
from eddyline_runtime.evaluation.suite import suite_folder
from eddyline_runtime.evaluation.table import table
from eddyline_runtime.files import check_writable, make_folder, sha256_of
from eddyline_runtime.networks.choice import computed_by, fitted
from eddyline_runtime.networks.folder import cache_folder
from eddyline_runtime.weights import card_of, load_world, world_folder

FAILED = 1
"""Exit status of a quick run that did not reach its share."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eddyline-runtime evaluate`."""
    parser.add_argument("--suite", default="diorama", help="a shipped world's suites, or a folder of suites")
    parser.add_argument("--model", default="diorama", help="a shipped world's name, or a world's folder")
    parser.add_argument("--probe", type=Path, help="probe.safetensors (default: the one beside the world's weights)")
    parser.add_argument(
        "--profile", default="", help="smooth, responsive or fine, or another that it has (default: its own)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, after every part")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="draw tables, contact sheets and a rating page there"
    )
    parser.add_argument("--quick", action="store_true", help=f"a smoke test: fails below {QUICK_SHARE * 100:.0f} %%")
    parser.add_argument(
        "--only", type=_words, metavar="PART,PART", help=f"of {','.join(PARTS)}; other parts of FILE are kept"
    )
    parser.add_argument(
        "--rivals", type=_words, metavar="NAME,NAME", help=f"ways of streaming to compare with, or {', '.join(GROUPS)}"
    )
    parser.add_argument(
        "--rival-scenes", type=positive, metavar="N", help=f"scenes for rivals (default: {Plan().rival_scenes})"
    )
    parser.add_argument("--seeds", type=_numbers, metavar="N,N", help="adherence is measured under each (default: 0,1)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only so many items of each suite")
    parser.add_argument("--drift-streams", type=positive, metavar="N", help="streams of ten minutes (default: 12)")


def run(arguments: argparse.Namespace) -> int:
    """Measure a world, print the table, write what was asked for; returns the exit code.

    Raises:
        EddylineError: world, probe, suite or an option is unusable; each says what to do.
    """
    if arguments.json is not None:
        check_writable(arguments.json)
    if arguments.report is not None:
        make_folder(arguments.report)
        check_writable(arguments.report / REPORT)
    plan, subject = _plan(arguments), _subject(arguments)
    names = _parts(arguments, subject.suites)
    done = before = _before(arguments, subject, plan, names)

    def save(evaluation: Evaluation, samples: Sequence[Sample]) -> None:
        nonlocal done
        done = evaluation
        if arguments.json is not None:
            write_evaluation(evaluation, arguments.json)
        if arguments.report is not None:
            write_samples(_samples(arguments.report), samples)

    try:
        evaluate(subject, plan, names, before, save=save, clock=time.monotonic)
    except KeyboardInterrupt:
        left = [name for name in names if done.made.seconds.get(name) == before.made.seconds.get(name)]
        kept = f"{arguments.json} keeps the parts before; " if arguments.json else ""
        print(f"stopped; {kept}go on with --only {','.join(left)}", file=sys.stderr)
        raise
    print(table(done))
    if arguments.report is not None:
        write_report(done, read_samples(_samples(arguments.report)), arguments.report, fps=subject.fps)
    return _verdict(done) if arguments.quick else 0


def _samples(report: Path) -> Path:
    """Where the dreams that a report shows are kept, so that it can be drawn again."""
    return report / "samples"


def _subject(arguments: argparse.Namespace) -> Subject:
    profile = card_of(arguments.model).profile_name(arguments.profile or None)
    world = fitted(load_world(arguments.model), cache=cache_folder())
    suites = suite_folder(arguments.suite)
    probe = arguments.probe or world_folder(arguments.model) / "probe.safetensors"
    loaded = load_probe(probe)
    reference = load_reference(suites, sha256_of(probe)) if (suites / FILE).exists() else None
    return Subject(world=world, profile=profile, probe=loaded, suites=suites, reference=reference)


def _plan(arguments: argparse.Namespace) -> Plan:
    if arguments.quick:
        amounts = (arguments.rivals, arguments.rival_scenes, arguments.limit, arguments.seeds, arguments.drift_streams)
        if arguments.only or any(amounts):
            raise OptionError("--quick measures what it always measures; leave the other amounts out, or leave it out")
        return QUICK
    plan = Plan(limit=arguments.limit)
    wants_rivals = "rivals" in (arguments.only or ())
    return replace(
        plan,
        seeds=arguments.seeds or plan.seeds,
        drift_streams=arguments.drift_streams or plan.drift_streams,
        rival_scenes=arguments.rival_scenes or plan.rival_scenes,
        rivals=rival_names(arguments.rivals or (("default",) if wants_rivals else ())),
    )


def _parts(arguments: argparse.Namespace, suites: Path) -> tuple[str, ...]:
    if arguments.quick:
        return ("adherence",)
    if arguments.only:
        return check_parts(arguments.only)
    return parts_with_suites(suites, samples=arguments.report is not None, rivals=bool(arguments.rivals))


def _before(arguments: argparse.Namespace, subject: Subject, plan: Plan, names: Sequence[str]) -> Evaluation:
    """An evaluation without a figure, or, for some parts only, the one that was written."""
    goes_on = arguments.only and arguments.json is not None and arguments.json.exists()
    written = read_evaluation(arguments.json) if goes_on else None
    if written is not None and "rivals" in names:
        check_same_scenes(written, subject.suites, plan)
    parts = set(names if arguments.only else ()) | set(written.made.seconds if written else ())
    command = _command(arguments, subject, plan, parts)
    fresh = Evaluation(
        world=subject.world.card.name,
        profile=subject.profile,
        seeds=plan.seeds,
        made=made_here(command, date.today().isoformat(), networks=computed_by(subject.world)),
    )
    return continued(written, fresh) if written else fresh


def _command(arguments: argparse.Namespace, subject: Subject, plan: Plan, parts: Collection[str]) -> str:
    """The command that measures all this in one go; without folders, which are of this machine alone. `parts`: to be
    named; none: those that a command measures of itself."""
    words = ["eddyline-runtime evaluate", f"--suite {subject.suites.name}", f"--profile {subject.profile}"]
    words += ["--quick"] if arguments.quick else [f"--seeds {','.join(map(str, plan.seeds))}"]
    words += [f"--only {','.join(name for name in PARTS if name in parts)}"] if parts else []
    words += [f"--limit {plan.limit}"] if arguments.limit else []
    words += [f"--drift-streams {plan.drift_streams}"] if arguments.drift_streams else []
    words += [f"--rivals {','.join(arguments.rivals)}"] if arguments.rivals else []
    words += [f"--rival-scenes {plan.rival_scenes}"] if arguments.rival_scenes else []
    return " ".join(words)


def _verdict(evaluation: Evaluation) -> int:
    share = quick_share(evaluation)
    reached = share >= QUICK_SHARE
    wanted = f"{QUICK_SHARE:.0%} are wanted"
    print(f"place, time, hero and colour right: {share:.0%}; {wanted}: {'passed' if reached else 'FAILED'}")
    return 0 if reached else FAILED


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(word) for word in _words(text))
    if not numbers or min(numbers) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers from 0 on, such as 0,1")
    return numbers
