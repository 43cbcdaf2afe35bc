"""Texts on the command line: a motion that follows several, one for each line of a file, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cospeech import Motion
from cospeech.cli import main
from cospeech.pipelines import TextPrompt
from cospeech.text import SentenceEmbedder


@pytest.fixture
def model(small_streamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder, and a text model that has embedded a few texts before."""
    monkeypatch.setenv("HOME", str(tmp_path))
    known = ["a person walks", "Sits down."]
    embedder = SentenceEmbedder()
    for text, embedding in zip(known, small_streamer.embed(known), strict=True):
        embedder._keep(text, embedding)
    small_streamer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_one_motion_follows_all_texts(model: str, small_streamer, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    asked = ["--text", "a person walks", "--text", "Sits down.", "--seconds", "0.4", "--seed", "3"]
    assert main(["generate", "--model", model, "--out", str(out), "--format", "npz,bvh,html", *asked]) == 0
    stem = "a-person-walks-sits-down"
    assert capsys.readouterr().out.split() == [str(out / f"{stem}.{suffix}") for suffix in ("npz", "bvh", "html")]
    motion = Motion.load(out / f"{stem}.npz")
    prompts = [TextPrompt("a person walks", 0.4), TextPrompt("Sits down.", 0.4)]
    expected = Motion.concatenate(list(small_streamer.stream(prompts, seed=3)))
    assert motion.num_frames == expected.num_frames == 24
    torch.testing.assert_close(motion.joints(), expected.joints(), rtol=0, atol=1e-4)
    assert motion.skeleton.num_joints == 55


def test_a_motion_for_each_line(model: str, small_streamer, tmp_path: Path, capsys) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "out"
    prompts.write_text("a person walks\n\nSits down.\n")
    assert main(["generate", "--model", model, "--prompts", str(prompts), "--seconds", "0.5", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["1-a-person-walks.npz", "2-sits-down.npz"]
    ours = Motion.load(out / "2-sits-down.npz")
    expected = small_streamer("Sits down.", seconds=0.5)
    torch.testing.assert_close(ours.joints(), expected.joints(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--text", "never heard of"], (2, 3), ("text model", "cospeech[text]")),
        (["--text", "a person walks", "talk.wav"], (2,), ("give one of them",)),
        (["talk.wav"], (2,), ("use --text or --prompts",)),
        (["--prompts", "none.txt"], (2,), ("cannot be read as text",)),
        (["--text", "a person walks", "--seconds", "-1"], (2,), ("`seconds` must be positive",)),
        (["--text", "a person walks", "--model", "cospeech-tiny"], (2,), ("takes speech",)),
    ],
)
def test_what_is_refused(model: str, tmp_path: Path, capsys, monkeypatch, arguments, code, message) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(SentenceEmbedder, "_embed", unreachable)
    out = tmp_path / "out"
    assert main(["generate", "--model", model, "--out", str(out), *arguments]) in code
    error = capsys.readouterr().err
    assert any(part in error for part in message)
    assert error.count("\n") == 1
    assert not out.exists()


def unreachable(self, texts):
    from cospeech.errors import ModelNotFoundError

    raise ModelNotFoundError("The text model is neither here nor to be fetched.")


def test_info_on_a_text_model(model: str, capsys) -> None:
    assert main(["info", model]) == 0
    told = capsys.readouterr().out
    assert "MotionStreamerPipeline" in told
    assert "30 Hz, from text" in told
