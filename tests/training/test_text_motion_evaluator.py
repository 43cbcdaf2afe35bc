"""The training of the evaluator of text to motion: its draws, its measures, what it leaves behind."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cospeech.data.sources import ProceduralSource
from cospeech.evaluation import evaluate_folders
from cospeech.hub import load_model, load_published, load_tensors
from cospeech.hub.convert.evaluators import motion_evaluator_from_published, text_evaluator_from_published
from cospeech.hub.convert.motionstreamer import evaluator_decoder_from_published
from cospeech.hub.convert.networks import write_published
from cospeech.models import MotionEvaluator, TextEvaluator, TextMotionNetworks
from cospeech.representations import STREAMER_LAYOUT
from cospeech.training import Clock, HashedTokenizer, load_recipes, make_optimizer, retrieval_terms
from cospeech.training.captions import (
    EmbeddedTexts,
    drawn_language_model,
    embed_texts,
    load_language_model,
)
from cospeech.training.tasks.described import Describer

RECIPES = Path(__file__).parents[2] / "examples/recipes"
SIZES = ["task.model.text_dim=16", "task.model.encoder.dim=16", "task.model.encoder.num_layers=1"]
SMALL = [*SIZES, "task.model.encoder.feedforward_dim=32"]


def make_task(folder, **changes):
    """The small recipe's task on four clips of six seconds, a fourth of them held out."""
    (recipe,) = load_recipes(RECIPES / "small" / "evaluator.toml", SMALL)
    data = dataclasses.replace(
        recipe.task.data,
        prepared=str(folder / "clips"),
        procedural=ProceduralSource(clips=4, seconds=6.0),
        held_out=0.25,
    )
    torch.manual_seed(0)
    return dataclasses.replace(recipe.task, data=data, **changes).build()


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("evaluator"))


def clock(seed=0):
    return Clock(0, 10, 0.0, torch.Generator().manual_seed(seed))


def test_cuts_are_whole_units_of_their_clip_and_a_third_is_shorter(task):
    """Pieces of 67 frames: 64 frames, or 60 in a third of cases, from anywhere."""
    generator = torch.Generator().manual_seed(0)
    lengths, found = [], task.stats.normalize(task.clips.frames(0, 0, 67))
    for _ in range(300):
        batch = task.batch([0], generator)
        length = int(batch.lengths)
        lengths.append(length)
        assert batch.features.shape == (1, 68, 272)
        assert not batch.features[0, length:].any()
        starts = range(67 - length + 1)
        assert any(torch.equal(batch.features[0, :length], found[start : start + length]) for start in starts)
    assert set(lengths) == {60, 64}
    assert 60 < lengths.count(60) < 140


def test_held_out_pieces_are_of_other_clips(task):
    assert (task.num_items, task.num_held_out) == (6, 2)
    clips = [item.clip for item in task.items]
    assert set(clips[: task.num_items]).isdisjoint(clips[task.num_items :])


def test_padding_of_texts_and_motions_changes_no_loss(task):
    model = task.model.eval()
    batch = task.batch([0, 1, 2], torch.Generator().manual_seed(1))
    padded = batch._replace(hidden=F.pad(batch.hidden, (0, 0, 0, 3), value=9.0))
    with torch.no_grad():
        plain, other = (task.losses(model, x, clock()) for x in (batch, padded))
        for name, value in plain.items():
            torch.testing.assert_close(other[name], value, msg=name)
        # A motion alone and beside longer ones: the same place in space.
        short = int(batch.lengths.argmin())
        alone = model.motion(batch.features[[short], : batch.lengths[short]])
        beside = model.motion(batch.features, batch.lengths)
        torch.testing.assert_close(alone.mean[0], beside.mean[short])


def test_the_reconstruction_is_a_mean_over_all_frames_that_there_may_be(task):
    """The published program pads to 300 frames before it takes the mean."""
    model, batch = task.model.eval(), task.batch([0, 1], torch.Generator().manual_seed(0))
    wider = batch._replace(features=F.pad(batch.features, (0, 0, 0, 68)))
    with torch.no_grad():
        one, two = (task.losses(model, x, clock())["from_motion"] for x in (batch, wider))
    torch.testing.assert_close(two, one / 2)


def test_equal_captions_are_no_negatives(task):
    item = task.items[0]
    task.items[0] = item._replace(captions=task.items[1].captions)
    try:
        batch = task.batch([0, 1], torch.Generator())
    finally:
        task.items[0] = item
    similarity = batch.sentences @ batch.sentences.T
    assert 0.85 < similarity[0, 1] < 1


def test_gradients_reach_every_weight_and_steps_lower_the_loss(task):
    batch, model = task.batch(range(6), torch.Generator().manual_seed(0)), task.model.train()
    (recipe,) = load_recipes(RECIPES / "small" / "evaluator.toml")
    optimizer = make_optimizer(model.parameters(), recipe.optimizer)
    losses = []
    for step in range(30):
        loss = task.losses(model, batch, clock(step))["total"]
        loss.backward()
        if step == 0:
            assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_retrieval_is_that_of_a_slow_twin():
    generator = torch.Generator().manual_seed(0)
    motion = torch.randn(70, 5, generator=generator)
    text = motion + torch.randn(70, 5, generator=generator)
    found = retrieval_terms(text, motion, torch.Generator().manual_seed(3))
    order = torch.randperm(70, generator=torch.Generator().manual_seed(3)).tolist()[:64]
    hits, distances = [0, 0, 0], []
    for group in (order[:32], order[32:]):
        for row in group:
            far = {
                other: float((F.normalize(text[row], dim=0) - F.normalize(motion[other], dim=0)).norm())
                for other in group
            }
            rank = sorted(far, key=far.get).index(row)
            hits = [count + (rank <= top) for top, count in enumerate(hits)]
            distances.append(far[row])
    assert [float(found[f"r_precision_{top}"]) for top in (1, 2, 3)] == pytest.approx([count / 64 for count in hits])
    assert float(found["matching"]) == pytest.approx(sum(distances) / 64, rel=1e-5)
    assert retrieval_terms(text[:31], motion[:31], generator) == {}


def test_captions_say_what_is_measured():
    """A hand goes up and the other shakes: the words change, and no others."""
    generator = torch.Generator().manual_seed(0)
    clips = [0.1 * torch.randn(20, 272, generator=generator) for _ in range(30)]
    describe = Describer(clips)
    parts = {name: x.clone() for name, x in STREAMER_LAYOUT.split(torch.zeros(20, 272)).items()}
    positions, velocities = (parts[name].view(20, 22, 3) for name in ("positions", "velocities"))
    positions[:, 20, 1], positions[:, 21, 1], positions[:, 15, 0], velocities[:, 21] = 5.0, -5.0, 5.0, 5.0
    assert describe(STREAMER_LAYOUT.join(parts)) == (
        "the left hand is high and still, the right hand is low and lively, the body leans left"
    )


def test_hashed_words_are_the_same_words_everywhere():
    tokenize = HashedTokenizer(1000)
    tokens = tokenize(["the left hand", "The hand."])["input_ids"]
    assert tokens.tolist() == [[1, 498, 292, 143], [1, 498, 143, 0]]
    with pytest.raises(ValueError, match="must be 'pt'"):
        tokenize(["a"], return_tensors="np")
    with pytest.raises(ValueError, match="must be 3 at least; got 2"):
        HashedTokenizer(2)


def test_texts_are_kept_as_the_language_model_says_them(tmp_path):
    model, tokenize = drawn_language_model(16)
    texts = ["a hand", "two hands go up", "up"]
    embed_texts(texts, model, tokenize, torch.eye(3), tmp_path / "made" / "texts.safetensors")
    kept = EmbeddedTexts(tmp_path / "made" / "texts.safetensors")
    for row, text in enumerate(texts):
        tokens = tokenize([text])["input_ids"]
        torch.testing.assert_close(kept.hidden(text), model(tokens)[0], atol=2e-3, rtol=2e-3)
        assert torch.equal(kept.sentences([text])[0], torch.eye(3)[row])
    assert torch.equal(drawn_language_model(16)[0].words.weight, model.words.weight)
    with pytest.raises(ValueError, match="`sentences` must hold 3 rows"):
        embed_texts(texts, model, tokenize, torch.eye(2), tmp_path / "x.safetensors")


def test_distilbert_is_read_as_the_transformers_library_keeps_it(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.DistilBertConfig(
        vocab_size=12, max_position_embeddings=8, dim=16, n_layers=2, n_heads=4, hidden_dim=24
    )
    theirs = transformers.DistilBertForMaskedLM(config).eval()
    theirs.save_pretrained(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "hand", "goes", "up", "two", "hands", "go"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.DistilBertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    ours, tokenize = load_language_model(str(tmp_path))
    tokens = tokenize(["a hand goes up", "two"], return_tensors="pt", padding=True)
    mask = tokens["attention_mask"].bool()
    with torch.inference_mode():
        wanted = theirs.distilbert(**tokens).last_hidden_state
        torch.testing.assert_close(ours(tokens["input_ids"], mask)[mask], wanted[mask], atol=1e-5, rtol=0)
    assert not any(p.requires_grad for p in ours.parameters())


def test_the_finished_model_measures_at_once(task, tmp_path):
    """Its folder is an extractor of ``cospeech evaluate``, and converts to the published file and back."""
    import numpy as np

    task.save(tmp_path / "model")
    motion = load_model(MotionEvaluator, tmp_path / "model" / "motion-evaluator")
    text = load_model(TextEvaluator, tmp_path / "model" / "text-evaluator")
    model = task.model.eval()
    batch = task.batch([0], torch.Generator().manual_seed(0))
    (caption,) = task.items[0].captions
    tokens = HashedTokenizer(text.config.bert.vocabulary)([caption])
    with torch.no_grad():
        torch.testing.assert_close(motion(batch.features, batch.lengths), model.motion(batch.features, batch.lengths))
        said = text(tokens["input_ids"], tokens["attention_mask"]).mean
        torch.testing.assert_close(said, model.encode_text(batch.hidden, batch.text_lengths).mean, atol=1e-2, rtol=0)

    write_published(tmp_path / "model", tmp_path / "epoch=99.ckpt")
    state = load_published(tmp_path / "epoch=99.ckpt")
    heads = text.config.bert.num_heads
    read = (text_evaluator_from_published(state, num_bert_heads=heads), motion_evaluator_from_published(state))
    for ours, again in zip((text, motion), read, strict=True):
        assert all(torch.equal(x, again.state_dict()[key]) for key, x in ours.state_dict().items())
    evaluator_decoder_from_published(state)

    for name in ("generated", "recorded", "texts"):
        (tmp_path / name).mkdir()
    for clip in range(3):
        np.save(tmp_path / "recorded" / f"{clip}.npy", task.clips.frames(clip).numpy())
        np.save(tmp_path / "generated" / f"{clip}.npy", task.clips.frames(clip).numpy() + 0.01)
        (tmp_path / "texts" / f"{clip}.txt").write_text(caption)
    result = evaluate_folders(
        tmp_path / "generated",
        tmp_path / "recorded",
        protocol="motionstreamer",
        extractor=tmp_path / "model",
        statistics=tmp_path / "model" / "statistics.safetensors",
        texts=tmp_path / "texts",
        tokenizer=HashedTokenizer(text.config.bert.vocabulary),
        num_resamples=0,
    )
    assert result.extractor_hash is not None
    assert 0 <= result["fid"].value < float("inf")
    assert load_tensors(tmp_path / "model" / "statistics.safetensors").keys() == {"mean", "std"}


def test_what_cannot_be_is_said(tmp_path):
    (recipe,) = load_recipes(RECIPES / "small" / "evaluator.toml", SMALL)
    with pytest.raises(ValueError, match="below `max_frames`; got 60 and 60"):
        dataclasses.replace(recipe.task, max_frames=60)
    with pytest.raises(ValueError, match="no captioned clip of 60 to 67 frames"):
        make_task(tmp_path, captions="own")


def test_the_published_recipe_is_the_published_training():
    (recipe,) = load_recipes(RECIPES / "motionstreamer" / "evaluator.toml")
    optimizer, run = recipe.optimizer, recipe.run
    plain = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4).defaults
    assert (optimizer.name, optimizer.learning_rate, run.batch_size, run.seed) == ("adamw", 1e-4, 256, 1234)
    assert (optimizer.betas, optimizer.weight_decay) == (plain["betas"], plain["weight_decay"])
    networks = TextMotionNetworks(recipe.task.model)
    assert {x.p for x in networks.modules() if isinstance(x, torch.nn.Dropout)} == {0.1}
    assert sum(p.numel() for p in networks.motion.parameters()) == 3_229_440
