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
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.diffsheg_layers import (
    FusionShare,
    LayerFilms,
    Moments,
    MotionSpeechFusion,
    StylizedLayer,
    moments,
)
from cospeech.nn import FeedForward, OneHotEmbedding, timestep_embedding
from cospeech.schedulers import NoiseSchedule, linear_betas

__all__ = [
    "DiffSHEGConditioning",
    "DiffSHEGConfig",
    "DiffSHEGDenoiser",
    "DiffSHEGModulations",
    "FusionLayer",
    "MotionBranch",
    "SpeechConvolutions",
    "diffsheg_positions",
]

Flow = Literal["expression_to_gesture", "gesture_to_expression", "none", "joint"]

_NUM_POSITIONS = 600  # the published table; it is there twice, so frame 600 has position 0 again
_BRANCHES: dict[Flow, tuple[str, ...]] = {
    "expression_to_gesture": ("expression", "gesture"),
    "gesture_to_expression": ("gesture", "expression"),
    "none": ("expression", "gesture"),
    "joint": ("joint",),
}


@dataclass(frozen=True, kw_only=True)
class DiffSHEGConfig:
    """Sizes of the denoiser; the defaults are those published for BEAT.

    Attributes:
        flow: Which branch sees the other's clean estimate. "expression_to_gesture" is the published model; its
            ablation's are "gesture_to_expression", "none", and "joint", one branch for all channels together.
        unconditional: Whether there is a learned vector for no condition, which guidance needs.
        num_timesteps: Levels of the diffusion process, whose variances rise linearly.
    """

    gesture_dim: int = 141
    expression_dim: int = 51
    mel_dim: int = 128
    speech_feature_dim: int = 1024
    num_speakers: int = 30
    hidden_dim: int = 512
    num_layers: int = 8
    num_heads: int = 8
    feedforward_dim: int = 1024
    fusion_dim: int = 1024
    condition_dim: int = 2048
    audio_dim: int = 256
    speech_dim: int = 128
    num_timesteps: int = 1000
    unconditional: bool = False
    flow: Flow = "expression_to_gesture"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = 256 if field.name == "num_layers" else 1 << 16
            if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= most:
                raise ValueError(f"`{field.name}` must lie in 1..{most}; got {value}.")
        if self.flow not in _BRANCHES:
            raise ValueError(f"Unknown flow {self.flow!r}; choose from {', '.join(_BRANCHES)}.")
        if self.hidden_dim % self.num_heads or self.mel_dim % self.num_heads:
            raise ValueError(f"`num_heads` must divide `hidden_dim` and `mel_dim`; got {self.num_heads}.")

    @classmethod
    def show(cls) -> DiffSHEGConfig:
        """The sizes published for SHOW."""
        return cls(gesture_dim=129, expression_dim=103, num_speakers=4, unconditional=True)

    @property
    def motion_dim(self) -> int:
        """Width of the motion vector."""
        return self.gesture_dim + self.expression_dim

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches in the order in which they run."""
        return _BRANCHES[self.flow]

    def channels(self, branch: str) -> slice:
        """Where a branch lives in the motion vector."""
        start = self.gesture_dim if branch == "expression" else 0
        stop = self.gesture_dim if branch == "gesture" else self.motion_dim
        return slice(start, stop)

    def estimate_dim(self, branch: str) -> int:
        """Channels of the other branch's estimate that a branch sees."""
        if self.flow in ("none", "joint") or branch == self.branches[0]:
            return 0
        other = self.channels(self.branches[0])
        return cast(int, other.stop - other.start)


class DiffSHEGModulations(NamedTuple):
    """What one timestep and the speakers say: to the audio encoder, and to each layer of each branch."""

    audio: LayerFilms
    branches: tuple[tuple[LayerFilms, ...], ...]


class BranchConditioning(NamedTuple):
    """What a branch takes from everything but the motion, at one timestep.

    Attributes:
        context: Moments of audio and speech features.
        layers: For each layer its share of the fusion, and its styles.
    """

    context: Moments
    layers: tuple[tuple[FusionShare, LayerFilms], ...]


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


class SpeechConvolutions(nn.Module):
    """Two convolutions along time over the features of a speech model, ``(B, T, C)`` to ``(B, T, C')``."""

    def __init__(self, feature_dim: int, dim: int):
        super().__init__()
        self.first = nn.Conv1d(feature_dim, dim, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(dim)
        self.second = nn.Conv1d(dim, dim, kernel_size=3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Encode a window; its neighbours are taken for silence."""
        y: Tensor = self.second(F.gelu(self.norm(self.first(features.mT)))).mT
        return y


class FusionLayer(nn.Module):
    """One layer of a branch: speech is fused into the motion, then a stylized layer.

    Args:
        config: Sizes.
        estimate_dim: Width of the other branch's estimate; 0 where there is none.
    """

    def __init__(self, config: DiffSHEGConfig, estimate_dim: int = 0):
        super().__init__()
        self.fusion = MotionSpeechFusion(
            config.hidden_dim,
            audio_dim=config.audio_dim,
            speech_dim=config.speech_dim,
            estimate_dim=estimate_dim,
            hidden_dim=config.fusion_dim,
        )
        self.layer = StylizedLayer(
            config.hidden_dim, config.num_heads, config.feedforward_dim, condition_dim=config.condition_dim
        )

    def forward(
        self,
        x: Tensor,
        share: FusionShare,
        films: LayerFilms,
        context: Moments,
        estimate: Tensor | None = None,
        *,
        unconditional: Tensor | None = None,
    ) -> Tensor:
        """Map tokens to tokens, ``(B, T, C)``.

        Args:
            x: The tokens. Where they are twice as many rows as ``share`` has, the second half sees no condition.
            share: See ``MotionSpeechFusion``.
            films: Styles.
            context: See ``MotionSpeechFusion``.
            estimate: See ``MotionSpeechFusion``.
            unconditional: Rows that see no condition, ``(B,)``.
        """
        num_rows = share.speech.shape[0]
        fused = self.fusion(x[:num_rows], share, context, estimate)
        if unconditional is not None:
            assert share.unconditional is not None
            fused = torch.where(unconditional[:, None, None], share.unconditional, fused)
        if x.shape[0] > num_rows:
            assert share.unconditional is not None
            fused = torch.cat([fused, share.unconditional.expand_as(fused)])
        y: Tensor = self.layer(x + fused, films)
        return y


class MotionBranch(nn.Module):
    """The denoiser of one part of the motion vector.

    Args:
        config: Sizes.
        motion_dim: Channels of the part.
        estimate_dim: Channels of the other branch's estimate; 0 where there is none.
    """

    def __init__(self, config: DiffSHEGConfig, motion_dim: int, estimate_dim: int):
        super().__init__()
        dim = config.hidden_dim
        self.motion_in = nn.Linear(motion_dim, dim)
        self.audio_in = nn.Linear(2 * config.mel_dim, config.audio_dim)
        self.speech_encoder = SpeechConvolutions(config.speech_feature_dim, config.speech_dim)
        self.time_embedding = FeedForward(dim, config.condition_dim, out_dim=config.condition_dim, activation=F.silu)
        self.speaker_embedding = OneHotEmbedding(
            config.num_speakers, hidden_dim=config.condition_dim, dim=config.condition_dim
        )
        self.layers = nn.ModuleList(FusionLayer(config, estimate_dim) for _ in range(config.num_layers))
        self.out = nn.Linear(dim, motion_dim)
        self.null_condition: nn.Parameter | None = None
        if config.unconditional:
            in_dim = dim + config.audio_dim + config.speech_dim + estimate_dim
            self.null_condition = nn.Parameter(torch.randn(1, in_dim))

    def modulate(self, embedded: Tensor, speaker: Tensor) -> list[tuple[LayerFilms, ...]]:
        """The styles of each layer, for each timestep.

        Args:
            embedded: Sinusoidal vectors of the timesteps, ``(K, B, C)`` or ``(K, 1, C)``.
            speaker: ``(B,)``.
        """
        condition = F.silu(self.time_embedding(embedded) + self.speaker_embedding(speaker))
        layers = [cast(FusionLayer, layer).layer.films(condition).unbind() for layer in self.layers]
        return list(zip(*layers, strict=True))

    def prepare(
        self, audio: Tensor, speech: Tensor, films: Sequence[tuple[LayerFilms, ...]], *, needs_null: bool
    ) -> list[BranchConditioning]:
        """What does not depend on the motion, for each timestep.

        Args:
            audio: Mel bands and what the audio encoder made of them, ``(K, B, T, C)``.
            speech: Features of a speech model, ``(B, T, C)``.
            films: Styles, for each timestep.
            needs_null: Whether some of the rows will see no condition.
        """
        audio, speech = self.audio_in(audio), self.speech_encoder(speech)
        context = moments(audio).merge(moments(speech))
        null = self.null_condition if needs_null else None
        shares = [cast(FusionLayer, layer).fusion.prepare(audio, speech, null) for layer in self.layers]
        return [
            BranchConditioning(
                Moments(context.mean[k], context.variance[k], context.width),
                tuple((share._replace(speech=share.speech[k]), film) for share, film in zip(shares, row, strict=True)),
            )
            for k, row in enumerate(films)
        ]

    def forward(
        self,
        motion: Tensor,
        positions: Tensor,
        conditioning: BranchConditioning,
        estimate: Tensor | None = None,
        *,
        guidance_scale: float = 1.0,
        unconditional: Tensor | None = None,
    ) -> Tensor:
        """The noise in ``motion``, ``(B, T, motion_dim)``."""
        context = conditioning.context
        if estimate is not None:
            context = context.merge(moments(estimate))
        x = self.motion_in(motion) + positions
        if guidance_scale != 1:
            x = x.repeat(2, 1, 1)
        for layer, (share, films) in zip(self.layers, conditioning.layers, strict=True):
            x = layer(x, share, films, context, estimate, unconditional=unconditional)
        noise: Tensor = self.out(x)
        if guidance_scale != 1:
            conditional, without = noise.chunk(2)
            noise = torch.lerp(without, conditional, guidance_scale)
        return noise


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
        check_shape("noisy", noisy, f"B T {self.config.motion_dim}")
        positions = self._positions(noisy.shape[1])
        of_noisy, of_noise = conditioning.clean_weights
        noises: dict[str, Tensor] = {}
        estimate: Tensor | None = None
        for name, branch_conditioning in zip(self.config.branches, conditioning.branches, strict=True):
            motion = noisy[..., self.config.channels(name)]
            noises[name] = self.branches[name](
                motion,
                positions,
                branch_conditioning,
                estimate if self.config.estimate_dim(name) else None,
                guidance_scale=conditioning.guidance_scale,
                unconditional=conditioning.unconditional,
            )
            estimate = of_noisy * motion - of_noise * noises[name].detach()  # the cut: information flows one way
        if len(noises) == 1:
            return noises["joint"]
        return torch.cat([noises["gesture"], noises["expression"]], dim=-1)

    def _positions(self, num_frames: int) -> Tensor:
        if num_frames > 2 * _NUM_POSITIONS:
            raise ValueError(f"A window must hold at most {2 * _NUM_POSITIONS} frames; got {num_frames}.")
        return torch.cat([self.positions, self.positions])[:num_frames]

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
