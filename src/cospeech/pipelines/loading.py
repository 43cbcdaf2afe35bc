"""Pipelines by name: bundled with the package, in a folder, or on the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from cospeech.errors import CheckpointError
from cospeech.hub import CONFIG_FILE, check_commercial, find_published, read_json, resolve
from cospeech.hub._files import file_inside
from cospeech.hub.download import list_files
from cospeech.pipelines.camn import UpperBodyPipeline
from cospeech.pipelines.diffsheg import DiffSHEGPipeline
from cospeech.pipelines.emage import EmagePipeline
from cospeech.pipelines.globaldiff import GlobalDiffPipeline
from cospeech.pipelines.index import INDEX_FILE, read_terms
from cospeech.pipelines.loading_published import find_layout, load_published_diffsheg, load_published_globaldiff
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
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    commercial: bool = False,
) -> MotionPipeline:
    """A pipeline, ready to use: from speech (a ``Pipeline``), or from text (a ``MotionStreamerPipeline``).

    Args:
        name_or_path: A name that ``cospeech models`` lists, such as the bundled ``"cospeech-tiny"`` or ``"emage"``; a
            folder that ``save_pretrained`` wrote, or that is laid out as a published repository is; or a repository
            ``"owner/name"`` of either kind on the Hub. A download is kept in huggingface_hub's cache.
        revision: Branch, tag or commit of a Hub repository.
        device: Where the networks shall be.
        commercial: Whether to refuse a model whose weights or training data do not clearly allow commercial use; that
            is found out before anything is fetched where the model is known by name.

    Raises:
        LicenceError: With ``commercial``, saying which terms stand in the way.
        ModelNotFoundError: If nothing has that name, or the Hub cannot be reached.
        CheckpointError: If what is there is damaged, or no pipeline of this version of cospeech.
        ValueError: If the device is unknown, or not on this machine.

    Example:
        >>> load_pipeline("cospeech-tiny").num_speakers
        4
    """
    _check_device(device)
    known = find_published(name_or_path) if isinstance(name_or_path, str) else None
    if commercial and known is not None:
        check_commercial(os.fspath(name_or_path), known.terms)
    if known is not None and known.repository is not None and known.name == name_or_path:
        name_or_path = known.repository
    folder = None if is_published_motionstreamer(name_or_path) else resolve(name_or_path, revision=revision)
    if commercial and known is None:
        check_commercial(os.fspath(name_or_path), None if folder is None else read_terms(folder))
    if folder is None:
        return _with_texts(name_or_path, revision=revision, device=device)
    if not (folder / INDEX_FILE).exists():
        return _load_published(name_or_path, folder, revision=revision, device=device)
    name = read_json(file_inside(folder, INDEX_FILE)).get("pipeline")
    if name == MotionStreamerPipeline.__name__:
        return _with_texts(folder, revision=None, device=device)
    if name not in _PIPELINES:
        names = ", ".join([*_PIPELINES, MotionStreamerPipeline.__name__])
        raise CheckpointError(f"{folder / INDEX_FILE} names the pipeline {name!r}; known are {names}.")
    return _PIPELINES[name].from_pretrained(folder, device=device)


def _load_published(
    source: str | os.PathLike[str], folder: Path, *, revision: str | None, device: torch.device | str
) -> MotionPipeline:
    """A pipeline from what its authors published."""
    if (folder / CONFIG_FILE).exists():
        published = read_json(file_inside(folder, CONFIG_FILE)).get("model_type")
        if published in _PUBLISHED:
            return _PUBLISHED[published].from_pretrained(source, revision=revision, device=device)
    layout = find_layout(list_files(source, revision=revision))
    if layout == "diffsheg":
        return load_published_diffsheg(source, revision=revision, device=device)
    if layout == "globaldiff":
        return load_published_globaldiff(source, revision=revision, device=device)
    raise CheckpointError(
        f"{folder / INDEX_FILE} cannot be read: there is none, nor what one of the published repositories holds."
    )


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
