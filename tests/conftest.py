"""Settings shared by every test."""

import os

import pytest
import torch

from cospeech.audio import ProsodyFeatures
from cospeech.models import GlobalDiffConfig, GlobalDiffDenoiser, SpeechModel, SpeechModelConfig
from cospeech.pipelines import GlobalDiffPipeline

# Two OpenMP threads on two busy cores spin against each other; under xdist each worker takes one.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator, so that a failure repeats."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def small_pipeline() -> GlobalDiffPipeline:
    """A pipeline of three speakers with small, untrained networks; treat it as read-only."""
    features = ProsodyFeatures()
    sizes = {"feature_dim": features.feature_dim, "num_speakers": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GlobalDiffConfig(hidden_dim=32, num_layers=1, num_heads=2, speaker_dim=8, **sizes)
        denoiser = GlobalDiffDenoiser(config)
        speech_model = SpeechModel(SpeechModelConfig(hidden_dim=32, num_layers=1, num_heads=2, **sizes))
        for parameter in (*denoiser.parameters(), *speech_model.parameters()):
            if not parameter.any():  # layers that start at zero would hide what they should pass on
                torch.nn.init.normal_(parameter, std=0.1)
    standing = torch.cat([torch.eye(3)[:2].flatten().repeat(55), torch.tensor([0.0, 1.2, 0.0])])
    return GlobalDiffPipeline(denoiser, speech_model, features, rest_poses=standing.repeat(3, 8, 1))
