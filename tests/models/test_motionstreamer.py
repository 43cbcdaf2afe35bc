"""Transformer, head and generator at a small size: caches against recomputation, streams, sliding, sizes."""

import pytest
import torch

from cospeech.hub import load_model, save_model
from cospeech.hub.convert.motionstreamer import motionstreamer_from_published, motionstreamer_to_published
from cospeech.models import (
    MotionStreamer,
    MotionStreamerConfig,
    MotionStreamerGenerator,
    motionstreamer_steps,
    optimize_motionstreamer,
)
from cospeech.samplers import draw_noise
from cospeech.schedulers import flow_euler_steps, flow_renoise_steps, flow_times

SMALL = MotionStreamerConfig(
    text_dim=12,
    latent_dim=4,
    dim=32,
    num_layers=2,
    num_heads=2,
    feedforward_dim=24,
    max_positions=9,
    head_dim=16,
    head_layers=2,
    time_dim=8,
    num_timesteps=6,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = MotionStreamer(SMALL).eval()
    for linear in (*model.head.modulations, model.head.final_modulation, model.head.latent_out):
        torch.nn.init.normal_(linear.weight, std=0.1)  # they start silent
    return model


def noise_of(seed, batch=1):
    generators = [torch.Generator().manual_seed(seed + i) for i in range(batch)]
    return lambda: draw_noise((batch, SMALL.latent_dim), generators)


@pytest.mark.parametrize("start", [0, 1, 3, 7])
@torch.inference_mode()
def test_caches_give_what_recomputation_gives(model, start):
    text, latents = torch.randn(2, 12), torch.randn(2, 8, 4)
    whole = model.transformer(text, latents)
    condition, caches = model.transformer.begin(text, latents[:, :start])
    torch.testing.assert_close(condition, whole[:, start])
    for k in range(start, 8):
        condition, caches = model.transformer.step(latents[:, k], caches)
        torch.testing.assert_close(condition, whole[:, k + 1])


@torch.inference_mode()
def test_several_positions_at_once_behind_others(model):
    attention, x = model.transformer.blocks[0].attention, torch.randn(1, 7, 32)
    phases = model.transformer._phases(7, first=0, like=x)
    whole = attention(x, phases)
    for cut in ([3, 4], [1, 5, 1], [7]):
        cache, pieces, first = attention.init_state(1, 7), [], 0
        for chunk in x.split(cut, dim=1):
            y, cache = attention.step(chunk, cache, phases[first : first + chunk.shape[1]])
            pieces.append(y)
            first += chunk.shape[1]
        torch.testing.assert_close(torch.cat(pieces, 1), whole)
    with pytest.raises(ValueError, match="`cache` holds 7 positions; 8 are needed"):
        attention.step(x[:, :1], cache, phases[:1])


@torch.inference_mode()
def test_future_leaves_the_past_bit_identical(model):
    text, latents = torch.randn(1, 12), torch.randn(1, 8, 4)
    changed = latents.clone()
    changed[:, 5:] += 1
    assert torch.equal(model.transformer(text, latents)[:, :6], model.transformer(text, changed)[:, :6])


@torch.inference_mode()
def test_all_steps_prepared_at_once(model):
    noisy, condition, times = torch.randn(3, 4), torch.randn(3, 32), torch.arange(6)
    conditioning = model.head.prepare(condition, model.head.embed_times(times))
    for i in range(6):
        expected = model.head(noisy, times[i].expand(3), condition)
        torch.testing.assert_close(model.head.denoise(noisy, conditioning, i), expected)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_stream_is_the_published_loop(model, scale):
    """Against the slow twin: full recomputation for each latent, head step by step, both halves."""
    generator = MotionStreamerGenerator(model, steps=motionstreamer_steps(num_timesteps=6), guidance_scale=scale)
    text, empty = torch.randn(1, 12), torch.randn(12)
    state, draw, ours = generator.init_state(text, empty_text=empty), noise_of(3), []
    for _ in range(5):
        latent, state = generator.step(state, draw)
        ours.append(latent)

    draw, drawn = noise_of(3), torch.zeros(1, 0, 4)
    texts = torch.cat([text, empty[None]])
    with torch.no_grad():
        for _ in range(5):
            conditions = model.transformer(texts, drawn.expand(2, -1, -1))[:, -1]
            noisy = draw()
            for timestep in generator.steps.clock:
                told = torch.full((2,), int(timestep))
                given, without = model.head(noisy.expand(2, -1), told, conditions).split(1)
                noise = draw() if generator.steps.takes_noise(timestep) else None
                noisy = generator.steps.step(without + scale * (given - without), timestep, noisy, noise)
            drawn = torch.cat([drawn, noisy[:, None]], dim=1)
    torch.testing.assert_close(torch.stack(ours, dim=1), drawn, rtol=1e-4, atol=1e-5)


def test_sliding_reads_the_last_latents_as_history(model):
    """Behind the last position a stream equals a fresh one that was given the last latents as history."""
    generator = MotionStreamerGenerator(model, steps=motionstreamer_steps(num_timesteps=6), history_latents=3)
    text, empty = torch.randn(2, 12), torch.randn(12)
    state, draw, latents = generator.init_state(text, empty_text=empty), noise_of(1, 2), []
    for k in range(30):
        if k == 9:  # text and 8 latents fill the 9 positions; latent 9 has just been drawn
            fresh = generator.init_state(text, empty_text=empty, history=torch.stack(latents[6:9], dim=1))
            torch.testing.assert_close(state.condition, fresh.condition)
        latent, state = generator.step(state, draw)
        latents.append(latent)
    assert state.latents.shape[1] <= SMALL.max_positions - 1
    assert torch.isfinite(torch.stack(latents)).all()


def test_streams_do_not_depend_on_their_batch(model):
    generator = MotionStreamerGenerator(model, steps=motionstreamer_steps(num_timesteps=6))
    texts, empty = torch.randn(2, 12), torch.randn(12)
    both = generator.init_state(texts, empty_text=empty)
    second = generator.init_state(texts[1:], empty_text=empty)
    draw_both, draw_second = noise_of(4, 2), noise_of(5)
    for _ in range(12):
        latents, both = generator.step(both, draw_both)
        latent, second = generator.step(second, draw_second)
        torch.testing.assert_close(latents[1:], latent, rtol=1e-4, atol=1e-5)


def test_change_of_text_keeps_the_motion(model):
    generator = MotionStreamerGenerator(model, steps=motionstreamer_steps(num_timesteps=6), history_latents=3)
    text, other, empty = torch.randn(1, 12), torch.randn(1, 12), torch.randn(12)
    state, draw, latents = generator.init_state(text, empty_text=empty), noise_of(1), []
    for _ in range(5):
        latent, state = generator.step(state, draw)
        latents.append(latent)
    changed = generator.change_text(state, other)
    fresh = generator.init_state(other, empty_text=empty, history=torch.stack(latents[2:], dim=1))
    torch.testing.assert_close(changed.condition, fresh.condition)
    torch.testing.assert_close(changed.text, torch.cat([other, empty[None]]))


@pytest.mark.parametrize(("solver", "num_steps"), [("ddim", 3), ("ddim", 6), ("ddpm", 2)])
def test_fewer_steps(model, solver, num_steps):
    steps = motionstreamer_steps(num_steps, num_timesteps=6, solver=solver)
    assert steps.clock[0] == (5 if num_steps == 6 else 4)  # the last timestep is all noise: only the full clock uses it
    assert len(steps.clock) == num_steps
    generator = MotionStreamerGenerator(model, steps=steps)
    state = generator.init_state(torch.randn(1, 12), empty_text=torch.zeros(12))
    assert torch.isfinite(generator.step(state, noise_of(0))[0]).all()


@pytest.mark.parametrize("make", [flow_euler_steps, flow_renoise_steps])
def test_a_head_trained_as_a_flow_or_for_consistency_needs_another_table_only(model, make):
    steps = make(flow_times(3))
    generator = MotionStreamerGenerator(model, steps=steps, guidance_scale=1.0)
    latent, _ = generator.step(generator.init_state(torch.randn(1, 12)), noise_of(0))
    assert torch.isfinite(latent).all()
    assert not torch.equal(latent, noise_of(0)())


def test_optimized_copy_agrees(model):
    text, empty = torch.randn(1, 12), torch.zeros(12)
    latents = []
    for each in (model, optimize_motionstreamer(model, num_steps=6)):
        generator = MotionStreamerGenerator(each, steps=motionstreamer_steps(num_timesteps=6))
        state = generator.init_state(text, empty_text=empty)
        latents.append(generator.step(state, noise_of(0))[0])
    torch.testing.assert_close(*latents, rtol=1e-4, atol=1e-5)


def test_number_of_weights():
    with torch.device("meta"):
        model = MotionStreamer(MotionStreamerConfig())
    # Published counts; twelve of its 242,304,796 are the scales of attention, no parameters here.
    assert sum(p.numel() for p in model.parameters()) == 242_304_796 - 12
    assert sum(p.numel() for p in model.head.parameters()) == 156_156_688


def test_published_keys_both_ways(model):
    config = MotionStreamerConfig(dim=64, num_heads=1, feedforward_dim=24, head_dim=16, time_dim=8, num_layers=2)
    model = MotionStreamer(config)
    again = motionstreamer_from_published(motionstreamer_to_published(model))
    assert again.config == config
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_saves_and_loads(model, tmp_path):
    save_model(model, tmp_path)
    again, text = load_model(MotionStreamer, tmp_path), torch.randn(1, 12)
    latents = torch.randn(1, 3, 4)
    torch.testing.assert_close(again.transformer(text, latents), model.transformer(text, latents))


def test_errors(model):
    with pytest.raises(ValueError, match="`latents` must hold 8 at most; got 9"):
        model.transformer(torch.zeros(1, 12), torch.zeros(1, 9, 4))
    with pytest.raises(ValueError, match=r"`text` must have shape \(B, 12\)"):
        model.transformer(torch.zeros(1, 3), torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match=r"`history_latents` must lie in 0\.\.7; got 8"):
        MotionStreamerGenerator(model, history_latents=8)
    with pytest.raises(ValueError, match="Guidance needs `empty_text`"):
        MotionStreamerGenerator(model).init_state(torch.zeros(1, 12))
    with pytest.raises(ValueError, match="Unknown solver 'euler'; choose from ddpm, ddim"):
        motionstreamer_steps(solver="euler")
    with pytest.raises(ValueError, match="`num_layers` must lie in"):
        MotionStreamerConfig(num_layers=0)
    with pytest.raises(ValueError, match="two latents at least"):
        MotionStreamerConfig(max_positions=2)
