"""The pipeline's promises, on networks small enough to be made anew: random weights keep every promise or none."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cospeech.errors import AudioError, CheckpointError, ModelNotFoundError
from cospeech.models import SpeechModel, SpeechModelConfig, StackedDenoiser
from cospeech.motion import Motion
from cospeech.pipelines import GlobalDiffPipeline, load_pipeline
from cospeech.samplers import GlobalDiffSampler

RATE = 16000


@pytest.fixture
def pipeline(small_pipeline: GlobalDiffPipeline) -> GlobalDiffPipeline:
    return small_pipeline


def speech(seconds: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * RATE)) / RATE
    loudness = torch.sin(2 * math.pi * 1.5 * time).clamp_min(0)
    return 0.3 * loudness * torch.sin(2 * math.pi * 140 * time) + 0.01 * torch.randn(len(time), generator=generator)


def rebuilt(pipeline: GlobalDiffPipeline, **changes: Any) -> GlobalDiffPipeline:
    options = {"rest_poses": pipeline.rest_poses} | changes
    return GlobalDiffPipeline(pipeline.denoiser, pipeline.speech_model, pipeline.features, **options)


def assert_same(a: Motion, b: Motion, tolerance: float = 1e-4) -> None:
    assert a.num_frames == b.num_frames
    for x, y in [
        (a.global_rotations(), b.global_rotations()),
        (a.translation, b.translation),
        (a.expressions, b.expressions),
    ]:
        torch.testing.assert_close(x, y, atol=tolerance, rtol=0)


def generate(pipeline: GlobalDiffPipeline, audio: Tensor, **options: int) -> Motion:
    return pipeline(audio, source_rate_hz=RATE, **options)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.99, 2.0, 2.001, 3.7333, 3.74, 7.3])
def test_motion_covers_the_audio_to_its_end(pipeline: GlobalDiffPipeline, seconds: float) -> None:
    audio = speech(seconds)
    motion = generate(pipeline, audio)
    assert motion.num_frames == math.ceil(len(audio) * 30 / RATE)
    assert motion.rate_hz == 30
    assert motion.expressions is not None
    assert motion.expressions.shape == (motion.num_frames, 100)
    assert not motion.local_axis_angle.requires_grad


@pytest.mark.parametrize("seconds", [0.3, 2.0, 6.1])
def test_stream_equals_the_whole(pipeline: GlobalDiffPipeline, seconds: float) -> None:
    audio = speech(seconds)
    pieces = list(pipeline.stream(audio, source_rate_hz=RATE, speaker=2, seed=5))
    assert_same(Motion.concatenate(pieces), generate(pipeline, audio, speaker=2, seed=5))


def test_stream_gives_frames_before_the_end_is_heard(pipeline: GlobalDiffPipeline) -> None:
    first = next(pipeline.stream(speech(20), source_rate_hz=RATE))
    assert first.num_frames == 52


def test_a_clip_does_not_depend_on_its_batch(pipeline: GlobalDiffPipeline) -> None:
    clips = [speech(0.4, 1), speech(6.0, 2), speech(3.0, 3)]
    together = pipeline.batch(clips, speakers=[1, 2, 3], seeds=[7, 8, 9], source_rate_hz=RATE)
    for clip, speaker, seed, motion in zip(clips, (1, 2, 3), (7, 8, 9), together, strict=True):
        assert_same(motion, generate(pipeline, clip, speaker=speaker, seed=seed))


def test_seed_speaker_and_speech_each_matter_and_nothing_else_does(pipeline: GlobalDiffPipeline) -> None:
    audio = speech(2.5)
    motion = generate(pipeline, audio)
    torch.manual_seed(123)  # the global generator plays no part
    state = torch.random.get_rng_state()
    again = generate(pipeline, audio)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(again.local_axis_angle, motion.local_axis_angle)
    for other in (
        generate(pipeline, audio, seed=1),
        generate(pipeline, audio, speaker=2),
        generate(pipeline, speech(2.5, seed=9).flip(0)),
    ):
        assert not torch.allclose(other.global_rotations(), motion.global_rotations(), atol=1e-3)


def test_later_speech_does_not_change_earlier_frames(pipeline: GlobalDiffPipeline) -> None:
    audio = speech(8.0)
    changed = audio.clone()
    changed[4 * RATE :] = 0
    ours, theirs = generate(pipeline, audio), generate(pipeline, changed)
    certain = 52 * 1  # windows 0 and 1 end before second 4; the frames that window 2 blends into are left out
    assert torch.equal(ours.translation[:certain], theirs.translation[:certain])
    assert not torch.equal(ours.translation[130:], theirs.translation[130:])


def test_motion_starts_in_the_rest_pose(pipeline: GlobalDiffPipeline) -> None:
    far_away = pipeline.rest_poses + torch.tensor([0.0] * 332 + [50.0])  # to be seen through an untrained network
    moved = rebuilt(pipeline, rest_poses=far_away)
    assert float(generate(moved, speech(1.0)).translation[0, 2]) > 10


def test_any_audio_source_is_heard_alike(pipeline: GlobalDiffPipeline, tmp_path) -> None:
    from scipy.io import wavfile

    samples = (speech(1.2) * 32767).to(torch.int16)
    path = tmp_path / "speech.wav"
    wavfile.write(path, RATE, samples.numpy())
    expected = generate(pipeline, samples)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert_same(pipeline(source), expected)
    assert_same(generate(pipeline, samples.numpy()), expected)


def test_optimized_gives_the_same_motion_and_leaves_the_original(pipeline: GlobalDiffPipeline) -> None:
    audio = speech(2.5)
    before = generate(pipeline, audio)
    assert_same(generate(pipeline.optimize(), audio), before, tolerance=1e-3)
    assert torch.equal(generate(pipeline, audio).local_axis_angle, before.local_axis_angle)


def test_what_is_optimized_is_neither_saved_nor_optimized_again(pipeline: GlobalDiffPipeline, tmp_path: Path) -> None:
    fast = pipeline.optimize()
    fast.denoiser = StackedDenoiser(pipeline.denoiser)  # whatever was faster here
    with pytest.raises(TypeError, match="cannot be saved"):
        fast.save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="optimized already"):
        fast.optimize()
    assert_same(generate(fast, speech(2.5)), generate(pipeline, speech(2.5)), tolerance=1e-3)


def test_guidance_of_any_batch_leads_away_from_nobody(pipeline: GlobalDiffPipeline, tmp_path: Path) -> None:
    clips = [speech(0.4, 1), speech(3.0, 2)]
    guided = rebuilt(pipeline, guidance_scale=2.5)
    together = guided.batch(clips, speakers=[1, 3], seeds=[7, 8], source_rate_hz=RATE)
    for clip, speaker, seed, motion in zip(clips, (1, 3), (7, 8), together, strict=True):
        assert_same(motion, generate(guided, clip, speaker=speaker, seed=seed))
        plain = generate(pipeline, clip, speaker=speaker, seed=seed)
        assert not torch.allclose(motion.global_rotations(), plain.global_rotations(), atol=1e-2)
    guided.save_pretrained(tmp_path)
    assert load_pipeline(tmp_path).guidance_scale == 2.5
    assert guided.optimize().guidance_scale == guided.to("cpu").guidance_scale == 2.5
    with pytest.raises(ValueError, match="`guidance_scale` must be finite and not negative"):
        rebuilt(pipeline, guidance_scale=float("nan"))


def test_another_device_is_another_pipeline(pipeline: GlobalDiffPipeline) -> None:
    other = pipeline.to("cpu")
    assert other is not pipeline
    audio = speech(1.0)
    assert_same(generate(other, audio), generate(pipeline, audio))


def test_progress_counts_the_frames_of_all_clips(pipeline: GlobalDiffPipeline, capsys) -> None:
    seen: list[tuple[int, int]] = []
    motions = pipeline.batch(
        [speech(4.0), speech(1.0)], source_rate_hz=RATE, callback=lambda done, total: seen.append((done, total))
    )
    total = sum(motion.num_frames for motion in motions)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (total, total)
    assert capsys.readouterr().err == ""  # no terminal, no bar


def test_a_bar_is_drawn_when_asked_for(pipeline: GlobalDiffPipeline, capsys) -> None:
    generate_with_bar = pipeline(speech(1.0), source_rate_hz=RATE, progress=True)
    assert "frames" in capsys.readouterr().err
    assert generate_with_bar.num_frames == 30


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(RATE), "is silent"),
        (torch.ones(1), "is too short: 1 sample"),
        (speech(0.09), "is too short"),
        (torch.full((RATE,), math.nan), "NaN"),
        (np.zeros(0, np.float32), "holds no samples"),
    ],
)
def test_audio_that_cannot_be_used_is_refused(pipeline: GlobalDiffPipeline, audio: Tensor, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        pipeline(audio, source_rate_hz=RATE)


def test_one_bad_clip_stops_a_batch_before_any_work(pipeline: GlobalDiffPipeline) -> None:
    done: list[int] = []
    with pytest.raises(AudioError, match="silent"):
        pipeline.batch(
            [speech(1.0), torch.zeros(RATE)], source_rate_hz=RATE, callback=lambda frames, _: done.append(frames)
        )
    assert done == []


def test_bad_arguments_are_named(pipeline: GlobalDiffPipeline) -> None:
    for speaker in (0, 4, -1):
        with pytest.raises(ValueError, match=rf"Unknown speaker {speaker}; choose from 1 to 3\."):
            generate(pipeline, speech(1.0), speaker=speaker)
    with pytest.raises(ValueError, match="Unknown speaker 9"):
        pipeline.stream(speech(1.0), source_rate_hz=RATE, speaker=9)  # told at once, not at the first frame
    with pytest.raises(ValueError, match="`seeds` must be one for each of the 1 clips; got 2"):
        pipeline.batch([speech(1.0)], seeds=[1, 2], source_rate_hz=RATE)


def test_parts_that_do_not_fit_are_refused(pipeline: GlobalDiffPipeline) -> None:
    with pytest.raises(ValueError, match="`rest_poses` must have shape"):
        GlobalDiffPipeline(
            pipeline.denoiser, pipeline.speech_model, pipeline.features, rest_poses=torch.zeros(3, 7, 333)
        )
    other = SpeechModel(SpeechModelConfig(hidden_dim=32, num_layers=1, num_heads=2, feature_dim=7))
    with pytest.raises(ValueError, match=r"must agree on `feature_dim`; got \[7, 30\]"):
        GlobalDiffPipeline(pipeline.denoiser, other, pipeline.features, rest_poses=pipeline.rest_poses)


def test_no_clip_is_no_motion(pipeline: GlobalDiffPipeline) -> None:
    assert pipeline.batch([]) == []


def test_sampler_settings_are_used(pipeline: GlobalDiffPipeline) -> None:
    audio = speech(1.0)
    few, many = (rebuilt(pipeline, sampler=GlobalDiffSampler(num_calls=n)) for n in (2, 10))
    assert not torch.allclose(generate(few, audio).translation, generate(many, audio).translation, atol=1e-4)


def test_saved_and_loaded_gives_the_same_motion(pipeline: GlobalDiffPipeline, tmp_path: Path) -> None:
    sampler = GlobalDiffSampler(num_calls=3, seams="flat")
    saved = rebuilt(pipeline, sampler=sampler)
    saved.save_pretrained(tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model")
    audio = speech(3.0)
    assert loaded.sampler == sampler
    assert torch.equal(generate(loaded, audio).local_axis_angle, generate(saved, audio).local_axis_angle)


def test_half_precision_halves_the_files(pipeline: GlobalDiffPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "full")
    pipeline.save_pretrained(tmp_path / "half", dtype=torch.float16)
    full, half = (
        sum(file.stat().st_size for file in (tmp_path / name).rglob("model.safetensors")) for name in ("full", "half")
    )
    assert half < 0.6 * full
    audio = speech(1.0)
    assert_same(generate(load_pipeline(tmp_path / "half"), audio), generate(pipeline, audio), tolerance=0.1)


def test_models_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="No model 'cospeech-huge'"):
        load_pipeline("cospeech-huge")
    with pytest.raises(CheckpointError, match=r"model_index\.json cannot be read"):
        load_pipeline(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pipeline": "ShellPipeline"}, "names the pipeline 'ShellPipeline'; known are .*GlobalDiffPipeline"),
        ({"format_version": 99}, "has format version 99; this cospeech reads 1"),
        ({"settings": {"window_frames": "60"}}, "window_frames must be int; got '60'"),
        ({"settings": {"run": "rm -rf /"}}, "Unknown fields in .*: run"),
        ({"surprise": 1}, "must hold format_version, pipeline and settings"),
    ],
)
def test_an_index_that_is_wrong_is_refused(
    pipeline: GlobalDiffPipeline, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    pipeline.save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load_pipeline(tmp_path)


def test_rest_poses_of_another_shape_are_refused(pipeline: GlobalDiffPipeline, tmp_path: Path) -> None:
    from cospeech.hub import save_tensors

    pipeline.save_pretrained(tmp_path)
    save_tensors({"rest_poses": torch.zeros(2, 8, 333)}, tmp_path / "rest_poses.safetensors")
    with pytest.raises(ValueError, match="`rest_poses` must have shape"):
        load_pipeline(tmp_path)
    save_tensors({"poses": torch.zeros(3, 8, 333)}, tmp_path / "rest_poses.safetensors")
    with pytest.raises(CheckpointError, match="must hold `rest_poses`; got poses"):
        load_pipeline(tmp_path)


def test_a_folder_without_its_index_is_no_pipeline(pipeline: GlobalDiffPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    (tmp_path / "model_index.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_pipeline(tmp_path)


@pytest.mark.parametrize("visits", [1, 2])
def test_foppas_joins_the_windows_instead(pipeline: GlobalDiffPipeline, visits: int) -> None:
    """Streamed or whole, alone or beside others; faces go over from window to window too."""
    changed = pipeline.with_sampler(GlobalDiffSampler(num_calls=4, foppas_visits=visits))
    audio = speech(6.1)
    motion = generate(changed, audio, speaker=2, seed=5)
    assert_same(Motion.concatenate(list(changed.stream(audio, source_rate_hz=RATE, speaker=2, seed=5))), motion)
    together = changed.batch([speech(2.5, seed=1), audio], speakers=[1, 2], seeds=[4, 5], source_rate_hz=RATE)
    assert_same(together[1], motion, tolerance=1e-3)
    own = generate(pipeline.with_sampler(GlobalDiffSampler(num_calls=4)), audio, speaker=2, seed=5)
    assert (own.local_axis_angle - motion.local_axis_angle).abs().max() > 1e-3
    assert motion.expressions is not None
    assert own.expressions is not None
    jump = own.expressions.diff(dim=0).abs().max()
    assert motion.expressions.diff(dim=0).abs().max() < 2 * jump
