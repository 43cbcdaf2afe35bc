"""The pipeline's promises, on networks small enough to be made anew."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cospeech.audio import ProsodyConfig, ProsodyFeatures
from cospeech.hub.convert.diffsheg import diffsheg_to_published
from cospeech.io import load_arkit_json, load_beat_bvh, save_arkit_json, save_beat_bvh
from cospeech.models import BufferedDiffSHEG, DiffSHEGConfig, DiffSHEGDenoiser
from cospeech.motion import Motion
from cospeech.nn.optimization import ColumnMajorLinear
from cospeech.pipelines import DiffSHEGPipeline, DiffSHEGSampling, ProsodyTrack, load_pipeline
from cospeech.representations import DiffSHEGBeat, DiffSHEGShow, beat_euler_degrees
from cospeech.rotations import axis_angle_to_matrix, euler_to_matrix
from cospeech.skeleton import BEAT_GESTURE_JOINTS

RATE = 16000
SIZES = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "feedforward_dim": 16, "fusion_dim": 16,
         "condition_dim": 16, "audio_dim": 8, "speech_dim": 4, "num_speakers": 3}  # fmt: skip


def make(kind="beat", **options):
    torch.manual_seed(0)
    rate_hz = 15.0 if kind == "beat" else 30.0
    prosody = ProsodyTrack(ProsodyFeatures(ProsodyConfig(frame_rate_hz=rate_hz)))
    sizes = SIZES | {"speech_feature_dim": prosody.feature_dim}
    if kind == "beat":
        config = DiffSHEGConfig(**sizes)
        representation = DiffSHEGBeat(mean=torch.zeros(192), std=0.2 * torch.ones(192))
        sampling = DiffSHEGSampling(num_steps=5)
    else:
        config = DiffSHEGConfig(gesture_dim=129, expression_dim=103, unconditional=True, **sizes)
        representation = DiffSHEGShow(mean=torch.zeros(232), std=0.2 * torch.ones(232))
        sampling = DiffSHEGSampling(num_steps=5, window_frames=40, overlap_frames=10, guidance_scale=1.15)
    denoiser = DiffSHEGDenoiser(config).eval()
    for parameter in denoiser.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return DiffSHEGPipeline(denoiser, representation, prosody, **({"sampling": sampling} | options))


def speech(seconds, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clock = torch.arange(round(seconds * RATE)) / RATE
    loudness = torch.sin(2 * math.pi * 1.5 * clock).clamp_min(0)
    return 0.3 * loudness * torch.sin(2 * math.pi * 140 * clock) + 0.01 * torch.randn(len(clock), generator=generator)


def assert_same(a, b, tolerance=1e-4):
    assert (a.num_frames, a.rate_hz) == (b.num_frames, b.rate_hz)
    torch.testing.assert_close(a.local_axis_angle, b.local_axis_angle, rtol=0, atol=tolerance)
    torch.testing.assert_close(a.expressions, b.expressions, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["beat", "show"])
@pytest.mark.parametrize("seconds", [0.1, 1.0, 2.2667, 2.3, 7.1])
def test_motion_covers_the_audio_and_streams_the_same(kind, seconds):
    pipeline, audio = make(kind), speech(seconds)
    motion = pipeline(audio, source_rate_hz=RATE, speaker=2, seed=3)
    assert motion.rate_hz == pipeline.rate_hz
    assert motion.num_frames == math.ceil(round(len(audio) * pipeline.rate_hz / RATE, 6))
    assert motion.skeleton.num_joints == (75 if kind == "beat" else 55)
    pieces = list(pipeline.stream(audio, source_rate_hz=RATE, speaker=2, seed=3))
    assert_same(Motion.concatenate(pieces), motion)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 7 * RATE), max_size=12), st.integers(0, 3))
def test_streaming_equals_offline_for_every_way_of_cutting_the_speech(cuts, seed):
    pipeline, audio = make(sampling=DiffSHEGSampling(num_steps=5, num_visits=1)), speech(7.0)
    ends = sorted(cuts)
    chunks = [audio[start:end] for start, end in zip([0, *ends], [*ends, len(audio)], strict=True)]
    streamed = Motion.concatenate(list(pipeline.stream(iter(chunks), source_rate_hz=RATE, seed=seed)))
    offline = pipeline(audio, source_rate_hz=RATE, seed=seed)
    assert torch.equal(streamed.local_axis_angle, offline.local_axis_angle)
    assert torch.equal(streamed.expressions, offline.expressions)


def test_frames_come_when_their_speech_has():
    """No more is drawn from the microphone than the window, and what tells that it is not the last one."""
    pipeline, drawn = make(), []

    def microphone():
        for chunk in speech(60).split(RATE // 10):
            drawn.append(len(chunk))
            yield chunk

    stream = pipeline.stream(microphone(), source_rate_hz=RATE)
    assert next(stream).num_frames == 30
    assert sum(drawn) / RATE <= 34 / 15 + 0.5
    assert pipeline(iter(speech(1).split(999)), source_rate_hz=RATE).num_frames == 15


def test_stream_gives_a_window_as_soon_as_it_is_heard():
    pipeline = make()
    first = next(pipeline.stream(speech(60), source_rate_hz=RATE))
    assert first.num_frames == 30


def test_windows_go_on_from_each_other():
    """Of the frames that two windows share, the first is the earlier window's own."""
    pipeline, seen = make(), []
    sample = pipeline.foppas.sample_window

    class Spy:
        def __getattr__(self, name):
            return getattr(make().foppas, name)

        def sample_window(self, predict, noise, known=None, *, draw):
            window = sample(predict, noise, known, draw=draw)
            seen.append((known, window))
            return window

    pipeline.foppas = Spy()
    pipeline(speech(6), source_rate_hz=RATE)
    assert len(seen) == 3
    for (_, before), (known, after) in pairwise(seen):
        torch.testing.assert_close(known, before[:, -4:])
        torch.testing.assert_close(after[:, 0], known[:, 0])


@pytest.mark.parametrize("hearing", ["window", "clip"])
def test_a_clip_does_not_depend_on_its_batch(hearing):
    pipeline = make(hearing=hearing)
    clips = [speech(0.4, 1), speech(6.0, 2), speech(3.0, 3)]
    together = pipeline.batch(clips, speakers=[1, 2, 3], seeds=[7, 8, 9], source_rate_hz=RATE)
    for clip, speaker, seed, motion in zip(clips, (1, 2, 3), (7, 8, 9), together, strict=True):
        assert_same(motion, pipeline(clip, speaker=speaker, seed=seed, source_rate_hz=RATE), 1e-3)


def test_seed_speaker_and_speech_matter():
    pipeline, audio = make(), speech(2.5)
    motion = pipeline(audio, source_rate_hz=RATE)
    assert_same(motion, pipeline(audio, source_rate_hz=RATE), 0)
    others = [
        pipeline(audio, seed=1, source_rate_hz=RATE),
        pipeline(audio, speaker=2, source_rate_hz=RATE),
        pipeline(0.5 * audio, source_rate_hz=RATE),
    ]
    for other in others:
        assert (other.local_axis_angle - motion.local_axis_angle).abs().max() > 1e-4


def test_optimized_is_the_same():
    pipeline, audio = make("show"), speech(2.5)
    expected = pipeline(audio, source_rate_hz=RATE)
    assert_same(pipeline.optimize()(audio, source_rate_hz=RATE), expected, 1e-3)
    assert_same(pipeline.to("cpu")(audio, source_rate_hz=RATE), expected)


def test_buffered_runs_in_a_pipeline_but_is_not_saved(tmp_path):
    pipeline, audios = make("show"), [speech(2.5), speech(0.6)]
    fast = pipeline._with(BufferedDiffSHEG(pipeline.denoiser), pipeline.speech)
    expected = pipeline.batch(audios, speakers=[1, 2], source_rate_hz=RATE)
    for form in (fast, fast.to("cpu")):
        for motion, wanted in zip(form.batch(audios, speakers=[1, 2], source_rate_hz=RATE), expected, strict=True):
            assert_same(motion, wanted, 1e-3)
    with pytest.raises(TypeError, match="optimized already"):
        fast.optimize()
    with pytest.raises(TypeError, match="cannot be saved"):
        fast.save_pretrained(tmp_path / "saved")
    layers = copy.deepcopy(pipeline.denoiser)
    layers.branches["gesture"].out = ColumnMajorLinear(layers.branches["gesture"].out, rows=40)
    with pytest.raises(TypeError, match="cannot be saved"):
        pipeline._with(layers, pipeline.speech).save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_beat_clip_as_the_files_of_beat(tmp_path):
    motion = make()(speech(1.5), source_rate_hz=RATE)
    gesture = motion.local_axis_angle[:, list(BEAT_GESTURE_JOINTS)].double()
    save_beat_bvh(tmp_path / "a.bvh", beat_euler_degrees(gesture.flatten(1)))
    save_arkit_json(tmp_path / "a.json", motion.expressions, rate_hz=motion.rate_hz)
    found = load_beat_bvh(tmp_path / "a.bvh")
    matrices = euler_to_matrix(torch.deg2rad(found.euler_degrees).unflatten(1, (-1, 3)), "XYZ")
    torch.testing.assert_close(matrices, axis_angle_to_matrix(gesture), rtol=0, atol=1e-5)
    weights, rate_hz = load_arkit_json(tmp_path / "a.json")
    torch.testing.assert_close(weights.float(), motion.expressions, rtol=1e-5, atol=1e-6)
    assert (found.rate_hz, rate_hz) == (pytest.approx(15, rel=1e-4), pytest.approx(15, rel=1e-4))


def test_a_show_clip_as_smplx_npz(tmp_path):
    motion = make("show")(speech(1.5), source_rate_hz=RATE)
    motion.save(tmp_path / "a.npz")
    assert_same(Motion.load(tmp_path / "a.npz"), motion, 1e-6)
    assert np.load(tmp_path / "a.npz")["poses"].shape == (45, 165)


def test_published_slips_on_request():
    pipeline = make("show", strict_upstream=True)
    assert pipeline.rate_hz == 15
    assert pipeline.clock.rate_hz == 22050
    heard = []
    track = pipeline.speech.forward
    pipeline.speech.forward = lambda waveform, num_frames: heard.append(len(waveform)) or track(waveform, num_frames)
    motion = pipeline(speech(4), source_rate_hz=RATE)
    assert (motion.num_frames, motion.rate_hz, heard) == (60, 15, [4 * 22050])
    make("show")(speech(0.5), source_rate_hz=RATE)


@pytest.mark.parametrize("kind", ["beat", "show"])
def test_saved_and_loaded_by_name(tmp_path, kind):
    pipeline, audio = make(kind), speech(1.5)
    pipeline.save_pretrained(tmp_path / "saved")
    assert_same(load_pipeline(tmp_path / "saved")(audio, source_rate_hz=RATE), pipeline(audio, source_rate_hz=RATE), 0)


@pytest.mark.torch26
@pytest.mark.parametrize("kind", ["beat", "show"])
def test_published_checkpoint(tmp_path, kind):
    """A checkpoint as the published program saves it, optimizer and NumPy numbers beside the weights."""
    pipeline = make(kind)
    content = {
        "encoder": diffsheg_to_published(pipeline.denoiser),
        "opt_encoder": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 2e-4}]},
        "ep": 7,
        "total_it": 99,
        "FGD": np.float64(3.5),
        "best_mse": None,
        "PCK": np.float32(0.5),
    }
    path = tmp_path / "fgd_best.tar"
    torch.save(content, path)
    mean, std = pipeline.representation.mean, pipeline.representation.std
    statistics = {"motion_mean": mean, "motion_std": std}
    if kind == "beat":
        statistics = {"axis_angle_mean": mean[:141], "face_mean": mean[141:]}
        statistics |= {"axis_angle_std": std[:141], "face_std": std[141:]}
    loaded = DiffSHEGPipeline.from_published(path, statistics, pipeline.speech)
    assert loaded.sampling == (DiffSHEGSampling() if kind == "beat" else DiffSHEGSampling.show())
    # Two heads fit no shape, so the published eight are taken; the weights are what is compared.
    for key, tensor in pipeline.denoiser.state_dict().items():
        assert torch.equal(loaded.denoiser.state_dict()[key], tensor)


def test_what_is_refused():
    pipeline = make()
    with pytest.raises(ValueError, match="Unknown speaker 4; choose from 1 to 3"):
        pipeline(speech(1), speaker=4, source_rate_hz=RATE)
    with pytest.raises(ValueError, match="Unknown hearing 'all'"):
        make(hearing="all")
    show = make("show")
    with pytest.raises(ValueError, match="must have the denoiser's 192 channels; got 232"):
        DiffSHEGPipeline(pipeline.denoiser, show.representation, pipeline.speech)
    with pytest.raises(ValueError, match="`overlap_frames` must be from 0 to 33; got 34"):
        make(sampling=DiffSHEGSampling(overlap_frames=34))


def test_only_known_features_are_saved(tmp_path):
    pipeline = make()

    class Other(nn.Module):
        rate_hz, feature_dim = 16000.0, pipeline.speech.feature_dim

    other = DiffSHEGPipeline(pipeline.denoiser, pipeline.representation, Other())
    with pytest.raises(TypeError, match="Only a ProsodyTrack"):
        other.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
