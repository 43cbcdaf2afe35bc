"""GlobalDiff's networks: what is prepared equals what is plain, at other sizes than the published too."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from cospeech.models import (
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    SeededDiTBlock,
    SpeechModel,
    SpeechModelConfig,
    StackedDenoiser,
    optimize_denoiser,
)

SMALL = GlobalDiffConfig(
    hidden_dim=32, num_layers=2, num_heads=4, feedforward_dim=48, feature_dim=20, num_speakers=5, speaker_dim=8
)
TINY_BODY = GlobalDiffConfig(
    hidden_dim=16,
    num_layers=1,
    num_heads=2,
    feedforward_dim=24,
    feature_dim=6,
    expression_dim=3,
    num_speakers=2,
    speaker_hidden_dim=7,
    speaker_dim=4,
    num_seed_frames=3,
    hand_joints=(4, 1),
    upper_joints=(3,),
    lower_joints=(0,),
    face_joints=(2,),
)


def shaken(module, generator):
    """Noise in every weight, so that what starts at zero speaks too."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def inputs(config, generator, batch_size=2, num_frames=12):
    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        "features": randn(batch_size, num_frames, config.feature_dim),
        "expressions": randn(batch_size, num_frames, config.expression_dim),
        "speaker": torch.arange(batch_size) % config.num_speakers,
        "seed": randn(batch_size, config.num_seed_frames, config.motion_dim),
    }


def plain_denoiser(model, noisy, time, speaker, seed, features, expressions):
    """The formula of the paper's program, step by step, without anything of the model but its weights."""
    config = model.config

    def mlp(x, layers, activation):
        return layers.contract(activation(layers.expand(x)))

    def norm(x):
        return F.layer_norm(x, x.shape[-1:])

    def attend(attention, x, memory):
        heads, (key, value) = attention.num_heads, attention.key_value(memory).chunk(2, dim=-1)
        query, key, value = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (attention.query(x), key, value))
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
        return attention.out((weights @ value).transpose(1, 2).flatten(2))

    def positions(x):
        steps = torch.arange(x.shape[1], dtype=torch.float64)[:, None]
        k = torch.arange(x.shape[2] // 2, dtype=torch.float64)
        angles = steps * 10000 ** (-2 * k / x.shape[2])
        return x + torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(x.dtype)

    n = config.num_seed_frames
    one_hot = F.one_hot(speaker, config.num_speakers).to(noisy.dtype)
    c = torch.cat(
        [mlp(time[:, None], model.time_embedding, F.silu), mlp(one_hot, model.speaker_embedding.mlp, F.silu)], dim=-1
    )
    audio = mlp(features, model.audio_projection, F.silu)
    clean = torch.zeros_like(noisy)
    for stream, channels in ((model.hand, config.hand_channels), (model.body, config.body_channels)):
        u = stream.part_in(noisy[..., list(channels)])
        w_in = torch.cat([stream.motion_in.weight, stream.expression_in.weight], dim=1)
        w = F.linear(torch.cat([noisy, expressions], dim=-1), w_in, stream.motion_in.bias)
        w_fuse = torch.cat([stream.fuse.weight, stream.audio_fuse.weight], dim=1)
        x = positions(F.linear(torch.cat([u, w, audio], dim=-1), w_fuse, stream.fuse.bias))
        tokens = positions(stream.seed_in(seed[..., list(channels)]))
        for block in stream.blocks:
            m = block.modulation.linear(F.silu(c))[:, None].chunk(9, dim=-1)
            gate1, scale1, shift1, gate2, scale2, shift2, gate3, scale3, shift3 = m
            s = mlp(norm(tokens) * (1 + scale3) + shift3, block.seed_feedforward, F.gelu) * gate3 + tokens
            x = torch.cat([x[:, :n] + attend(block.cross_attention, x[:, :n], s), x[:, n:]], dim=1)
            y = x * (1 + scale1) + shift1
            x = norm(gate1 * attend(block.self_attention, y, y) + x)
            x = norm(gate2 * mlp(x * (1 + scale2) + shift2, block.feedforward, F.gelu) + x)
        clean[..., list(channels)] = stream.head(x)
    return clean


@pytest.mark.parametrize("config", [SMALL, TINY_BODY], ids=["smplx", "five joints"])
def test_equals_the_plain_formula(config, generator):
    model = shaken(GlobalDiffDenoiser(config), generator)
    given = inputs(config, generator)
    noisy, time = torch.randn(2, 12, config.motion_dim, generator=generator), torch.tensor([0.2, 0.9])
    expected = plain_denoiser(model, noisy, time, **given)
    torch.testing.assert_close(model(noisy, time, **given), expected, rtol=0, atol=1e-5)


def test_prepared_equals_plain_at_every_time(generator):
    model = shaken(GlobalDiffDenoiser(SMALL), generator)
    given = inputs(SMALL, generator)
    noisy, times = torch.randn(2, 12, 333, generator=generator), torch.arange(10) / 10
    kept = model.modulate(given["speaker"], times)
    conditionings = [model.prepare(**given, times=times), model.prepare(**given, times=times, modulations=kept)]
    for conditioning in conditionings:
        for i, time in enumerate(times):
            plain = model(noisy, time.expand(2), **given)
            torch.testing.assert_close(model.denoise(noisy, conditioning, i), plain, rtol=0, atol=1e-5)


def test_windows_of_a_batch_do_not_meet(generator):
    model = shaken(GlobalDiffDenoiser(SMALL), generator)
    given = inputs(SMALL, generator, batch_size=3)
    noisy, time = torch.randn(3, 12, 333, generator=generator), torch.tensor([0.1, 0.5, 0.8])
    whole = model(noisy, time, **given)
    for i in range(3):
        alone = model(noisy[i : i + 1], time[i : i + 1], **{key: value[i : i + 1] for key, value in given.items()})
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=0, atol=1e-5)


def test_reacts_to_every_input(generator):
    model = shaken(GlobalDiffDenoiser(SMALL), generator)
    given = {
        "noisy": torch.randn(2, 12, 333, generator=generator),
        "time": torch.tensor([0.2, 0.9]),
        **inputs(SMALL, generator),
    }
    before = model(**given)
    for name, value in given.items():
        changed = {**given, name: (value + 1) % SMALL.num_speakers if name == "speaker" else value + 0.1}
        assert (model(**changed) - before).abs().max() > 1e-4, name


def test_streams_do_not_meet_but_in_their_input(generator):
    """A changed hand output layer leaves every body channel alone."""
    model = shaken(GlobalDiffDenoiser(TINY_BODY), generator)
    given = inputs(TINY_BODY, generator)
    noisy, time = torch.randn(2, 5, 33, generator=generator), torch.tensor([0.2, 0.9])
    given = {**given, "features": given["features"][:, :5], "expressions": given["expressions"][:, :5]}
    before = model(noisy, time, **given)
    with torch.no_grad():
        model.hand.head.bias += 1
    difference = model(noisy, time, **given) - before
    hand = list(TINY_BODY.hand_channels)
    torch.testing.assert_close(difference[..., hand], torch.ones(2, 5, 12))
    assert not difference[..., list(TINY_BODY.body_channels)].any()


def test_channels_share_out_the_motion_vector():
    config = GlobalDiffConfig()
    assert config.motion_dim == 333
    assert (len(config.hand_channels), len(config.body_channels)) == (180, 153)
    assert sorted((*config.hand_channels, *config.body_channels)) == list(range(333))
    assert config.hand_channels == tuple(range(150, 330))
    assert config.body_channels[132:135] == (330, 331, 332)  # the translation, between lower body and face


def test_published_sizes():
    with torch.device("meta"):
        denoiser, speech = GlobalDiffDenoiser(GlobalDiffConfig()), SpeechModel(SpeechModelConfig())
    assert sum(parameter.numel() for parameter in denoiser.parameters()) == 43_081_293
    assert sum(parameter.numel() for parameter in speech.parameters()) == 13_238_948


def test_starts_as_published():
    """Modulations and expressions start at zero; layers that were cut in two as if they were still one."""
    model = GlobalDiffDenoiser(SMALL)
    assert not any(block.modulation.linear.weight.any() for block in model.hand.blocks)
    bound = (333 + 100) ** -0.5
    for weight in (model.body.motion_in.weight, model.body.expression_in.weight):
        assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    speech = SpeechModel(SpeechModelConfig(hidden_dim=16, num_layers=1, num_heads=2, feature_dim=4))
    assert not speech(torch.randn(1, 5, 4), torch.tensor([0])).any()


def test_finite_gradients_everywhere(generator):
    model = shaken(GlobalDiffDenoiser(SMALL), generator).train()
    given = inputs(SMALL, generator)
    noisy, time = torch.randn(2, 12, 333, generator=generator), torch.tensor([0.0, 1.0])
    model(noisy, time, **given).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_fewer_frames_than_seed(generator):
    model = shaken(GlobalDiffDenoiser(SMALL), generator)
    given = inputs(SMALL, generator, num_frames=3)
    assert model(torch.zeros(2, 3, 333), torch.tensor([0.0, 0.5]), **given).shape == (2, 3, 333)


def test_float64_and_bfloat16(generator):
    model = shaken(GlobalDiffDenoiser(SMALL), generator)
    given = inputs(SMALL, generator)
    noisy, time = torch.randn(2, 12, 333, generator=generator), torch.tensor([0.2, 0.9])
    single = model(noisy, time, **given)
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.bfloat16, 0.2)):
        raised = {key: value.to(dtype) if value.is_floating_point() else value for key, value in given.items()}
        other = model.to(dtype)(noisy.to(dtype), time.to(dtype), **raised)
        assert other.dtype == dtype
        torch.testing.assert_close(other.float(), single, rtol=0, atol=tolerance)


def test_block_without_gates_only_normalises(generator):
    block = SeededDiTBlock(8, 2, 16, num_seed_frames=2)
    x, seed = torch.randn(1, 5, 8, generator=generator), torch.randn(1, 2, 8, generator=generator)
    y = block(x, block.condition(seed, block.modulation(torch.randn(1, 8, generator=generator))))
    expected = F.layer_norm(F.layer_norm(x, (8,)), (8,))
    torch.testing.assert_close(y[:, 2:], expected[:, 2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": (2, 12, 21)}, r"`features` must have shape \(B, T, 20\); got \(2, 12, 21\)"),
        ({"expressions": (2, 12, 99)}, r"`expressions` must have shape \(B, T, 100\)"),
        ({"seed": (2, 7, 333)}, r"`seed` must have shape \(B, 8, 333\)"),
    ],
)
def test_wrong_shapes_are_refused(change, message, generator):
    given = inputs(SMALL, generator) | {name: torch.zeros(shape) for name, shape in change.items()}
    with pytest.raises(ValueError, match=message):
        GlobalDiffDenoiser(SMALL).prepare(**given, times=torch.zeros(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 0}, "`num_layers` must lie in 1..256; got 0"),
        ({"hidden_dim": 10**6}, "`hidden_dim` must lie in"),
        ({"speaker_dim": 384}, "`speaker_dim` must lie between 0 and `hidden_dim`; got 384"),
        ({"face_joints": (22, 23)}, "joint lists must name each of 0..53 once"),
    ],
)
def test_wrong_sizes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(GlobalDiffConfig(), **change)


def test_speech_model_works_frame_count_free_and_by_speaker(generator):
    config = SpeechModelConfig(hidden_dim=16, num_layers=2, num_heads=2, feature_dim=6, num_speakers=3)
    model = shaken(SpeechModel(config), generator)
    features = torch.randn(1, 9, 6, generator=generator)
    first, second = (model(features, torch.tensor([speaker])) for speaker in (0, 1))
    assert first.shape == (1, 9, 100)
    assert not torch.allclose(first, second)
    both = model(features.expand(2, -1, -1), torch.tensor([0, 1]))
    torch.testing.assert_close(both, torch.cat([first, second]), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"`features` must have shape \(B, T, 6\)"):
        model(torch.zeros(1, 9, 7), torch.tensor([0]))


@pytest.mark.parametrize("config", [SMALL, TINY_BODY], ids=["smplx", "five joints"])
def test_stacked_streams_equal_two(config, generator):
    model = shaken(GlobalDiffDenoiser(config), generator)
    stacked = StackedDenoiser(model)
    given = inputs(config, generator)
    noisy, times = torch.randn(2, 12, config.motion_dim, generator=generator), torch.tensor([0.0, 0.4, 0.9])
    kept = stacked.modulate(given["speaker"], times)
    plain = model.prepare(**given, times=times)
    for conditioning in (
        stacked.prepare(**given, times=times),
        stacked.prepare(**given, times=times, modulations=kept),
    ):
        for i in range(3):
            expected = model.denoise(noisy, plain, i)
            torch.testing.assert_close(stacked.denoise(noisy, conditioning, i), expected, rtol=0, atol=1e-5)
    assert stacked.config is config


def test_optimized_denoiser_equals_plain(generator):
    model = shaken(GlobalDiffDenoiser(SMALL), generator)
    fast = optimize_denoiser(model, batch_size=2, num_frames=12)
    given = inputs(SMALL, generator)
    noisy, times = torch.randn(2, 12, 333, generator=generator), torch.tensor([0.4])
    expected = model.denoise(noisy, model.prepare(**given, times=times), 0)
    torch.testing.assert_close(fast.denoise(noisy, fast.prepare(**given, times=times), 0), expected, rtol=0, atol=1e-4)
