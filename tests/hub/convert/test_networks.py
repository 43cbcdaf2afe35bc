"""Every published network: from its file to our folder and back, bit for bit, at small sizes."""

from __future__ import annotations

import io
import re
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub import load_model, load_published
from cospeech.hub.convert.networks import (
    EXTRA_FILE,
    NETWORKS,
    from_published,
    load_network,
    save_converted,
    write_published,
)
from cospeech.models import (
    CamnConfig,
    CausalTAEConfig,
    DiffSHEGConfig,
    DiscoConfig,
    EmageConfig,
    EmageVQVAEConfig,
    GlobalDiffConfig,
    MotionStreamerConfig,
    SpeechModelConfig,
)
from cospeech.models.distilbert import DistilBertConfig
from cospeech.models.evaluators import SkeletonAutoencoderConfig
from cospeech.models.gesture_embedding import GestureAutoencoderConfig
from cospeech.models.masked_vae import MaskedVAEConfig
from cospeech.models.text_motion_evaluator import EvaluatorConfig, TextEvaluatorConfig

_RECURRENT = {"hidden_dim": 8, "num_layers": 2, "audio_dim": 8, "speaker_dim": 3, "num_speakers": 2}
_EVALUATOR = EvaluatorConfig(input_dim=272, dim=16, num_layers=2, num_heads=4, feedforward_dim=24)
CONFIGS = {
    "emage-transformer": EmageConfig(
        hidden_dim=16, feedforward_dim=24, motion_latent_dim=8, audio_dim=8, code_dim=6, num_codes=10
    ),
    "emage-vqvae": EmageVQVAEConfig(motion_dim=78, num_stages=2, latent_dim=8, num_codes=5),
    "emage-global": EmageVQVAEConfig(motion_dim=61, num_stages=4, latent_dim=8),
    "camn": CamnConfig(**_RECURRENT),
    "disco": DiscoConfig(**_RECURRENT),
    "globaldiff-denoiser": GlobalDiffConfig(hidden_dim=32, num_layers=1, num_heads=8, feature_dim=16, speaker_dim=8),
    "globaldiff-speech": SpeechModelConfig(hidden_dim=16, num_layers=1, num_heads=4, feature_dim=12),
    "globaldiff-vae": MaskedVAEConfig(
        hidden_dim=16, latent_dim=8, stage_blocks=(1, 2), num_layers=1, num_heads=8, feedforward_dim=16
    ),
    "diffsheg": DiffSHEGConfig(hidden_dim=16, num_layers=1, feedforward_dim=16, fusion_dim=16, condition_dim=16),
    "motionstreamer-tae": CausalTAEConfig(hidden_dim=16, latent_dim=8, num_residuals=2),
    "motionstreamer": MotionStreamerConfig(
        text_dim=12, latent_dim=8, dim=64, num_layers=2, num_heads=1, feedforward_dim=16, head_dim=16, head_layers=2
    ),
    "text-evaluator": TextEvaluatorConfig(
        bert=DistilBertConfig(vocabulary=9, max_tokens=8, dim=24, num_layers=1, num_heads=12, feedforward_dim=16),
        encoder=EvaluatorConfig(input_dim=24, dim=16, num_layers=1, num_heads=4, feedforward_dim=16),
    ),
    "motion-evaluator": _EVALUATOR,
    "evaluator-decoder": _EVALUATOR,
    "fgd-beat2": SkeletonAutoencoderConfig(),
    "diffsheg-fgd": GestureAutoencoderConfig(motion_dim=6, latent_dim=5),
}
BY_NAME = {network.name: network for network in NETWORKS}


@lru_cache
def published_bytes(name: str) -> bytes:
    """What the published program would have saved, with the values of a network drawn here."""
    network, buffer = BY_NAME[name], io.BytesIO()
    torch.manual_seed(0)
    model = network.model(CONFIGS[name])
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    state = network.published(model)
    torch.save({network.wrapper: state, "epoch": 3} if network.wrapper else state, buffer)
    return buffer.getvalue()


def published_file(name: str, folder: Path) -> Path:
    path = folder / f"{name}.pt"
    path.write_bytes(published_bytes(name))
    return path


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, tensor in other.items():
        assert one[key].dtype == tensor.dtype, key
        assert torch.equal(one[key], tensor), key


@pytest.mark.parametrize("name", BY_NAME)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    source = published_file(name, tmp_path)
    (converted,) = from_published(source)
    assert converted.network.name == name
    save_converted([converted], tmp_path / "ours")
    ours = load_model(converted.network.model, tmp_path / "ours")
    same(ours.state_dict(), converted.model.state_dict())
    write_published(tmp_path / "ours", tmp_path / "back.pt")
    same(load_published(tmp_path / "back.pt"), load_published(source))
    content, wrapper = torch.load(tmp_path / "back.pt", weights_only=True), converted.network.wrapper
    assert ([*content] == [wrapper]) if wrapper else all(isinstance(value, Tensor) for value in content.values())
    write_published(tmp_path / "ours", tmp_path / "back.safetensors")
    same(load_published(tmp_path / "back.safetensors"), load_published(source))


@pytest.mark.parametrize("name", BY_NAME)
def test_every_key_counts(name: str, tmp_path: Path) -> None:
    """A key less, a key more and another shape are each named."""
    source, network = published_file(name, tmp_path), BY_NAME[name]
    state = load_published(source)
    unused = from_published(source)[0].extra.keys() | {key for key in state if "_layer." in key or key.endswith(".pe")}
    key = next(key for key in reversed(state) if key not in unused and key != network.prefix + network.signature)
    plain = re.escape(key.removeprefix(network.prefix))
    for change, problem in (
        (lambda state: state.pop(key), rf"missing .*{plain}|{plain} is missing"),
        (lambda state: state.update({f"{network.prefix}surprise.weight": torch.zeros(2)}), r"unexpected .*surprise"),
        (lambda state: state.update({key: torch.zeros(3, 1, 2, 2)}), "misshapen|does not fit|must"),
    ):
        wrong = dict(state)
        change(wrong)
        torch.save(wrong, tmp_path / "wrong.pt")
        with pytest.raises((CheckpointError, ValueError), match=problem):
            from_published(tmp_path / "wrong.pt")


def test_the_evaluator_is_three_networks_in_a_file(tmp_path: Path) -> None:
    names = ("text-evaluator", "motion-evaluator", "evaluator-decoder")
    state = {}
    for name in names:
        state.update(load_published(published_file(name, tmp_path)))
    state["loss.temperature"] = torch.tensor(0.1)  # what the training program keeps besides
    state["motiondecoder.sequence_pos_encoding.pe"] = torch.randn(50, 1, 16)
    torch.save({"state_dict": state, "epoch": 99}, tmp_path / "epoch=99.ckpt")
    save_converted(from_published(tmp_path / "epoch=99.ckpt"), tmp_path / "ours")
    assert {path.parent.name for path in (tmp_path / "ours").rglob("config.json")} == {*names}
    write_published(tmp_path / "ours", tmp_path / "back.ckpt")
    same(load_published(tmp_path / "back.ckpt"), state)
    assert isinstance(load_network(tmp_path / "epoch=99.ckpt", network="motion-evaluator"), nn.Module)
    with pytest.raises(ValueError, match=r"Unknown network None in epoch=99.ckpt; choose from text-evaluator"):
        load_network(tmp_path / "epoch=99.ckpt")


def test_unused_layers_are_kept_aside(tmp_path: Path) -> None:
    source = published_file("emage-transformer", tmp_path)
    state = load_published(source)
    state["transformer_en_layer.norm1.weight"] += 1
    torch.save(state, source)
    save_converted(from_published(source), tmp_path / "ours")
    assert (tmp_path / "ours" / EXTRA_FILE).is_file()
    write_published(tmp_path / "ours", tmp_path / "back.bin")
    same(load_published(tmp_path / "back.bin"), state)


def test_an_unknown_file_is_refused(tmp_path: Path) -> None:
    torch.save({"some.weight": torch.zeros(2)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"none of the published networks; its first keys: some.weight"):
        from_published(tmp_path / "x.pt")


def test_a_model_that_was_never_published_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model": "Mine", "config": {}}')
    with pytest.raises(CheckpointError, match="holds no network that was published"):
        write_published(tmp_path, tmp_path / "x.pt")
