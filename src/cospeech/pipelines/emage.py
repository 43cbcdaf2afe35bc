"""EMAGE end to end: speech and whatever is known of the motion to all of the motion.

The published program needs 0.3 s of audio and drops up to eight frames at its end. Here a clip may last 0.1 s or an
hour, and is covered to its end; ``strict_upstream`` gives the published frames. Nothing is random.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; the order of windows is that of its published program.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from cospeech.audio import AudioSource, iter_audio, measure_speech
from cospeech.hub import config_from_dict, load_model, resolve, save_model
from cospeech.models import (
    EmageGenerator,
    EmageGlobalMotion,
    EmageHeard,
    EmageMotionCodec,
    EmageParts,
    EmageStreamDecoder,
    EmageStreamState,
    EmageTransformer,
    EmageVQVAE,
    StreamedMotion,
    blank_emage_hints,
)
from cospeech.models.emage_generation import AUDIO_RATE_HZ, FRAME_RATE_HZ
from cospeech.motion import Motion
from cospeech.nn import optimize
from cospeech.nn.optimization import Precision
from cospeech.pipelines.arguments import one_each
from cospeech.pipelines.emage_published import load_published_emage, make_emage_codec, save_published_emage
from cospeech.pipelines.hints import GestureHints, HintChannels
from cospeech.pipelines.index import INDEX_FILE, read_index, write_index
from cospeech.pipelines.masked_speech import MaskedClock, MaskedSpeech
from cospeech.pipelines.pipeline import Pipeline, ProgressCallback
from cospeech.pipelines.progress import collect

__all__ = ["EmagePipeline"]

_LOOKAHEAD = 8  # windows of a clip that are heard together, and whose codes are decoded together


class _Heard(NamedTuple):
    """One window of one clip, a batch of one."""

    heard: EmageHeard
    motion: Tensor
    hidden: Tensor
    num_kept: int


@dataclass
class _Clip:
    """A clip on its way: what is still to come of its speech, and what it remembers."""

    windows: Iterator[_Heard]
    speaker: int
    hints: GestureHints | None
    decoder: EmageStreamState
    decode_every: int
    seed: Tensor | None = None
    pending: list[EmageParts] | None = None
    num_out: int = 0


@dataclass(frozen=True, kw_only=True)
class EmageSettings:
    """What a saved pipeline keeps besides its networks: nothing yet."""


class EmagePipeline(Pipeline):
    """Speech to motion with EMAGE's networks, at the published or any other size.

    Args:
        transformer: One that hears audio only.
        codec: The motion networks; see ``make_emage_codec``.

    Raises:
        ValueError: If the parts do not fit each other.
    """

    def __init__(self, transformer: EmageTransformer, codec: EmageMotionCodec):
        config = transformer.config
        if config.text_dim is not None:
            raise ValueError("`transformer` must hear audio only; this one also reads text, which no pipeline aligns.")
        for part in (*config.code_parts, *config.latent_parts):
            vqvae = codec.vqvae(part).config
            given, wanted = (vqvae.num_codes, vqvae.latent_dim), (config.num_codes, config.code_dim)
            if given != wanted:
                raise ValueError(f"The codebook of {part!r} must be {wanted}, as the transformer's; got {given}.")
        self.transformer, self.codec = transformer.eval(), codec.eval()
        self.rate_hz = float(FRAME_RATE_HZ)
        self.num_speakers = config.num_speakers
        self._generator = EmageGenerator(transformer, codec)
        self._decoder = EmageStreamDecoder(codec, rate_hz=self.rate_hz)
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
    ) -> Self:
        """The pipeline in a folder or on the Hub, in our format or in the published one.

        Args:
            name_or_path: What ``save_pretrained`` wrote, or a folder or repository laid out as the published
                ``H-Liu1997/emage_audio`` is; its motion networks may also be the earlier ``pretrained_vq/*.bin``.
            revision: Branch, tag or commit on the Hub.
            device: Where the networks shall be.
            keep_unused: Whether to keep the published layers that nothing uses (47 MB), so that ``save_published``
                writes back what was read.

        Raises:
            ModelNotFoundError: If nothing has that name, or the Hub cannot be reached.
            CheckpointError: If a part is missing or does not fit; it is named, and every key at fault is listed.
        """
        folder = resolve(name_or_path, revision=revision)
        if (folder / INDEX_FILE).is_file():
            config_from_dict(EmageSettings, read_index(folder, cls), source=str(folder / INDEX_FILE))
            networks = {part: load_model(EmageVQVAE, folder / part) for part in EmageParts._fields}
            codec = make_emage_codec(networks, load_model(EmageGlobalMotion, folder / "global_motion"))
            return cls(load_model(EmageTransformer, folder / "transformer").to(device), codec.to(device))
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
            strict_upstream: Whether to give the published program's frames, which end up to nine frames early.

        Raises:
            AudioError: As there.
            ValueError: If there is no such speaker, hints are longer than the motion, or with ``strict_upstream`` the
                audio is shorter than nine frames.
        """
        return self.batch(
            [audio],
            speakers=[speaker],
            seeds=[seed],
            source_rate_hz=source_rate_hz,
            progress=progress,
            callback=callback,
            hints=[hints],
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
        strict_upstream: bool = False,
    ) -> list[Motion]:
        """See ``Pipeline.batch``; ``hints`` are one, or None, for each clip."""
        hints = one_each("hints", hints, len(audios), default=None)
        clock = self._clock(strict_upstream)
        requests = self._requests(audios, AUDIO_RATE_HZ, speakers=speakers, seeds=seeds, source_rate_hz=source_rate_hz)
        asked = list(zip(requests, hints, strict=True))
        num_frames = sum(_count_frames(clock, request.num_samples, given) for request, given in asked)
        clips = [self._clip(clock, request.blocks(), request.speaker, given) for request, given in asked]
        return collect(self._run(clips), len(clips), num_frames, progress=progress, callback=callback)

    def stream(
        self,
        audio: AudioSource,
        *,
        speaker: int = 1,
        seed: int = 0,
        source_rate_hz: float | None = None,
        hints: GestureHints | None = None,
        strict_upstream: bool = False,
    ) -> Iterator[Motion]:
        """See ``Pipeline.stream``; with hints the audio is measured before it is heard.

        The first piece comes after a window of speech (2.1 s at the published size).
        """
        self.check_speaker(speaker)
        clock = self._clock(strict_upstream)
        if hints is not None:
            audio = audio.read() if hasattr(audio, "read") else audio
            _count_frames(clock, measure_speech(audio, AUDIO_RATE_HZ, source_rate_hz=source_rate_hz), hints)
        blocks = iter_audio(audio, AUDIO_RATE_HZ, block_seconds=0.5, source_rate_hz=source_rate_hz)
        return (piece for _, piece in self._run([self._clip(clock, blocks, speaker, hints, lookahead=1)]))

    def to(self, device: torch.device | str) -> Self:
        """See ``Pipeline.to``."""
        # Copies, since a module's own `to` moves it: this pipeline stays where it is.
        transformer, codec = copy.deepcopy((self.transformer, self.codec))
        return self._with(transformer.to(device), codec.to(device), self._optimized)

    def optimize(self, *, precision: Precision = "float32", compiled: bool = False) -> Self:
        """See ``Pipeline.optimize``."""
        self._refuse_optimized()
        rows = self.transformer.config.window_frames
        fast = optimize(self.transformer, precision=precision, rows=rows, compiled=compiled)
        return self._with(fast, self.codec, True)

    def _with(self, transformer: EmageTransformer, codec: EmageMotionCodec, optimized: bool) -> Self:
        other = type(self)(transformer, codec)
        other._prototypes, other._optimized = self._prototypes, optimized
        return other

    def _refuse_optimized(self) -> None:
        if self._optimized:
            raise TypeError("This pipeline is optimized; save or optimize the one that it was made from.")

    def _clock(self, strict_upstream: bool) -> MaskedClock:
        config = self.transformer.config
        return MaskedClock(config.window_frames, config.seed_frames, strict_upstream)

    def _clip(
        self,
        clock: MaskedClock,
        blocks: Iterable[Tensor],
        speaker: int,
        hints: GestureHints | None,
        lookahead: int = _LOOKAHEAD,
    ) -> _Clip:
        like = self.transformer.mask_embedding
        start = like.new_zeros(1, 3)
        if hints is not None and bool(hints.visible[0, 0]):
            start = hints.motion.translation[:1].to(start)
        windows = self._hear(clock.windows(blocks), hints, lookahead)
        return _Clip(windows, speaker - 1, hints, self._decoder.init_state(start), lookahead)

    @torch.no_grad()
    def _hear(self, windows: Iterator[MaskedSpeech], hints: GestureHints | None, lookahead: int) -> Iterator[_Heard]:
        """A clip's windows with what is heard and known of them, several windows at once."""
        like = self.transformer.mask_embedding
        channels = None if hints is None else hints.channels()
        while batch := list(islice(windows, lookahead)):
            for num_frames, same in groupby(batch, key=lambda window: window.num_frames):
                group = list(same)
                heard = self.transformer.hear(torch.stack([window.samples for window in group]).to(like))
                for i, window in enumerate(group):
                    known = _known(channels, window.start, num_frames, like)
                    yield _Heard(heard.rows(slice(i, i + 1)), known.motion[None], known.hidden[None], window.num_kept)

    @torch.no_grad()
    def _run(self, clips: Sequence[_Clip]) -> Iterator[tuple[int, Motion]]:
        """Complete the clips side by side, window by window; yield the number of a clip and its next frames.

        Windows of equal length run as one batch; a clip that has come to its end leaves it.
        """
        active = list(range(len(clips)))
        while active:
            found = [(number, next(clips[number].windows, None)) for number in active]
            waiting = [(number, window) for number, window in found if window is not None]
            for number in sorted(set(active) - {number for number, _ in waiting}):
                yield from ((number, piece) for piece in self._finish(clips[number]))
            active = [number for number, _ in waiting]
            waiting.sort(key=lambda item: item[1].motion.shape[1])
            for _, same in groupby(waiting, key=lambda item: item[1].motion.shape[1]):
                group = list(same)
                self._complete([clips[number] for number, _ in group], [window for _, window in group])
            for number in active:
                yield from ((number, piece) for piece in self._decode(clips[number]))

    def _complete(self, clips: Sequence[_Clip], windows: Sequence[_Heard]) -> None:
        """Run one window of each clip."""
        motion = torch.cat([window.motion for window in windows])
        hidden = torch.cat([window.hidden for window in windows])
        first = self._generator.init_state(motion)
        seed = torch.cat([first[[i]] if clip.seed is None else clip.seed for i, clip in enumerate(clips)])
        speaker = torch.tensor([clip.speaker for clip in clips], device=motion.device)
        heard = EmageHeard.join([window.heard for window in windows])
        result, state = self._generator.step(heard, motion, hidden, speaker, seed)
        for i, (clip, window) in enumerate(zip(clips, windows, strict=True)):
            clip.seed = state[[i]]
            clip.pending = [*(clip.pending or []), _rows(result.indices, i, window.num_kept)]

    def _decode(self, clip: _Clip) -> Iterator[Motion]:
        """The motion of codes that wait, once there are enough to be worth it."""
        if clip.pending is not None and len(clip.pending) >= clip.decode_every:
            streamed, clip.decoder = self._decoder.step(_join(clip.pending), clip.decoder)
            clip.pending = None
            yield from self._piece(streamed, clip)

    def _finish(self, clip: _Clip) -> Iterator[Motion]:
        clip.decode_every = 0
        yield from self._decode(clip)
        yield from self._piece(self._decoder.flush(clip.decoder), clip)

    def _piece(self, streamed: StreamedMotion, clip: _Clip) -> Iterator[Motion]:
        """The next frames of a clip, if there are any."""
        if not streamed.translation.shape[1]:
            return
        motion = Motion(
            local_axis_angle=streamed.decoded.axis_angle[0],
            translation=streamed.translation[0],
            expressions=streamed.decoded.expressions[0],
            rate_hz=self.rate_hz,
        )
        if clip.hints is not None and clip.hints.exact:
            motion = clip.hints.paste(motion, clip.num_out)
        clip.num_out += motion.num_frames
        yield motion


def _count_frames(clock: MaskedClock, num_samples: int, hints: GestureHints | None) -> int:
    """Frames of a clip's motion, if its hints can be used."""
    num_frames = clock.num_frames(num_samples)
    if hints is not None and hints.motion.num_frames > num_frames:
        raise ValueError(
            f"`hints` must not be longer than the motion; got {hints.motion.num_frames} frames for {num_frames}."
        )
    return num_frames


def _known(channels: HintChannels | None, start: int, num_frames: int, like: Tensor) -> HintChannels:
    if channels is not None:
        return channels.window(start, num_frames, like=like)
    motion, hidden = blank_emage_hints(1, num_frames, like=like)
    return HintChannels(motion[0], hidden[0])


def _rows(indices: EmageParts, row: int, count: int) -> EmageParts:
    return indices.map(lambda _, x: x[[row], :count])


def _join(pieces: Sequence[EmageParts]) -> EmageParts:
    columns = zip(*pieces, strict=True)
    return EmageParts(*(None if column[0] is None else torch.cat(column, dim=1) for column in columns))
