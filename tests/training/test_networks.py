"""Layers computed twice, half precision, compilation and averages change how a network runs, not what it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy
from safetensors.torch import load_file
from torch import nn

from cospeech.models import GlobalDiffConfig, GlobalDiffDenoiser, MotionStreamer, MotionStreamerConfig
from cospeech.training.ema import WeightAverage
from cospeech.training.loop import train
from cospeech.training.networks import checkpoint_layers, run_in_precision


def streamer() -> MotionStreamer:
    torch.manual_seed(0)
    sizes = {"dim": 16, "num_layers": 3, "num_heads": 2, "feedforward_dim": 32, "head_dim": 16, "head_layers": 2}
    return MotionStreamer(MotionStreamerConfig(**sizes))


def gradients(model: MotionStreamer) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    text, latents = (torch.randn(shape, generator=generator) for shape in ((2, 768), (2, 5, 16)))
    model.transformer(text, latents).square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_layers_computed_twice_give_the_same_gradients_and_names() -> None:
    plain, twice = streamer(), streamer()
    assert checkpoint_layers(twice.transformer) == 3
    assert twice.state_dict().keys() == plain.state_dict().keys()
    expected, found = gradients(plain), gradients(twice)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=0, rtol=0)


def test_layers_computed_twice_keep_less() -> None:
    def kept(model: MotionStreamer) -> int:
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.transformer(torch.randn(2, 768), torch.randn(2, 40, 16))
        return sum(sizes)

    plain, twice = streamer(), streamer()
    checkpoint_layers(twice.transformer)
    assert kept(twice) < 0.5 * kept(plain)


def test_layers_with_batch_norm_are_left_alone() -> None:
    model = nn.Sequential(nn.ModuleList([nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2)]))
    assert checkpoint_layers(model) == 2


def test_half_precision_stays_inside_the_network() -> None:
    denoiser = GlobalDiffDenoiser(
        GlobalDiffConfig(hidden_dim=32, num_layers=1, num_heads=2, feature_dim=8, speaker_dim=8)
    )
    seen: list[torch.dtype] = []
    denoiser.hand.head.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    inputs = (
        torch.randn(2, 60, 333),
        torch.rand(2),
        torch.ones(2, dtype=torch.long),
        torch.randn(2, 8, 333),
        torch.randn(2, 60, 8),
        torch.randn(2, 60, 100),
    )
    exact = denoiser(*inputs)
    run_in_precision(denoiser, "bf16", torch.device("cpu"))
    half = denoiser(*inputs)
    assert seen == [torch.float32, torch.bfloat16]
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().max() < 0.1
    half.sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in denoiser.parameters())


def test_the_average_is_applied_and_taken_back() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.5)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    average.update(step=100)
    with average.applied():
        torch.testing.assert_close(model.weight.detach(), before + 0.5)
    torch.testing.assert_close(model.weight.detach(), before + 1)


@pytest.mark.slow
def test_a_compiled_training_follows_the_plain_one_and_goes_on_exactly(tmp_path: Path) -> None:
    def last(name: str, **options: object) -> dict[str, torch.Tensor]:
        settings = toy.run(tmp_path / name, 8, 4, keep_checkpoints=9, **options)
        model = train(toy.Toy("plain"), settings, toy.RULE)
        assert model.state_dict().keys() == toy.Toy().model.state_dict().keys()
        files = sorted((tmp_path / name / "checkpoints" / "step-00000008").glob("[amo]*.safetensors"))
        return {f"{path.stem}/{key}": tensor for path in files for key, tensor in load_file(path).items()}

    plain, compiled = last("plain"), last("compiled", compile=True)
    toy.cut(str(tmp_path / "compiled"), str(tmp_path / "cut"), 5)
    resumed = last("cut", compile=True)
    assert plain.keys() == compiled.keys() == resumed.keys()
    for key, value in plain.items():
        torch.testing.assert_close(compiled[key], value, atol=1e-5, rtol=1e-4)
        assert torch.equal(resumed[key], compiled[key]), key
