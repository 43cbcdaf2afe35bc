"""GlobalDiff's key tables without the published cases: what a wrong file is told."""

import pytest
import torch

from cospeech.errors import CheckpointError
from cospeech.hub import load_published
from cospeech.hub.convert.globaldiff import (
    denoiser_config,
    denoiser_from_published,
    denoiser_to_published,
    speech_model_from_published,
    speech_model_to_published,
)
from cospeech.hub.convert.globaldiff_vae import masked_vae_from_published, masked_vae_to_published
from cospeech.models import (
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    MaskedVAE,
    MaskedVAEConfig,
    SpeechModel,
    SpeechModelConfig,
)

CONFIG = GlobalDiffConfig(
    hidden_dim=32, num_layers=2, num_heads=4, feedforward_dim=48, feature_dim=20, num_speakers=5, speaker_dim=8
)


@pytest.fixture
def state():
    return denoiser_to_published(GlobalDiffDenoiser(CONFIG))


def test_sizes_come_from_shapes(state):
    assert denoiser_config(state, num_heads=4) == CONFIG


def test_from_a_published_file(state, tmp_path):
    torch.save(state, tmp_path / "epoch_19.pt")
    denoiser = denoiser_from_published(load_published(tmp_path / "epoch_19.pt"), CONFIG)
    again = denoiser_to_published(denoiser)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], tensor) for key, tensor in state.items())


def test_speech_model_both_ways():
    model = SpeechModel(SpeechModelConfig(hidden_dim=16, num_layers=2, feature_dim=12))
    published = speech_model_to_published(model)
    again = speech_model_from_published(published)
    assert again.config == model.config
    assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in model.state_dict().items())


def test_published_layout_sizes():
    """249 and 81 entries, the frequency tables among them."""
    with torch.device("meta"):
        denoiser, speech = GlobalDiffDenoiser(GlobalDiffConfig()), SpeechModel(SpeechModelConfig())
    assert len(denoiser_to_published(denoiser)) == 249
    assert len(speech_model_to_published(speech)) == 81


def test_wrong_files_are_told_apart(state):
    with pytest.raises(CheckpointError, match=r"not the published weights: in_x_hand.weight is missing"):
        denoiser_from_published({"something": torch.zeros(1)})
    del state["transformer_body.1.attn.in_proj_bias"]
    with pytest.raises(CheckpointError, match=r"missing transformer_body.1.attn.in_proj_bias"):
        denoiser_from_published(state, CONFIG)


def test_other_frequencies_are_refused(state):
    state["pos_enc.penc.inv_freq"] = state["pos_enc.penc.inv_freq"] * 2
    with pytest.raises(CheckpointError, match=r"other values than expected in pos_enc.penc.inv_freq"):
        denoiser_from_published(state, CONFIG)


def test_masked_vae_both_ways_and_wrong_files():
    sizes = {"hidden_dim": 16, "latent_dim": 4, "num_layers": 1, "num_heads": 8, "feedforward_dim": 24}
    vae = MaskedVAE(MaskedVAEConfig(**sizes, stage_blocks=(2, 1)))
    state = masked_vae_to_published(vae)
    again = masked_vae_from_published(state)
    assert again.config == vae.config
    assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in vae.state_dict().items())
    with pytest.raises(CheckpointError, match=r"not the published weights: in_prj.weight is missing"):
        masked_vae_from_published({"something": torch.zeros(1)})
    renamed = {key.replace("E.resnets.0", "E.resnets.first"): tensor for key, tensor in state.items()}
    with pytest.raises(CheckpointError, match=r"E.resnets has no numbered blocks"):
        masked_vae_from_published(renamed)
