"""Settings shared by every test."""

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from cospeech.audio import ProsodyFeatures
from cospeech.models import (
    CausalTAE,
    CausalTAEConfig,
    EmageConfig,
    EmageGlobalMotion,
    EmageTransformer,
    EmageVQVAE,
    EmageVQVAEConfig,
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    MotionStreamer,
    MotionStreamerConfig,
    SpeechModel,
    SpeechModelConfig,
)
from cospeech.pipelines import (
    EmagePipeline,
    GlobalDiffPipeline,
    MotionStreamerPipeline,
    MotionStreamerSettings,
    make_emage_codec,
)
from cospeech.representations import FeatureStats

# Two OpenMP threads on two busy cores spin against each other; under xdist each worker takes one.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what an older torch cannot do."""
    if tuple(int(number) for number in torch.__version__.split(".")[:2]) < (2, 6):
        for item in items:
            if item.get_closest_marker("torch26"):
                item.add_marker(pytest.mark.skip(reason=f"needs torch 2.6; this is {torch.__version__}"))


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


@pytest.fixture(scope="session")
def small_emage() -> EmagePipeline:
    """EMAGE with small, untrained networks, windows of 20 frames and two speakers; treat it as read-only."""
    sizes = {"face": 106, "upper": 78, "hands": 180, "lower": 61}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = EmageConfig(
            hidden_dim=16,
            feedforward_dim=16,
            motion_latent_dim=8,
            audio_dim=8,
            num_audio_layers=2,
            num_face_layers=1,
            code_dim=8,
            num_codes=12,
            num_speakers=2,
            window_frames=20,
        )
        transformer = EmageTransformer(config).eval()
        for parameter in transformer.parameters():
            if parameter.ndim == 2:  # biases must not settle every code, or nothing would matter
                parameter.data *= 3
        vqvaes = {
            part: EmageVQVAEConfig(motion_dim=dim, latent_dim=8, num_codes=12, num_stages=4 if part == "lower" else 2)
            for part, dim in sizes.items()
        }
        networks = {part: EmageVQVAE(vqvae) for part, vqvae in vqvaes.items()}
        for network in networks.values():
            torch.nn.init.normal_(network.quantizer.codebook)  # loud, so that codes sound different from each other
        global_motion = EmageGlobalMotion(EmageVQVAEConfig(motion_dim=61, latent_dim=8, num_stages=4))
        return EmagePipeline(transformer, make_emage_codec(networks, global_motion))


def embed_by_counting(texts: Sequence[str]) -> torch.Tensor:
    """Embeddings ``(B, 6)`` by the lengths of words; the same for the same text."""
    return torch.stack([torch.sin(torch.arange(6.0) * (1 + len(text)) + len(text.split())) for text in texts])


@pytest.fixture(scope="session")
def small_streamer() -> MotionStreamerPipeline:
    """Text to motion with small, untrained networks and eight positions; treat it as read-only."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = MotionStreamerConfig(
            text_dim=6,
            latent_dim=4,
            dim=16,
            num_layers=1,
            num_heads=2,
            feedforward_dim=24,
            max_positions=8,
            head_dim=16,
            head_layers=1,
            num_timesteps=8,
        )
        model = MotionStreamer(config)
        for linear in (*model.head.modulations, model.head.latent_out):
            torch.nn.init.normal_(linear.weight, std=0.1)
        tae = CausalTAE(CausalTAEConfig(hidden_dim=8, latent_dim=4))
        stats = FeatureStats(mean=torch.randn(272), std=torch.full((272,), 0.3))
    settings = MotionStreamerSettings(num_steps=4, history_latents=3, max_seconds=1.2)
    return MotionStreamerPipeline(model, tae, stats, embed=embed_by_counting, settings=settings)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium under selenium; the test is skipped where one of them is missing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "autoplay-policy=no-user-gesture-required", "window-size=1280,800",
        "mute-audio", f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    # The driver's path is given, so that selenium looks for none and downloads none.
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()
