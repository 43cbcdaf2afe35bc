"""From published checkpoints on a Hub to motion or score, one line each: layouts as published, sizes small.

What the layout fixes is as published: keys, wrappers, paths, and the widths of motion features (192, 232, 333, 272).
Hidden widths and depths are small; they are read from the shapes. The sizes as published are run by ``tests/parity``.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from cospeech.hub.convert.networks import NETWORKS
from cospeech.models import (
    CamnConfig,
    CausalTAEConfig,
    DiffSHEGConfig,
    DiscoConfig,
    GlobalDiffConfig,
    MotionStreamerConfig,
    SpeechModelConfig,
)
from cospeech.models.distilbert import DistilBertConfig
from cospeech.models.evaluators import SkeletonAutoencoderConfig
from cospeech.models.gesture_embedding import GestureAutoencoderConfig
from cospeech.models.text_motion_evaluator import EvaluatorConfig, TextEvaluatorConfig
from cospeech.pipelines import EmagePipeline, UpperBodyPipeline

WIDTH = 16  # of speech features
SMALL = {"hidden_dim": 16, "num_layers": 1, "feedforward_dim": 16}
RECURRENT = {"hidden_dim": 8, "num_layers": 2, "audio_dim": 8, "speaker_dim": 3, "num_speakers": 2}


def published(name: str, config: object, *, module: bool = False, **beside: object) -> bytes:
    """A file as the published program wrote it, with values drawn here."""
    network = next(network for network in NETWORKS if network.name == name)
    torch.manual_seed(0)
    state = network.published(network.model(config))
    state = {f"module.{key}": value for key, value in state.items()} if module else state
    return saved({network.wrapper: state, **beside} if network.wrapper else state)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def speech_network(kind: str, folder: Path) -> dict[str, bytes]:
    """HuBERT or WavLM at a small size, as the transformers library writes it."""
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": (8, 8),
        "conv_stride": (20, 16),
        "conv_kernel": (20, 16),
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    config, model = getattr(transformers, f"{kind}Config"), getattr(transformers, f"{kind}Model")
    model(config(**sizes)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return files_of(folder)


def run(hub, *lines: str, **variables: str) -> list[str]:
    """What each line prints in a process that imports only these names."""
    setting = """
import torch, numpy as np, cospeech
from cospeech import load_pipeline
from cospeech.hub.convert.networks import load_network
from cospeech.metrics import frechet_distance
from cospeech.pipelines import MotionStreamerPipeline
speech = 0.3 * torch.randn(24000, generator=torch.Generator().manual_seed(0))
texts = lambda sentences: torch.zeros(len(sentences), 12)
def score(feature): return float(frechet_distance(feature[::2], feature[1::2]))
def show(motion): print("RESULT", type(motion).__name__, motion.num_frames, motion.rate_hz,
    bool(motion.local_axis_angle.isfinite().all()))
"""
    result = hub.run(setting + "\n".join(lines), **variables)
    assert result.returncode == 0, result.stderr
    return [line.removeprefix("RESULT ") for line in result.stdout.splitlines() if line.startswith("RESULT")]


def test_emage_camn_and_disco(hub, small_emage: EmagePipeline, tmp_path: Path) -> None:
    small_emage.save_published(tmp_path / "emage")
    camn, disco = CamnConfig(**RECURRENT), DiscoConfig(**RECURRENT)
    for name, config in (("camn", camn), ("disco", disco)):
        network = next(network for network in NETWORKS if network.name == name)
        UpperBodyPipeline(network.model(config)).save_published(tmp_path / name)
    hub.repositories = {
        "haiyangliu0/emage_audio": files_of(tmp_path / "emage"),  # the account has moved, and the Hub does not lead on
        "H-Liu1997/camn_audio": files_of(tmp_path / "camn"),
        "haiyangliu0/disco_audio": files_of(tmp_path / "disco"),
    }
    hub.moved = {"H-Liu1997/disco_audio": "haiyangliu0/disco_audio"}  # here it does
    lines = run(
        hub,
        'show(load_pipeline("emage")(speech, source_rate_hz=16000))',
        'show(load_pipeline("camn")(speech, source_rate_hz=16000))',
        'show(load_pipeline("H-Liu1997/disco_audio")(speech, source_rate_hz=16000))',
    )
    assert lines == ["Motion 45 30.0 True"] * 3


def test_diffsheg_and_globaldiff(hub, tmp_path: Path) -> None:
    wide = {"speech_feature_dim": WIDTH, "fusion_dim": 16, "condition_dim": 16, "speech_dim": 8, **SMALL}
    beat = DiffSHEGConfig(num_speakers=3, **wide)
    show = DiffSHEGConfig(gesture_dim=129, expression_dim=103, num_speakers=4, unconditional=True, **wide)
    beside = {"opt_encoder": {"state": {}}, "ep": 3, "FGD": np.float64(2.5), "best_mse": None}
    arrays = {name: torch.rand(size).double() + 0.1 for name, size in (("axis_angle", 141), ("json", 51))}
    motion = {f"motion_{name}": torch.rand(232) + 0.1 for name in ("mean", "std")}
    sizes = {"feature_dim": WIDTH, "num_speakers": 3, "speaker_dim": 8}
    stem = "Scripts/FM/ckpt/split/SimpleSpeechModel/best"
    hub.repositories = {
        "someone/diffsheg-beat": {
            "checkpoints/beat/run/model/fgd_best.tar": published("diffsheg", beat, **beside),
            **{
                f"checkpoints/beat/{part}_{kind}.npy": npy(array.numpy())
                for part, array in arrays.items()
                for kind in ("mean", "std")
            },
        },
        "someone/diffsheg-show": {
            "checkpoints/talkshow/run/model/ckpt_e2599.tar": published("diffsheg", show, **beside),
            "diffsheg_show_stats.safetensors": save(motion),
        },
        "someone/globaldiff": {
            f"{stem}.zip": zipped("best.pt", published("globaldiff-speech", SpeechModelConfig(**SMALL, **sizes))),
            "Scripts/FM/ckpt/epoch_999": published("globaldiff-denoiser", GlobalDiffConfig(**SMALL, **sizes)),
        },
        "facebook/hubert-large-ls960-ft": speech_network("Hubert", tmp_path / "hubert"),
        "patrickvonplaten/wavlm-libri-clean-100h-large": speech_network("WavLM", tmp_path / "wavlm"),
    }
    lines = run(
        hub,
        'show(load_pipeline("someone/diffsheg-beat")(speech, source_rate_hz=16000))',
        'show(load_pipeline("someone/diffsheg-show")(speech, source_rate_hz=16000))',
        'show(load_pipeline("someone/globaldiff")(speech, source_rate_hz=16000))',
    )
    assert lines == ["Motion 23 15.0 True", "Motion 45 30.0 True", "Motion 45 30.0 True"]


def test_motionstreamer(hub) -> None:
    config = MotionStreamerConfig(
        text_dim=12, latent_dim=16, dim=64, num_layers=1, num_heads=1, feedforward_dim=16, head_dim=16, head_layers=1
    )
    tae = CausalTAEConfig(hidden_dim=8, latent_dim=16)
    hub.repositories = {
        "lxxiao/MotionStreamer": {
            "Experiments/t2m_model/latest.pth": published(
                "motionstreamer", config, module=True, optimizer={"state": {}}, scheduler={}
            ),
            "Causal_TAE/net_last.pth": published("motionstreamer-tae", tae),
        },
        "datasets/lxxiao/272-dim-HumanML3D": {
            "mean_std/Mean.npy": npy(np.random.default_rng(0).normal(size=272)),
            "mean_std/Std.npy": npy(np.full(272, 0.3)),
        },
    }
    (line,) = run(
        hub, 'show(MotionStreamerPipeline.from_pretrained("lxxiao/MotionStreamer", embed=texts)("walk", seconds=0.4))'
    )
    assert line == "Motion 12 30.0 True"


def test_metric_networks(hub) -> None:
    evaluator = EvaluatorConfig(dim=16, num_layers=1, feedforward_dim=16)
    text = TextEvaluatorConfig(
        bert=DistilBertConfig(vocabulary=9, max_tokens=8, dim=24, num_layers=1, num_heads=12, feedforward_dim=16),
        encoder=EvaluatorConfig(input_dim=24, dim=16, num_layers=1, feedforward_dim=16),
    )
    state: dict[str, Tensor] = {"loss.temperature": torch.tensor(0.1)}
    for name, config in (("text-evaluator", text), ("motion-evaluator", evaluator), ("evaluator-decoder", evaluator)):
        content = torch.load(io.BytesIO(published(name, config)), weights_only=True)
        state.update(content["state_dict"])
    fgd = "Scripts/FM/EMAGE_VAE/AESKConv_240_100.bin"
    hub.repositories = {
        "X-Zhang/GlobalDiff": {fgd: published("fgd-beat2", SkeletonAutoencoderConfig(), module=True)},
        "someone/diffsheg-fgd": {
            "GesAxisAngle_Face_300.bin": published("diffsheg-fgd", GestureAutoencoderConfig(motion_dim=192))
        },
        "lxxiao/MotionStreamer": {"Evaluator_272/epoch=99.ckpt": saved({"state_dict": state, "epoch": 99})},
    }
    lines = run(
        hub,
        f'fgd = load_network("X-Zhang/GlobalDiff", "{fgd}")',
        'half = load_network("someone/diffsheg-fgd", "GesAxisAngle_Face_300.bin")',
        'tmr = load_network("lxxiao/MotionStreamer", "Evaluator_272/epoch=99.ckpt", network="motion-evaluator")',
        "torch.set_grad_enabled(False)",
        'print("RESULT", score(fgd.encode(torch.randn(8, 64, 330)).flatten(0, 1)) >= 0)',
        'print("RESULT", score(half.encode(torch.randn(8, 34, 192)).flatten(1)) >= 0)',
        'print("RESULT", score(tmr(torch.randn(8, 40, 272)).mean) >= 0)',
    )
    assert lines == ["True"] * 3
