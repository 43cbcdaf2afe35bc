"""DiffSHEG's channels of windows, normalised: what its generator and the autoencoders that judge it learn from."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from cospeech.data import MotionWindow
from cospeech.hub import load_tensors, save_tensors
from cospeech.motion import Motion
from cospeech.representations import DiffSHEGBeat, DiffSHEGShow
from cospeech.training.tasks.windows import HeldWindows, WindowData, local_axis_angle

__all__ = ["Form", "WindowChannels"]

Form = Literal["beat", "show"]

_STATISTICS_WINDOWS = 5000


class WindowChannels:
    """Windows to normalised channels, 192 for BEAT and 232 for SHOW, gesture first.

    Args:
        data: Whose folder keeps the statistics.
        windows: The windows themselves.
        form: Which channels.
        statistics: File with the means and deviations that channels are normalised by; "" for those of the data.
        least_deviation: Channels of the data that move less are normalised as if they moved so much.
    """

    def __init__(
        self, data: WindowData, windows: HeldWindows, form: Form, *, statistics: str = "", least_deviation: float = 1e-3
    ):
        self.form, self.kind = form, DiffSHEGBeat if form == "beat" else DiffSHEGShow
        self.representation = self._given(statistics) if statistics else self._own(data, windows, least_deviation)

    def __call__(self, window: MotionWindow) -> Tensor:
        """Normalised channels, ``(B, T, C)``."""
        return self.representation.normalize(self._channels(window)).float()

    def _given(self, path: str) -> DiffSHEGBeat | DiffSHEGShow:
        given = load_tensors(path)
        for mean, std in (("mean", "std"), ("motion_mean", "motion_std")):  # of a trained model; published for SHOW
            if mean in given and std in given:
                return self.kind(mean=given[mean], std=given[std])
        return self.kind.from_published(given)

    def _own(self, data: WindowData, windows: HeldWindows, least_deviation: float) -> DiffSHEGBeat | DiffSHEGShow:
        path = data.folder / "diffsheg" / "statistics.safetensors"
        if not path.exists():  # over windows, as they are seen
            channels = self._channels(windows.batch(windows.few(_STATISTICS_WINDOWS))).flatten(0, 1)
            found = {"mean": channels.mean(0), "std": channels.std(0).clamp_min(least_deviation)}
            save_tensors(found, path)
        kept = load_tensors(path)
        return self.kind(mean=kept["mean"], std=kept["std"])

    def _channels(self, window: MotionWindow) -> Tensor:
        """Channels that are not normalised, ``(B, T, C)``."""
        joints, wanted = window.axis_angle.shape[2], 47 if self.form == "beat" else 55
        if joints != wanted:
            raise ValueError(f"`model` is made for windows of {wanted} joints; `data` has {joints}.")
        if self.form == "beat":
            return torch.cat([window.axis_angle.flatten(2), window.expressions], dim=-1)
        clip = Motion(  # all windows one after the other, since nothing here looks from frame to frame
            local_axis_angle=local_axis_angle(window).flatten(0, 1),
            translation=window.translation.flatten(0, 1),
            expressions=window.expressions.flatten(0, 1),
            rate_hz=30,
        )
        plain = DiffSHEGShow(mean=torch.zeros(232), std=torch.ones(232))
        return rearrange(plain.encode(clip), "(b t) c -> b t c", b=len(window.axis_angle))
