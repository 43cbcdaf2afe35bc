from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.samplers import Foppas, OutpaintedWindows, denoise, outpainting_windows
from cospeech.schedulers import NoiseSchedule, ddim_steps, ddpm_steps, flow_times, linear_betas, strided_spacing

SCHEDULE = NoiseSchedule(linear_betas(1000)).respace(strided_spacing(1000, 25))
CHANNELS = 3


def drawing(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda kind, shape: torch.randn(*shape, generator=generator)


def towards(clean, foppas):
    """A denoiser that knows the clean sample."""
    mixtures = dict(zip(foppas.steps.clock, foppas.mixtures, strict=True))

    def predict(noisy, timestep):
        mixture = mixtures[timestep]
        return (noisy - mixture.signal * clean) / mixture.sigma

    return predict


def ddpm():
    mixtures = tuple(SCHEDULE.mixture(timestep) for timestep in SCHEDULE.timesteps[::-1])
    return Foppas(steps=ddpm_steps(SCHEDULE), mixtures=mixtures, jumps="exact")


SAMPLERS = {
    "ddim": Foppas.ddim(SCHEDULE),
    "exact jumps": Foppas.ddim(SCHEDULE, jumps="exact"),
    "eta": Foppas.ddim(SCHEDULE, eta=0.7),
    "ddpm": ddpm(),
    "plain": Foppas.ddim(SCHEDULE, start_level=25, jump_length=1, num_visits=1),
    "flow": Foppas.flow(flow_times(10), prediction="clean"),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_any_scheduler_continues_what_is_known(name):
    """Where the denoiser agrees with the known frames, they and the rest come out clean."""
    foppas, clean = SAMPLERS[name], torch.randn(2, 12, CHANNELS)
    predict = (lambda noisy, time: clean) if name == "flow" else towards(clean, foppas)
    window = foppas.sample_window(predict, torch.randn(2, 12, CHANNELS), clean[:, :4], draw=drawing())
    torch.testing.assert_close(window, clean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_known_frames_are_gone_over_into_the_new(name):
    """Where it disagrees, the first frame is the known one, the last known frame the denoiser's."""
    foppas, clean, known = SAMPLERS[name], torch.ones(1, 12, CHANNELS), torch.zeros(1, 4, CHANNELS)
    predict = (lambda noisy, time: clean) if name == "flow" else towards(clean, foppas)
    window = foppas.sample_window(predict, torch.randn(1, 12, CHANNELS), known, draw=drawing())
    assert torch.equal(window[:, 0], known[:, 0])
    torch.testing.assert_close(window[:, 3:], clean[:, 3:], rtol=1e-3, atol=1e-3)
    assert (window[0, :4, 0].diff() > 0).all()


def test_a_free_window_is_plain_sampling():
    steps = ddim_steps(SCHEDULE)
    noise = torch.randn(1, 8, CHANNELS)

    def predict(noisy, timestep):
        return torch.tanh(noisy) * timestep / 1000

    expected = denoise(predict, noise, steps)
    for known in (None, noise[:, :0]):
        window = SAMPLERS["ddim"].sample_window(predict, noise, known, draw=drawing())
        assert torch.equal(window, expected)


def test_exact_jumps_end_with_the_level_s_own_noise():
    foppas, level = SAMPLERS["exact jumps"], 7
    here, there = (SCHEDULE.mixture(SCHEDULE.timesteps[i]) for i in (level, level + 1))
    ones = torch.ones(1, 1, 1, dtype=torch.float64)
    kept = foppas._jump(ones, level, lambda kind, shape: torch.zeros(1, 1, 1, dtype=torch.float64))
    added = foppas._jump(0 * ones, level, lambda kind, shape: ones)
    assert (kept * here.signal).item() == pytest.approx(there.signal)
    assert ((kept * here.sigma) ** 2 + added**2).item() == pytest.approx(there.sigma**2)


def test_calls_and_timesteps():
    foppas, told = SAMPLERS["ddim"], []

    def predict(noisy, timestep):
        told.append(timestep)
        return noisy

    foppas.sample_window(predict, torch.zeros(1, 8, 1), torch.zeros(1, 2, 1), draw=drawing())
    assert len(told) == foppas.num_calls(inpainted=True) == 27
    assert sorted(set(told), reverse=True) == list(foppas.timesteps(inpainted=True))
    assert foppas.num_calls(inpainted=False) == len(foppas.timesteps(inpainted=False)) == 25
    jumps = sum(after > level for level, after in pairwise(foppas.walk))
    assert jumps == 12


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 40), st.data())
def test_windows_cover_a_clip(num_frames, window_frames, data):
    overlap = data.draw(st.integers(0, window_frames - 1))
    windows = outpainting_windows(num_frames, window_frames, overlap)
    assert windows[0].start == 0
    assert windows[-1].stop == num_frames
    for before, after in pairwise(windows):
        assert before.stop - before.start == window_frames
        assert before.stop - after.start == overlap
        assert after.stop - after.start > overlap


def test_overlap_may_change_and_frames_come_from_the_later_window():
    seen = []

    def sample(number, known):
        seen.append(None if known is None else known.shape[1])
        return torch.full((1, 10, 1), float(number))

    windows = OutpaintedWindows(sample, overlap_frames=4)
    state, pieces = windows.init_state(), []
    for number, overlap in enumerate([4, 2, 0, 3]):
        frames, state = windows.step(number, state, overlap_frames=overlap)
        pieces.append(frames)
    pieces.append(windows.flush(state))
    assert seen == [None, 4, 2, 0]
    assert [piece.shape[1] for piece in pieces] == [6, 8, 10, 7, 3]


def test_in_steps_or_at_once():
    """Streaming equals offline for the same noise."""
    foppas = SAMPLERS["ddim"]

    def joined():
        draw = drawing(5)

        def sample(shift, known):
            predict = towards(torch.full((1, 9, CHANNELS), shift), foppas)
            return foppas.sample_window(predict, draw("step", (1, 9, CHANNELS)), known, draw=draw)

        return OutpaintedWindows(sample, overlap_frames=3)

    shifts = [0.0, 1.0, -1.0]
    offline = torch.cat(list(joined().run(shifts)), dim=1)
    windows = joined()
    state, streamed = windows.init_state(), []
    for i, shift in enumerate(shifts):
        frames, state = windows.step(shift, state)
        streamed.append(frames)
        so_far = torch.cat(streamed, dim=1)
        assert torch.equal(so_far, offline[:, : 6 * (i + 1)])
    assert offline.shape[1] == 9 + 6 + 6


def test_what_is_refused():
    foppas, predict = SAMPLERS["ddim"], lambda noisy, timestep: noisy
    with pytest.raises(ValueError, match="`known` must be shorter than the window; got 8"):
        foppas.sample_window(predict, torch.zeros(1, 8, 1), torch.zeros(1, 8, 1), draw=drawing())
    with pytest.raises(ValueError, match=r"`known` must have shape \(1, F, 1\)"):
        foppas.sample_window(predict, torch.zeros(1, 8, 1), torch.zeros(1, 2, 2), draw=drawing())
    with pytest.raises(ValueError, match=r"`start_level` must lie in 1\.\.25; got 26"):
        Foppas.ddim(SCHEDULE, start_level=26)
    with pytest.raises(ValueError, match="Unknown jumps 'high'"):
        Foppas.ddim(SCHEDULE, jumps="high")
    with pytest.raises(ValueError, match="must be at least 1"):
        Foppas.ddim(SCHEDULE, num_visits=0)
    with pytest.raises(ValueError, match="one for each of the 25 steps; got 0"):
        Foppas(steps=ddim_steps(SCHEDULE), mixtures=())
    with pytest.raises(ValueError, match="`times` must end at 1"):
        Foppas.flow((0.0, 0.5))
    with pytest.raises(ValueError, match="more than the 4 frames of the overlap; got 3"):
        OutpaintedWindows(lambda inputs, known: torch.zeros(1, 3, 1), overlap_frames=4).step(
            None, OutpaintedWindows(lambda *_: torch.zeros(1), overlap_frames=4).init_state()
        )
    with pytest.raises(ValueError, match="nothing to flush"):
        OutpaintedWindows(lambda *_: torch.zeros(1), overlap_frames=0).flush(
            OutpaintedWindows(lambda *_: torch.zeros(1), overlap_frames=0).init_state()
        )
    with pytest.raises(ValueError, match="`num_frames` must be at least 1"):
        outpainting_windows(0, 4, 1)
    with pytest.raises(ValueError, match="`overlap_frames` must be from 0 to 3; got 4"):
        outpainting_windows(5, 4, 4)
