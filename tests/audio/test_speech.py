"""Laws of the speech encoder, on a stand-in network and on a small WavLM from disk."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from cospeech.audio import SpeechEncoder, normalize_waveform
from cospeech.errors import MissingExtraError, ModelNotFoundError


class Stand(nn.Module):
    """A network that gives the mean of every 320 samples, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=2)
        self.scale = nn.Parameter(torch.ones(1))
        self.sizes: list[int] = []

    def forward(self, waveform: Tensor) -> SimpleNamespace:
        self.sizes.append(len(waveform))
        means = waveform.unfold(-1, 320, 320).mean(-1)
        return SimpleNamespace(last_hidden_state=torch.stack([means, -means], -1) * self.scale)


def test_frames_run_from_the_first_feature_to_the_last() -> None:
    encoder = SpeechEncoder(Stand(), normalizes=False)
    ramp = torch.linspace(0, 1, 32_000)[None]
    features = encoder(ramp)
    assert features.shape == (1, 60, encoder.feature_dim)
    means = ramp[0].unfold(0, 320, 320).mean(-1)
    torch.testing.assert_close(features[0, :, 0], torch.linspace(means[0].item(), means[-1].item(), 60))


def test_windows_are_heard_together_and_alike(generator: torch.Generator) -> None:
    network = Stand()
    encoder = SpeechEncoder(network, normalizes=True, batch_windows=4)
    windows = torch.randn(10, 3200, generator=generator)
    together = encoder(windows)
    assert network.sizes == [4, 4, 2]
    torch.testing.assert_close(together, torch.cat([encoder(window[None]) for window in windows]))
    assert encoder(windows[:0]).shape == (0, 6, 2)


def test_normalisation_is_of_each_window(generator: torch.Generator) -> None:
    windows = torch.randn(3, 1000, generator=generator) * torch.tensor([[1.0], [5.0], [0.1]]) + 2
    normal = normalize_waveform(windows)
    torch.testing.assert_close(normal.mean(-1), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(normal.std(-1, correction=0), torch.ones(3), rtol=0, atol=1e-3)
    assert bool(normalize_waveform(torch.zeros(1, 10)).isfinite().all())


def test_revision_tells_weights_and_use() -> None:
    first, second = SpeechEncoder(Stand(), normalizes=True), SpeechEncoder(Stand(), normalizes=True)
    assert first.revision == second.revision
    assert first.revision != SpeechEncoder(Stand(), normalizes=False).revision
    changed = Stand()
    nn.init.constant_(changed.scale, 2.0)
    assert first.revision != SpeechEncoder(changed, normalizes=True).revision


def test_the_network_is_frozen() -> None:
    encoder = SpeechEncoder(Stand(), normalizes=False)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder(torch.zeros(1, 3200)).requires_grad


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"needs transformers: pip install 'cospeech\[speech\]'"):
        SpeechEncoder.load("anywhere")


def test_errors_say_what_must_hold() -> None:
    encoder = SpeechEncoder(Stand(), normalizes=False)
    with pytest.raises(ValueError, match=r"`waveform` must have shape \(B, S\)"):
        encoder(torch.zeros(32_000))
    layered = Stand()
    layered.config.conv_kernel, layered.config.conv_stride = (10, 3), (5, 2)
    with pytest.raises(ValueError, match="`waveform` must hold at least 20 samples; got 19"):
        SpeechEncoder(layered, normalizes=False)(torch.zeros(1, 19))
    with pytest.raises(ValueError, match="`batch_windows` must be at least 1"):
        SpeechEncoder(Stand(), normalizes=False, batch_windows=0)


def test_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'speech'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = transformers.WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    network = transformers.WavLMModel(config).eval()
    network.save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(tmp_path)
    encoder, again = SpeechEncoder.load(tmp_path), SpeechEncoder.load(tmp_path)
    assert encoder.normalizes
    assert encoder.revision == again.revision
    windows = torch.randn(2, 16_000)
    assert torch.equal(encoder(windows), SpeechEncoder(network, normalizes=True)(windows))

    with pytest.raises(ModelNotFoundError, match=r"No speech encoder .*nowhere.*preprocessor_config\.json"):
        SpeechEncoder.load(tmp_path / "nowhere")
