"""Published checkpoints to our format and back: whole pipelines where there is one, else network by network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from cospeech.errors import CheckpointError, ModelNotFoundError
from cospeech.hub import CONFIG_FILE, find_published, load_tensors, read_json, resolve, save_tensors
from cospeech.hub._files import file_inside
from cospeech.hub.convert.networks import EXTRA_FILE, from_published, save_converted, write_published
from cospeech.hub.download import list_files
from cospeech.pipelines.camn import UpperBodyPipeline
from cospeech.pipelines.emage import EmagePipeline
from cospeech.pipelines.emage_published import load_published_emage, save_published_emage
from cospeech.pipelines.index import INDEX_FILE, write_terms

__all__ = ["convert_to_ours", "convert_to_published"]

_CHECKPOINTS = ("*.pt", "*.pth", "*.bin", "*.tar", "*.ckpt", "*.zip", "*.safetensors", "*epoch_*")


def convert_to_ours(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, revision: str | None = None
) -> Iterator[str]:
    """Write a published checkpoint in our format; yields a line about each part that was written.

    EMAGE, CaMN and DisCo become pipelines for ``load_pipeline``. A single file becomes a folder for ``load_model``, and
    a folder of files a folder of such folders under the files' own paths.

    Args:
        source: A file, a folder, a name that ``cospeech models`` lists, or a repository on the Hub.
        target: The folder to write.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelNotFoundError: If nothing has that name.
        CheckpointError: If something cannot be read or does not fit, with every key at fault, or cannot be written.
    """
    target = Path(target)
    if Path(source).is_file():
        yield from _convert_file(Path(source), target)
        return
    kind = _published_kind(source, revision)
    if kind == "emage_audio":
        published = load_published_emage(source, revision=revision)
        EmagePipeline(published.transformer, published.codec).save_pretrained(target)
        if published.prototypes:
            save_tensors(published.prototypes, target / EXTRA_FILE)
        yield f"{target}: EmagePipeline, {len(published.prototypes)} unused tensors kept aside"
    elif kind is not None:
        UpperBodyPipeline.from_pretrained(source, revision=revision).save_pretrained(target)
        yield f"{target}: UpperBodyPipeline"
    else:
        yield from _convert_folder(source, target, revision)
        return
    known = find_published(os.fspath(source))
    if known is not None:
        write_terms(target, known.terms)


def convert_to_published(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Iterator[str]:
    """Write what ``convert_to_ours`` or ``save_pretrained`` wrote as its authors' program reads it.

    Args:
        source: A folder of ours, or a name or repository of a pipeline in our format.
        target: The folder to write; for a single network the file, safetensors by that suffix, else ``torch.save``.

    Raises:
        ModelNotFoundError: If nothing has that name.
        CheckpointError: If the source is of no published kind, or something cannot be read or written.
    """
    folder, target = resolve(source), Path(target)
    if (folder / INDEX_FILE).is_file():
        yield _pipeline_to_published(folder, target)
    elif (folder / CONFIG_FILE).is_file() or (folder / "published.json").is_file():
        write_published(folder, target)
        yield f"{target}"
    else:
        # As they were written: each folder has the path of its file.
        parts = sorted({path.parent for path in folder.rglob("published.json")})
        if not parts:
            raise CheckpointError(
                f"{folder} holds nothing that cospeech wrote: neither {INDEX_FILE} nor {CONFIG_FILE}."
            )
        for part in parts:
            write_published(part, target / part.relative_to(folder))
            yield f"{target / part.relative_to(folder)}"


def _pipeline_to_published(folder: Path, target: Path) -> str:
    name = read_json(file_inside(folder, INDEX_FILE)).get("pipeline")
    if name == EmagePipeline.__name__:
        pipeline = EmagePipeline.from_pretrained(folder)
        kept = load_tensors(folder / EXTRA_FILE) if (folder / EXTRA_FILE).is_file() else None
        save_published_emage(pipeline.transformer, pipeline.codec, target, prototypes=kept)
    elif name == UpperBodyPipeline.__name__:
        UpperBodyPipeline.from_pretrained(folder).save_published(target)
    else:
        raise CheckpointError(
            f"A {name} was never published as a whole; convert its networks, such as {folder / 'denoiser'}."
        )
    return f"{target}: as published"


def _published_kind(source: str | os.PathLike[str], revision: str | None) -> str | None:
    """``model_type`` of the transformers library's layout, if it is one of those we have a pipeline for."""
    folder = resolve(source, revision=revision, patterns=["*.json"])
    if (folder / INDEX_FILE).is_file():
        raise CheckpointError(
            f"{os.fspath(source)} is in our format already; to write it as published: --to published."
        )
    if not (folder / CONFIG_FILE).is_file():
        return None
    kind = read_json(file_inside(folder, CONFIG_FILE)).get("model_type")
    return kind if kind in ("emage_audio", "camn_audio", "disco_audio") else None


def _convert_folder(source: str | os.PathLike[str], target: Path, revision: str | None) -> Iterator[str]:
    files = [file for file in list_files(source, revision=revision) if _is_checkpoint(file)]
    if not files:
        raise ModelNotFoundError(f"{os.fspath(source)} holds no checkpoint ({', '.join(_CHECKPOINTS)}).")
    folder = resolve(source, revision=revision, patterns=files)
    converted = 0
    for file in files:
        try:
            networks = from_published(file_inside(folder, file))
        except CheckpointError as error:
            if "none of the published networks" not in str(error) and "holds no state dict" not in str(error):
                raise
            yield f"{file}: left out, {error}"
            continue
        save_converted(networks, target / file)
        converted += 1
        yield f"{target / file}: {', '.join(each.network.name for each in networks)}"
    if not converted:
        raise CheckpointError(f"{os.fspath(source)} holds none of the published networks.")


def _convert_file(source: Path, target: Path) -> Iterator[str]:
    networks = from_published(source)
    save_converted(networks, target)
    for network, model, extra in networks:
        count = sum(parameter.numel() for parameter in model.parameters())
        aside = f", {len(extra)} tensors kept aside" if extra else ""
        yield f"{target}: {network.name}, {count:,} parameters{aside}"


def _is_checkpoint(file: str) -> bool:
    return any(fnmatch(file.rsplit("/", 1)[-1], pattern) for pattern in _CHECKPOINTS)
