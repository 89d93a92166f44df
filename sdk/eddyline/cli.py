"""The command `eddyline`: play, record, replay, doctor, ping."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from eddyline.errors import EddylineError
from eddyline.install import install_hint

_N = TypeVar("_N", int, float)

_SCRIPTS = """\
A script for --script says on each line the second of the film, the verb and the words:

  # a walk that ends in a castle
  0    prompt: a red fox walks right in a forest by day
  2.5  event (4 s): it starts to rain
  5    keys: ArrowRight, ArrowUp
  7    keys:
  8    cut: a blue knight stands in a castle hall at night
  12   end

The prompt at 0 opens the view (--prompt takes its place). An event lasts 4 s unless it says how long; keys holds those
that are named and lets go of all others. Without end, the film ends 5 s after the last line.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit status: 0 when all went well, 1 when not, 2 for a wrong call, 130 after Ctrl+C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # words are of any script, and not every terminal writes all
    options = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except EddylineError as error:
        print(f"eddyline: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eddyline", description="Open a world that a model dreams, and steer it with words and keys."
    )
    parser.add_argument("--version", action="version", version=_version("eddyline"))
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    play = verbs.add_parser(
        "play",
        help="a window onto a world; without a display, or with --script, a film and a contact sheet",
        epilog=_SCRIPTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    play.set_defaults(verb=_play)
    play.add_argument("--model", default="diorama", help="name or folder of a world (default: diorama)")
    play.add_argument("--profile", help="smooth, responsive or fine, or another of the world's (default: its own)")
    play.add_argument("--endpoint", metavar="TCP", help="play on a runtime that is already there, tcp://host:port")
    play.add_argument("--random-weights", action="store_true", help="let a model without weights dream noise")
    play.add_argument("--prompt", help="the scene to begin with")
    play.add_argument("--seed", type=_seed, default=0, help="the same seed and words give the same stream (default: 0)")
    play.add_argument("--out", type=Path, default=Path("out"), help="folder for films and pictures (default: out)")
    play.add_argument("--headless", action="store_true", help="do as without a display")
    length = play.add_mutually_exclusive_group()  # a script says how long it is
    length.add_argument(
        "--script", type=Path, metavar="FILE", help="film this script, with a display, too; see below how to write one"
    )
    length.add_argument(
        "--seconds",
        type=_seconds,
        default=20.0,
        help="of video to play without a display: as many steps of the script as have 2.5 s each (default: 20, all 8)",
    )
    play.add_argument("--journal", type=Path, metavar="FILE", help="write down all that happens, for eddyline replay")

    replay = verbs.add_parser("replay", help="play a journal again: compare its frames, or film them")
    replay.set_defaults(verb=_replay)
    replay.add_argument("file", type=Path, metavar="FILE", help="a journal, of play --journal")
    replay.add_argument("--verify", action="store_true", help="compare each frame; status 1 when one differs")
    replay.add_argument("--video", type=Path, metavar="MP4", help="film a view, with its words as subtitles")
    replay.add_argument(
        "--view", metavar="VIEW", help="which view to film, by number or name (default: the first of the journal)"
    )
    replay.add_argument("--model", help="name or folder of a world (default: the journal's)")

    record = verbs.add_parser(
        "record",
        help="record a pygame game as it is, for training a world of one's own",
        usage="eddyline record OUT [options] -- GAME [argument ...]",
    )
    record.set_defaults(verb=_record)
    record.add_argument("out", type=Path, metavar="OUT", help="folder of the recording")
    record.add_argument("game", nargs="+", metavar="GAME", help="module or script of the game, and its arguments")
    record.add_argument("--play", type=_player, default=None, metavar="SEED", help="let a robot play (default: none)")
    record.add_argument(
        "--keys",
        type=lambda text: tuple(text.split(",")),
        default=("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Space"),
        help="W3C names of the keys to record, separated by commas (default: the four arrows and Space)",
    )
    record.add_argument("--minutes", type=float, default=10.0, help="of video (default: 10)")
    record.add_argument("--fps", type=float, default=16.0, help="frames a second (default: 16)")
    record.add_argument(
        "--size", type=_size, help="such as 128x96, multiples of 16 (default: by the game's proportions)"
    )
    record.add_argument("--caption", help="the words of all frames (default: the title of the game's window)")
    record.add_argument("--add", action="store_true", help="add to the recording that OUT holds")

    doctor = verbs.add_parser("doctor", help="what is installed, what is missing, what to do")
    doctor.set_defaults(verb=_doctor)

    ping = verbs.add_parser("ping", help="ask a runtime whether it is there")
    ping.set_defaults(verb=_ping)
    ping.add_argument("endpoint", help="tcp://host:port")
    ping.add_argument("--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="(default: 5)")
    return parser


def _seed(text: str) -> int:
    seed = _number(int, text)
    if seed is None or not 0 <= seed < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r}; give a whole number from 0 to 2**63 - 1")
    return seed


def _seconds(text: str) -> float:
    seconds = _number(float, text)
    if seconds is None or not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r}; give seconds, over 0 and up to 3600")
    return seconds


def _player(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return _seed(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or none to play yourself") from None


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    across, down = _number(int, width), _number(int, height)
    if across is None or down is None:
        raise argparse.ArgumentTypeError(f"{text!r}; give width and height in pixels, such as 128x96")
    return across, down


def _number(kind: Callable[[str], _N], text: str) -> _N | None:
    """What a text says as a number; None when it is none: argparse would name the function in its place."""
    try:
        return kind(text)
    except ValueError:
        return None


def _play(options: argparse.Namespace) -> int:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    needed = {"pygame": "pygame", "av": "PyAV", "PIL": "Pillow"}
    missing = [called for module, called in needed.items() if importlib.util.find_spec(module) is None]
    if options.endpoint is None and importlib.util.find_spec("torch") is None:
        missing.append("torch")
    if missing:
        print(f"eddyline play needs {', '.join(missing)}; run: {install_hint('play')}", file=sys.stderr)
        return 1
    from eddyline.play import play
    from eddyline.window import PlayOptions

    status = play(
        PlayOptions(
            model=options.model,
            profile=options.profile,
            endpoint=options.endpoint,
            random_weights=options.random_weights,
            prompt=options.prompt,
            seed=options.seed,
            out=options.out,
            seconds=options.seconds,
            headless=options.headless,
            script=options.script,
            journal=options.journal,
        ),
        say=lambda text: print(text, flush=True),
    )
    if options.journal is not None:
        print(f"play it again: eddyline replay {options.journal} --verify")
    return status


def _replay(options: argparse.Namespace) -> int:
    from eddyline.film_files import film_path
    from eddyline.launch import run_command

    if options.video is not None:
        film_path(options.video)
    arguments = ["replay", str(options.file)]
    for name in ("video", "view", "model"):
        value = getattr(options, name)
        if value is not None:
            arguments.append(f"--{name}={value}")  # a name may begin with a dash
    if options.verify:
        arguments.append("--verify")
    return run_command(arguments)


def _record(options: argparse.Namespace) -> int:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if importlib.util.find_spec("pygame") is None:
        print(f"eddyline record needs pygame; run: {install_hint('play')}", file=sys.stderr)
        return 1
    from eddyline.record_game import RecordOptions, record_game

    given = RecordOptions(
        game=options.game[0],
        arguments=options.game[1:],
        out=options.out,
        size=options.size,
        fps=options.fps,
        minutes=options.minutes,
        caption=options.caption,
        robot_seed=options.play,
        keys=options.keys,
        add=options.add,
    )
    recorded = record_game(given, say=lambda text: print(text, flush=True))
    width, height = recorded.size
    print(f"{recorded.frames} frames of {width} x {height} in {options.out}, from {recorded.runs} runs of the game")
    return 0


def _ping(options: argparse.Namespace) -> int:
    from eddyline.client import connect

    with connect(options.endpoint, timeout_s=options.timeout) as runtime:
        world = runtime.world
        assert world is not None
        print(
            f"{options.endpoint}: {world.runtime} dreams {world.model}, {world.width} x {world.height} at "
            f"{world.fps:g} frames a second; profiles {', '.join(world.profiles)}; up to {world.max_views} views"
        )
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from eddyline.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{'ok  ' if finding.well else 'MISS'} {finding.what:<{width}}  {finding.found}")
        if finding.cure:
            print(f"     {'':<{width}}  -> {finding.cure}")
    return 0 if all(finding.well or not finding.needed for finding in findings) else 1


def _version(distribution: str) -> str:
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{distribution} (not installed: run from a checkout)"


if __name__ == "__main__":
    sys.exit(main())
