"""GlobalDiff's smoothing, one window, and two windows from features to the arrays of the npz file."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from cospeech.hub.convert.globaldiff import (
    denoiser_config,
    denoiser_from_published,
    speech_model_config,
    speech_model_from_published,
)
from cospeech.models import GlobalDiffDenoiser, SpeechModel
from cospeech.nn import inverse_frequencies
from cospeech.representations import GlobalRot6D, globaldiff_matrix_to_axis_angle
from cospeech.rotations import axis_angle_to_matrix
from cospeech.samplers import GlobalDiffSampler, count_published_windows, savgol_coefficients, smooth_savgol


def assert_within(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.case("globaldiff_smoothing")
def test_smoothing(case):
    x, window, expected = case.inputs["x"], case.inputs["window"], case.outputs
    assert_within(torch.tensor(savgol_coefficients(7, 2)), expected["coefficients"], 1e-6)
    assert_within(torch.tensor(savgol_coefficients(5, 3)), expected["coefficients_5_3"], 1e-6)
    assert_within(smooth_savgol(x), expected["y"], 1e-6)
    assert_within(smooth_savgol(x.mT, dim=-1), expected["y_bct"], 1e-6)
    assert_within(smooth_savgol(x, 5, 3), expected["y_5_3"], 1e-6)
    assert_within(GlobalDiffSampler().smooth(window), expected["window_smoothed"], 1e-6)


class Networks(NamedTuple):
    denoiser: GlobalDiffDenoiser
    speech_model: SpeechModel


class Inputs(NamedTuple):
    noise: Tensor
    features: Tensor


def networks_of(case):
    """Both networks, filled as the case says; sizes that no shape tells come from the layouts."""
    loaded = {}
    for name, layout in json.loads(case.settings["modules"]).items():
        form = case.layout(layout)
        keep = {key: inverse_frequencies(2 * shape[0]) for key, shape, _, _ in form["keys"] if key.endswith("inv_freq")}
        loaded[name] = case.published_state(layout, keep=keep), form["config"]
    state, named = loaded["net"]
    config = denoiser_config(state, num_heads=named["heads"], num_seed_frames=named["n_seed"])
    denoiser = denoiser_from_published(state, config)
    state, named = loaded["speech"]
    speech_model = speech_model_from_published(state, speech_model_config(state, num_heads=named["heads"]))
    return Networks(denoiser, speech_model)


def published_sampler(case, num_calls=10):
    return GlobalDiffSampler(overlap_frames=case.inputs["seed_poses"].shape[1], num_calls=num_calls, seams="flat")


def window_maker(sampler, networks, speaker, calls=None):
    """The published way to make one window: expressions first, then motion."""
    denoiser, speech_model = networks
    times = sampler.steps.clock

    def sample(inputs, seed):
        seed = seed[..., : denoiser.config.motion_dim]
        expressions = speech_model(inputs.features, speaker)
        conditioning = denoiser.prepare(inputs.features, expressions, speaker, seed, torch.tensor(times))

        def predict(noisy, time):
            clean = denoiser.denoise(noisy, conditioning, times.index(time))
            if calls is not None:
                calls.append((time, clean))
            return clean

        motion = sampler.sample_window(predict, inputs.noise, seed)
        return torch.cat([motion, expressions], dim=-1)

    return sample


@pytest.mark.case("globaldiff_sampler")
@torch.inference_mode()
def test_one_window(case):
    given, expected = case.inputs, case.outputs
    networks, calls = networks_of(case), []
    sampler = published_sampler(case, num_calls=len(expected["call_times"]))
    sample = window_maker(sampler, networks, given["pid"], calls)
    window = sample(Inputs(given["noise"], given["hubert"]), given["seed_poses"])
    motion, expressions = window.split([networks.denoiser.config.motion_dim, expected["expressions"].shape[-1]], -1)

    times, cleans = zip(*calls, strict=True)
    assert_within(torch.tensor(times), expected["call_times"], 1e-6)
    assert_within(torch.cat(cleans)[..., ::9], expected["call_pred_x1"], 5e-4)
    assert_within(expressions, expected["expressions"], 5e-4)
    assert_within(motion, expected["window"], 5e-4)


@pytest.mark.case("globaldiff_e2e_features")
@torch.inference_mode()
def test_features_to_arrays(case):
    given, expected = case.inputs, case.outputs
    networks, motion_dim = networks_of(case), given["seed_poses"].shape[-1]
    assert count_published_windows(int(case.settings["audio_samples"])) == len(given["noise"])

    sampler = published_sampler(case)
    windows = sampler.windows(window_maker(sampler, networks, given["pid"]))
    inputs = (Inputs(*pair) for pair in zip(given["noise"].split(1), given["hubert"].split(1), strict=True))
    frames = torch.cat(list(windows.run(inputs, given["seed_poses"])), dim=1)[0]
    assert_within(frames[:, :motion_dim:3], expected["global_rot6d_trans"], 1e-3)

    representation = GlobalRot6D(
        num_expressions=frames.shape[-1] - motion_dim, matrix_to_axis_angle=globaldiff_matrix_to_axis_angle
    )
    motion = representation.decode(frames)
    assert_within(motion.translation, expected["trans"], 1e-3)
    assert_within(motion.expressions, expected["expressions"], 1e-3)

    published, near_pi = expected["poses"].unflatten(-1, (-1, 3)), expected["near_pi"].bool()
    assert_within(motion.local_axis_angle[~near_pi], published[~near_pi], 2e-3)
    ours, theirs = axis_angle_to_matrix(motion.local_axis_angle), axis_angle_to_matrix(published)
    assert_within(ours[near_pi], theirs[near_pi], 2e-2)
