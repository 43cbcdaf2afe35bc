import pytest
import torch

from cospeech.models import (
    EmageConfig,
    EmageGenerator,
    EmageGlobalMotion,
    EmageMotionCodec,
    EmageParts,
    EmageTransformer,
    EmageVQVAE,
    EmageVQVAEConfig,
    blank_emage_hints,
    emage_num_frames,
)


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    config = EmageConfig(
        hidden_dim=16,
        feedforward_dim=16,
        num_heads=2,
        motion_latent_dim=8,
        audio_dim=8,
        num_audio_layers=1,
        num_face_layers=1,
        code_dim=8,
        num_codes=12,
        window_frames=20,
    )
    sizes = {"face": 106, "upper": 78, "hands": 180, "lower": 61}
    configs = {part: EmageVQVAEConfig(motion_dim=dim, latent_dim=8, num_codes=12) for part, dim in sizes.items()}
    networks = {part: EmageVQVAE(vqvae) for part, vqvae in configs.items()}
    codec = EmageMotionCodec(**networks, global_motion=EmageGlobalMotion(configs["lower"])).eval()
    return EmageGenerator(EmageTransformer(config).eval(), codec)


def run(generator, audio, motion=None, mask=None, **options):
    if motion is None:
        motion, mask = blank_emage_hints(len(audio), emage_num_frames(audio.shape[1]), like=audio)
    speaker = torch.zeros(len(audio), dtype=torch.long)
    with torch.inference_mode():
        windows = list(generator.generate(audio, motion, mask, speaker, **options))
    return EmageParts(*(torch.cat(pieces, 1) for pieces in zip(*(w.indices for w in windows), strict=True)))


def speech(num_frames, batch=1):
    num_samples = -(-num_frames * 16000 // 30)
    return torch.randn(batch, num_samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("num_frames", [5, 9, 20, 21, 36, 50])
def test_as_many_frames_as_the_audio_lasts(generator, num_frames):
    audio = speech(num_frames)
    assert emage_num_frames(audio.shape[1]) == num_frames
    for indices in run(generator, audio):
        assert indices.shape == (1, num_frames)


def test_published_frames_are_a_prefix(generator):
    audio = speech(54)  # three windows of 16 new frames each, and a rest of 2 that the published program drops
    full, published = run(generator, audio), run(generator, audio, strict_upstream=True)
    for one, other in zip(full, published, strict=True):
        assert other.shape[1] == 48
        assert torch.equal(one[:, :48], other)


@pytest.mark.parametrize("lookahead", [1, 2, 5])
def test_lookahead_changes_nothing(generator, lookahead):
    audio = speech(80)
    for one, other in zip(run(generator, audio), run(generator, audio, lookahead=lookahead), strict=True):
        assert torch.equal(one, other)


def test_clips_of_a_batch_do_not_mix(generator):
    audio = speech(50, batch=3)
    for one, other in zip(run(generator, audio), run(generator, audio[1:2]), strict=True):
        assert torch.equal(one[1:2], other)


def test_hints_are_looked_at(generator):
    audio = speech(50)
    motion, mask = blank_emage_hints(1, 50, like=audio)
    plain = run(generator, audio, motion, mask)
    mask[:, 30:40] = False
    motion[:, 30:40] = 3 * torch.randn(1, 10, 337)
    assert not all(
        torch.equal(one, other) for one, other in zip(run(generator, audio, motion, mask), plain, strict=True)
    )


def test_state_is_what_the_last_frames_decode_to(generator):
    audio = speech(20)
    motion, mask = blank_emage_hints(1, 20, like=audio)
    heard, speaker = generator.transformer.hear(audio), torch.zeros(1, dtype=torch.long)
    window, state = generator.step(heard, motion, mask, speaker, generator.init_state(motion))
    whole = generator.codec.decode(window.indices).features
    torch.testing.assert_close(state, whole[:, -4:], rtol=1e-4, atol=1e-4)


def test_blank_hints():
    motion, mask = blank_emage_hints(2, 3, like=torch.zeros(1, dtype=torch.float64))
    assert motion.dtype == torch.float64
    assert motion[1, 2].tolist() == [1.0, 0, 0, 0, 1, 0] * 55 + [0.0] * 7
    assert mask.all()


def test_errors(generator):
    audio = speech(30)
    motion, mask = blank_emage_hints(1, 31, like=audio)
    with pytest.raises(ValueError, match=r"`motion` must have shape \(B, 30, 337\); got \(1, 31, 337\)"):
        run(generator, audio, motion, mask)
    with pytest.raises(ValueError, match="`num_frames` must be at least 5; got 4"):
        run(generator, speech(4))
    with pytest.raises(ValueError, match="`num_frames` must be at least 9; got 8"):
        run(generator, speech(8), strict_upstream=True)
