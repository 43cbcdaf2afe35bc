"""``cospeech convert`` both ways, and ``cospeech models``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cospeech import load_pipeline
from cospeech.cli import main
from cospeech.hub import MODELS, load_published
from cospeech.hub.convert.networks import NETWORKS
from cospeech.models import CamnConfig, CausalTAEConfig, MotionStreamerConfig
from cospeech.pipelines import EmagePipeline, UpperBodyPipeline

TAE = CausalTAEConfig(hidden_dim=8, latent_dim=4)
STREAMER = MotionStreamerConfig(
    text_dim=6, latent_dim=4, dim=64, num_layers=1, num_heads=1, feedforward_dim=16, head_dim=16, head_layers=1
)


def write(name: str, config: object, path: Path) -> None:
    network = next(network for network in NETWORKS if network.name == name)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({network.wrapper: network.published(network.model(config))}, path)


def same(one: Path, other: Path) -> None:
    first, second = load_published(one), load_published(other)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key


@pytest.mark.parametrize("system", ["emage", "camn"])
def test_pipelines_there_and_back(system: str, small_emage: EmagePipeline, tmp_path: Path) -> None:
    published, ours, back = tmp_path / "published", tmp_path / "ours", tmp_path / "back"
    if system == "emage":
        small_emage.save_published(published)
        state = torch.load(published / "pytorch_model.bin", weights_only=True)
        state["transformer_en_layer.norm1.weight"] += 1  # a layer that nothing uses has values of its own
        torch.save(state, published / "pytorch_model.bin")
    else:
        sizes = {"hidden_dim": 8, "num_layers": 2, "audio_dim": 8, "speaker_dim": 3, "num_speakers": 2}
        network = next(network for network in NETWORKS if network.name == "camn")
        UpperBodyPipeline(network.model(CamnConfig(**sizes))).save_published(published)
    assert main(["convert", str(published), str(ours)]) == 0
    speech = 0.3 * torch.randn(16000, generator=torch.Generator().manual_seed(0))
    one, other = (load_pipeline(folder)(speech, source_rate_hz=16000) for folder in (published, ours))
    assert torch.equal(one.local_axis_angle, other.local_axis_angle)
    assert main(["convert", str(ours), str(back), "--to", "published"]) == 0
    for path in published.rglob("pytorch_model.bin"):
        same(path, back / path.relative_to(published))
    for path in published.rglob("config.json"):
        assert json.loads(path.read_text()) == json.loads((back / path.relative_to(published)).read_text())


def test_one_network_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("motionstreamer-tae", TAE, tmp_path / "net_last.pth")
    assert main(["convert", str(tmp_path / "net_last.pth"), str(tmp_path / "tae")]) == 0
    assert "motionstreamer-tae" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "tae"), str(tmp_path / "back.pth"), "--to", "published"]) == 0
    same(tmp_path / "net_last.pth", tmp_path / "back.pth")


def test_a_repository_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    files = {
        "Causal_TAE/net_last.pth": ("motionstreamer-tae", TAE),
        "Experiments/t2m_model/latest.pth": ("motionstreamer", STREAMER),
    }
    for file, (name, config) in files.items():
        write(name, config, source / file)
    torch.save({"losses": torch.zeros(3)}, source / "curve.pt")
    assert main(["convert", str(source), str(tmp_path / "ours")]) == 0
    assert "curve.pt: left out" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back"), "--to", "published"]) == 0
    for file in files:
        same(source / file, tmp_path / "back" / file)


def test_what_does_not_fit_is_listed_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("motionstreamer-tae", TAE, tmp_path / "x.pth")
    state = load_published(tmp_path / "x.pth")
    del state["tae.decode_proj.bias"]
    state["tae.encoder.proj.bias"] = torch.zeros(3)
    state["tae.surprise"] = torch.zeros(1)
    torch.save({"net": state}, tmp_path / "x.pth")
    assert main(["convert", str(tmp_path / "x.pth"), str(tmp_path / "ours")]) == 1
    message = capsys.readouterr().err
    for problem in ("missing tae.decode_proj.bias", "misshapen tae.encoder.proj.bias", "unexpected tae.surprise"):
        assert problem in message
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["convert", "nowhere", "x"], 2, "No model 'nowhere'"),
        (["convert", "cospeech-tiny", "x"], 1, "in our format already"),
        (["convert", "cospeech-tiny", "x", "--to", "published"], 1, "never published as a whole"),
        (["models", "emagee"], 2, "unknown model 'emagee'; choose from cospeech-tiny, emage"),
    ],
)
def test_errors(arguments, code, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_list_of_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*MODELS]
    assert any(line.startswith("emage ") and "613 MB" in line and "not for commerce" in line for line in lines)
    assert main(["models", "--commercial"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["cospeech-tiny"]


def test_all_that_is_known_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "emage", "diffsheg-beat"]) == 0
    out = capsys.readouterr().out
    for fact in ("haiyangliu0/emage_audio", "b04466b", "none known", "Apache-2.0", "Google Drive", "HuBERT"):
        assert fact in out
