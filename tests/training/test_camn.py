"""CaMN's and DisCo's training: terms, labels, and that steps lower them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cospeech.data import EmageWindows, emage_take
from cospeech.models import CamnConfig, CamnModel, DiscoConfig, DiscoModel
from cospeech.motion import Motion
from cospeech.representations import LOCAL_UPPER_JOINTS
from cospeech.rotations import axis_angle_to_rot6d
from cospeech.training import (
    camn_losses,
    content_labels,
    disco_losses,
    draw_balanced,
    label_contrast,
    rhythm_labels,
    upper_body_motion,
)

SMALL = {"hidden_dim": 16, "num_layers": 1, "audio_dim": 8, "speaker_dim": 3}
FRAMES = 32


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    motion = Motion(
        local_axis_angle=0.3 * torch.randn(60, 55, 3, generator=generator), translation=torch.zeros(60, 3), rate_hz=30
    )
    take = emage_take(motion, torch.randn(533 * 60, generator=generator))
    return EmageWindows.cut([take], window_frames=FRAMES, stride_frames=9).batch(range(3))


def test_the_target_is_every_second_frame_of_43_joints(batch) -> None:
    motion = upper_body_motion(batch)
    assert motion.shape == (3, FRAMES // 2, 258)
    joint = LOCAL_UPPER_JOINTS[7]
    assert torch.equal(motion[:, 3, 42:48], batch.rot6d[:, 6, 6 * joint : 6 * joint + 6])
    with pytest.raises(ValueError, match="must hold upper body and hands; got face, upper"):
        upper_body_motion(batch._replace(parts=frozenset({"face", "upper"})))


def test_published_windows_are_heard_in_as_many_frames() -> None:
    assert CamnModel(CamnConfig(**SMALL)).wave.num_features(128 * 533) == 64


@torch.no_grad()
def test_the_angle_is_measured(batch) -> None:
    """Against a model that always says the same, turned by 0.6 rad from the truth in one joint of 43."""
    model = CamnModel(CamnConfig(**SMALL)).eval()
    turned = torch.zeros(43, 3)
    turned[5, 2] = 0.6
    said, truth = axis_angle_to_rot6d(turned).flatten(), axis_angle_to_rot6d(torch.zeros(43, 3)).flatten()
    model.body_out.contract.weight.zero_()
    model.hands_out.contract.weight.zero_()
    model.body_out.contract.bias.copy_(said[:78])
    model.hands_out.contract.bias.copy_(said[78:])
    loss = camn_losses(model, truth.expand(3, FRAMES // 2, -1), batch.waveform, batch.speaker)
    assert loss.total.item() == pytest.approx(0.6 / 43 + 0.00141 * 42 / 43, abs=1e-4)


def slow_contrast(features: Tensor, labels: Tensor) -> Tensor:
    """The formula, pair by pair."""
    unit = features / features.square().sum(1, keepdim=True).sqrt()
    points, terms = unit.mean(1), []
    for a, one in zip(points, labels.tolist(), strict=True):
        for b, other in zip(points, labels.tolist(), strict=True):
            distance = (a - b).norm()
            terms.append(distance if one == other else (1 - distance).clamp_min(0))
    return torch.stack(terms).mean()


def test_contrast_is_the_formula_and_has_finite_gradients() -> None:
    features = torch.randn(5, 7, 4).requires_grad_()
    labels = torch.tensor([0, 2, 0, 1, 2])
    loss = label_contrast(features, labels)
    torch.testing.assert_close(loss, slow_contrast(features, labels))
    loss.backward()
    assert torch.isfinite(features.grad).all()
    assert features.grad.any()


def test_labels_find_what_is_alike() -> None:
    """Two poses, held; and two speeds of the same movement."""
    poses = torch.randn(2, 1, 22, 3).repeat_interleave(4, dim=0).expand(-1, 40, -1, -1)
    noisy = poses + 0.01 * torch.randn(8, 40, 22, 3)
    labels = content_labels(noisy, num_clusters=2, generator=torch.Generator().manual_seed(1))
    assert (labels[:4] == labels[0]).all()
    assert (labels[4:] == labels[4]).all()
    assert labels[0] != labels[4]
    time = torch.arange(40)[None, :, None, None] / torch.tensor([7.0, 4.0]).repeat_interleave(4)[:, None, None, None]
    size = torch.linspace(0.5, 1, 8)[:, None, None, None]  # how far does not matter, only when
    swings = (size * torch.cos(time)).expand(-1, -1, 22, 3)
    labels = rhythm_labels(swings, num_clusters=2, generator=torch.Generator().manual_seed(1))
    assert (labels[:4] == labels[0]).all()
    assert labels[0] != labels[4]


def test_balanced_rows_give_rare_labels_their_turn() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    rows = draw_balanced(labels, 2000, torch.Generator().manual_seed(0))
    assert 0.45 < labels[rows].float().mean() < 0.55


@pytest.mark.parametrize("system", ["camn", "disco"])
def test_training_lowers_every_loss(batch, system: str) -> None:
    torch.manual_seed(0)
    model = CamnModel(CamnConfig(**SMALL)) if system == "camn" else DiscoModel(DiscoConfig(**SMALL))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    motion, labels = upper_body_motion(batch), torch.tensor([0, 1, 0])
    found = []
    for _ in range(40):
        optimizer.zero_grad()
        if system == "camn":
            losses = camn_losses(model, motion, batch.waveform, batch.speaker)
        else:
            losses = disco_losses(model, motion, batch.waveform, batch.speaker, content=labels, rhythm=labels.flip(0))
        losses.total.backward()
        optimizer.step()
        found.append(torch.stack(list(losses)).detach())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert (found[-1] < found[0]).all()


def test_errors(batch) -> None:
    model = CamnModel(CamnConfig(**SMALL))
    with pytest.raises(ValueError, match="`waveform` must last as long as `motion`; it gives 8 frames for 16"):
        camn_losses(model, upper_body_motion(batch), batch.waveform[:, :8000], batch.speaker)
    with pytest.raises(ValueError, match="`labels` must have shape"):
        label_contrast(torch.randn(3, 4, 2), torch.zeros(2))
