from __future__ import annotations

import pytest
import torch

from cospeech.rotations import axis_angle_to_rot6d, rot6d_to_matrix
from cospeech.samplers import GlobalDiffSampler, count_published_windows, draw_noise, smooth_savgol

NUM_JOINTS, DIM = 4, 27
PUBLISHED = GlobalDiffSampler(seams="flat")


def still(frames, batch=1):
    """A pose held still."""
    rotations = axis_angle_to_rot6d(torch.linspace(-1, 1, 3 * NUM_JOINTS).view(NUM_JOINTS, 3)).flatten()
    pose = torch.cat([rotations, torch.tensor([0.1, 1.0, -0.2])])
    return pose.expand(batch, frames, DIM).contiguous()


def sample(noise, seed):
    return PUBLISHED.sample_window(lambda noisy, time: 0.3 * noisy.sin() + still(60) + 0.1 * time, noise, seed)


def test_slow_twin_of_the_published_window():
    noise, seed = torch.randn(2, 60, DIM), torch.randn(2, 8, DIM)

    def predict(noisy, time):
        return 0.3 * noisy.sin() + still(60) + 0.1 * time

    x = noise
    for k in range(10):
        clean = predict(x, k / 10).clone()
        clean[:, :8] = (seed + clean[:, :8]) / 2
        x = (1 - (k + 1) / 10) * noise + (k + 1) / 10 * clean
    expected = torch.cat([x[:, :5], smooth_savgol(x[:, 5:], 7, 2)], dim=1)
    rows = rot6d_to_matrix(expected[..., :-3].unflatten(-1, (-1, 6)))[..., :2, :]
    expected = torch.cat([rows.flatten(-3), expected[..., -3:]], dim=-1)

    actual = PUBLISHED.sample_window(predict, noise, seed)
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)
    changed = (PUBLISHED.smooth(x) != x).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == list(range(8, 57))


def test_a_network_that_knows_the_answer_gives_it():
    motion = still(60)
    window = PUBLISHED.sample_window(lambda noisy, time: motion, torch.randn(1, 60, DIM), motion[:, :8])
    torch.testing.assert_close(window, motion)


@pytest.mark.parametrize("num_windows", [1, 2, 5])
@pytest.mark.parametrize("seams", ["ramp", "flat"])
def test_any_number_of_windows(num_windows, seams):
    windows = GlobalDiffSampler(seams=seams).windows(sample)
    frames = torch.cat(list(windows.run(torch.randn(num_windows, 3, 60, DIM), still(8, batch=3))), dim=1)
    assert frames.shape == (3, 60 + 52 * (num_windows - 1), DIM)
    assert frames.isfinite().all()


def test_flat_seams_average():
    noises, seed = torch.randn(2, 1, 60, DIM), still(8)
    first = sample(noises[0], seed)
    second = sample(noises[1], first[:, -8:])
    frames = torch.cat(list(PUBLISHED.windows(sample).run(noises, seed)), dim=1)
    torch.testing.assert_close(frames[:, 52:60], (first[:, 52:] + second[:, :8]) / 2)
    assert torch.equal(frames[:, :52], first[:, :52])
    assert torch.equal(frames[:, 60:], second[:, 8:])


def test_a_clip_does_not_depend_on_its_batch():
    def run(seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noises = (draw_noise((len(seeds), 60, DIM), generators) for _ in range(3))
        return torch.cat(list(PUBLISHED.windows(sample).run(noises, still(8, batch=len(seeds)))), dim=1)

    assert torch.equal(run([5, 6, 7])[1:2], run([6]))
    assert not torch.equal(run([6]), run([7]))


def test_every_call_is_reported_at_its_time():
    seen = []
    PUBLISHED.sample_window(lambda noisy, time: noisy, torch.randn(1, 60, DIM), still(8), callback=seen.append)
    assert [step.timestep for step in seen] == pytest.approx([k / 10 for k in range(10)])
    assert PUBLISHED.steps.clock == tuple(step.timestep for step in seen)


def test_published_number_of_windows():
    assert count_published_windows(59_734) == 2
    assert count_published_windows(160_000) == (160_000 - 4_266) // 27_734
    with pytest.raises(ValueError, match="needs at least 59734 samples; got 59733"):
        count_published_windows(59_733)


def test_messages():
    with pytest.raises(ValueError, match="Unknown seams 'hard'; choose from ramp, flat"):
        GlobalDiffSampler(seams="hard")
    with pytest.raises(ValueError, match=r"`seed` must have shape \(1, 8, 27\); got \(1, 7, 27\)"):
        sample(torch.zeros(1, 60, DIM), still(7))


def test_foppas_in_place_of_the_paper_s_rule():
    """The window begins with the seed itself, goes over to what the network says, and takes no blending afterwards."""
    sampler, generator = GlobalDiffSampler(foppas_visits=2), torch.Generator().manual_seed(0)
    noise, seed = torch.randn(2, 60, DIM), still(8, 2) + torch.tensor([0.3, 0.0, 0.0]).repeat(DIM // 3)
    calls = []

    def predict(noisy, time):
        calls.append(time)
        return still(60, 2)

    def draw(kind, shape):
        return torch.randn(*shape, generator=generator)

    window = sampler.sample_window(predict, noise, seed, draw=draw)
    assert len(calls) == sampler.foppas.num_calls(inpainted=True) == 19
    assert torch.allclose(window[:, 0, -3:], seed[:, 0, -3:], atol=1e-5)
    assert torch.allclose(window[:, 12:], still(60, 2)[:, 12:], atol=1e-5)
    pieces = list(sampler.windows(lambda k, known: torch.full((1, 60, 1), float(k))).run([0, 1], torch.zeros(1, 8, 1)))
    assert torch.cat(pieces, 1).flatten().tolist() == [0.0] * 52 + [1.0] * 60
    with pytest.raises(ValueError, match="pass `draw`"):
        sampler.sample_window(predict, noise, seed)
    with pytest.raises(ValueError, match="must be at least 1"):
        GlobalDiffSampler(foppas_visits=0)
