import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.models import (
    EmageGlobalMotion,
    EmageMotionCodec,
    EmageParts,
    EmageStreamDecoder,
    EmageVQVAE,
    EmageVQVAEConfig,
)


def make_codec():
    torch.manual_seed(0)
    sizes = {"face": (106, 2), "upper": (78, 2), "hands": (180, 2), "lower": (61, 4)}
    configs = {
        part: EmageVQVAEConfig(motion_dim=dim, num_stages=stages, latent_dim=8, num_codes=12)
        for part, (dim, stages) in sizes.items()
    }
    networks = {part: EmageVQVAE(config) for part, config in configs.items()}
    return EmageMotionCodec(**networks, global_motion=EmageGlobalMotion(configs["lower"])).eval().double()


CODEC = make_codec()
START = torch.tensor([[0.3, 0.0, -1.0], [0.0, 5.0, 2.0]], dtype=torch.float64)


def codes(num_frames):
    return EmageParts(
        *(torch.randint(12, (2, num_frames), generator=torch.Generator().manual_seed(i)) for i in range(4))
    )


def stream(indices, cuts, absent=()):
    decoder = EmageStreamDecoder(CODEC)
    state, pieces, done = decoder.init_state(START), [], 0
    for cut in [*cuts, None]:
        piece = indices.map(lambda _, x, begin=done, end=cut: x[:, begin:end])
        frames, state = decoder.step(piece, state)
        pieces.append(frames)
        done = cut if cut is not None else done
    pieces.append(decoder.flush(state))
    columns = zip(*([*piece.decoded, piece.translation] for piece in pieces), strict=True)
    return [torch.cat(column, 1) for column in columns]


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 130), st.data())
@torch.inference_mode()
def test_streaming_equals_whole_clips_for_every_way_of_cutting(num_frames, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, num_frames), max_size=4)) - {num_frames})
    indices = codes(num_frames)
    whole = CODEC.decode(indices)
    expected = [*whole, CODEC.translate(whole, START).translation]
    for one, other in zip(stream(indices, cuts), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


@torch.inference_mode()
def test_absent_parts():
    indices = codes(80)._replace(lower=None, face=None)
    whole = CODEC.decode(indices)
    expected = [*whole, CODEC.translate(whole, START).translation]
    for one, other in zip(stream(indices, [30, 65]), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


@torch.inference_mode()
def test_state_does_not_grow():
    decoder = EmageStreamDecoder(CODEC)
    assert decoder.delay_frames == 30
    state = decoder.init_state(START)
    for _ in range(6):
        frames, state = decoder.step(codes(60), state)
    assert frames.translation.shape[1] == 60
    assert state.indices.face.shape[1] == 2 * decoder.delay_frames


def test_errors():
    decoder = EmageStreamDecoder(CODEC)
    with pytest.raises(ValueError, match="this stream has just begun"):
        decoder.flush(decoder.init_state(START))
    with pytest.raises(ValueError, match=r"`start` must have shape \(B, 3\); got \(3,\)"):
        decoder.init_state(START[0])
    _, state = decoder.step(codes(5), decoder.init_state(START))
    with pytest.raises(ValueError, match="the same parts at every step"):
        decoder.step(codes(5)._replace(face=None), state)
