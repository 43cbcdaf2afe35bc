"""Files that mean harm, real ones: none runs, none leads out of its folder, none takes memory that it does not fill."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import resource
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cospeech.errors import CheckpointError
from cospeech.hub import load_model, load_published, load_tensors, read_json, save_model, save_tensors
from cospeech.hub.arrays import load_array
from cospeech.models import SpeechModel, SpeechModelConfig
from cospeech.pipelines import GlobalDiffPipeline, load_pipeline

CONFIG = SpeechModelConfig(hidden_dim=16, num_layers=1, num_heads=2, feature_dim=8, num_speakers=2, speaker_dim=4)


class Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (exec, (f"open({str(self.mark)!r}, 'w')",))


def peak_megabytes() -> float:
    """The most address space or memory that this process has ever held; virtual memory counts too."""
    status = Path("/proc/self/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) / 1024


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(SpeechModel(CONFIG), tmp_path / "model")
    return tmp_path / "model"


# Pickles that run code


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".tar", ".ckpt", ".pth"])
@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle", "inside a state dict", "zipped again"])
def test_no_pickle_runs(suffix: str, form: str, tmp_path: Path) -> None:
    path, evil = tmp_path / f"weights{suffix}", Hostile(tmp_path / "ran")
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(evil))
    elif form == "inside a state dict":
        torch.save({"encoder": {"weight": torch.zeros(2)}, "optimizer": evil}, path)
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form != "legacy")
    if form == "zipped again":
        data = path.read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("best.pt", data)
    with pytest.raises(CheckpointError, match="cannot be read as plain weights"):
        load_published(path)
    assert not (tmp_path / "ran").exists()


def test_no_pickle_in_numbers_runs(tmp_path: Path) -> None:
    array = np.array([Hostile(tmp_path / "ran")], dtype=object)
    np.save(tmp_path / "mean.npy", array, allow_pickle=True)
    with pytest.raises(CheckpointError, match="pickled objects, which may run code"):
        load_array(tmp_path / "mean.npy")
    assert not (tmp_path / "ran").exists()


def test_a_tar_archive_is_not_unpacked(tmp_path: Path) -> None:
    """The oldest form of torch's files is a tar archive, which torch unpacks, links and all."""
    path = tmp_path / "fgd_best.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
    with pytest.raises(CheckpointError, match="it is a tar archive"):
        load_published(path)


# Declared sizes


def claim(shape: tuple[int, ...], stride: tuple[int, ...], numel: int, *, compressed: bool = False) -> bytes:
    """A checkpoint of ``torch.save``'s form whose one tensor claims what it likes; its storage has 16 bytes."""

    storage = object()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if obj is storage else None

    class Claimed:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (storage, 0, shape, stride, False, {})

    pickled, whole = io.BytesIO(), io.BytesIO()
    Pickler(pickled, 2).dump({"weight": Claimed()})
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(whole, "w", kind) as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(1 << 24) if compressed else bytes(16))
    return whole.getvalue()


@pytest.mark.parametrize(
    ("shape", "stride", "numel"),
    [
        ((10**12,), (1,), 10**12),  # a storage of 4 TB
        ((10**12,), (1,), 4),  # a tensor beyond its storage
        ((10**12,), (0,), 4),  # one number, repeated: nothing is wrong until it is copied
        ((1000,), (1,), 1000),  # more than the record, less than a page: the neighbour's memory
        ((4,), (1 << 40,), 4),
        ((2,) * 60, (0,) * 60, 4),
        ((-1,), (1,), 4),
    ],
)
def test_claims_of_a_pickle_allocate_nothing(shape, stride, numel, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(claim(shape, stride, numel))
    before = peak_megabytes()
    with pytest.raises(CheckpointError):
        load_published(tmp_path / "x.pt")
    assert peak_megabytes() < before + 64


def test_an_honest_claim_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(claim((2, 2), (1, 2), 4))
    assert load_published(tmp_path / "x.pt")["weight"].tolist() == [[0, 0], [0, 0]]


def test_a_compressed_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(claim((1 << 22,), (1,), 1 << 22, compressed=True))
    with pytest.raises(CheckpointError, match="its records are compressed"):
        load_published(tmp_path / "x.pt")


def test_claims_of_a_legacy_pickle_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"weight": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    honest = path.read_bytes()
    for numel in (1 << 30, (1 << 31) - 1):
        number = struct.pack("<i", numel)
        path.write_bytes(honest.replace(b"M\xe8\x03", b"J" + number))
        before = peak_megabytes()
        with pytest.raises(CheckpointError):
            load_published(path)
        assert peak_megabytes() < before + 64


def header_file(path: Path, header: dict[str, object], data: bytes = b"") -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]},
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        {"dtype": "F32", "shape": [4], "data_offsets": [1 << 50, (1 << 50) + 16]},
        {"dtype": "F1024", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": "4", "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4]},
        [],
    ],
)
def test_claims_of_safetensors_allocate_nothing(entry, tmp_path: Path) -> None:
    header_file(tmp_path / "x.safetensors", {"weight": entry}, bytes(16))
    before = peak_megabytes()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tensors(tmp_path / "x.safetensors")
    assert peak_megabytes() < before + 64


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_header_longer_than_its_file(length: int, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tensors(tmp_path / "x.safetensors")


def test_a_number_file_that_claims_terabytes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    (tmp_path / "mean.npy").write_bytes(buffer.getvalue() + bytes(64))
    with pytest.raises(CheckpointError, match="takes 8796093022208 bytes, and it has 64"):
        load_array(tmp_path / "mean.npy")
    for content in (b"", b"\x93NUMPY\x01\x00\xff\xff", b"\x93NUMPY\x09\x00\x10\x00{}", os.urandom(100)):
        (tmp_path / "mean.npy").write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read as numbers"):
            load_array(tmp_path / "mean.npy")


# Archives


def test_a_zip_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "best.zip", "w") as archive:
        archive.writestr("../../escaped.pt", (tmp_path / "x.pt").read_bytes())
    assert load_published(tmp_path / "best.zip")["weight"].tolist() == [1, 1, 1]
    assert not list(tmp_path.parent.rglob("escaped.pt"))
    assert not list(tmp_path.parent.parent.glob("escaped.pt"))


def test_a_zip_bomb_is_not_set_off(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "best.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("best.pt", bytes(100 << 20))
    before = peak_megabytes()
    with pytest.raises(CheckpointError, match="must hold one checkpoint of at most 4 GB; got 1 files of 104857600"):
        load_published(tmp_path / "best.zip")
    assert peak_megabytes() < before + 64


def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    path = tmp_path / "best.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("best.pt", bytes(50 << 20))
    lie = path.read_bytes().replace(struct.pack("<I", 50 << 20), struct.pack("<I", 1000))
    path.write_bytes(lie)
    with pytest.raises(CheckpointError, match="cannot be read as plain weights"):
        load_published(path)


def test_records_that_overlap(tmp_path: Path) -> None:
    """Many names for one record, each of which would be read for itself."""
    torch.save({"weight": torch.zeros(1 << 16)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "a") as archive:
        first = next(info for info in archive.infolist() if info.filename.endswith("data/0"))
        for i in range(1, 50):
            info = zipfile.ZipInfo(first.filename[:-1] + str(i))
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(info, name, getattr(first, name))
            archive.filelist.append(info)
        archive._didModify = True
    with pytest.raises(CheckpointError, match="its records overlap"):
        load_published(tmp_path / "x.pt")


# Damage


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_cut_off_weights(model: Path, share: float) -> None:
    path = model / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(SpeechModel, model)


def test_flipped_bits_are_found_or_harm_nothing(model: Path) -> None:
    """In the header each is found, or changes no name, shape or place; among the numbers one is just another number."""
    path, chance = model / "model.safetensors", random.Random(0)
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    shapes = {key: tensor.shape for key, tensor in load_model(SpeechModel, model).state_dict().items()}
    refused = 0
    for _ in range(150):
        bit = chance.randrange(8 * header)
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            state = load_model(SpeechModel, model).state_dict()
        except CheckpointError:
            refused += 1
        else:
            assert {key: tensor.shape for key, tensor in state.items()} == shapes
    assert refused > 100
    flipped = bytearray(data)
    flipped[-1] ^= 0x40
    path.write_bytes(flipped)
    assert {key: tensor.shape for key, tensor in load_model(SpeechModel, model).state_dict().items()} == shapes


def test_flipped_bits_in_a_pickle(tmp_path: Path) -> None:
    path, chance = tmp_path / "x.pt", random.Random(1)
    torch.save({"net": {"weight": torch.arange(8.0), "bias": torch.zeros(2)}}, path)
    data = path.read_bytes()
    for _ in range(200):
        flipped = bytearray(data)
        bit = chance.randrange(8 * len(data))
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            state = load_published(path)
        except CheckpointError:
            continue
        assert sum(tensor.numel() for tensor in state.values()) <= len(data)


# Links and indices


def test_a_link_out_of_the_folder(model: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.safetensors"
    (model / "model.safetensors").rename(outside)
    (model / "model.safetensors").symlink_to(outside)
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        load_model(SpeechModel, model)
    (model / "model.safetensors").unlink()
    outside.rename(model / "model.safetensors")
    (model / "config.json").rename(tmp_path / "secret.json")
    (model / "config.json").symlink_to("../secret.json")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        load_model(SpeechModel, model)


def test_links_out_of_a_pipeline(small_pipeline: GlobalDiffPipeline, tmp_path: Path) -> None:
    small_pipeline.save_pretrained(tmp_path / "pipeline")
    index = tmp_path / "pipeline" / "model_index.json"
    index.rename(tmp_path / "index.json")
    index.symlink_to(tmp_path / "index.json")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        load_pipeline(tmp_path / "pipeline")


def test_links_of_the_hub_cache_are_followed(model: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--model"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots" / "abc").mkdir(parents=True)
    for path in list(model.iterdir()):
        path.rename(repository / "blobs" / path.name)
        (repository / "snapshots" / "abc" / path.name).symlink_to(f"../../blobs/{path.name}")
    loaded = load_model(SpeechModel, repository / "snapshots" / "abc")
    assert loaded.config == CONFIG
    (repository / "snapshots" / "abc" / "config.json").unlink()
    (repository / "snapshots" / "abc" / "config.json").symlink_to("/etc/hostname")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        load_model(SpeechModel, repository / "snapshots" / "abc")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    tensors = {name: torch.full((64,), float(i)) for i, name in enumerate("abcd")}
    save_tensors(tensors, tmp_path / "model.safetensors", max_shard_bytes=600)
    return tmp_path


def tamper(folder: Path, change: Callable[[dict[str, str]], object]) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: names.update(a="../model-00001-of-00002.safetensors"), "must name files beside it"),
        (lambda names: names.update(a="/etc/passwd"), "must name files beside it"),
        (lambda names: names.update(a=["model-00001-of-00002.safetensors"]), "must name files beside it"),
        (lambda names: names.update(a="model-00009-of-00002.safetensors"), "cannot be read"),
        (lambda names: names.update(e="model-00001-of-00002.safetensors"), "does not hold what the index"),
        (lambda names: names.pop("a"), "does not hold what the index"),
        (lambda names: names.update(a="model-00002-of-00002.safetensors"), "does not hold what the index"),
        (lambda names: names.clear(), "must hold a `weight_map`"),
    ],
)
def test_an_index_that_lies(sharded: Path, change, message: str) -> None:
    assert list(load_tensors(sharded / "model.safetensors")) == list("abcd")
    tamper(sharded, change)
    with pytest.raises(CheckpointError, match=message):
        load_tensors(sharded / "model.safetensors")


def test_a_shard_that_is_linked_elsewhere(sharded: Path, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.safetensors"
    save_file({"a": torch.zeros(64)}, outside)
    shard = sharded / "model-00001-of-00002.safetensors"
    shard.unlink()
    shard.symlink_to(outside)
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        load_tensors(sharded / "model.safetensors")


# Configurations


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 3}, "Unknown fields"),
        ({"__class__": "os.system"}, "Unknown fields"),
        ({"hidden_dim": "16"}, "hidden_dim must be int"),
        ({"hidden_dim": True}, "hidden_dim must be int"),
        ({"hidden_dim": 16.5}, "hidden_dim must be int"),
        ({"hidden_dim": None}, "hidden_dim must be int"),
        ({"hidden_dim": [16]}, "hidden_dim must be int"),
        ({"hidden_dim": 10**30}, "hidden_dim must be int"),
        ({"hidden_dim": 1 << 30}, "does not fit"),
        ({"num_layers": 1 << 20}, "does not fit"),
    ],
)
def test_configurations(model: Path, fields: dict[str, object], message: str) -> None:
    path = model / "config.json"
    description = json.loads(path.read_text())
    description["config"].update(fields)
    path.write_text(json.dumps(description))
    before = peak_megabytes()
    with pytest.raises(CheckpointError, match=message):
        load_model(SpeechModel, model)
    assert peak_megabytes() < before + 64


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ' * 100_000,
        "[" * 100_000,
        '{"a": ' * 3000 + "1" + "}" * 3000,
        '{"a": "' + "x" * (1 << 20) + '"}',
        '{"a": NaN}',
        '{"a": 1e999999}',
        '{"a": ' + "9" * 10_000 + "}",
        "[]",
        "",
        "\ufeff{}",
        "{'a': 1}",
    ],
    ids=["open", "open list", "deep", "huge", "nan", "beyond", "long number", "list", "empty", "mark", "quotes"],
)
def test_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    try:
        fields = read_json(tmp_path / "config.json")
    except CheckpointError:
        return
    assert fields.keys() <= {"a"}  # deep, but within what Python reads: the fields are refused by their types


def test_nothing_here_is_unlimited() -> None:
    """The checks above hold in a process that could take all memory there is."""
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_state_is_bounded_by_its_file(tmp_path: Path) -> None:
    """One storage under very many names would be copied for each."""
    weight = torch.zeros(1 << 16)
    state: dict[str, Tensor] = {f"layer.{i}": weight for i in range(100)}
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="its tensors claim more than it holds"):
        load_published(tmp_path / "x.pt")
    tied = {"words": weight, "head": weight}
    torch.save(tied, tmp_path / "tied.pt")
    assert load_published(tmp_path / "tied.pt").keys() == tied.keys()
