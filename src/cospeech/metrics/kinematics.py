"""How smoothly a body moves and how firmly it stands; on joint positions in metres."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["FootSlide", "foot_slide", "mean_jerk"]


class FootSlide(NamedTuple):
    """How much feet move along the ground while they are on it."""

    mean_speed: Tensor  # (...) metres per second, over the contacts
    share: Tensor  # (...) contacts that are faster than the threshold
    contacts: Tensor  # (...) share of frames and points that count as contact


def mean_jerk(positions: Tensor, rate_hz: float) -> Tensor:
    """Mean length of the third derivative of position, by differences.

    Args:
        positions: ``(..., T, J, 3)`` in metres, four frames at least.
        rate_hz: Frames per second.

    Returns:
        ``(...)`` in m/s^3, the mean over frames and joints.

    Raises:
        ValueError: If there are fewer than four frames.

    Example:
        >>> import torch
        >>> time = torch.arange(10, dtype=torch.float64) / 30
        >>> x = torch.stack([time**3, 0 * time, 0 * time], -1)[:, None]
        >>> round(float(mean_jerk(x, 30.0)), 6)
        6.0
    """
    check_shape("positions", positions, "... T J 3")
    if positions.shape[-3] < 4:
        raise ValueError(f"`positions` must hold 4 frames at least; got {positions.shape[-3]}.")
    jerk: Tensor = (positions.diff(n=3, dim=-3) * rate_hz**3).norm(dim=-1)
    return jerk.mean((-1, -2))


def foot_slide(feet: Tensor, rate_hz: float, *, contact_height: float = 0.05, slide_speed: float = 0.05) -> FootSlide:
    """Horizontal speed of points of the feet while they are near the ground.

    Args:
        feet: Points that should stay where they are while they bear weight, ``(..., T, P, 3)``, Y up, ground at 0: the
            joints at the balls of the feet, for example.
        rate_hz: Frames per second.
        contact_height: A point below this height in two successive frames is in contact, metres.
        slide_speed: A contact that moves faster than this slides, metres per second.

    Returns:
        Three tensors without the axes ``T, P, 3``; zeros where there is no contact.

    Raises:
        ValueError: If there are fewer than two frames.
    """
    check_shape("feet", feet, "... T P 3")
    if feet.shape[-3] < 2:
        raise ValueError(f"`feet` must hold 2 frames at least; got {feet.shape[-3]}.")
    speed = (feet[..., [0, 2]].diff(dim=-3) * rate_hz).norm(dim=-1)
    low = feet[..., 1] < contact_height
    contact = (low[..., 1:, :] & low[..., :-1, :]).to(speed)
    count = contact.sum((-1, -2))
    some = count.clamp_min(1)
    slides = (speed > slide_speed).to(speed)
    return FootSlide(
        mean_speed=(speed * contact).sum((-1, -2)) / some,
        share=(slides * contact).sum((-1, -2)) / some,
        contacts=contact.mean((-1, -2)),
    )
