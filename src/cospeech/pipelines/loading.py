"""Pipelines by name: bundled with the package, in a folder, or on the Hugging Face Hub."""

from __future__ import annotations

import os

import torch

from cospeech.errors import CheckpointError
from cospeech.hub import CONFIG_FILE, read_json, resolve
from cospeech.pipelines.camn import UpperBodyPipeline
from cospeech.pipelines.diffsheg import DiffSHEGPipeline
from cospeech.pipelines.emage import EmagePipeline
from cospeech.pipelines.globaldiff import GlobalDiffPipeline
from cospeech.pipelines.index import INDEX_FILE
from cospeech.pipelines.motionstreamer import MotionStreamerPipeline
from cospeech.pipelines.motionstreamer_published import is_published_motionstreamer
from cospeech.pipelines.pipeline import MotionPipeline
from cospeech.text import SentenceEmbedder

__all__ = ["load_pipeline"]

_PIPELINES = {
    pipeline.__name__: pipeline for pipeline in (DiffSHEGPipeline, GlobalDiffPipeline, EmagePipeline, UpperBodyPipeline)
}
_PUBLISHED: dict[str, type[EmagePipeline | UpperBodyPipeline]] = {
    "emage_audio": EmagePipeline,
    "camn_audio": UpperBodyPipeline,
    "disco_audio": UpperBodyPipeline,
}
"""By the ``model_type`` in the published ``config.json``."""


def load_pipeline(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, device: torch.device | str = "cpu"
) -> MotionPipeline:
    """A pipeline, ready to use: from speech (a ``Pipeline``), or from text (a ``MotionStreamerPipeline``).

    Args:
        name_or_path: The bundled ``"cospeech-tiny"``, a folder that ``save_pretrained`` wrote, or a Hub repository
            ``"owner/name"`` with the same files; also the published ``"H-Liu1997/emage_audio"``,
            ``camn_audio`` and ``disco_audio``, and ``"lxxiao/MotionStreamer"``. A download is kept in huggingface-hub's
            cache.
        revision: Branch, tag or commit of a Hub repository.
        device: Where the networks shall be.

    Raises:
        ModelNotFoundError: If nothing has that name, or the Hub cannot be reached.
        CheckpointError: If what is there is damaged, or no pipeline of this version of cospeech.
        ValueError: If the device is unknown, or not on this machine.

    Example:
        >>> load_pipeline("cospeech-tiny").num_speakers
        4
    """
    _check_device(device)
    if is_published_motionstreamer(name_or_path):
        return _with_texts(name_or_path, revision=revision, device=device)
    folder = resolve(name_or_path, revision=revision)
    if not (folder / INDEX_FILE).exists() and (folder / CONFIG_FILE).exists():
        published = read_json(folder / CONFIG_FILE).get("model_type")
        if published in _PUBLISHED:
            return _PUBLISHED[published].from_pretrained(name_or_path, revision=revision, device=device)
    name = read_json(folder / INDEX_FILE).get("pipeline")
    if name == MotionStreamerPipeline.__name__:
        return _with_texts(folder, revision=None, device=device)
    if name not in _PIPELINES:
        known = ", ".join([*_PIPELINES, MotionStreamerPipeline.__name__])
        raise CheckpointError(f"{folder / INDEX_FILE} names the pipeline {name!r}; known are {known}.")
    return _PIPELINES[name].from_pretrained(folder, device=device)


def _with_texts(
    name_or_path: str | os.PathLike[str], *, revision: str | None, device: torch.device | str
) -> MotionStreamerPipeline:
    """The text pipeline with the text model that it was trained on, which is loaded when first needed."""
    embed = SentenceEmbedder(device=device)
    return MotionStreamerPipeline.from_pretrained(name_or_path, embed=embed, revision=revision, device=device)


def _check_device(device: torch.device | str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # an unknown name is the one, CUDA without CUDA the other
        reason = str(error).splitlines()[0]
        raise ValueError(f"The device {str(device)!r} cannot be used here: {reason}") from error
