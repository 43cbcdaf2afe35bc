"""MotionStreamer's two training sets, ready for ``torch.utils.data.DataLoader``: windows of motion, captioned latents.

What an item draws (where a window starts, which end is dropped) is a function of the seed, the epoch and the item's
index, so that it does not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cospeech.data.humanml272 import CaptionedLatents, load_features, shorten_latents
from cospeech.representations import FeatureStats

__all__ = ["FeatureWindows", "LatentClips"]


class _Drawing:
    """Random numbers by seed, epoch and index."""

    def __init__(self, seed: int):
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: call before each epoch, as for ``torch.utils.data.DistributedSampler``."""
        self._epoch = epoch

    def _generator(self, index: int) -> torch.Generator:
        words = np.random.SeedSequence([self._seed, self._epoch, index]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(words[0]) >> 1)


class FeatureWindows(_Drawing, Dataset[Tensor]):
    """Random windows of normalised motion, one per clip and epoch: what the causal autoencoder is trained on.

    Args:
        paths: Of clips ``(T, 272)``; ``HumanML272.path`` and ``Babel272.path`` tell them. Shorter ones are left out.
        stats: Of the features.
        num_frames: Of a window; 64 as published.
        seed: Of the windows' places.

    Example:
        >>> clip = getfixture("tmp_path") / "clip.npy"
        >>> np.save(clip, np.zeros((100, 272), np.float32))
        >>> windows = FeatureWindows([clip], FeatureStats(torch.zeros(272), torch.ones(272)))
        >>> next(iter(torch.utils.data.DataLoader(windows, batch_size=1))).shape
        torch.Size([1, 64, 272])
    """

    def __init__(self, paths: Sequence[Path], stats: FeatureStats, *, num_frames: int = 64, seed: int = 0):
        super().__init__(seed)
        # Only the header is read here.
        self.paths = [path for path in paths if len(np.load(path, mmap_mode="r")) >= num_frames]
        self.stats, self.num_frames = stats, num_frames

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """A window ``(num_frames, 272)``, float32."""
        features = load_features(self.paths[index])
        starts = len(features) - self.num_frames + 1
        start = int(torch.randint(starts, (), generator=self._generator(index)))
        return self.stats.normalize(features[start : start + self.num_frames])


class LatentClips(_Drawing, Dataset[CaptionedLatents]):
    """Captioned latents; with ``collate_fn=collate_latents`` a loader gives what ``two_forward_loss`` takes.

    Args:
        items: From ``humanml_latents`` and ``stream_latents``; the published streaming model is trained on both.
        shorten: Whether clips without history lose their first or last latent now and then, as published for
            text-to-motion; the streaming model is trained without.
        seed: Of what is dropped.

    Example:
        >>> from cospeech.data import collate_latents
        >>> clips = LatentClips([CaptionedLatents("walk", torch.randn(9, 16))] * 4)
        >>> batch = next(iter(torch.utils.data.DataLoader(clips, batch_size=4, collate_fn=collate_latents)))
        >>> batch.latents.shape
        torch.Size([4, 77, 16])
    """

    def __init__(self, items: Sequence[CaptionedLatents], *, shorten: bool = False, seed: int = 0):
        super().__init__(seed)
        self.items, self.shorten = list(items), shorten

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> CaptionedLatents:
        """A text, its latents ``(L, C)``, and how many of them are history."""
        item = self.items[index]
        if not self.shorten or item.history:
            return item
        return item._replace(latents=shorten_latents(item.latents, self._generator(index)))
