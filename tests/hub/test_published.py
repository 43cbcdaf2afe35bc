"""EMAGE's published repository, served by a Hub that stands on this machine."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import torch

from cospeech.errors import CheckpointError
from cospeech.hub import load_published, save_tensors
from cospeech.models import CamnConfig, CamnModel, DiscoConfig, DiscoModel
from cospeech.motion import Motion
from cospeech.pipelines import (
    EmagePipeline,
    UpperBodyPipeline,
    load_pipeline,
    load_published_emage,
    load_published_emage_codec,
)

NAME = "H-Liu1997/emage_audio"
LEGACY = {
    "face": "last_790_face_v2",
    "upper": "upper_vertex_1layer_710",
    "hands": "hands_vertex_1layer_710",
    "lower": "lower_foot_600",
    "global": "last_1700_foot",
}
GENERATE = """
import torch, cospeech.pipelines
from cospeech.errors import CheckpointError
for name, load in {asked!r}:
    load = cospeech.load_pipeline if load == "load_pipeline" else cospeech.pipelines.EmagePipeline.from_pretrained
    try:
        pipeline = load(name)
    except CheckpointError as error:
        print("RESULT", error)
        continue
    motion = pipeline(0.5 * torch.randn(20000, generator=torch.Generator().manual_seed(0)), source_rate_hz=16000)
    total = motion.expressions.double().sum() + motion.local_rotations().double().sum()
    print("RESULT", type(pipeline).__name__, motion.num_frames, float(total))
"""


@pytest.fixture(scope="module")
def published(small_emage: EmagePipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published layout, pickles and all, at a small size; the unused layers are no copies of used ones."""
    folder = tmp_path_factory.mktemp("published")
    small_emage.save_published(folder)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for key in state:
        if key.startswith(("transformer_en_layer.", "audio_motion_cross_attn_layer.")):
            state[key] += 1.0
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def speech() -> torch.Tensor:
    return 0.5 * torch.randn(20000, generator=torch.Generator().manual_seed(0))


def total_of(motion: Motion) -> float:
    return float(motion.expressions.double().sum() + motion.local_rotations().double().sum())


def test_layout(published: Path) -> None:
    parts = ["", *(f"emage_vq/{part}/" for part in ("face", "upper", "hands", "lower", "global"))]
    assert files_of(published).keys() == {
        part + name for part in parts for name in ("config.json", "pytorch_model.bin")
    }
    config = json.loads((published / "emage_vq/global/config.json").read_text())
    assert config["architectures"] == ["EmageVAEConv"]
    assert config["model_type"] == "emage_vaeconv"
    assert (config["vae_layer"], config["vae_test_dim"]) == (4, 61)
    text = (published / "config.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def test_from_the_hub(hub, published: Path, small_emage: EmagePipeline, tmp_path: Path) -> None:
    small_emage.save_published(tmp_path / "safe", safetensors=True)
    pickles, safe = files_of(published), files_of(tmp_path / "safe")
    lacking = {name: data for name, data in pickles.items() if name != "emage_vq/hands/pytorch_model.bin"}
    hub.repositories = {
        NAME: {**pickles, "README.md": b"# EMAGE", "log.txt": b"not needed"},
        "haiyangliu0/emage_audio": pickles,
        "someone/safe": {**safe, **{name: b"a trap" for name in pickles if name.endswith(".bin")}},
        "someone/lacking": lacking,
    }
    asked = [(name, "load_pipeline") for name in hub.repositories] + [(NAME, "from_pretrained")]
    result = hub.run(GENERATE.format(asked=asked))
    assert result.returncode == 0, result.stderr
    lines = [line.removeprefix("RESULT ") for line in result.stdout.splitlines() if line.startswith("RESULT")]
    assert re.match("The part 'hands' is missing: .* holds neither", lines.pop(3))
    motion = small_emage(speech(), source_rate_hz=16000)
    for line in lines:
        name, num_frames, total = line.split()
        assert (name, int(num_frames)) == ("EmagePipeline", motion.num_frames)
        assert float(total) == pytest.approx(total_of(motion), rel=1e-4)
    assert not any("log.txt" in request for request in hub.requests)
    # Where there is safetensors, no pickle is fetched.
    assert not any("someone/safe" in request and ".bin" in request for request in hub.requests)


@pytest.mark.parametrize("system", ["camn", "disco"])
def test_upper_body_networks_from_the_hub(hub, tmp_path: Path, system: str) -> None:
    sizes = {"hidden_dim": 12, "num_layers": 2, "audio_dim": 8, "speaker_dim": 3}
    model = CamnModel(CamnConfig(**sizes)) if system == "camn" else DiscoModel(DiscoConfig(**sizes))
    pipeline, name = UpperBodyPipeline(model), f"H-Liu1997/{system}_audio"
    pipeline.save_published(tmp_path / "pickle")
    pipeline.save_published(tmp_path / "safe", safetensors=True)
    hub.repositories = {name: files_of(tmp_path / "pickle"), "someone/safe": files_of(tmp_path / "safe")}
    result = hub.run(GENERATE.format(asked=[(name, "load_pipeline"), ("someone/safe", "load_pipeline")]))
    assert result.returncode == 0, result.stderr
    motion = pipeline(speech(), source_rate_hz=16000)
    lines = [line.split()[1:] for line in result.stdout.splitlines() if line.startswith("RESULT")]
    assert [line[:2] for line in lines] == [["UpperBodyPipeline", str(motion.num_frames)]] * 2, result.stdout
    for line in lines:
        assert float(line[2]) == pytest.approx(total_of(motion), rel=1e-4)


@pytest.mark.parametrize("safetensors", [False, True])
def test_read_and_written_back(published: Path, tmp_path: Path, safetensors: bool) -> None:
    pipeline = EmagePipeline.from_pretrained(published, keep_unused=True)
    pipeline.save_published(tmp_path, safetensors=safetensors)
    name = "model.safetensors" if safetensors else "pytorch_model.bin"
    for path in published.rglob("pytorch_model.bin"):
        before = load_published(path)
        after = load_published((tmp_path / path.relative_to(published)).with_name(name))
        assert before.keys() == after.keys()
        for key, tensor in before.items():
            assert torch.equal(after[key], tensor), key
    for path in published.rglob("config.json"):
        assert (tmp_path / path.relative_to(published)).read_bytes() == path.read_bytes()


def test_unused_layers_are_not_kept_unless_asked(published: Path, tmp_path: Path) -> None:
    EmagePipeline.from_pretrained(published).save_published(tmp_path)
    before, after = (load_published(folder / "pytorch_model.bin") for folder in (published, tmp_path))
    assert before.keys() == after.keys()
    other = {key for key in before if not torch.equal(before[key], after[key])}
    assert other
    assert all(key.startswith(("transformer_en_layer.", "audio_motion_cross_attn_layer.")) for key in other)


def test_legacy_motion_networks(published: Path, small_emage: EmagePipeline, tmp_path: Path) -> None:
    (tmp_path / "pretrained_vq").mkdir()
    for part, name in LEGACY.items():
        state = load_published(published / "emage_vq" / part / "pytorch_model.bin")
        wrapped = {"model_state": {f"module.{key}": value for key, value in state.items()}}
        torch.save(wrapped, tmp_path / "pretrained_vq" / f"{name}.bin")
    codec = load_published_emage_codec(tmp_path)
    for (key, ours), theirs in zip(codec.state_dict().items(), small_emage.codec.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key


def test_configuration_is_read(published: Path, tmp_path: Path) -> None:
    for name, data in files_of(published).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cf": 1, "cu": 0, "lh": 0, "ch": 0}))
    config = load_published_emage(tmp_path).transformer.config
    assert config.code_parts == ("face", "lower")
    assert config.latent_parts == ("upper",)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("emage_vq/upper/pytorch_model.bin", None, "The part 'upper' is missing: .* holds neither model.safetensors"),
        ("emage_vq/global/pytorch_model.bin", None, "The part 'global' is missing"),
        ("pytorch_model.bin", None, "holds neither model.safetensors nor pytorch_model.bin"),
        ("config.json", None, "config.json cannot be read"),
        ("pytorch_model.bin", ("mask_embedding", None), r"pytorch_model.bin: .* missing mask_embedding"),
        ("pytorch_model.bin", ("moton_proj.bias", 3), r"misshapen moton_proj.bias: \(3,\) instead of \(16,\)"),
        ("pytorch_model.bin", ("surprise", 3), "unexpected surprise"),
        (
            "emage_vq/face/pytorch_model.bin",
            ("decoder.main.0.model.0.bias", 5),
            r"emage_vq/face/pytorch_model.bin: .* misshapen decoder.main.0.model.0.bias",
        ),
        (
            "emage_vq/lower/pytorch_model.bin",
            ("encoder.main.0.weight", None),
            "lower.*encoder.main.0.weight is missing",
        ),
    ],
)
def test_what_is_wrong_is_named(published: Path, tmp_path: Path, name: str, change, message: str) -> None:
    for file, data in files_of(published).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(data)
    if change is None:
        (tmp_path / name).unlink()
    else:
        key, size = change
        state = torch.load(tmp_path / name, weights_only=True)
        state.pop(key, None)
        if size is not None:
            state[key] = torch.zeros(size)
        torch.save(state, tmp_path / name)
    with pytest.raises(CheckpointError, match=message):
        EmagePipeline.from_pretrained(tmp_path)


def test_a_pickle_that_runs_code_is_refused(published: Path, tmp_path: Path) -> None:
    for file, data in files_of(published).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(data)
    buffer = io.BytesIO()
    torch.save({"weights": Path}, buffer)
    (tmp_path / "pytorch_model.bin").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="cannot be read as plain weights"):
        EmagePipeline.from_pretrained(tmp_path)


def test_parts_of_other_sizes_are_refused(published: Path, tmp_path: Path) -> None:
    for file, data in files_of(published).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(data)
    hands = load_published(published / "emage_vq/hands/pytorch_model.bin")
    save_tensors(hands, tmp_path / "emage_vq/upper/model.safetensors")
    with pytest.raises(ValueError, match=re.escape("`upper` must be a network of 78 channels; got 180")):
        load_pipeline(tmp_path)
