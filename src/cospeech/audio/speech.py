"""Speech features of a self-supervised network, WavLM or HuBERT, at the frame rate of motion.

Each window of speech is heard on its own, so that training and generation hear the same. Windows do not depend on each
other: any number of them go through the network together.

Reference:
    Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing", JSTSP 2022; used
    like this by Zhang et al., GlobalDiff, AAAI 2026, whose code calls the features "hubert".
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from cospeech._checks import check_shape
from cospeech._extras import require
from cospeech.audio.clocks import rate_ratio
from cospeech.errors import ModelNotFoundError

__all__ = ["GLOBALDIFF_SPEECH_ENCODER", "SpeechEncoder", "normalize_waveform"]

GLOBALDIFF_SPEECH_ENCODER = "patrickvonplaten/wavlm-libri-clean-100h-large"
"""The WavLM on the Hugging Face Hub that GlobalDiff hears with."""


def normalize_waveform(waveform: Tensor) -> Tensor:
    """Each row ``(..., S)`` with mean 0 and variance 1, as the feature extractors of these networks make it.

    Example:
        >>> normalize_waveform(torch.tensor([1.0, 3.0]))
        tensor([-1.,  1.])
    """
    if waveform.numel() == 0:
        return waveform
    variance, mean = torch.var_mean(waveform, dim=-1, correction=0, keepdim=True)
    return (waveform - mean) / torch.sqrt(variance + 1e-7)


class SpeechEncoder(nn.Module):
    """Speech windows ``(B, S)`` to features ``(B, T, C)``, linearly interpolated to the frames of motion.

    The first and the last feature of the network become the first and the last frame.

    Args:
        encoder: A network of Transformers, such as ``WavLMModel``; what counts is ``last_hidden_state``.
        normalizes: Whether the network wants each window at mean 0 and variance 1 (``do_normalize``).
        revision: What tells these features from those of other weights, for caches; by default made of the weights.
        name: By which ``load`` finds it again.
        rate_hz: Sampling rate that the network was trained at.
        frame_rate_hz: Rate of the motion.
        batch_windows: How many windows go through the network at once.

    Raises:
        ValueError: If ``batch_windows`` is not positive.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        normalizes: bool,
        revision: str | None = None,
        name: str | None = None,
        rate_hz: float = 16000.0,
        frame_rate_hz: float = 30.0,
        batch_windows: int = 16,
    ):
        super().__init__()
        if batch_windows < 1:
            raise ValueError(f"`batch_windows` must be at least 1; got {batch_windows}.")
        self.encoder = encoder.eval().requires_grad_(False)
        self.normalizes, self.name = normalizes, name
        self.rate_hz, self.frame_rate_hz = rate_hz, frame_rate_hz
        self.batch_windows = batch_windows
        config: Any = encoder.config
        self.feature_dim = int(config.hidden_size)
        self.shortest = 1  # samples that one feature is made of
        layers = zip(getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ()), strict=True)
        for kernel, stride in reversed(list(layers)):
            self.shortest = (self.shortest - 1) * stride + kernel
        self._revision = revision

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str] = GLOBALDIFF_SPEECH_ENCODER,
        *,
        revision: str | None = None,
        frame_rate_hz: float = 30.0,
        batch_windows: int = 16,
    ) -> Self:
        """An encoder from a folder or from the Hugging Face Hub; whether it normalises is read beside its weights.

        Args:
            name: A folder, or ``"owner/name"``.
            revision: Branch, tag or commit on the Hub.
            frame_rate_hz: See the class.
            batch_windows: See the class.

        Raises:
            MissingExtraError: If Transformers is not installed.
            ModelNotFoundError: If there is no such checkpoint, or it cannot be reached.
        """
        transformers = require("transformers", extra="speech", purpose="Speech features")
        name = os.fspath(name)
        try:
            encoder = transformers.AutoModel.from_pretrained(name, revision=revision)
            extractor = transformers.AutoFeatureExtractor.from_pretrained(name, revision=revision)
        except (OSError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelNotFoundError(
                f"No speech encoder {name!r}: {reason} Give a folder with config.json, preprocessor_config.json and "
                "weights, or a repository on the Hugging Face Hub while it can be reached."
            ) from error
        commit = getattr(encoder.config, "_commit_hash", None)
        return cls(
            encoder,
            normalizes=bool(extractor.do_normalize),
            revision=f"{name}@{commit}" if commit else None,
            name=name,
            rate_hz=float(extractor.sampling_rate),
            frame_rate_hz=frame_rate_hz,
            batch_windows=batch_windows,
        )

    @property
    def revision(self) -> str:
        """Which features these are: changes with the weights, their use, and the frame rate."""
        if self._revision is None:
            self._revision = _fingerprint(self.encoder)
        return f"{self._revision} normalizes={self.normalizes} {self.rate_hz:g} Hz to {self.frame_rate_hz:g} Hz"

    def num_frames(self, num_samples: int) -> int:
        """Frames made of ``num_samples``: the nearest number, one at least."""
        return max(1, round(num_samples / rate_ratio(self.rate_hz, self.frame_rate_hz)))

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Features of windows, ``(B, S)`` to ``(B, T, C)``, ``T = num_frames(S)``.

        Raises:
            ValueError: If the shape does not fit, or the windows are too short for one feature.
        """
        check_shape("waveform", waveform, "B S")
        if waveform.shape[1] < self.shortest:
            raise ValueError(f"`waveform` must hold at least {self.shortest} samples; got {waveform.shape[1]}.")
        num_frames = self.num_frames(waveform.shape[1])
        features = []
        for windows in torch.split(waveform, self.batch_windows):
            heard = self.encoder(normalize_waveform(windows) if self.normalizes else windows).last_hidden_state
            features.append(F.interpolate(heard.mT, size=num_frames, mode="linear", align_corners=True).mT)
        return torch.cat(features) if features else waveform.new_zeros(0, num_frames, self.feature_dim)


def _fingerprint(module: nn.Module) -> str:
    """A digest of all weights, for networks that no Hub has a name for."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
