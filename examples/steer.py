"""A game loop that steers a world: keys raise events, change the prompt, cut to a new scene; the title shows receipts.

Controls: 1 rain, 2 night, 3 fireworks, 4 a transformation; Space the next prompt; C cut; P pause; arrow keys act.
"""

import itertools

import pygame

import eddyline
import eddyline.pygame

EVENTS = {
    pygame.K_1: "it starts to rain",
    pygame.K_2: "night falls",
    pygame.K_3: "fireworks go off",
    pygame.K_4: "the hero turns into a ghost",
}
PROMPTS = itertools.cycle(
    ["a blue knight stands in a castle hall at night", "a yellow pig walks left on a beach at sunset"]
)


def main() -> None:
    """Open a window and turn until it is closed."""
    pygame.init()
    screen = eddyline.pygame.open_window((960, 576), pygame.RESIZABLE)
    clock = pygame.time.Clock()
    with eddyline.launch(profile="responsive", wait=False) as runtime:
        view = runtime.open_view("a red fox walks right in a forest by day", seed=7)
        running = True
        while running:
            for event in pygame.event.get():
                running = running and event.type != pygame.QUIT
                if event.type != pygame.KEYDOWN:
                    continue
                if event.key in EVENTS:
                    view.event(EVENTS[event.key], hold_s=4.0)
                elif event.key == pygame.K_SPACE:
                    view.prompt(next(PROMPTS))
                elif event.key == pygame.K_c:
                    view.cut(next(PROMPTS))
                elif event.key == pygame.K_p:
                    view.resume() if view.state == "paused" else view.pause()
            for note in runtime.poll():
                pygame.display.set_caption(str(note))
            view.act(eddyline.pygame.held_keys())
            eddyline.pygame.draw(view, screen, screen.get_rect())
            pygame.display.flip()
            clock.tick(60)


if __name__ == "__main__":
    main()
