"""A scene that can be saved, branched and rewound. Below it, what was branched off: the same scene, where it rains.

F branches, Backspace goes five seconds back, S saves to a file, L goes on from the file. Arrow keys act in both.
"""

import tempfile
from pathlib import Path

import pygame

import eddyline
import eddyline.pygame

SAVED = Path(tempfile.gettempdir()) / "what_if.eddyline"


def main() -> None:
    """Open a window and turn until it is closed."""
    pygame.init()
    screen, clock = eddyline.pygame.open_window((640, 780)), pygame.time.Clock()
    hint = pygame.font.Font(None, 24).render("F branches off what is above, where it rains", True, (150, 157, 170))
    places = pygame.Rect(0, 0, 640, 384), pygame.Rect(0, 396, 640, 384)
    with eddyline.launch(profile="responsive", wait=False) as runtime:
        view, branch = runtime.open_view("a yellow fox in a meadow by day", seed=5), None
        while True:
            for event in pygame.event.get():
                if event.type == pygame.QUIT:
                    return
                if event.type != pygame.KEYDOWN:
                    continue
                if event.key == pygame.K_BACKSPACE:
                    view.rewind(5.0)
                elif event.key == pygame.K_s:
                    view.snapshot()
                elif event.key == pygame.K_l and SAVED.exists():
                    view.close()
                    view = runtime.restore_view(SAVED.read_bytes())
                elif event.key == pygame.K_f:
                    if branch is not None:
                        branch.close()
                    branch = view.fork()
                    branch.event("it starts to rain", hold_s=60.0)
            for note in runtime.poll():
                if isinstance(note, eddyline.SnapshotTaken) and note.snapshot.state == "taken":
                    note.snapshot.save(SAVED)
                pygame.display.set_caption(str(note))
            screen.fill((24, 26, 32))
            screen.blit(hint, hint.get_rect(center=places[1].center))  # until there is a branch
            for shown, place in zip((view, branch), places, strict=True):
                if shown is not None:
                    shown.act(eddyline.pygame.held_keys())
                    eddyline.pygame.draw(shown, screen, place)
            pygame.display.flip()
            clock.tick(60)


if __name__ == "__main__":
    main()
