"""What EMAGE hears: features of the speech, from the waveform alone or from words and how they sound."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.audio import amplitude_envelope, detect_onsets
from cospeech.nn import ContentRhythmAttention, WaveEncoder

__all__ = ["RhythmAndContentEncoder", "WaveformEncoder", "rhythm_signals"]

_ONSET_HOP = 512


def rhythm_signals(waveform: Tensor) -> Tensor:
    """How windows of speech sound, as the paper has it: amplitude, and 1 where a sound begins.

    Both are made of each window by itself, so that a stream hears what the whole clip does. The earlier program marks
    onsets at wrong times, by frame numbers in an array of samples; here they are where they are heard.

    Args:
        waveform: 16 kHz, ``(B, S)``.

    Returns:
        ``(B, 2, S)``.
    """
    check_shape("waveform", waveform, "B S")
    onsets = torch.zeros_like(waveform)
    for row, clip in zip(onsets, waveform, strict=True):
        row[detect_onsets(clip, rate_hz=16000, hop_samples=_ONSET_HOP) * _ONSET_HOP] = 1
    return torch.stack([amplitude_envelope(waveform), onsets], dim=1)


class WaveformEncoder(nn.Module):
    """Features of a waveform ``(B, S)``, as the published program has them."""

    def __init__(self, dim: int):
        super().__init__()
        self.wave = WaveEncoder(dim)

    def forward(self, audio: Tensor, words: Tensor | None = None) -> Tensor:
        """Features ``(B, F, dim)``.

        Raises:
            ValueError: If the audio is not ``(B, S)``, or words are given: this form of the model does not read.
        """
        check_shape("audio", audio, "B S")
        if words is not None:
            raise ValueError("`words` need a configuration with `text_dim`; this one hears audio only.")
        features: Tensor = self.wave(audio[:, None])
        return features


class RhythmAndContentEncoder(nn.Module):
    """Features of amplitude and onset, mixed with words by content-rhythm attention, as in the paper.

    Args:
        dim: Width of the features.
        num_signals: Rhythm signals: amplitude and onset strength at the audio's rate.
        text_dim: Width of a word embedding.
        hidden_dim: See ``ContentRhythmAttention``.
        per_channel: See ``ContentRhythmAttention``.
    """

    def __init__(self, dim: int, num_signals: int, text_dim: int, *, hidden_dim: int | None, per_channel: bool):
        super().__init__()
        self.num_signals, self.text_dim = num_signals, text_dim
        self.rhythm = WaveEncoder(dim, num_signals)
        self.content = nn.Linear(text_dim, dim)
        self.mix = ContentRhythmAttention(dim, hidden_dim=hidden_dim, per_channel=per_channel)

    def forward(self, audio: Tensor, words: Tensor | None = None) -> Tensor:
        """Features ``(B, T, dim)``, one for each frame of ``words``.

        Args:
            audio: Rhythm signals, ``(B, num_signals, S)``.
            words: The embedding of the word that is spoken in each frame, ``(B, T, text_dim)``.

        Raises:
            ValueError: If a shape is another, words are missing, or the audio is shorter than the words.
        """
        check_shape("audio", audio, f"B {self.num_signals} S")
        if words is None:
            raise ValueError("`words` must be given: this configuration reads text.")
        check_shape("words", words, f"B T {self.text_dim}")
        rhythm: Tensor = self.rhythm(audio)
        if rhythm.shape[1] < words.shape[1]:
            raise ValueError(
                f"`audio` must last as long as `words`; it gives {rhythm.shape[1]} features "
                f"for {words.shape[1]} frames."
            )
        mixed: Tensor = self.mix(self.content(words), rhythm[:, : words.shape[1]])
        return mixed
