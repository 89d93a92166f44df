"""Three NPCs look at one game, each through a view of its own; a director tells each what it can see and hear.

You are the orange dot; under each NPC stands what it was told last. Arrows walk, Space casts a spell on whoever is
near, B rings the bell, R brings rain, F fireworks.
"""

import pygame

import eddyline
import eddyline.pygame
from eddyline.director import Director, GameEvent, Observer, Rule

NPCS = {"guard": 160, "cat": 480, "ghost": 800}
PLANS = [
    eddyline.ViewPlan("a blue guard in a castle courtyard at night, a lit torch", seed=1, stride=2, name="guard"),
    eddyline.ViewPlan("a yellow cat in a forest by day", seed=2, stride=2, name="cat"),
    eddyline.ViewPlan("a white ghost in a castle hall at sunset, a chest", seed=3, stride=2, name="ghost"),
]
RULES = [
    Rule("spell", "the hero turns into a {what}", priority=3, hold_s=6.0),
    Rule("bell", "an alarm bell rings", heard_within=400.0, priority=2),
    Rule("rain", "it starts to rain"),
    Rule("fireworks", "fireworks go off", hold_s=2.0),
    Rule("steps", "the hero walks {side}", hold_s=1.5),
]
KEYS = {pygame.K_SPACE: "spell", pygame.K_b: "bell", pygame.K_r: "rain", pygame.K_f: "fireworks"}
SIGHT = 200.0


def main() -> None:
    """Open a window and turn until it is closed."""
    pygame.init()
    screen, clock, x = eddyline.pygame.open_window((960, 300)), pygame.time.Clock(), 480.0
    font, told = pygame.font.Font(None, 18), dict(zip(NPCS, NPCS, strict=True))
    with eddyline.launch(wait=False) as runtime:
        views = {view.name: view for view in runtime.open_views(PLANS)}
        director, running = None, True
        while running:
            events = pygame.event.get()
            running = all(event.type != pygame.QUIT for event in events)
            pressed = [KEYS.get(event.key) for event in events if event.type == pygame.KEYDOWN]
            happened = [GameEvent(kind, x, what="pig") for kind in pressed if kind]
            held = pygame.key.get_pressed()
            step = 4 * (held[pygame.K_RIGHT] - held[pygame.K_LEFT])
            x = min(960.0, max(0.0, x + step))
            happened += [GameEvent("steps", x)] if step else []
            observers = [Observer(name, at, sight=SIGHT) for name, at in NPCS.items()]
            if director is None and runtime.world is not None:
                director = Director(RULES, phrases=runtime.world.phrases, observers=NPCS)
            now_s = pygame.time.get_ticks() / 1000
            for line in director.direct(happened, observers, now_s=now_s) if director else ():
                views[line.observer].event(line.text, hold_s=line.hold_s)
                told[line.observer] = f"{line.observer}: {line.text}"
            screen.fill((24, 26, 32))
            for name, at in NPCS.items():
                eddyline.pygame.draw(views[name], screen, pygame.Rect(at - 155, 5, 310, 186))
                pygame.draw.circle(screen, (200, 200, 200), (at, 250), 8)
                words = font.render(told[name], True, (200, 200, 200))
                screen.blit(words, words.get_rect(midtop=(at, 270)))
            pygame.draw.circle(screen, (240, 120, 80), (x, 220), 10)
            pygame.display.flip()
            clock.tick(60)


if __name__ == "__main__":
    main()
