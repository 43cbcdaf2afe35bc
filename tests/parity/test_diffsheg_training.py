"""One training step, its gradients included, against the published program."""

from __future__ import annotations

import pytest
import torch

from cospeech.hub.convert.diffsheg import diffsheg_config, diffsheg_from_published, diffsheg_table, part_projections
from cospeech.models.diffsheg import diffsheg_positions
from cospeech.training.diffsheg import DiffSHEGBatch, DiffSHEGDraws, diffsheg_losses, null_rows


def denoiser_of(case):
    form = case.layout(case.settings["layout"])
    keep = {}
    for key, shape, _, status in form["keys"]:
        if status == "keep":
            keep[key] = torch.cat([diffsheg_positions(shape[2])] * 2)[None] if shape else torch.tensor(0)
    state = case.published_state(case.settings["layout"], keep=keep)
    named = form["config"]
    config = diffsheg_config(state, num_heads=named["num_heads"], num_timesteps=named["diffusion_steps"])
    return diffsheg_from_published(state, config).train(), named


def published_gradients(denoiser):
    gradients = {name: parameter.grad for name, parameter in denoiser.named_parameters()}
    table = diffsheg_table(denoiser.config)
    learned = type(table)([rule for rule in table.rules if not hasattr(rule, "value")])
    return part_projections(learned.to_published(gradients))


@pytest.mark.case("diffsheg_beat_train_loss", "diffsheg_show_train_loss")
def test_step(case):
    denoiser, named = denoiser_of(case)
    given = {key: value.float() if value.dtype == torch.float16 else value for key, value in case.inputs.items()}
    expected = case.outputs
    speaker = given["person_onehot"].argmax(-1)
    batch = DiffSHEGBatch(given["x_start"], given["mel"], given["hubert"], speaker, given.get("sem"))
    unconditional = null_rows(len(speaker), named["null_cond_prob"]) if named["classifier_free"] else None
    taken = []
    handle = denoiser.register_forward_hook(lambda module, args, output: taken.append(output))
    losses = diffsheg_losses(denoiser, batch, DiffSHEGDraws(given["noise"], given["t"]), unconditional=unconditional)
    handle.remove()
    published = expected["losses"]
    ours = torch.stack([losses.noise, 100 * losses.velocity, losses.clean, losses.total])
    torch.testing.assert_close(ours.detach(), published, rtol=1e-5, atol=0)
    error = (taken[0] - expected["pred_eps"]).abs().max() / expected["pred_eps"].std()
    assert error < 1e-5

    losses.total.backward()
    gradients = published_gradients(denoiser)
    groups = ("", "time_embed.", "encoder_aud.", "encoder_exp.", "encoder_ges.")
    norms = [
        torch.stack([g.norm() for key, g in gradients.items() if key.startswith(group)]).norm() for group in groups
    ]
    torch.testing.assert_close(torch.stack(norms), expected["grad_norms"], rtol=1e-3, atol=0)
    for name, value in expected.items():
        if name.startswith("grad."):
            key = name.removeprefix("grad.")
            gradient = gradients[key.removesuffix("_0")][0] if key.endswith("_0") else gradients[key]
            gradient = gradient[: len(value)]
            torch.testing.assert_close(gradient, value, rtol=0, atol=1e-3 * value.abs().max().item())
    norm = denoiser.branches["expression"].speech_encoder.norm
    torch.testing.assert_close(norm.running_mean, expected["bn_running_mean.encoder_exp"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, expected["bn_running_var.encoder_exp"], rtol=1e-4, atol=1e-5)
