"""The published test program: what its rules imply, on small untrained networks; its numbers are in tests/parity."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cospeech.audio import ProsodyFeatures
from cospeech.errors import ModelNotFoundError
from cospeech.hub.convert.globaldiff import denoiser_to_published, speech_model_to_published
from cospeech.models import GlobalDiffConfig, GlobalDiffDenoiser, SpeechModel, SpeechModelConfig
from cospeech.pipelines.globaldiff import WindowInputs, bind_denoiser
from cospeech.pipelines.globaldiff_published import (
    GLOBALDIFF_FILES,
    PublishedGlobalDiff,
    published_file,
)

SIZES = {"hidden_dim": 32, "num_layers": 1, "feature_dim": 30, "speaker_dim": 8}


@pytest.fixture(scope="module")
def networks() -> tuple[GlobalDiffDenoiser, SpeechModel]:
    torch.manual_seed(0)
    denoiser = GlobalDiffDenoiser(GlobalDiffConfig(**SIZES, feedforward_dim=32))
    speech_model = SpeechModel(SpeechModelConfig(**SIZES, feedforward_dim=32))
    for module in (denoiser, speech_model):
        for parameter in module.parameters():  # what starts at zero would hide the conditions
            torch.nn.init.normal_(parameter, std=0.1)
    return denoiser, speech_model


def run(program, waveforms, noises, speakers):
    generator = torch.Generator().manual_seed(1)
    poses = [0.2 * torch.randn(8, 55, 3, generator=generator) for _ in waveforms]
    translations = [torch.randn(8, 3, generator=generator) for _ in waveforms]
    return program(waveforms, seed_poses=poses, seed_translations=translations, speakers=speakers, noises=noises)


def speech(num_samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(num_samples))


def test_lengths_and_tails(networks) -> None:
    program = PublishedGlobalDiff(*networks, ProsodyFeatures(), num_calls=2)
    noises = torch.randn(3, 2, 60, 333, generator=torch.Generator().manual_seed(0))
    long, short = run(program, [speech(90_000), speech(59_800)], noises, [2, 4])
    assert (long.num_frames, short.num_frames) == (60 + 52 + 52, 60 + 52)
    alone, _ = run(program, [speech(90_000), speech(90_000)], noises, [2, 4])
    torch.testing.assert_close(alone.local_axis_angle, long.local_axis_angle, rtol=0, atol=2e-4)


def test_what_is_too_short_or_does_not_fit_is_refused(networks) -> None:
    program = PublishedGlobalDiff(*networks, ProsodyFeatures(), num_calls=1)
    noises = torch.zeros(2, 1, 60, 333)
    with pytest.raises(ValueError, match="at least 59734 samples; got 59733"):
        run(program, [torch.zeros(59_733)], noises, [2])
    with pytest.raises(ValueError, match="must hold 3 windows; got 2"):
        run(program, [torch.zeros(90_000)], noises, [2])
    with pytest.raises(ValueError, match="one for each of the 1 files"):
        run(program, [torch.zeros(90_000)], noises, [2, 3])


def test_guidance_works_for_any_batch(networks) -> None:
    denoiser, _ = networks
    generator = torch.Generator().manual_seed(0)
    inputs = WindowInputs(
        noise=torch.randn(3, 60, 333, generator=generator),
        features=torch.randn(3, 60, 30, generator=generator),
        expressions=torch.randn(3, 60, 100, generator=generator),
        speakers=torch.tensor([2, 4, 0]),
    )
    seed, times = torch.randn(3, 8, 333, generator=generator), (0.0, 0.5)
    with torch.no_grad():
        plain = bind_denoiser(denoiser, inputs, seed, times)
        nobody = bind_denoiser(denoiser, inputs._replace(speakers=torch.zeros(3, dtype=torch.long)), seed, times)
        one = bind_denoiser(denoiser, inputs, seed, times)(inputs.noise, 0.5)
        strong = bind_denoiser(denoiser, inputs, seed, times, guidance_scale=3.0)(inputs.noise, 0.5)
        expected = nobody(inputs.noise, 0.5) + 3 * (plain(inputs.noise, 0.5) - nobody(inputs.noise, 0.5))
        torch.testing.assert_close(one, plain(inputs.noise, 0.5))
    torch.testing.assert_close(strong, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(strong[:2], one[:2], atol=1e-3)
    torch.testing.assert_close(strong[2], one[2], rtol=1e-4, atol=1e-4)  # speaker 0 is nobody already


def test_published_layout(networks, tmp_path: Path) -> None:
    """`best.pt` where the repository has it, and an `epoch_N` without suffix, as `torch.save` writes them."""
    denoiser, speech_model = networks
    path = tmp_path / (GLOBALDIFF_FILES["speech_model"] + ".pt")
    path.parent.mkdir(parents=True)
    torch.save(speech_model_to_published(speech_model), path)
    torch.save(denoiser_to_published(denoiser), tmp_path / "epoch_999")
    assert published_file("speech_model", tmp_path) == path

    class Eight(ProsodyFeatures):
        """Features for networks of eight heads."""

    program = PublishedGlobalDiff.load(tmp_path / "epoch_999", Eight(), source=tmp_path, guidance_scale=2.0)
    assert program.guidance_scale == 2.0
    for ours, theirs in zip(program.denoiser.parameters(), denoiser.parameters(), strict=True):
        assert torch.equal(ours, theirs)

    with pytest.raises(ModelNotFoundError, match=r"holds no Scripts/VAE/.*best\.pt, \.zip or \.bin"):
        published_file("masked_vae_2", tmp_path)
    with pytest.raises(ValueError, match="Unknown checkpoint 'denoiser'; choose from speech_model"):
        published_file("denoiser", tmp_path)
