"""Tables of the published diffusion processes, float64.

`timestep_embedding` of the MotionStreamer case belongs to its network, which is not built yet.
"""

from __future__ import annotations

import math

import pytest
import torch

from cospeech.schedulers import (
    NoiseSchedule,
    cosine_betas,
    jump_walk,
    leading_spacing,
    linear_betas,
    section_spacing,
    strided_spacing,
)


def tables(schedule: NoiseSchedule) -> dict[str, list[float]]:
    """Our floats under the published names."""
    left, variances = schedule.alphas_cumprod, schedule.posterior_variances
    of_clean, of_noisy = zip(*schedule.posterior_mean_weights, strict=True)
    return {
        "betas": list(schedule.betas),
        "alphas_cumprod": list(left),
        "alphas_cumprod_prev": list(schedule.previous_alphas_cumprod),
        "posterior_variance": list(variances),
        # Published for taking a logarithm at level 0 too, whose variance is 0 and never used.
        "posterior_log_variance_clipped": [math.log(variance) for variance in (variances[1], *variances[1:])],
        "posterior_mean_coef1": list(of_clean),
        "posterior_mean_coef2": list(of_noisy),
        "sqrt_alphas_cumprod": [schedule.mixture(timestep).signal for timestep in schedule.timesteps],
        "sqrt_one_minus_alphas_cumprod": [schedule.mixture(timestep).sigma for timestep in schedule.timesteps],
        "sqrt_recip_alphas_cumprod": [math.sqrt(1 / abar) for abar in left],
        "sqrt_recipm1_alphas_cumprod": [math.sqrt(1 / abar - 1) for abar in left],
        "noise_weight": [math.sqrt(1 - abar) for abar in schedule.previous_alphas_cumprod],
    }


def assert_equal_tables(outputs: dict[str, torch.Tensor], schedule: NoiseSchedule, prefix: str = "", every: int = 1):
    ours, found = tables(schedule), 0
    for name, published in outputs.items():
        if name.startswith(prefix) and name.removeprefix(prefix) in ours:
            values = torch.tensor(ours[name.removeprefix(prefix)], dtype=torch.float64)
            values = values if len(values) == len(published) else values[::every]
            tolerance = 1e-12 if published.dtype == torch.float64 else 1e-6
            torch.testing.assert_close(values, published.double(), rtol=1e-12, atol=tolerance, msg=name)
            found += 1
    assert found >= 8


@pytest.mark.case("diffsheg_schedule")
def test_diffsheg_schedule(case):
    outputs = case.outputs
    full = NoiseSchedule(linear_betas(len(outputs["full.betas"])))
    assert_equal_tables(outputs, full, "full.", every=27)

    timesteps = outputs["ddim25.timestep_map"].tolist()
    assert list(strided_spacing(len(full.betas), len(timesteps))) == timesteps
    assert_equal_tables(outputs, full.respace(timesteps), "ddim25.")


@pytest.mark.case("diffsheg_schedule")
@pytest.mark.parametrize(
    ("name", "num_levels", "jump_length", "num_visits"),
    [
        ("len1_n1", 15, 1, 1),
        ("len3_n2", 15, 3, 2),
        ("len3_n5", 15, 3, 5),
        ("paper_250_10_10", 250, 10, 10),
        ("respacing50_len3_n2", 30, 3, 2),
    ],
)
def test_diffsheg_jumps(case, name, num_levels, jump_length, num_visits):
    walk = jump_walk(num_levels, jump_length=jump_length, num_visits=num_visits)
    assert list(walk) == case.outputs[f"jump.{name}"].tolist()


@pytest.mark.case("motionstreamer_diffusion_schedule")
def test_motionstreamer_schedule(case):
    outputs = case.outputs
    schedule = NoiseSchedule(cosine_betas(int(case.settings["steps"])))
    assert list(schedule.timesteps) == outputs["timestep_map"].tolist()
    assert_equal_tables(outputs, schedule)


@pytest.mark.case("motionstreamer_diffusion_schedule")
def test_motionstreamer_respacing(case):
    num_timesteps = int(case.settings["steps"])
    for name, timesteps in case.outputs.items():
        if name.startswith("respace_ddim"):
            count = int(name.removeprefix("respace_ddim"))
            assert list(strided_spacing(num_timesteps, count)) == timesteps.tolist()
            assert list(leading_spacing(num_timesteps, count)) == timesteps.tolist()
        elif name.startswith("respace_"):
            counts = [int(count) for count in name.removeprefix("respace_").split("_")]
            assert list(section_spacing(num_timesteps, counts)) == timesteps.tolist()
