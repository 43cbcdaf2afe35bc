"""CaMN's and DisCo's pipeline, on small untrained networks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cospeech.errors import CheckpointError
from cospeech.hub import load_published
from cospeech.models import CamnConfig, CamnModel, DiscoConfig, DiscoModel
from cospeech.motion import Motion
from cospeech.pipelines import UpperBodyPipeline, load_pipeline
from cospeech.representations import LOCAL_UPPER_JOINTS, upsample_linear
from cospeech.skeleton import SMPL22

RATE = 16000
SMALL = {"hidden_dim": 12, "num_layers": 2, "audio_dim": 8, "speaker_dim": 3, "num_speakers": 2}


@pytest.fixture(scope="module", params=["camn", "disco"])
def pipeline(request: pytest.FixtureRequest) -> UpperBodyPipeline:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CamnModel(CamnConfig(**SMALL)) if request.param == "camn" else DiscoModel(DiscoConfig(**SMALL))
    return UpperBodyPipeline(model)


def speech(seconds: float, seed: int = 0) -> Tensor:
    return 0.5 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def generate(pipeline: UpperBodyPipeline, audio: Tensor, **options: object) -> Motion:
    return pipeline(audio, source_rate_hz=RATE, **options)


def clip(num_frames: int, **changes: object) -> Motion:
    generator = torch.Generator().manual_seed(7)
    axis_angle = torch.randn(num_frames, 55, 3, generator=generator)
    fields = {"local_axis_angle": axis_angle, "translation": torch.zeros(num_frames, 3), "rate_hz": 30}
    return Motion(**(fields | changes))


@pytest.mark.parametrize("seconds", [0.1, 0.5, 3.0, 10.01])
def test_motion_covers_the_audio_to_its_end(pipeline: UpperBodyPipeline, seconds: float) -> None:
    motion = generate(pipeline, speech(seconds))
    assert motion.num_frames == math.ceil(round(seconds * RATE) * 30 / RATE)
    still = sorted(set(range(55)) - set(LOCAL_UPPER_JOINTS))
    assert not motion.local_axis_angle[:, still].any()
    assert motion.expressions is not None


def test_frames_are_shown_when_they_were_heard(pipeline: UpperBodyPipeline) -> None:
    """27 frames of the network last 27 * 1080 samples, which is 54.675 frames at 30 Hz, not 54."""
    audio = speech(30)
    frames = pipeline._frames(audio, 1, None)
    motion = generate(pipeline, audio)
    for number in (0, 80, 160, 240, 320):  # 80 * 1080 samples are 162 frames
        shown = motion.local_axis_angle[number * 1080 * 30 // RATE]
        torch.testing.assert_close(shown, frames[number], rtol=0, atol=1e-5)


def test_strict_upstream(pipeline: UpperBodyPipeline) -> None:
    audio = speech(10)
    motion, frames = generate(pipeline, audio, strict_upstream=True), pipeline._frames(audio, 1, None)
    assert motion.num_frames == 2 * 149
    torch.testing.assert_close(motion.local_axis_angle, upsample_linear(frames, 2), rtol=0, atol=1e-5)


def test_a_stream_is_one_piece(pipeline: UpperBodyPipeline) -> None:
    (piece,) = pipeline.stream(speech(2), source_rate_hz=RATE, speaker=2)
    assert piece.equal(generate(pipeline, speech(2), speaker=2))


def test_batches(pipeline: UpperBodyPipeline) -> None:
    clips = [speech(0.4, 1), speech(3.0, 2)]
    for audio, speaker, motion in zip(
        clips, (2, 1), pipeline.batch(clips, speakers=[2, 1], source_rate_hz=RATE), strict=True
    ):
        assert motion.equal(generate(pipeline, audio, speaker=speaker))


def test_the_beginning_is_looked_at(pipeline: UpperBodyPipeline) -> None:
    audio, plain = speech(2), generate(pipeline, speech(2))
    begun = generate(pipeline, audio, beginning=clip(8))
    assert not torch.allclose(begun.local_axis_angle, plain.local_axis_angle)
    assert begun.equal(generate(pipeline, audio, beginning=Motion.concatenate([clip(8), clip(5)])))


def test_optimized(pipeline: UpperBodyPipeline, tmp_path: Path) -> None:
    fast, audio = pipeline.optimize(), speech(2)
    torch.testing.assert_close(
        generate(fast, audio).local_rotations(), generate(pipeline, audio).local_rotations(), rtol=0, atol=1e-3
    )
    with pytest.raises(TypeError, match="This pipeline is optimized"):
        fast.save_pretrained(tmp_path)
    assert generate(pipeline.to("cpu"), audio).equal(generate(pipeline, audio))


def test_saved_and_loaded(pipeline: UpperBodyPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "ours")
    pipeline.save_published(tmp_path / "published")
    pipeline.save_published(tmp_path / "safe", safetensors=True)
    expected = generate(pipeline, speech(2), speaker=2)
    for name in ("ours", "published", "safe"):
        loaded = load_pipeline(tmp_path / name)
        assert type(loaded.model) is type(pipeline.model)
        assert loaded.model.config == pipeline.model.config
        assert loaded(speech(2), source_rate_hz=RATE, speaker=2).equal(expected)


def test_a_key_that_is_missing_is_named(pipeline: UpperBodyPipeline, tmp_path: Path) -> None:
    pipeline.save_published(tmp_path)
    state = load_published(tmp_path / "pytorch_model.bin")
    del state["body_out.fc1.bias"]
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin: .* missing body_out\.fc1\.bias"):
        load_pipeline(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        UpperBodyPipeline.from_pretrained(tmp_path)


def test_published_configurations_have_their_published_sizes() -> None:
    from cospeech.hub.convert.camn import camn_to_published_config, disco_to_published_config

    sizes = [
        len(json.dumps(config, indent=2, sort_keys=True) + "\n")
        for config in (camn_to_published_config(CamnConfig()), disco_to_published_config(DiscoConfig()))
    ]
    assert sizes == [345 + 1, 623]  # CaMN's was written by hand, without a newline at its end


def test_errors(pipeline: UpperBodyPipeline) -> None:
    with pytest.raises(ValueError, match=r"Unknown speaker 3; choose from 1 to 2\."):
        pipeline.stream(speech(1), source_rate_hz=RATE, speaker=3)
    with pytest.raises(ValueError, match="`beginning` must hold 4 finite frames at 15 Hz; got 2"):
        generate(pipeline, speech(1), beginning=clip(4))
    with pytest.raises(ValueError, match="`beginning` must have the 55 joints of SMPL-X; got 22"):
        generate(pipeline, speech(1), beginning=clip(9, local_axis_angle=torch.zeros(9, 22, 3), skeleton=SMPL22))
