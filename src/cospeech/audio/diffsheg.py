"""What DiffSHEG hears: mel power, and the features of a HuBERT over the whole recording.

Both come at the frame rate of the motion. Neither is scaled: a louder recording is another condition.

Reference:
    Chen et al., "DiffSHEG: A Diffusion-Based Approach for Real-Time Speech-driven Holistic 3D Expression and Gesture
    Generation", CVPR 2024; numbers are those of the published program.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from cospeech._checks import check_shape
from cospeech.audio.mel import mel_spectrogram
from cospeech.audio.resample import SincFilter, resample
from cospeech.audio.speech import SpeechEncoder, normalize_waveform

__all__ = [
    "DIFFSHEG_MEL_RATE_HZ",
    "DIFFSHEG_SPEECH_ENCODER",
    "KAISER_BEST",
    "HubertTrack",
    "diffsheg_mel",
    "encode_in_chunks",
    "stretch_frames",
]

DIFFSHEG_MEL_RATE_HZ = 18_000.0
DIFFSHEG_SPEECH_ENCODER = "facebook/hubert-large-ls960-ft"
"""The HuBERT on the Hugging Face Hub that DiffSHEG hears with."""

KAISER_BEST = SincFilter(zero_crossings=50, rolloff=0.917347, kaiser_beta=12.9846)
"""The resampler of the published environment: resampy 0.4, through librosa 0.9."""

_KERNEL, _STRIDE = 400, 320  # samples that a feature sees, and from one to the next
_CHUNK = 1000 * _STRIDE  # 20 s


def diffsheg_mel(
    waveform: Tensor, rate_hz: float, *, frame_rate_hz: float = 15.0, sinc: SincFilter | None = None
) -> Tensor:
    """Mel power of a recording, without logarithm.

    Args:
        waveform: Samples, ``(..., S)``.
        rate_hz: Their sampling rate; 18 kHz is what the filter bank works at.
        frame_rate_hz: Frames per second.
        sinc: The resampler's filter. The default is closest to librosa's present one, ``KAISER_BEST`` to the published.

    Returns:
        ``(..., T, 128)``: frames that begin within the recording, the published program's dropped last one aside.

    Raises:
        ValueError: If no frame is left, or the frames do not begin at whole samples.

    Example:
        >>> diffsheg_mel(torch.zeros(48000), 16000).shape
        torch.Size([45, 128])
    """
    hop = DIFFSHEG_MEL_RATE_HZ / frame_rate_hz
    if hop != int(hop):
        raise ValueError(f"`frame_rate_hz` must divide 18000; got {frame_rate_hz:g}.")
    waveform = resample(waveform, rate_hz, DIFFSHEG_MEL_RATE_HZ, sinc=sinc)
    mel = mel_spectrogram(waveform, rate_hz=DIFFSHEG_MEL_RATE_HZ, hop_samples=int(hop))
    if mel.shape[-2] < 2:
        raise ValueError(f"`waveform` must span a frame at least, {1 / frame_rate_hz:.3f} s.")
    return mel[..., :-1, :]


def encode_in_chunks(network: Callable[[Tensor], Tensor], waveform: Tensor) -> Tensor:
    """Features of a recording of any length, heard 20 s at a time.

    The whole recording is normalised at once. Chunks share what a convolution needs to go on; the network's attention
    does not reach beyond its chunk.

    Args:
        network: From samples ``(1, S)`` to features ``(1, T, C)``, one for 400 samples and one more for each 320.
        waveform: Samples at the network's rate, ``(S,)``.

    Returns:
        ``(T, C)`` with ``T = (S - 80) // 320``, zeros where a short end gave no feature.

    Raises:
        ValueError: If there are fewer than 400 samples, or the network gives another number of features.
    """
    check_shape("waveform", waveform, "S")
    num_samples = len(waveform)
    if num_samples < _KERNEL:
        raise ValueError(f"`waveform` must hold {_KERNEL} samples at least; got {num_samples}.")
    waveform = normalize_waveform(waveform)[None]
    num_chunks = num_samples // _CHUNK
    pieces = [waveform[:, i * _CHUNK : (i + 1) * _CHUNK + _KERNEL - _STRIDE] for i in range(num_chunks)]
    rest = waveform[:, num_chunks * _CHUNK :]
    if rest.shape[1] >= _KERNEL:
        pieces.append(rest)
    features = torch.cat([network(piece)[0] for piece in pieces])
    expected = (num_samples - (_KERNEL - _STRIDE)) // _STRIDE
    if abs(len(features) - expected) > 1:
        raise ValueError(f"`network` must give one feature for {_STRIDE} samples, {expected}; got {len(features)}.")
    return F.pad(features[:expected], (0, 0, 0, max(0, expected - len(features))))


def stretch_frames(features: Tensor, num_frames: int) -> Tensor:
    """Features ``(..., T, C)`` interpolated to ``num_frames``; the first stays the first, the last the last.

    Example:
        >>> stretch_frames(torch.tensor([[0.0], [2.0]]), 3).flatten()
        tensor([0., 1., 2.])
    """
    rows = features.reshape(-1, *features.shape[-2:]).mT
    stretched = F.interpolate(rows, size=num_frames, mode="linear", align_corners=True).mT
    return stretched.reshape(*features.shape[:-2], num_frames, features.shape[-1])


class HubertTrack(nn.Module):
    """Recordings to HuBERT features, as many as there are frames of motion.

    Args:
        encoder: The network with its settings.
        name: By which ``load`` finds it again.
    """

    def __init__(self, encoder: SpeechEncoder, *, name: str | None = None):
        super().__init__()
        self.encoder, self.name = encoder, name
        self.rate_hz, self.feature_dim = encoder.rate_hz, encoder.feature_dim

    @classmethod
    def load(cls, name: str | os.PathLike[str] = DIFFSHEG_SPEECH_ENCODER, *, revision: str | None = None) -> Self:
        """The track of a network from a folder or from the Hugging Face Hub; see ``SpeechEncoder.load``."""
        return cls(SpeechEncoder.load(name, revision=revision), name=os.fspath(name))

    @torch.no_grad()
    def forward(self, waveform: Tensor, num_frames: int) -> Tensor:
        """Features ``(num_frames, C)`` of a recording ``(S,)``."""
        return stretch_frames(encode_in_chunks(self._hear, waveform), num_frames)

    def _hear(self, waveform: Tensor) -> Tensor:
        features: Tensor = self.encoder.encoder(waveform).last_hidden_state
        return features
