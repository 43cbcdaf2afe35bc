"""Names to folders: bundled, local, and from a Hub that stands on this machine."""

import re
from pathlib import Path

import pytest

from cospeech.errors import ModelNotFoundError
from cospeech.hub import BUNDLED, bundled_folder, resolve

FETCH = """
from cospeech.errors import ModelNotFoundError
from cospeech.hub import resolve
for name, revision in {asked!r}:
    try:
        print("FOLDER", resolve(name, revision=revision))
    except ModelNotFoundError as error:
        print("ERROR", error)
"""
FILES = {
    "config.json": b"{}",
    "README.md": b"# A model",
    "denoiser/config.json": b"{}",
    "denoiser/model.safetensors": b"weights",
    "pytorch_model.bin": b"a pickle",
    "training/log.txt": b"not needed",
}


def fetch_all(hub, asked, **environment):
    """What becomes of several names and revisions, one line each."""
    result = hub.run(FETCH.format(asked=asked), **environment)
    assert result.returncode == 0, result.stderr
    return [line for line in result.stdout.splitlines() if line.startswith(("FOLDER", "ERROR"))]


def fetch(hub, name, revision=None, **environment):
    (line,) = fetch_all(hub, [(name, revision)], **environment)
    return line


def test_fetches_what_is_needed_and_keeps_it(hub):
    hub.repositories["someone/model"] = FILES
    folder = Path(fetch(hub, "someone/model").removeprefix("FOLDER "))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json", "README.md", "denoiser/config.json", "denoiser/model.safetensors"}
    assert (folder / "denoiser/model.safetensors").read_bytes() == b"weights"
    assert not any("pytorch_model.bin" in request or "log.txt" in request for request in hub.requests)

    asked = len(hub.requests)
    assert fetch(hub, "someone/model", HF_HUB_OFFLINE="1") == f"FOLDER {folder}"
    assert len(hub.requests) == asked, "offline, yet the Hub was asked"


def test_a_new_commit_is_fetched_and_an_old_one_stays_reachable(hub):
    hub.repositories["someone/model"] = {"config.json": b"1"}
    first, commit = Path(fetch(hub, "someone/model").removeprefix("FOLDER ")), hub.commit_of("someone/model")
    hub.repositories["someone/model"] = {"config.json": b"2"}
    new, old = fetch_all(hub, [("someone/model", None), ("someone/model", hub.commit_of("someone/model"))])
    second = Path(new.removeprefix("FOLDER "))
    assert new == old
    assert [(folder / "config.json").read_bytes() for folder in (first, second)] == [b"1", b"2"]
    assert fetch(hub, "someone/model", revision=commit, HF_HUB_OFFLINE="1") == f"FOLDER {first}"


def test_errors_say_what_is_the_matter(hub):
    hub.repositories = {"someone/model": FILES, "someone/gated": FILES}
    hub.gated = {"someone/gated"}
    asked = [("someone/else", None), ("someone/model", "nightly"), ("someone/gated", None), ("someone/a--b", None)]
    missing, revision, gated, impossible = fetch_all(hub, asked)
    assert "no such repository on the Hub" in missing
    assert "no revision 'nightly'" in revision
    assert "gated: accept its terms" in gated
    assert "it cannot be a Hub repository" in impossible
    assert "offline, or HF_HUB_OFFLINE is set" in fetch(hub, "someone/model", HF_HUB_OFFLINE="1")


def test_unreachable_hub(hub):
    assert "the Hub cannot be reached" in fetch(hub, "someone/model", HF_ENDPOINT="http://127.0.0.1:9")


def test_local_folder(tmp_path, monkeypatch):
    assert resolve(tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert resolve("owner/name") == Path("owner/name")  # a folder here goes before the Hub


def test_bundled_names_need_no_network():
    for name in BUNDLED:
        assert resolve(name) == bundled_folder(name)


@pytest.mark.parametrize("name", ["emagee", "/no/such/folder", "a/b/c", "./here", Path("no/where"), ""])
def test_unknown_names(name):
    with pytest.raises(ModelNotFoundError, match=re.escape("give a folder, a Hub repository 'owner/name'")):
        resolve(name)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(ModelNotFoundError, match="give a folder"):
        resolve(str(tmp_path / "weights.safetensors"))


def test_unknown_bundled_name():
    with pytest.raises(ValueError, match="Unknown bundled model 'tiny'; choose from cospeech-tiny"):
        bundled_folder("tiny")
