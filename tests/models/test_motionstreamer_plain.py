"""Ours against the published order of work from stock layers, at a small size and under the same noise."""

import sys
from pathlib import Path

import pytest
import torch

from cospeech.hub.convert.motionstreamer import motionstreamer_to_published
from cospeech.models import MotionStreamer, MotionStreamerConfig, MotionStreamerGenerator

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from plain_motionstreamer import PlainMotionStreamer

SIZES = {
    "text_dim": 12,
    "latent_dim": 4,
    "dim": 32,
    "num_layers": 2,
    "num_heads": 2,
    "feedforward_dim": 24,
    "max_positions": 9,
    "head_dim": 16,
    "head_layers": 2,
    "time_dim": 8,
}


@pytest.mark.parametrize("seed", [0, 1])
@torch.no_grad()
def test_same_latents_under_the_same_noise(seed):
    torch.manual_seed(seed)
    model, plain = MotionStreamer(MotionStreamerConfig(**SIZES)).eval(), PlainMotionStreamer(**SIZES)
    for linear in (*model.head.modulations, model.head.final_modulation, model.head.latent_out):
        torch.nn.init.normal_(linear.weight, std=0.02)
    plain.load_state_dict(motionstreamer_to_published(model))
    generator, texts = MotionStreamerGenerator(model), torch.randn(2, 12)
    state = generator.init_state(texts[:1], empty_text=texts[1])
    latents = torch.zeros(1, 0, 4)
    for k in range(8):  # until all positions are taken
        noise = torch.randn(51, 1, 4, generator=torch.Generator().manual_seed(k))
        expected = plain.next_latent(texts, latents, iter(noise).__next__)
        latent, state = generator.step(state, iter(noise).__next__)
        torch.testing.assert_close(latent, expected, rtol=0, atol=2e-4 * float(expected.abs().max()))
        latents = torch.cat([latents, expected[:, None]], dim=1)
