"""Checkpoints: what is saved is loaded, and what is damaged, foreign or hostile is refused with a list."""

from __future__ import annotations

import dataclasses
import json
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub import load_model, load_published, load_tensors, save_model, save_tensors
from cospeech.models import GlobalDiffConfig, GlobalDiffDenoiser


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    width: int = 3


class Network(nn.Module):
    """Everything a state dict may hold: weights, a counter, and a buffer that stays out of it."""

    table: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.width, 2)
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("table", torch.arange(config.width, device="cpu"), persistent=False)


class Other(Network):
    """The same form under another name."""

    def __init__(self, config: NetworkConfig):
        super().__init__(config)


@pytest.fixture
def saved(tmp_path):
    network = Network(NetworkConfig(width=5))
    network.steps += 7
    save_model(network, tmp_path / "model")
    return network, tmp_path / "model"


def test_there_and_back(saved):
    network, folder = saved
    before = torch.get_rng_state()
    loaded = load_model(Network, folder)
    assert torch.equal(torch.get_rng_state(), before), "loading drew random numbers"
    assert loaded.config == network.config
    assert not loaded.training
    assert loaded.linear.weight.requires_grad
    assert loaded.table.tolist() == [0, 1, 2, 3, 4]
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_globaldiff_there_and_back(tmp_path):
    config = GlobalDiffConfig(hidden_dim=32, num_layers=1, num_heads=2, feature_dim=16, speaker_dim=8)
    denoiser = GlobalDiffDenoiser(config).eval()
    save_model(denoiser, tmp_path)
    loaded = load_model(GlobalDiffDenoiser, tmp_path)
    assert loaded.config == config
    arguments = (
        torch.randn(1, 9, 333),
        torch.tensor([0.3]),
        torch.tensor([2]),
        torch.randn(1, 8, 333),
        torch.randn(1, 9, 16),
        torch.randn(1, 9, 100),
    )
    assert torch.equal(loaded(*arguments), denoiser(*arguments))


def test_half_precision_comes_back_in_full(saved, tmp_path):
    network, _ = saved
    save_model(network, tmp_path / "half", dtype=torch.float16)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert (stored["linear.weight"].dtype, stored["steps"].dtype) == (torch.float16, torch.int64)
    loaded = load_model(Network, tmp_path / "half")
    assert loaded.linear.weight.dtype == torch.float32
    assert torch.equal(loaded.linear.weight, network.linear.weight.half().float())
    assert loaded.steps == 7


def test_weights_do_not_follow_the_file(saved):
    network, folder = saved
    loaded = load_model(Network, folder)
    path = folder / "model.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded.linear.weight, network.linear.weight)


def test_saving_replaces_whole_files_and_leaves_nothing_beside(saved):
    _, folder = saved
    save_model(Network(NetworkConfig(width=2)), folder)
    assert load_model(Network, folder).config.width == 2
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_an_interrupted_save_leaves_the_old_model(saved, monkeypatch):
    network, folder = saved

    def full_disk(tensors, path, **_):
        path.write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cospeech.hub.tensors.save_file", full_disk)
    with pytest.raises(CheckpointError, match="cannot be written: No space left on device"):
        save_model(Network(NetworkConfig(width=2)), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(load_model(Network, folder).linear.weight, network.linear.weight)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file/model cannot be made: Not a directory"):
        save_model(Network(NetworkConfig()), tmp_path / "file" / "model")


def test_keys_at_fault_are_listed(saved):
    _, folder = saved
    save_file(
        {"linear.weight": torch.zeros(2, 4), "steps": torch.tensor(0), "extra": torch.zeros(1)},
        folder / "model.safetensors",
    )
    with pytest.raises(CheckpointError) as error:
        load_model(Network, folder)
    for problem in ("missing linear.bias", "unexpected extra", r"misshapen linear.weight: (2, 4) instead of (2, 5)"):
        assert problem in str(error.value)


def test_other_kind_of_number(saved):
    _, folder = saved
    state = load_file(folder / "model.safetensors")
    save_file(state | {"steps": torch.tensor(0.5)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="other kind of number in steps"):
        load_model(Network, folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -1], ids=["empty", "in the length", "in the header", "in the data"])
def test_truncated_weights(saved, keep):
    _, folder = saved
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model.safetensors cannot be read"):
        load_model(Network, folder)


def test_header_that_promises_too_much(saved):
    _, folder = saved
    (folder / "model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(Network, folder)


def test_another_model(saved):
    _, folder = saved
    with pytest.raises(CheckpointError, match="holds a Network, not a Other"):
        load_model(Other, folder)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({}, "must hold `model` and `config`"),
        ({"model": "Network", "config": []}, "must hold `model` and `config`"),
        ({"model": "Network", "config": {}, "code": "run me"}, "must hold `model` and `config`"),
        ({"model": "Network", "config": {"depth": 1}}, "Unknown fields in .*config.json: depth"),
        ({"model": "Network", "config": {"width": "5"}}, "width must be int"),
        ({"model": "Network", "config": {"width": 6}}, "misshapen linear.weight"),
    ],
)
def test_configurations_that_are_refused(saved, description, message):
    _, folder = saved
    (folder / "config.json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=message):
        load_model(Network, folder)


def test_huge_sizes_allocate_nothing(tmp_path):
    config = {"hidden_dim": 60_000, "num_layers": 10**9, "num_heads": 8}
    (tmp_path / "config.json").write_text(json.dumps({"model": "GlobalDiffDenoiser", "config": config}))
    with pytest.raises(CheckpointError, match=r"`num_layers` must lie in 1..256"):
        load_model(GlobalDiffDenoiser, tmp_path)
    config["num_layers"] = 2
    (tmp_path / "config.json").write_text(json.dumps({"model": "GlobalDiffDenoiser", "config": config}))
    save_tensors({"nothing": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing hand.part_in.weight"):
        load_model(GlobalDiffDenoiser, tmp_path)


def test_missing_files(saved, tmp_path):
    _, folder = saved
    with pytest.raises(CheckpointError, match=r"config.json cannot be read"):
        load_model(Network, tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors cannot be read"):
        load_model(Network, folder)


def test_a_model_without_config_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match="The constructor of Linear must take a dataclass as `config`"):
        save_model(nn.Linear(2, 2), tmp_path)


def test_tensors_there_and_back(tmp_path):
    tensors = {"rest_poses": torch.randn(4, 8, 333), "steps": torch.tensor(3)}
    save_tensors(tensors, tmp_path / "new" / "tensors.safetensors")
    loaded = load_tensors(tmp_path / "new" / "tensors.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in tensors.items())


STATE = {"a.weight": torch.arange(4.0), "b.steps": torch.tensor(3)}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model_state": STATE},
        {"model_state": {f"module.{key}": value for key, value in STATE.items()}, "epoch": 3, "lr": 0.1},
        {"net": STATE, "optimizer": {"state": {}}},
        {f"module.{key}": value for key, value in STATE.items()},
    ],
    ids=["bare", "model_state", "both", "net", "module prefix"],
)
@pytest.mark.parametrize("form", ["new", "legacy", "zipped"])
def test_published_forms(content, form, tmp_path):
    path = tmp_path / "best.pt"
    torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    if form == "zipped":
        with zipfile.ZipFile(tmp_path / "best.zip", "w") as archive:
            archive.write(path, "ckpt/best.pt")
        path = tmp_path / "best.zip"
    state = load_published(path)
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[key], value) for key, value in STATE.items())


def test_published_safetensors(tmp_path):
    save_file({f"module.{key}": value for key, value in STATE.items()}, tmp_path / "x.safetensors")
    assert load_published(tmp_path / "x.safetensors").keys() == STATE.keys()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_does_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"a": Hostile()}, tmp_path / "hostile.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("hostile.pt", "plain.pt"):
        with pytest.raises(CheckpointError, match="cannot be read as plain weights"):
            load_published(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
def test_published_files_that_are_none(content, tmp_path):
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as plain weights"):
        load_published(tmp_path / "best.pt")


def test_published_file_without_state(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="holds no state dict, neither bare nor under model_state"):
        load_published(tmp_path / "best.pt")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.txt", "")
        archive.writestr("b.txt", "")
    with pytest.raises(CheckpointError, match="must hold one checkpoint of at most 4 GB; got 2 files"):
        load_published(tmp_path / "two.zip")


def test_shards_there_and_back(saved, tmp_path):
    network, _ = saved
    save_model(network, tmp_path / "sharded", max_shard_bytes=48)
    files = {path.name for path in (tmp_path / "sharded").iterdir()}
    assert files == {
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    }
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * (2 * 5 + 2) + 8
    for name in set(index["weight_map"].values()):
        assert load_file(tmp_path / "sharded" / name).keys() == {k for k, v in index["weight_map"].items() if v == name}
    loaded = load_model(Network, tmp_path / "sharded")
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    # Whole again, or in other shards: nothing of the old form stays.
    save_model(network, tmp_path / "sharded", max_shard_bytes=1)
    assert len(list((tmp_path / "sharded").iterdir())) == 5
    save_model(network, tmp_path / "sharded")
    assert {path.name for path in (tmp_path / "sharded").iterdir()} >= {"config.json", "model.safetensors"}
    assert load_model(Network, tmp_path / "sharded").config == network.config


def test_shards_of_the_ecosystem_are_read(tmp_path):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    state = {f"layer.{i}.weight": torch.randn(50, 4) for i in range(5)}
    huggingface_hub.save_torch_state_dict(state, tmp_path, max_shard_size=2000)
    assert (tmp_path / "model.safetensors.index.json").is_file()
    loaded = load_tensors(tmp_path / "model.safetensors")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


def test_a_newer_format_is_refused(saved):
    _, folder = saved
    description = json.loads((folder / "config.json").read_text())
    assert description["format_version"] == 1
    (folder / "config.json").write_text(json.dumps({**description, "format_version": 2}))
    with pytest.raises(CheckpointError, match=r"has format version 2; this cospeech reads 1"):
        load_model(Network, folder)


def test_a_model_from_the_hubs_cache_can_be_trained(saved, tmp_path):
    """Its weights are mapped; what is written to goes to pages of our own, never to the file."""
    network, folder = saved
    repository = tmp_path / "models--someone--model"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots" / "abc").mkdir(parents=True)
    for path in list(folder.iterdir()):
        path.rename(repository / "blobs" / path.name)
        (repository / "snapshots" / "abc" / path.name).symlink_to(f"../../blobs/{path.name}")
    before = (repository / "blobs" / "model.safetensors").read_bytes()
    loaded = load_model(Network, repository / "snapshots" / "abc")
    assert torch.equal(loaded.linear.weight, network.linear.weight)
    loaded.linear(torch.ones(5)).sum().backward()
    with torch.no_grad():
        loaded.linear.weight -= loaded.linear.weight.grad
    assert not torch.equal(loaded.linear.weight, network.linear.weight)
    assert (repository / "blobs" / "model.safetensors").read_bytes() == before
