"""Folders of captioned motion in 272 channels, against the published evaluation's steps written plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cospeech.errors import EvaluationError
from cospeech.evaluation import evaluate_folders
from cospeech.evaluation.text_motion_folders import TextMotionReader, _cut
from cospeech.metrics import frechet_distance
from cospeech.models import (
    DistilBertConfig,
    EvaluatorConfig,
    MotionEvaluator,
    TextEvaluator,
    TextEvaluatorConfig,
)

WORDS = ["a", "man", "walks", "runs", "sits", "waves", "turns", "jumps", "slowly", "fast", "left", "right"]


def tokenize(texts, *, return_tensors, padding):
    """Words by number, as the transformers library's tokenizers return them."""
    rows = [[1, *(3 + WORDS.index(word) for word in text.split()), 2] for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    small = {"dim": 16, "num_layers": 1, "num_heads": 2, "feedforward_dim": 16}
    bert = DistilBertConfig(vocabulary=20, max_tokens=32, dim=16, num_layers=1, num_heads=2, feedforward_dim=16)
    text = TextEvaluator(TextEvaluatorConfig(bert=bert, encoder=EvaluatorConfig(input_dim=16, **small)))
    return MotionEvaluator(EvaluatorConfig(**small)).eval(), text.eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("humanml")
    generator = np.random.default_rng(0)
    for folder in ("data/motion_data", "data/texts", "data/split", "generated/repeats"):
        (root / folder).mkdir(parents=True)
    names = [f"{i:06}" for i in range(38)]
    for name in names:
        reference = generator.normal(size=(generator.integers(60, 90), 272)).astype(np.float32)
        np.save(root / "data/motion_data" / f"{name}.npy", reference)
        np.save(root / "generated" / f"{name}.npy", reference[: len(reference) // 4 * 4] + 0.3)
        for i in (1, 2, 3, 4):
            np.save(root / "generated/repeats" / f"{name}_{i}.npy", reference[: 40 + i] + i)
        words = " ".join(generator.choice(WORDS, size=4))
        lines = [f"{words}#tokens#0.0#0.0", f"a man {words}#tokens#0.0#nan", "a man walks#tokens#1.0#2.0"]
        (root / "data/texts" / f"{name}.txt").write_text("\n".join(lines))
    (root / "data/split/test.txt").write_text("\n".join(names[:34]))
    return root


STATISTICS = {"Mean": torch.full((272,), 0.1), "Std": torch.full((272,), 2.0)}


def evaluate(root, networks, **options):
    known = {
        "protocol": "motionstreamer",
        "extractor": networks,
        "statistics": STATISTICS,
        "texts": root / "data/texts",
        "tokenizer": tokenize,
        "num_resamples": 10,
    }
    return evaluate_folders(root / "generated", root / "data", **known | options)


@torch.inference_mode()
def test_it_is_the_published_evaluation(folders, networks):
    """A whole batch of 32, distances within it, everything else over those 32; two clips are left over."""
    found = evaluate(folders, networks)
    assert len(found.clips) == 32
    assert any("left over from batches of 32" in note for note in found.notes)
    reader = TextMotionReader(
        protocol=found.protocol,
        statistics={"mean": STATISTICS["Mean"].double(), "std": STATISTICS["Std"].double()},
        extractor=networks[0],
        text_extractor=networks[1],
        texts=folders / "data/texts",
        tokenizer=tokenize,
    )
    pairs, problems = reader.find(folders / "generated", folders / "data")
    assert {problem.kind for problem in problems} == set()  # what the split does not list is not asked for
    clips = reader.finish([reader(pair) for pair in pairs], 0)
    members = [(clip.samples["text"][0], *clip.features["fid"]) for clip in clips]
    text, ours, theirs = (torch.cat(x) for x in zip(*members, strict=True))
    hits, total = np.zeros(3), 0.0
    for i in range(0, 32, 32):
        x, y = text[i : i + 32], ours[i : i + 32]
        distance = (-2 * x @ y.T + x.square().sum(1, keepdim=True) + y.square().sum(1)).clamp_min(0).sqrt()
        order = distance.argsort(1)
        for k in range(3):
            hits[k] += (order[:, : k + 1] == torch.arange(32)[:, None]).any(1).sum()
        total += float(distance.trace())
    for k in range(3):
        assert found[f"r_precision_{k + 1}"].value == pytest.approx(hits[k] / 32)
    assert found["mm_dist"].value == pytest.approx(total / 32, rel=1e-3)
    assert found["fid"].value == pytest.approx(float(frechet_distance(ours, theirs)), rel=1e-4)
    assert found["r_precision_3"].reference >= found["r_precision_1"].reference
    assert found["diversity"].value > 0
    assert found["multimodality"].value > 0
    assert found["mpjpe"].num_clips < 32  # only where both are of one length


def test_the_seed_decides(folders, networks):
    first, again, other = (evaluate(folders, networks, seed=seed, num_resamples=0) for seed in (1, 1, 2))
    assert first.metrics == again.metrics
    assert first["mm_dist"].value != other["mm_dist"].value


def test_lengths_are_whole_units_one_fewer_in_a_third():
    generator = torch.Generator().manual_seed(0)
    motion = torch.arange(103.0)[:, None]
    cuts = [_cut(motion, generator=generator) for _ in range(300)]
    lengths = [len(cut) for cut in cuts]
    assert set(lengths) == {100, 96}
    assert lengths.count(96) == pytest.approx(100, abs=25)
    assert {float(cut[0]) for cut in cuts} == set(map(float, range(8)))
    assert len(_cut(torch.zeros(400, 1), generator=None)) == 300


def test_what_is_missing_is_said(folders, networks, tmp_path):
    bare = evaluate(folders, None, texts=None, tokenizer=None, num_resamples=0)
    assert bare.omitted["fid"] == "needs the extractor Evaluator_272/epoch=99.ckpt"
    half = evaluate(folders, (networks[0], None), texts=None, tokenizer=None, num_resamples=0)
    assert half.omitted["mm_dist"] == "needs the captions and DistilBERT's tokenizer"
    for name, frames in (("000000", 20), ("000001", 300)):
        np.save(tmp_path / f"{name}.npy", np.zeros((frames, 272), np.float32))
    np.save(tmp_path / "000002.npy", np.full((70, 272), np.nan, np.float32))
    np.save(tmp_path / "000003.npy", np.zeros((70, 263), np.float32))
    (tmp_path / "000004.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(EvaluationError) as error:
        evaluate_folders(tmp_path, tmp_path, protocol="motionstreamer", statistics=STATISTICS, on_error="skip")
    for text in ("000000: too short", "000001: too long", "000002: NaN", "000003: unreadable", "000004: unreadable"):
        assert text in str(error.value)
    with pytest.raises(EvaluationError, match=r"The tokenizer .*nowhere is neither here"):
        evaluate(folders, networks, tokenizer=tmp_path / "nowhere")
