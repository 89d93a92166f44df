"""Ten lines: a window onto a world that is dreamed while you watch. Arrow keys act; close the window to leave."""

import pygame

import eddyline.pygame

screen = eddyline.pygame.open_window((800, 480), pygame.RESIZABLE)
with eddyline.launch(profile="responsive", wait=False) as runtime:
    view = runtime.open_view("a red fox walks right in a forest by day", seed=7)
    while not any(event.type == pygame.QUIT for event in pygame.event.get()):
        view.act(eddyline.pygame.held_keys())
        eddyline.pygame.draw(view, screen, screen.get_rect())
        pygame.display.flip()
        pygame.time.wait(15)
