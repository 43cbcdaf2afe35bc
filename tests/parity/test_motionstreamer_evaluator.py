"""The evaluator of text to motion, its losses and its metrics against the published program."""

import json

import pytest
import torch
import torch.nn.functional as F

from cospeech.hub.convert.evaluators import motion_evaluator_from_published, text_evaluator_from_published
from cospeech.hub.convert.motionstreamer import EVALUATOR_DECODER, evaluator_decoder_from_published
from cospeech.metrics import (
    drawn_diversity,
    frechet_distance,
    matching_distances,
    multimodality,
    r_precision,
    retrieval_ranks,
    root_aligned_errors,
)
from cospeech.models import NormalDistribution
from cospeech.nn import sinusoidal_positions
from cospeech.training import evaluator_losses


def close(ours, expected, atol=1e-4, rtol=0):
    torch.testing.assert_close(ours, expected, rtol=rtol, atol=atol, check_dtype=False)


def published(case):
    """The filled state with its tables of positions, and the configuration."""
    layout = case.layout(case.settings.get("layout"))
    keep = {
        key: sinusoidal_positions(shape[0], shape[2])[:, None]
        for key, shape, *_ in layout["keys"]
        if key.endswith("sequence_pos_encoding.pe")
    }
    return case.published_state(case.settings.get("layout"), keep=keep), layout["config"]


@pytest.mark.case("motionstreamer_evaluator_motion")
@torch.inference_mode()
def test_motion_encoder(case):
    state, config = published(case)
    encoder = motion_evaluator_from_published(state, num_heads=config["num_heads"])
    given, expected = case.inputs, case.outputs
    padded = F.pad(given["features"], (0, 0, 0, config["max_len"] - given["features"].shape[1]))
    for features in (given["features"], padded):  # padding to 300 frames, as published, changes nothing
        motion = encoder(features, given["lengths"])
        close(motion.mean, expected["loc"])
        close(motion.std, expected["scale"])


@pytest.mark.case("motionstreamer_evaluator_text")
@torch.inference_mode()
def test_text_encoder(case):
    state, config = published(case)
    encoder = text_evaluator_from_published(
        state, num_heads=config["num_heads"], num_bert_heads=config["distilbert"]["n_heads"]
    )
    tokens, mask = case.inputs["input_ids"], case.inputs["attention_mask"]
    hidden = encoder.bert(tokens, mask)
    close(hidden[mask.bool()], case.outputs["last_hidden_state"][mask.bool()])
    text = encoder(tokens, mask)
    close(text.mean, case.outputs["loc"])
    close(text.std, case.outputs["scale"])


@pytest.mark.case("motionstreamer_evaluator_decoder")
@torch.inference_mode()
def test_decoder(case):
    state, config = published(case)
    decoder = evaluator_decoder_from_published(state, num_heads=config["num_heads"])
    close(decoder(case.inputs["z"], case.inputs["lengths"]), case.outputs["features"])
    again = EVALUATOR_DECODER.to_published(decoder.state_dict())
    assert again.keys() == {key for key in state if not key.endswith(".pe")}
    assert all(torch.equal(tensor, state[key]) for key, tensor in again.items())


@pytest.mark.case("motionstreamer_evaluator_losses")
def test_losses(case):
    given, expected = case.inputs, case.outputs
    names = {
        "from_motion": "recons_jfeats2jfeats",
        "from_text": "recons_text2jfeats",
        "text_to_motion": "kl_text2motion",
        "motion_to_text": "kl_motion2text",
        "text": "kl_text",
        "motion": "kl_motion",
        "latent": "latent_manifold",
        "contrastive": "contrastive_infonce",
    }

    def losses(similarity):
        return evaluator_losses(
            NormalDistribution(given["text_loc"], given["text_scale"]),
            NormalDistribution(given["motion_loc"], given["motion_scale"]),
            text_latent=given["lat_text"],
            motion_latent=given["lat_motion"],
            decoded_text=given["f_text"],
            decoded_motion=given["f_motion"],
            features=given["f_ref"],
            similarity=similarity,
        )

    ours = losses(given["similarity"])
    for name, theirs in names.items():
        close(getattr(ours, name), expected[theirs], 1e-5)
    close(ours.total, expected["total"], 1e-5)
    close(losses(None).contrastive, expected["contrastive_infonce_unfiltered"], 1e-5)
    weights = json.loads(case.settings["weights"])
    assert weights == dict(zip(names.values(), [1, 1, 1e-5, 1e-5, 1e-5, 1e-5, 1e-5, 0.1], strict=True))


@pytest.mark.case("motionstreamer_metrics")
def test_metrics(case):
    given, expected, group = case.inputs, case.outputs, int(case.settings["group"])

    def groups(embeddings):
        whole = len(embeddings) // group * group
        return embeddings[:whole].reshape(-1, group, embeddings.shape[1])

    for name, motion in [("", given["pred"]), ("_gt", given["gt"])]:
        distances = matching_distances(groups(given["text"]), groups(motion))
        close(r_precision(retrieval_ranks(distances)), expected[f"r_precision{name}"])
        close(distances.diagonal(dim1=-2, dim2=-1).mean(), expected[f"mm_dist{name}"])
        if not name:
            close(distances[0], expected["distance_matrix_first32"][: len(distances[0])])

    shuffle = given["tmr_shuffle"]
    distances = matching_distances(groups(given["text"][shuffle]), groups(given["pred"][shuffle]), normalize=True)
    close(r_precision(retrieval_ranks(distances)), expected["tmr_r_precision"])
    close(distances.diagonal(dim1=-2, dim2=-1).mean(), expected["tmr_matching"])

    close(frechet_distance(given["gt"], given["pred"]), expected["fid"], 0, 1e-5)
    deficient = expected["fid_rank_deficient"]
    close(frechet_distance(given["gt"], given["pred"][:40]), deficient, 0, 1e-5)
    close(drawn_diversity(given["pred"], given["diversity_first"], given["diversity_second"]), expected["diversity"])
    repeats = multimodality(given["mm_embeddings"], given["mm_first"], given["mm_second"])
    close(repeats, expected["multimodality"])
    close(root_aligned_errors(given["joints_pred"], given["joints_gt"]).mean(-1), expected["mpjpe_frames"])
