"""MotionStreamer's trainings: the causal autoencoder, then the transformer and its head on the latents of clips."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cospeech.data import CaptionedLatents, StreamCaption, TimedCaption, captioned_latents, collate_latents
from cospeech.data.clips import Babel272Source, ClipMaker, ClipShards, HumanML272Source, MotionFeatures
from cospeech.data.prepare import PreparedReport, prepare
from cospeech.data.sources import FilesSource, ProceduralSource, Source
from cospeech.hub import load_model, load_tensors, save_model, save_tensors
from cospeech.models import CausalTAE, CausalTAEConfig, MotionStreamer, MotionStreamerConfig
from cospeech.motion import Motion
from cospeech.pipelines import MotionStreamerPipeline
from cospeech.representations import FeatureStats, Streamer272
from cospeech.text import SentenceEmbedder
from cospeech.training.causal_tae import encode_latents, tae_step_losses
from cospeech.training.motionstreamer import draw_two_forward, drop_texts, replaced_fraction, two_forward_loss
from cospeech.training.order import seeded
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.windows import main_process_first

__all__ = ["CausalTAETask", "ClipData", "MotionStreamerTask"]


@dataclass(frozen=True, kw_only=True)
class ClipData:
    """Clips of 272 features.

    Attributes:
        prepared: Folder of the shards, made where missing.
        humanml272: HumanML3D-272, or BABEL-272's motions in the same layout.
        babel272: BABEL-272-stream.
        files: Single takes.
        procedural: The procedural corpus; speakers stand in for captions.
        min_frames: Shorter clips are left out.
        held_out: Share of the clips at the end of the list that is held out.
        prepare_workers: Processes that prepare.
    """

    prepared: str
    humanml272: HumanML272Source | None = None
    babel272: Babel272Source | None = None
    files: FilesSource | None = None
    procedural: ProceduralSource | None = None
    min_frames: int = 64
    held_out: float = 0.05
    prepare_workers: int = 0

    def __post_init__(self) -> None:
        names = ("humanml272", "babel272", "files", "procedural")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"one table of {', '.join(names)} is wanted; got {', '.join(given) or 'none'}")

    @property
    def source(self) -> Source:
        """The one that is there, as clips of features."""
        recordings = self.files or self.procedural
        return MotionFeatures(recordings) if recordings else self.humanml272 or self.babel272  # type: ignore[return-value]

    def open(self) -> tuple[ClipShards, FeatureStats, int]:
        """The clips, their statistics, and how many of them are learned from."""
        main_process_first(self.prepare)
        clips = ClipShards(self.prepared)
        found = load_tensors(self._statistics)
        stats = FeatureStats(mean=found["mean"], std=found["std"])
        return clips, stats, len(clips) - int(self.held_out * len(clips))

    def rehearsal(self, folder: Path) -> ClipData:
        """Two procedural clips."""
        nothing = dict.fromkeys(("humanml272", "babel272", "files"))
        procedural = ProceduralSource(clips=2, seconds=10.0)
        changes = {**nothing, "procedural": procedural, "prepare_workers": 0, "prepared": str(folder / "clips")}
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @property
    def _statistics(self) -> Path:
        return Path(self.prepared) / "statistics" / "features.safetensors"

    def prepare(self) -> dict[str, PreparedReport]:
        """Make what is missing, statistics too; what came of it, by folder."""
        report = prepare(
            self.source, self.prepared, ClipMaker(min_frames=self.min_frames), workers=self.prepare_workers
        )
        if report.made or not self._statistics.exists():
            clips = ClipShards(self.prepared)
            stats = FeatureStats.of([clips.frames(clip) for clip in range(len(clips))], Streamer272().layout)
            save_tensors({"mean": stats.mean, "std": stats.std}, self._statistics)
        return {self.prepared: report}


@dataclass(frozen=True, kw_only=True)
class CausalTAETask:
    """The causal autoencoder.

    Attributes:
        data: Clips.
        model: Sizes.
        window_frames: Of a window, which begins anywhere in its clip.
    """

    data: ClipData
    model: CausalTAEConfig = field(default_factory=CausalTAEConfig)
    window_frames: int = 64

    def build(self) -> TrainingTask:
        """The task, its clips prepared where missing."""
        return _TAE(self)

    def rehearsal(self, folder: Path) -> CausalTAETask:
        """The same on procedural clips."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder))


@dataclass(frozen=True, kw_only=True)
class MotionStreamerTask:
    """Transformer and diffusion head by the two-forward loss.

    Attributes:
        data: Clips with captions.
        tae: Folder of the trained autoencoder; "" for an untrained one.
        model: Sizes.
        text: "sentence-t5", which is downloaded and keeps what it embeds, or "random": one drawn vector for each text.
        drop_share: Of the texts of a batch that are replaced by the empty one.
    """

    data: ClipData
    tae: str
    model: MotionStreamerConfig = field(default_factory=MotionStreamerConfig)
    text: str = "sentence-t5"
    drop_share: float = 0.1

    def __post_init__(self) -> None:
        if self.text not in ("sentence-t5", "random"):
            raise ValueError(f"`text` must be sentence-t5 or random; got {self.text!r}.")

    def build(self) -> TrainingTask:
        """The task: clips prepared, encoded and embedded where missing."""
        return _Streamer(self)

    def rehearsal(self, folder: Path) -> MotionStreamerTask:
        """The same on procedural clips, with an untrained autoencoder and drawn texts."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder), tae="", text="random")


class _TAE(TrainingTask):
    def __init__(self, config: CausalTAETask):
        self.clips, self.stats, self.num_items = config.data.open()
        self.num_held_out = len(self.clips) - self.num_items
        self.model, self.window_frames = CausalTAE(config.model), config.window_frames

    def batch(self, items: Sequence[int], generator: torch.Generator) -> Tensor:
        """Normalised windows, each from anywhere in its clip."""
        windows = []
        for clip in items:
            last = max(0, self.clips.lengths[clip] - self.window_frames)
            start = int(torch.randint(last + 1, (), generator=generator))
            windows.append(self.clips.frames(clip, start, start + self.window_frames))
        return self.stats.normalize(torch.stack(windows))

    def losses(self, model: nn.Module, batch: Tensor, clock: Clock) -> Terms:
        assert isinstance(model, CausalTAE)
        shape = (len(batch), batch.shape[1] // model.config.stride, model.config.latent_dim)
        noise = torch.randn(shape, generator=clock.generator).to(batch)
        return terms(tae_step_losses(model, batch, noise))

    def measure(self, model: nn.Module, batch: Tensor, clock: Clock) -> Terms:
        """The losses, and the mean distance of joints from their places, metres."""
        assert isinstance(model, CausalTAE)
        said = model(
            batch, noise=batch.new_zeros(len(batch), batch.shape[1] // model.config.stride, model.config.latent_dim)
        )
        stats, body = self.stats.to("cpu"), Streamer272()
        joints = [
            torch.stack([body.decode_joints(stats.denormalize(clip.cpu())) for clip in clips])
            for clips in (said.motion, batch[:, : said.motion.shape[1]])
        ]
        return {**self.losses(model, batch, clock), "joint_error": (joints[0] - joints[1]).norm(dim=-1).mean()}

    def sample(self, number: int, generator: torch.Generator) -> Motion:
        """A held-out clip through the autoencoder."""
        assert isinstance(self.model, CausalTAE)
        batch = self.batch([self.num_items + number], generator).to(next(self.model.parameters()).device)
        frames = batch.shape[1] // self.model.config.stride
        with torch.no_grad():
            said = self.model(batch, noise=batch.new_zeros(1, frames, self.model.config.latent_dim))
        return Streamer272().decode(self.stats.denormalize(said.motion[0].cpu()).float())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """The network, and the statistics of its features."""
        save_model(self.model, folder)
        save_tensors({"mean": self.stats.mean, "std": self.stats.std}, Path(folder) / "statistics.safetensors")


class _LatentBatch(NamedTuple):
    text: Tensor
    latents: Tensor
    lengths: Tensor
    history: Tensor


class _Streamer(TrainingTask):
    def __init__(self, config: MotionStreamerTask):
        clips, stats, num_clips = config.data.open()
        self.config, self.model = config, MotionStreamer(config.model)
        # No need for the statistics of this data: the autoencoder's latents were learned under its own.
        self.tae = load_model(CausalTAE, config.tae) if config.tae else CausalTAE(CausalTAEConfig(hidden_dim=32)).eval()
        if config.tae:
            own = load_tensors(Path(config.tae) / "statistics.safetensors")
            stats = FeatureStats(mean=own["mean"], std=own["std"])
        self.stats, generator = stats, seeded(0)
        self.end_latent = self.tae.end_latent(torch.randn(self.tae.config.latent_dim, generator=generator)).detach()
        self.items: list[CaptionedLatents] = []
        self.num_items = 0
        for clip in range(len(clips)):
            if clip == num_clips:
                self.num_items = len(self.items)
            noise = torch.randn(
                clips.lengths[clip] // self.tae.config.stride, self.tae.config.latent_dim, generator=generator
            )
            latents = encode_latents(self.tae, stats.normalize(clips.frames(clip)), noise, self.end_latent)
            self.items += _items(latents, clips.captions[clip], config.model.max_positions, self.tae.config.stride)
        self.num_items = self.num_items or len(self.items)
        self.num_held_out = len(self.items) - self.num_items
        self.texts = _embed({item.text for item in self.items}, config)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The loss calls transformer and head by themselves."""
        assert isinstance(self.model, MotionStreamer)
        return (self.model.transformer, self.model.head)

    def batch(self, items: Sequence[int], generator: torch.Generator) -> _LatentBatch:
        most = self.config.model.max_positions
        batch = collate_latents([self.items[item] for item in items], max_latents=most)
        text = drop_texts(
            torch.stack([self.texts[text] for text in batch.texts]),
            self.texts[""],
            generator,
            share=self.config.drop_share,
        )
        return _LatentBatch(text, batch.latents, batch.lengths.clamp(max=most - 1), batch.history)

    def losses(self, model: nn.Module, batch: _LatentBatch, clock: Clock) -> Terms:
        assert isinstance(model, MotionStreamer)
        lengths, history = batch.lengths, batch.history
        draws = draw_two_forward(model, batch.latents, lengths.cpu(), clock.generator, history=history.cpu())
        fraction = replaced_fraction(clock.step, clock.total_steps)
        loss = two_forward_loss(model, batch.text, batch.latents, lengths, draws, fraction=fraction, history=history)
        return {"total": loss.loss}

    def sample(self, number: int, generator: torch.Generator) -> Motion:
        """What the pipeline makes of a held-out caption, as long as its clip."""
        item = self.items[self.num_items + number]
        pipeline = self._pipeline()
        seconds = len(item.latents) * self.tae.config.stride / pipeline.rate_hz
        return pipeline(self.texts[item.text], seconds=seconds)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """All networks and statistics, as ``MotionStreamerPipeline.from_pretrained`` reads them."""
        self._pipeline().save_pretrained(folder)

    def _pipeline(self) -> MotionStreamerPipeline:
        assert isinstance(self.model, MotionStreamer)
        device = next(self.model.parameters()).device
        return MotionStreamerPipeline(
            self.model,
            self.tae.to(device),
            self.stats.to(device),
            empty_text=self.texts[""].to(device),
            end_latent=self.end_latent.to(device),
        )


def _items(
    latents: Tensor, captions: Sequence[TimedCaption | StreamCaption], most: int, stride: int
) -> list[CaptionedLatents]:
    """What a clip gives to learn from; longer than ``most`` is left out, as published."""
    timed = [caption for caption in captions if isinstance(caption, TimedCaption)]
    streamed = [caption for caption in captions if isinstance(caption, StreamCaption)]
    items = captioned_latents(latents, timed)
    items += [CaptionedLatents(caption.text, latents, caption.history_frames // stride) for caption in streamed]
    return [item for item in items if len(item.latents) <= most]


def _embed(texts: set[str], config: MotionStreamerTask) -> Mapping[str, Tensor]:
    """A vector for each text and for the empty one."""
    names = sorted(texts | {""})
    if config.text == "random":
        drawn = torch.randn(len(names), config.model.text_dim, generator=seeded(1))
        return dict(zip(names, drawn, strict=True))
    vectors = SentenceEmbedder()(names)
    return dict(zip(names, vectors, strict=True))
