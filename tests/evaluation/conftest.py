"""Small folders of procedural clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cospeech.data.synthetic import make_clip
from cospeech.motion import Motion


def write_wav(path: Path, waveform: torch.Tensor, rate_hz: int) -> None:
    import wave

    samples = (np.asarray(waveform).clip(-1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``reference``, ``generated`` (the same with noise) and ``audio`` of five clips of eight seconds."""
    root = tmp_path_factory.mktemp("corpus")
    for name in ("reference", "generated", "audio"):
        (root / name).mkdir()
    generator = torch.Generator().manual_seed(0)
    for seed in range(5):
        clip = make_clip(8.0 + seed % 2, speaker=1 + seed % 2, seed=seed)
        motion = Motion.from_local_rotations(
            clip.local_rotations, translation=clip.translation, rate_hz=30, expressions=clip.expressions
        )
        motion.save(root / "reference" / f"clip{seed}.npz")
        noise = 0.02 * torch.randn(motion.local_axis_angle.shape, generator=generator)
        noisy = replace(motion, local_axis_angle=motion.local_axis_angle + noise)
        noisy.save(root / "generated" / f"res_clip{seed}.npz")
        write_wav(root / "audio" / f"clip{seed}.wav", clip.waveform, 16_000)
    return root


@pytest.fixture(scope="session")
def save_wav():
    """Writes a waveform ``(S,)`` as 16-bit WAV: path, waveform, rate in Hz."""
    return write_wav
