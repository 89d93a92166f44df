"""The SDK is thin: no torch, no pygame, little memory; and its public names are complete."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import dataclass
from types import ModuleType

import eddyline
from eddyline import errors

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "pygame", "av", "PIL", "einops", "transformers", "eddyline_runtime"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sdk_works_where_torch_and_pygame_cannot_be_imported() -> None:
    program = """
import eddyline
from eddyline.testing import ScriptedRuntime, wait_until
with ScriptedRuntime() as scripted, eddyline.connect(scripted.endpoint) as runtime:
    view = runtime.open_view("a red room")
    receipt = view.event("rain")
    wait_until(lambda: view.frame() is not None and receipt.state == "applied")
print("done")
"""
    assert run(BLOCKER + program).strip() == "done"


def test_importing_eddyline_imports_nothing_heavy() -> None:
    heavy = run("import sys, eddyline; print(*sorted({name.partition('.')[0] for name in sys.modules}))").split()
    assert not {"torch", "pygame", "av", "PIL", "transformers", "asyncio", "hypothesis", "eddyline_runtime"} & set(
        heavy
    )


def test_a_game_with_a_view_stays_within_the_memory_promised() -> None:
    program = """
import eddyline
from eddyline.measure import peak_mb
from eddyline.testing import ScriptedRuntime, wait_until
with ScriptedRuntime(height=96, width=160) as scripted, eddyline.connect(scripted.endpoint) as runtime:
    view = runtime.open_view("a red room")
    wait_until(lambda: (frame := view.frame()) is not None and frame.index > 8)
print(peak_mb("self"))
"""
    # Not the peak that rusage gives: on Linux a child inherits its parent's, and pytest may be large.
    assert float(run(program)) <= 120


def test_all_names_every_public_name() -> None:
    public = {
        name for name, value in vars(eddyline).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(eddyline.__all__) == public
    assert list(eddyline.__all__) == sorted(eddyline.__all__)


def test_every_public_name_and_method_is_documented() -> None:
    undocumented = []
    for name in eddyline.__all__:
        value = getattr(eddyline, name)
        if not is_documented(value, name):
            undocumented.append(name)
        for member, what in vars(value).items() if inspect.isclass(value) else ():
            spoken_of = callable(what) or isinstance(what, property | classmethod | staticmethod)
            if not member.startswith("_") and spoken_of and not is_documented(what, member):
                undocumented.append(f"{name}.{member}")
    assert not undocumented


def is_documented(value: object, name: str) -> bool:
    """Whether somebody wrote what it is: a dataclass without words has its signature instead."""
    return bool(value.__doc__) and not str(value.__doc__).startswith(f"{name}(")


def test_a_dataclass_and_a_property_without_words_are_not_documented() -> None:
    @dataclass
    class Bare:
        number: int

        @property
        def twice(self) -> int:
            return 2 * self.number

    assert not is_documented(Bare, "Bare")
    assert not is_documented(vars(Bare)["twice"], "twice")
    assert is_documented(eddyline.View, "View")


def test_the_exception_tree_is_drawn_whole() -> None:
    drawn = errors.__doc__ or ""
    classes = [value for value in vars(errors).values() if inspect.isclass(value)]
    assert all(issubclass(value, errors.EddylineError) for value in classes)
    assert not [value.__name__ for value in classes if value.__name__ not in drawn]
