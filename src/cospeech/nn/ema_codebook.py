"""A codebook that follows the latents by running means instead of gradients, with no code left unused.

An alternative to training the codebook by ``cospeech.losses.quantizer_loss``, which is what the published programs do;
of that loss only the commitment then has an effect.

Reference:
    van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017, appendix A.1; k-means start and
    revival of dead codes after Dhariwal et al., "Jukebox: A Generative Model for Music", 2020, section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cospeech.nn.quantizer import VectorQuantizer, nearest_codes

__all__ = ["EmaCodebook", "kmeans_codes"]


class EmaCodebook(nn.Module):
    """Moves a quantizer's codes after each batch; its state dict holds the running means.

    Args:
        quantizer: Whose codebook is moved. It gets no gradients any more.
        decay: Share of the old means that stays with each batch.
        revive_below: A code that fewer vectors than this choose per batch, in running mean, is put where a random
            vector of the batch is.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> quantizer, latents = VectorQuantizer(16, 4), torch.randn(8, 64, 4, generator=generator)
        >>> codebook = EmaCodebook(quantizer)
        >>> codebook.start(latents, generator=generator)
        >>> before = (latents - quantizer(latents).codes).square().mean()
        >>> for _ in range(20):
        ...     codebook.update(latents, quantizer.nearest(latents), generator=generator)
        >>> bool((latents - quantizer(latents).codes).square().mean() <= before)
        True
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, quantizer: VectorQuantizer, *, decay: float = 0.99, revive_below: float = 1.0):
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` must be at least 0 and below 1; got {decay}.")
        quantizer.codebook.requires_grad_(False)
        self._quantizer = (quantizer,)  # in a tuple: its parameters stay its own
        self.decay, self.revive_below = decay, revive_below
        num_codes = len(quantizer.codebook)
        self.register_buffer("counts", quantizer.codebook.new_full((num_codes,), max(revive_below, 1.0)))
        self.register_buffer("sums", quantizer.codebook.detach() * self.counts[:, None])

    @torch.no_grad()
    def start(self, latents: Tensor, *, generator: torch.Generator | None = None, num_rounds: int = 10) -> None:
        """Put the codes where k-means finds the middles of latents ``(..., C)``."""
        codebook = self._quantizer[0].codebook
        codebook.copy_(kmeans_codes(latents, len(codebook), generator=generator, num_rounds=num_rounds))
        self.counts.fill_(max(self.revive_below, 1.0))
        self.sums.copy_(codebook * self.counts[:, None])

    @torch.no_grad()
    def update(self, latents: Tensor, indices: Tensor, *, generator: torch.Generator | None = None) -> None:
        """Move the codes towards a batch.

        Args:
            latents: What was quantised, ``(..., C)``.
            indices: The codes that were chosen, ``(...)``.
            generator: Chooses where dead codes are revived.
        """
        codebook = self._quantizer[0].codebook
        flat, chosen = latents.reshape(-1, codebook.shape[1]), indices.flatten()
        counts, sums = _gather(flat, chosen, len(codebook))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        dead = self.counts < self.revive_below
        fresh = flat[_choose(len(flat), len(codebook), flat.device, generator)]
        self.counts.masked_fill_(dead, max(self.revive_below, 1.0))
        self.sums.copy_(torch.where(dead[:, None], fresh * self.counts[:, None], self.sums))
        codebook.copy_(self.sums / self.counts.clamp_min(1e-5)[:, None])


@torch.no_grad()
def kmeans_codes(
    latents: Tensor, num_codes: int, *, generator: torch.Generator | None = None, num_rounds: int = 10
) -> Tensor:
    """Codes ``(num_codes, C)`` in the middles of latents ``(..., C)``, by Lloyd's rounds from random vectors.

    A code that no vector chooses stays where it is. With fewer vectors than codes, codes share places.

    Raises:
        ValueError: If there is no vector.
    """
    flat = latents.reshape(-1, latents.shape[-1])
    if not len(flat):
        raise ValueError("`latents` must hold at least one vector; got none.")
    codes = flat[_choose(len(flat), num_codes, flat.device, generator)]
    for _ in range(num_rounds):
        counts, sums = _gather(flat, nearest_codes(flat, codes), num_codes)
        codes = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], codes)
    return codes


def _gather(latents: Tensor, indices: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """How many vectors chose each code, and their sum."""
    counts = torch.bincount(indices, minlength=num_codes).to(latents.dtype)
    sums = latents.new_zeros(num_codes, latents.shape[1]).index_add_(0, indices, latents)
    return counts, sums


def _choose(num_vectors: int, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Random rows, none twice before all were taken; drawn where the generator lives."""
    draw = torch.device("cpu") if generator is None else generator.device
    order = torch.randperm(num_vectors, generator=generator, device=draw)
    return order.repeat(-(-count // num_vectors))[:count].to(device)
