"""`eddyline-runtime replay`: play a journal again, and compare its frames with those that were made, or film them."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from tqdm import tqdm

from eddyline.errors import ConfigError, JournalError
from eddyline.film_files import film_path
from eddyline.install import install_hint
from eddyline_runtime import replay
from eddyline_runtime.arguments import device_name, threads
from eddyline_runtime.journal import End, JournalReader, Tick, build_of, other_build
from eddyline_runtime.networks.choice import fitted
from eddyline_runtime.networks.folder import cache_folder
from eddyline_runtime.networks.fp8 import quantise_linears
from eddyline_runtime.precision import check_device
from eddyline_runtime.replay import Counts, Difference, Shown, Step
from eddyline_runtime.requests import Fork, Open, Restore
from eddyline_runtime.view import Chunk, WaitingFrame
from eddyline_runtime.weights import World, WorldCard, load_world

DIFFERENT = 1
"""Exit status when a frame is not as the journal says."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a journal, of serve --journal")
    parser.add_argument("--verify", action="store_true", help="compare each frame; status 1 when one differs")
    parser.add_argument("--video", type=Path, metavar="MP4", help="film a view, with its words as subtitles")
    parser.add_argument(
        "--view", metavar="VIEW", help="which view to film, by number or name (default: the first of the journal)"
    )
    parser.add_argument("--model", help="a world's name, or its folder (default: the journal's)")
    parser.add_argument("--device", type=device_name, help="cpu, cuda, cuda:1, ... (default: the journal's)")
    parser.add_argument("--threads", type=threads, help="CPU threads of the model (default: the journal's)")


def run(given: argparse.Namespace) -> int:
    """Play a journal again. Returns 0, or 1 when a frame is not as the journal says."""
    reader = JournalReader(given.file)
    if not (given.verify or given.video):
        raise ConfigError("nothing to do with the journal; give --verify, --video MP4 or both")
    if given.video:
        film_path(given.video)
    view = _wanted_view(reader, given.view) if given.video and given.view is not None else None
    world = _world(reader, given)
    filming = _Filming(given.video, view, world.card, reader.header.fps) if given.video else None
    try:
        counts, difference = _play(reader, world, verify=given.verify, filming=filming)
    finally:
        if filming is not None:
            filming.close()
    for line in _told(reader, world, counts, difference) if given.verify else ():
        print(line)
    if filming is not None:
        print(filming.told())
    return DIFFERENT if difference else 0


def _wanted_view(reader: JournalReader, wanted: str) -> int:
    """The number of the view that has it, or this name; a number goes before a name that reads like one.

    Raises:
        JournalError: no view or more than one is called so; told before a long replay finds that out.
    """
    names = {record.view: record.name for _, record in reader if isinstance(record, Open | Fork | Restore)}
    found = [view for view in names if str(view) == wanted] or [
        view for view, name in names.items() if wanted and name == wanted
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise JournalError(f"{len(found)} views are called {wanted!r}; give the number of one: {_listed(found)}")
    told = _listed(f"{view} ({name!r})" if name else view for view, name in names.items())
    raise JournalError(f"there is nothing to film: the journal has no view {wanted!r}; it has {told or 'none'}")


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things))


def _world(reader: JournalReader, given: argparse.Namespace) -> World:
    head = reader.header
    device = given.device or head.build.device.split()[0]
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"the journal was made on a GPU ({head.build.device}), and there is none; try --device cpu")
    check_device(device)
    computed_by, _, precision = head.build.networks.partition(" ")
    numbers, _, linears = precision.partition(" ")
    dtype = getattr(torch, numbers, None)
    if not isinstance(dtype, torch.dtype):
        raise JournalError(f"{reader.path}: {numbers!r} is no type of numbers; the file was changed")
    torch.set_num_threads(given.threads or head.build.threads)
    world = load_world(given.model or head.served_as, device=device, dtype=dtype, random_weights=head.random_weights)
    if linears == "fp8":
        quantise_linears(world.model)
    return fitted(world, cache=cache_folder(), choice="torch" if computed_by == "torch" else "auto")


def _play(
    reader: JournalReader, world: World, *, verify: bool, filming: "_Filming | None"
) -> tuple[Counts, Difference | None]:
    """Play all of a journal, or without a film up to the first difference. A terminal is told how far it is."""
    counts, difference = Counts(), None
    with tqdm(desc="played again", unit=" frames", disable=None, leave=False) as bar:
        for step in replay.play(reader, world):
            if verify and difference is None:
                difference = replay.compare(step, counts)
            if filming is not None:
                filming.take(step)
            elif difference is not None:
                break
            bar.update(sum(len(outcome.frames) for outcome in step.outcomes if isinstance(outcome, Chunk)))
    return counts, difference


def _told(reader: JournalReader, world: World, counts: Counts, difference: Difference | None) -> list[str]:
    """What came of a comparison, in sentences."""
    lines = []
    other = other_build(reader.header.build, build_of(world))
    if difference is not None:
        where = "" if difference.frame is None else f", frame {difference.frame}"
        lines.append(
            f"different: view {difference.view}, epoch {difference.epoch}{where} (line {difference.line}): "
            f"{difference.what}; {counts.frames} frames before it are identical"
        )
        if other:
            lines.append(f"frames are the same bit for bit on one build only, and this is another one: {other}")
        return lines
    views = len(counts.views)
    lines.append(
        f"identical: all {counts.frames} frames of {views} view{'s' * (views != 1)}, in {counts.chunks} chunks"
    )
    if other:
        lines.append(f"though this is another build: {other}")
    if reader.left_out_bytes:
        lines.append(f"the last record was not whole: {reader.left_out_bytes} bytes of it were left out")
    ending = reader.ended or "it does not say: the runtime was killed, the disk was full, or it still runs"
    lines.append(f"why the journal ends: {ending}")
    return lines


class _Filming:
    """Films one view of a journal that is played."""

    def __init__(self, path: Path, view: int | None, card: WorldCard, fps: float) -> None:
        try:
            from eddyline.film import Film
        except ModuleNotFoundError as error:
            raise ConfigError(f"{error.name} is not installed; run: {install_hint('video')}") from error
        self._new_film: Callable[[float], Film] = lambda rate: Film(path, fps=rate)
        self._film: Film | None = None
        self._path = path
        self._view = view
        self._card = card
        self._fps = fps
        self._shown = None if view is None else Shown(view)
        self._strides: dict[int, int] = {}

    def take(self, step: Step) -> None:
        """Film what was shown once this step is done."""
        if not isinstance(step.record, Tick | End):
            stride = replay.stride(step.record, self._strides, self._card)
            if stride is not None:
                self._strides[step.record.view] = stride
        if self._shown is None and self._strides:
            self._view = next(iter(self._strides))
            self._shown = Shown(self._view)
        if self._shown is not None:
            self._add(self._shown.after(step))

    def close(self) -> None:
        """Film what was made and not shown yet, and finish the file."""
        if self._shown is not None:
            self._add(self._shown.rest())
        if self._film is not None:
            self._film.close()

    def told(self) -> str:
        """What became of the film.

        Raises:
            JournalError: the view made no frame.
        """
        if self._film is None:
            known = _listed(self._strides) or "no views"
            raise JournalError(f"there is nothing to film: view {self._view} showed no frame; the journal has {known}")
        return f"film: {self._path}, {self._film.frames} frames of view {self._view}"

    def _add(self, frames: list[WaitingFrame]) -> None:
        for frame in frames:
            if self._film is None:
                assert self._view is not None
                self._film = self._new_film(self._fps / self._strides[self._view])
            chunk = frame.chunk
            words = "; ".join((chunk.prompt, *chunk.events))
            self._film.add(frame.pixels, epoch=chunk.epoch, index=frame.index, words=words)
