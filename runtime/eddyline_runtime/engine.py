"""The engine: one tick = choose the views that are due, denoise them as one batch, pop, decode, emit.

No sockets, no threads: whoever owns the engine calls it and hands on what it returns. The clock is an argument, so that
tests run in lockstep. Views of equal profile are rows of one batch; a scene that begins advances by one network call
between the ticks of the others, so that they keep their rate.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eddyline.errors import OptionError
from eddyline_runtime import bookmarks, moments, prompts, scheduling
from eddyline_runtime.actions import ActionChange, action_vector
from eddyline_runtime.admission import BatchCosts
from eddyline_runtime.config import EngineConfig, Profile
from eddyline_runtime.costs import TickCosts
from eddyline_runtime.dreamer import Dreamer
from eddyline_runtime.flow.buffer import shift
from eddyline_runtime.flow.sampler import Opening, advance_openings, denoise_tick
from eddyline_runtime.history import History
from eddyline_runtime.model.streamdit import STRIDES
from eddyline_runtime.moments import Moment
from eddyline_runtime.outcomes import Outcome, Rested, Rewound, Saved, Told, ViewStatus
from eddyline_runtime.prompts import Note, Slot, Wish
from eddyline_runtime.rows import row_of, rows_expected, texts_needed
from eddyline_runtime.scheduling import Candidate, Timeline
from eddyline_runtime.snapshot import Snapshot
from eddyline_runtime.understanding import KnownPhrases, Understanding
from eddyline_runtime.view import Bookmark, Chunk, NoiseKey, Unshown, ViewState, count_frames, unshown_chunks
from eddyline_runtime.weights import World

WARM_UP_CHUNKS = 3
"""Chunks made in each profile before anyone is let in: the first is slow, the others say what a tick costs."""

PROMPTS_PER_VIEW = 8
"""Of so many prompts for each view it is remembered how well they are understood."""
FRESH_PER_TICK = 4
"""Words of one view whose text a tick encodes only to say how well they are understood; of more it does not say."""


@dataclass
class _Costs:
    """What a view's last tick took, and the time between its last two chunks."""

    denoise_s: float = 0.0
    decode_s: float = 0.0
    tick_s: float = 0.0
    made_s: float = -math.inf
    interval_s: float = math.inf


class Engine:
    """Dreams any number of views of one world. All methods belong to one thread."""

    def __init__(self, world: World, config: EngineConfig, *, clock: Callable[[], float]) -> None:
        self.world = world
        self.config = config
        self.ticks = 0
        """Batches made so far, openings not counted."""
        self.batches: list[tuple[int, ...]] = []
        """The views of each batch of the last tick."""
        self._clock = clock
        self._dreamer = Dreamer(world, text_cache=max(config.text_cache, self._texts_in_force()), clock=clock)
        self._phrases = KnownPhrases(world.text_encoder, world.card.phrases, world.learned)
        self._views: dict[int, ViewState] = {}
        self._costs: dict[int, _Costs] = {}
        self._history: dict[int, History] = {}
        self._understood: OrderedDict[str, Understanding | None] = OrderedDict()
        """How well prompts are understood that were read, the least recently asked for forgotten first: views that are
        forked, rewound or restored stand under prompts that others read."""
        self._tick_costs = TickCosts(config.cost_memory)
        self._scenes = count()

    @property
    def batch_costs(self) -> Mapping[Hashable, BatchCosts]:
        """What ticks of each profile took lately, by the number of views in them; any thread may ask."""
        return self._tick_costs.medians

    def _texts_in_force(self) -> int:
        """How many texts one tick of all views may need: of their slots, with and without events, of the words it
        applies, and no text."""
        slots = max(profile.partition.buffer_frames for profile in self.world.card.profiles.values())
        return self.config.max_views * (2 * slots + prompts.MAX_EVENTS + 1) + 1

    # ---- what a view is told

    def open_view(
        self, view: int, *, prompt: str, seed: int, profile: str = "", stride: int = 1, epoch: int = 0
    ) -> ViewState:
        """Open a view; its first chunk comes after some ticks.

        Raises:
            OptionError: the number is taken, there are `max_views`, or profile or stride is unknown.
        """
        card = self.world.card
        profile = profile or card.default_profile
        self._check_room(view)
        if profile not in card.profiles:
            raise OptionError(f"profile {profile!r} is unknown; this world has {', '.join(sorted(card.profiles))}")
        if stride not in STRIDES:
            raise OptionError(f"stride {stride} is unknown; use one of {STRIDES}")
        chosen = card.profiles[profile]
        words = prompts.open_words(
            prompt,
            reference_frames=chosen.partition.reference_frames,
            num_chunks=chosen.partition.num_chunks,
            chunk_frames=chosen.partition.chunk_frames,
        )
        no_actions = (0.0,) * len(card.action_names)
        state = ViewState(
            view=view,
            profile=chosen,
            stride=stride,
            epoch=epoch,
            frames_per_latent=card.codec.frames_per_latent,
            words=words,
            actions=no_actions,
            action_change=ActionChange(no_actions, no_actions),
            noise=NoiseKey(seed),
        )
        self._begin_scene(state, seed)
        return self._enter(state)

    def _check_room(self, view: int) -> None:
        if view in self._views:
            raise OptionError(f"view {view} is open already; choose another number")
        if len(self._views) >= self.config.max_views:
            raise OptionError(f"{len(self._views)} views are open, the limit is {self.config.max_views}; close one")

    def _enter(self, state: ViewState) -> ViewState:
        self._views[state.view] = state
        self._costs[state.view] = _Costs()
        chunk_s = state.chunk_frames / self._fps(state)
        self._history[state.view] = History(seconds=self.config.history_s, chunk_s=chunk_s)
        return state

    def _opened(self, view: int) -> ViewState:
        """Raises OptionError unless a view of this number is open."""
        if view not in self._views:
            known = ", ".join(map(str, self._views)) or "none"
            raise OptionError(f"view {view} is not open; open it first, or name one that is: {known}")
        return self._views[view]

    def moment(self, view: int) -> Moment:
        """What another view needs to go on as this one would.

        Raises:
            OptionError: the view is not open, or its scene is still beginning.
        """
        return moments.take(self._opened(view))

    def revive_view(
        self,
        view: int,
        moment: Moment,
        *,
        at_s: float,
        epoch: int = 0,
        unshown: Sequence[Unshown] = (),
        bookmarks: Mapping[str, Bookmark] | None = None,
    ) -> list[Chunk]:
        """Open a view that goes on from a moment of this world, of this or of another view.

        Args:
            at_s: when its playhead starts, if there are frames to be shown.
            unshown: frames before the first new one that are shown first; they count in the epoch.
            bookmarks: the places that it can return to.

        Returns:
            the unshown frames, as chunks of this view.

        Raises:
            OptionError: the number is taken, or there are `max_views`.
        """
        self._check_room(view)
        pending = prompts.without_receipts(moment.words).pending
        state = self._revived(moment, view=view, epoch=epoch, shown_again=count_frames(unshown), pending=pending)
        state.bookmarks = bookmarks or {}
        chunks = self._enter_showing(state, unshown, at_s)
        self._remember([state])
        return chunks

    def _enter_showing(self, state: ViewState, unshown: Sequence[Unshown], at_s: float) -> list[Chunk]:
        """Let a view in that first shows frames of another one, from `at_s` on; those frames as its chunks."""
        if unshown:
            state.timeline = Timeline(fps=self._fps(state), start_s=at_s, made=count_frames(unshown))
        self._enter(state)
        chunks = unshown_chunks(state, unshown, made_s=at_s)
        for chunk in chunks:
            self._history[state.view].add_chunk(chunk, frame=chunk.first_frame)
        return chunks

    def fork_view(self, source: int, view: int, *, at_s: float) -> list[Chunk]:
        """Open a view that goes on from where another one is on the screen at `at_s`: under its words and keys, from
        its noise. Each then goes its own way.

        Returns:
            what the source has made and not shown yet, as chunks of the new view.

        Raises:
            OptionError: the source is not open, the number is taken, or there are `max_views`.
        """
        state, unshown = self._opened(source), self.unshown(source, at_s)
        if state.opening is not None:
            self._check_room(view)
            forked = moments.begin_alike(state, view=view, epoch=0, shown_again=count_frames(unshown))
            return self._enter_showing(forked, unshown, at_s)
        return self.revive_view(
            view,
            self.moment(source),
            at_s=at_s,
            epoch=0,
            unshown=unshown,
            bookmarks=state.bookmarks,
        )

    def save_view(self, view: int, number: int, *, at_s: float) -> Saved:
        """A snapshot of a view as it is on the screen at `at_s`.

        Raises:
            OptionError: the view is not open.
        """
        state = self._opened(view)
        if state.opening is not None:
            return Saved(view, number, None)
        return Saved(view, number, Snapshot(moments.take(state), self.unshown(view, at_s), state.bookmarks))

    def unshown(self, view: int, at_s: float) -> tuple[Unshown, ...]:
        """The frames of a view that are made and not due at `at_s`.

        Raises:
            OptionError: the view is not open.
        """
        timeline = self._opened(view).timeline
        return () if timeline is None else self._history[view].unshown(timeline.playhead(at_s))

    def _revived(
        self, moment: Moment, *, view: int, epoch: int, pending: tuple[Wish, ...], shown_again: int = 0
    ) -> ViewState:
        return moments.revive(
            moment,
            view=view,
            epoch=epoch,
            frames_per_latent=self.world.card.codec.frames_per_latent,
            device=self._dreamer.device,
            shown_again=shown_again,
            pending=pending,
        )

    def rewind(self, view: int, seconds: float, *, at_s: float) -> Rewound:
        """Go on, in a new epoch, from the moment before the chunk that was due `seconds` before `at_s`.

        Words that were in force then are in force again, what was said since is undone, and what waits still waits.

        Raises:
            OptionError: that is further back than is remembered, or not back at all; or the view is not open.
        """
        state, history = self._opened(view), self._history[view]
        timeline = state.timeline
        reach_s = 0.0 if timeline is None else history.reach(timeline.playhead(at_s)) / timeline.fps
        if timeline is None or not 0.0 < seconds <= reach_s:
            raise OptionError(
                f"{seconds:g} s cannot be rewound; the view remembers the last {reach_s:.1f} s, at most "
                f"{self.config.history_s:g} s"
            )
        shown = timeline.playhead(at_s)
        on_screen = history.at(shown)
        moment, frame = history.back_to(shown - round(seconds * timeline.fps))
        pending = tuple(prompts.due_at_once(wish) for wish in state.words.pending)
        revived = self._revived(moment, view=view, epoch=state.epoch + 1, pending=pending)
        revived.timeline = scheduling.take_back(timeline, at_s)
        revived.paused, revived.parked = state.paused, state.parked
        revived.actions, revived.bookmarks = state.actions, state.bookmarks
        revived.past_epochs, revived.epoch_start = state.epochs_from(shown)[:1], revived.timeline.made
        history.move(revived.timeline.made - frame)
        if on_screen is not None:
            history.keep(on_screen, until=revived.timeline.made)
        self._views[view] = revived
        return Rewound(view, revived.epoch, (shown - frame) / timeline.fps)

    def bookmark(self, view: int, name: str, *, at_s: float) -> tuple[int, int]:
        """Remember under a name what is on the screen at `at_s`: a cut can begin from there.

        Returns:
            epoch and index of the frame that is on the screen.

        Raises:
            OptionError: nothing is on the screen yet, there are too many bookmarks, or the view is not open.
        """
        state = self._opened(view)
        timeline = state.timeline
        shown = timeline is not None and at_s >= timeline.start_s
        moment = self._history[view].at(timeline.playhead(at_s)) if timeline and shown else None
        if moment is None:
            raise OptionError(f"nothing of view {view} is to be seen yet; ask again once it shows its first frame")
        state.bookmarks = bookmarks.with_bookmark(state.bookmarks, name, bookmarks.bookmark_of(moment))
        return state.playhead(at_s)

    def _remember(self, batch: Sequence[ViewState]) -> None:
        """Let views of one profile be gone back to where they stand."""
        for state, moment in zip(batch, moments.take_all(batch), strict=True):
            frame = state.timeline.made if state.timeline else 0
            self._history[state.view].add_moment(moment, frame=frame)

    def is_open(self, view: int) -> bool:
        """Whether a view of this number is open."""
        return view in self._views

    def close_view(self, view: int) -> None:
        """Forget a view.

        Raises:
            OptionError: the view is not open.
        """
        self._opened(view)
        del self._views[view], self._costs[view], self._history[view]

    def say(self, view: int, wish: Wish) -> Told:
        """Take in a prompt, event or cut: accepted or rejected.

        Raises:
            OptionError: the view is not open.
        """
        state = self._opened(view)
        try:
            wish = bookmarks.settled(wish, state.words, state.bookmarks)
        except OptionError as error:
            return Told(view, state.epoch, Note(id=wish.id, state="rejected", reason=str(error)))
        state.words, note = prompts.accept(state.words, wish, state.tick_frames)
        return Told(view, state.epoch, note)

    def cancel(self, view: int, wish_id: int) -> Told | None:
        """Withdraw a wish; None if it does not wait any more.

        Raises:
            OptionError: the view is not open.
        """
        state = self._opened(view)
        state.words, note = prompts.cancel(state.words, wish_id)
        return None if note is None else Told(view, state.epoch, note)

    def act(self, view: int, keys: dict[str, float]) -> None:
        """Set the held keys and axes; what the world has no action for is ignored.

        Raises:
            OptionError: the view is not open.
        """
        state = self._opened(view)
        state.actions = action_vector(keys, self.world.card.action_names)

    def rest(self, view: int, *, at_s: float, paused: bool | None = None, parked: bool | None = None) -> Rested:
        """Pause or park a view, or let it go on. A resting view costs nothing; its playhead stands still.

        `at_s` is when that was asked for, which may be before the last tick ended: the playhead stops and goes on then.

        Raises:
            OptionError: the view is not open.
        """
        state = self._opened(view)
        state.paused = state.paused if paused is None else paused
        state.parked = state.parked if parked is None else parked
        before = state.timeline
        if before is None:
            return Rested(view, state.resting, 0.0)
        state.timeline = (scheduling.stop if state.resting else scheduling.go)(before, at_s)
        return Rested(view, state.resting, state.timeline.start_s - before.start_s)

    def status(self, view: int) -> ViewStatus:
        """How a view does now.

        Raises:
            OptionError: the view is not open.
        """
        state, costs, now_s = self._opened(view), self._costs[view], self._clock()
        was_read, understanding = self._prompt_understanding(state)
        timeline, (epoch, playhead) = state.timeline, state.playhead(now_s)
        interval_s = max(costs.interval_s, now_s - costs.made_s)
        return ViewStatus(
            view=view,
            state="paused" if state.paused else "parked" if state.parked else "live",
            epoch=epoch,
            playhead=playhead,
            lead_s=timeline.lead_s(now_s) if timeline else 0.0,
            fps=0.0 if state.resting else state.chunk_frames / interval_s,
            denoise_s=costs.denoise_s,
            decode_s=costs.decode_s,
            tick_s=costs.tick_s,
            understanding=understanding,
            unread=self._dreamer.unread(state.words.in_force) if was_read else "",
        )

    def _prompt_understanding(self, state: ViewState) -> tuple[bool, Understanding | None]:
        """Whether the standing prompt was read already, and how well it is understood: to be told so is no reason to
        read it."""
        prompt = state.words.prompt
        if prompt not in self._understood:
            text = self._dreamer.text(Slot(prompt))
            if text not in self._dreamer.texts:
                return False, None
            self._remember_understanding(prompt, self._understanding(text))
        self._understood.move_to_end(prompt)
        return True, self._understood[prompt]

    def _remember_understanding(self, prompt: str, understanding: Understanding | None) -> None:
        self._understood[prompt] = understanding
        if len(self._understood) > PROMPTS_PER_VIEW * self.config.max_views:
            self._understood.popitem(last=False)

    def _understanding(self, text: str) -> Understanding | None:
        """How well a text is understood, which is read now if need be."""
        return self._phrases.understand(self._dreamer.texts.get(text).pooled)

    # ---- time

    def next_start_s(self) -> float | None:
        """When `tick` has something to do next; None while there is nothing to make."""
        if any(not state.resting and (state.opening or state.cut_waits) for state in self._views.values()):
            return self._clock()
        return self._next_batch_s()

    def _next_batch_s(self) -> float | None:
        """When the next batch must start, scenes that begin apart; None without one."""
        candidates = self._candidates(self._clock())
        if candidates and not self.config.paced:
            return self._clock()
        config, expected = self.config, self._expected(candidates)
        return scheduling.start_s(candidates, expected, margin_s=config.margin_s, max_batch=config.max_batch)

    @torch.inference_mode()
    def prepare(self) -> bool:
        """Encode one text that the next tick needs, if there is time for it; call again while it returns True.

        Words that are not due yet are left for later, and views take turns: whoever says much at once delays nobody.
        """
        start_s = self._next_batch_s()
        if start_s is not None and start_s - self._clock() <= self._dreamer.texts.encode_s:
            return False
        needed = [texts_needed(state, self._dreamer) for state in self._views.values() if not state.resting]
        turns = (text for texts in zip_longest(*needed) for text in texts if text is not None)
        missing = next((text for text in turns if text not in self._dreamer.texts), None)
        if missing is None:
            return False
        self._dreamer.texts.get(missing)
        return True

    @torch.inference_mode()
    def warm_up(self, on_progress: Callable[[float], None]) -> None:
        """Make some chunks in every profile and throw them away, so that the first viewer finds everything ready.

        on_progress: told how much is done, 0 to 1.
        """
        profiles = list(self.world.card.profiles)
        for done, profile in enumerate(profiles):
            for views in sorted({1, self.config.warm_up_views}, reverse=True):
                self._warm_up(profile, views)
            on_progress((done + 1) / len(profiles))
        self.ticks = 0

    def _warm_up(self, profile: str, views: int) -> None:
        """Make some chunks of so many views; what the first took is forgotten."""
        states = [self.open_view(-1 - view, prompt="a quiet morning", seed=0, profile=profile) for view in range(views)]
        for state in states:  # nobody sees these scenes: the fewest calls will do
            assert state.opening is not None
            state.opening = replace(state.opening, steps=(1,) * state.partition.num_chunks)
        while states[0].opening:
            self._advance_openings(states)
        for chunk in range(WARM_UP_CHUNKS):
            if chunk == 1:
                self._tick_costs.forget_last()
            self._make_chunks(states)
        for state in states:
            self.close_view(state.view)

    @torch.inference_mode()
    def tick(self, now_s: float, batches: Iterable[Sequence[int]] | None = None) -> list[Outcome]:
        """Make what is due at `now_s`, and one step of the scenes that begin; does nothing while there is time.

        Args:
            batches: views to make a chunk of, whatever is due, as a journal tells them when it is played again.

        Raises:
            OptionError: a view of `batches` has nothing to make now.
        """
        outcomes: list[Outcome] = []
        self.batches = []
        for state in self._views.values():
            if state.cut_waits and not state.resting:
                outcomes += self._cut(state, now_s)
        for batch in self._choose(now_s) if batches is None else batches:
            self._check_ready(batch)
            self.batches.append(tuple(batch))
            outcomes += self._make_chunks([self._views[view] for view in batch])
        openings = self._openings()
        if openings:
            same = [state for state in openings if state.profile == openings[0].profile]
            self._advance_openings(same[: self.config.max_batch])
        return outcomes

    # ---- one batch

    def _check_ready(self, batch: Sequence[int]) -> None:
        """Raises OptionError unless each view of a batch can make a chunk."""
        for view in batch:
            state = self._views.get(view)
            if state is None or state.opening is not None or state.resting:
                raise OptionError(f"view {view} has nothing to make now; leave it out of the batches")

    def _choose(self, now_s: float) -> list[list[int]]:
        candidates = self._candidates(now_s)
        if not self.config.paced:
            now_s = math.inf
            candidates = [replace(candidate, deadline_s=0.0) for candidate in candidates]
        return scheduling.choose(
            candidates,
            self._expected(candidates),
            now_s=now_s,
            margin_s=self.config.margin_s,
            max_batch=self.config.max_batch,
        )

    def _candidates(self, now_s: float) -> list[Candidate]:
        return [
            Candidate(
                view=state.view,
                deadline_s=state.timeline.deadline_s if state.timeline else now_s,
                chunk_s=state.chunk_frames / self._fps(state),
                group=state.profile,
            )
            for state in self._views.values()
            if not state.resting and state.opening is None
        ]

    def _expected(self, candidates: Sequence[Candidate]) -> dict[Hashable, float]:
        """What the next tick of each profile is expected to take, an opening's step included."""
        batches: dict[Profile, list[ViewState]] = {}
        for candidate in scheduling.joining(candidates):
            state = self._views[candidate.view]
            batches.setdefault(state.profile, []).append(state)
        costs = self._tick_costs.expected_s(
            {profile: sum(map(rows_expected, states[: self.config.max_batch])) for profile, states in batches.items()}
        )
        openings = self._openings()
        if openings:
            step_s = costs.get(openings[0].profile, 0.0) / openings[0].partition.micro_steps
            costs = {group: cost + step_s for group, cost in costs.items()}
        return costs

    def _fps(self, state: ViewState) -> float:
        return self.world.card.fps / state.stride

    def _make_chunks(self, batch: Sequence[ViewState]) -> list[Outcome]:
        """Denoise, pop and decode one chunk for each view of a batch."""
        begin_s = self._clock()
        outcomes: list[Outcome] = [told for state in batch for told in self._apply_words(state)]
        profile = batch[0].profile
        latents = torch.stack([state.latents for state in batch if state.latents is not None])
        decoders = [state.decoder for state in batch if state.decoder is not None]
        assert len(latents) == len(decoders) == len(batch)
        for state in batch:
            state.action_change = state.action_change.tick(state.actions, num_chunks=profile.partition.num_chunks)
        rows = [row_of(state, self._dreamer) for state in batch]
        latents = denoise_tick(self._dreamer.velocity(rows), latents, profile.partition)
        drawn = torch.stack([self._noise(state, profile.partition.chunk_frames) for state in batch])
        noise = drawn.to(self._dreamer.device)
        clean, latents = shift(latents, profile.partition, noise)
        self._dreamer.synchronise()
        denoised_s = self._clock()
        decoded, decoders = self._dreamer.decode(clean, decoders)
        made_s = self._clock()
        for row, state in enumerate(batch):
            state.latents, state.decoder = latents[row], decoders[row]
            chunk = self._emit(state, decoded[row], made_s)
            assert state.timeline is not None
            self._history[state.view].add_chunk(chunk, frame=state.timeline.made - len(chunk.frames))
            outcomes.append(chunk)
            costs = self._costs[state.view]
            costs.denoise_s, costs.decode_s, costs.tick_s = denoised_s - begin_s, made_s - denoised_s, made_s - begin_s
            costs.interval_s, costs.made_s = made_s - costs.made_s, made_s
        self._remember(batch)
        taken = sum(1 + len(row.away) for row in rows)
        self._tick_costs.add(profile, views=len(batch), rows=taken, seconds=made_s - begin_s)
        self.ticks += 1
        return outcomes

    def _apply_words(self, state: ViewState) -> list[Told]:
        said = {wish.id: wish.text for wish in state.words.pending}
        state.words, notes = prompts.begin_tick(state.words, state.tick_frames)
        return self._told(state, notes, said)

    def _told(self, state: ViewState, notes: Sequence[Note], said: dict[int, str]) -> list[Told]:
        """The notes with how well the words of those that are applied are understood."""
        told, fresh = [], 0
        for note in notes:
            if note.id == prompts.NOBODY:
                continue
            words, understanding = Slot(said[note.id]), None
            text = self._dreamer.text(words)
            unread = self._dreamer.unread(words) if note.state == "applied" else ""
            if note.state == "applied" and (text in self._dreamer.texts or fresh < FRESH_PER_TICK):
                fresh += text not in self._dreamer.texts
                understanding = self._understanding(text)
                if words.prompt == state.words.prompt:
                    self._remember_understanding(words.prompt, understanding)
            told.append(Told(state.view, state.epoch, note, understanding, unread))
        return told

    def _noise(self, state: ViewState, frames: int) -> Tensor:
        """The noise of the latent frames that enter next, on the host."""
        key, state.noise = state.noise, state.noise.after(frames)
        return self._dreamer.noise(seed=key.seed, epoch=key.epoch, first=key.index, frames=frames)

    def _emit(self, state: ViewState, decoded: NDArray[np.uint8], made_s: float) -> Chunk:
        frames, leaving = state.tick_frames, state.words.slots[state.partition.reference_frames]
        ready_s = made_s + self.config.margin_s
        timeline = state.timeline or Timeline(fps=self._fps(state), start_s=ready_s)
        first = timeline.made
        if not self.config.paced:
            timeline = scheduling.hurry(timeline, made_s)
        state.timeline = scheduling.extend(timeline, len(decoded), ready_s=made_s)
        chunk = Chunk(
            view=state.view,
            epoch=state.epoch,
            first_frame=frames.head,
            number=state.chunks_made,
            frames=decoded,
            due_s=tuple(state.timeline.due_s(first + index) for index in range(len(decoded))),
            made_s=made_s,
            prompt=leaving.prompt,
            events=leaving.events,
        )
        state.words = prompts.end_tick(state.words)
        state.chunks_made += 1
        return chunk

    # ---- how a scene begins

    def _cut(self, state: ViewState, now_s: float) -> list[Outcome]:
        cut = prompts.due_cut(state.words)
        assert cut is not None
        said = {wish.id: wish.text for wish in state.words.pending}
        state.words, notes = prompts.take_cut(state.words, cut)
        if state.timeline is not None:
            state.past_epochs = state.epochs_from(state.timeline.playhead(now_s))
        state.epoch += 1
        state.chunks_made, state.frames_before = 0, 0
        state.epoch_start = state.timeline.made if state.timeline else 0
        if cut.bookmark:
            bookmarks.begin_from(state, state.bookmarks[cut.bookmark], device=self._dreamer.device)
            self._remember([state])
        else:
            self._begin_scene(state, state.noise.seed if cut.seed is None else cut.seed)
        outcomes: list[Outcome] = [*self._told(state, notes, said)]
        return outcomes

    def _openings(self) -> list[ViewState]:
        """The views whose scene is beginning, the one that has been for longest first: one call serves one profile, and
        a view that is cut again and again must not keep those of other profiles from beginning."""
        openings = (state for state in self._views.values() if state.opening and not state.resting)
        return sorted(openings, key=lambda state: state.begun)

    def _begin_scene(self, state: ViewState, seed: int) -> None:
        state.begun = next(self._scenes)
        state.noise = NoiseKey(seed, state.epoch)
        noise = self._noise(state, state.partition.buffer_frames).to(self._dreamer.device)
        state.opening = Opening(noise, state.partition, state.profile.opening_steps)
        state.latents, state.decoder = None, None
        state.action_change = ActionChange(state.actions, state.actions)  # a new scene shows no others

    def _advance_openings(self, batch: Sequence[ViewState]) -> None:
        openings = [state.opening for state in batch if state.opening is not None]
        advance_openings(openings, self._dreamer.velocity([row_of(state, self._dreamer) for state in batch]))
        for state, opening in zip(batch, openings, strict=True):
            if opening.complete:
                state.latents, state.opening = opening.slots(), None
                references = state.latents[: state.partition.reference_frames]
                state.decoder = self._dreamer.start_decoder(references, state.latents)
                self._remember([state])
