"""The window of `eddyline play`: what its keys do, and what it shows.

type, Enter          an event: something that happens for a while
type, Shift+Enter    a new prompt: the standing description; the world goes on from where it is
type, Ctrl+Enter     a cut: a new scene from fresh noise
Tab, click           complete with what this world knows
arrow keys           held input; all other keys too once the text line is left (Esc, or a click on the picture)
F1                   overlay: rates, lead, latency, words in force, receipts
Ctrl+Z               go five seconds back; the world goes on from there
F12                  save a picture
R, Ctrl+R            record an mp4, until pressed again (R alone is a letter while the text line has the focus)
Ctrl+Q               leave
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pygame

from eddyline.client import Runtime
from eddyline.clip import Clip
from eddyline.errors import EddylineError
from eddyline.frames import Frame
from eddyline.hud import (
    ACCENT,
    ALARM,
    CHIP,
    FAILED,
    FAINT,
    FIELD,
    FIELD_LEFT,
    LARGE_PX,
    PANEL,
    SMALL_PX,
    TEXT,
    WARM,
    Colour,
    Line,
    Writer,
    how_understood,
    is_doubtful,
    overlay_lines,
    receipt_colour,
    receipt_line,
)
from eddyline.link import World
from eddyline.notes import ClipEnded, ConnectionRegained, Note, ReceiptChanged, RuntimeGone, ViewClosed, ViewOpened
from eddyline.pygame import BACKGROUND, draw, draw_placeholder, held_keys, surface_of
from eddyline.receipts import Receipt
from eddyline.screenplay import DIORAMA_SCRIPT
from eddyline.view import View, ViewStatus
from eddyline.wordline import WordLine

PICTURE_PX = (960, 576)
PANEL_PX = 112
"""Height of the panel under the picture: suggestions, the text line, the keys."""
TURNS_PER_SECOND = 60
REDRAW_S = 0.25
"""Without a new frame or a key the window is redrawn this often (the caret blinks, lines fade out)."""
TOAST_S = 7.0
"""How long what became of some words stays over the picture."""
EVENT_HOLD_S = 6.0
REWIND_S = 5.0
SAVED_SCALE = 4
"""Saved pictures are enlarged this many times."""
KEYS_TYPING = (
    "Enter event",
    "Shift+Enter prompt",
    "Ctrl+Enter new scene",
    "Esc keys",
    "Tab complete",
    "Ctrl+Z back",
    "Ctrl+R film",
    "F1 overlay",
    "F12 picture",
)
KEYS_PLAYING = ("arrows and letters act", "Enter type", "R film", "F1 overlay", "F12 picture")
"""What the keys do with the text line and without it, the most important first: as many are shown as there is room."""
ARROWS = frozenset(("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"))


@dataclass(frozen=True)
class PlayOptions:
    """What `eddyline play` was asked for. `endpoint`: a runtime that is already there, instead of launching `model`;
    `out`: the folder for films and pictures; `seconds`: of video, without a window; `script`: a file of what to film in
    place of a window; `journal`: a file for the runtime's journal."""

    model: str = "diorama"
    profile: str | None = None
    endpoint: str | None = None
    random_weights: bool = False
    prompt: str | None = None
    seed: int = 0
    out: Path = Path("out")
    seconds: float = 20.0
    headless: bool = False
    script: Path | None = None
    journal: Path | None = None


class Window:
    """The window: one turn takes in what was typed and what the runtime says, and draws."""

    def __init__(
        self,
        screen: pygame.Surface,
        runtime: Runtime,
        options: PlayOptions,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.screen = screen
        self.runtime = runtime
        self.options = options
        self.line = WordLine()
        self.view: View | None = None
        self.overlay = False
        self.clip: Clip | None = None
        """What is being recorded, until its end was told."""
        self.failure = ""
        """Why nothing more will come; empty while all is well."""
        self.chips: list[tuple[pygame.Rect, str]] = []
        """The suggestions on the screen and where they are."""
        self._clock = clock
        self._frame: Frame | None = None
        self._receipts: deque[Receipt] = deque(maxlen=6)
        self._toasts: deque[tuple[float, str, Colour]] = deque(maxlen=4)
        self._down: set[int] = set()
        self._recording_since_s = 0.0
        self._drawn_s = -REDRAW_S
        self._opening_told = False  # or nothing to tell any more: the status is of the prompt in force
        self._writer = Writer()

    def run(self) -> None:
        """Turn until the window is closed."""
        ticker = pygame.time.Clock()
        while self.turn(pygame.event.get()):
            ticker.tick(TURNS_PER_SECOND)

    def news(self) -> list[str]:
        """What stands over the lower left of the picture: what became of the latest words, and what else happened."""
        return [text for text, _ in self._news_lines(self._clock())]

    def turn(self, events: Sequence[pygame.event.Event]) -> bool:
        """One turn of the loop. Returns False when the window is to be closed."""
        for event in events:
            if not self._handle(event):
                return False
        notes = self.runtime.poll()
        for note in notes:
            self._take_note(note)
        if self.view is None and not self.failure and self.runtime.ready and self.runtime.world is not None:
            self._open_view(self.runtime.world)
        fresh = False
        if self.view is not None:
            if not self.view.is_closed:
                held = held_keys()
                self.view.act([key for key in held if key in ARROWS] if self.line.has_focus else held)
            fresh = self._take_frame(self.view.frame())
            if not self._opening_told:
                self._tell_opening(self.view.status)
        now_s = self._clock()
        if fresh or events or notes or now_s - self._drawn_s >= REDRAW_S:
            self._drawn_s = now_s
            self._draw(now_s)
            pygame.display.flip()
        return True

    # ---- what comes in

    def _open_view(self, world: World) -> None:
        options = self.options
        self.line.phrases = world.phrases
        opening = DIORAMA_SCRIPT[0][1] if world.model == "diorama" else next(iter(world.phrases), "a quiet landscape")
        self.view = self.runtime.open_view(
            options.prompt or opening, seed=options.seed, profile=options.profile, name="play"
        )

    def _tell_opening(self, status: ViewStatus) -> None:
        """Once the runtime read the first prompt, say so if this world hardly knows it: it has no receipt."""
        if understood := how_understood(status):
            self._opening_told = True
            if is_doubtful(status):
                self._toast(f"the first prompt: {understood}", WARM)

    def _take_frame(self, frame: Frame | None) -> bool:
        if frame is None or not frame.is_new:
            return False
        self._frame = frame
        return True

    def _take_note(self, note: Note) -> None:
        match note:
            case ReceiptChanged(receipt=receipt):
                if receipt.state in FAILED and receipt not in self._receipts:
                    self._receipts.append(receipt)
            case ClipEnded(clip=clip):
                self.clip = None
                self._toast(str(note), ALARM if clip.state == "failed" else TEXT)
            case RuntimeGone() | ViewClosed():
                self.failure = str(note)
            case ViewOpened(again=False):
                pass
            case ViewOpened() | ConnectionRegained():
                self._toast(str(note), TEXT)
            case _ if self.view is not None:
                self._toast(str(note), WARM)

    def _handle(self, event: pygame.event.Event) -> bool:
        if event.type == pygame.QUIT:
            return False
        if event.type == pygame.KEYUP:
            self._down.discard(event.key)
        elif event.type == pygame.TEXTINPUT and self.line.has_focus:
            self.line.type(event.text)
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
            self._click(event.pos)
        elif event.type == pygame.KEYDOWN:
            repeated = event.key in self._down
            self._down.add(event.key)
            if event.key == pygame.K_BACKSPACE and self.line.has_focus:
                self.line.erase(word=bool(event.mod & (pygame.KMOD_CTRL | pygame.KMOD_ALT)))
            elif not repeated:
                return self._press(event.key, event.mod)
        return True

    def _press(self, key: int, mod: int) -> bool:
        control = bool(mod & (pygame.KMOD_CTRL | pygame.KMOD_META))
        if key == pygame.K_q and control:
            return False
        if key == pygame.K_F1:
            self.overlay = not self.overlay
        elif key == pygame.K_F12:
            self._save_picture()
        elif key == pygame.K_r and (control or not self.line.has_focus):
            self._toggle_clip()
        elif key == pygame.K_z and control:
            self._rewind()
        elif key in (pygame.K_RETURN, pygame.K_KP_ENTER):
            self._enter(shift=bool(mod & pygame.KMOD_SHIFT), control=control)
        elif key == pygame.K_ESCAPE:
            self.line.escape()
        elif key == pygame.K_TAB:
            self.line.has_focus = True
            for phrase in self.line.suggestions(1):
                self.line.complete(phrase)
        return True

    def _enter(self, *, shift: bool, control: bool) -> None:
        if not self.line.has_focus:
            self.line.has_focus = True
            return
        if self.view is None or self.view.is_closed:
            return
        text = self.line.take()
        if not text:
            return
        try:
            if control:
                receipt = self.view.cut(text)
                self._opening_told = True
            elif shift:
                receipt = self.view.prompt(text)
                self._opening_told = True
            else:
                receipt = self.view.event(text, hold_s=EVENT_HOLD_S)
        except EddylineError as error:
            self._toast(str(error), ALARM)
            return
        self._receipts.append(receipt)

    def _rewind(self) -> None:
        if self.view is not None and not self.view.is_closed:
            try:
                self._receipts.append(self.view.rewind(REWIND_S))
            except EddylineError as error:
                self._toast(str(error), ALARM)

    def _click(self, position: tuple[int, int]) -> None:
        for rect, phrase in self.chips:
            if rect.collidepoint(position):
                self.line.complete(phrase)
                self.line.has_focus = True
                return
        self.line.has_focus = position[1] >= self.screen.get_height() - PANEL_PX

    def _save_picture(self) -> None:
        if self._frame is None:
            self._toast("there is no picture yet", WARM)
            return
        surface = surface_of(self._frame.pixels)
        size = (surface.get_width() * SAVED_SCALE, surface.get_height() * SAVED_SCALE)
        try:
            file = self._new_file("png")
            file.parent.mkdir(parents=True, exist_ok=True)
            pygame.image.save(pygame.transform.smoothscale(surface, size), str(file))
        except (OSError, pygame.error) as error:
            self._toast(f"the picture cannot be saved in {self.options.out}: {error}", ALARM)
            return
        self._toast(f"picture saved: {file}", TEXT)

    def _toggle_clip(self) -> None:
        """Begin to record, or finish what is being recorded; a note tells what became of it."""
        if self.clip is not None:
            self.clip.finish()
        elif self.view is None:
            self._toast("there is nothing to record yet", WARM)
        else:
            try:
                self.clip, self._recording_since_s = self.view.record(self._new_file("mp4")), self._clock()
            except (EddylineError, OSError) as error:
                self._toast(str(error), ALARM)

    def _new_file(self, ending: str) -> Path:
        stem = f"eddyline-{datetime.now():%Y%m%d-%H%M%S}"
        names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
        files = (self.options.out / f"{name}.{ending}" for name in names)
        return next(file for file in files if not file.exists())

    # ---- what is seen

    def _draw(self, now_s: float) -> None:
        whole = self.screen.get_rect()
        picture = pygame.Rect(0, 0, whole.width, max(whole.height - PANEL_PX, 0))
        if self.failure:
            self.screen.fill(BACKGROUND, picture)
            self._writer.block(
                self.screen, [("this world has ended", TEXT), (self.failure, ALARM)], picture, at_top=True
            )
        elif self.view is None:
            progress = self.runtime.progress
            draw_placeholder(
                self.screen, picture, fraction=progress.fraction, doing=progress.doing or "starting the runtime"
            )
        else:
            self._take_frame(draw(self.view, self.screen, picture))
            if self.overlay:
                self._writer.block(self.screen, self._overlay_lines(self.view), picture, at_top=True)
        self._writer.block(self.screen, self._news_lines(now_s), picture, at_top=False)
        self._draw_panel(pygame.Rect(0, picture.bottom, whole.width, whole.height - picture.bottom), now_s)

    def _draw_panel(self, panel: pygame.Rect, now_s: float) -> None:
        self.screen.fill(PANEL, panel)
        left, right = panel.left + 14, panel.right - 14
        self._draw_chips(left, right, panel.top + 10)
        field = pygame.Rect(left, panel.top + 42, max(right - left, 0), 36)
        pygame.draw.rect(self.screen, FIELD if self.line.has_focus else FIELD_LEFT, field, border_radius=6)
        if self.line.has_focus:
            pygame.draw.rect(self.screen, ACCENT, field, width=1, border_radius=6)
        inner = field.inflate(-20, 0)
        hint = "what happens?" if self.line.has_focus else "press Enter or click here to type"
        shown = self._writer.render(self.line.text or hint, LARGE_PX, TEXT if self.line.text else FAINT)
        place = shown.get_rect(midleft=inner.midleft)
        if place.width > inner.width:
            place.right = inner.right
        before = self.screen.get_clip()
        self.screen.set_clip(inner.inflate(4, 0).clip(before))
        self.screen.blit(shown, place)
        self.screen.set_clip(before)
        if self.line.has_focus and int(now_s * 2) % 2 == 0:
            caret = place.right + 1 if self.line.text else inner.left - 2
            pygame.draw.line(self.screen, ACCENT, (caret, field.top + 8), (caret, field.bottom - 9), 2)
        status, colour = self._status()
        status_left = self._writer.write(self.screen, status, colour, topright=(right, panel.top + 87)).left
        keys = KEYS_TYPING if self.line.has_focus else KEYS_PLAYING
        fitting = self._writer.fitting(keys, status_left - 20 - left)
        self._writer.write(self.screen, fitting, FAINT, topleft=(left, panel.top + 87))

    def _draw_chips(self, left: int, right: int, top: int) -> None:
        self.chips = []
        for phrase in self.line.suggestions(8):
            text = self._writer.render(phrase, SMALL_PX, TEXT)
            rect = pygame.Rect(left, top, text.get_width() + 18, 24)
            if rect.right > right:
                break
            pygame.draw.rect(self.screen, CHIP, rect, border_radius=12)
            self.screen.blit(text, text.get_rect(center=rect.center))
            self.chips.append((rect, phrase))
            left = rect.right + 8

    def _status(self) -> tuple[str, Colour]:
        if self.clip is not None:
            seconds = int(self._clock() - self._recording_since_s)
            return f"recording {seconds // 60}:{seconds % 60:02d}", ALARM
        if self.failure:
            return "ended", ALARM
        if self.view is None:
            return f"starting {self.runtime.progress.fraction:.0%}", FAINT
        return f"{self.view.state}  {self.view.status.fps_shown:.0f} fps", FAINT

    def _news_lines(self, now_s: float) -> list[Line]:
        lines = []
        if not self.overlay:
            recent = [receipt for receipt in self._receipts if now_s - receipt.sent_s < TOAST_S]
            lines = [(receipt_line(receipt), receipt_colour(receipt)) for receipt in recent]
        while self._toasts and now_s - self._toasts[0][0] > TOAST_S:
            self._toasts.popleft()
        return lines + [(text, colour) for _, text, colour in self._toasts]

    def _overlay_lines(self, view: View) -> list[Line]:
        lines = [(text, TEXT) for text in overlay_lines(view, self.runtime.world, self._frame)]
        if self._receipts:
            lines.append(("receipts", FAINT))
        return lines + [(f"  {receipt_line(receipt)}", receipt_colour(receipt)) for receipt in self._receipts]

    def _toast(self, text: str, colour: Colour) -> None:
        self._toasts.append((self._clock(), text, colour))
