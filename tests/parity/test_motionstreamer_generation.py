"""Transformer, diffusion head, sampling and generation against the published program, under its random numbers.

The model has 242 M weights and filling them takes longer than running them, so what cases share is filled once.
"""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from cospeech.hub.convert.motionstreamer import (
    causal_tae_from_published,
    diffusion_head_from_published,
    motionstreamer_config,
    motionstreamer_from_published,
    motionstreamer_to_published,
)
from cospeech.models import MotionStreamerGenerator, motionstreamer_steps, optimize_motionstreamer
from cospeech.nn import timestep_embedding
from cospeech.representations import FeatureStats, streamer_joints, streamer_smpl85
from cospeech.samplers import autoregress, denoise, guide_batched, is_end_latent
from cospeech.schedulers import NoiseSchedule, convert_prediction, cosine_betas

WHOLE = ("motionstreamer_transformer", "motionstreamer_generate_cfg")  # with a plain and with a calm head
_KEPT = {}  # states by all that they depend on
_FAST = {}


def close(ours, expected, atol=1e-4, **options):
    torch.testing.assert_close(ours, expected, rtol=0, atol=atol, **options)


def state_of(case):
    """The case's weights and configuration; where they are part of a whole model's, that is filled once for all."""
    own = case.layout(case.settings.get("layout", case.name))
    wholes = [name for name in WHOLE if all(entry in case.layout(name)["keys"] for entry in own["keys"])]
    layout = wholes[0] if wholes else case.settings.get("layout", case.name)
    given = {key: value.double().sum().item() for key, value in case.group("param").items()}
    how = json.dumps([layout, case.salt, given])
    if how not in _KEPT:
        positions = own["config"]["block_size"]
        scale = torch.tensor(math.log2(positions**2 - positions)).double()
        keep = {key: scale for key, *_ in case.layout(layout)["keys"] if key.endswith("attn.scale")}
        _KEPT[how] = case.published_state(layout, keep=keep)
    return {key: _KEPT[how][key] for key, *_ in own["keys"]}, own["config"]


def model_of(case):
    state, named = state_of(case)
    config = motionstreamer_config(state, head_width=named["n_embd"] // named["n_head"])
    return motionstreamer_from_published(state, config)


def fast_model_of(case):
    """As it is meant to be used, and several times faster to test; shared by the cases of one state."""
    state, named = state_of(case)
    how = str(sorted((key, value.data_ptr()) for key, value in state.items()))
    if how not in _FAST:
        config = motionstreamer_config(state, head_width=named["n_embd"] // named["n_head"])
        _FAST.clear()
        _FAST[how] = optimize_motionstreamer(motionstreamer_from_published(state, config))
    return _FAST[how]


def replay(initial, steps):
    """Noise in the order of the published loops: a start for each latent, then one for each step, of the first rows."""
    return iter([initial, *(noise[: len(initial)] for noise in steps)]).__next__


def generate(generator, state, given, num_latents):
    latents = []
    for k in range(num_latents):
        latent, state = generator.step(state, replay(given["init_noise"][k], given["step_noise"][k]))
        latents.append(latent)
    return torch.stack(latents, dim=1)


@pytest.mark.case("motionstreamer_diffusion_schedule")
def test_time_features(case):
    expected = case.outputs["timestep_embedding"]
    # Angles reach 49 rad, where neighbouring float32 numbers lie 3.8e-6 apart. The published frequencies are float32
    # exponentials, whose last place depends on the processor: MKL has an exponential for each.
    close(timestep_embedding(case.inputs["t"], expected.shape[1]), expected, 4e-6)


@pytest.mark.case("motionstreamer_diffusion_schedule")
@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="the stored numbers were made with MKL")
def test_time_features_with_the_exponential_of_the_stored_numbers(case):
    """With the exponential that MKL takes on processors of other makers, these are equal to the last place."""
    times, expected = case.inputs["t"].tolist(), case.outputs["timestep_embedding"]
    code = (
        "import torch; from cospeech.nn.timestep import timestep_embedding;"
        f"print(timestep_embedding(torch.tensor({times}), {expected.shape[1]}).tolist())"
    )
    environment = {**os.environ, "MKL_CBWR": "COMPATIBLE"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    close(torch.tensor(json.loads(run.stdout)), expected, 1e-6)


@pytest.mark.case("motionstreamer_transformer")
@torch.inference_mode()
def test_transformer(case):
    model, given, expected = model_of(case), case.inputs, case.outputs
    transformer = model.transformer
    close(transformer(given["text"], given["latents"]), expected["z"])
    long = transformer(given["text_long"], given["latents_long"])
    close(long[:, given["long_rows"]], expected["z_long"])
    close(transformer(given["text"][:1], given["latents"][:1, :0]), expected["z_text_only"])

    # With caches: text and some latents at once, the others one by one.
    num_rows = long.shape[1]
    condition, caches = transformer.begin(given["text_long"], given["latents_long"][:, :30])
    conditions = {30: condition}
    for k in range(30, num_rows - 1):
        conditions[k + 1], caches = transformer.step(given["latents_long"][:, k], caches)
    for row, z in zip(given["long_rows"].tolist(), expected["z_long"][0], strict=True):
        if row in conditions:
            close(conditions[row][0], z)


@pytest.mark.case("motionstreamer_transformer")
def test_keys_both_ways(case):
    state, named = state_of(case)
    config = motionstreamer_config(state, head_width=named["n_embd"] // named["n_head"])
    assert (config.max_positions, config.num_layers, config.dim) == (
        named["block_size"],
        named["n_layer"],
        named["n_embd"],
    )
    assert (config.text_dim, config.feedforward_dim) == (named["text_dim"], named["mlp_hidden"])
    assert (config.latent_dim, config.num_timesteps) == (named["latent_dim"], named["diffusion_steps"])
    assert (config.head_layers, config.head_dim) == (named["diffusion_head_layers"], named["diffusion_head_width"])
    again = motionstreamer_to_published(motionstreamer_from_published(state, config))
    assert again.keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(again[key], value, rtol=1e-7, atol=0, msg=key)


@pytest.mark.case("motionstreamer_diffusion_head")
@torch.inference_mode()
def test_diffusion_head(case):
    state, named = state_of(case)
    head, given, expected = diffusion_head_from_published(state), case.inputs, case.outputs
    close(head(given["x"], given["t"], given["z"]), expected["eps"])

    half = given["x"][: len(given["x"]) // 2]
    guided = guide_batched(
        lambda noisy, time: head(noisy, given["t_cfg"], given["z"]), float(case.settings["cfg_scale"])
    )(half, 0)
    close(guided, expected["eps_cfg4"][: len(half)])
    close(guided, expected["eps_cfg4"][len(half) :])  # both halves are alike

    # All steps prepared at once, as the sampler does it.
    conditioning = head.prepare(given["z"], head.embed_times(given["t"]))
    for i in range(len(given["t"])):
        close(head.denoise(given["x"], conditioning, i)[i], expected["eps"][i])

    schedule = NoiseSchedule(cosine_betas(named["diffusion_steps"]))
    noisy = schedule.add_noise(given["target"], given["noise_train"], given["t_train"])
    predicted = head(noisy, given["t_train"], given["z_train"])
    close((predicted - given["noise_train"]).square().mean(), expected["loss"])
    clean = torch.cat(
        [
            convert_prediction(
                predicted[i : i + 1], noisy[i : i + 1], schedule.mixture(t), source="noise", target="clean"
            )
            for i, t in enumerate(given["t_train"].tolist())
        ]
    )
    close(clean, expected["pred_xstart"])


@pytest.mark.case("motionstreamer_diffusion_sample")
@torch.inference_mode()
def test_diffusion_sample(case):
    state, named = state_of(case)
    head, given, expected = diffusion_head_from_published(state), case.inputs, case.outputs
    num_steps, scale = named["diffusion_steps"], float(case.settings["cfg_scale"])
    schedule, steps = NoiseSchedule(cosine_betas(num_steps)), motionstreamer_steps(num_timesteps=num_steps)
    conditioning = head.prepare(given["z"], head.embed_times(torch.tensor(steps.clock)))
    seen = []

    def predict(noisy, time):
        prediction = head.denoise(noisy, conditioning, steps.clock.index(time))
        seen.append(convert_prediction(prediction, noisy, schedule.mixture(time), source="noise", target="clean"))
        return prediction

    trajectory = []
    noises = iter(given["step_noise"])
    latents = denoise(
        predict, given["init_nocfg"], steps, draw=noises.__next__, callback=lambda step: trajectory.append(step.noisy)
    )
    close(latents, expected["nocfg"])
    close(torch.stack(trajectory), expected["nocfg_trajectory"])
    close(torch.stack(seen), expected["nocfg_pred_xstart"], 1e-2)

    for name, temperature in [("cfg4", 1.0), ("cfg4_temperature", float(case.settings["temperature"]))]:
        steps = motionstreamer_steps(num_timesteps=num_steps, temperature=temperature)
        noises = (noise[: len(given["init_cfg"])] for noise in given["step_noise"])
        close(denoise(guide_batched(predict, scale), given["init_cfg"], steps, draw=noises.__next__), expected[name])


@pytest.mark.case("motionstreamer_generate_nocfg")
def test_generate_without_guidance(case):
    given, expected = case.inputs, case.outputs
    model = fast_model_of(case)
    generator = MotionStreamerGenerator(model, guidance_scale=float(case.settings["cfg"]))
    num_latents = int(case.settings["length_frames"]) // 4
    assert num_latents == int(case.settings["latents"])
    state = generator.init_state(given["text"][None])
    close(generate(generator, state, given, num_latents), expected["latents"], 2e-4)


@pytest.mark.case("motionstreamer_generate_cfg")
def test_generate(case):
    given, expected = case.inputs, case.outputs
    steps = motionstreamer_steps(temperature=float(case.settings["temperature"]))
    generator = MotionStreamerGenerator(fast_model_of(case), steps=steps, guidance_scale=float(case.settings["cfg"]))
    state = generator.init_state(given["text"][None], empty_text=given["empty"])
    latents = generate(generator, state, given, int(case.settings["max_latents"]))
    close(latents, expected["latents"], 2e-4)

    # The stop rule: the first latent close to the end latent is left out, and what follows it.
    distance = (latents - given["end_latent"]).norm(dim=-1)[0]
    close(distance[: len(expected["distance"])], expected["distance"], 2e-4)
    published = (latents - given["published_end_latent"]).norm(dim=-1)[0]
    close(published, expected["distance_published"], 2e-4)
    drawn = iter(latents.unbind(1))
    stopped = autoregress(
        lambda _: next(drawn),
        lambda state, _: state,
        None,
        max_pieces=latents.shape[1],
        stop=lambda latent: bool(
            is_end_latent(latent, given["end_latent"][0], threshold=float(case.settings["threshold"]))
        ),
    )
    close(torch.stack(list(stopped), dim=1), expected["latents_stopped"], 2e-4)


@pytest.mark.case("motionstreamer_stream_generate")
def test_stream_generate(case):
    given, expected = case.inputs, case.outputs
    steps = motionstreamer_steps(temperature=float(case.settings["temperature"]))
    generator = MotionStreamerGenerator(fast_model_of(case), steps=steps, guidance_scale=float(case.settings["cfg"]))
    history = given["history"][None]
    state = generator.init_state(given["text"][None], empty_text=given["empty"], history=history)
    latents = generate(generator, state, given, int(case.settings["new_latents"]))
    close(latents, expected["latents"], 2e-4)

    # The same by a change of text: what has been drawn under another text becomes the history.
    other = generator.init_state(given["empty"][None], empty_text=given["empty"], history=history)
    state = generator.change_text(other, given["text"][None])
    first, _ = generator.step(state, replay(given["init_noise"][0], given["step_noise"][0]))
    close(first, expected["latents"][:, 0], 2e-4)


@pytest.mark.case("motionstreamer_e2e_decode")
@torch.inference_mode()
def test_decode_to_joints(case):
    given, expected = case.inputs, case.outputs
    tae = causal_tae_from_published(case.published_state("motionstreamer_tae_codec"))
    motion = tae.decode(given["latents"])
    close(motion, expected["motion"])
    features = FeatureStats(given["mean"], given["std"]).denormalize(motion[0])
    close(features, expected["denormalised"])
    close(streamer_joints(features), expected["positions"])
    close(streamer_smpl85(features), expected["smpl85"])
