"""`eddyline-runtime`: serve a world, train one, teach it words, evaluate one, measure one, play a journal again.

Heavy imports happen in the command that needs them, so that this help and mistakes answer at once.
"""

import argparse
import contextlib
import importlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eddyline.errors import ConfigError, EddylineError
from eddyline.install import install_hint
from eddyline_runtime.address import check_endpoint, check_free
from eddyline_runtime.arguments import MISTAKE, device_name, positive, threads
from eddyline_runtime.files import check_new_journal
from eddyline_runtime.networks.patience import rest_soon_beside_openvino
from eddyline_runtime.release import release

if TYPE_CHECKING:
    from eddyline_runtime.config import EngineConfig
    from eddyline_runtime.engine import Engine


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    given, rest = parser.parse_known_args(arguments)
    if rest and "rest" not in given:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    given.rest = rest
    try:
        run: Callable[[argparse.Namespace], int | None] = given.run
        return run(given) or 0
    except EddylineError as error:
        print(f"{given.called}: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="eddyline-runtime", description=__doc__)
    parser.add_argument("--version", action="version", version=f"eddyline-runtime {release()}")
    parser.add_argument(
        "--called", default=parser.prog, metavar="NAME", help="the command that runs this one; mistakes are told as its"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="dream a world for games on this machine")
    _add_model(serve)
    serve.add_argument(
        "--bind",
        default="tcp://127.0.0.1:7860",
        metavar="ENDPOINT",
        help="loopback only; port 0: any free (default: %(default)s)",
    )
    serve.add_argument("--profile", help="the profile of views that name none (default: the world's own)")
    serve.add_argument(
        "--linears", choices=("plain", "fp8"), default="plain", help="fp8: large matrix products in FP8, on a GPU"
    )
    serve.add_argument("--unpaced", action="store_true", help="make frames as fast as possible (to measure)")
    serve.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="write down all that is asked and made, for eddyline-runtime replay",
    )
    serve.add_argument("--max-views", type=positive, help="views open at once (default: 16)")
    serve.add_argument(
        "--max-load",
        type=_share,
        metavar="SHARE",
        help="share of the time that making chunks may take before more views are refused (0.9; inf: refuse none)",
    )
    serve.add_argument(
        "--parent-pid", type=positive, metavar="PID", help="end when this process, the direct parent, is gone"
    )
    serve.set_defaults(run=_serve)
    for name, module, about in _LAZY:
        command = commands.add_parser(name, help=about, add_help=False)
        command.set_defaults(run=_lazily(name, module), rest=[])
    return parser


_LAZY = (
    ("train", "eddyline_runtime.training.cli", "train a world from recordings or videos"),
    ("learn-words", "eddyline_runtime.training.words_cli", "teach a world to read words it was not trained on"),
    ("evaluate", "eddyline_runtime.evaluation.cli", "measure how well a world follows words"),
    ("bench", "eddyline_runtime.bench", "measure speed, latency and memory"),
    ("replay", "eddyline_runtime.replay_cli", "play a journal again: compare its frames, or film them"),
)


def _lazily(name: str, module_name: str) -> Callable[[argparse.Namespace], int | None]:
    """A command whose module is imported when it runs; the module has `add_arguments(parser)` and `run(arguments)`."""

    def run(given: argparse.Namespace) -> int | None:
        if name == "replay":  # which computes as serve did, and with a device it reads in the journal, after torch
            rest_soon_beside_openvino("cpu")
        with _told_what_to_install("train" if name in ("train", "evaluate") else "runtime"):
            module = importlib.import_module(module_name)
        parser = argparse.ArgumentParser(prog=f"{given.called} {name}", description=module.__doc__)
        module.add_arguments(parser)
        status: int | None = module.run(parser.parse_args(given.rest))
        return status

    return run


@contextlib.contextmanager
def _told_what_to_install(extra: str) -> Iterator[None]:
    """Imports in this context that fail for want of a package end with what to install (ConfigError)."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; run: {install_hint(extra)}") from error


@contextlib.contextmanager
def _told_what_does_not_fit() -> Iterator[None]:
    """A GPU whose memory runs out in this context ends it with what to do (ConfigError)."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        needed = ". ".join(str(error).split(". ")[:2])
        raise ConfigError(
            f"the GPU has too little memory for this world ({needed}); close what else uses it, let fewer views in "
            "(--max-views), or serve a smaller world"
        ) from error


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="diorama", help="a world's name, or its folder (default: %(default)s)")
    parser.add_argument("--random-weights", action="store_true", help="seeded noise instead of weights (to measure)")
    parser.add_argument(
        "--device", type=device_name, default="cpu", help="cpu, cuda, cuda:1, ... (default: %(default)s)"
    )
    parser.add_argument("--threads", type=threads, help="CPU threads of the model; all cores by default")


def _share(text: str) -> float:
    share = float(text)
    if not share > 0:
        raise argparse.ArgumentTypeError(f"{share} is not above 0")
    return share


def _say(**line: object) -> None:
    """One line of JSON for whoever started this process."""
    print(json.dumps(line), flush=True)


def _say_cut(path: Path) -> Callable[[str], None]:
    """Says why a journal ended too soon; that nobody listens any more is no fault of the runtime's."""

    def say(reason: str) -> None:
        with contextlib.suppress(OSError):
            _say(journal_ended=str(path), reason=reason)

    return say


def _serve(given: argparse.Namespace) -> int:
    try:
        _serve_until_stopped(given)
    except EddylineError as error:
        _say(error=str(error))
        raise
    return 0


def _serve_until_stopped(given: argparse.Namespace) -> None:
    parent_is_gone = _follow_parent(given.parent_pid)
    _say(progress=0.0, doing="starting")
    check_endpoint(given.bind)
    check_free(given.bind)
    if given.journal:
        check_new_journal(given.journal)
    _say(progress=0.05, doing="loading the libraries")
    rest_soon_beside_openvino(given.device)
    with _told_what_to_install("runtime"):
        import torch

        from eddyline_runtime.apart import compute_here_without_workers, computed_apart
        from eddyline_runtime.config import ServerConfig
        from eddyline_runtime.journal import JournalWriter, header
        from eddyline_runtime.networks.choice import computed_by
        from eddyline_runtime.precision import check_device
        from eddyline_runtime.server import Server
        from eddyline_runtime.weights import card_of

    if given.threads:
        torch.set_num_threads(given.threads)
    check_device(given.device)
    if given.linears == "fp8":
        _check_fp8(given.device)
    own_profile = card_of(given.model).profile_name(given.profile)
    config = _engine_config(given)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_told_what_does_not_fit())
        engine, said_of_fp8 = computed_apart(lambda: _engine(given, config, own_profile))
        journal = None
        if given.journal:
            head = header(engine.world, config, served_as=given.model, random_weights=given.random_weights)
            journal = stack.enter_context(JournalWriter(given.journal, head, on_cut=_say_cut(given.journal)))
        server = Server(engine, ServerConfig(bind=given.bind), journal=journal)
        _say(progress=0.6, doing="warming up")
        computed_apart(lambda: engine.warm_up(lambda done: _say(progress=0.6 + 0.39 * done, doing="warming up")))
        compute_here_without_workers()
        endpoint = server.bind()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        networks = computed_by(engine.world)
        _say(ready=True, endpoint=endpoint, model=engine.world.card.name, networks=networks, **said_of_fp8)

        def on_turn() -> None:
            if parent_is_gone():
                server.stop()

        server.run(on_turn)


def _check_fp8(device: str) -> None:
    """Raise ConfigError where the device multiplies nothing in FP8."""
    import torch

    from eddyline_runtime.networks.fp8 import check_fp8
    from eddyline_runtime.precision import default_dtype

    place = torch.device(device)
    capability = torch.cuda.get_device_capability(place) if place.type == "cuda" else None
    check_fp8(place, default_dtype(device), capability=capability)


def _engine_config(given: argparse.Namespace) -> "EngineConfig":
    """How the engine is set: a GPU warms up for as many views as fit into one batch."""
    from eddyline_runtime.config import EngineConfig

    config = EngineConfig(paced=not given.unpaced)
    if given.max_views:
        config = replace(config, max_views=given.max_views)
    if given.max_load:
        config = replace(config, max_load=None if math.isinf(given.max_load) else given.max_load)
    if given.device.startswith("cuda"):
        config = replace(config, warm_up_views=min(config.max_batch, config.max_views))
    return config


def _engine(given: argparse.Namespace, config: "EngineConfig", own_profile: str) -> "tuple[Engine, dict[str, float]]":
    """The engine of the world that is asked for, and what the ready line says of its linears in FP8."""
    with _told_what_to_install("runtime"):
        from eddyline_runtime.engine import Engine
        from eddyline_runtime.networks.choice import fitted
        from eddyline_runtime.networks.folder import cache_folder
        from eddyline_runtime.networks.fp8 import quantise_world
        from eddyline_runtime.weights import load_world

    _say(progress=0.3, doing="loading the model")
    world = load_world(given.model, device=given.device, random_weights=given.random_weights)
    _say(progress=0.5, doing="fitting the networks to this processor")
    world = fitted(world, cache=cache_folder())
    world = replace(world, card=replace(world.card, default_profile=own_profile))
    said_of_fp8: dict[str, float] = {}
    if given.linears == "fp8":
        partition = world.card.profiles[own_profile].partition
        said_of_fp8 = {"fp8_error": quantise_world(world, partition)}
    return Engine(world, config, clock=time.monotonic), said_of_fp8


def _follow_parent(pid: int | None) -> Callable[[], bool]:
    """Arrange to end with a parent process; returns a check for systems that do not tell."""
    if pid is None:
        return lambda: False
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    return lambda: os.getppid() != pid


if __name__ == "__main__":
    sys.exit(main())
