"""Eddyline: views on a world that a model dreams, steered by words and keys.

    import eddyline, eddyline.pygame

    with eddyline.launch() as runtime:                      # or eddyline.connect("tcp://127.0.0.1:7860")
        view = runtime.open_view("a fox walks through a snowy forest at night", seed=7)
        while running:
            if storm_begins:
                receipt = view.event("it starts to rain, lightning flashes", hold_s=4.0)
            view.act(eddyline.pygame.held_keys())           # held keys; the latest state wins
            for note in runtime.poll():                     # receipts that changed, errors, lost connections
                print(note)
            eddyline.pygame.draw(view, screen, screen.get_rect())

Nothing that a game's loop needs waits for the model. A mistake in a call raises an `EddylineError`; what goes wrong
later, `poll()` tells.
"""

from eddyline.client import Runtime, ViewPlan, connect
from eddyline.clip import Clip
from eddyline.errors import EddylineError
from eddyline.frames import Frame
from eddyline.launch import launch
from eddyline.link import World
from eddyline.notes import (
    ClipEnded,
    ConnectionLost,
    ConnectionRegained,
    ErrorReported,
    JournalEnded,
    Note,
    NotesLost,
    Progress,
    ReceiptChanged,
    RuntimeGone,
    RuntimeStalled,
    RuntimeStopped,
    SnapshotTaken,
    ViewClosed,
    ViewOpened,
)
from eddyline.receipts import Receipt
from eddyline.snapshots import Snapshot
from eddyline.view import View, ViewStatus

__all__ = [
    "Clip",
    "ClipEnded",
    "ConnectionLost",
    "ConnectionRegained",
    "EddylineError",
    "ErrorReported",
    "Frame",
    "JournalEnded",
    "Note",
    "NotesLost",
    "Progress",
    "Receipt",
    "ReceiptChanged",
    "Runtime",
    "RuntimeGone",
    "RuntimeStalled",
    "RuntimeStopped",
    "Snapshot",
    "SnapshotTaken",
    "View",
    "ViewClosed",
    "ViewOpened",
    "ViewPlan",
    "ViewStatus",
    "World",
    "connect",
    "launch",
]
