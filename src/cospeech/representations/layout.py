"""Names for the parts of a feature vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """Which channels of a feature vector mean what.

    Attributes:
        sizes: Name and number of channels of each part, in their order.

    Example:
        >>> layout = Layout({"rotations": 330, "translation": 3})
        >>> layout.dim, layout["translation"]
        (333, slice(330, 333, None))
        >>> parts = layout.split(torch.zeros(60, 333))
        >>> parts["rotations"].shape
        torch.Size([60, 330])
        >>> torch.equal(layout.join(parts), torch.zeros(60, 333))
        True
    """

    sizes: Mapping[str, int]

    @property
    def dim(self) -> int:
        """Channels in all."""
        return sum(self.sizes.values())

    def __getitem__(self, name: str) -> slice:
        """The channels of a part.

        Raises:
            KeyError: If there is no such part.
        """
        return self._slices[name]

    def split(self, features: Tensor) -> dict[str, Tensor]:
        """Features ``(..., C)`` as their parts, views.

        Raises:
            ValueError: If the last axis does not hold these channels.
        """
        check_shape("features", features, f"... {self.dim}")
        return {name: features[..., where] for name, where in self._slices.items()}

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Parts ``(..., size)`` as features ``(..., C)``.

        Raises:
            ValueError: If a part is missing, is not of this layout, or has another size.
        """
        if parts.keys() != self.sizes.keys():
            raise ValueError(f"`parts` must be {', '.join(self.sizes)}; got {', '.join(parts) or 'none'}.")
        for name, size in self.sizes.items():
            check_shape(name, parts[name], f"... {size}")
        return torch.cat([parts[name] for name in self.sizes], dim=-1)

    @cached_property
    def _slices(self) -> dict[str, slice]:
        slices, start = {}, 0
        for name, size in self.sizes.items():
            slices[name] = slice(start, start + size)
            start += size
        return slices
