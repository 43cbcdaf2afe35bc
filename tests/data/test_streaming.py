"""Windows at a URL are the windows on the disk, in any order, few at a time; what is damaged or hostile is refused."""

from __future__ import annotations

import gc
import io
import json
import pickle
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streams
import torch
from streams import MAKER, Served, Takes

from cospeech.data import MotionWindow, RemoteWindows, WindowShards, index_tars, prepare, write_tars
from cospeech.data.prepare import file_digest
from cospeech.data.webdataset import parse_tar_index
from cospeech.errors import MotionFileError
from cospeech.training.order import NumberedBatches, ShardOrder

pytest.importorskip("aiohttp")
wds = pytest.importorskip("webdataset")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 windows in 3 shards, and in 5 tars of at most 5 windows."""
    folder = tmp_path_factory.mktemp("root")
    prepare(Takes(), folder / "shards", MAKER, takes_per_shard=2)
    write_tars(WindowShards(folder / "shards"), range(24), folder / "tars", windows_per_tar=5)
    return folder


@pytest.fixture
def served(root: Path) -> Iterator[Served]:
    with streams.serve(root) as found:
        yield found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cospeech.data.streaming._PAUSES", (0.0,))


def equal(one: MotionWindow, other: MotionWindow) -> bool:
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other, strict=True))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(("kind", "count"), [("shards", 3), ("tars", 5)])
def test_windows_at_a_url_are_those_on_the_disk(
    root: Path, served: Served, tmp_path: Path, kind: str, count: int
) -> None:
    near, far = WindowShards(root / "shards"), RemoteWindows(f"{served.url}/{kind}/", tmp_path)
    assert len(far) == sum(far.shard_sizes) == len(near) == 24
    assert all(equal(near[index], far[index]) for index in range(-24, 24))
    assert equal(near.batch([3, 17, 8]), far.batch([3, 17, 8]))
    fetched = served.tars()
    assert len(fetched) == len(set(fetched)) == count
    again = pickle.loads(pickle.dumps(far))  # as worker processes get it
    assert equal(again[20], near[20])
    assert served.tars() == []  # it shares what is here
    local = RemoteWindows(str(root / kind), tmp_path / "other")
    assert equal(local[11], near[11])
    with pytest.raises(IndexError, match=r"must lie in -24\.\.23; got 24"):
        far[24]


def test_the_cache_keeps_what_was_used_last_within_its_size(served: Served, tmp_path: Path) -> None:
    size = RemoteWindows(f"{served.url}/tars", tmp_path / "one")
    size[0]
    (kept,) = (tmp_path / "one").glob("*.safetensors")
    far = RemoteWindows(f"{served.url}/tars", tmp_path / "two", cache_bytes=int(2.5 * kept.stat().st_size))
    for index in range(24):
        far[index]
        assert len(list((tmp_path / "two").glob("*.safetensors"))) <= 2
    served.tars()
    fresh = RemoteWindows(f"{served.url}/tars", tmp_path / "two", cache_bytes=far.cache_bytes)
    fresh[23], fresh[19]
    assert served.tars() == []
    fresh[0]
    assert len(served.tars()) == 1
    assert not list((tmp_path / "two").glob("*.fetched"))


def test_any_step_gives_its_batch_and_fetches_its_own_tars_only(root: Path, served: Served, tmp_path: Path) -> None:
    near = WindowShards(root / "shards")
    whole = RemoteWindows(f"{served.url}/tars", tmp_path / "whole")
    order = ShardOrder(tuple(whole.shard_sizes), 3, seed=5)
    batches = [whole.batch(order.items(number)) for number in range(16)]
    served.tars()
    for number in (7, 12):
        late = RemoteWindows(f"{served.url}/tars", tmp_path / str(number))
        assert equal(late.batch(order.items(number)), batches[number])
        assert equal(batches[number], near.batch(order.items(number)))
        assert len(served.tars()) <= 2  # of five: those that are shuffled together


class _Numbers:
    """A task's part that makes batches."""

    item_weights = None

    def __init__(self, windows: RemoteWindows):
        self.windows = windows

    def batch(self, items: list[int], generator: torch.Generator) -> dict[str, Any]:
        return {"items": items, "axis_angle": self.windows.batch(items).axis_angle}


def test_ranks_and_workers_share_the_windows_out(root: Path, served: Served, tmp_path: Path) -> None:
    near, seen = WindowShards(root / "shards"), []
    for rank in range(2):
        far = RemoteWindows(f"{served.url}/tars", tmp_path)
        order = ShardOrder(tuple(far.shard_sizes), 2, 0, rank, 2)
        batches = NumberedBatches(_Numbers(far), order)
        loader = torch.utils.data.DataLoader(batches, batch_size=None, sampler=range(4), num_workers=2)
        for number, batch in enumerate(loader):
            assert batch["items"] == order.items(number)
            assert torch.equal(batch["axis_angle"], near.batch(batch["items"]).axis_angle)
            seen += batch["items"]
    assert len(seen) == len(set(seen)) == 16  # no window twice, whichever rank and worker
    fetched = served.tars()
    assert len(fetched) == len(set(fetched))  # four workers of two ranks, and each tar once


def test_tars_have_the_same_bytes_wherever_they_are_made(root: Path, tmp_path: Path) -> None:
    shards = WindowShards(root / "shards")
    assert write_tars(shards, range(24), tmp_path, windows_per_tar=5) == 5
    assert contents(tmp_path) == contents(root / "tars")
    assert write_tars(shards, range(24), tmp_path, windows_per_tar=5) == 0
    tars = sorted(tmp_path.glob("*.tar"))
    tars[2].unlink()
    (tmp_path / "index.json").unlink()
    (tmp_path / "windows-mine.tar").write_bytes(b"no tar of ours")
    assert write_tars(shards, range(24), tmp_path, windows_per_tar=5) == 1
    (tmp_path / "windows-mine.tar").unlink()
    assert contents(tmp_path) == contents(root / "tars")
    assert write_tars(shards, range(20), tmp_path, windows_per_tar=5) == 0
    assert write_tars(shards, range(1, 21), tmp_path, windows_per_tar=10) == 2
    assert len(list(tmp_path.glob("*.tar"))) == 2
    with pytest.raises(ValueError, match="must name windows; got none"):
        write_tars(shards, [], tmp_path)


def test_other_programs_read_ours_and_we_read_theirs(root: Path, tmp_path: Path) -> None:
    near = WindowShards(root / "shards")
    paths = [str(path) for path in sorted((root / "tars").glob("*.tar"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # that pipeline leaves its files to the garbage collector
        samples = list(wds.WebDataset(paths, shardshuffle=False).decode())
        gc.collect()
    assert len(samples) == 24
    for sample, window in zip(samples, (near[index] for index in range(24)), strict=True):
        assert all(np.array_equal(sample[f"{name}.npy"], value.numpy()) for name, value in window._asdict().items())
    with wds.ShardWriter(str(tmp_path / "theirs-%d.tar"), maxcount=5, verbose=0) as writer:  # by its own encoders
        for number, sample in enumerate(samples[:12]):
            arrays = {name: value for name, value in sample.items() if name.endswith(".npy")}
            writer.write({"__key__": f"some/take_{number}", "note.txt": "skipped", "bad.pyd": [number], **arrays})
    index = index_tars(tmp_path)
    assert [entry.nsamples for entry in index.shardlist] == [5, 5, 2]
    far = RemoteWindows(str(tmp_path), tmp_path / "cache")
    assert all(equal(near[number], far[number]) for number in range(12))


def test_what_the_index_does_not_name_is_refused_and_a_lost_connection_is_not_the_end(
    served: Served, root: Path, tmp_path: Path
) -> None:
    served.cut_off = 1
    assert RemoteWindows(f"{served.url}/tars", tmp_path / "a")[0].axis_angle.shape == (30, 55, 3)
    served.cut_off = 2
    with pytest.raises(MotionFileError, match="cannot be fetched"):
        RemoteWindows(f"{served.url}/tars", tmp_path / "b")[0]
    with pytest.raises(MotionFileError, match=r"index.json cannot be fetched from .*: FileNotFoundError"):
        RemoteWindows(f"{served.url}/nothing", tmp_path / "b")
    for kind in ("tars", "shards"):
        bad = tmp_path / kind
        bad.mkdir()
        for name, content in contents(root / kind).items():
            (bad / name).write_bytes(content if name.endswith(".json") else content[:-1] + b"!")
        with pytest.raises(MotionFileError, match=r"\.(tar|safetensors): it is not what the index names"):
            RemoteWindows(str(bad), tmp_path / "c")[0]
    with pytest.raises(MotionFileError, match="at most 1000 are taken"):
        RemoteWindows(f"{served.url}/tars", tmp_path / "c", most_bytes=1000)


def npy(value: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, value, allow_pickle=True)
    return content.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes, **attributes: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    tar.addfile(member, io.BytesIO(content))


def _link(tar: tarfile.TarFile) -> None:
    add(tar, "9.axis_angle.npy", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")


def _device(tar: tarfile.TarFile) -> None:
    add(tar, "9.axis_angle.npy", b"", type=tarfile.CHRTYPE)


def _sparse(tar: tarfile.TarFile) -> None:
    holes = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "1000000000000", "GNU.sparse.name": "9.semantic.npy"}
    add(tar, "9.semantic.npy", b"", pax_headers=holes)


def _huge_header(tar: tarfile.TarFile) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 3)})
    add(tar, "9.translation.npy", header.getvalue())


HOSTILE: dict[str, tuple[str, Callable[[tarfile.TarFile], None]]] = {
    "link": ("must be a plain file", _link),
    "device": ("must be a plain file", _device),
    "sparse": ("must be a plain file", _sparse),
    "above": ("leaves the folder", lambda tar: add(tar, "../9.axis_angle.npy", b"")),
    "root": ("leaves the folder", lambda tar: add(tar, "/etc/9.axis_angle.npy", b"")),
    "large": ("must have at most", lambda tar: add(tar, "9.translation.npy", bytes(10_000))),
    "huge header": ("expected an array", _huge_header),
    "pickle": ("numbers must be", lambda tar: add(tar, "9.semantic.npy", npy(np.array([{}], object)))),
    "double": ("numbers must be", lambda tar: add(tar, "9.semantic.npy", npy(np.zeros(30)))),
    "shape": ("must have shape", lambda tar: add(tar, "9.semantic.npy", npy(np.zeros(29, np.float32)))),
    "no array": ("expected an array", lambda tar: add(tar, "9.semantic.npy", b"hello")),
    "twice": ("duplicate", lambda tar: (add(tar, "9.semantic.npy", b""), add(tar, "9.SEMANTIC.npy", b""))[0]),
    "lacks": ("needs axis_angle.npy", lambda tar: add(tar, "9.semantic.npy", npy(np.zeros(30, np.float32)))),
}


def _stream_of(folder: Path, content: bytes, windows: int, root: Path) -> None:
    """A folder with one tar, whose index is right about all but what is in it."""
    folder.mkdir()
    (folder / "a.tar").write_bytes(content)
    index = json.loads((root / "tars" / "index.json").read_text())
    entry = {"url": "a.tar", "nsamples": windows, "filesize": len(content), "sha256": file_digest(folder / "a.tar")}
    (folder / "index.json").write_text(json.dumps(index | {"shardlist": [entry]}))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tars_are_refused(root: Path, tmp_path: Path, name: str) -> None:
    message, spoil = HOSTILE[name]
    content = io.BytesIO()
    whole = WindowShards(root / "shards")[0]._asdict()
    spoiled = {"twice": "semantic", "large": "translation", "huge header": "translation"}.get(name, "semantic")
    with tarfile.open(fileobj=content, mode="w") as tar:
        for field, value in whole.items():
            if field != spoiled and name != "lacks":
                add(tar, f"9.{field}.npy", npy(value.numpy()))
        spoil(tar)
    padding = b"\0" * 400_000  # room for the window that the index speaks of
    _stream_of(tmp_path / "bad", content.getvalue() + padding, 1, root)
    with pytest.raises(MotionFileError, match=message):
        RemoteWindows(str(tmp_path / "bad"), tmp_path / "cache")[0]
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_compressed_tars_and_wrong_counts_are_refused(root: Path, tmp_path: Path) -> None:
    tar = sorted((root / "tars").glob("*.tar"))[0].read_bytes()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=0) as packed:
        add(packed, "9.axis_angle.npy", bytes(500_000))
    for name, data, windows, message in [
        ("packed", content.getvalue(), 1, "without compression"),
        ("cut", tar[:-40_000], 1, r"expected a tar|by the index 1 windows"),
        ("more", tar, 4, "by the index 4 windows are in it; there are more"),
        ("fewer", tar + bytes(400_000), 6, "by the index 6 windows are in it; there are 5"),
    ]:
        _stream_of(tmp_path / name, data, windows, root)
        with pytest.raises(MotionFileError, match=message):
            RemoteWindows(str(tmp_path / name), tmp_path / "cache")[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "../a.tar"}, "must name tars beside it"),
        ({"url": "http://elsewhere/a.tar"}, "must name tars beside it"),
        ({"url": "-|rm.tar"}, "must name tars beside it"),
        ({"sha256": "../../x"}, "must name tars beside it"),
        ({"nsamples": 10**12}, "cannot lie in"),
        ({"nsamples": 0}, "cannot lie in"),
        ({"filesize": "many"}, "ValueError"),
    ],
)
def test_hostile_indexes_are_refused(root: Path, change: dict[str, Any], message: str) -> None:
    index = json.loads((root / "tars" / "index.json").read_text())
    parse_tar_index(json.dumps(index))
    index["shardlist"][0] |= change
    with pytest.raises(MotionFileError, match=message):
        parse_tar_index(json.dumps(index))
    for broken in ({"shardlist": []}, {"fields": {"axis_angle": [30, 55, 3]}}, {"shardlist": 3}):
        with pytest.raises(MotionFileError):
            parse_tar_index(json.dumps(index | broken))
