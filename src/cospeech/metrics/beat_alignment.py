"""Beat consistency as the published programs compute it: local minima of joint speeds against audio onsets.

Every number of the gesture papers named BC, BA or "align score" comes from the steps below, and each program has its
own constants and its own quirks; ``BeatRule`` holds them as data. For a beat of motion by another definition, see
``cospeech.metrics.beat``.

Reference:
    Li et al., "AI Choreographer" (ICCV 2021) and Liu et al., "BEAT" (ECCV 2022) for the idea; the code of EMAGE for
    what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cospeech._checks import check_shape
from cospeech.audio import detect_onsets, onset_strength, pick_peaks, resample
from cospeech.metrics.beat import beat_consistency

__all__ = [
    "BEAT_JOINTS",
    "BeatAlignment",
    "BeatRule",
    "audio_beats",
    "beat2022_alignment",
    "beat2022_beats",
    "beat2022_onsets",
    "beat_alignment",
    "joint_speeds",
    "mean_joint_speeds",
    "rectified",
    "score_beats",
    "speed_minima",
]

BEAT_JOINTS = (3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
"""Spine, neck, head, collars, shoulders, elbows, wrists of SMPL-X."""

_AUDIO_HZ, _HOP_SAMPLES = 16_000, 512


@dataclass(frozen=True, kw_only=True)
class BeatRule:
    """One program's beat consistency.

    Attributes:
        threshold: A minimum counts where the joint is faster than this share of its usual speed.
        order: A minimum is below all neighbours up to so many frames away.
        margin_seconds: Left out at both ends of the clip.
        sigma_seconds: Of the Gaussian that says how near is near.
        joints: Those whose scores are averaged.
        threshold_frame: "shifted": the published programs look up the speed of a minimum a margin too early, counting
            frames of the cut series in the uncut one. "same": the frame of the minimum.
        rectify: Whether the speeds are those of ``|x - mean x|``, since the published L1 diversity overwrites them.
        audio: "motion": audio ends a margin before the motion does. "file": a margin before the file does, and no later
            than the motion; this also reads at 22 050 Hz, and resamples.
        direction: "onsets": mean over audio onsets of the nearest motion beat, as every program has it. "beats": mean
            over motion beats of the nearest onset, as the papers print it.
        still_joints: Score of a joint without any beat: "zero", or "skip" to leave it out of the mean.
    """

    threshold: float = 0.1
    order: int = 7
    margin_seconds: float = 2.0
    sigma_seconds: float = 0.3
    joints: tuple[int, ...] = BEAT_JOINTS
    threshold_frame: str = "shifted"
    rectify: bool = False
    audio: str = "motion"
    direction: str = "onsets"
    still_joints: str = "zero"

    def __post_init__(self) -> None:
        choices = {
            "threshold_frame": ("shifted", "same"),
            "audio": ("motion", "file"),
            "direction": ("onsets", "beats"),
            "still_joints": ("zero", "skip"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}; got {getattr(self, name)!r}.")

    def margin_frames(self, rate_hz: float) -> int:
        """The margin in frames of motion."""
        return round(self.margin_seconds * rate_hz)


class BeatAlignment(NamedTuple):
    """Beat consistency of one clip."""

    score: Tensor  # () float64; NaN where there is nothing to score
    joint_scores: Tensor  # (J) float64, of the rule's joints
    beats: list[Tensor]  # per joint: seconds from the margin on, float64


def joint_speeds(positions: Tensor, rate_hz: float) -> Tensor:
    """Speed of each joint, ``(T, J)`` in m/s, by central differences, at the ends by one-sided ones.

    Args:
        positions: ``(T, J, 3)``, two frames at least; float32 gives the bits of the NumPy programs.
        rate_hz: Frames per second.
    """
    check_shape("positions", positions, "T J 3")
    if len(positions) < 2:
        raise ValueError(f"`positions` must hold 2 frames at least; got {len(positions)}.")
    step_seconds = 1 / rate_hz
    velocity = torch.empty_like(positions)
    velocity[1:-1] = (positions[2:] - positions[:-2]) / (2 * step_seconds)
    velocity[0] = (positions[1] - positions[0]) / step_seconds
    velocity[-1] = (positions[-1] - positions[-2]) / step_seconds
    x, y, z = velocity.square_().unbind(-1)
    return (x + y).add_(z).sqrt_()


def mean_joint_speeds(clips: list[Tensor], rate_hz: float) -> Tensor:
    """Usual speed of each joint over a set of clips ``(T, J, 3)``, frames weighted alike: float32 ``(J)``.

    The published constants were made so from all of BEAT2, from positions with translation.
    """
    total = sum((joint_speeds(clip, rate_hz).sum(0, dtype=torch.float64) for clip in clips), torch.zeros(()))
    return (total / sum(len(clip) for clip in clips)).float()


def rectified(positions: Tensor) -> Tensor:
    """``|x - mean over time|`` in the input's precision: what is left of positions after the published L1 diversity."""
    # NumPy sums frame by frame, which moves a float32 mean by 1e-6; minima must be the same to the frame.
    mean = torch.from_numpy(positions.detach().cpu().numpy().mean(axis=0)).to(positions.device)
    return (positions - mean).abs()


def speed_minima(speeds: Tensor, order: int) -> Tensor:
    """Whether each frame is a strict local minimum, ``(T, J)``: below all frames up to ``order`` away.

    Beyond the ends the end value itself is compared, so the first and last frame are none.
    """
    check_shape("speeds", speeds, "T J")
    minima = torch.ones_like(speeds, dtype=torch.bool)
    padded = torch.cat([speeds[:1].expand(order, -1), speeds, speeds[-1:].expand(order, -1)])
    for shift in range(2 * order + 1):
        if shift != order:
            minima &= speeds < padded[shift : shift + len(speeds)]
    return minima


def beat_alignment(
    positions: Tensor, onsets: Tensor, *, rate_hz: float, usual_speeds: Tensor, rule: BeatRule
) -> BeatAlignment:
    """Beat consistency of one clip.

    Args:
        positions: ``(T, J, 3)`` in metres.
        onsets: Seconds from the end of the margin on, ``(N)``, see ``audio_beats``.
        rate_hz: Frames per second.
        usual_speeds: Mean speed of each joint over the data set, m/s, ``(J)``, or a scalar.
        rule: Whose.

    Returns:
        The score, NaN where there are no onsets or, if still joints are skipped, no joint has a beat. Clips are
        weighted by their frames without the margins.

    Raises:
        ValueError: If the clip is not longer than both margins.
    """
    check_shape("positions", positions, "T J 3")
    margin = rule.margin_frames(rate_hz)
    if len(positions) <= 2 * margin:
        raise ValueError(f"`positions` must hold more than {2 * margin} frames; got {len(positions)}.")
    joints = list(rule.joints)
    x = rectified(positions) if rule.rectify else positions
    usual = usual_speeds[joints] if usual_speeds.ndim else usual_speeds
    speeds = joint_speeds(x[:, joints], rate_hz) / usual
    cut = speeds[margin : len(speeds) - margin]
    compared = speeds[: len(cut)] if rule.threshold_frame == "shifted" else cut
    chosen = speed_minima(cut, rule.order) & (compared > rule.threshold)
    beats = [chosen[:, j].nonzero().flatten().double() / rate_hz for j in range(len(joints))]
    score, joint_scores = score_beats(beats, onsets, rule)
    return BeatAlignment(score, joint_scores, beats)


def score_beats(beats: list[Tensor], onsets: Tensor, rule: BeatRule) -> tuple[Tensor, Tensor]:
    """Score of a clip and of each joint, float64, from motion beats of each joint and audio onsets in seconds."""
    onsets = onsets.double()
    scores = []
    for times in beats:
        pair = (onsets, times) if rule.direction == "onsets" else (times, onsets)
        scores.append(beat_consistency(*pair, sigma_seconds=rule.sigma_seconds))
    joint_scores = torch.stack(scores)
    counted = joint_scores if rule.still_joints == "zero" else joint_scores[[len(times) > 0 for times in beats]]
    score = counted.mean() if len(counted) and len(onsets) else joint_scores.new_tensor(float("nan"))
    return score, joint_scores


def audio_beats(waveform: Tensor, *, num_frames: int, rate_hz: float, rule: BeatRule) -> Tensor:
    """Audio onsets of a clip in seconds from the end of its margin on, float64 ``(N)``.

    Args:
        waveform: The whole clip at 16 kHz, ``(S)``.
        num_frames: Of the motion.
        rate_hz: Of the motion.
        rule: Whose.
    """
    check_shape("waveform", waveform, "S")
    margin = round(rule.margin_seconds * _AUDIO_HZ)
    if rule.audio == "file":
        # The program reads files at librosa's default rate, and means 16 kHz.
        waveform = resample(resample(waveform, _AUDIO_HZ, 22_050), 22_050, _AUDIO_HZ)
        end = min(int(_AUDIO_HZ / rate_hz * num_frames), len(waveform) - margin)
    else:
        end = int((num_frames - rule.margin_frames(rate_hz)) / rate_hz * _AUDIO_HZ)
    heard = waveform[margin : max(end, margin)]
    if not len(heard):
        return heard.new_zeros(0, dtype=torch.float64)
    return detect_onsets(heard, rate_hz=_AUDIO_HZ).double() * _HOP_SAMPLES / _AUDIO_HZ


def beat2022_onsets(waveform: Tensor, *, start_seconds: float = 10.0, end_seconds: float = 500.0) -> Tensor:
    """Onsets as the test of BEAT (2022) has them: frames of 512 samples at 16 kHz, int64 ``(N)``.

    Peaks are picked with the settings for 22 050 Hz and moved back to where the energy began to rise. The program then
    also counts time at 22 050 Hz, see ``beat2022_alignment``.

    Args:
        waveform: 16 kHz, ``(S)``.
        start_seconds: Where the clip starts.
        end_seconds: Where it ends.
    """
    check_shape("waveform", waveform, "S")
    heard = waveform[round(start_seconds * _AUDIO_HZ) : round(end_seconds * _AUDIO_HZ)]
    if not len(heard):
        return torch.zeros(0, dtype=torch.int64, device=waveform.device)
    peaks, _ = _published_peaks(heard)
    return _backtrack(peaks, _energy(heard))


def beat2022_alignment(
    arms: Tensor,
    onsets: Tensor,
    *,
    rate_hz: float = 15.0,
    start_seconds: float = 10.0,
    end_seconds: float = 500.0,
    order: int = 2,
    sigma_seconds: float = 0.3,
) -> Tensor:
    """``BeatAlign`` of BEAT (2022): onsets against minima of how fast the right wrist's Euler angles change.

    Args:
        arms: Euler angles of the right and the left arm, degrees, ``(T, 18)``: columns 30:39 and 112:121 of the pose.
        onsets: What ``beat2022_onsets`` gives.
        rate_hz: Frames per second.
        start_seconds: Where the clip starts.
        end_seconds: Where it ends.
        order: Frames on both sides that a minimum lies below.
        sigma_seconds: How far from an onset a beat still counts.

    Returns:
        A float64 scalar. Clips count alike.
    """
    beats = beat2022_beats(arms, rate_hz=rate_hz, start_seconds=start_seconds, end_seconds=end_seconds, order=order)
    heard = onsets.double() * _HOP_SAMPLES / 22_050
    return beat_consistency(heard, beats[1].double() / rate_hz, sigma_seconds=sigma_seconds)


def beat2022_beats(
    arms: Tensor, *, rate_hz: float = 15.0, start_seconds: float = 10.0, end_seconds: float = 500.0, order: int = 2
) -> list[Tensor]:
    """Minima of right elbow, right wrist and left wrist, in frames; only the right wrist's are scored.

    Frames are counted from the start on, but for the left wrist, whose series the program does not cut.
    """
    check_shape("arms", arms, "T 18")
    steps = arms.diff(dim=0)
    moved = torch.stack([torch.linalg.vector_norm(steps[:, i : i + 3], dim=-1) for i in (3, 6, 15)], dim=-1)
    cut = speed_minima(moved[round(start_seconds * rate_hz) : round(end_seconds * rate_hz), :2], order)
    whole = speed_minima(moved[:, 2:], order)
    return [minima.nonzero().flatten() for minima in (*cut.T, *whole.T)]


def _published_peaks(heard: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of the peaks before they are moved back, and the strength they are peaks of."""
    strength = onset_strength(heard, rate_hz=_AUDIO_HZ)
    strength = strength - strength.min()
    strength = strength / (strength.max() + torch.finfo(strength.dtype).tiny)
    return pick_peaks(strength, max_frames=(1, 1), mean_frames=(4, 5), threshold=0.07, rest_frames=1), strength


def _energy(waveform: Tensor, window_samples: int = 2048) -> Tensor:
    """Root mean square of the magnitudes of each frame's spectrum, as the energy over which onsets are moved back."""
    window = torch.hann_window(window_samples, device=waveform.device, dtype=waveform.dtype)
    padded = F.pad(waveform, (window_samples // 2, window_samples // 2))
    frames = padded.unfold(0, window_samples, _HOP_SAMPLES)
    # By Parseval's theorem the energy of the one-sided spectrum, whose first and last band count once.
    power = []
    for start in range(0, len(frames), 512):
        spectrum = torch.fft.rfft(frames[start : start + 512] * window).abs().square()
        power.append(2 * spectrum.sum(-1) - spectrum[:, 0] - spectrum[:, -1])
    return torch.cat(power).clamp_min(0).sqrt() / window_samples


def _backtrack(peaks: Tensor, energy: Tensor) -> Tensor:
    """Each peak moved to the last local minimum of ``energy`` at or before it; kept if there is none."""
    minima = ((energy[1:-1] <= energy[:-2]) & (energy[1:-1] < energy[2:])).nonzero().flatten() + 1
    if not len(minima):
        return peaks
    minima = torch.cat([minima.new_zeros(1), minima])
    return minima[torch.searchsorted(minima, peaks, right=True) - 1]
