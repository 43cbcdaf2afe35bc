from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from cospeech.models import BufferedDiffSHEG, DiffSHEGConfig, DiffSHEGDenoiser, optimize_diffsheg
from cospeech.models.diffsheg import diffsheg_positions
from cospeech.models.diffsheg_layers import MotionSpeechFusion, moments

SMALL = DiffSHEGConfig(
    gesture_dim=9,
    expression_dim=5,
    mel_dim=8,
    speech_feature_dim=7,
    num_speakers=3,
    hidden_dim=16,
    num_layers=2,
    num_heads=2,
    feedforward_dim=12,
    fusion_dim=20,
    condition_dim=24,
    audio_dim=6,
    speech_dim=4,
    unconditional=True,
)
FLOWS = ("expression_to_gesture", "gesture_to_expression", "none", "joint")
GESTURE, EXPRESSION = slice(0, 9), slice(9, 14)


def make(flow="expression_to_gesture", **changes):
    """A small denoiser none of whose layers is silent."""
    torch.manual_seed(0)
    denoiser = DiffSHEGDenoiser(dataclasses.replace(SMALL, flow=flow, **changes)).eval()
    for parameter in denoiser.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return denoiser


def inputs(num_rows=3, num_frames=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    noisy, mel, speech = (torch.randn(num_rows, num_frames, width, generator=generator) for width in (14, 8, 7))
    timesteps, speaker = torch.arange(num_rows) * 400, torch.arange(num_rows) % 3
    return noisy.to(dtype), timesteps, mel.to(dtype), speech.to(dtype), speaker


@pytest.mark.parametrize("flow", FLOWS)
def test_no_gradient_flows_back_and_no_information_either(flow):
    """Which part of the input each part of the output sees, and whose loss reaches which branch."""
    denoiser = make(flow)
    noisy, *rest = inputs()
    noisy.requires_grad_()
    noise = denoiser(noisy, *rest)
    (of_gesture,) = torch.autograd.grad(noise[..., GESTURE].square().sum(), noisy, retain_graph=True)
    (of_expression,) = torch.autograd.grad(noise[..., EXPRESSION].square().sum(), noisy, retain_graph=True)
    informed = {"expression_to_gesture": (True, False), "gesture_to_expression": (False, True), "joint": (True, True)}
    gesture_sees, expression_sees = informed.get(flow, (False, False))
    assert bool(of_gesture[..., EXPRESSION].any()) == gesture_sees
    assert bool(of_expression[..., GESTURE].any()) == expression_sees
    if flow != "joint":
        for part, other in ((GESTURE, "expression"), (EXPRESSION, "gesture")):
            parameters = list(denoiser.branches[other].parameters())
            loss = noise[..., part].square().sum()
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            assert all(gradient is None or not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("scale", [1.0, 1.15])
@torch.inference_mode()
def test_prepared_equals_plain(flow, scale):
    """Every window at every timestep in one preparation, against one call for each."""
    denoiser = make(flow).double()
    noisy, _, mel, speech, speaker = inputs(dtype=torch.float64)
    timesteps = torch.tensor([960, 40, 0])
    kept = denoiser.modulate(speaker, timesteps)
    conditioning = denoiser.prepare(mel, speech, speaker, timesteps, modulations=kept, guidance_scale=scale)
    for timestep, at in zip(timesteps, conditioning, strict=True):
        plain = denoiser(noisy, timestep.expand(3), mel, speech, speaker, guidance_scale=scale)
        torch.testing.assert_close(denoiser.denoise(noisy, at), plain, rtol=1e-12, atol=1e-10)
        for row in range(3):
            alone = [x[row : row + 1] for x in (noisy, timestep.expand(3), mel, speech, speaker)]
            torch.testing.assert_close(denoiser(*alone, guidance_scale=scale)[0], plain[row], rtol=1e-10, atol=1e-8)


@torch.inference_mode()
def test_guidance_by_two_calls():
    """Each branch is guided on its own, so the expression is compared: the gesture's two halves see the same of it."""
    denoiser, (noisy, timesteps, mel, speech, speaker) = make("none"), inputs()
    arguments = (noisy, timesteps, mel, speech, speaker)
    with_all = denoiser(*arguments)
    with_none = denoiser(*arguments, unconditional=torch.ones(3, dtype=torch.bool))
    expected = with_none + 1.5 * (with_all - with_none)
    torch.testing.assert_close(denoiser(*arguments, guidance_scale=1.5), expected, rtol=1e-4, atol=1e-5)
    some = torch.tensor([True, False, False])
    mixed = denoiser(*arguments, unconditional=some)
    torch.testing.assert_close(mixed, torch.where(some[:, None, None], with_none, with_all))


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("scale", [1.0, 1.15])
@pytest.mark.parametrize("num_rows", [1, 3])
@torch.no_grad()
def test_buffered_equals_plain(flow, scale, num_rows):
    """Also when windows of one preparation are gone through in any order, and when two share no memory."""
    denoiser = make(flow).double()
    buffered = BufferedDiffSHEG(denoiser)
    noisy, _, mel, speech, speaker = inputs(num_rows, dtype=torch.float64)
    timesteps = torch.tensor([960, 40, 0])
    plain = denoiser.prepare(mel, speech, speaker, timesteps, guidance_scale=scale)
    fast = buffered.prepare(mel, speech, speaker, timesteps, guidance_scale=scale)
    other = buffered.prepare(-mel, speech, speaker, timesteps, guidance_scale=scale)
    for k in (0, 2, 1, 0):
        buffered.denoise(noisy + 1, other[k])
        noise = buffered.denoise(noisy, fast[k])
        buffered.denoise(noisy - 1, fast[k])  # a result is no view of what the next call writes
        torch.testing.assert_close(noise, denoiser.denoise(noisy, plain[k]))


@torch.no_grad()
def test_optimized_equals_plain():
    denoiser = make()
    noisy, timesteps, mel, speech, speaker = inputs(1, num_frames=34)
    given = (mel, speech, speaker, timesteps)
    fast = optimize_diffsheg(denoiser, guidance_scale=1.5)
    expected = denoiser.denoise(noisy, denoiser.prepare(*given, guidance_scale=1.5)[0])
    actual = fast.denoise(noisy, fast.prepare(*given, guidance_scale=1.5)[0])
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_without_condition_speech_does_not_matter():
    denoiser, (noisy, timesteps, mel, speech, speaker) = make(), inputs()
    nobody = torch.ones(3, dtype=torch.bool)
    one = denoiser(noisy, timesteps, mel, speech, speaker, unconditional=nobody)
    other = denoiser(noisy, timesteps, mel + 1, speech - 1, speaker, unconditional=nobody)
    torch.testing.assert_close(one, other)


def test_fusion_equals_its_formula_far_from_zero():
    fusion = MotionSpeechFusion(8, audio_dim=4, speech_dim=3, hidden_dim=16)
    nn.init.normal_(fusion.norm.weight)
    nn.init.normal_(fusion.norm.bias)
    motion, audio, speech = torch.randn(2, 5, 8), 100 + 300 * torch.rand(2, 5, 4), torch.randn(2, 5, 3)
    fused = fusion(motion, fusion.prepare(audio, speech), moments(torch.cat([audio, speech], -1)))
    plain = fusion.plain(torch.cat([motion, audio, speech], -1))
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)


def test_moments_merge():
    x = torch.randn(4, 11, dtype=torch.float64) + 3
    merged, whole = moments(x[:, :3]).merge(moments(x[:, 3:])), moments(x)
    torch.testing.assert_close(merged.mean, whole.mean)
    torch.testing.assert_close(merged.variance, whole.variance)
    assert merged.width == 11


def test_gradients_are_finite_and_reach_every_weight():
    denoiser = make().train()
    noise = denoiser(*inputs(num_rows=3), unconditional=torch.tensor([True, False, False]))
    noise.square().mean().backward()
    for name, parameter in denoiser.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_positions_repeat_and_end():
    denoiser = make()
    assert torch.equal(denoiser._positions(610)[600:], diffsheg_positions(16)[:10])
    with pytest.raises(ValueError, match="at most 1200 frames; got 1201"):
        denoiser._positions(1201)


def test_published_sizes():
    for config, count, entries in ((DiffSHEGConfig(), 155_416_560, 192), (DiffSHEGConfig.show(), 155_779_775, 232)):
        with torch.device("meta"):
            denoiser = DiffSHEGDenoiser(config)
        assert sum(parameter.numel() for parameter in denoiser.parameters()) == count
        assert config.motion_dim == entries


def test_what_is_refused():
    with pytest.raises(ValueError, match="Unknown flow 'both'; choose from expression_to_gesture"):
        dataclasses.replace(SMALL, flow="both")
    with pytest.raises(ValueError, match="`num_heads` must divide"):
        dataclasses.replace(SMALL, num_heads=3)
    with pytest.raises(ValueError, match="`num_layers` must lie in"):
        dataclasses.replace(SMALL, num_layers=0)
    with pytest.raises(ValueError, match="Guidance needs a model"):
        make(unconditional=False)(*inputs(), guidance_scale=2.0)
    noisy, timesteps, mel, speech, speaker = inputs()
    with pytest.raises(ValueError, match=r"`speech` must have shape \(3, 6, 7\); got \(3, 5, 7\)"):
        make()(noisy, timesteps, mel, speech[:, 1:], speaker)
