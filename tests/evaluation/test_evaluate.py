"""From folders to a result: errors named, processes alike, sets alike, other audio told apart or not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cospeech.cli import main
from cospeech.errors import EvaluationError
from cospeech.evaluation import comparison_table, evaluate_folders, find_clips, get_protocol, make_reader
from cospeech.motion import Motion
from cospeech.skeleton import SMPL22


def evaluate(corpus: Path, generated: str = "generated", **options):
    return evaluate_folders(
        corpus / generated, corpus / "reference", **{"audio": corpus / "audio", "num_resamples": 10} | options
    )


@pytest.fixture(scope="session")
def result(corpus):
    return evaluate(corpus)


def test_result_says_what_it_rests_on(result):
    assert result.protocol.name == "cospeech"
    assert result.clips == tuple(f"clip{i}" for i in range(5))
    assert len(result.clips_hash) == 64
    assert result.extractor_hash is None
    assert result.omitted == {
        "fgd": "needs the extractor AESKConv_240_100.bin",
        "face_mse": "needs the licensed body model file",
        "face_lvd": "needs the licensed body model file",
        "srgr": "needs the clips' semantic scores",
    }
    with pytest.raises(KeyError, match="fgd: needs the extractor"):
        result["fgd"]
    for metric in result.metrics:
        assert np.isfinite(metric.value)
        if metric.low is None:  # a single group of windows has no interval
            continue
        assert metric.low <= metric.high
        if not metric.name.startswith("fgd"):  # resampled distances are biased upwards
            assert metric.low <= metric.value <= metric.high
    assert result["jerk"].value > result["jerk"].reference  # noise trembles
    assert "cannot" not in result.to_markdown().split("Mismatched")[0]


def test_same_numbers_again_and_in_parallel(corpus, result):
    again = evaluate(corpus, num_processes=2)
    assert again.metrics == result.metrics
    assert again.alignment == result.alignment
    assert again.per_clip == result.per_clip


def test_reference_against_itself_is_at_no_distance(corpus):
    same = evaluate(corpus, generated="reference", num_resamples=0)
    assert same["fgd_static"].value == pytest.approx(0, abs=1e-6)
    assert same["expression_error"].value == 0
    assert same["l1div"].value == same["l1div"].reference
    assert same["l1div"].low is None


def test_json_and_markdown(result):
    content = json.loads(result.to_json())
    assert content["protocol"]["name"] == "cospeech"
    assert {metric["name"] for metric in content["metrics"]} == {metric.name for metric in result.metrics}
    assert content["per_clip"]["l1div"].keys() == set(result.clips)
    assert "### generated: protocol `cospeech` v1" in result.to_markdown()


def test_joints_and_spectrum_are_in_the_output(result):
    assert result.per_joint.keys() == {"bc", "jerk", "mpjpe"}
    assert len(result.per_joint["mpjpe"]) == 55
    assert len(result.per_joint["bc"]) == 13
    assert np.mean(list(result.per_joint["mpjpe"].values())) == pytest.approx(result["mpjpe"].value)
    assert np.mean(list(result.per_joint["jerk"].values())) == pytest.approx(result["jerk"].value)
    power = result.spectrum
    assert power["hz"] == list(range(15))
    # White noise trembles: its power is high up, where the recorded motion has none.
    assert sum(power["generated"][10:]) > 5 * sum(power["reference"][10:])
    above = sum(power["generated"][7:]) / sum(power["generated"])
    assert above == pytest.approx(result["jitter_share"].value, abs=0.1)
    content = json.loads(result.to_json())
    assert content["per_joint"] == result.per_joint
    assert content["spectrum"] == power
    details = result.details_to_markdown()
    assert "| left_wrist | " in details
    assert "| 14 to 15 | " in details


def test_measures_of_the_issue_are_all_there(result):
    """By name: what a user may look for in the table."""
    everything = set(get_protocol("cospeech").measures)
    assert everything == {metric.name for metric in result.metrics} | set(result.omitted)
    for name in ("fgd_hands", "mpjpe", "pa_mpjpe", "pck", "diversity", "foot_contact", "foot_slide", "ground_share"):
        assert np.isfinite(result[name].value), name
    assert result["ground_penetration"].value >= 0


def test_training_clips_are_the_floor(corpus, result, tmp_path):
    floor = evaluate(corpus, train=corpus / "generated", num_resamples=0)
    assert floor.floor == "from 5 training clips to them"
    assert "from 5 training clips to them" in floor.to_markdown()
    # Here the training clips are the generated ones, so the floor is the distance itself.
    assert floor["fgd_static"].reference == pytest.approx(floor["fgd_static"].value, rel=1e-6)
    assert result.floor == "between random halves of them"
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(EvaluationError, match="training clip x: unreadable"):
        evaluate(corpus, train=tmp_path, num_resamples=0)


def test_semantic_recall_from_scores(corpus, tmp_path):
    for path in (corpus / "reference").glob("*.npz"):
        (tmp_path / f"{path.stem}.txt").write_text("a\t0.0\t30.0\t30.0\t0.165\tword\n")
    found = evaluate(corpus, semantic=tmp_path, num_resamples=0)
    assert found["srgr"].value == pytest.approx(found["pck"].value, rel=1e-5)  # every frame counts alike
    (tmp_path / "clip0.txt").unlink()
    with pytest.raises(EvaluationError, match="clip0: without semantic"):
        evaluate(corpus, semantic=tmp_path)


def test_comparison_needs_one_protocol_and_set(corpus, result):
    table = comparison_table([result, replace(result, label="again")])
    assert table.splitlines()[0] == "| measure | generated | again |"
    legacy = evaluate(corpus, protocol="legacy", num_resamples=0)
    with pytest.raises(ValueError, match="differ in protocol or clips"):
        comparison_table([result, legacy])


def spoil(folder: Path) -> dict[str, str]:
    """One clip of each kind of problem; returns what each must be called."""
    motion = Motion.load(folder / "res_clip0.npz")
    (folder / "res_clip0.npz").unlink()
    (folder / "res_clip1.npz").write_bytes(b"no archive")
    motion[:30].save(folder / "res_clip2.npz")
    replace(motion, rate_hz=15.0).save(folder / "res_clip3.npz")
    motion.save(folder / "res_stranger.npz")
    arrays = dict(np.load(folder / "res_clip4.npz"))
    arrays["poses"][3, 5] = np.nan
    np.savez(folder / "res_clip4.npz", **arrays)
    return {
        "clip0": "missing",
        "clip1": "unreadable",
        "clip2": "too short",
        "clip3": "wrong rate",
        "clip4": "NaN",
        "stranger": "without reference",
    }


def test_no_clip_is_dropped_silently(corpus, tmp_path):
    shutil.copytree(corpus / "generated", tmp_path / "bad")
    kinds = spoil(tmp_path / "bad")
    with pytest.raises(EvaluationError, match="clip0: missing"):
        evaluate_folders(tmp_path / "bad", corpus / "reference")
    with pytest.raises(EvaluationError, match="No clip is left to measure") as error:
        evaluate_folders(tmp_path / "bad", corpus / "reference", on_error="skip")
    for name, kind in kinds.items():
        assert f"{name}: {kind}" in str(error.value)
    shutil.copy(corpus / "generated" / "res_clip2.npz", tmp_path / "bad")
    found = evaluate_folders(tmp_path / "bad", corpus / "reference", on_error="skip", num_resamples=0)
    assert found.clips == ("clip2",)
    assert {problem.name: problem.kind for problem in found.problems} == {
        name: kind for name, kind in kinds.items() if name != "clip2"
    }
    assert "Left out: clip4: NaN" in found.to_markdown()


def test_every_kind_of_problem_has_its_name(corpus, tmp_path):
    """What the folders cannot show above: sound that is missing or broken, a skeleton of another kind."""
    shutil.copytree(corpus / "audio", tmp_path / "audio")
    (tmp_path / "audio" / "clip1.wav").unlink()
    pairs, problems = find_clips(corpus / "generated", corpus / "reference", tmp_path / "audio")
    assert [(problem.name, problem.kind) for problem in problems] == [("clip1", "without audio")]
    assert len(pairs) == 4
    (tmp_path / "audio" / "clip0.wav").write_bytes(b"RIFF and nothing")
    reader = make_reader(get_protocol("legacy"), audio=tmp_path / "audio")
    found = reader(pairs[0])
    assert (found.name, found.kind) == ("clip0", "unreadable")
    body = Motion.load(corpus / "reference" / "clip0.npz")
    small = Motion(
        local_axis_angle=body.local_axis_angle[:, :22], translation=body.translation, rate_hz=30.0, skeleton=SMPL22
    )
    small.save(tmp_path / "clip0.npz")
    found = reader(replace(pairs[0], generated=tmp_path / "clip0.npz"))
    assert (found.name, found.kind) == ("clip0", "wrong skeleton")
    shutil.copy(tmp_path / "clip0.npz", tmp_path / "res_clip0.npz")
    with pytest.raises(EvaluationError, match="two files of the clip clip0"):
        find_clips(tmp_path, corpus / "reference")


def test_errors_say_what_must_hold(corpus, tmp_path):
    with pytest.raises(ValueError, match="Unknown protocol 'fid'; choose from cospeech, legacy"):
        evaluate(corpus, protocol="fid")
    with pytest.raises(ValueError, match="'beat2022' has no use for `body`; it takes audio, semantic"):
        evaluate(corpus, protocol="beat2022", body="SMPLX_NEUTRAL.npz")
    with pytest.raises(EvaluationError, match="give the training `statistics`"):
        evaluate_folders(tmp_path, tmp_path, protocol="diffsheg")
    with pytest.raises(ValueError, match="`on_error` must be 'fail' or 'skip'"):
        evaluate(corpus, on_error="ignore")
    with pytest.raises(EvaluationError, match="must be a folder of motion files"):
        evaluate_folders(tmp_path / "nowhere", corpus / "reference")
    with pytest.raises(EvaluationError, match="holds no motion files"):
        evaluate_folders(tmp_path, corpus / "reference")


def test_unequal_lengths_are_noted(corpus, tmp_path):
    for path in (corpus / "generated").iterdir():
        Motion.load(path)[:200].save(tmp_path / path.name)
    calls = []
    found = evaluate_folders(
        tmp_path,
        corpus / "reference",
        protocol="globaldiff",
        num_resamples=0,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert any("cut to 200" in note for note in found.notes)
    assert calls == [(i, 5) for i in range(1, 6)]


def test_published_protocols_run(corpus):
    for name in ("legacy", "evaltools", "globaldiff"):
        found = evaluate(corpus, protocol=name, num_resamples=0)
        wanted = set(get_protocol(name).measures) - {"fgd", "face_mse", "face_lvd"}
        assert {metric.name for metric in found.metrics} == wanted


def test_command_line(corpus, tmp_path, capsys):
    words = ["evaluate", "--reference", corpus / "reference", "--audio", corpus / "audio", "--resamples", "0"]
    words += ["--generated", corpus / "generated", corpus / "reference"]
    words += ["--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md"]
    assert main([str(word) for word in words]) == 0
    shown = capsys.readouterr().out
    assert "| measure | generated | reference |" in shown
    assert (tmp_path / "out.md").read_text() == shown
    assert [entry["label"] for entry in json.loads((tmp_path / "out.json").read_text())] == ["generated", "reference"]
    words[2] = tmp_path
    assert main([str(word) for word in words]) == 1
    assert "holds no motion files" in capsys.readouterr().err


def test_alignment_test_knows_when_audio_does_not_matter(result):
    """Motion beats at random moments score alike with any audio."""
    from cospeech.evaluation import ClipMeasures, alignment_test
    from cospeech.metrics import score_beats

    protocol = get_protocol("cospeech")
    generator = torch.Generator().manual_seed(1)

    def clip(number: int, follow: bool) -> ClipMeasures:
        onsets = (torch.rand(30, generator=generator, dtype=torch.float64) * 56).sort().values
        own = onsets if follow else (torch.rand(30, generator=generator, dtype=torch.float64) * 56).sort().values
        beats = [own] * len(protocol.beat.joints)
        made = ClipMeasures(str(number), 1800, beats=beats, onsets=onsets)
        made.values["bc"] = (float(score_beats(beats, onsets, protocol.beat)[0]), 1680.0)
        return made

    follows = alignment_test([clip(i, True) for i in range(12)], protocol)
    assert follows.tells_apart
    assert "tells them apart" in str(follows)
    wanders = alignment_test([clip(i, False) for i in range(12)], protocol)
    assert not wanders.tells_apart
    assert "CANNOT" in str(wanders)
    alone = alignment_test([clip(0, True)], protocol)
    assert alone.others == "shifted audio"
    assert not alone.tells_apart
