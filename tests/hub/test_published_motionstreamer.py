"""MotionStreamer's published repositories, served by a Hub that stands on this machine: one line loads them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from cospeech import load_pipeline
from cospeech.errors import CheckpointError, ModelNotFoundError
from cospeech.hub.convert.motionstreamer import causal_tae_to_published, motionstreamer_to_published
from cospeech.models import CausalTAE, CausalTAEConfig, MotionStreamer, MotionStreamerConfig
from cospeech.pipelines import (
    MotionStreamerPipeline,
    TextPrompt,
    load_published_tae,
)
from cospeech.pipelines.motionstreamer_published import PUBLISHED_END_LATENT

CONFIG = MotionStreamerConfig(dim=64, num_heads=1, num_layers=1, feedforward_dim=8, head_dim=8, head_layers=1)
LOAD = """
import torch, cospeech
from cospeech.pipelines import load_published_tae
pipe = cospeech.load_pipeline("lxxiao/MotionStreamer")
pipe.empty_text = torch.zeros(768)
motion = pipe(torch.ones(768), seconds=0.5)
print("RESULT", type(pipe).__name__, motion.num_frames, float(pipe.stats.std.sum()), float(pipe.end_latent.norm()))
babel = load_published_tae("lxxiao/MotionStreamer", babel=True)
print("RESULT", babel.tae.config.hidden_dim, float(babel.stats.std.sum()), babel.end_latent)
"""


def saved(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def stats(std: float) -> dict[str, bytes]:
    files = {}
    for name, array in (("Mean", np.zeros(272)), ("Std", np.full(272, std))):
        buffer = io.BytesIO()
        np.save(buffer, array)
        files[f"{name}.npy"] = buffer.getvalue()
    return files


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The model repository: wrapped, prefixed and beside what training left behind, as published."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MotionStreamer(CONFIG)
        taes = [CausalTAE(CausalTAEConfig(hidden_dim=dim)) for dim in (8, 4)]
    trans = {f"module.{key}": value for key, value in motionstreamer_to_published(model).items()}
    assert trans["module.transformer.h.0.attn.scale"].dtype == torch.float64
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.99)}]}
    return {
        "Experiments/t2m_model/latest.pth": saved(
            {"trans": trans, "scheduler": {"last_epoch": 3}, "optimizer": optimizer}
        ),
        "Causal_TAE/net_last.pth": saved({"net": causal_tae_to_published(taes[0])}),
        "Causal_TAE_t2m_babel/net_last.pth": saved({"net": causal_tae_to_published(taes[1])}),
        "README.md": b"# MotionStreamer",
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_one_line_from_the_hub(hub, files) -> None:
    """Networks from the model's repository, mean and deviation from those of the data sets."""
    hub.repositories = {
        "lxxiao/MotionStreamer": files,
        "datasets/lxxiao/272-dim-HumanML3D": {
            **{f"mean_std/{name}": data for name, data in stats(0.5).items()},
            "motion_data.zip": b"not needed",
        },
        "datasets/lxxiao/272-dim-BABEL": {f"t2m_babel_mean_std/{name}": data for name, data in stats(0.25).items()},
    }
    result = hub.run(LOAD)
    assert result.returncode == 0, result.stderr
    first, second = (line.split()[1:] for line in result.stdout.splitlines() if line.startswith("RESULT"))
    assert first[:2] == ["MotionStreamerPipeline", "16"]
    assert (float(first[2]), float(first[3])) == (pytest.approx(136.0), pytest.approx(0.27, abs=0.01))
    assert second == ["4", "68.0", "None"]
    assert not any("motion_data" in request or "README" in request for request in hub.requests)


def test_a_folder_needs_no_hub(files, tmp_path) -> None:
    end = np.arange(16, dtype=np.float32)[None]
    buffer = io.BytesIO()
    np.save(buffer, end)
    kept = {**files, **{f"mean_std/{name}": data for name, data in stats(0.5).items()}}
    folder = write(tmp_path, {**kept, "reference_end_latent_t2m_272.npy": buffer.getvalue()})
    pipe = load_pipeline(folder)
    assert isinstance(pipe, MotionStreamerPipeline)
    assert pipe.model.config == CONFIG
    assert pipe.end_latent.tolist() == end[0].tolist()
    assert pipe.embed is not None
    (folder / "reference_end_latent_t2m_272.npy").unlink()
    assert load_published_tae(folder).end_latent.tolist() == pytest.approx(PUBLISHED_END_LATENT)
    write(folder, {f"t2m_babel_mean_std/{name}": data for name, data in stats(0.25).items()})
    assert load_published_tae(folder, babel=True).tae.config.hidden_dim == 4
    pipe.empty_text = torch.zeros(768)
    pieces = list(pipe.stream([TextPrompt(torch.ones(768), 0.2), TextPrompt(-torch.ones(768), 0.2)]))
    assert sum(piece.num_frames for piece in pieces) == 16


def test_own_format_by_the_same_line(small_streamer, tmp_path) -> None:
    small_streamer.save_pretrained(tmp_path)
    pipe = load_pipeline(tmp_path)
    assert isinstance(pipe, MotionStreamerPipeline)
    text = small_streamer.embed(["walk"])[0]
    torch.testing.assert_close(pipe(text).translation, small_streamer(text).translation)


@pytest.mark.parametrize(
    ("name", "data", "error", "message"),
    [
        ("Causal_TAE/net_last.pth", None, ModelNotFoundError, "holds no Causal_TAE/net_last.pth"),
        ("Causal_TAE/net_last.pth", b"nonsense", CheckpointError, "cannot be read as plain weights"),
        ("Causal_TAE/net_last.pth", saved({"net": {"tae.x": torch.zeros(2)}}), CheckpointError, "tae.encoder.model.0"),
        ("Experiments/t2m_model/latest.pth", saved({"trans": Path}), CheckpointError, "plain weights"),
        ("mean_std/Std.npy", None, CheckpointError, "Std.npy cannot be read as numbers"),
        ("mean_std/Std.npy", b"\x93NUMPY", CheckpointError, "Std.npy cannot be read as numbers"),
        ("mean_std/Std.npy", stats(0.0)["Std.npy"], CheckpointError, "must be positive"),
    ],
)
def test_what_is_wrong_is_named(files, tmp_path, name, data, error, message) -> None:
    folder = write(tmp_path, {**files, **{f"mean_std/{key}": value for key, value in stats(0.5).items()}})
    (folder / name).unlink()
    if data is not None:
        (folder / name).write_bytes(data)
    with pytest.raises(error, match=message):
        MotionStreamerPipeline.from_pretrained(folder)
