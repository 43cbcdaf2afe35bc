"""What DiffSHEG's validation measures of windows, for both of its data sets."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cospeech.evaluation.clips import ClipMeasures
from cospeech.metrics import correct_share
from cospeech.models import GestureAutoencoder

__all__ = ["measure_windows"]

_PCK_THRESHOLD = 0.5


def measure_windows(
    clip: ClipMeasures,
    generated: Tensor,
    reference: Tensor,
    extractors: Sequence[GestureAutoencoder],
    *,
    gesture_dim: int,
    triples: bool,
) -> None:
    """Distances by each extractor that fits, mean squared error, PCK and the windows for diversity.

    Args:
        clip: Where to.
        generated: Normalised windows, ``(N, T, C)``, gesture channels first, then the face's if there are any.
        reference: The same shape.
        extractors: By their width they see all channels, the gesture's or the face's.
        gesture_dim: How many channels are the gesture's.
        triples: Whether PCK counts triples of numbers, or single ones.
    """
    dim = generated.shape[-1]
    channels = {dim: ("fmd", slice(None)), dim - gesture_dim: ("fed", slice(gesture_dim, None))}
    channels[gesture_dim] = ("fgd", slice(0, gesture_dim))
    for extractor in extractors:
        if extractor.config.motion_dim not in channels or extractor.config.num_frames > generated.shape[1]:
            continue
        name, part = channels[extractor.config.motion_dim]
        frames = slice(0, extractor.config.num_frames)
        first, second = (extractor.encode(x[:, frames, part]) for x in (generated, reference))
        clip.features[name] = (first, second)
    weight = float(len(generated))
    clip.values["mse"] = (float((generated.double() - reference.double()).square().mean()), weight)
    points = [x.reshape(-1, 3 if triples else 1) for x in (generated, reference)]
    clip.values["pck"] = (float(correct_share(points[0], points[1], threshold=_PCK_THRESHOLD)), weight)
    clip.samples["diversity"] = (generated, reference)
