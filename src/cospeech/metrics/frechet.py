"""The Fréchet distance of two sets of features, each taken for a normal distribution: FGD, FID.

``|m_A - m_B|^2 + tr S_A + tr S_B - 2 tr sqrt(S_A S_B)``, with covariances over ``N - 1``, in float64. The root's trace
is a sum of singular values, so no complex matrix root is needed and features that do not span their space are exact.

Reference:
    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017;
    for gestures Yoon et al., "Speech Gesture Generation from the Trimodal Context", SIGGRAPH Asia 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = [
    "EXACT_FRECHET",
    "FRECHET_RULES",
    "FrechetRule",
    "frechet_distance",
    "frechet_distance_of_moments",
    "globaldiff_frechet_distance",
    "published_frechet_distance",
]


@dataclass(frozen=True, kw_only=True)
class FrechetRule:
    """What a program does about covariances that are not of full rank.

    Attributes:
        epsilon: Added to the diagonal of both covariances, inside the root only; the traces outside are without.
        negative: Whether a distance below 0, which that leads to, is reported as it is.
        imaginary: What the program does about a complex root whose diagonal is not real to 1e-3: "drop" the imaginary
            part, "raise", or report 1e10 ("huge"). Only ``published_frechet_distance`` ever meets one: roots by
            eigenvalues are real.
        rescue: Added to both diagonals by that function where the root is not finite; 0 for never.
    """

    epsilon: float = 0.0
    negative: bool = False
    imaginary: str = "drop"
    rescue: float = 0.0

    def __post_init__(self) -> None:
        if self.imaginary not in ("drop", "raise", "huge"):
            raise ValueError(f"`imaginary` must be 'drop', 'raise' or 'huge'; got {self.imaginary!r}.")


EXACT_FRECHET = FrechetRule()
"""The distance as it is defined."""

FRECHET_RULES = {
    "exact": EXACT_FRECHET,
    # Adds 1e-6 always: two equal sets are -2e-6 C apart, and of every direction that one set lacks it finds something.
    "evaltools": FrechetRule(epsilon=1e-6, negative=True),
    # These take SciPy's root of the product and differ in what they do when it is complex: 1e10 (`legacy`, `diffsheg`),
    # an error (`motionstreamer`), nothing (`globaldiff`). Roots by eigenvalues are real, so what is left is the exact
    # value, from which SciPy >= 1.16 is 1e-7 away; SciPy <= 1.15 is of no use with fewer features than channels.
    "legacy": FrechetRule(negative=True, imaginary="huge", rescue=1e-6),
    "beat2022": FrechetRule(negative=True, imaginary="huge", rescue=1e-6),
    "diffsheg": FrechetRule(negative=True, imaginary="huge", rescue=1e-6),
    "globaldiff": FrechetRule(negative=True),
    "motionstreamer": FrechetRule(negative=True, imaginary="raise", rescue=1e-6),
}
"""The rules of published programs by name."""


def frechet_distance(features: Tensor, others: Tensor, *, rule: FrechetRule = EXACT_FRECHET) -> Tensor:
    """Distance of two sets of features.

    Args:
        features: ``(N, C)``, two at least.
        others: ``(M, C)``, two at least.
        rule: Which published value, see ``FRECHET_RULES``.

    Returns:
        A float64 scalar on the features' device, not negative unless the rule says so.

    Raises:
        ValueError: If the shapes do not fit, there are fewer than two features, or one is not finite.

    Example:
        >>> features = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
        >>> round(frechet_distance(features, features + 0.5).item(), 6)  # 8 times 0.5 squared
        2.0
    """
    check_shape("features", features, "N C")
    check_shape("others", others, f"N {features.shape[1]}")
    moments = [_moments(name, x) for name, x in (("features", features), ("others", others))]
    (mean, centred), (other_mean, other_centred) = moments
    gap = (mean - other_mean).square().sum() + centred.square().sum() + other_centred.square().sum()
    if min(len(features), len(others)) < features.shape[1] and not rule.epsilon:
        # Fewer samples than channels: the singular values of their products, a small matrix, and exact where the
        # covariance is singular.
        small, large = sorted((centred, other_centred), key=len)
        if len(large) > large.shape[1]:
            large = torch.linalg.qr(large, mode="r").R
        root = torch.linalg.svdvals(small @ large.T).sum()
    else:
        root = _root_trace(centred.T @ centred, other_centred.T @ other_centred, rule.epsilon)
    return _floored(gap - 2 * root, rule)


def frechet_distance_of_moments(
    mean: Tensor,
    covariance: Tensor,
    other_mean: Tensor,
    other_covariance: Tensor,
    *,
    rule: FrechetRule = EXACT_FRECHET,
) -> Tensor:
    """Distance of two normal distributions.

    Args:
        mean: ``(C)``.
        covariance: ``(C, C)``, symmetric and not negative.
        other_mean: ``(C)``.
        other_covariance: ``(C, C)``.
        rule: Which published value, see ``FRECHET_RULES``.

    Returns:
        A float64 scalar, not negative unless the rule says so.
    """
    check_shape("mean", mean, "C")
    check_shape("covariance", covariance, f"{len(mean)} {len(mean)}")
    check_shape("other_mean", other_mean, f"{len(mean)}")
    check_shape("other_covariance", other_covariance, f"{len(mean)} {len(mean)}")
    covariance, other_covariance = covariance.double(), other_covariance.double()
    gap = (mean.double() - other_mean.double()).square().sum() + covariance.trace() + other_covariance.trace()
    return _floored(gap - 2 * _root_trace(covariance, other_covariance, rule.epsilon), rule)


def published_frechet_distance(features: Tensor, others: Tensor, rule: FrechetRule) -> float:
    """The distance by the program's own steps: SciPy's general matrix root and the rule's way with what comes of it.

    To see what a program of the time reported. Agrees with ``frechet_distance`` to about 1e-7 where there are more
    features than channels. With fewer, SciPy before 1.16 returns roots with large imaginary parts: ``legacy`` then
    reports 1e10, ``motionstreamer`` stops, and ``globaldiff`` returns what means nothing.

    Args:
        features: ``(N, C)``.
        others: ``(M, C)``.
        rule: Whose, see ``FRECHET_RULES``.

    Raises:
        ValueError: If the root's diagonal is not real, where the rule says so.
    """
    import numpy as np
    from scipy.linalg import sqrtm

    check_shape("features", features, "N C")
    check_shape("others", others, f"N {features.shape[1]}")
    means, covariances = zip(*(_numpy_moments(x) for x in (features, others)), strict=True)
    unit = np.eye(features.shape[1])
    first, second = (covariance + rule.epsilon * unit for covariance in covariances)
    root = sqrtm(first @ second)
    if rule.rescue and not np.isfinite(root).all():
        root = sqrtm((first + rule.rescue * unit) @ (second + rule.rescue * unit))
    if np.iscomplexobj(root) and rule.imaginary != "drop" and not np.allclose(np.diagonal(root).imag, 0, atol=1e-3):
        if rule.imaginary == "huge":
            return 1e10
        raise ValueError(f"The root's diagonal must be real; its imaginary part is {np.abs(root.imag).max():g}.")
    gap = means[0] - means[1]
    return float(gap @ gap + sum(c.trace() for c in covariances) - 2 * root.real.trace())


def globaldiff_frechet_distance(features: Tensor, others: Tensor) -> float:
    """``published_frechet_distance`` by GlobalDiff's rule, ``(N, C)`` and ``(M, C)``.

    Reference:
        The program of Zhang et al., GlobalDiff, AAAI 2026; it averages this over batches of window pairs, so its
        numbers also depend on the batch size.
    """
    return published_frechet_distance(features, others, FRECHET_RULES["globaldiff"])


def _moments(name: str, features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and the centred features over ``sqrt(N - 1)``: their Gram matrix is the covariance."""
    if len(features) < 2:
        raise ValueError(f"`{name}` must hold 2 features at least; got {len(features)}.")
    x = features.detach().double()
    if not bool(x.isfinite().all()):
        raise ValueError(f"`{name}` must be finite; got NaN or infinity.")
    mean = x.mean(0)
    return mean, (x - mean) / (len(x) - 1) ** 0.5


def _floored(distance: Tensor, rule: FrechetRule) -> Tensor:
    return distance if rule.negative else distance.clamp_min(0)


def _root_trace(covariance: Tensor, other: Tensor, epsilon: float = 0.0) -> Tensor:
    """``tr sqrt(A B)``, by ``eigvalsh(L^T B L)`` with ``A = L L^T``."""
    if epsilon:
        shift = epsilon * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        covariance, other = covariance + shift, other + shift
    factor, info = torch.linalg.cholesky_ex(covariance)
    if int(info) != 0:  # not of full rank: any other root will do
        values, vectors = torch.linalg.eigh(covariance)
        factor = vectors * values.clamp_min(0).sqrt()
    eigenvalues: Tensor = torch.linalg.eigvalsh(factor.T @ other @ factor).clamp_min(0)
    return eigenvalues.sqrt().sum()


def _numpy_moments(features: Tensor) -> tuple[Any, Any]:
    import numpy as np

    x = features.detach().cpu().numpy()
    return x.mean(0), np.cov(x, rowvar=False)
