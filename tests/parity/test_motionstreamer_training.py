"""The two-forward loss with its gradients, and learning rates, against the published program."""

import math

import pytest
import torch

from cospeech.hub.convert.motionstreamer import MOTIONSTREAMER, motionstreamer_config, motionstreamer_from_published
from cospeech.training import (
    TwoForwardDraws,
    replaced_fraction,
    streamer_learning_rate,
    tae_learning_rate,
    two_forward_loss,
)

_MODELS = {}  # filled and shared by the variants


def model_of(case):
    if case.salt not in _MODELS:
        layout = case.layout(case.settings.get("layout"))
        positions, named = layout["config"]["block_size"], layout["config"]
        scale = torch.tensor(math.log2(positions**2 - positions)).double()
        keep = {key: scale for key, *_ in layout["keys"] if key.endswith("attn.scale")}
        state = case.published_state(case.settings.get("layout"), keep=keep)
        config = motionstreamer_config(state, head_width=named["n_embd"] // named["n_head"])
        _MODELS[case.salt] = motionstreamer_from_published(state, config)
    return _MODELS[case.salt]


@pytest.mark.case("motionstreamer_two_forward_loss")
@pytest.mark.parametrize("variant", ["t2m", "stream"])
def test_two_forward_loss(case, variant):
    given, expected, model = case.inputs, case.outputs, model_of(case)
    fraction = replaced_fraction(int(case.settings["step"]), int(case.settings["total_steps"]))
    assert fraction == pytest.approx(float(case.settings["replaced_fraction"]))
    draws = TwoForwardDraws(
        given["t1"], given["noise1"], given["perm"], given[f"t2_{variant}"], given[f"noise2_{variant}"]
    )
    history = given["A_lengths"] if variant == "stream" else None
    model.zero_grad()
    result = two_forward_loss(
        model, given["text"], given["latents"], given["lengths"], draws, fraction=fraction, history=history
    )
    torch.testing.assert_close(result.loss, expected[f"loss_{variant}"], rtol=0, atol=1e-4)
    torch.testing.assert_close(result.latents, expected[f"updated_latents_{variant}"], rtol=0, atol=1e-3)
    result.loss.backward()
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    norm = torch.stack([grad.double().norm() for grad in ours.values()]).norm()
    torch.testing.assert_close(norm, expected[f"grad_norm_{variant}"], rtol=1e-4, atol=1e-4)
    published = MOTIONSTREAMER.to_published(ours)
    for name, grad in expected.items():
        if name.startswith(f"grad_{variant}."):
            key = name.removeprefix(f"grad_{variant}.")
            torch.testing.assert_close(published[key], grad, rtol=0, atol=1e-4, msg=key)


@pytest.mark.case("motionstreamer_lr_schedule")
def test_learning_rates(case):
    ours = [streamer_learning_rate(i, total=200) for i in range(201)]
    assert max(abs(a - b) for a, b in zip(ours, case.outputs["ar_lr"].tolist(), strict=True)) < 1e-12
    ours = [tae_learning_rate(i, warmup=10, milestone=80) for i in range(1, 110)]
    assert max(abs(a - b) for a, b in zip(ours, case.outputs["tae_lr"].tolist(), strict=True)) < 1e-12
