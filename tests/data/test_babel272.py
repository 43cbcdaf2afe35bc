"""BABEL's folders: names of both forms, which half is history, what is left out, from motion to a loss."""

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader

from cospeech.data import (
    Babel272,
    BabelStream272,
    CaptionedLatents,
    FeatureWindows,
    LatentClips,
    collate_latents,
    stream_latents,
)
from cospeech.errors import MotionFileError
from cospeech.models import CausalTAE, CausalTAEConfig, MotionStreamer, MotionStreamerConfig
from cospeech.representations import FeatureStats
from cospeech.training import cache_latents, draw_two_forward, two_forward_loss

STATS = FeatureStats(torch.zeros(272), torch.full((272,), 2.0))


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("train_stream", "train_stream_text", "motion_data", "latents"):
        (tmp_path / name).mkdir()
    for name, frames in (("seq_2", 60), ("seq_10", 48), ("seq_3", 400), ("seq_4", 40)):
        np.save(tmp_path / f"train_stream/{name}.npy", generator.standard_normal((frames, 272)))
    (tmp_path / "train_stream_text/seq_2.txt").write_text("walk*sit down#24\nwalk*take a seat#sit/VERB#24\nwalk*#24\n")
    (tmp_path / "train_stream_text/seq_10.txt").write_text("run*stop#30\n")
    (tmp_path / "train_stream_text/seq_3.txt").write_text("run*run on#200\n")  # more latents than positions
    for name, frames in (("7", 100), ("8", 63)):
        np.save(tmp_path / f"motion_data/{name}.npy", generator.standard_normal((frames, 272)))
    return tmp_path


def test_names_in_order_and_with_a_text(folder):
    data = BabelStream272(folder)
    assert data.names() == ["seq_2", "seq_3", "seq_10"]
    (folder / "train_stream/seq_2.npy").rename(folder / "train_stream/seq2.npy")
    (folder / "train_stream_text/seq_2.txt").rename(folder / "train_stream_text/seq2.txt")
    assert sorted(data.names()) == ["seq2", "seq_10", "seq_3"]
    assert BabelStream272(folder, "val").names() == []
    assert [name for name, _ in Babel272(folder).clips()] == ["b_7", "b_8"]


def test_what_comes_first_is_history(folder):
    for name, frames in (("seq_2", 60), ("seq_10", 48), ("seq_3", 400)):
        latents = np.arange(frames // 4 + 1, dtype=np.float32)[:, None].repeat(16, 1)
        np.save(folder / f"latents/{name}.npy", latents)
    items = stream_latents(BabelStream272(folder), folder / "latents")
    assert [(item.text, len(item.latents), item.history) for item in items] == [
        ("sit down", 16, 6),
        ("take a seat", 16, 6),
        ("stop", 13, 7),
    ]


def test_from_folders_to_a_training_step(folder):
    """Windows for the autoencoder, cached latents, batches of both data sets, a loss: every stage through a loader."""
    data, generator = BabelStream272(folder), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    tae, end = CausalTAE(CausalTAEConfig(hidden_dim=8)).eval(), torch.zeros(16)
    names = cache_latents(
        tae, data.clips(), folder / "latents", stats=STATS, end_latent=end, generator=generator, min_frames=4
    )
    assert names == ["seq_2", "seq_3", "seq_10"]
    pairs = LatentClips(stream_latents(data, folder / "latents"))
    single = LatentClips([CaptionedLatents("walks", torch.randn(20, 16))])
    loader = DataLoader(ConcatDataset([pairs, single]), batch_size=4, collate_fn=collate_latents)
    (batch,) = loader
    assert batch.texts == ["sit down", "take a seat", "stop", "walks"]
    assert batch.history.tolist() == [6, 6, 7, 0]
    model = MotionStreamer(
        MotionStreamerConfig(
            text_dim=4, dim=16, num_layers=1, num_heads=2, feedforward_dim=8, head_dim=8, head_layers=1
        )
    )
    draws = draw_two_forward(model, batch.latents, batch.lengths, generator, history=batch.history)
    loss = two_forward_loss(
        model, torch.randn(4, 4), batch.latents, batch.lengths, draws, fraction=0.5, history=batch.history
    ).loss
    assert torch.isfinite(loss)


def test_windows_do_not_depend_on_workers(folder):
    data = Babel272(folder)
    windows = FeatureWindows([data.path(name) for name in data.names()], STATS, seed=3)
    assert len(windows) == 1  # the clip of 63 frames is too short
    first = windows[0]
    assert first.shape == (64, 272)
    assert first.dtype == torch.float32
    assert torch.equal(windows[0], first)
    clip = STATS.normalize(data.motion("7"))
    assert any(torch.equal(clip[start : start + 64], first) for start in range(37))
    starts = set()
    for epoch in range(8):
        windows.set_epoch(epoch)
        starts.add(float(windows[0][0, 0]))
    assert len(starts) > 4
    windows.set_epoch(0)
    (batch,) = DataLoader(windows, num_workers=1)
    assert torch.equal(batch[0], first)


def test_only_clips_without_history_are_shortened():
    clip = torch.arange(9.0)[:, None]
    clips = LatentClips([CaptionedLatents("a", clip), CaptionedLatents("b", clip, 3)], shorten=True)
    lengths = set()
    for epoch in range(40):
        clips.set_epoch(epoch)
        lengths.add(len(clips[0].latents))
        assert len(clips[1].latents) == 9
    assert lengths == {8, 9}


def test_damaged_latents_are_named(folder):
    (folder / "latents/seq_2.npy").write_bytes(b"nothing")
    with pytest.raises(MotionFileError, match=r"seq_2\.npy"):
        stream_latents(BabelStream272(folder), folder / "latents")
