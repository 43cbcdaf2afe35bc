"""GlobalDiff's published test program, rule by rule, for numbers that are to be compared with it.

Windows of 32,000 samples every 27,734 (so 60 frames every 52, but for two thirds of a sample), the first of them seeded
by ground truth; the tail of the audio is dropped, seams are plain means, and the logarithm is the published one. A
shorter file of a batch ends on a seam with silence. To generate motion for its own sake use ``GlobalDiffPipeline``.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.errors import ModelNotFoundError
from cospeech.hub import load_published, resolve
from cospeech.hub.convert.globaldiff import denoiser_from_published, speech_model_from_published
from cospeech.models import GlobalDiffDenoiser, SpeechModel, StackedDenoiser
from cospeech.motion import Motion
from cospeech.pipelines.globaldiff import SpeechFeatures
from cospeech.pipelines.globaldiff_windows import WindowInputs, WindowSampler, check_guidance
from cospeech.representations import GlobalRot6D, globaldiff_matrix_to_axis_angle
from cospeech.rotations import axis_angle_to_matrix, matrix_to_rot6d
from cospeech.samplers import GlobalDiffSampler, WindowState, count_published_windows
from cospeech.skeleton import SMPLX, local_to_global

__all__ = ["GLOBALDIFF_FILES", "GLOBALDIFF_REPOSITORY", "PublishedGlobalDiff", "published_file"]

GLOBALDIFF_REPOSITORY = "X-Zhang/GlobalDiff"
"""Where the published weights lie on the Hugging Face Hub."""

GLOBALDIFF_FILES = {
    "speech_model": "Scripts/FM/ckpt/split/SimpleSpeechModel/best",
    "masked_vae_2": "Scripts/VAE/ckpt/split/global/MaskedVAE2-HorizonFlip/best",
    "masked_vae_4": "Scripts/VAE/ckpt/split/global/MaskedVAE3-HorizonFlip/best",
    "evaluation": "Scripts/FM/EMAGE_VAE/AESKConv_240_100",
}
"""What is published, without suffixes. No denoiser is among it: train one, see ``docs/globaldiff.md``."""

WINDOW_FRAMES, RATE_HZ, SAMPLE_RATE_HZ = 60, 30.0, 16_000
WINDOW_SAMPLES = 2 * SAMPLE_RATE_HZ
_SUFFIXES = (".pt", ".zip", ".bin", "")


def published_file(
    name: str, source: str | os.PathLike[str] = GLOBALDIFF_REPOSITORY, *, revision: str | None = None
) -> Path:
    """The path of a published checkpoint, for ``cospeech.hub.load_published``.

    Args:
        name: A key of ``GLOBALDIFF_FILES``.
        source: A folder laid out like the published repository, or a repository on the Hub.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ValueError: If there is no such checkpoint.
        ModelNotFoundError: If it is not in ``source``.
    """
    if name not in GLOBALDIFF_FILES:
        raise ValueError(f"Unknown checkpoint {name!r}; choose from {', '.join(GLOBALDIFF_FILES)}.")
    stem = GLOBALDIFF_FILES[name]
    folder = resolve(source, revision=revision, patterns=[stem + suffix for suffix in _SUFFIXES])
    for suffix in _SUFFIXES:
        if (folder / (stem + suffix)).is_file():
            return folder / (stem + suffix)
    raise ModelNotFoundError(f"{folder} holds no {stem}.pt, .zip or .bin.")


class PublishedGlobalDiff:
    """The published test program over a batch of files.

    Args:
        denoiser: A trained denoiser; none was ever published.
        speech_model: Features to expressions.
        features: What the networks hear, usually ``cospeech.audio.SpeechEncoder``.
        guidance_scale: 1 is the network as it is; above 1 exaggerates what the speaker's identity changes.
        num_calls: Calls of the denoiser per window.

    Raises:
        ValueError: If the features do not fit the networks.
    """

    def __init__(
        self,
        denoiser: GlobalDiffDenoiser | StackedDenoiser,
        speech_model: SpeechModel,
        features: SpeechFeatures,
        *,
        guidance_scale: float = 1.0,
        num_calls: int = 10,
    ):
        widths = {denoiser.config.feature_dim, speech_model.config.feature_dim, features.feature_dim}
        if len(widths) > 1:
            raise ValueError(f"Features and networks must agree on `feature_dim`; got {sorted(widths)}.")
        self.denoiser, self.speech_model, self.features = denoiser.eval(), speech_model.eval(), features
        self.guidance_scale = check_guidance(guidance_scale)
        self.sampler = GlobalDiffSampler(
            overlap_frames=denoiser.config.num_seed_frames, num_calls=num_calls, seams="flat"
        )
        self.representation = GlobalRot6D(
            num_expressions=denoiser.config.expression_dim,
            rate_hz=RATE_HZ,
            matrix_to_axis_angle=globaldiff_matrix_to_axis_angle,
        )

    @classmethod
    def load(
        cls,
        denoiser: str | os.PathLike[str],
        features: SpeechFeatures,
        *,
        source: str | os.PathLike[str] = GLOBALDIFF_REPOSITORY,
        guidance_scale: float = 1.0,
    ) -> PublishedGlobalDiff:
        """The program with weights in their published layout.

        Args:
            denoiser: The file that a training run wrote, for example ``epoch_999``.
            features: What the networks hear.
            source: Where the speech model comes from; see ``published_file``.
            guidance_scale: See the class.

        Raises:
            CheckpointError: If weights do not fit.
            ModelNotFoundError: If the speech model is not found.
        """
        speech_model = speech_model_from_published(load_published(published_file("speech_model", source)))
        network = denoiser_from_published(load_published(denoiser))
        return cls(network, speech_model, features, guidance_scale=guidance_scale)

    @torch.no_grad()
    def __call__(
        self,
        waveforms: Sequence[Tensor],
        *,
        seed_poses: Sequence[Tensor],
        seed_translations: Sequence[Tensor],
        speakers: Sequence[int],
        noises: Tensor,
    ) -> list[Motion]:
        """Motions of several files.

        Args:
            waveforms: 16 kHz mono, ``(S,)`` each, two windows (59,734 samples) at least.
            seed_poses: The first frames of each file's ground truth, local axis-angles in radians, ``(F, J, 3)``.
            seed_translations: Their translations, metres, ``(F, 3)``.
            speakers: One number for each file.
            noises: What each window of each file starts from, ``(W, B, T, 6 J + 3)``; ``W`` for the longest file.

        Raises:
            ValueError: If a file is too short, or the arguments do not fit each other.
        """
        counts = [count_published_windows(len(waveform)) for waveform in waveforms]
        size, config = len(counts), self.denoiser.config
        check_shape("noises", noises, f"W {size} {WINDOW_FRAMES} {config.motion_dim}")
        if not len(seed_poses) == len(seed_translations) == len(speakers) == size:
            raise ValueError(f"Seeds and speakers must be one for each of the {size} files.")
        if len(noises) < max(counts, default=0):
            raise ValueError(f"`noises` must hold {max(counts)} windows; got {len(noises)}.")
        # Files are padded with silence to the longest, and cut where they ended: the last seam of a shorter file has a
        # window of its tail and of silence on its later side. That one is sampled too, those behind it never count.
        longest = max(map(len, waveforms), default=0)
        sampled = [min(count + 1, max(counts)) for count in counts]
        heard = [
            self._hear(F.pad(waveform, (0, longest - len(waveform))), speaker, count)
            for waveform, speaker, count in zip(waveforms, speakers, sampled, strict=True)
        ]
        seeds = [_seed(*pair).to(noises) for pair in zip(seed_poses, seed_translations, strict=True)]
        frames: list[list[Tensor]] = [[] for _ in counts]
        active = list(range(size))
        windows = self.sampler.windows(WindowSampler(self.denoiser, self.sampler, self.guidance_scale))
        state = windows.init_state(torch.stack(seeds))
        for index in range(max(counts, default=0)):
            inputs = WindowInputs(
                noise=noises[index, active],
                features=torch.stack([heard[number][0][index] for number in active]),
                expressions=torch.stack([heard[number][1][index] for number in active]),
                speakers=torch.tensor([speakers[number] for number in active], device=noises.device),
            )
            final, state = windows.step(inputs, state)
            tail = windows.flush(state)
            for row, number in enumerate(active):
                ends = index + 1 == sampled[number]
                frames[number] += [final[row], tail[row]] if ends else [final[row]]
            going_on = [row for row, number in enumerate(active) if index + 1 < sampled[number]]
            active = [active[row] for row in going_on]
            state = WindowState(state.tail[going_on], held=True)
        hop = WINDOW_FRAMES - self.sampler.overlap_frames
        lengths = [WINDOW_FRAMES + hop * (count - 1) for count in counts]
        clips = [torch.cat(pieces)[:length] for pieces, length in zip(frames, lengths, strict=True)]
        return [self.representation.decode(clip) for clip in clips]

    def _hear(self, waveform: Tensor, speaker: int, num_windows: int) -> tuple[Tensor, Tensor]:
        """Features and expressions of all windows of a file, which do not depend on each other."""
        hop = WINDOW_SAMPLES - int(SAMPLE_RATE_HZ / RATE_HZ * self.sampler.overlap_frames)
        features = self.features(waveform.unfold(0, WINDOW_SAMPLES, hop)[:num_windows])
        return features, self.speech_model(features, torch.full((len(features),), speaker, device=features.device))


def _seed(poses: Tensor, translation: Tensor) -> Tensor:
    """Features ``(F, 6 J + 3)`` of seed frames, by way of float64 as published."""
    check_shape("seed_poses", poses, f"F {SMPLX.num_joints} 3")
    check_shape("seed_translations", translation, f"{len(poses)} 3")
    rotations = local_to_global(axis_angle_to_matrix(poses.double()), SMPLX)
    return torch.cat([matrix_to_rot6d(rotations).flatten(-2), translation.double()], dim=-1)
