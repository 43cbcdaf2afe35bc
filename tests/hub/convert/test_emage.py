import dataclasses
import json

import pytest
import torch

from cospeech.errors import CheckpointError
from cospeech.hub.convert.camn import (
    camn_config,
    camn_from_published,
    camn_to_published,
    disco_from_published,
    disco_to_published,
)
from cospeech.hub.convert.emage import (
    transformer_config,
    transformer_from_published,
    transformer_to_published,
    transformer_to_published_config,
)
from cospeech.hub.convert.emage_vqvae import (
    global_motion_from_published,
    global_motion_to_published,
    vqvae_config,
    vqvae_from_published,
    vqvae_to_published,
    vqvae_to_published_config,
)
from cospeech.models import (
    CamnConfig,
    CamnModel,
    DiscoConfig,
    DiscoModel,
    EmageConfig,
    EmageGlobalMotion,
    EmageTransformer,
    EmageVQVAE,
    EmageVQVAEConfig,
)

SMALL = EmageConfig(
    hidden_dim=16,
    feedforward_dim=24,
    motion_latent_dim=8,
    audio_dim=8,
    num_audio_layers=2,
    num_face_layers=3,
    code_dim=6,
    num_codes=10,
    num_speakers=2,
    window_frames=20,
    seed_frames=3,
)
VQVAE = EmageVQVAEConfig(motion_dim=78, num_stages=3, latent_dim=8, num_codes=5)


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    for key, value in other.items():
        assert torch.equal(one[key], value), key


def test_transformer_there_and_back():
    model = EmageTransformer(SMALL)
    state, config = transformer_to_published(model), transformer_to_published_config(SMALL)
    back, prototypes = transformer_from_published(state, config)
    assert back.config == SMALL
    assert_same_state(back.state_dict(), model.state_dict())
    assert_same_state(transformer_to_published(back, prototypes), state)
    assert all(key.startswith(("transformer_en_layer.", "audio_motion_cross_attn_layer.")) for key in prototypes)
    assert not back.training


def test_prototypes_of_a_file_are_written_back():
    state = transformer_to_published(EmageTransformer(SMALL))
    state["transformer_en_layer.norm1.weight"] = torch.full((16,), 7.0)
    model, prototypes = transformer_from_published(state, transformer_to_published_config(SMALL))
    assert_same_state(transformer_to_published(model, prototypes), state)


@pytest.mark.parametrize("without", ["prototypes", "config"])
def test_what_a_file_may_lack(without):
    state, config = transformer_to_published(EmageTransformer(EmageConfig(**SIZES))), {}
    if without == "prototypes":
        state = {key: value for key, value in state.items() if "_layer." not in key}
    assert transformer_from_published(state, config).model.config == EmageConfig(**SIZES)


SIZES = {key: getattr(SMALL, key) for key in ("hidden_dim", "feedforward_dim", "motion_latent_dim", "audio_dim")}


def test_weights_of_the_losses_decide_how_parts_are_decoded():
    state = transformer_to_published(EmageTransformer(SMALL))
    config = transformer_to_published_config(SMALL) | {"cf": 1, "cu": 0, "lu": 0, "ch": 0}
    config = transformer_config(state, config)
    assert (config.code_parts, config.latent_parts) == (("face", "lower"), ("hands",))


def test_vqvae_there_and_back():
    for network, read, write in (
        (EmageVQVAE(VQVAE), vqvae_from_published, vqvae_to_published),
        (EmageGlobalMotion(VQVAE), global_motion_from_published, global_motion_to_published),
    ):
        state = write(network)
        back = read(state)
        assert_same_state(back.state_dict(), network.state_dict())
        assert vqvae_config(state).num_stages == 3
        network.load_state_dict({key: value + 1 for key, value in network.state_dict().items()})
        assert not torch.equal(next(back.parameters()), next(network.parameters()))  # copied, not shared


def test_camn_and_disco_there_and_back():
    sizes = {"hidden_dim": 12, "num_layers": 3, "audio_dim": 8, "speaker_dim": 3, "num_speakers": 2}
    camn, disco = CamnModel(CamnConfig(**sizes)), DiscoModel(DiscoConfig(**sizes))
    assert camn_config(camn_to_published(camn)) == camn.config
    assert_same_state(camn_from_published(camn_to_published(camn)).state_dict(), camn.state_dict())
    back = disco_from_published(disco_to_published(disco))
    assert back.config == disco.config
    assert_same_state(back.state_dict(), disco.state_dict())


def test_config_files_are_as_long_as_the_published_ones():
    """Facts of the published repository: the sizes of its six ``config.json``."""
    lengths = {"transformer": len(as_json(transformer_to_published_config(EmageConfig())))}
    with torch.device("meta"):
        for part, motion_dim, num_stages in (("face", 106, 2), ("upper", 78, 2), ("hands", 180, 2), ("lower", 61, 4)):
            vqvae = EmageVQVAE(EmageVQVAEConfig(motion_dim=motion_dim, num_stages=num_stages))
            lengths[part] = len(as_json(vqvae_to_published_config(vqvae)))
        network = EmageGlobalMotion(EmageVQVAEConfig(motion_dim=61, num_stages=4))
        lengths["global"] = len(as_json(vqvae_to_published_config(network)))
    assert lengths == {"transformer": 710, "face": 558, "upper": 556, "hands": 558, "lower": 556, "global": 550}


def as_json(fields):
    return json.dumps(fields, indent=2) + "\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("moton_proj.bias"), r"missing moton_proj.bias"),
        (
            lambda state: state.pop("face_out_proj.weight"),
            r"not the published weights: face_out_proj.weight is missing",
        ),
        (lambda state: state.update(extra=torch.zeros(1)), r"unexpected extra"),
        (lambda state: state.update({"moton_proj.bias": torch.zeros(3)}), r"misshapen moton_proj.bias: \(3,\) instead"),
        (lambda state: state["position_embeddings.pe"].add_(0.1), r"position_embeddings.pe must hold sinusoidal"),
    ],
)
def test_weights_that_do_not_fit(change, message):
    state = transformer_to_published(EmageTransformer(SMALL))
    change(state)
    with pytest.raises(CheckpointError, match=message):
        transformer_from_published(state, transformer_to_published_config(SMALL))


def test_configuration_that_makes_no_sense():
    state = transformer_to_published(EmageTransformer(SMALL))
    with pytest.raises(CheckpointError, match="configuration does not fit: `seed_frames` must be from 1 to 3; got 4"):
        transformer_from_published(state, {"pose_length": 4, "seed_frames": 4})
    with pytest.raises(CheckpointError, match=r"encoder.main.0.weight is missing"):
        vqvae_from_published({})


def test_text_forms_have_no_published_keys():
    model = EmageTransformer(dataclasses.replace(SMALL, text_dim=5))
    with pytest.raises(CheckpointError, match="No published name for"):
        transformer_to_published(model)
