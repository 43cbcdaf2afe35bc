"""Readers of captioned motion in 272 channels: formats with their oddities, parts of clips, batches."""

import numpy as np
import pytest
import torch

from cospeech.data.humanml272 import (
    CaptionedLatents,
    HumanML272,
    captioned_latents,
    collate_latents,
    humanml_latents,
    parse_captions,
    parse_stream_captions,
    shorten_latents,
)
from cospeech.errors import MotionFileError


def test_folder(tmp_path):
    for name in ("motion_data", "texts", "split"):
        (tmp_path / name).mkdir()
    (tmp_path / "split/train.txt").write_text("000001\nM000001\n")
    (tmp_path / "texts/000001.txt").write_text("walks#walk/VERB#0.0#0.0\n\nturns#turn/VERB#1.0#2.0\n")
    np.save(tmp_path / "motion_data/000001.npy", np.ones((50, 272)))
    np.save(tmp_path / "motion_data/M000001.npy", np.ones((50, 263)))
    data = HumanML272(tmp_path)
    assert data.names() == ["000001", "M000001"]
    assert data.motion("000001").shape == (50, 272)
    assert [caption.text for caption in data.captions("000001")] == ["walks", "turns"]
    with pytest.raises(ValueError, match=r"must have shape \(T, 272\); got \(50, 263\)"):
        data.motion("M000001")


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "motion_data").mkdir()
    data = HumanML272(tmp_path)
    (tmp_path / "motion_data/short.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "motion_data/objects.npy", np.array([{}], dtype=object))
    np.save(tmp_path / "motion_data/nan.npy", np.full((8, 272), np.nan))
    for name in ("none", "short", "objects", "nan"):
        with pytest.raises(MotionFileError, match=f"{name}.npy"):
            data.motion(name)


def test_items_of_a_split(tmp_path):
    for name in ("motion_data", "texts", "split", "latents"):
        (tmp_path / name).mkdir()
    (tmp_path / "split/val.txt").write_text("a\nb\nlong\n")
    for name in ("a", "b", "long"):
        (tmp_path / f"texts/{name}.txt").write_text("walks#walk/VERB#0.0#0.0\nturns#turn/VERB#0.4#1.2\n")
    np.save(tmp_path / "latents/a.npy", np.arange(22.0)[:, None])
    np.save(tmp_path / "latents/long.npy", np.zeros((79, 1)))
    items = humanml_latents(HumanML272(tmp_path), tmp_path / "latents", split="val")
    assert [(item.text, len(item.latents)) for item in items] == [("walks", 22), ("turns", 6), ("turns", 6)]


def test_stream_captions():
    text = "walk*sit#88\nwalk*stand up#a/DET#60.0\nrun*#5\n"
    assert [tuple(caption) for caption in parse_stream_captions(text)] == [("sit", 88), ("stand up", 60)]
    with pytest.raises(ValueError, match=r"A_text\*B_text#A_length; got 'walk#3'"):
        parse_stream_captions("walk#3")
    with pytest.raises(ValueError, match="caption#tokens#start#end; got 'walk'"):
        parse_captions("walk")


def test_parts_of_clips():
    latents = torch.arange(21.0)[:, None]  # 20 and the end
    captions = parse_captions("whole#x#0#0\npart#x#0.4#1.2\nempty#x#9#10\n")
    whole, part = captioned_latents(latents, captions)
    assert torch.equal(whole.latents, latents)
    assert part.latents.flatten().tolist() == [3, 4, 5, 6, 7, 8]


def test_batches():
    items = [CaptionedLatents("a", torch.ones(78, 4)), CaptionedLatents("b", torch.ones(5, 4), history=2)]
    batch = collate_latents(items)
    assert batch.latents.shape == (2, 77, 4)
    assert batch.lengths.tolist() == [77, 5]  # the last of 78 is never read
    assert batch.history.tolist() == [0, 2]
    assert batch.latents[1].sum() == 20
    with pytest.raises(ValueError, match="78 latents at most; got 79"):
        collate_latents([CaptionedLatents("a", torch.ones(79, 4))])


def test_a_third_is_shortened():
    generator = torch.Generator().manual_seed(0)
    latents = torch.arange(10.0)[:, None]
    shortened = [shorten_latents(latents, generator) for _ in range(600)]
    without_first = sum(len(x) == 9 and x[0, 0] == 1 for x in shortened)
    without_last = sum(len(x) == 9 and x[0, 0] == 0 for x in shortened)
    assert 70 < without_first < 130
    assert 70 < without_last < 130
    assert len(shorten_latents(latents[:1], generator)) == 1
