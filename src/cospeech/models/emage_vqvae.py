"""EMAGE's motion networks: one VQ-VAE for each part of the body, and the network that moves the body through space.

One code per frame: nothing is down-sampled. Motion is ``(B, T, C)`` at 30 frames per second.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024, section 4.1; the structure is that of the published program (codes of 256 numbers, where the
    paper has 512).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.nn import Quantized, TemporalDecoder, TemporalEncoder, VectorQuantizer

__all__ = ["EmageGlobalMotion", "EmageVQVAE", "EmageVQVAEConfig", "TranslatedMotion", "VQVAEOutput"]

_VELOCITY_X, _HEIGHT, _VELOCITY_Z = 54, 55, 56  # channels of the lower body, after its nine rotations


@dataclass(frozen=True, kw_only=True)
class EmageVQVAEConfig:
    """Sizes of one network.

    Published: face 106 channels, upper 78, hands 180, all with 2 stages; lower and the global motion 61 with 4.
    """

    motion_dim: int
    num_stages: int = 2
    latent_dim: int = 256
    num_codes: int = 256


class VQVAEOutput(NamedTuple):
    """A reconstruction and what its losses need.

    Attributes:
        reconstruction: ``(B, T, motion_dim)``.
        latents: The encoder's output, ``(B, T, C)``.
        codes: The nearest codes, with gradient to the codebook, ``(B, T, C)``.
        indices: Their rows, ``(B, T)``.
    """

    reconstruction: Tensor
    latents: Tensor
    codes: Tensor
    indices: Tensor


class EmageVQVAE(nn.Module):
    """One part of the body as codes, frame by frame.

    Example:
        >>> vqvae = EmageVQVAE(EmageVQVAEConfig(motion_dim=78, latent_dim=16, num_codes=8))
        >>> indices = vqvae.encode_indices(torch.randn(2, 20, 78))
        >>> indices.shape, vqvae.decode_indices(indices).shape
        (torch.Size([2, 20]), torch.Size([2, 20, 78]))
    """

    def __init__(self, config: EmageVQVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = TemporalEncoder(config.motion_dim, config.latent_dim, config.num_stages)
        self.quantizer = VectorQuantizer(config.num_codes, config.latent_dim)
        self.decoder = TemporalDecoder(config.latent_dim, config.motion_dim, config.num_stages)

    def forward(self, motion: Tensor) -> VQVAEOutput:
        """Encode, quantise and decode ``(B, T, motion_dim)``."""
        latents = self.encode(motion)
        quantized: Quantized = self.quantizer(latents)
        return VQVAEOutput(self.decoder(quantized.latents), latents, quantized.codes, quantized.indices)

    def encode(self, motion: Tensor) -> Tensor:
        """Latents ``(B, T, C)``, not yet quantised.

        Raises:
            ValueError: If the motion is not ``(B, T, motion_dim)``.
        """
        check_shape("motion", motion, f"B T {self.config.motion_dim}")
        latents: Tensor = self.encoder(motion)
        return latents

    def encode_indices(self, motion: Tensor) -> Tensor:
        """Codes of a motion ``(B, T, motion_dim)``: int64, ``(B, T)``."""
        return self.quantizer.nearest(self.encode(motion))

    def encode_codes(self, motion: Tensor) -> Tensor:
        """Codes of a motion ``(B, T, motion_dim)`` as rows of the codebook, ``(B, T, C)``."""
        return self.quantizer.lookup(self.encode_indices(motion))

    def decode_indices(self, indices: Tensor) -> Tensor:
        """Motion ``(B, T, motion_dim)`` of codes ``(B, T)``."""
        motion: Tensor = self.decoder(self.quantizer.lookup(indices))
        return motion

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Motion ``(B, T, motion_dim)`` of the codes nearest to latents ``(B, T, C)``."""
        return self.decode_indices(self.quantizer.nearest(latents))


class TranslatedMotion(NamedTuple):
    """Where the body is.

    Attributes:
        translation: Metres, ``(B, T, 3)``.
        following: Where the frame after the last one would be, ``(B, 3)``: the start of what follows. Its height is
            that of the first start.
    """

    translation: Tensor
    following: Tensor


class EmageGlobalMotion(nn.Module):
    """Where legs take the body: from the lower body's channels to velocities and a height.

    Published as a VAE, it is a plain auto-encoder: nothing is quantised and nothing is random. Of its output only the
    three translation channels are used: metres per second along X, height in metres, metres per second along Z.
    """

    def __init__(self, config: EmageVQVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = TemporalEncoder(config.motion_dim, config.latent_dim, config.num_stages)
        self.decoder = TemporalDecoder(config.latent_dim, config.motion_dim, config.num_stages)

    @property
    def reach(self) -> int:
        """How many frames to either side a frame of the output sees."""
        return self.encoder.reach + self.decoder.reach

    def forward(self, lower: Tensor) -> Tensor:
        """Map the lower body's channels ``(B, T, motion_dim)`` to as many.

        Raises:
            ValueError: If the shape is another.
        """
        check_shape("lower", lower, f"B T {self.config.motion_dim}")
        motion: Tensor = self.decoder(self.encoder(lower))
        return motion

    @staticmethod
    def integrate(motion: Tensor, start: Tensor, *, rate_hz: float = 30.0) -> TranslatedMotion:
        """Positions from the network's output.

        Args:
            motion: ``forward``'s output, ``(B, T, motion_dim)``.
            start: Position of the first frame in metres, ``(3,)`` or ``(B, 3)``; its height is not used.
            rate_hz: Frames per second.

        Example:
            >>> walk = torch.zeros(1, 4, 61)
            >>> walk[..., 54], walk[..., 55] = 3.0, 0.9
            >>> EmageGlobalMotion.integrate(walk, torch.zeros(3)).translation[0, :, 0]
            tensor([0.0000, 0.1000, 0.2000, 0.3000])
        """
        travelled = torch.cumsum(motion[..., [_VELOCITY_X, _VELOCITY_Z]] / rate_hz, dim=1)
        x, z = (start[..., None, [0, 2]] + F.pad(travelled, (0, 0, 1, 0))).unbind(-1)
        translation = torch.stack([x[:, :-1], motion[..., _HEIGHT], z[:, :-1]], dim=-1)
        return TranslatedMotion(
            translation, torch.stack([x[:, -1], start[..., 1].expand_as(x[:, -1]), z[:, -1]], dim=-1)
        )
