"""Folders of SMPL-X motion in the BEAT2 layout: ``legacy``, ``evaltools``, ``globaldiff`` and ``cospeech``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cospeech.audio import load_audio
from cospeech.data import read_semantic_scores
from cospeech.errors import CospeechError
from cospeech.evaluation.beat2_clips import measure_clip
from cospeech.evaluation.clips import ClipMeasures
from cospeech.evaluation.faces import SurfaceModel
from cospeech.evaluation.folders import ClipFiles, Problem, find_clips, weights_hash
from cospeech.evaluation.protocols import Protocol
from cospeech.models import SkeletonAutoencoder
from cospeech.motion import Motion

__all__ = ["Beat2Reader"]

MIN_FRAMES = 64  # less has no window, no feature and no spectrum
_AUDIO_HZ = 16_000


@dataclass(frozen=True, kw_only=True)
class Beat2Reader:
    """See ``evaluate_folders`` for the fields."""

    protocol: Protocol
    audio: Path | None = None
    semantic: Path | None = None
    extractor: SkeletonAutoencoder | None = None
    surface: SurfaceModel | None = None
    rest_joints: Tensor | None = None
    hand_mean: Tensor | None = None

    def find(self, generated: Path, reference: Path) -> tuple[list[ClipFiles], list[Problem]]:
        """Pairs of ``.npz``."""
        return find_clips(generated, reference, self.audio, semantic=self.semantic)

    @torch.inference_mode()
    def __call__(self, clip: ClipFiles) -> ClipMeasures | Problem:
        """Read, check and measure one clip."""
        motions = []
        for path in (clip.generated, clip.reference):
            motion = self._read(clip.name, path)
            if isinstance(motion, Problem):
                return motion
            motions.append(motion)
        waveform = semantic = None
        try:
            if clip.audio is not None and self.protocol.beat is not None:
                waveform = load_audio(clip.audio, _AUDIO_HZ)
            if clip.semantic is not None:
                semantic = read_semantic_scores(clip.semantic, motions[1].num_frames)
        except (CospeechError, ValueError, OSError) as error:
            return Problem(clip.name, "unreadable", str(error))
        return measure_clip(
            clip.name,
            motions[0],
            motions[1],
            self.protocol,
            waveform=waveform,
            extractor=self.extractor,
            rest_joints=self.rest_joints,
            hand_mean=self.hand_mean,
            surface=self.surface,
            semantic=semantic,
        )

    def finish(self, clips: list[ClipMeasures], seed: int) -> list[ClipMeasures]:
        """Nothing more."""
        return clips

    def reason(self, name: str) -> str:
        """Why a measure of the protocol is missing."""
        needs = {
            "fgd": (self.extractor, "needs the extractor AESKConv_240_100.bin"),
            "bc": (self.audio, "needs the clips' audio"),
            "srgr": (self.semantic, "needs the clips' semantic scores"),
            "face_mse": (self.surface, "needs the licensed body model file"),
            "face_lvd": (self.surface, "needs the licensed body model file"),
        }
        given, what = needs.get(name, (True, ""))
        return what if given is None else "no clip is long enough, or has what it needs"

    def notes(self) -> list[str]:
        """What differs from the published numbers for want of the licensed body model."""
        notes = []
        if self.surface is None and self.rest_joints is None:
            notes.append(
                "Positions are of a mean body, not of the speaker's shape: give `body` or `rest_joints` for exact BC "
                "and L1div."
            )
        if self.surface is None and self.hand_mean is None:
            notes.append(
                "Hands are flat at rest; published programs add the body model's `hands_mean`, which moves L1div."
            )
        return notes

    def extractor_hash(self) -> str | None:
        """Of the skeleton autoencoder."""
        return None if self.extractor is None else weights_hash([self.extractor])

    def _read(self, name: str, path: Path) -> Motion | Problem:
        try:
            motion = Motion.load(path)
        except (CospeechError, ValueError, OSError) as error:
            return Problem(name, "NaN" if "NaN" in str(error) else "unreadable", str(error))
        if motion.rate_hz != self.protocol.rate_hz:
            return Problem(name, "wrong rate", f"{path} has {motion.rate_hz:g} Hz, not {self.protocol.rate_hz:g}")
        if motion.skeleton.num_joints != 55:
            return Problem(name, "wrong skeleton", f"{path} has {motion.skeleton.num_joints} joints, not 55")
        if motion.num_frames < MIN_FRAMES:
            return Problem(name, "too short", f"{path} has {motion.num_frames} frames, not {MIN_FRAMES}")
        return motion
