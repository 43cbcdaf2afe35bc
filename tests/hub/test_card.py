"""Model cards, and models and pipelines pushed to a Hub and fetched again."""

from __future__ import annotations

import pytest
import torch

from cospeech.hub import Licence, MetricResult, ModelCard, Terms, find_published, terms_of
from cospeech.hub.card import CARD_FILE
from cospeech.pipelines import GlobalDiffPipeline

yaml = pytest.importorskip("yaml", reason="needs PyYAML")

TERMS = Terms(
    code=Licence.spdx("Apache-2.0", "LICENSE"),
    weights=Licence("ours: no resale", False, "card"),
    data=Licence.unstated(),
)
CARD = ModelCard(
    title='A "model": with | signs',
    task="speech to motion",
    inputs="speech, 16 kHz",
    outputs="SMPL-X axis-angles, translation, 100 expressions",
    rate_hz=30.0,
    skeleton="SMPL-X, 55 joints",
    training_data="a procedural corpus",
    terms=TERMS,
    metrics=[MetricResult("FGD", 5.25, "BEAT2 test of speaker 2, protocol evaltools")],
    citation="@misc{x, title={X}}",
    usage='load_pipeline("someone/model")("speech.wav")',
    limits="It knows no words.",
)
PUSH = """
import json, torch, cospeech
from cospeech.errors import CospeechError
from cospeech.hub import *
from cospeech.models import SpeechModel, SpeechModelConfig
card = ModelCard(title="M", task="speech to motion", inputs="speech", outputs="motion", rate_hz=30.0,
    skeleton="SMPL-X", training_data="none", terms=Terms(*[Licence.spdx("Apache-2.0")] * 3))
"""


def front_matter(text: str) -> dict[str, object]:
    _, fields, _ = text.split("---\n", 2)
    return yaml.safe_load(fields)


def test_front_matter_is_yaml_that_the_hub_reads() -> None:
    fields = front_matter(CARD.render())
    assert fields == {
        "library_name": "cospeech",
        "license": "other",
        "license_name": "ours: no resale",
        "tags": ["co-speech-motion"],
    }
    huggingface_hub = pytest.importorskip("huggingface_hub")
    assert huggingface_hub.ModelCard(CARD.render()).data.license == "other"


@pytest.mark.parametrize("name", ["Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-NC-4.0", "a: b", "- x", "#", "'", "1"])
def test_any_licence_makes_valid_yaml(name: str) -> None:
    terms = Terms(*[Licence.spdx(name)] * 3)
    card = ModelCard(title="x", task="t", inputs="i", outputs="o", training_data="d", terms=terms)
    fields = front_matter(card.render())
    assert fields["license"] in ("apache-2.0", "mit", "bsd-3-clause") or fields["license_name"] == name


def test_everything_is_said() -> None:
    text = CARD.render()
    for fact in (
        "| Frame rate | 30 Hz |",
        "| Skeleton | SMPL-X, 55 joints |",
        "| Training data | a procedural corpus |",
        "| FGD | 5.25 | BEAT2 test of speaker 2, protocol evaltools |",
        "| Weights | ours: no resale | no | card |",
        "| Training data | not stated | not stated |",
        "@misc{x, title={X}}",
        "It knows no words.",
        '# A "model": with | signs',
    ):
        assert fact in text
    assert (
        "None were measured"
        in ModelCard(title="x", task="t", inputs="i", outputs="o", training_data="d", terms=TERMS).render()
    )


def test_terms() -> None:
    assert TERMS.problems() == [
        "the terms of its weights (ours: no resale) [card] do not allow it",
        "the terms of its training data (not stated) do not say that they allow it",
    ]
    tiny, unknown = terms_of("cospeech-tiny"), terms_of("someone/else")
    assert tiny is not None
    assert tiny.problems() == []
    assert unknown is None
    assert find_published("haiyangliu0/emage_audio") is find_published("emage")


def test_a_pipeline_goes_to_the_hub_and_comes_back(hub, small_pipeline: GlobalDiffPipeline, tmp_path) -> None:
    small_pipeline.save_pretrained(tmp_path / "ours")
    code = (
        PUSH
        + f"""
pipeline = cospeech.load_pipeline({str(tmp_path / "ours")!r})
print(pipeline.push_to_hub("someone/pipeline", card=card, token="hf_writer"))
again = cospeech.load_pipeline("someone/pipeline", commercial=True)
speech = 0.3 * torch.randn(24000, generator=torch.Generator().manual_seed(0))
one, other = (each(speech, source_rate_hz=16000).local_axis_angle for each in (pipeline, again))
print("SAME", torch.equal(one, other))
try:
    pipeline.push_to_hub("someone/pipeline", card=card, token="hf_reader")
except CospeechError as error:
    print("ERROR", error)
"""
    )
    result = hub.run(code)
    assert result.returncode == 0, result.stderr
    assert "SAME True" in result.stdout
    assert "/someone/pipeline/commit/" in result.stdout
    assert "ERROR someone/pipeline could not be written on the Hub" in result.stdout
    files = hub.repositories["someone/pipeline"]
    assert {"model_index.json", CARD_FILE, "denoiser/config.json", "denoiser/model.safetensors"} <= files.keys()
    assert front_matter(files[CARD_FILE].decode())["license"] == "apache-2.0"


def test_a_block_goes_to_the_hub_and_comes_back(hub) -> None:
    code = (
        PUSH
        + """
model = SpeechModel(SpeechModelConfig(hidden_dim=16, num_layers=1, num_heads=2, speaker_dim=4))
push_to_hub(model, "someone/block", card=card, token="hf_writer")
again = load_model(SpeechModel, "someone/block")
print("SAME", all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in again.state_dict().items()))
"""
    )
    result = hub.run(code)
    assert result.returncode == 0, result.stderr
    assert "SAME True" in result.stdout


def test_a_stranger_without_terms_is_refused(hub, small_pipeline: GlobalDiffPipeline, tmp_path) -> None:
    small_pipeline.save_pretrained(tmp_path)
    from cospeech import load_pipeline
    from cospeech.errors import LicenceError

    with pytest.raises(LicenceError, match="cannot be used commercially: it says nothing about its licences"):
        load_pipeline(tmp_path, commercial=True)
    assert torch.is_tensor(load_pipeline(tmp_path).rest_poses)
