"""The denoiser, one block of it and the speech model against the published program."""

import pytest
import torch

from cospeech.hub.convert.globaldiff import (
    BLOCK,
    denoiser_config,
    denoiser_from_published,
    denoiser_to_published,
    speech_model_config,
    speech_model_from_published,
    speech_model_to_published,
)
from cospeech.models import SeededDiTBlock
from cospeech.nn import inverse_frequencies, sinusoidal_positions

INV_FREQ = "pos_enc.penc.inv_freq"


def published(case, layout=None):
    """The filled state, the layout's configuration with it."""
    form = case.layout(layout)
    keep = {key: inverse_frequencies(2 * shape[0]) for key, shape, _, _ in form["keys"] if key == INV_FREQ}
    return case.published_state(layout, keep=keep), form["config"]


def denoiser_of(case):
    state, config = published(case)
    config = denoiser_config(state, num_heads=config["heads"], num_seed_frames=config["n_seed"])
    return denoiser_from_published(state, config), state


@pytest.mark.case("globaldiff_dit")
@torch.inference_mode()
def test_denoiser(case):
    denoiser, _ = denoiser_of(case)
    given, expected = case.inputs, case.outputs
    taken = {}

    def keep(name, when="output"):
        return lambda module, args, output: taken.__setitem__(name, output if when == "output" else args[0])

    denoiser.audio_projection.register_forward_hook(keep("mid_hubert_prj"))
    denoiser.time_embedding.register_forward_hook(keep("mid_time_embed"))
    denoiser.speaker_embedding.register_forward_hook(keep("mid_style_embed"))
    for name in ("hand", "body"):
        blocks = getattr(denoiser, name).blocks
        blocks[0].register_forward_hook(keep(f"mid_{name}_fuse", when="input"))
        for i, block in enumerate(blocks):
            block.register_forward_hook(keep(f"mid_{name}_block{i}"))
    clean = denoiser(given["x"], given["t"], given["pid"], given["seed_poses"], given["hubert"], given["expressions"])

    num_frames, dim = given["x"].shape[1], denoiser.config.hidden_dim
    for name in ("mid_hand_fuse", "mid_body_fuse"):  # the published point lies before the positions
        taken[name] = taken[name] - sinusoidal_positions(num_frames, dim)
    taken["mid_time_embed"] = taken["mid_time_embed"][0]  # ours has a leading axis of times
    torch.testing.assert_close(clean, expected.pop("pred_x1"), rtol=0, atol=3e-5)
    for name, value in expected.items():
        torch.testing.assert_close(taken[name][..., : value.shape[-1]], value, rtol=0, atol=3e-5)


@pytest.mark.case("globaldiff_dit")
@torch.inference_mode()
def test_prepared_denoiser(case):
    """The order of work of the sampler: all times prepared at once, window by window."""
    denoiser, _ = denoiser_of(case)
    given = case.inputs
    conditioning = denoiser.prepare(
        given["hubert"], given["expressions"], given["pid"], given["seed_poses"], given["t"]
    )
    for i in range(len(given["t"])):
        clean = denoiser.denoise(given["x"], conditioning, i)
        torch.testing.assert_close(clean[i], case.outputs["pred_x1"][i], rtol=0, atol=3e-5)


@pytest.mark.case("globaldiff_dit_block")
@torch.inference_mode()
def test_block(case):
    state, config = published(case)
    block = SeededDiTBlock(
        config["hidden_size"],
        config["heads"],
        state["ff.0.weight"].shape[0],
        num_seed_frames=config["n_seed"],
    ).eval()
    block.load_state_dict(BLOCK.to_ours(state, {key: value.shape for key, value in block.state_dict().items()}))
    given = case.inputs
    y = block(given["x"], block.condition(given["seed_poses"], block.modulation(given["time_embed"])))
    torch.testing.assert_close(y, case.outputs["y"], rtol=0, atol=1e-5)


@pytest.mark.case("globaldiff_speech")
@torch.inference_mode()
def test_speech_model(case):
    state, config = published(case)
    model = speech_model_from_published(state, speech_model_config(state, num_heads=config["heads"]))
    expressions = model(case.inputs["hubert"], case.inputs["pid"])
    torch.testing.assert_close(expressions, case.outputs["expressions"], rtol=0, atol=1e-4)


@pytest.mark.case("globaldiff_dit")
def test_denoiser_keys_both_ways(case):
    denoiser, state = denoiser_of(case)
    assert_same_state(denoiser_to_published(denoiser), state)


@pytest.mark.case("globaldiff_speech")
def test_speech_model_keys_both_ways(case):
    state, config = published(case)
    model = speech_model_from_published(state, speech_model_config(state, num_heads=config["heads"]))
    assert_same_state(speech_model_to_published(model), state)


def assert_same_state(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, rtol=0, atol=0, msg=key)


@pytest.mark.case("globaldiff_dit", "globaldiff_speech")
def test_sizes_from_shapes(case):
    """Sizes read from the shapes agree with the layout's configuration, wherever it names them."""
    state, named = published(case)
    if named["cls"] == "denoiser":
        config = denoiser_config(state)
        assert (config.hidden_dim, config.num_layers) == (named["hidden_size"], named["num_layers"])
        assert (config.num_speakers, config.feedforward_dim) == (named["num_person"], named["ff"])
    else:
        config = speech_model_config(state)
        assert (config.hidden_dim, config.num_layers) == (named["feature_dim"], named["layers"])
        assert (config.feature_dim, config.speaker_dim) == (named["audio_dim"], named["style_dim"])
        assert (config.expression_dim, config.feedforward_dim) == (named["output_feat_dim"], named["ff"])
