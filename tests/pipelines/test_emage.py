"""EMAGE's pipeline: its promises, on networks small enough to be made anew."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cospeech.audio import SpokenWord
from cospeech.errors import AudioError, CheckpointError
from cospeech.models import (
    EmageConfig,
    EmageGenerator,
    EmageParts,
    EmageTransformer,
    blank_emage_hints,
    emage_num_frames,
)
from cospeech.motion import Motion
from cospeech.pipelines import EmagePipeline, GestureHints, load_pipeline
from cospeech.pipelines.emage_clips import _fade

RATE = 16000


def speech(seconds: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(round(seconds * RATE), generator=generator)


def generate(pipeline: EmagePipeline, audio: Tensor, **options: object) -> Motion:
    return pipeline(audio, source_rate_hz=RATE, **options)


def assert_same(a: Motion, b: Motion, tolerance: float = 1e-3) -> None:
    # The published conversion to axis-angles loses small rotations, so rounding shows in the fourth digit.
    assert a.num_frames == b.num_frames
    for x, y in [
        (a.local_rotations(), b.local_rotations()),
        (a.translation, b.translation),
        (a.expressions, b.expressions),
    ]:
        torch.testing.assert_close(x, y, atol=tolerance, rtol=0)


def clip(num_frames: int, seed: int = 0) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    return Motion(
        local_axis_angle=0.5 * torch.randn(num_frames, 55, 3, generator=generator),
        translation=torch.randn(num_frames, 3, generator=generator),
        rate_hz=30,
    )


@pytest.mark.parametrize("seconds", [0.1, 0.16, 0.3, 0.6667, 0.67, 2.0, 3.1])
def test_motion_covers_the_audio_to_its_end(small_emage: EmagePipeline, seconds: float) -> None:
    audio = speech(seconds)
    motion = generate(small_emage, audio)
    assert motion.num_frames == math.ceil(len(audio) * 30 / RATE)
    assert motion.expressions is not None
    assert motion.expressions.shape == (motion.num_frames, 100)
    assert not motion.local_axis_angle.requires_grad


@pytest.mark.parametrize("num_samples", [4800, 16000, 29000, 40000])
@torch.no_grad()
def test_strict_upstream_is_the_published_order(small_emage: EmagePipeline, num_samples: int) -> None:
    """The slow twin: all windows one after the other, the whole clip decoded at once."""
    audio = speech(num_samples / RATE)
    motion = generate(small_emage, audio, strict_upstream=True)
    hints = blank_emage_hints(1, emage_num_frames(num_samples), like=audio)
    generator = EmageGenerator(small_emage.transformer, small_emage.codec)
    windows = generator.generate(audio[None], *hints, torch.tensor([0]), strict_upstream=True)
    pieces = zip(*(window.indices for window in windows), strict=True)
    decoded = small_emage.codec.decode(EmageParts(*(torch.cat(column, dim=1) for column in pieces)))
    translation = small_emage.codec.translate(decoded, torch.zeros(3)).translation
    torch.testing.assert_close(motion.translation, translation[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(motion.expressions, decoded.expressions[0], rtol=0, atol=1e-5)
    expected = Motion(local_axis_angle=decoded.axis_angle[0], translation=translation[0], rate_hz=30)
    torch.testing.assert_close(motion.local_rotations(), expected.local_rotations(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("strict_upstream", [False, True])
@pytest.mark.parametrize("seconds", [0.35, 2.0, 6.1])
def test_stream_equals_the_whole(small_emage: EmagePipeline, seconds: float, strict_upstream: bool) -> None:
    audio = speech(seconds)
    options = {
        "speaker": 2,
        "strict_upstream": strict_upstream,
        "hints": GestureHints(clip(9), torch.rand(9, 55) > 0.5),
    }
    pieces = list(small_emage.stream(audio, source_rate_hz=RATE, **options))
    assert_same(Motion.concatenate(pieces), generate(small_emage, audio, **options))


def test_stream_gives_frames_before_the_end_is_heard(small_emage: EmagePipeline) -> None:
    pieces = [piece.num_frames for piece in small_emage.stream(speech(6), source_rate_hz=RATE)]
    assert len(pieces) > 8
    assert sum(pieces) == 180


def test_a_clip_does_not_depend_on_its_batch(small_emage: EmagePipeline) -> None:
    clips = [speech(0.4, 1), speech(4.0, 2), speech(2.3, 3), speech(4.0, 4)]
    hints = [None, GestureHints(clip(30), torch.rand(30, 55) > 0.5), None, None]
    together = small_emage.batch(clips, speakers=[1, 2, 1, 2], hints=hints, source_rate_hz=RATE)
    for audio, speaker, given, motion in zip(clips, (1, 2, 1, 2), hints, together, strict=True):
        assert_same(motion, generate(small_emage, audio, speaker=speaker, hints=given))


def test_speech_speaker_and_hints_matter_and_nothing_else_does(small_emage: EmagePipeline) -> None:
    audio = speech(2.5)
    motion = generate(small_emage, audio)
    torch.manual_seed(123)
    assert generate(small_emage, audio, seed=5).equal(motion)
    hints = GestureHints(clip(20), torch.ones(20, 55, dtype=torch.bool))
    for other in (
        generate(small_emage, audio, speaker=2),
        generate(small_emage, speech(2.5, seed=9)),
        generate(small_emage, audio, hints=hints),
    ):
        assert not torch.allclose(other.local_rotations(), motion.local_rotations(), atol=1e-3)


def test_what_hints_hide_has_no_say(small_emage: EmagePipeline) -> None:
    audio, visible = speech(2.0), torch.rand(40, 55) < 0.3
    visible[0, 0] = False
    first, second = (
        Motion(
            local_axis_angle=clip(40).local_axis_angle.where(visible[..., None], torch.tensor(filler)),
            translation=clip(40).translation.where(visible[:, [0]], torch.tensor(filler)),
            rate_hz=30,
        )
        for filler in (math.nan, 2.0)
    )
    one, other = (generate(small_emage, audio, hints=GestureHints(motion, visible)) for motion in (first, second))
    assert one.equal(other)


def test_nothing_visible_is_no_hint(small_emage: EmagePipeline) -> None:
    nothing = GestureHints(clip(50), torch.zeros(50, 55, dtype=torch.bool))
    assert generate(small_emage, speech(2), hints=nothing).equal(generate(small_emage, speech(2)))


def test_the_body_starts_where_its_hints_do(small_emage: EmagePipeline) -> None:
    hints = GestureHints(clip(4), torch.ones(4, 55, dtype=torch.bool))
    start = generate(small_emage, speech(2), hints=hints).translation[0]
    assert torch.equal(start[[0, 2]], hints.motion.translation[0, [0, 2]])


@pytest.mark.parametrize("streamed", [False, True])
def test_exact_hints_come_out_as_they_went_in(small_emage: EmagePipeline, streamed: bool) -> None:
    audio, motion, visible = speech(3.0), clip(70), torch.rand(70, 55) < 0.5
    hints = GestureHints(motion, visible, exact=True)
    if streamed:
        chunks = iter(audio.split(5000))  # hints want the length beforehand, so speech in pieces is held
        result = Motion.concatenate(list(small_emage.stream(chunks, source_rate_hz=RATE, hints=hints)))
    else:
        result = generate(small_emage, audio, hints=hints)
    assert torch.equal(result.local_axis_angle[:70][visible], motion.local_axis_angle[visible])
    free = generate(small_emage, audio, hints=GestureHints(motion, visible))
    torch.testing.assert_close(
        result.local_rotations()[:70][~visible], free.local_rotations()[:70][~visible], rtol=0, atol=1e-3
    )


def test_faded_seams_leave_the_rest(small_emage: EmagePipeline) -> None:
    """Seams lie before frames 16, 32, ...; the lower body's decoder sees nine frames to either side."""
    audio = speech(6.0)
    cut, faded = generate(small_emage, audio), generate(small_emage, audio, fade_seams=True)
    assert cut.num_frames == faded.num_frames == 180
    assert torch.equal(cut.local_axis_angle[:7], faded.local_axis_angle[:7])
    assert not torch.equal(cut.local_axis_angle[16:20], faded.local_axis_angle[16:20])
    streamed = list(small_emage.stream(audio, source_rate_hz=RATE, fade_seams=True))
    assert_same(Motion.concatenate(streamed), faded)
    with pytest.raises(ValueError, match="`fade_seams` departs from the published program"):
        generate(small_emage, audio, fade_seams=True, strict_upstream=True)


def test_a_window_begins_as_the_one_before_ended() -> None:
    """What would be one step of 10 is five of 2: from the last kept frame of the old window, which holds 0."""
    old, new = EmageParts(face=torch.zeros(1, 4, 3)), EmageParts(face=torch.full((1, 9, 3), 10.0))
    assert _fade(old, new).face[0, :, 0].tolist() == [2, 4, 6, 8, 10, 10, 10, 10, 10]
    assert _fade(None, new) is new


def test_optimized_gives_the_same_motion_and_is_not_saved(small_emage: EmagePipeline, tmp_path: Path) -> None:
    audio = speech(2.5)
    before, fast = generate(small_emage, audio), small_emage.optimize()
    assert_same(generate(fast, audio), before, tolerance=1e-3)
    assert generate(small_emage, audio).equal(before)
    for refused in (fast.optimize, lambda: fast.save_pretrained(tmp_path), lambda: fast.save_published(tmp_path)):
        with pytest.raises(TypeError, match="This pipeline is optimized"):
            refused()


def test_another_device_is_another_pipeline(small_emage: EmagePipeline) -> None:
    other = small_emage.to("cpu")
    assert other.transformer is not small_emage.transformer
    assert generate(other, speech(1.0)).equal(generate(small_emage, speech(1.0)))


@pytest.fixture(scope="module")
def reader(small_emage: EmagePipeline) -> EmagePipeline:
    """One that reads words of five numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = replace(small_emage.transformer.config, text_dim=5)
        transformer = EmageTransformer(config)
        for parameter in transformer.parameters():
            if parameter.ndim == 2:
                parameter.data *= 3
        table = {"hello": torch.randn(5), "world": torch.randn(5)}
    return EmagePipeline(transformer, small_emage.codec, embedding=table.get)


def test_words_are_read_when_they_are_said(reader: EmagePipeline) -> None:
    audio = speech(3.0)
    said = [SpokenWord("hello", 0.2, 0.5), SpokenWord("world", 2.5, 2.9), SpokenWord("unheard-of", 1.0, 1.2)]
    motion = generate(reader, audio, words=said)
    assert motion.num_frames == 90
    assert generate(reader, audio, words=said[:2]).equal(motion)
    silent, late = generate(reader, audio, words=[]), generate(reader, audio, words=said[1:])
    assert not torch.allclose(motion.local_axis_angle[:20], silent.local_axis_angle[:20], atol=1e-3)
    # The first windows do not hear what is said at the end, but for what a decoded frame sees of later codes.
    torch.testing.assert_close(late.local_rotations()[:50], silent.local_rotations()[:50], rtol=0, atol=1e-3)
    assert not torch.allclose(late.local_axis_angle[70:], silent.local_axis_angle[70:], atol=1e-3)
    assert_same(Motion.concatenate(list(reader.stream(audio, source_rate_hz=RATE, words=said))), motion)
    other = generate(reader, speech(2.0), words=said[:1])
    assert_same(reader.batch([audio, speech(2.0)], words=[said, said[:1]], source_rate_hz=RATE)[1], other)


def test_a_pipeline_that_reads_is_saved_without_its_table(reader: EmagePipeline, tmp_path: Path) -> None:
    reader.save_pretrained(tmp_path)
    again = EmagePipeline.from_pretrained(tmp_path, embedding=reader._embedding)
    said = [SpokenWord("hello", 0.2, 0.5)]
    assert generate(again, speech(1.0), words=said).equal(generate(reader, speech(1.0), words=said))
    with pytest.raises(ValueError, match="`embedding` of words goes with a transformer that reads"):
        EmagePipeline.from_pretrained(tmp_path)


def test_words_and_networks_must_go_together(small_emage: EmagePipeline, reader: EmagePipeline) -> None:
    for pipeline, words in ((reader, None), (small_emage, [SpokenWord("hello", 0.0, 1.0)])):
        with pytest.raises(ValueError, match="`words` must be given to a network that reads, and to no other"):
            generate(pipeline, speech(1.0), words=words)


def test_progress_counts_the_frames_of_all_clips(small_emage: EmagePipeline) -> None:
    seen: list[tuple[int, int]] = []
    motions = small_emage.batch(
        [speech(4.0), speech(1.0)], source_rate_hz=RATE, callback=lambda *counts: seen.append(counts)
    )
    total = sum(motion.num_frames for motion in motions)
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)


def test_bad_arguments_are_named(small_emage: EmagePipeline) -> None:
    with pytest.raises(ValueError, match=r"Unknown speaker 3; choose from 1 to 2\."):
        generate(small_emage, speech(1.0), speaker=3)
    with pytest.raises(ValueError, match="`hints` must be one for each of the 1 clips; got 2"):
        small_emage.batch([speech(1.0)], hints=[None, None], source_rate_hz=RATE)
    with pytest.raises(AudioError, match="is silent"):
        generate(small_emage, torch.zeros(RATE))
    with pytest.raises(AudioError, match="is too short"):
        generate(small_emage, speech(0.09))
    with pytest.raises(ValueError, match="must be at least 9; got 8"):
        generate(small_emage, speech(0.29), strict_upstream=True)
    long = GestureHints(clip(31), torch.ones(31, 55, dtype=torch.bool))
    with pytest.raises(ValueError, match="`hints` must not be longer than the motion; got 31 frames for 30"):
        generate(small_emage, speech(1.0), hints=long)
    with pytest.raises(ValueError, match="got 31 frames for 30"):
        small_emage.stream(speech(1.0), source_rate_hz=RATE, hints=long)


def test_parts_that_do_not_fit_are_refused(small_emage: EmagePipeline) -> None:
    sizes = {"hidden_dim": 16, "feedforward_dim": 16, "num_audio_layers": 1, "num_face_layers": 1, "audio_dim": 8}
    with pytest.raises(ValueError, match=r"codebook of 'upper' must be \(7, 8\), as the transformer's; got \(12, 8\)"):
        EmagePipeline(EmageTransformer(EmageConfig(**sizes, num_codes=7, code_dim=8)), small_emage.codec)
    with pytest.raises(ValueError, match="`embedding` of words goes with a transformer that reads"):
        EmagePipeline(EmageTransformer(EmageConfig(**sizes, text_dim=5)), small_emage.codec)


@pytest.mark.parametrize("absent", ["face", "lower"])
def test_a_part_may_be_absent(small_emage: EmagePipeline, absent: str) -> None:
    code_parts = tuple(part for part in ("upper", "hands", "lower") if part != absent)
    config = EmageConfig(
        **{**vars(small_emage.transformer.config), "code_parts": code_parts}
        | ({"latent_parts": ()} if absent == "face" else {})
    )
    transformer = EmageTransformer(config)
    transformer.load_state_dict(small_emage.transformer.state_dict())
    motion = generate(EmagePipeline(transformer, small_emage.codec), speech(2.0))
    joints = [22] if absent == "face" else [0, 1, 2, 4, 5]
    assert not motion.local_axis_angle[:, joints].any()


def test_saved_and_loaded_gives_the_same_motion(small_emage: EmagePipeline, tmp_path: Path) -> None:
    small_emage.save_pretrained(tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model")
    assert isinstance(loaded, EmagePipeline)
    assert generate(loaded, speech(2.0)).equal(generate(small_emage, speech(2.0)))
    small_emage.save_pretrained(tmp_path / "half", dtype=torch.float16)
    sizes = [
        sum(file.stat().st_size for file in (tmp_path / name).rglob("*.safetensors")) for name in ("half", "model")
    ]
    assert sizes[0] < 0.65 * sizes[1]


def test_a_folder_that_lacks_a_network_is_refused(small_emage: EmagePipeline, tmp_path: Path) -> None:
    small_emage.save_pretrained(tmp_path)
    (tmp_path / "hands" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"hands/model\.safetensors cannot be read"):
        load_pipeline(tmp_path)
