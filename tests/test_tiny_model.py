"""The embedded model: there, small enough, steady, and answering to speech. The whole proof is `evaluate_tiny.py`."""

from __future__ import annotations

import pytest
import torch

from cospeech import Motion, load_pipeline
from cospeech.data.synthetic import find_stresses, make_clip, rest_clip
from cospeech.hub.registry import bundled_folder
from cospeech.metrics import beat_consistency, foot_slide, mean_jerk, motion_beats
from cospeech.pipelines import Pipeline
from cospeech.skeleton import SMPLX, forward_kinematics

RATE_HZ = 16_000
WRISTS = [SMPLX.index("left_wrist"), SMPLX.index("right_wrist")]
BALLS = [SMPLX.index("left_foot"), SMPLX.index("right_foot")]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline("cospeech-tiny")


@pytest.fixture(scope="module")
def clips():
    return [make_clip(10.0, number % 4 + 1, seed=80_000 + number) for number in range(8)]


@pytest.fixture(scope="module")
def motions(pipeline: Pipeline, clips) -> list[Motion]:
    waveforms, speakers = [clip.waveform for clip in clips], [clip.speaker for clip in clips]
    return pipeline.batch(waveforms, speakers=speakers, seeds=list(range(len(clips))), source_rate_hz=RATE_HZ)


def test_it_is_small() -> None:
    files = list(bundled_folder("cospeech-tiny").rglob("*.safetensors"))
    assert len(files) == 3
    assert sum(file.stat().st_size for file in files) <= 8_000_000


def test_it_says_what_it_is() -> None:
    card = (bundled_folder("cospeech-tiny") / "README.md").read_text()
    for word in ("procedural", "Apache-2.0", "not", "evaluate_tiny.py", "train_tiny.py"):
        assert word in card


def test_it_covers_the_audio(pipeline: Pipeline, motions: list[Motion]) -> None:
    assert pipeline.num_speakers == 4
    assert pipeline.rate_hz == 30
    for motion in motions:
        assert motion.num_frames == 300
        assert motion.expressions is not None
        assert motion.expressions.isfinite().all()


def test_hands_stop_with_the_stresses_of_their_own_speech(clips, motions: list[Motion]) -> None:
    beats = [motion_beats(motion.joints()[:, WRISTS], 30.0) for motion in motions]
    stresses = [torch.from_numpy(find_stresses(clip.waveform.numpy()).seconds).float() for clip in clips]
    score = torch.stack([torch.stack([beat_consistency(stress, beat) for stress in stresses]) for beat in beats])
    own, other = score.diagonal(), (score.sum(1) - score.diagonal()) / (len(clips) - 1)
    assert (own > other).float().mean() >= 0.75
    assert (own - other).mean() > 0.08


def test_silence_between_words_is_rest(pipeline: Pipeline, clips) -> None:
    """Hands wait where they wait while nobody speaks; a whisper of noise, since the pipeline refuses silence."""
    noise = 0.0005 * torch.randn(5 * RATE_HZ, generator=torch.Generator().manual_seed(0))
    for speaker in (1, 2, 3, 4):
        quiet = pipeline(noise, speaker=speaker, source_rate_hz=RATE_HZ).joints()[:, WRISTS]
        spoken = pipeline(clips[0].waveform[: 5 * RATE_HZ], speaker=speaker, source_rate_hz=RATE_HZ).joints()[:, WRISTS]
        assert quiet.diff(dim=0).norm(dim=-1).sum() < 0.5 * spoken.diff(dim=0).norm(dim=-1).sum()


def test_it_is_smooth_and_stands_firm(clips, motions: list[Motion]) -> None:
    truth = torch.stack(
        [mean_jerk(forward_kinematics(clip.local_rotations, SMPLX, clip.translation), 30.0) for clip in clips]
    )
    assert torch.stack([mean_jerk(motion.joints(), 30.0) for motion in motions]).mean() <= 1.5 * truth.mean()
    for motion in motions:
        assert foot_slide(motion.joints()[:, BALLS], 30.0).share == 0


def test_it_starts_at_rest(clips, motions: list[Motion]) -> None:
    for clip, motion in zip(clips, motions, strict=True):
        rest = rest_clip(clip.speaker, 1)
        start = forward_kinematics(rest.local_rotations, SMPLX, rest.translation)[0]
        assert (motion.joints()[0] - start)[WRISTS].norm(dim=-1).max() < 0.08


def test_seeds_and_speakers_differ(pipeline: Pipeline, clips) -> None:
    waveform = clips[0].waveform[: 4 * RATE_HZ]
    runs = [
        pipeline(waveform, speaker=speaker, seed=seed, source_rate_hz=RATE_HZ).joints()[:, WRISTS]
        for speaker, seed in ((1, 0), (1, 0), (1, 7), (2, 0), (3, 0), (4, 0))
    ]
    assert torch.equal(runs[0], runs[1])
    assert (runs[0] - runs[2]).norm(dim=-1).mean() > 0.001
    speakers = [runs[0], *runs[3:]]
    for one in range(4):
        for other in range(one):
            assert (speakers[one] - speakers[other]).norm(dim=-1).mean() > 0.03
