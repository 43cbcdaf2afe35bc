from __future__ import annotations

import pytest
import torch

from cospeech.audio.diffsheg import diffsheg_mel, encode_in_chunks, stretch_frames


def means(x):
    """One feature for 400 samples and one more for each 320: their mean."""
    return x.unfold(-1, 400, 320).mean(-1, keepdim=True)


@pytest.mark.parametrize("num_samples", [400, 719, 720, 319_999, 320_000, 320_079, 320_400, 700_000])
def test_chunks_join_to_one_track(num_samples):
    """A network that looks at single features only hears no seams; short ends are filled with zeros."""
    waveform = torch.randn(num_samples, generator=torch.Generator().manual_seed(0))
    features = encode_in_chunks(means, waveform)
    variance, mean = torch.var_mean(waveform, correction=0)
    whole = means(((waveform - mean) / (variance + 1e-7).sqrt())[None])[0]
    assert len(features) == (num_samples - 80) // 320 == len(whole)
    torch.testing.assert_close(features[:-1], whole[:-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("frame_rate_hz", [15.0, 30.0])
def test_mel_frames_belong_to_motion_frames(frame_rate_hz):
    clip = torch.zeros(2, 48000)
    clip[:, 24000] = 1.0
    mel = diffsheg_mel(clip, 16000, frame_rate_hz=frame_rate_hz)
    assert mel.shape == (2, int(3 * frame_rate_hz), 128)
    loudest = mel.sum(-1).argmax(-1)
    assert ((loudest - 1.5 * frame_rate_hz).abs() <= 1).all()


def test_ends_stay_ends():
    features = torch.randn(2, 7, 3)
    stretched = stretch_frames(features, 20)
    torch.testing.assert_close(stretched[:, [0, -1]], features[:, [0, -1]])
    torch.testing.assert_close(stretch_frames(features, 7), features)
    assert stretch_frames(features[0], 4).shape == (4, 3)


def test_what_is_refused():
    with pytest.raises(ValueError, match="must divide 18000; got 7"):
        diffsheg_mel(torch.zeros(48000), 16000, frame_rate_hz=7)
    with pytest.raises(ValueError, match="must span a frame at least"):
        diffsheg_mel(torch.zeros(100), 16000)
    with pytest.raises(ValueError, match="must hold 400 samples at least; got 399"):
        encode_in_chunks(means, torch.zeros(399))
    with pytest.raises(ValueError, match="must give one feature for 320 samples"):
        encode_in_chunks(lambda x: torch.zeros(1, 7, 1), torch.zeros(16000))
