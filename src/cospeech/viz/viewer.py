"""One HTML page that plays a motion in 3D in step with its audio: no network, no server, no library.

The page is ``player.html`` with the data put in as text. Joint positions travel as 16-bit integers in blocks of
frames, each block with its own centre and step (a step is under 0.05 mm where the figure stays within 3 m), audio as
16-bit PCM. The player decodes the block it shows, so an hour opens like a minute; this page writes block by block for
the same reason.
"""

from __future__ import annotations

import html
import json
import os
import struct
from base64 import b64encode
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import torch
from torch import Tensor

from cospeech.audio import audio_info, iter_audio
from cospeech.audio.decoding import AudioSource, hold_audio
from cospeech.io import atomic_path
from cospeech.motion import Motion
from cospeech.viz.skeleton import Figure, figure_of, figure_points

__all__ = ["save_html"]

BLOCK_FRAMES = 256
BLOCK_SECONDS = 20.0  # of audio
MAX_AUDIO_RATE_HZ = 24_000  # enough for speech; an hour at 44.1 kHz would make a page of 400 MB
PEAK_RATE_HZ = 20  # resolution of the waveform under the scrub bar, before it is thinned to MAX_PEAKS
MAX_PEAKS = 480
INT16_MAX = 32767

DATA_MARK, TITLE_MARK = "<!--cospeech:data-->", "<!--cospeech:title-->"


def save_html(
    motion: Motion | Mapping[str, Motion],
    path: str | os.PathLike[str],
    *,
    audio: AudioSource | None = None,
    audio_rate_hz: float | None = None,
    title: str | None = None,
) -> None:
    """Write a page that plays ``motion``; it appears whole or not at all, and opens in any browser, offline.

    Drag to orbit, wheel or pinch to zoom, space to play. The audio is the clock; where it is shorter than the motion,
    or there is none, a timer is. The page stops at the end of the longer of the two.

    Args:
        motion: One clip, or several by name, which then stand side by side from left to right and play together. Their
            rates may differ; the frame shown is the first one's.
        path: The file to write. Its folder must exist.
        audio: What ``cospeech.audio.load_audio`` takes: a path, the bytes of a file, or samples. It is mixed down, and
            resampled to 24 kHz where its rate is higher. Beyond full scale it is clipped.
        audio_rate_hz: Sampling rate of ``audio`` given as samples; files say theirs themselves.
        title: Shown above the figure; the name of the file by default.

    Raises:
        ValueError: If there is no motion, a joint position is not finite, or samples come without a rate.
        TypeError: If ``motion`` holds something else.
        AudioError: If the audio cannot be decoded.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> motion = Motion(local_axis_angle=torch.zeros(60, 55, 3), translation=torch.zeros(60, 3), rate_hz=30)
        >>> page = Path(tempfile.mkdtemp()) / "rest.html"
        >>> save_html({"ours": motion, "theirs": motion}, page, title="Two at rest")
        >>> "<title>Two at rest</title>" in page.read_text()
        True
    """
    motions = dict(motion) if isinstance(motion, Mapping) else {"": motion}
    if not motions:
        raise ValueError("`motion` must hold at least one motion; got none.")
    for name, clip in motions.items():
        if not isinstance(clip, Motion):
            raise TypeError(f"`motion` must be a Motion, or Motions by name; got {type(clip).__name__} {name!r}.")
    if audio is None and audio_rate_hz is not None:
        raise ValueError("`audio_rate_hz` goes with `audio`, which is not given.")
    if isinstance(audio, np.ndarray | Tensor) and audio_rate_hz is None:
        raise ValueError("`audio_rate_hz` must be given with an array of samples.")
    title = Path(path).stem if title is None else title
    template = resources.files("cospeech.viz").joinpath("player.html").read_text(encoding="utf-8")
    head, tail = template.replace(TITLE_MARK, html.escape(title)).split(DATA_MARK)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as page:
        page.write(head)
        scene = {
            "title": title,
            "audio": None if audio is None else _write_audio(page, audio, audio_rate_hz),
            "tracks": [_write_motion(page, i, name, clip) for i, (name, clip) in enumerate(motions.items())],
        }
        # "</script>" inside a name must not end the element that holds it.
        text = json.dumps(scene, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        page.write(f'<script type="application/json" id="scene">{text}</script>\n')
        page.write(tail)


def _write_motion(page: TextIO, track: int, name: str, motion: Motion) -> dict[str, Any]:
    """Write the blocks of one motion; return what the player must know of it."""
    figure = figure_of(motion.skeleton)
    lowest, blocks = [], range(0, motion.num_frames, BLOCK_FRAMES)
    root_sum = torch.zeros(3, dtype=torch.float64)
    for k, start in enumerate(blocks):
        points = figure_points(motion[start : start + BLOCK_FRAMES], figure).detach().double().cpu()
        if not bool(torch.isfinite(points).all()):
            raise ValueError(f"Joint positions must be finite; frames {start} to {start + len(points) - 1} are not.")
        block = _quantize(points)
        origin = " ".join(f"{x:.9g}" for x in block.origin)
        data = _base64(block.values)
        page.write(f'<script type="text/plain" id="m{track}-{k}" data-origin="{origin}" ')
        page.write(f'data-step="{block.step:.17g}">{data}</script>\n')
        lowest.append(_soles(points, figure))
        root_sum += points[:, 0].sum(0)
    return {
        "name": name,
        "rate": motion.rate_hz,
        "frames": motion.num_frames,
        "points": points.shape[1],
        "blockFrames": BLOCK_FRAMES,
        # The floor is where the soles usually are: a lone glitch must not sink it.
        "ground": float(torch.cat(lowest).quantile(0.05)),
        "centre": (root_sum / motion.num_frames).tolist(),
        "height": figure.height,
        "anchors": figure.anchors,
        "limbs": [
            [a, b, round(ra, 4), round(rb, 4), SIDES.index(side), int(torso)]
            for a, b, ra, rb, side, torso in figure.limbs
        ],
    }


SIDES = ("middle", "left", "right")  # as numbered in the page


def _soles(points: Tensor, figure: Figure) -> Tensor:
    """Height of the lowest limb surface in each frame, ``(T,)``."""
    if not figure.limbs:
        return points[..., 1].amin(1)
    ends = torch.tensor([limb.end for limb in figure.limbs])
    radii = torch.tensor([limb.end_radius for limb in figure.limbs], dtype=points.dtype)
    return (points[:, ends, 1] - radii).amin(1)


class QuantizedBlock(NamedTuple):
    """Positions as ``origin + step * values``."""

    values: Tensor  # (T, P, 3) int16
    origin: tuple[float, float, float]
    step: float  # metres


def _quantize(points: Tensor) -> QuantizedBlock:
    """16-bit integers around the middle of the block; off by half a step at most."""
    low, high = points.amin((0, 1)), points.amax((0, 1))
    origin = ((low + high) / 2).float().double()  # short to write
    step = max(float((points - origin).abs().max()) / INT16_MAX, 1e-6)
    return QuantizedBlock(((points - origin) / step).round().to(torch.int16), tuple(origin.tolist()), step)


def _write_audio(page: TextIO, audio: AudioSource, audio_rate_hz: float | None) -> dict[str, Any]:
    """Write the samples in blocks; return the WAV header, known only now, and the outline of the waveform."""
    audio = hold_audio(audio)  # a file is read twice: its header, then its samples
    rate_hz = min(round(audio_info(audio, source_rate_hz=audio_rate_hz).rate_hz), MAX_AUDIO_RATE_HZ)
    num_samples, num_blocks, peaks = 0, 0, []
    for waveform in iter_audio(audio, rate_hz, BLOCK_SECONDS, source_rate_hz=audio_rate_hz):
        pcm = (waveform.clamp(-1, 1) * INT16_MAX).round().to(torch.int16)
        page.write(f'<script type="text/plain" id="a-{num_blocks}">{_base64(pcm)}</script>\n')
        peaks += [float(piece.abs().max()) for piece in torch.split(waveform, max(rate_hz // PEAK_RATE_HZ, 1))]
        num_samples, num_blocks = num_samples + len(pcm), num_blocks + 1
    return {
        "seconds": num_samples / rate_hz,
        "blocks": num_blocks,
        "header": b64encode(_wav_header(num_samples, rate_hz)).decode(),
        "peaks": _thin(peaks),
    }


def _wav_header(num_samples: int, rate_hz: int) -> bytes:
    """The 44 bytes before mono 16-bit samples."""
    size = 2 * num_samples
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16, b"data", size
    )


def _thin(peaks: list[float]) -> list[float]:
    """At most ``MAX_PEAKS`` bars, each the loudest of its stretch, scaled to the loudest of all."""
    per_bar = -(-len(peaks) // MAX_PEAKS)
    bars = [max(peaks[i : i + per_bar]) for i in range(0, len(peaks), per_bar)]
    return [round(bar / (max(bars) or 1.0), 3) for bar in bars]


def _base64(values: Tensor) -> str:
    """Little-endian bytes, as every browser's typed arrays read them."""
    return b64encode(values.contiguous().numpy().astype("<i2").tobytes()).decode()
