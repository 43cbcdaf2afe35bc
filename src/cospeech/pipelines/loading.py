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
from cospeech.pipelines.pipeline import Pipeline

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
) -> Pipeline:
    """A pipeline, ready to use.

    Args:
        name_or_path: The bundled ``"cospeech-tiny"``, a folder that ``save_pretrained`` wrote, or a Hub repository
            ``"owner/name"`` with the same files; also the published ``"H-Liu1997/emage_audio"``,
            ``camn_audio`` and ``disco_audio``. A download is kept in huggingface-hub's cache.
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
    folder = resolve(name_or_path, revision=revision)
    if not (folder / INDEX_FILE).exists() and (folder / CONFIG_FILE).exists():
        published = read_json(folder / CONFIG_FILE).get("model_type")
        if published in _PUBLISHED:
            return _PUBLISHED[published].from_pretrained(name_or_path, revision=revision, device=device)
    name = read_json(folder / INDEX_FILE).get("pipeline")
    if name not in _PIPELINES:
        raise CheckpointError(f"{folder / INDEX_FILE} names the pipeline {name!r}; known are {', '.join(_PIPELINES)}.")
    return _PIPELINES[name].from_pretrained(folder, device=device)


def _check_device(device: torch.device | str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # an unknown name is the one, CUDA without CUDA the other
        reason = str(error).splitlines()[0]
        raise ValueError(f"The device {str(device)!r} cannot be used here: {reason}") from error
