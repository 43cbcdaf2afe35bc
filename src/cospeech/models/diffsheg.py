"""DiffSHEG's denoiser, UniEG: expression informs gesture, never the reverse.

A frame's motion vector is the gesture channels (axis-angles), then the expression channels, all normalised. Two
branches of one structure predict the noise in each. The expression branch comes first; what it makes of the clean
expression is a condition of the gesture branch, with the gradient cut, so that no gesture loss reaches it.

A window is looked at some dozens of times under the same conditions, so the work is cut in three: ``modulate`` does
once for a speaker what depends on timestep and speaker (44 % of the weights), ``prepare`` once for a window what does
not depend on the noisy motion, ``denoise`` the rest.

Reference:
    Chen et al., "DiffSHEG: A Diffusion-Based Approach for Real-Time Speech-driven Holistic 3D Expression and Gesture
    Generation", CVPR 2024; the structure is that of the published program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.diffsheg_branch import BranchConditioning, MotionBranch
from cospeech.models.diffsheg_config import DiffSHEGConfig
from cospeech.models.diffsheg_layers import LayerFilms, StylizedLayer
from cospeech.nn import FeedForward, timestep_embedding
from cospeech.schedulers import NoiseSchedule, linear_betas

__all__ = ["DiffSHEGConditioning", "DiffSHEGDenoiser", "DiffSHEGModulations", "diffsheg_positions"]

_NUM_POSITIONS = 600  # the published table; it is there twice, so frame 600 has position 0 again


class DiffSHEGModulations(NamedTuple):
    """What one timestep and the speakers say: to the audio encoder, and to each layer of each branch."""

    audio: LayerFilms
    branches: tuple[tuple[LayerFilms, ...], ...]


class DiffSHEGConditioning(NamedTuple):
    """What the denoiser needs besides the noisy motion, at one timestep.

    Attributes:
        branches: In the order in which they run.
        clean_weights: Weights of noisy sample and predicted noise in the clean estimate, ``(B, 1, 1)`` each.
        guidance_scale: 1 where nothing is guided.
        unconditional: Rows of the batch that are to see no condition, ``(B,)``; for training.
    """

    branches: tuple[BranchConditioning, ...]
    clean_weights: tuple[Tensor, Tensor]
    guidance_scale: float
    unconditional: Tensor | None


class DiffSHEGDenoiser(nn.Module):
    """Predicts the noise in a window of gestures and expressions.

    Example:
        >>> config = DiffSHEGConfig(hidden_dim=16, num_layers=1, num_heads=2, feedforward_dim=16, fusion_dim=16,
        ...     condition_dim=32, audio_dim=8, mel_dim=8, speech_feature_dim=12, speech_dim=4)
        >>> denoiser = DiffSHEGDenoiser(config).eval()
        >>> noisy, mel, speech = (torch.randn(1, 34, width) for width in (192, 8, 12))
        >>> speaker, timesteps = torch.tensor([1]), torch.tensor([960, 920, 880])
        >>> conditioning = denoiser.prepare(mel, speech, speaker, timesteps)
        >>> noise = denoiser.denoise(noisy, conditioning[1])
        >>> torch.allclose(noise, denoiser(noisy, timesteps[1:2], mel, speech, speaker), atol=1e-5)
        True
    """

    positions: Tensor

    def __init__(self, config: DiffSHEGConfig):
        super().__init__()
        self.config = config
        self.time_embedding = FeedForward(
            config.hidden_dim, config.condition_dim, out_dim=config.condition_dim, activation=F.silu
        )
        self.audio_encoder = StylizedLayer(
            config.mel_dim, config.num_heads, config.feedforward_dim, condition_dim=config.condition_dim
        )
        self.branches = nn.ModuleDict()
        for name in config.branches:
            channels = config.channels(name)
            self.branches[name] = MotionBranch(config, channels.stop - channels.start, config.estimate_dim(name))
        # On the CPU by name, so that it survives being built on the meta device (see hub/checkpoint.py).
        self.register_buffer("positions", diffsheg_positions(config.hidden_dim, device="cpu"), persistent=False)

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        mel: Tensor,
        speech: Tensor,
        speaker: Tensor,
        *,
        guidance_scale: float = 1.0,
        unconditional: Tensor | None = None,
    ) -> Tensor:
        """The noise in windows, each at its own timestep.

        Args:
            noisy: Normalised motion with noise, ``(B, T, motion_dim)``.
            timesteps: Levels of the full process, integers, ``(B,)``.
            mel: Mel power, one frame per motion frame, ``(B, T, mel_dim)``.
            speech: Features of a speech model, ``(B, T, speech_feature_dim)``.
            speaker: Integers, ``(B,)``.
            guidance_scale: Above 1, each branch exaggerates what the condition changes.
            unconditional: Rows that see no condition, boolean, ``(B,)``; for training.

        Returns:
            The predicted noise, ``(B, T, motion_dim)``.
        """
        conditioning = self.prepare(
            mel, speech, speaker, timesteps[None], guidance_scale=guidance_scale, unconditional=unconditional
        )
        return self.denoise(noisy, conditioning[0])

    def modulate(self, speaker: Tensor, timesteps: Tensor) -> list[DiffSHEGModulations]:
        """What timesteps ``(K,)`` or ``(K, B)`` and speakers ``(B,)`` say, for any number of windows; one each."""
        timesteps = timesteps.view(len(timesteps), -1)
        embedded = timestep_embedding(timesteps, self.config.hidden_dim).to(self.positions.dtype)
        audio = self.audio_encoder.films(F.silu(self.time_embedding(embedded))).unbind()
        branches = [cast(MotionBranch, branch).modulate(embedded, speaker) for branch in self.branches.values()]
        return [DiffSHEGModulations(*row) for row in zip(audio, zip(*branches, strict=True), strict=True)]

    def encode_audio(self, mel: Tensor, modulations: Sequence[DiffSHEGModulations]) -> Tensor:
        """What the audio encoder makes of ``(B, T, mel_dim)`` at each timestep, ``(K, B, T, mel_dim)``."""
        # Doubled, since the published residual adds the layer's input once more where no speech is fused.
        mel = 2 * mel
        attended = self.audio_encoder.attend(mel)  # the same at every timestep: only the styles differ
        films = [modulation.audio for modulation in modulations]
        return torch.stack([self.audio_encoder.add_branches(mel, attended, film) for film in films])

    def prepare(
        self,
        mel: Tensor,
        speech: Tensor,
        speaker: Tensor,
        timesteps: Tensor,
        *,
        modulations: Sequence[DiffSHEGModulations] | None = None,
        guidance_scale: float = 1.0,
        unconditional: Tensor | None = None,
    ) -> list[DiffSHEGConditioning]:
        """Do once what does not depend on the noisy motion.

        Args:
            mel: See ``forward``.
            speech: See ``forward``.
            speaker: See ``forward``.
            timesteps: At which ``denoise`` will be called, ``(K,)``, or ``(K, B)`` where windows differ.
            modulations: ``modulate(speaker, timesteps)``, where it is kept from window to window.
            guidance_scale: See ``forward``.
            unconditional: See ``forward``.

        Returns:
            The conditions at each timestep.

        Raises:
            ValueError: If a shape does not fit the configuration, or guidance is asked of a model without it.
        """
        config = self.config
        check_shape("mel", mel, f"B T {config.mel_dim}")
        check_shape("speech", speech, f"{mel.shape[0]} {mel.shape[1]} {config.speech_feature_dim}")
        needs_null = guidance_scale != 1 or unconditional is not None
        if needs_null and not config.unconditional:
            raise ValueError("Guidance needs a model with `unconditional=True`; this one was not trained for it.")
        modulations = modulations or self.modulate(speaker, timesteps)
        encoded = self.encode_audio(mel, modulations)
        audio = torch.cat([mel.expand_as(encoded), encoded], dim=-1)
        rows_repeated = 2 if guidance_scale != 1 else 1
        branches = [
            cast(MotionBranch, branch).prepare(
                audio,
                speech,
                [tuple(film.repeat(rows_repeated) for film in row.branches[i]) for row in modulations],
                needs_null=needs_null,
            )
            for i, branch in enumerate(self.branches.values())
        ]
        weights = self._clean_weights(timesteps, mel)
        return [
            DiffSHEGConditioning(row, weight, guidance_scale, unconditional)
            for row, weight in zip(zip(*branches, strict=True), weights, strict=True)
        ]

    def denoise(self, noisy: Tensor, conditioning: DiffSHEGConditioning) -> Tensor:
        """The noise in ``noisy``, ``(B, T, motion_dim)``, at the timestep of ``conditioning``."""

        def run(index: int, motion: Tensor, positions: Tensor, estimate: Tensor | None) -> Tensor:
            noise: Tensor = self.branches[self.config.branches[index]](
                motion,
                positions,
                conditioning.branches[index],
                estimate,
                guidance_scale=conditioning.guidance_scale,
                unconditional=conditioning.unconditional,
            )
            return noise

        return self.run_branches(run, noisy, conditioning.clean_weights)

    def run_branches(
        self,
        run: Callable[[int, Tensor, Tensor, Tensor | None], Tensor],
        noisy: Tensor,
        clean_weights: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The branches in order, each with what it may see of the one before.

        Args:
            run: From a branch's number, its channels of ``noisy``, the positions and the other branch's estimate to the
                noise in those channels.
            noisy: See ``denoise``.
            clean_weights: See ``DiffSHEGConditioning``.
        """
        check_shape("noisy", noisy, f"B T {self.config.motion_dim}")
        positions = self._positions(noisy.shape[1])
        of_noisy, of_noise = clean_weights
        noises: dict[str, Tensor] = {}
        estimate: Tensor | None = None
        for index, name in enumerate(self.config.branches):
            motion = noisy[..., self.config.channels(name)]
            noises[name] = run(index, motion, positions, estimate if self.config.estimate_dim(name) else None)
            estimate = of_noisy * motion - of_noise * noises[name].detach()  # the cut: information flows one way
        if len(noises) == 1:
            return noises["joint"]
        return torch.cat([noises["gesture"], noises["expression"]], dim=-1)

    def _positions(self, num_frames: int) -> Tensor:
        if num_frames > 2 * _NUM_POSITIONS:
            raise ValueError(f"A window must hold at most {2 * _NUM_POSITIONS} frames; got {num_frames}.")
        table = self.positions if num_frames <= _NUM_POSITIONS else torch.cat([self.positions, self.positions])
        return table[:num_frames]

    def _clean_weights(self, timesteps: Tensor, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        """``sqrt(1 / abar)`` and ``sqrt(1 / abar - 1)``, worked out in float64."""
        schedule = NoiseSchedule(linear_betas(self.config.num_timesteps))
        rows = timesteps.view(len(timesteps), -1).tolist()
        left = [[schedule.alphas_cumprod[schedule.level(timestep)] for timestep in row] for row in rows]
        inverse = 1 / torch.tensor(left, dtype=torch.float64)[..., None, None]
        return list(zip(inverse.sqrt().to(like), (inverse - 1).sqrt().to(like), strict=True))


def diffsheg_positions(dim: int, *, device: torch.device | str | None = None) -> Tensor:
    """The published table of positions, sine and cosine interleaved, float32 ``(600, dim)``.

    Its frequencies are rounded otherwise than those of ``sinusoidal_positions``, which shows at late positions.
    """
    positions = torch.arange(_NUM_POSITIONS, dtype=torch.float32, device=device)[:, None]
    exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=device) * (-math.log(10000.0) / dim)
    angles = positions * exponents.exp()
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
