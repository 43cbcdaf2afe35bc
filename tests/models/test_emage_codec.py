import pytest
import torch

from cospeech.models import (
    EMAGE_PART_JOINTS,
    EmageGlobalMotion,
    EmageMotionCodec,
    EmageParts,
    EmageVQVAE,
    EmageVQVAEConfig,
    split_emage_motion,
)
from cospeech.rotations import axis_angle_to_rot6d

SIZES = {"face": 106, "upper": 78, "hands": 180, "lower": 61}


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    configs = {
        part: EmageVQVAEConfig(motion_dim=dim, latent_dim=8, num_codes=12, num_stages=4 if part == "lower" else 2)
        for part, dim in SIZES.items()
    }
    networks = {part: EmageVQVAE(config) for part, config in configs.items()}
    return EmageMotionCodec(**networks, global_motion=EmageGlobalMotion(configs["lower"])).eval()


def indices_of(num_frames, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return EmageParts(*(torch.randint(12, (batch, num_frames), generator=generator) for _ in SIZES))


def test_split_shares_out_every_channel_once():
    rot6d = torch.arange(330.0).expand(1, 2, 330)
    parts = split_emage_motion(
        rot6d, torch.full((1, 2, 100), -1.0), torch.full((1, 2, 3), -2.0), torch.full((1, 2, 4), -3.0)
    )
    assert {part: x.shape[-1] for part, x in zip(parts._fields, parts, strict=True)} == SIZES
    channels = torch.cat([x[0, 0] for x in parts])
    eyes = set(range(23 * 6, 25 * 6))
    assert sorted(channels[channels >= 0].tolist()) == [float(c) for c in range(330) if c not in eyes]
    assert parts.upper[0, 0, 0] == 3 * 6  # spine1 comes first
    assert parts.lower[0, 0, -7:].tolist() == [-2.0] * 3 + [-3.0] * 4


def test_indices_and_latents_decode_alike(codec):
    codes = indices_of(10)
    latents = codes.map(lambda part, x: codec.vqvae(part).quantizer.lookup(x))
    for one, other in zip(codec.decode(codes), codec.decode(latents), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("absent", SIZES)
def test_absent_part_holds_still_and_changes_no_other(codec, absent):
    whole = codec.decode(indices_of(10))
    part = codec.decode(indices_of(10)._replace(**{absent: None}))
    joints = list(EMAGE_PART_JOINTS[absent])
    others = [joint for joint in range(55) if joint not in joints]
    assert torch.equal(part.axis_angle[..., others, :], whole.axis_angle[..., others, :])
    assert not part.axis_angle[..., joints, :].any()
    if absent == "lower":
        assert torch.equal(part.lower[0, 0], torch.tensor([1.0, 0, 0, 0, 1, 0] * 9 + [0] * 7))
    if absent == "face":
        assert not part.expressions.any()


def test_eyes_look_ahead(codec):
    assert not codec.decode(indices_of(5)).axis_angle[..., 23:25, :].any()


@pytest.mark.parametrize("num_frames", [3, 9, 40])
def test_tail(codec, num_frames):
    codes = indices_of(num_frames)
    tail, whole = codec.decode_tail(codes, 4), codec.decode(codes)
    for one, other in zip(tail, whole, strict=True):
        torch.testing.assert_close(one, other[:, -4:], rtol=1e-5, atol=1e-5)


def test_features_hold_the_rotations(codec):
    decoded = codec.decode(indices_of(6))
    features = decoded.features
    assert features.shape == (2, 6, 337)
    rotations = axis_angle_to_rot6d(decoded.axis_angle)
    assert torch.equal(features[..., :330], rotations.reshape(2, 6, 330))
    assert torch.equal(features[..., 330:], decoded.lower[..., 54:])


def test_translation_continues_where_it_stopped():
    motion = torch.randn(2, 20, 61, dtype=torch.float64)
    start = torch.randn(2, 3, dtype=torch.float64)
    whole = EmageGlobalMotion.integrate(motion, start)
    head = EmageGlobalMotion.integrate(motion[:, :7], start)
    tail = EmageGlobalMotion.integrate(motion[:, 7:], head.following)
    torch.testing.assert_close(torch.cat([head.translation, tail.translation], 1), whole.translation)
    torch.testing.assert_close(tail.following, whole.following)


def test_translation_is_the_slow_loop():
    motion, start = torch.randn(1, 15, 61, dtype=torch.float64), torch.tensor([0.5, 9.0, -1.0], dtype=torch.float64)
    x, z = start[0], start[2]
    for t, row in enumerate(EmageGlobalMotion.integrate(motion, start, rate_hz=10.0).translation[0]):
        torch.testing.assert_close(row, torch.stack([x, motion[0, t, 55], z]))
        x, z = x + motion[0, t, 54] / 10, z + motion[0, t, 56] / 10


def test_errors(codec):
    with pytest.raises(ValueError, match=r"parts of one shape .* got none"):
        codec.decode(EmageParts())
    with pytest.raises(ValueError, match=r"got \[\(1, 4\), \(1, 5\)\]"):
        codec.decode(EmageParts(face=torch.zeros(1, 4, dtype=torch.long), upper=torch.zeros(1, 5, dtype=torch.long)))
    with pytest.raises(ValueError, match=r"`rot6d` must have shape \(B, T, 330\)"):
        split_emage_motion(torch.zeros(1, 2, 126), torch.zeros(1, 2, 100))
    networks = {part: codec.vqvae(part) for part in SIZES} | {"hands": codec.upper}
    with pytest.raises(ValueError, match="`hands` must be a network of 180 channels; got 78"):
        EmageMotionCodec(**networks, global_motion=codec.global_motion)
