"""The training of MotionStreamer's evaluator: texts and motions to one space, in which others are measured."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.data import StreamCaption, TimedCaption
from cospeech.data.sources import ProceduralSource
from cospeech.hub import save_tensors
from cospeech.hub.convert.networks import NETWORKS, ConvertedNetwork, save_converted
from cospeech.models import (
    DistilBert,
    NormalDistribution,
    TextEvaluator,
    TextEvaluatorConfig,
    TextMotionConfig,
    TextMotionNetworks,
)
from cospeech.text import SentenceEmbedder
from cospeech.training.captions import (
    EmbeddedTexts,
    Tokenizer,
    drawn_language_model,
    embed_texts,
    load_language_model,
)
from cospeech.training.order import seeded
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.described import Describer
from cospeech.training.tasks.motionstreamer import ClipData
from cospeech.training.tasks.windows import main_process_first
from cospeech.training.text_motion_evaluator import EvaluatorLosses, evaluator_losses, retrieval_terms

__all__ = ["MotionEvaluatorTask"]

_RATE_HZ, _UNIT = 30, 4
_DRAWN = "drawn"
_SAME = 0.95  # similarity of a caption with itself where sentence vectors are drawn: not 1, which is no longer filtered


@dataclass(frozen=True, kw_only=True)
class MotionEvaluatorTask:
    """The evaluator of text to motion (TMR): both encoders, and the decoder that trains them.

    Attributes:
        data: Clips with captions.
        model: Sizes.
        language_model: DistilBERT, a folder or a repository on the Hub; "drawn" for a small one with drawn weights and
            words by their checksum, which needs nothing to be there.
        sentence_model: Whose similarity tells which captions mean the same; not used by a drawn language model.
        captions: "own" for the clips' own; "described" for captions by rule, of pieces of ``max_frames - 1`` frames.
        min_frames: Shorter clips and parts of clips are left out.
        max_frames: So long clips are left out; the reconstruction's mean is over so many frames.
    """

    data: ClipData
    model: TextMotionConfig = field(default_factory=TextMotionConfig)
    language_model: str = "distilbert/distilbert-base-uncased"
    sentence_model: str = "sentence-transformers/paraphrase-MiniLM-L6-v2"
    captions: Literal["own", "described"] = "own"
    min_frames: int = 60
    max_frames: int = 300

    def __post_init__(self) -> None:
        if not 2 * _UNIT <= self.min_frames < self.max_frames:
            raise ValueError(
                f"`min_frames` must be {2 * _UNIT} at least and below `max_frames`; "
                f"got {self.min_frames} and {self.max_frames}."
            )

    def build(self) -> TrainingTask:
        """The task: clips prepared and texts embedded where missing."""
        return _MotionEvaluator(self)

    def rehearsal(self, folder: Path) -> MotionEvaluatorTask:
        """The same on procedural clips of the greatest length, with a drawn language model and captions by rule."""
        clips = ProceduralSource(clips=4, seconds=max(8.0, self.max_frames / _RATE_HZ))
        data = dataclasses.replace(self.data.rehearsal(folder), procedural=clips)
        return dataclasses.replace(self, data=data, language_model=_DRAWN, captions="described")


class _Item(NamedTuple):
    clip: int
    start: int
    stop: int
    captions: tuple[str, ...]


class _Batch(NamedTuple):
    features: Tensor  # (B, max_frames, 272), normalised, zero behind the lengths
    lengths: Tensor
    hidden: Tensor  # (B, L, C) of the language model
    text_lengths: Tensor
    sentences: Tensor


class _Pass(NamedTuple):
    losses: EvaluatorLosses
    text: Tensor
    motion: Tensor


class _MotionEvaluator(TrainingTask):
    def __init__(self, config: MotionEvaluatorTask):
        self.config, self.model = config, TextMotionNetworks(config.model)
        self.clips, self.stats, num_clips = config.data.open()
        self.items = _own_items(self.clips.lengths, self.clips.captions)
        if config.captions == "described":
            self.items = self._described(num_clips)
        self.items = [x for x in self.items if config.min_frames <= x.stop - x.start < config.max_frames]
        self.num_items = sum(item.clip < num_clips for item in self.items)
        self.num_held_out = len(self.items) - self.num_items
        if not self.num_items:
            raise ValueError(
                f"{config.data.prepared} holds no captioned clip of {config.min_frames} to {config.max_frames - 1} "
                "frames to learn from."
            )
        texts = sorted({text for item in self.items for text in item.captions})
        digest = hashlib.sha256(
            repr((texts, config.language_model, config.sentence_model, config.model.text_dim)).encode()
        )
        self._texts_path = Path(config.data.prepared) / "texts" / f"{digest.hexdigest()[:16]}.safetensors"
        main_process_first(lambda: self._embed(texts))
        self.texts = EmbeddedTexts(self._texts_path)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The loss calls both encoders and the decoder by themselves."""
        return tuple(self.model.children())

    def batch(self, items: Sequence[int], generator: torch.Generator) -> _Batch:
        """Cuts from anywhere in their clips, of whole units of four frames, a third of them a unit shorter."""
        motions, texts = [], []
        for clip, start, stop, captions in (self.items[item] for item in items):
            units = (stop - start) // _UNIT - int(torch.rand((), generator=generator) < 1 / 3)
            first = start + int(torch.randint(stop - start - _UNIT * units + 1, (), generator=generator))
            motions.append(self.stats.normalize(self.clips.frames(clip, first, first + _UNIT * units)))
            texts.append(captions[int(torch.randint(len(captions), (), generator=generator))])
        hidden = [self.texts.hidden(text) for text in texts]
        return _Batch(
            features=torch.stack(
                [F.pad(motion, (0, 0, 0, self.config.max_frames - len(motion))) for motion in motions]
            ),
            lengths=torch.tensor([len(motion) for motion in motions]),
            hidden=nn.utils.rnn.pad_sequence(hidden, batch_first=True),
            text_lengths=torch.tensor([len(states) for states in hidden]),
            sentences=self.texts.sentences(texts),
        )

    def losses(self, model: nn.Module, batch: _Batch, clock: Clock) -> Terms:
        return terms(_run(model, batch, clock).losses)

    def measure(self, model: nn.Module, batch: _Batch, clock: Clock) -> Terms:
        """The losses, and how well texts find their motions, in groups of 32 of the batch."""
        found = _run(model, batch, clock)
        return {**terms(found.losses), **retrieval_terms(found.text, found.motion, clock.generator)}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Both encoders and the decoder, in folders, as a converted published file; and the features' statistics."""
        assert isinstance(self.model, TextMotionNetworks)
        language_model, _ = self._language_model()
        config = TextEvaluatorConfig(bert=language_model.config, encoder=self.model.text.config)
        text = TextEvaluator(config)
        text.bert.load_state_dict(language_model.state_dict())
        text.encoder.load_state_dict({key: x.cpu() for key, x in self.model.text.state_dict().items()})
        found = {"text-evaluator": text, "motion-evaluator": self.model.motion, "evaluator-decoder": self.model.decoder}
        known = {network.name: network for network in NETWORKS}
        save_converted([ConvertedNetwork(known[name], model, {}) for name, model in found.items()], folder)
        save_tensors({"mean": self.stats.mean, "std": self.stats.std}, Path(folder) / "statistics.safetensors")

    def _described(self, num_clips: int) -> list[_Item]:
        size = self.config.max_frames - 1
        pieces = [
            (clip, start, start + size)
            for clip, length in enumerate(self.clips.lengths)
            for start in range(0, length - size + 1, size)
        ]
        describe = Describer([self.clips.frames(*piece) for piece in pieces if piece[0] < num_clips])
        return [_Item(*piece, (describe(self.clips.frames(*piece)),)) for piece in pieces]

    def _language_model(self) -> tuple[DistilBert, Tokenizer]:
        name = self.config.language_model
        return drawn_language_model(self.config.model.text_dim) if name == _DRAWN else load_language_model(name)

    def _embed(self, texts: list[str]) -> None:
        if self._texts_path.exists():
            return
        model, tokenizer = self._language_model()
        if model.config.dim != self.config.model.text_dim:
            raise ValueError(
                f"`model.text_dim` must be {model.config.dim}, as {self.config.language_model} has it; "
                f"got {self.config.model.text_dim}."
            )
        if self.config.language_model == _DRAWN:
            sentences = _SAME**0.5 * F.normalize(torch.randn(len(texts), 64, generator=seeded(2)), dim=-1)
        else:
            sentences = F.normalize(SentenceEmbedder(self.config.sentence_model, cache_folder=None)(texts), dim=-1)
        embed_texts(texts, model, tokenizer, sentences, self._texts_path)


def _run(model: nn.Module, batch: _Batch, clock: Clock) -> _Pass:
    assert isinstance(model, TextMotionNetworks)
    # What lies behind the longest of the batch changes nothing but the mean of the reconstruction, where it is zero.
    longest = int(batch.lengths.max())
    motion: NormalDistribution = model.motion(batch.features[:, :longest], batch.lengths)
    text = model.encode_text(batch.hidden, batch.text_lengths)
    noise = torch.randn(2, *motion.mean.shape, generator=clock.generator).to(motion.mean)
    drawn = [x.mean + x.std * draw for x, draw in zip((text, motion), noise, strict=True)]
    behind = (0, 0, 0, batch.features.shape[1] - longest)
    decoded = [F.pad(model.decoder(latent, batch.lengths), behind) for latent in drawn]
    losses = evaluator_losses(
        text,
        motion,
        text_latent=drawn[0],
        motion_latent=drawn[1],
        decoded_text=decoded[0],
        decoded_motion=decoded[1],
        features=batch.features,
        similarity=batch.sentences @ batch.sentences.T,
    )
    return _Pass(losses, drawn[0], drawn[1])


def _own_items(lengths: Sequence[int], captions: Sequence[Sequence[TimedCaption | StreamCaption]]) -> list[_Item]:
    """Whole clips with all captions of the whole, and each captioned part on its own."""
    items = []
    for clip, (length, found) in enumerate(zip(lengths, captions, strict=True)):
        timed = [caption for caption in found if isinstance(caption, TimedCaption)]
        whole = tuple(text for text, start, end in timed if not start and not end)
        items += [_Item(clip, 0, length, whole)] if whole else []
        items += [
            _Item(clip, int(start * _RATE_HZ), min(length, int(end * _RATE_HZ)), (text,))
            for text, start, end in timed
            if start or end
        ]
    return items
