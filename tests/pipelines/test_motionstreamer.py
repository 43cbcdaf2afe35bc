"""Text to motion at a small size: streams equal calls, batches equal singles, ends, lengths, saving, errors."""

import pytest
import torch

from cospeech.errors import CheckpointError
from cospeech.models import CausalTAE, CausalTAEConfig, MotionStreamer, MotionStreamerConfig
from cospeech.motion import Motion
from cospeech.pipelines import MotionStreamerPipeline, TextPrompt


@pytest.fixture
def pipe(small_streamer):
    return small_streamer


@pytest.fixture
def embed(small_streamer):
    return small_streamer.embed


def close(first, second, atol=1e-4):
    assert first.num_frames == second.num_frames
    torch.testing.assert_close(first.joints(), second.joints(), rtol=0, atol=atol)


def test_a_stream_of_one_prompt_is_the_call(pipe):
    pieces = list(pipe.stream(["walk"], seed=3))
    assert {piece.num_frames for piece in pieces} == {4}
    close(Motion.concatenate(pieces), pipe("walk", seed=3))


def test_longer_than_the_positions_there_are(pipe):
    motion = pipe("walk on", seconds=4.0)
    assert motion.num_frames == 120
    close(Motion.concatenate(list(pipe.stream([TextPrompt("walk on", 4.0)]))), motion)


def test_the_first_prompt_does_not_hear_the_second(pipe):
    first = Motion.concatenate(list(pipe.stream([TextPrompt("walk", 1.0)])))
    both = Motion.concatenate(list(pipe.stream([TextPrompt("walk", 1.0), TextPrompt("sit down", 1.0)])))
    assert both.num_frames == 64
    close(both[:32], first)


def test_prompts_are_read_one_by_one(pipe):
    read = []

    def prompts():
        for text in ("walk", "sit down"):
            read.append(text)
            yield TextPrompt(text, 0.5)

    stream = pipe.stream(prompts())
    assert read == []
    next(stream)
    assert read == ["walk"]


def test_what_comes_before_matters(pipe):
    """Each text goes on from the motion before it: no jump, and not what it would have been alone."""
    alone = pipe("sit down", seconds=1.0)
    after = Motion.concatenate(list(pipe.stream([TextPrompt("walk", 1.0), TextPrompt("sit down", 1.0)])))[32:]
    assert (alone.joints() - after.joints()).abs().max() > 1e-3


def test_batch_equals_singles(pipe):
    prompts, seconds, seeds = ["walk", "sit down now", "jump"], [1.0, 0.4, None], [1, 2, 3]
    batch = pipe.batch(prompts, seconds=seconds, seeds=seeds)
    for motion, prompt, limit, seed in zip(batch, prompts, seconds, seeds, strict=True):
        close(motion, pipe(prompt, seconds=limit, seed=seed))


def test_the_end_latent_ends_a_prompt(pipe, embed):
    drawn, state = [], pipe._begin(pipe._embedding("walk")[None])
    draw = pipe._draw([torch.Generator().manual_seed(5)])
    for _ in range(4):
        latent, state = pipe.generator.step(state, draw)
        drawn.append(latent[0])
    ending = MotionStreamerPipeline(
        pipe.model, pipe.tae, pipe.stats, embed=embed, end_latent=drawn[3] + 0.01, settings=pipe.settings
    )
    assert ending("walk", seed=5).num_frames == 12
    assert sum(piece.num_frames for piece in ending.stream(["walk"], seed=5)) == 12
    assert ending("walk", seed=5, seconds=1.0).num_frames == 32  # told how long, it does not end by itself
    both = ending.batch(["walk", "jump"], seeds=[5, 6], seconds=[None, 1.0])
    assert [motion.num_frames for motion in both] == [12, 32]
    first = MotionStreamerPipeline(
        pipe.model, pipe.tae, pipe.stats, embed=embed, end_latent=drawn[0], settings=pipe.settings
    )
    assert first("walk", seed=5).num_frames >= 4  # an end at once is no end


def test_ended_prompts_are_not_computed(pipe, monkeypatch):
    rows, extend = [], pipe.generator.extend
    monkeypatch.setattr(
        pipe.generator, "extend", lambda state, latent: rows.append(len(latent)) or extend(state, latent)
    )
    motions = pipe.batch(["walk", "sit", "jump"], seconds=[0.5, 0.9, 0.2], seeds=[1, 2, 3])
    assert [motion.num_frames for motion in motions] == [16, 28, 8]
    assert rows == [3, 2, 2, 1, 1, 1]  # of each latent but the last, how many prompts still go on


def test_same_seed_same_motion(pipe):
    assert pipe("walk", seed=1).equal(pipe("walk", seed=1))
    assert not pipe("walk", seed=1).equal(pipe("walk", seed=2))


def test_embeddings_in_place_of_texts(pipe, embed):
    silent = MotionStreamerPipeline(pipe.model, pipe.tae, pipe.stats, empty_text=embed([""])[0], settings=pipe.settings)
    close(silent(embed(["walk"])[0], seed=1), pipe("walk", seed=1))
    with pytest.raises(ValueError, match="Texts need an embedder"):
        silent("walk")
    with pytest.raises(ValueError, match=r"`text` must have shape \(6\)"):
        silent(torch.zeros(768))


def test_saves_and_loads(pipe, embed, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = MotionStreamerPipeline.from_pretrained(tmp_path)
    assert again.settings == pipe.settings
    close(again(embed(["walk"])[0], seed=1), pipe("walk", seed=1))
    (tmp_path / "model_index.json").unlink()
    with pytest.raises(CheckpointError):
        MotionStreamerPipeline.from_pretrained(tmp_path)


def test_reads_published_files(pipe, tmp_path):
    from cospeech.hub.convert.motionstreamer import causal_tae_to_published, motionstreamer_to_published
    from cospeech.models import motionstreamer_steps

    config = MotionStreamerConfig(dim=64, num_heads=1, num_layers=1, feedforward_dim=8, head_dim=8, head_layers=1)
    model, tae = MotionStreamer(config), CausalTAE(CausalTAEConfig(hidden_dim=8))
    trans = {f"module.{key}": value for key, value in motionstreamer_to_published(model).items()}
    torch.save({"trans": trans, "scheduler": {"last_epoch": 3}, "optimizer": {"state": {}}}, tmp_path / "latest.pth")
    torch.save({"net": causal_tae_to_published(tae)}, tmp_path / "net_last.pth")
    again = MotionStreamerPipeline.from_published(
        model_file=tmp_path / "latest.pth", tae_file=tmp_path / "net_last.pth", stats=pipe.stats
    )
    assert again.model.config == config
    assert again.generator.steps == motionstreamer_steps()
    assert again.end_latent is not None
    assert again.end_latent.norm() == pytest.approx(0.27, abs=0.01)


def test_optimized_and_moved_copies(pipe):
    expected = pipe("walk", seed=1)
    close(pipe.optimize()("walk", seed=1), expected)
    close(pipe.to("cpu")("walk", seed=1), expected)


def test_errors(pipe):
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="`seconds` must be positive"):
            pipe("walk", seconds=seconds)
    with pytest.raises(ValueError, match="one for each of 2 prompts; got 1 and 2"):
        pipe.batch(["a", "b"], seconds=[1.0])
    with pytest.raises(ValueError, match="must agree on `latent_dim`; got 4 and 16"):
        MotionStreamerPipeline(pipe.model, CausalTAE(CausalTAEConfig(hidden_dim=8)), pipe.stats)
