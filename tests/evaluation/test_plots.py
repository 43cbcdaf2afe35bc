"""Pictures of an evaluation, the beats of a clip included."""

from __future__ import annotations

import pytest
import torch

from cospeech.data.synthetic import make_clip
from cospeech.errors import EvaluationError
from cospeech.evaluation import evaluate_folders, save_clip_beats, save_evaluation_plots
from cospeech.motion import Motion

pytest.importorskip("matplotlib")


def test_every_picture_is_drawn(corpus, tmp_path):
    names = ("generated", "reference")
    results = [
        evaluate_folders(
            corpus / name, corpus / "reference", audio=corpus / "audio", protocol="legacy", num_resamples=0
        )
        for name in names
    ]
    folders = [corpus / name for name in names]
    paths = save_evaluation_plots(tmp_path / "plots", results, generated=folders, audio=corpus / "audio")
    wanted = {"distributions.svg", "comparison.svg", "beats_generated.svg", "beats_reference.svg"}
    assert {path.name for path in paths} == wanted
    for path in paths:
        assert path.read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_beats_of_one_clip(tmp_path):
    clip = make_clip(6.0, 1, seed=0)
    motion = Motion.from_local_rotations(clip.local_rotations, translation=clip.translation, rate_hz=30)
    save_clip_beats(tmp_path / "a.png", motion, clip.waveform, "legacy")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(EvaluationError, match="'globaldiff' finds no beats"):
        save_clip_beats(tmp_path / "b.png", motion, clip.waveform, "globaldiff")
    with pytest.raises(EvaluationError, match=r"finds no beats in 3\.3 s"):
        save_clip_beats(tmp_path / "b.png", motion[:100], torch.zeros(1), "cospeech")
