"""Training recipes: every number of a run as a frozen dataclass, every recipe a function.

A run goes through stages. Short windows first: neighbouring frames say the same, so many scenes per token teach places,
heroes and colours soonest. Long windows then teach motion and the moving buffer.
"""

from dataclasses import dataclass, replace

from eddyline.errors import ConfigError
from eddyline_runtime import config
from eddyline_runtime.config import CodecConfig, ModelConfig, Partition, Profile


@dataclass(frozen=True, kw_only=True)
class MixEntry:
    """One way of cutting the training window, and how often it is drawn."""

    partition: Partition
    weight: float


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training on windows of one length."""

    name: str
    """What the paper calls it, or what it is for."""
    frames: int
    """Latent frames per window, the buffer size B of every partition in the mix."""
    batch: int
    steps: int
    mix: tuple[MixEntry, ...]
    guidance_scale: float = 1.0
    """Guidance that becomes part of the target, so that serving needs none; 1 = none."""
    event_guidance_scale: float | None = None
    """For latent frames whose caption continues another (an event), away from that one; None: as all others, away from
    no text."""
    action_guidance_scale: float = 1.0
    """For windows under newer actions than they show, away from those before; 1: as all others."""
    denoise_steps: int | None = None
    """T; with a number, tau is only drawn where a sampler of so many steps evaluates the network."""
    teacher_steps: int | None = None
    """With a number, the target is where a frozen teacher gets in so many Euler steps for one of the T; the guidance is
    the teacher's."""
    own_steps: int = 0
    """So many of the T steps the network takes itself before it learns: from what it makes, not from recordings."""
    one_chunk_tau: tuple[float, float] = (0.0, 1.0)
    """From where to where tau is drawn in windows that are one chunk."""
    steady: bool = False
    """Only windows in which the words stay the same, as in a scene that begins."""

    def __post_init__(self) -> None:
        if self.teacher_steps is not None and (self.teacher_steps < 1 or self.denoise_steps is None):
            raise ConfigError(
                f"stage {self.name!r} has teacher_steps={self.teacher_steps} and denoise_steps={self.denoise_steps}; "
                "distillation needs both, each 1 or more"
            )
        if self.own_steps and (self.own_steps < 0 or self.denoise_steps is None or self.teacher_steps is not None):
            raise ConfigError(
                f"stage {self.name!r} has own_steps={self.own_steps}, denoise_steps={self.denoise_steps} and "
                f"teacher_steps={self.teacher_steps}; own steps are 0 or more, need denoise_steps, and have no teacher"
            )
        chunks = min((entry.partition.num_chunks for entry in self.mix), default=1)
        out_of_sight = (self.own_steps + 1) * chunks > (self.denoise_steps or 0) * (chunks - 1)
        if self.own_steps and out_of_sight:
            raise ConfigError(
                f"stage {self.name!r} walks own_steps={self.own_steps} of denoise_steps={self.denoise_steps} with "
                f"{chunks} chunks; from so far back its head chunk shows nothing of the recording: walk fewer steps"
            )
        first, last = self.one_chunk_tau
        if not 0 <= first < last <= 1:
            raise ConfigError(f"stage {self.name!r} draws tau from {first} to {last}; give a range within 0 to 1")

    def scale(self, *, event: bool) -> float:
        """Guidance of a latent frame whose caption continues another one, or not."""
        return self.guidance_scale if self.event_guidance_scale is None or not event else self.event_guidance_scale


@dataclass(frozen=True, kw_only=True)
class CodecRecipe:
    """How the codec is trained: linear maps fitted in closed form, corrections by gradient descent."""

    steps: int
    batch: int
    latent_frames: int
    learning_rate: float
    latent_noise: float
    """Deviation of noise added to latents half of the time: generated latents are never exact."""
    fit_frames: int = 4000


@dataclass(frozen=True, kw_only=True)
class PolishRecipe:
    """How the decoder learns, at the end, to decode what the model dreams."""

    steps: int
    batch: int
    latent_frames: int
    """Of a window, all of which the model dreams together."""
    learning_rate: float
    denoise_steps: int
    """Steps of a scene's way from noise to clean; ..."""
    last_steps: int
    """... the model takes one of them, or so many, always the last: what it makes still shows the recorded picture."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run."""

    name: str
    model: ModelConfig
    codec: CodecConfig
    text_encoder: str
    text_tokens: int
    codec_training: CodecRecipe
    polish: PolishRecipe | None
    """None for a teacher, which is not served."""
    stages: tuple[Stage, ...]
    learning_rate: float
    warmup_steps: int
    decay_share: float
    """Share of all train steps over which the learning rate falls linearly to zero, at the end."""
    weight_decay: float
    ema_decay: float
    text_dropout: float
    action_dropout: float
    hold_action_share: float
    """How often the action after a random cut is held, as a live stream must."""
    early_text_share: float
    """How often the newest words of a window are laid over all of it, as an event at="now" does."""
    early_action_share: float
    """How often the newest actions of a window are laid over all of it, as a key that goes down does."""
    action_change_share: float
    """How often a window is drawn around a change of the actions."""
    change_share: float
    """How often a window is drawn around a change of caption."""
    stride_share: float
    """How often a window is drawn at frame stride 2 or 4."""
    max_clips: int
    """Clips of a recording that are encoded: on two cores one takes a third of a second."""
    profiles: dict[str, Profile]
    default_profile: str
    rounds: int = 1
    """How often all stages are gone through, with a share of each one's steps: what one teaches is not forgotten in the
    next."""
    save_every: int = 250
    held_out_every: int = 250

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError(f"the recipe {self.name!r} has rounds={self.rounds}; give 1 or more")

    @property
    def total_steps(self) -> int:
        """Train steps of all stages together."""
        return sum(stage.steps for stage in self.stages)


def mixed_partitions(frames: int, *, uniform_share: float = 0.3) -> tuple[MixEntry, ...]:
    """Every way of cutting a window of `frames` latent frames that is trained on (StreamDiT, sec. 3.4 and supplement).

    Chunk sizes 1, 2, 4, 8, 16 as far as the window allows, and 1, 2 or 4 reference frames in front of single-frame
    chunks, most often as many as there are chunks.

    Args:
        uniform_share: of the windows, those that are one chunk of one tau, which keeps the model an ordinary
            text-to-video model (the paper's larger model liked 0.3 best).
    """
    chunked = [
        MixEntry(partition=Partition(num_chunks=frames // c, chunk_frames=c), weight=1.5)
        for c in (1, 2, 4, 8, 16)
        if c < frames and frames % c == 0
    ]
    behind_references = [
        MixEntry(
            partition=Partition(reference_frames=references, num_chunks=frames - references, chunk_frames=1),
            weight=1.5 if references == frames // 2 else 0.5,
        )
        for references in (1, 2, 4)
        if references < frames
    ]
    others = (*chunked, *behind_references)
    weight = uniform_share / (1 - uniform_share) * sum(entry.weight for entry in others)
    return (MixEntry(partition=Partition(num_chunks=1, chunk_frames=frames), weight=weight), *others)


def served_partitions() -> tuple[MixEntry, ...]:
    """How a buffer of eight latent frames is cut: by `smooth`, by `responsive`, and while a scene begins."""
    profiles = (config.smooth(), config.responsive())
    served = [MixEntry(partition=profile.partition, weight=2.0) for profile in profiles]
    return (*served, MixEntry(partition=Partition(num_chunks=1, chunk_frames=8), weight=1.5))


def _as_served(*, steps: int) -> Stage:
    return Stage(
        name="as served",
        frames=8,
        batch=8,
        steps=steps,
        mix=served_partitions(),
        guidance_scale=2.5,
        event_guidance_scale=2.5,
        denoise_steps=4,
    )


def diorama() -> Recipe:
    """The embedded world on two CPU cores: about ten minutes of codec and ninety of StreamDiT."""
    return Recipe(
        name="diorama",
        model=config.diorama(),
        codec=config.diorama_codec(),
        text_encoder="all-MiniLM-L6-v2",
        text_tokens=40,
        codec_training=CodecRecipe(steps=2000, batch=4, latent_frames=2, learning_rate=8e-4, latent_noise=0.05),
        polish=PolishRecipe(steps=220, batch=4, latent_frames=8, learning_rate=3e-4, denoise_steps=4, last_steps=2),
        stages=(
            Stage(name="short windows", frames=2, batch=32, steps=1500, mix=mixed_partitions(2)),
            Stage(name="longer windows", frames=4, batch=16, steps=700, mix=mixed_partitions(4)),
            Stage(name="long windows", frames=16, batch=4, steps=20, mix=mixed_partitions(16)),
            Stage(name="the whole buffer", frames=8, batch=8, steps=600, mix=mixed_partitions(8)),
            _as_served(steps=800),
        ),
        learning_rate=2e-3,
        warmup_steps=60,
        decay_share=0.35,
        weight_decay=0.01,
        ema_decay=0.998,
        text_dropout=0.1,
        action_dropout=0.3,
        hold_action_share=0.25,
        early_text_share=0.3,
        early_action_share=0.5,
        action_change_share=0.0,
        change_share=0.25,
        stride_share=0.1,
        max_clips=1300,
        profiles={
            "smooth": config.smooth(event_guidance_scale=2.5),
            "responsive": config.responsive(event_guidance_scale=2.5),
        },
        default_profile="smooth",
    )


def diorama_further() -> Recipe:
    """The embedded world's second course, for `--init-from diorama`: about an hour on two CPU cores."""
    return replace(
        diorama(),
        name="diorama-further",
        stages=(
            Stage(name="short windows", frames=2, batch=32, steps=450, mix=mixed_partitions(2)),
            Stage(name="longer windows", frames=4, batch=16, steps=230, mix=mixed_partitions(4)),
            Stage(name="long windows", frames=16, batch=4, steps=10, mix=mixed_partitions(16)),
            Stage(name="the whole buffer", frames=8, batch=8, steps=150, mix=mixed_partitions(8)),
            _as_served(steps=700),
        ),
        learning_rate=1.5e-3,
        save_every=100,
        held_out_every=400,
    )


def diorama_teacher() -> Recipe:
    """The embedded world's third course, for `--init-from diorama`: guided targets at every tau, so that a sampler may
    take as many steps as it likes. About forty minutes on two CPU cores; it is what the student is distilled from."""
    guided = 3.5
    return replace(
        diorama_further(),
        name="diorama-teacher",
        stages=(
            Stage(
                name="short windows",
                frames=2,
                batch=32,
                steps=240,
                mix=mixed_partitions(2),
                guidance_scale=guided,
            ),
            Stage(
                name="longer windows",
                frames=4,
                batch=16,
                steps=180,
                mix=mixed_partitions(4),
                guidance_scale=guided,
            ),
            Stage(
                name="the whole buffer",
                frames=8,
                batch=8,
                steps=380,
                mix=(*mixed_partitions(8), *served_partitions()),
                guidance_scale=guided,
            ),
        ),
        polish=None,
        max_clips=2400,
    )


def diorama_student() -> Recipe:
    """Multistep distillation (StreamDiT, sec. 4.2) of the teacher, for `--init-from` its folder: in the partitions that
    are served, one call where the teacher takes four, half of them around a change of caption: events are learned last.
    About half an hour on two CPU cores."""
    return replace(
        diorama_teacher(),
        name="diorama-student",
        stages=(
            Stage(
                name="distillation",
                frames=8,
                batch=8,
                steps=330,
                mix=served_partitions(),
                event_guidance_scale=2.5,
                denoise_steps=4,
                teacher_steps=4,
            ),
        ),
        learning_rate=1e-3,
        early_text_share=0.4,
        change_share=0.5,
        profiles={
            "smooth": config.smooth(event_guidance_scale=2.0),
            "responsive": config.responsive(event_guidance_scale=2.0),
        },
        save_every=55,
        held_out_every=110,
    )


def diorama_student_further() -> Recipe:
    """The student's second course, for `--init-from` the student and `--teacher` its teacher: keys are followed sooner,
    for in the teacher's targets a change of keys is guided, as events are. The decoder is polished on what it dreams.
    About half an hour on two CPU cores."""
    first = diorama_student()
    return replace(
        first,
        name="diorama-student-further",
        stages=(replace(first.stages[0], steps=240, action_guidance_scale=4.0),),
        polish=diorama().polish,
        profiles={name: replace(profile, action_guidance_scale=2.5) for name, profile in first.profiles.items()},
        learning_rate=8e-4,
        action_dropout=0.15,
        early_action_share=0.7,
        action_change_share=0.5,
        change_share=0.4,
        save_every=40,
        held_out_every=120,
    )


def diorama_gpu() -> Recipe:
    """The embedded world's teacher on one datacenter GPU, for `--init-from` any teacher of it: as `diorama_teacher`,
    with larger batches. Three and a half minutes on an H200 with `--workers 13`."""
    first = diorama_teacher()
    batches, steps = (1024, 512, 256), (183, 183, 549)
    stages = tuple(
        replace(stage, batch=batch, steps=count)
        for stage, batch, count in zip(first.stages, batches, steps, strict=True)
    )
    return replace(first, name="diorama-gpu", stages=stages, learning_rate=2e-3, max_clips=6000, held_out_every=500)


def diorama_student_gpu() -> Recipe:
    """The student on one datacenter GPU: both courses in one, for `--init-from` what `diorama_gpu` made. Four minutes
    on an H200 with `--workers 13`, and one more for the decoder."""
    further, polish = diorama_student_further(), diorama().polish
    assert polish is not None
    return replace(
        further,
        name="diorama-student-gpu",
        stages=(replace(further.stages[0], batch=256, steps=500),),
        polish=replace(polish, steps=550, batch=8),
        learning_rate=1.5e-3,
        early_text_share=0.4,
        early_action_share=0.6,
        action_change_share=0.4,
        change_share=0.45,
        # the scales and steps were found best afterwards
        profiles={
            "smooth": replace(further.profiles["smooth"], event_guidance_scale=3.0, opening_steps=(4, 1, 1, 1)),
            "responsive": replace(further.profiles["responsive"], event_guidance_scale=3.0, opening_steps=(3, 1, 1, 1)),
        },
        max_clips=6000,
        save_every=250,
        held_out_every=250,
    )


def diorama_opening() -> Recipe:
    """How scenes of the embedded world begin, for `--init-from` a student that has learned words: what stands where is
    decided in the first quarter of the way from noise, which is learned from recordings again, in steps of any size.
    All else is kept: in every third step the student is its own teacher. 50 minutes on one core that multiplies bf16.
    Events take no guidance: its refiner reads them as what is there afterwards."""
    student = diorama_student_gpu()
    steps = 900
    return replace(
        student,
        name="diorama-opening",
        model=replace(student.model, refiner_depth=2),
        polish=None,
        stages=(
            Stage(
                name="scenes that begin",
                frames=8,
                batch=8,
                steps=2 * steps,
                mix=(MixEntry(partition=Partition(num_chunks=1, chunk_frames=8), weight=1.0),),
                guidance_scale=3.5,
                one_chunk_tau=(0.0, 0.25),
                steady=True,
            ),
            Stage(
                name="as before",
                frames=8,
                batch=8,
                steps=steps,
                mix=served_partitions(),
                denoise_steps=4,
                teacher_steps=1,
                one_chunk_tau=(0.25, 1.0),
            ),
        ),
        rounds=steps,
        profiles={
            name: replace(profile, event_guidance_scale=None, opening_steps=(16, 4, 1, 1))
            for name, profile in student.profiles.items()
        },
        learning_rate=6e-4,
        decay_share=0.5,
        max_clips=3000,
        save_every=300,
        held_out_every=300,
    )


def diorama_teacher_further() -> Recipe:
    """A teacher of the buffer as it is served, for `--init-from` a student of the embedded world: the ways from noise
    are learned from recordings again, at every tau, so that they can be walked in steps of any size. Guidance is in the
    targets. Half an hour on two cores that multiply bf16."""
    opening = diorama_opening()
    begin, _ = opening.stages
    steps = 1200
    return replace(
        opening,
        name="diorama-teacher-further",
        stages=(
            Stage(
                name="as served",
                frames=8,
                batch=8,
                steps=steps,
                mix=served_partitions()[:2],
                guidance_scale=3.0,
            ),
            replace(begin, steps=steps, one_chunk_tau=(0.0, 0.6)),
        ),
        rounds=steps,
        learning_rate=8e-4,
        early_text_share=0.3,
        early_action_share=0.5,
        action_change_share=0.2,
        change_share=0.25,
        save_every=200,
        held_out_every=400,
    )


def diorama_student_finer() -> Recipe:
    """What `diorama_teacher_further` learned, in one call where that takes four, for `--init-from` and `--teacher` its
    folder. In turns with that: how scenes begin, from recordings at every tau, and how the buffer goes on from what the
    student itself made of it. Half an hour on two cores that multiply bf16."""
    opening = diorama_opening()
    begin, keep = opening.stages
    served = served_partitions()[:2]
    steps = 500
    own = Stage(
        name="one step of its own",
        frames=8,
        batch=8,
        steps=steps,
        mix=served,
        denoise_steps=4,
        guidance_scale=2.5,
        own_steps=1,
        steady=True,
    )
    return replace(
        opening,
        name="diorama-student-finer",
        stages=(
            replace(
                keep,
                name="distillation",
                steps=steps,
                mix=served,
                teacher_steps=4,
                one_chunk_tau=(0.0, 1.0),
                action_guidance_scale=4.0,
            ),
            replace(begin, steps=steps, one_chunk_tau=(0.0, 1.0)),
            own,
            replace(own, name="two steps of its own", own_steps=2),
        ),
        rounds=steps,
        profiles={
            **opening.profiles,
            # its own steps halved leave less blur, though it never learned them; how much, the training log says
            "fine": replace(opening.profiles["smooth"], partition=config.fine().partition, opening_steps=(16, 4, 2, 2)),
        },
        early_text_share=0.3,
        action_change_share=0.3,
        change_share=0.3,
        save_every=200,
        held_out_every=1000,
    )


def tiny() -> Recipe:
    """Seconds on any machine: for tests and for trying one's own recording end to end."""
    return Recipe(
        name="tiny",
        model=config.tiny(),
        codec=config.tiny_codec(),
        text_encoder="bytes",
        text_tokens=24,
        codec_training=CodecRecipe(
            steps=6, batch=2, latent_frames=2, learning_rate=1e-3, latent_noise=0.05, fit_frames=400
        ),
        polish=PolishRecipe(steps=2, batch=2, latent_frames=4, learning_rate=1e-4, denoise_steps=4, last_steps=2),
        stages=(
            Stage(name="short windows", frames=2, batch=4, steps=4, mix=mixed_partitions(2)),
            Stage(name="longer windows", frames=4, batch=2, steps=4, mix=mixed_partitions(4)),
        ),
        learning_rate=1e-3,
        warmup_steps=2,
        decay_share=0.5,
        weight_decay=0.01,
        ema_decay=0.9,
        text_dropout=0.1,
        action_dropout=0.3,
        hold_action_share=0.25,
        early_text_share=0.3,
        early_action_share=0.5,
        action_change_share=0.0,
        change_share=0.25,
        stride_share=0.1,
        max_clips=1000,
        profiles={
            "smooth": config.smooth(),
            "responsive": config.responsive(),
        },
        default_profile="smooth",
        save_every=4,
        held_out_every=4,
    )


RECIPES = {
    "diorama": diorama,
    "diorama-further": diorama_further,
    "diorama-teacher": diorama_teacher,
    "diorama-student": diorama_student,
    "diorama-student-further": diorama_student_further,
    "diorama-gpu": diorama_gpu,
    "diorama-student-gpu": diorama_student_gpu,
    "diorama-opening": diorama_opening,
    "diorama-teacher-further": diorama_teacher_further,
    "diorama-student-finer": diorama_student_finer,
    "tiny": tiny,
}
"""By the name that `eddyline-runtime train --recipe` takes."""
