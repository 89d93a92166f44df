"""A game's program: found by the name of a module or the path of a script, and run as if it had been started alone."""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eddyline.errors import EddylineError, OptionError, RecordingError


@dataclass(frozen=True)
class GameProgram:
    """A program that can be run again and again. folder: where its own modules lie."""

    name: str
    folder: Path
    program: Callable[[], object]

    def run(self, arguments: Sequence[str]) -> None:
        """Run it to its end in this process, `arguments` in `sys.argv`.

        Modules of its own are forgotten afterwards, so that the next run finds nothing of this one.

        Raises RecordingError when it fails; errors of ours pass.
        """
        modules, argv, path = set(sys.modules), sys.argv, sys.path[:]
        sys.argv = [self.name, *arguments]
        sys.path.insert(0, str(self.folder))
        try:
            self.program()
        except (SystemExit, EddylineError) as end:
            if isinstance(end, EddylineError):
                raise
        except Exception as error:
            raise RecordingError(
                f"{self.name} failed ({type(error).__name__}: {error}); what was recorded until then is kept"
            ) from error
        finally:
            sys.argv, sys.path[:] = argv, path
            for name in set(sys.modules) - modules:
                if self._owns(sys.modules[name]):
                    del sys.modules[name]

    def _owns(self, module: object) -> bool:
        file = getattr(module, "__file__", None) or ""
        return file.endswith(".py") and Path(file).resolve().is_relative_to(self.folder)


def find_game(name: str) -> GameProgram:
    """The program of a script's path, or of a module that can be imported; nothing of it is run yet, but the packages
    around a module are imported.

    Raises OptionError when there is neither.
    """
    script = Path(name)
    if script.is_file():
        return GameProgram(script.stem, script.resolve().parent, partial(runpy.run_path, name, run_name="__main__"))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise OptionError(
            f"{name}: no such script, nor a module that can be imported from here; give the path of the game's "
            "script, or the name that comes after `python -m`"
        )
    program = partial(runpy.run_module, name, run_name="__main__", alter_sys=True)
    return GameProgram(name.removesuffix(".__main__").rpartition(".")[2], Path(spec.origin).resolve().parent, program)


@contextmanager
def modules_from_here() -> Iterator[None]:
    """Within it modules are also looked for in the working directory, as `python -m` does."""
    path = sys.path[:]
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = path


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Within it these environment variables are set where they were not."""
    added = [name for name in variables if name not in os.environ]
    os.environ.update({name: variables[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
