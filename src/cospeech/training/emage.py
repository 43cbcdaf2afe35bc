"""Training steps of EMAGE's masked audio-gesture transformer.

The networks of motion have learned before (``vqvae_losses``); frozen, they give the transformer its targets. Several
data sets train one trunk: each has codebooks and heads of its own (``share_trunk``), and what a data set does not have
contributes no gradient.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; terms and weights are those of the published programs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.data import EmageBatch
from cospeech.losses import (
    part_code_loss,
    part_latent_loss,
)
from cospeech.models import (
    EMAGE_PART_JOINTS,
    EmageHeard,
    EmageMotionCodec,
    EmageOutput,
    EmageParts,
    EmageTransformer,
    rhythm_signals,
)
from cospeech.skeleton import SMPLX
from cospeech.training.emage_motion import emage_parts

__all__ = [
    "CODE_WEIGHTS",
    "LATENT_WEIGHTS",
    "EmageLosses",
    "EmageTargets",
    "draw_emage_mask",
    "emage_losses",
    "emage_mask_ratio",
    "emage_targets",
    "published_emage_mask_ratio",
    "share_trunk",
]

LATENT_WEIGHTS = dict.fromkeys(EmageParts._fields, 3.0)
CODE_WEIGHTS = {"face": 0.0, "upper": 1.0, "hands": 1.0, "lower": 1.0}
"""What each part counts in the transformer's losses, as published."""


class EmageTargets(NamedTuple):
    """What the transformer is to complete, and to say.

    Attributes:
        motion: ``(B, T, 337)``.
        hidden: Channels of absent parts, which no pass may show, ``(337,)``.
        indices: Of the codes of each part that is there, ``(B, T)``.
        codes: Their rows of the codebooks, ``(B, T, C)``.
    """

    motion: Tensor
    hidden: Tensor
    indices: EmageParts
    codes: EmageParts


class EmageLosses(NamedTuple):
    """The terms of the transformer: of latents and of codes, in each of the three passes; 0 where a pass was not run.

    Attributes:
        seed_latents: From speech and the first frames.
        seed_codes: The same.
        audio_latents: From speech and what a random mask shows.
        audio_codes: The same.
        mask_latents: From what the mask shows alone.
        mask_codes: The same.
    """

    seed_latents: Tensor
    seed_codes: Tensor
    audio_latents: Tensor
    audio_codes: Tensor
    mask_latents: Tensor
    mask_codes: Tensor

    @property
    def total(self) -> Tensor:
        """Their plain sum, as published."""
        return torch.stack(list(self)).sum()


@torch.no_grad()
def emage_targets(codec: EmageMotionCodec, batch: EmageBatch) -> EmageTargets:
    """What the transformer learns from a batch, by the frozen motion networks of its data set."""
    parts = emage_parts(batch)
    indices = codec.encode(parts)
    codes = indices.map(lambda part, x: codec.vqvae(part).quantizer.lookup(x))
    motion = torch.cat([batch.rot6d, batch.translation, batch.contact], dim=-1)
    return EmageTargets(motion, _absent_channels(batch.parts).to(motion.device), indices, codes)


def emage_mask_ratio(iteration: int, num_iterations: int) -> float:
    """Which share of numbers is hidden: from 0.05 to 1 over the training, as the paper means it.

    Args:
        iteration: Steps done.
        num_iterations: Steps in all; as published 135 steps an epoch for 400 epochs.

    Example:
        >>> [round(emage_mask_ratio(i, 100), 3) for i in (0, 50, 100, 200)]
        [0.05, 0.525, 1.0, 1.0]
    """
    return min(iteration / num_iterations, 1.0) * 0.95 + 0.05


def published_emage_mask_ratio(iteration: int, *, steps_per_epoch: int = 135, num_epochs: int = 400) -> float:
    """The ratio that the published program uses, by a slip of brackets: all is hidden from the second step on.

    Example:
        >>> published_emage_mask_ratio(0), published_emage_mask_ratio(1) > 1
        (0.05, True)
    """
    return iteration / steps_per_epoch * num_epochs * 0.95 + 0.05


def draw_emage_mask(shape: Sequence[int], ratio: float, generator: torch.Generator) -> Tensor:
    """A random mask, True where hidden, each number by itself; drawn on the CPU, the same for every device."""
    return torch.rand(*shape, generator=generator) < ratio


def emage_losses(
    transformer: EmageTransformer,
    targets: EmageTargets,
    waveform: Tensor | None,
    speaker: Tensor,
    mask: Tensor,
    *,
    words: Tensor | None = None,
    latent_weights: Mapping[str, float] = LATENT_WEIGHTS,
    code_weights: Mapping[str, float] = CODE_WEIGHTS,
) -> EmageLosses:
    """The terms of one step of the transformer.

    Speech is heard once for all passes. Without sound only the last pass is run, and without the face, which is
    decoded from speech.

    Args:
        transformer: In training mode.
        targets: Of ``B`` windows.
        waveform: ``(B, 533 T)``, or None.
        speaker: ``(B,)``.
        mask: Random, True where hidden, ``(B, T, 337)``.
        words: For a transformer that reads, the vector of the word at each frame, ``(B, T, C)``; of the waveform it
            then hears ``rhythm_signals``.
        latent_weights: What each part's latents count.
        code_weights: What each part's codes count.

    Raises:
        ValueError: If no part is left that could learn anything, or a shape does not fit.
    """
    motion = targets.motion
    check_shape("mask", mask, " ".join(map(str, motion.shape)))
    mask = mask.to(motion.device) | targets.hidden
    seeded = targets.hidden.expand_as(mask).clone()
    seeded[:, transformer.config.seed_frames :] = True

    def terms(output: EmageOutput, absent: frozenset[str]) -> tuple[Tensor, Tensor]:
        indices, codes = (
            {part: None if part in absent else x for part, x in parts._asdict().items()}
            for parts in (targets.indices, targets.codes)
        )
        return (
            _of_parts(part_latent_loss, output.latents, codes, latent_weights),
            _of_parts(part_code_loss, output.logits, indices, code_weights),
        )

    if waveform is None:
        silence = EmageHeard(motion.new_zeros(*motion.shape[:2], transformer.config.audio_dim), ())
        output = transformer.complete(silence, motion, mask, speaker, use_audio=False)
        latents, codes = terms(output, frozenset({"face"}))
        if not (latents.requires_grad or codes.requires_grad):
            raise ValueError("Without sound a batch must hold another part than the face.")
        zero = motion.new_zeros(())
        return EmageLosses(zero, zero, zero, zero, latents, codes)
    heard = transformer.hear(waveform if words is None else rhythm_signals(waveform), words)
    found: list[Tensor] = []
    for hidden, use_audio in ((seeded, True), (mask, True), (mask, False)):
        output = transformer.complete(heard, motion, hidden, speaker, use_audio=use_audio)
        found += terms(output, frozenset())
    return EmageLosses(*found)


def share_trunk(transformer: EmageTransformer, data_sets: Iterable[str]) -> nn.ModuleDict:
    """One transformer for each data set; they share everything but the heads, which say codes of its own codebooks.

    Train the parameters of the whole (``.parameters()`` gives shared ones once), one data set a batch.

    Args:
        transformer: What each begins as.
        data_sets: Their names.

    Example:
        >>> from cospeech.models import EmageConfig
        >>> config = EmageConfig(hidden_dim=16, feedforward_dim=16, audio_dim=8, num_audio_layers=1, num_face_layers=1)
        >>> models = share_trunk(EmageTransformer(config), ["beat2", "amass"])
        >>> models["beat2"].body_in is models["amass"].body_in, models["beat2"].face_head is models["amass"].face_head
        (True, False)
    """
    heads = ("face_head", "part_head")
    shared: dict[int, object] = {id(x): x for name, x in transformer.named_children() if name not in heads}
    shared[id(transformer.mask_embedding)] = transformer.mask_embedding
    return nn.ModuleDict({name: copy.deepcopy(transformer, dict(shared)) for name in data_sets})


def _of_parts(
    loss: Callable[[Mapping[str, Tensor | None], Mapping[str, Tensor | None], Mapping[str, float]], Tensor],
    predicted: EmageParts,
    targets: Mapping[str, Tensor | None],
    weights: Mapping[str, float],
) -> Tensor:
    """The loss, or 0 if no part that is there counts."""
    if any(target is not None and weights.get(part) for part, target in targets.items()):
        return loss(predicted._asdict(), targets, weights)
    assert predicted.face is not None
    return predicted.face.new_zeros(())


def _absent_channels(parts: frozenset[str]) -> Tensor:
    """True for the channels of ``Emage337`` that belong to absent parts; the eyes belong to none."""
    joints = torch.zeros(SMPLX.num_joints, dtype=torch.bool)
    for part, its in EMAGE_PART_JOINTS.items():
        joints[list(its)] = part not in parts
    return torch.cat([joints.repeat_interleave(6), torch.tensor(["lower" not in parts] * 7)])
