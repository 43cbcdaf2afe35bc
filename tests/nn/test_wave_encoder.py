import pytest
import torch

from cospeech.nn import WaveEncoder


@pytest.mark.parametrize("num_samples", [4797, 4800, 12259, 34112, 34113])
@pytest.mark.parametrize("strides", [(5, 6, 1, 6, 1, 3), (5, 6, 1, 6, 1, 6)])
def test_number_of_features(num_samples, strides):
    encoder = WaveEncoder(8, strides=strides).eval()
    features = encoder(torch.zeros(2, 1, num_samples))
    assert features.shape == (2, encoder.num_features(num_samples), 8)


@pytest.mark.parametrize(("num_frames", "num_features"), [(9, 10), (25, 26), (26, 26), (64, 64)])
def test_features_of_a_window_of_frames(num_frames, num_features):
    assert WaveEncoder(8).num_features(533 * num_frames) == num_features


def test_clips_of_a_batch_do_not_mix():
    encoder = WaveEncoder(8).eval()
    audio = torch.randn(3, 1, 5000)
    torch.testing.assert_close(encoder(audio)[1:2], encoder(audio[1:2]), rtol=1e-5, atol=1e-6)


def test_too_short():
    encoder = WaveEncoder(8).eval()
    assert encoder(torch.zeros(1, 1, 1)).shape == (1, encoder.num_features(1), 8)  # the margin suffices
    with pytest.raises(ValueError, match="too short for a feature; got 0 samples"):
        encoder(torch.zeros(1, 1, 0))
    with pytest.raises(ValueError, match="too short for a feature; got 1 samples"):
        WaveEncoder(8, strides=(5, 6, 1, 60, 1, 3))(torch.zeros(1, 1, 1))
