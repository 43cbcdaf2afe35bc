"""DiffSHEG and GlobalDiff from repositories and folders laid out as their authors' are, with what they hear.

EMAGE, CaMN, DisCo and MotionStreamer have pages of their own for this.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from math import radians
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from cospeech.audio import GLOBALDIFF_SPEECH_ENCODER, SpeechEncoder
from cospeech.audio.diffsheg import HubertTrack
from cospeech.errors import CheckpointError, ModelNotFoundError
from cospeech.hub import load_published, load_tensors, resolve
from cospeech.hub._files import file_inside
from cospeech.hub.arrays import load_array
from cospeech.hub.convert.globaldiff import denoiser_from_published, speech_model_from_published
from cospeech.hub.download import list_files
from cospeech.pipelines.diffsheg import DiffSHEGPipeline
from cospeech.pipelines.diffsheg_speech import SpeechTrack
from cospeech.pipelines.globaldiff import GlobalDiffPipeline, SpeechFeatures
from cospeech.pipelines.globaldiff_published import GLOBALDIFF_FILES, GLOBALDIFF_REPOSITORY, published_file
from cospeech.rotations import axis_angle_to_matrix, matrix_to_rot6d
from cospeech.samplers import GlobalDiffSampler
from cospeech.skeleton import SMPLX, local_to_global

__all__ = ["find_layout", "load_published_diffsheg", "load_published_globaldiff", "standing_pose"]

_DIFFSHEG_CHECKPOINTS = ("*fgd_best.tar", "*ckpt_e2599.tar", "*ckpt_e????.tar")
_DIFFSHEG_STATISTICS = ("*_stats.safetensors", "*statistics.safetensors", "*.npy")
_DENOISER_FILES = ("*epoch_*",)
_ARRAYS = {
    "axis_angle_mean.npy": "axis_angle_mean",
    "axis_angle_std.npy": "axis_angle_std",
    "json_mean.npy": "face_mean",  # of BEAT's facial .json files
    "json_std.npy": "face_std",
    "motion_mean.npy": "motion_mean",
    "motion_std.npy": "motion_std",
}


def find_layout(files: Sequence[str]) -> str | None:
    """Which published layout files have: "diffsheg", "globaldiff", or neither.

    Example:
        >>> find_layout(["README.md", "checkpoints/beat/run/model/fgd_best.tar"])
        'diffsheg'
    """
    if _matching(files, _DIFFSHEG_CHECKPOINTS):
        return "diffsheg"
    stem = GLOBALDIFF_FILES["speech_model"]
    return "globaldiff" if any(file.startswith(stem) for file in files) else None


def load_published_diffsheg(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    speech: SpeechTrack | None = None,
    strict_upstream: bool = False,
    device: torch.device | str = "cpu",
) -> DiffSHEGPipeline:
    """DiffSHEG with its published weights.

    Args:
        source: A folder or a Hub repository with ``fgd_best.tar`` (BEAT) or ``ckpt_e2599.tar`` (SHOW), wherever in it,
            and the means and deviations: in ``*_stats.safetensors`` under the published names, or the published
            ``axis_angle_mean.npy``, ``axis_angle_std.npy``, ``json_mean.npy``, ``json_std.npy``.
        revision: Branch, tag or commit on the Hub.
        speech: What is heard besides mel bands; by default the published HuBERT, from the Hub.
        strict_upstream: See ``DiffSHEGPipeline``.
        device: Where the networks shall be.

    Raises:
        ModelNotFoundError: If there is no such source, or HuBERT is not found.
        CheckpointError: If there is no checkpoint or more than one, no statistics, or something does not fit.
    """
    checkpoint = _only(_matching(list_files(source, revision=revision), _DIFFSHEG_CHECKPOINTS), source)
    folder = resolve(source, revision=revision, patterns=[checkpoint, *_DIFFSHEG_STATISTICS])
    statistics = _statistics(folder, checkpoint)
    track: SpeechTrack = speech or HubertTrack.load()
    try:
        pipeline = DiffSHEGPipeline.from_published(
            file_inside(folder, checkpoint), statistics, track, strict_upstream=strict_upstream
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"The parts in {folder} do not fit each other: {error}") from error
    return pipeline if torch.device(device).type == "cpu" else pipeline.to(device)


def load_published_globaldiff(
    source: str | os.PathLike[str] = GLOBALDIFF_REPOSITORY,
    *,
    denoiser: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    features: SpeechFeatures | None = None,
    rest_poses: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> GlobalDiffPipeline:
    """GlobalDiff with its published speech model, and a denoiser in the published layout.

    No denoiser was ever published: training writes one as ``epoch_N``.

    Args:
        source: A folder or a Hub repository laid out like the published one.
        denoiser: The file of the denoiser; by default the one ``epoch_N`` in the source.
        revision: Branch, tag or commit on the Hub.
        features: What the networks hear; by default the published WavLM, from the Hub.
        rest_poses: Where each speaker starts, see ``GlobalDiffPipeline``; by default all stand with their arms down.
        device: Where the networks shall be.

    Raises:
        ModelNotFoundError: If there is no such source, or WavLM is not found.
        CheckpointError: If there is no denoiser, or something does not fit.
    """
    if denoiser is None:
        name = _only(_matching(list_files(source, revision=revision), _DENOISER_FILES), source, what="denoiser epoch_N")
        denoiser = file_inside(resolve(source, revision=revision, patterns=[name]), name)
    network = denoiser_from_published(load_published(denoiser))
    speech_model = speech_model_from_published(
        load_published(published_file("speech_model", source, revision=revision))
    )
    sampler = GlobalDiffSampler()
    if rest_poses is None:
        rest_poses = standing_pose().expand(network.config.num_speakers - 1, sampler.overlap_frames, -1)
    heard: SpeechFeatures = features or SpeechEncoder.load(GLOBALDIFF_SPEECH_ENCODER)
    try:
        pipeline = GlobalDiffPipeline(network, speech_model, heard, rest_poses=rest_poses.clone(), sampler=sampler)
    except ValueError as error:
        raise CheckpointError(f"The parts of {os.fspath(source)} do not fit each other: {error}") from error
    return pipeline if torch.device(device).type == "cpu" else pipeline.to(device)


def standing_pose() -> Tensor:
    """One frame of GlobalDiff's features, ``(6 J + 3,)``: upright, arms 70 degrees below the horizontal."""
    local = torch.zeros(SMPLX.num_joints, 3)
    for side, sign in (("left", -1), ("right", 1)):  # the left arm points to +X, and Z comes out of the chest
        local[SMPLX.index(f"{side}_shoulder"), 2] = sign * radians(70)
    rotations = local_to_global(axis_angle_to_matrix(local), SMPLX)
    return torch.cat([matrix_to_rot6d(rotations).flatten(), torch.tensor([0.0, 1.3, 0.0])])


def _matching(files: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [file for file in files if any(fnmatch(PurePosixPath(file).name, pattern) for pattern in patterns)]


def _only(files: Sequence[str], source: str | os.PathLike[str], what: str = "fgd_best.tar or ckpt_e2599.tar") -> str:
    if not files:
        raise ModelNotFoundError(f"{os.fspath(source)} holds no {what}.")
    if len(files) > 1:
        raise CheckpointError(f"{os.fspath(source)} holds several: {', '.join(files)}; give the folder of one.")
    return files[0]


def _statistics(folder: Path, checkpoint: str) -> dict[str, Tensor]:
    """The published means and deviations, from the places nearest to the checkpoint."""
    for place in PurePosixPath(checkpoint).parents:
        found: dict[str, Tensor] = {}
        for path in sorted((folder / place).iterdir()):
            inside = file_inside(folder, path.relative_to(folder).as_posix())
            if any(fnmatch(path.name, pattern) for pattern in _DIFFSHEG_STATISTICS[:2]):
                found.update(load_tensors(inside))
            elif path.name in _ARRAYS:
                found[_ARRAYS[path.name]] = load_array(inside)
        if found:
            return found
    raise CheckpointError(f"{folder} holds no statistics: put diffsheg_beat_stats.safetensors beside the checkpoint.")
