"""What `eddyline play` writes on the screen: colours, letters, the lines of receipts and of the overlay."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import pygame

from eddyline.frames import Frame
from eddyline.link import World
from eddyline.pygame import rendered
from eddyline.receipts import Receipt
from eddyline.view import View, ViewStatus

HARDLY_UNDERSTOOD = 0.4
"""Below this `understood`, a receipt is shown in amber and with the nearest phrase this world knows."""
UNREAD_CHARACTERS = 60
"""So much is shown of what a world does not read of a long text."""
FAILED = ("rejected", "superseded", "cancelled")
SMALL_PX, LARGE_PX = 22, 26
LINE_PX = 20

Colour = tuple[int, int, int]
Line = tuple[str, Colour]
PANEL: Colour = (18, 20, 26)
FIELD: Colour = (30, 33, 41)
FIELD_LEFT: Colour = (22, 24, 30)
CHIP: Colour = (36, 40, 50)
TEXT: Colour = (228, 231, 237)
FAINT: Colour = (134, 141, 154)
ACCENT: Colour = (122, 168, 214)
WARM: Colour = (255, 201, 120)
ALARM: Colour = (236, 112, 104)


class Writer:
    """Writes text in pygame's own font, in two sizes: SMALL_PX and LARGE_PX."""

    def __init__(self) -> None:
        self._fonts = {size: pygame.font.Font(None, size) for size in (SMALL_PX, LARGE_PX)}

    def block(self, screen: pygame.Surface, lines: Sequence[Line], area: pygame.Rect, *, at_top: bool) -> None:
        """Write lines on a dark, half transparent ground, so that they can be read on any picture: where there is no
        room for all of them, the first at the top, the last at the bottom."""
        if not lines or area.width < 80 or area.height < 40:
            return
        characters = max((area.width - 44) // (self._fonts[SMALL_PX].size("n")[0] + 1), 8)
        parts = [
            self.render(part, SMALL_PX, colour)
            for text, colour in lines
            for part in textwrap.wrap(text, characters, subsequent_indent="    ", replace_whitespace=False) or [""]
        ]
        room = max((area.height - 34) // LINE_PX, 1)
        parts = parts[:room] if at_top else parts[-room:]
        width = min(max(text.get_width() for text in parts) + 24, area.width - 20)
        block = pygame.Rect(area.left + 10, 0, width, LINE_PX * len(parts) + 14)
        if at_top:
            block.top = area.top + 10
        else:
            block.bottom = area.bottom - 10
        block = block.clip(area)
        ground = pygame.Surface(block.size, pygame.SRCALPHA)
        pygame.draw.rect(ground, (10, 11, 15, 200), ground.get_rect(), border_radius=8)
        for number, text in enumerate(parts):
            ground.blit(text, (12, 8 + LINE_PX * number))
        screen.blit(ground, block)

    def write(self, screen: pygame.Surface, text: str, colour: Colour, **place: tuple[int, int]) -> pygame.Rect:
        """Write one small line at a place that pygame.Rect names (`topleft=`)."""
        line = self.render(text, SMALL_PX, colour)
        return screen.blit(line, line.get_rect(**place))

    def fitting(self, hints: Sequence[str], width: int) -> str:
        """As many of the first hints, whole, as fit beside each other into so many pixels, as one small line."""
        lines = ["   ".join(hints[:count]) for count in range(len(hints) + 1)]
        return max((line for line in lines if self._fonts[SMALL_PX].size(line)[0] <= width), key=len, default="")

    def render(self, text: str, size: int, colour: Colour) -> pygame.Surface:
        """One line of text as a surface; what ends a line or a string elsewhere becomes a space."""
        return rendered(self._fonts[size], text, colour)


def how_understood(words: Receipt | ViewStatus) -> str:
    """How well this world knows some words, or the standing prompt; where that is hardly, with the nearest phrase it
    knows, if there is one; and what it does not read of them. Empty where nothing is to be said."""
    parts = []
    if words.understood is not None:
        parts.append(f"understood {words.understood:.0%}")
        if words.nearest and words.understood < HARDLY_UNDERSTOOD:
            parts.append(f"nearest '{words.nearest}'")
    if words.unread:
        more = "..." if len(words.unread) > UNREAD_CHARACTERS else ""
        parts.append(f"not read: '{words.unread[:UNREAD_CHARACTERS]}{more}'")
    return ", ".join(parts)


def is_doubtful(words: Receipt | ViewStatus) -> bool:
    """Whether this world hardly knows some words, or the standing prompt, or does not read all of them."""
    return bool(words.unread) or (words.understood is not None and words.understood < HARDLY_UNDERSTOOD)


def receipt_line(receipt: Receipt) -> str:
    """What became of some words, short enough for one line over a picture."""
    parts = [f"{receipt.kind}  {receipt.text[:50]}".rstrip()]
    if receipt.shown_s is None:
        parts.append(receipt.state)
    if receipt.reason:
        parts.append(receipt.reason[:80])
    if understood := how_understood(receipt):
        parts.append(understood)
    if receipt.steering_latency_s is not None:
        parts.append(f"shown after {receipt.steering_latency_s:.2f} s")
    elif receipt.first_influenced_frame is not None:
        parts.append(f"from frame {receipt.first_influenced_frame}")
    return "  ·  ".join(parts)


def receipt_colour(receipt: Receipt) -> Colour:
    """Red for words that came to nothing, amber for words this world hardly knows or does not read, grey until they
    show."""
    if receipt.state in FAILED:
        return ALARM
    if is_doubtful(receipt):
        return WARM
    return TEXT if receipt.shown_s is not None else FAINT


def overlay_lines(view: View, world: World | None, frame: Frame | None) -> list[str]:
    """The lines of the overlay: which world, rates, lead, latency, costs, and the words in force."""
    status = view.status
    latency = "none yet" if status.steering_latency_s is None else f"{status.steering_latency_s:.2f} s"
    lines = []
    if world is not None:
        lines.append(f"{world.model}  ·  {world.width} x {world.height} at {world.fps:g} fps  ·  {world.runtime}")
    lines += [
        f"{status.state}  ·  {status.fps_shown:.1f} fps shown, {status.fps_made:.1f} made"
        f"  ·  {status.dropped_frames} dropped",
        f"lead {status.lead_s:.2f} s, {status.waiting_frames} frames waiting, delay {status.delay_s * 1000:.0f} ms",
        f"words to screen {latency}  ·  tick {status.tick_ms:.0f} ms "
        f"(denoise {status.denoise_ms:.0f}, decode {status.decode_ms:.0f})",
    ]
    if frame is not None:
        lines.append(f"epoch {frame.epoch}  ·  frame {frame.index}  ·  chunk {frame.chunk}")
        lines.append(f"prompt  {frame.prompt[:90]}")
        if understood := how_understood(status):
            lines.append(f"standing prompt {understood}")
        lines += [f"event  {event[:90]}" for event in frame.events]
    return lines
