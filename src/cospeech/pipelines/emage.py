"""EMAGE end to end: speech and whatever is known of the motion to all of the motion.

The published program needs 0.3 s of audio and drops up to eight frames at its end. Here a clip may last 0.1 s or an
hour, and is covered to its end; ``strict_upstream`` gives the published frames. Nothing is random.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; the order of windows is that of its published program.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import Self

from cospeech.audio import AudioSource, SpokenWord, WordEmbedding, embed_words, iter_audio, measure_speech
from cospeech.audio.decoding import hold_audio
from cospeech.hub import config_from_dict, load_model, resolve, save_model
from cospeech.models import (
    EmageGlobalMotion,
    EmageMotionCodec,
    EmageParts,
    EmageTransformer,
    EmageVQVAE,
)
from cospeech.models.emage_generation import AUDIO_RATE_HZ, FRAME_RATE_HZ
from cospeech.motion import Motion
from cospeech.nn.optimization import Precision
from cospeech.pipelines.arguments import one_each
from cospeech.pipelines.emage_clips import EmageRunner
from cospeech.pipelines.emage_published import load_published_emage, make_emage_codec, save_published_emage
from cospeech.pipelines.hints import GestureHints
from cospeech.pipelines.index import INDEX_FILE, read_index, write_index
from cospeech.pipelines.masked_speech import MaskedClock
from cospeech.pipelines.pipeline import Pipeline, ProgressCallback
from cospeech.pipelines.progress import collect

__all__ = ["EmagePipeline"]


@dataclass(frozen=True, kw_only=True)
class EmageSettings:
    """What a saved pipeline keeps besides its networks: nothing yet."""


class EmagePipeline(Pipeline):
    """Speech to motion with EMAGE's networks, at the published or any other size.

    Args:
        transformer: What it has learned by now counts: after more training, make another
            pipeline.
        codec: The motion networks; see ``make_emage_codec``.
        embedding: For a transformer that reads: from a word to its vector, the ``get`` of a dictionary for example.

    Raises:
        ValueError: If the parts do not fit each other.
    """

    def __init__(
        self, transformer: EmageTransformer, codec: EmageMotionCodec, *, embedding: WordEmbedding | None = None
    ):
        config = transformer.config
        if (config.text_dim is None) != (embedding is None):
            raise ValueError("`embedding` of words goes with a transformer that reads (`text_dim`), and only with one.")
        for part in (*config.code_parts, *config.latent_parts):
            vqvae = codec.vqvae(part).config
            given, wanted = (vqvae.num_codes, vqvae.latent_dim), (config.num_codes, config.code_dim)
            if given != wanted:
                raise ValueError(f"The codebook of {part!r} must be {wanted}, as the transformer's; got {given}.")
        self.transformer, self.codec = transformer.eval(), codec.eval()
        self.rate_hz = float(FRAME_RATE_HZ)
        self.num_speakers = config.num_speakers
        self._embedding = embedding
        self._runner = EmageRunner.fold(self.transformer, self.codec)
        self._prototypes: dict[str, Tensor] | None = None
        self._optimized = False

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: torch.device | str = "cpu",
        keep_unused: bool = False,
        embedding: WordEmbedding | None = None,
    ) -> Self:
        """The pipeline in a folder or on the Hub, in our format or in the published one.

        Args:
            name_or_path: What ``save_pretrained`` wrote, or a folder or repository laid out as the published
                ``H-Liu1997/emage_audio`` is; its motion networks may also be the earlier ``pretrained_vq/*.bin``.
            revision: Branch, tag or commit on the Hub.
            device: Where the networks shall be.
            keep_unused: Whether to keep the published layers that nothing uses (47 MB), so that ``save_published``
                writes back what was read.
            embedding: See ``EmagePipeline``; it is not saved with the networks.

        Raises:
            ModelNotFoundError: If nothing has that name, or the Hub cannot be reached.
            CheckpointError: If a part is missing or does not fit; it is named, and every key at fault is listed.
        """
        folder = resolve(name_or_path, revision=revision)
        if (folder / INDEX_FILE).is_file():
            config_from_dict(EmageSettings, read_index(folder, cls), source=str(folder / INDEX_FILE))
            networks = {part: load_model(EmageVQVAE, folder / part) for part in EmageParts._fields}
            codec = make_emage_codec(networks, load_model(EmageGlobalMotion, folder / "global_motion"))
            transformer = load_model(EmageTransformer, folder / "transformer").to(device)
            return cls(transformer, codec.to(device), embedding=embedding)
        published = load_published_emage(name_or_path, revision=revision)
        pipeline = cls(published.transformer.to(device), published.codec.to(device))
        pipeline._prototypes = published.prototypes if keep_unused else None
        return pipeline

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write all networks to a folder that ``from_pretrained`` reads.

        Args:
            folder: Where to; made if missing.
            dtype: To store weights in, ``torch.float16`` for half the size; they are float32 again when read.

        Raises:
            TypeError: If the pipeline is an optimized one.
            CheckpointError: If the folder cannot be written.
        """
        self._refuse_optimized()
        folder = Path(folder)
        save_model(self.transformer, folder / "transformer", dtype=dtype)
        for part in EmageParts._fields:
            save_model(self.codec.vqvae(part), folder / part, dtype=dtype)
        save_model(self.codec.global_motion, folder / "global_motion", dtype=dtype)
        write_index(folder, type(self), {})  # last: a folder without its index is no pipeline

    def save_published(self, folder: str | os.PathLike[str], *, safetensors: bool = False) -> None:
        """Write a folder that the published program reads, the layers that it never uses included.

        Args:
            folder: Where to; made if missing.
            safetensors: See ``save_published_emage``.

        Raises:
            TypeError: If the pipeline is an optimized one.
            CheckpointError: If the folder cannot be written.
        """
        self._refuse_optimized()
        save_published_emage(self.transformer, self.codec, folder, prototypes=self._prototypes, safetensors=safetensors)

    def __call__(
        self,
        audio: AudioSource,
        *,
        speaker: int = 1,
        seed: int = 0,
        source_rate_hz: float | None = None,
        progress: bool | None = None,
        callback: ProgressCallback | None = None,
        hints: GestureHints | None = None,
        words: Sequence[SpokenWord] | None = None,
        fade_seams: bool = False,
        strict_upstream: bool = False,
    ) -> Motion:
        """Motion for a clip of speech; see ``Pipeline.__call__``.

        Args:
            audio: As there.
            speaker: As there.
            seed: As there; nothing is random here, so every seed gives the same.
            source_rate_hz: As there.
            progress: As there.
            callback: As there.
            hints: What is known of the motion; the body starts where they do, if their first frame shows its root.
            words: What is said when, for networks that read; see ``cospeech.audio.read_text_grid``.
            fade_seams: Whether a window's last frames fade into what the next window says of them. The published
                program cuts from one to the other, which shows as a jump where a network was trained little.
            strict_upstream: Whether to give the published program's frames, which end up to nine frames early.

        Raises:
            AudioError: As there.
            ValueError: If there is no such speaker, hints are longer than the motion, words are missing or cannot be
                read, or with ``strict_upstream`` the audio is shorter than nine frames or seams shall fade.
        """
        return self.batch(
            [audio],
            speakers=[speaker],
            seeds=[seed],
            source_rate_hz=source_rate_hz,
            progress=progress,
            callback=callback,
            hints=[hints],
            words=[words],
            fade_seams=fade_seams,
            strict_upstream=strict_upstream,
        )[0]

    def batch(
        self,
        audios: Sequence[AudioSource],
        *,
        speakers: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        source_rate_hz: float | None = None,
        progress: bool | None = None,
        callback: ProgressCallback | None = None,
        hints: Sequence[GestureHints | None] | None = None,
        words: Sequence[Sequence[SpokenWord] | None] | None = None,
        fade_seams: bool = False,
        strict_upstream: bool = False,
    ) -> list[Motion]:
        """See ``Pipeline.batch``; ``hints`` and ``words`` are one, or None, for each clip."""
        hints = one_each("hints", hints, len(audios), default=None)
        read = [self._read(said) for said in one_each("words", words, len(audios), default=None)]
        clock = self._clock(strict_upstream, fade_seams)
        requests = self._requests(audios, AUDIO_RATE_HZ, speakers=speakers, seeds=seeds, source_rate_hz=source_rate_hz)
        asked = list(zip(requests, hints, read, strict=True))
        num_frames = sum(_count_frames(clock, request.num_samples, given) for request, given, _ in asked)
        clips = [
            self._runner.clip(clock, one.blocks(), one.speaker, given, said, fade_seams) for one, given, said in asked
        ]
        return collect(self._runner.run(clips), len(clips), num_frames, progress=progress, callback=callback)

    def stream(
        self,
        audio: AudioSource,
        *,
        speaker: int = 1,
        seed: int = 0,
        source_rate_hz: float | None = None,
        hints: GestureHints | None = None,
        words: Sequence[SpokenWord] | None = None,
        fade_seams: bool = False,
        strict_upstream: bool = False,
    ) -> Iterator[Motion]:
        """See ``Pipeline.stream``; with hints the audio is measured before it is heard.

        The first piece comes after a window of speech (2.1 s at the published size).
        """
        self.check_speaker(speaker)
        clock = self._clock(strict_upstream, fade_seams)
        if hints is not None:
            audio = hold_audio(audio)
            _count_frames(clock, measure_speech(audio, AUDIO_RATE_HZ, source_rate_hz=source_rate_hz), hints)
        blocks = iter_audio(audio, AUDIO_RATE_HZ, block_seconds=0.5, source_rate_hz=source_rate_hz)
        clip = self._runner.clip(clock, blocks, speaker, hints, self._read(words), fade_seams, lookahead=1)
        return (piece for _, piece in self._runner.run([clip]))

    def to(self, device: torch.device | str) -> Self:
        """See ``Pipeline.to``; of an optimized pipeline the plain networks are moved."""
        # Copies, since a module's own `to` moves it: this pipeline stays where it is.
        transformer, codec = copy.deepcopy((self.transformer, self.codec))
        other = type(self)(transformer.to(device), codec.to(device), embedding=self._embedding)
        other._prototypes = self._prototypes
        return other

    def optimize(self, *, precision: Precision = "float32", compiled: bool = False) -> Self:
        """See ``Pipeline.optimize``; below float32, some codes of the body turn out otherwise."""
        self._refuse_optimized()
        other = copy.copy(self)
        other._runner, other._optimized = self._runner.optimize(precision=precision, compiled=compiled), True
        return other

    def _read(self, words: Sequence[SpokenWord] | None) -> Tensor | None:
        """The vector of the word at each frame, up to the last word."""
        dim = self.transformer.config.text_dim
        if (words is None) != (dim is None):
            raise ValueError("`words` must be given to a network that reads, and to no other.")
        if words is None or dim is None or self._embedding is None:
            return None
        num_frames = math.ceil(max((word.end_seconds for word in words), default=0.0) * self.rate_hz)
        return embed_words(words, self._embedding, dim, num_frames, rate_hz=self.rate_hz)

    def _refuse_optimized(self) -> None:
        if self._optimized:
            raise TypeError("This pipeline is optimized; save or optimize the one that it was made from.")

    def _clock(self, strict_upstream: bool, fade_seams: bool) -> MaskedClock:
        if strict_upstream and fade_seams:
            raise ValueError("`fade_seams` departs from the published program; leave out `strict_upstream`.")
        config = self.transformer.config
        return MaskedClock(config.window_frames, config.seed_frames, strict_upstream)


def _count_frames(clock: MaskedClock, num_samples: int, hints: GestureHints | None) -> int:
    """Frames of a clip's motion, if its hints can be used."""
    num_frames = clock.num_frames(num_samples)
    if hints is not None and hints.motion.num_frames > num_frames:
        raise ValueError(
            f"`hints` must not be longer than the motion; got {hints.motion.num_frames} frames for {num_frames}."
        )
    return num_frames
