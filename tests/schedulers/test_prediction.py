from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.schedulers import (
    Mixture,
    NoiseSchedule,
    Weights,
    convert_prediction,
    flow_mixture,
    linear_betas,
    weigh,
)

KINDS = ("noise", "clean", "velocity")
PROCESS = NoiseSchedule(linear_betas(1000))


def parts(mixture: Mixture) -> dict[str, torch.Tensor]:
    """A clean sample, noise, and what follows from them: the definitions, written out."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 5, 7, dtype=torch.float64, generator=generator)
    return {
        "clean": clean,
        "noise": noise,
        "noisy": mixture.signal * clean + mixture.sigma * noise,
        "velocity": mixture.signal_rate * clean + mixture.sigma_rate * noise,
    }


mixtures = st.one_of(
    st.integers(0, 999).map(PROCESS.mixture),
    st.tuples(st.floats(0.01, 0.99), st.floats(0, 0.1)).map(lambda x: flow_mixture(x[0], sigma_min=x[1])),
)


@given(mixtures)
@settings(deadline=None, max_examples=50)
def test_each_from_each(mixture):
    known = parts(mixture)
    for source, target in itertools.product(KINDS, KINDS):
        found = convert_prediction(known[source], known["noisy"], mixture, source=source, target=target)
        # Dividing by what is nearly gone costs digits in any arithmetic.
        worst = 1 / min(mixture.signal, mixture.sigma)
        torch.testing.assert_close(found, known[target], rtol=0, atol=1e-14 * worst**2 + 1e-12)


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(KINDS, 2)))
def test_there_and_back(source, target):
    mixture, prediction, noisy = PROCESS.mixture(300), *torch.randn(2, 4, 3)
    there = convert_prediction(prediction, noisy, mixture, source=source, target=target)
    back = convert_prediction(there, noisy, mixture, source=target, target=source)
    torch.testing.assert_close(back, prediction, rtol=1e-5, atol=1e-5)


def test_diffusion_velocity_is_the_derivative_by_the_angle():
    mixture = PROCESS.mixture(300)
    angle = math.atan2(mixture.sigma, mixture.signal)
    known, step = parts(mixture), 1e-6
    beyond = math.cos(angle + step) * known["clean"] + math.sin(angle + step) * known["noise"]
    torch.testing.assert_close((beyond - known["noisy"]) / step, known["velocity"], rtol=0, atol=1e-5)


def test_noise_at_time_0_tells_nothing_about_the_clean_sample():
    with pytest.raises(ValueError, match="noise prediction at signal 0 and sigma 1 repeats the noisy sample"):
        flow_mixture(0.0).weights("noise", "clean")


def test_unknown_kind():
    with pytest.raises(ValueError, match="Unknown prediction 'epsilon'; choose from noise, clean, velocity"):
        flow_mixture(0.5).weights("epsilon", "clean")


@pytest.mark.parametrize("weights", [Weights(1.0, 0.3), Weights(0.0, 1.0), Weights(0.0, 0.4), Weights(0.7, -0.2)])
def test_weigh_leaves_its_arguments_alone(weights):
    noisy, prediction = torch.randn(2, 6, requires_grad=True).unbind()
    before = noisy.clone(), prediction.clone()
    result = weigh(noisy, prediction, weights)
    torch.testing.assert_close(result, noisy * weights.noisy + prediction * weights.prediction)
    assert torch.equal(noisy, before[0])
    assert torch.equal(prediction, before[1])
    result.sum().backward()


@pytest.mark.parametrize("weights", [Weights(1.0, 0.3), Weights(0.0, 1.0), Weights(0.0, 0.4), Weights(0.7, -0.2)])
def test_weigh_in_place(weights):
    noisy, prediction = torch.randn(2, 6).unbind()
    expected = weigh(noisy, prediction, weights)
    assert weigh(noisy, prediction, weights, out=noisy) is noisy
    assert torch.equal(noisy, expected)
