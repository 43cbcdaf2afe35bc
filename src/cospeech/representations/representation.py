"""The interface between a Motion and the feature vectors that a network reads and writes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from cospeech.motion import Motion
from cospeech.representations.layout import Layout

__all__ = ["Representation"]


class Representation(ABC):
    """A way to write a clip as one feature vector per frame."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Which channels mean what."""

    @abstractmethod
    def encode(self, motion: Motion) -> Tensor:
        """Features ``(T, C)`` of a clip, in its dtype and on its device.

        Raises:
            ValueError: If the clip lacks something that the features tell, or its rate or skeleton is another.
        """

    @abstractmethod
    def decode(self, features: Tensor) -> Motion:
        """The clip that features ``(T, C)`` describe.

        Raises:
            ValueError: If the features do not have this layout.
        """
