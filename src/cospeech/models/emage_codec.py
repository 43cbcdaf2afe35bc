"""Holistic motion as EMAGE's codes and back: four parts of the body, each with its own VQ-VAE.

====== ============================================== ===================================
part   joints                                         other channels
====== ============================================== ===================================
face   jaw                                            100 expressions
upper  13 of the spine, neck, head and arms           none
hands  30 of the fingers                              none
lower  9 of pelvis and legs, with the root rotation   3 of translation, 4 of foot contact
====== ============================================== ===================================

Rotations come first, as Rot6D rows, joint by joint. The eyes belong to no part and look ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.emage_vqvae import EmageGlobalMotion, EmageVQVAE, TranslatedMotion
from cospeech.rotations import axis_angle_to_rot6d, matrix_to_axis_angle, rot6d_to_matrix
from cospeech.skeleton import SMPLX

__all__ = [
    "EMAGE_PART_JOINTS",
    "EmageDecoded",
    "EmageMotionCodec",
    "EmageParts",
    "split_emage_motion",
    "unturned_rot6d",
]

EMAGE_PART_JOINTS = {
    "face": (SMPLX.index("jaw"),),
    "upper": SMPLX.groups["upper"],
    "hands": SMPLX.groups["hands"],
    "lower": SMPLX.groups["lower"],
}
"""Joints of each part, in the order of their channels."""


def unturned_rot6d() -> Tensor:
    """Rot6D of all joints, none of them turned: ``(J, 6)``."""
    return torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).repeat(SMPLX.num_joints, 1)


class EmageParts(NamedTuple):
    """One tensor for each part of the body; None where a part is absent."""

    face: Tensor | None = None
    upper: Tensor | None = None
    hands: Tensor | None = None
    lower: Tensor | None = None

    def map(self, function: Callable[[str, Tensor], Tensor]) -> EmageParts:
        """``function(name, tensor)`` of each part that is there."""
        pairs = zip(self._fields, self, strict=True)
        return EmageParts(*(None if x is None else function(name, x) for name, x in pairs))


class EmageDecoded(NamedTuple):
    """Motion of decoded codes.

    Attributes:
        axis_angle: Local rotations of all joints in radians, ``(B, T, J, 3)``.
        expressions: ``(B, T, E)``.
        lower: The lower body's channels as its decoder wrote them, the input of the global motion network.
    """

    axis_angle: Tensor
    expressions: Tensor
    lower: Tensor

    @property
    def features(self) -> Tensor:
        """The transformer's input ``(B, T, 337)``: Rot6D of all joints, then translation and contact, as decoded."""
        rotations = axis_angle_to_rot6d(self.axis_angle).flatten(-2)
        return torch.cat([rotations, self.lower[..., 6 * len(EMAGE_PART_JOINTS["lower"]) :]], dim=-1)


def split_emage_motion(
    rot6d: Tensor, expressions: Tensor, translation: Tensor | None = None, contact: Tensor | None = None
) -> EmageParts:
    """The channels of each part.

    Args:
        rot6d: Local rotations of all 55 joints, ``(B, T, 330)``.
        expressions: ``(B, T, E)``.
        translation: Metres, ``(B, T, 3)``; zeros if absent.
        contact: 1 where a foot stands: left and right ankle, left and right foot, ``(B, T, 4)``; zeros if absent.

    Raises:
        ValueError: If a shape is another.
    """
    check_shape("rot6d", rot6d, f"B T {6 * SMPLX.num_joints}")
    joints = rot6d.reshape(*rot6d.shape[:-1], -1, 6)
    extra = {
        "face": [expressions],
        "lower": [
            joints.new_zeros(*rot6d.shape[:2], 3) if translation is None else translation,
            joints.new_zeros(*rot6d.shape[:2], 4) if contact is None else contact,
        ],
    }
    return EmageParts(
        *(
            torch.cat([joints[..., list(EMAGE_PART_JOINTS[part]), :].flatten(-2), *extra.get(part, [])], dim=-1)
            for part in EmageParts._fields
        )
    )


class EmageMotionCodec(nn.Module):
    """The four VQ-VAEs and the global motion network as one codec.

    Args:
        face: Its last channels are the expressions.
        upper: Upper body.
        hands: Both hands.
        lower: Its last 7 channels are translation and contact.
        global_motion: From the lower body's channels to where the body is.
        matrix_to_axis_angle: How decoded rotations become axis-angles. Ours is exact; the published program's
            (``cospeech.representations.emage_matrix_to_axis_angle``) gives its numbers.

    Raises:
        ValueError: If a network has another number of channels than its part.

    Example:
        >>> from cospeech.models import EmageVQVAEConfig
        >>> sizes = {"face": 106, "upper": 78, "hands": 180, "lower": 61}
        >>> configs = {part: EmageVQVAEConfig(motion_dim=dim, latent_dim=8, num_codes=8) for part, dim in sizes.items()}
        >>> networks = {part: EmageVQVAE(config) for part, config in configs.items()}
        >>> codec = EmageMotionCodec(**networks, global_motion=EmageGlobalMotion(configs["lower"]))
        >>> parts = split_emage_motion(torch.randn(1, 20, 330), torch.randn(1, 20, 100))
        >>> decoded = codec.decode(codec.encode(parts)._replace(hands=None))
        >>> decoded.axis_angle.shape, codec.translate(decoded, torch.zeros(3)).translation.shape
        (torch.Size([1, 20, 55, 3]), torch.Size([1, 20, 3]))
    """

    def __init__(
        self,
        face: EmageVQVAE,
        upper: EmageVQVAE,
        hands: EmageVQVAE,
        lower: EmageVQVAE,
        global_motion: EmageGlobalMotion,
        *,
        matrix_to_axis_angle: Callable[[Tensor], Tensor] = matrix_to_axis_angle,
    ):
        super().__init__()
        self.face, self.upper, self.hands, self.lower = face, upper, hands, lower
        self.global_motion = global_motion
        self.matrix_to_axis_angle = matrix_to_axis_angle
        for part in ("upper", "hands"):
            _check_dim(part, self.vqvae(part).config.motion_dim, 6 * len(EMAGE_PART_JOINTS[part]))
        for name, network in (("lower", lower), ("global_motion", global_motion)):
            _check_dim(name, network.config.motion_dim, 6 * len(EMAGE_PART_JOINTS["lower"]) + 7)

    def vqvae(self, part: str) -> EmageVQVAE:
        """The network of a part."""
        network: EmageVQVAE = getattr(self, part)
        return network

    def encode(self, parts: EmageParts) -> EmageParts:
        """Indices ``(B, T)`` of each part's channels ``(B, T, C)``."""
        return parts.map(lambda part, motion: self.vqvae(part).encode_indices(motion))

    def encode_codes(self, parts: EmageParts) -> EmageParts:
        """Rows of the codebooks ``(B, T, C')`` for each part's channels ``(B, T, C)``."""
        return parts.map(lambda part, motion: self.vqvae(part).encode_codes(motion))

    def indices(self, codes: EmageParts) -> EmageParts:
        """Indices ``(B, T)`` from indices, as they are, or from latents ``(B, T, C)``, by the nearest code."""
        return codes.map(lambda part, x: self.vqvae(part).quantizer.nearest(x) if x.is_floating_point() else x)

    def decode(self, codes: EmageParts) -> EmageDecoded:
        """Motion of codes; an absent part holds still, its joints unturned.

        Args:
            codes: Indices ``(B, T)`` (integers) or latents ``(B, T, C)`` (numbers, of which the nearest code is taken)
                for each part, or None.

        Raises:
            ValueError: If all parts are absent, or those that are there differ in batch or frames.
        """
        return self._compose(self.indices(codes).map(lambda part, x: self.vqvae(part).decode_indices(x)))

    def decode_between(self, latents: EmageParts) -> EmageDecoded:
        """Motion of latents ``(B, T, C)`` as they are, which may lie between codes; else as ``decode``."""
        return self._compose(latents.map(lambda part, x: self.vqvae(part).decoder(x)))

    def lookup(self, indices: EmageParts) -> EmageParts:
        """Rows of the codebooks ``(B, T, C)`` for indices ``(B, T)``."""
        return indices.map(lambda part, x: self.vqvae(part).quantizer.lookup(x))

    def _compose(self, decoded: EmageParts) -> EmageDecoded:
        """All joints of decoded parts ``(B, T, C)``."""
        shapes = {tuple(x.shape[:2]) for x in decoded if x is not None}
        if len(shapes) != 1:
            raise ValueError(f"`codes` must hold parts of one shape (B, T); got {sorted(shapes) or 'none'}.")
        shape, like = shapes.pop(), self.face.quantizer.codebook
        rot6d = unturned_rot6d().to(like).repeat(*shape, 1, 1)
        for part, motion in zip(decoded._fields, decoded, strict=True):
            joints = list(EMAGE_PART_JOINTS[part])
            if motion is not None:
                rot6d[..., joints, :] = motion[..., : 6 * len(joints)].reshape(*shape, -1, 6)
        lower = decoded.lower
        if lower is None:
            legs = rot6d[..., list(EMAGE_PART_JOINTS["lower"]), :].flatten(-2)
            lower = torch.cat([legs, legs.new_zeros(*shape, 7)], dim=-1)
        expressions = like.new_zeros(*shape, self.face.config.motion_dim - 6)
        return EmageDecoded(
            axis_angle=self.matrix_to_axis_angle(rot6d_to_matrix(rot6d)),
            expressions=expressions if decoded.face is None else decoded.face[..., 6:],
            lower=lower,
        )

    def decode_tail(self, codes: EmageParts, num_frames: int) -> EmageDecoded:
        """The last ``num_frames`` of ``decode(codes)``, from no more codes than they depend on."""
        context = num_frames + max(self.vqvae(part).decoder.reach for part in EmageParts._fields)
        decoded = self.decode(codes.map(lambda _, x: x[:, -context:]))
        return EmageDecoded(*(x[:, -num_frames:] for x in decoded))

    def translate(self, decoded: EmageDecoded, start: Tensor, *, rate_hz: float = 30.0) -> TranslatedMotion:
        """Where the body is, from ``start`` in metres, ``(3,)`` or ``(B, 3)``."""
        return self.global_motion.integrate(self.global_motion(decoded.lower), start, rate_hz=rate_hz)


def _check_dim(name: str, given: int, wanted: int) -> None:
    if given != wanted:
        raise ValueError(f"`{name}` must be a network of {wanted} channels; got {given}.")
