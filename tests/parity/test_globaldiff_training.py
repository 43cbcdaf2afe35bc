"""One training step of the denoiser and one of a masked VAE: terms, gradients, and the first step of Adam."""

from __future__ import annotations

import json
import re

import pytest
import torch

from cospeech.hub.convert.globaldiff import (
    DENOISER,
    denoiser_config,
    denoiser_from_published,
    speech_model_config,
    speech_model_from_published,
)
from cospeech.hub.convert.globaldiff_vae import masked_vae_from_published, masked_vae_table
from cospeech.nn import inverse_frequencies
from cospeech.rotations import axis_angle_to_rot6d
from cospeech.schedulers import flow_interpolate
from cospeech.skeleton import anchor_offsets, anchor_points
from cospeech.training import (
    DenoiserBatch,
    DenoiserObjective,
    StepDraws,
    VAEDraws,
    adam,
    denoiser_losses,
    hear_expressions,
    measure_motion,
    optimizer_step,
    vae_losses,
)
from cospeech.training.globaldiff import SIGMA_MIN

VALUE, GRADIENT = 1e-5, 1e-3  # relative


def states(case):
    """State and configuration of each module of the case."""
    found = {}
    for name, layout in json.loads(case.settings["modules"]).items():
        form, keep = case.layout(layout), {}
        for key, shape, _, status in form["keys"]:
            if status == "keep":
                counter = key.endswith("num_batches_tracked")
                keep[key] = torch.zeros((), dtype=torch.int64) if counter else inverse_frequencies(2 * shape[0])
        found[name] = case.published_state(layout, keep=keep), form["config"]
    return found


def motion_of(case):
    rotations = axis_angle_to_rot6d(case.inputs["global_axis_angle"].unflatten(-1, (-1, 3))).flatten(-2)
    return torch.cat([rotations, case.inputs["trans"]], dim=-1)


def speaker_of(case):
    """The speakers as the networks are told: nobody, for the whole batch, where the step's draw is below 0.1."""
    draw = re.search(r"draw of the step is ([\d.]+)", case.settings["random"])
    dropped = draw is not None and float(draw.group(1)) < 0.1
    return torch.zeros_like(case.inputs["pid"]) if dropped else case.inputs["pid"]


def frames_every(expected, num_frames):
    """The stored frames of a clip: every so many."""
    return slice(None, None, -(-num_frames // expected.shape[1]))


def assert_close(actual, expected, rtol, name):
    torch.testing.assert_close(
        actual, expected, rtol=rtol, atol=rtol * float(expected.abs().max()), msg=f"{name}: {actual}"
    )


def published_gradients(model, table):
    """Gradients under their published names, of those tensors that have one."""
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    full = {name: ours.get(name, tensor) for name, tensor in model.state_dict().items()}
    return table.to_published(full)


def assert_gradients(case, gradients):
    for key, expected in case.outputs.items():
        kind, _, name = key.partition(".")
        if kind == "grad_norm":
            assert_close(gradients[name].norm(), expected, GRADIENT, key)
        elif kind == "grad_head":
            # A tensor's first entries may be tiny beside the rest of it: what counts is the tensor's own scale.
            floor = GRADIENT * float(expected.abs().max())
            torch.testing.assert_close(gradients[name].flatten()[: len(expected)], expected, rtol=GRADIENT, atol=floor)


@pytest.mark.case("globaldiff_train_loss")
def test_denoiser_step(case):
    given, expected = case.inputs, case.outputs
    networks = states(case)
    state, named = networks["net"]
    config = denoiser_config(state, num_heads=named["heads"], num_seed_frames=named["n_seed"])
    denoiser = denoiser_from_published(state, config).train()
    state, named = networks["speech"]
    speech_model = speech_model_from_published(state, speech_model_config(state, num_heads=named["heads"]))
    encoders = [masked_vae_from_published(networks[name][0]) for name in ("vae2", "vae3")]
    objective = DenoiserObjective(encoders, num_seed_frames=config.num_seed_frames)

    motion, rest = motion_of(case), given["rest_joints"]
    speaker = speaker_of(case)
    expressions = hear_expressions(speech_model, given["hubert"], speaker)
    assert_close(
        expressions[:, frames_every(expected["expressions"], motion.shape[1])], expected["expressions"], VALUE, "e"
    )
    batch = DenoiserBatch(objective.target(motion, rest), given["hubert"], expressions, speaker, rest)
    losses = denoiser_losses(denoiser, objective, batch, StepDraws(given["noise"], given["t"], drops_speaker=False))

    weights = objective.weights
    ours = {
        "mse_loss": losses.mse,
        "geodesic_loss": losses.geodesic,
        "vertices_loss": losses.position / weights.position,
        "vel_loss": losses.velocity / weights.velocity,
        "acc_loss": losses.acceleration / weights.acceleration,
        "geometric_loss": losses.position + losses.velocity + losses.acceleration,
        "structure_loss": losses.structure,
        "latent_loss": losses.latent,
        "pred_seed_loss": losses.seed,
        "loss": losses.total,
    }
    assert {key for key in expected if key.endswith("loss")} == ours.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], rtol=VALUE, atol=0, msg=f"{name}: {value}, {expected[name]}")

    optimizer = adam(denoiser.parameters())
    before = DENOISER.to_published({name: tensor.clone() for name, tensor in denoiser.state_dict().items()})
    losses.total.backward()
    gradients = published_gradients(denoiser, DENOISER)
    assert_gradients(case, gradients)

    # The whole step anew, gradients clipped, since backward has spent the graph.
    losses = denoiser_losses(denoiser, objective, batch, StepDraws(given["noise"], given["t"], drops_speaker=False))
    optimizer_step(losses.total, optimizer)
    after = DENOISER.to_published(denoiser.state_dict())
    for key, step in expected.items():
        if key.startswith("step_head."):
            name = key.removeprefix("step_head.")
            change = (after[name] - before[name]).flatten()[: len(step)]
            gradient = gradients[name].flatten()[: len(step)].abs()
            sure = gradient > 1e-3 * gradients[name].abs().max()  # Adam's first step is the sign of the gradient
            torch.testing.assert_close(change[sure], step[sure], rtol=1e-2, atol=1e-6, msg=key)


@pytest.mark.case("globaldiff_train_loss")
def test_points_and_noisy_window(case):
    """What lies between: the noisy window, and the 385 points of the prediction as the published order has them."""
    given, expected = case.inputs, case.outputs
    motion = motion_of(case)
    noisy = flow_interpolate(motion, given["noise"], given["t"], sigma_min=SIGMA_MIN)
    assert_close(noisy[:, frames_every(expected["xt"], motion.shape[1])], expected["xt"], VALUE, "xt")

    state, named = states(case)["net"]
    config = denoiser_config(state, num_heads=named["heads"], num_seed_frames=named["n_seed"])
    denoiser = denoiser_from_published(state, config)
    state, named = states(case)["speech"]
    speech_model = speech_model_from_published(state, speech_model_config(state, num_heads=named["heads"]))
    with torch.no_grad():
        expressions = hear_expressions(speech_model, given["hubert"], speaker_of(case))
        seed = motion[:, : config.num_seed_frames]
        predicted = denoiser(noisy, given["t"], speaker_of(case), seed, given["hubert"], expressions)
    every = frames_every(expected["pred_x1"], motion.shape[1])
    assert_close(predicted[:, every], expected["pred_x1"], VALUE, "pred_x1")

    measured = measure_motion(predicted, given["rest_joints"])
    num_points = expected["points"].shape[2] // measured.joints.shape[2] - 1
    anchors = anchor_points(measured.joints, measured.rotations, anchor_offsets(num_points)).flatten(-3, -2)
    points = torch.cat([measured.joints, anchors], dim=-2)
    points = points + measured.translation[..., None, :]
    every = frames_every(expected["points"], motion.shape[1])
    assert_close(points[:, every], expected["points"], VALUE, "points")


@pytest.mark.case("globaldiff_vae_train_loss")
def test_vae_step(case):
    given, expected = case.inputs, case.outputs
    state, _ = states(case)["net"]
    vae = masked_vae_from_published(state).train()
    for module in vae.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    epoch = int(re.match(r"\d+", case.settings["epoch"]).group())
    probability = float(re.search(r"<\s*([\d.]+)", case.settings["mask"]).group(1))
    draws = VAEDraws(given["mask_uniform"] < probability, given["eps"])
    target = measure_motion(motion_of(case), given["rest_joints"])
    losses, output = vae_losses(vae, target, given["rest_joints"], draws, epoch=epoch)
    ours = {
        "rec_loss": losses.reconstruction,
        "KLD": losses.divergence,
        "vel_loss": losses.feature_velocity,
        "smooth_loss": losses.feature_acceleration,
        "G_vertices_loss": losses.position,
        "G_vel_loss": losses.velocity,
        "G_acc_loss": losses.acceleration,
        "geometric_loss": losses.position + losses.velocity + losses.acceleration,
        "loss": losses.total,
    }
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], rtol=VALUE, atol=0, msg=f"{name}: {value}, {expected[name]}")
    every = frames_every(expected["rec"], output.motion.shape[1])
    assert_close(output.motion[:, every], expected["rec"], VALUE, "rec")
    assert_close(output.latents.mean, expected["mu"], VALUE, "mu")

    losses.total.backward()
    table = masked_vae_table(vae.config)
    assert_gradients(case, published_gradients(vae, table))
    statistics = table.to_published(vae.state_dict())
    for name in ("running_mean", "running_var"):
        assert_close(statistics[f"E.resnets.0.bn1.{name}"], expected[name], VALUE, name)
