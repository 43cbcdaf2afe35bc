"""GlobalDiff the plain way, which the benchmarks measure against, gives our numbers: networks, losses, gradients."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from cospeech.hub.convert.globaldiff import denoiser_to_published, speech_model_to_published
from cospeech.hub.convert.globaldiff_vae import masked_vae_to_published
from cospeech.models import (
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    MaskedVAE,
    MaskedVAEConfig,
    SpeechModel,
    SpeechModelConfig,
    StackedDenoiser,
)
from cospeech.pipelines.globaldiff import WindowInputs, bind_denoiser
from cospeech.rotations import axis_angle_to_rot6d
from cospeech.samplers import GlobalDiffSampler, inpaint_seed
from cospeech.samplers.denoise import denoise
from cospeech.skeleton import SMPLX
from cospeech.training import DenoiserObjective

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from plain_globaldiff import (
    PARENTS,
    PlainDenoiser,
    PlainSpeechModel,
    PlainVAEEncoder,
    plain_losses,
    plain_rot6d,
    plain_window,
)

SIZES = {"num_layers": 2, "num_heads": 4, "feedforward_dim": 48}


def shaken(module, generator):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return module.eval()


@pytest.fixture
def denoisers(generator):
    ours = shaken(GlobalDiffDenoiser(GlobalDiffConfig(hidden_dim=96, feature_dim=20, **SIZES)), generator)
    plain = PlainDenoiser(96, feature_dim=20, **SIZES).eval()
    plain.load_state_dict(denoiser_to_published(ours))
    return ours, plain


def test_denoiser_and_its_gradients(denoisers, generator):
    def randn(*shape):
        return torch.randn(2, *shape, generator=generator)

    ours, plain = denoisers
    given = randn(12, 333), torch.tensor([0.2, 0.9]), torch.tensor([3, 0]), randn(8, 333), randn(12, 20), randn(12, 100)
    clean, expected = ours(*given), plain(*given)
    torch.testing.assert_close(clean, expected, rtol=0, atol=1e-4)
    clean.square().mean().backward()
    expected.square().mean().backward()
    for published, attribute in (("hubert_prj.0", "audio_projection.expand"), ("in_hand", "hand.part_in")):
        gradient = ours.get_submodule(attribute).weight.grad
        torch.testing.assert_close(gradient, plain.get_submodule(published).weight.grad, rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_window_of_the_sampler(denoisers, generator):
    def randn(*shape):
        return torch.randn(2, *shape, generator=generator)

    ours, plain = denoisers
    inputs, seed = WindowInputs(randn(20, 333), randn(20, 20), randn(20, 100), torch.tensor([3, 1])), randn(8, 333)
    steps = GlobalDiffSampler(num_calls=4).steps
    expected = plain_window(
        plain, inputs.noise, inputs.speakers, seed, inputs.features, inputs.expressions, num_calls=4
    )
    for network in (ours, StackedDenoiser(ours)):
        predict = inpaint_seed(bind_denoiser(network, inputs, seed, steps.clock), seed)
        window = denoise(predict, inputs.noise, steps, draw=lambda: inputs.noise)
        torch.testing.assert_close(window, expected, rtol=0, atol=2e-4)


@torch.no_grad()
def test_speech_model(generator):
    ours = shaken(SpeechModel(SpeechModelConfig(hidden_dim=32, feature_dim=20, **SIZES)), generator)
    plain = PlainSpeechModel(32, feature_dim=20, **SIZES).eval()
    plain.load_state_dict(speech_model_to_published(ours))
    given = torch.randn(2, 9, 20, generator=generator), torch.tensor([3, 0])
    torch.testing.assert_close(ours(*given), plain(*given), rtol=0, atol=1e-4)


def test_every_term_and_its_gradient(generator):
    encoders, plain_encoders = [], []
    for stages in ((3,), (2, 2)):
        config = MaskedVAEConfig(hidden_dim=32, latent_dim=8, stage_blocks=stages, **SIZES)
        encoder = shaken(MaskedVAE(config), generator)
        plain = PlainVAEEncoder(stages, 32, latent_dim=8, **SIZES).eval()
        state = masked_vae_to_published(encoder)
        plain.load_state_dict({key: state[key] for key in plain.state_dict()})
        encoders.append(encoder)
        plain_encoders.append(plain)
    axis_angle = 0.5 * torch.randn(2, 16, 55, 3, generator=generator)
    axis_angle[0, 0, :3] = 1e-6  # nearly no turn
    clean = torch.cat([axis_angle_to_rot6d(axis_angle).flatten(-2), torch.randn(2, 16, 3, generator=generator)], dim=-1)
    torch.testing.assert_close(plain_rot6d(axis_angle).flatten(-2), clean[..., :330], rtol=0, atol=1e-6)
    predicted = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    rest = SMPLX.rest_joints.float().expand(2, -1, -1)
    objective = DenoiserObjective(encoders)
    ours_in, plain_in = (predicted.clone().requires_grad_() for _ in range(2))
    ours = objective.losses(ours_in, objective.target(clean, rest), rest)
    plain = plain_losses(plain_in, clean, rest, plain_encoders)
    for name, value in plain.items():
        torch.testing.assert_close(getattr(ours, name), value, rtol=1e-4, atol=0, msg=name)
    ours.total.backward()
    sum(plain.values()).backward()
    torch.testing.assert_close(ours_in.grad, plain_in.grad, rtol=1e-3, atol=1e-6)


def test_skeleton_is_the_same():
    assert SMPLX.parents == PARENTS
