"""From the name of a model to the folder that holds it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from cospeech.errors import CheckpointError, ModelNotFoundError
from cospeech.hub.registry import BUNDLED, MODELS, aliases_of, bundled_folder, find_published

__all__ = ["PATTERNS", "list_files", "resolve"]

PATTERNS = ("*.json", "*.safetensors", "README.md")
"""What a model of ours consists of; ``*`` reaches into folders. Pickles are fetched where a call asks for them."""

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_CHUNK_BYTES = 1 << 20
_logger = logging.getLogger("cospeech.hub")


class _Request(NamedTuple):
    """What is asked of the Hub."""

    repository: str
    revision: str | None
    patterns: tuple[str, ...]
    kind: str

    @property
    def at(self) -> str:
        return self.repository if self.revision is None else f"{self.repository} at {self.revision}"


def resolve(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    patterns: Sequence[str] = PATTERNS,
    data_set: bool = False,
) -> Path:
    """The folder of a model: bundled, local, or fetched from the Hugging Face Hub.

    Fetched files are kept in huggingface_hub's own cache, whose environment variables hold: ``HF_HOME``,
    ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``. A download that was cut off goes on where it ended. What is about
    to be fetched, and how much, goes to the logger ``cospeech.hub`` as a warning, so that it is seen without any setup.

    Args:
        name_or_path: A name that ``cospeech models`` lists, a folder, or ``"owner/name"`` on the Hub. What exists as a
            folder is taken as that; a bundled name goes before all (write ``./cospeech-tiny`` for a folder called so).
        revision: Branch, tag or commit on the Hub.
        patterns: Which files to fetch.
        data_set: Whether the Hub's repository is a data set's.

    Raises:
        ModelNotFoundError: If nothing has that name, or the Hub cannot be reached and nothing is kept from before.
        CheckpointError: If a fetched file is not the one whose SHA-256 is known.

    Example:
        >>> resolve("cospeech-tiny").name
        'cospeech-tiny'
    """
    if name_or_path in BUNDLED:
        return bundled_folder(str(name_or_path))
    name = os.fspath(name_or_path)
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path
    if isinstance(name_or_path, str) and name in MODELS:
        repository = MODELS[name].repository
        if repository is None:
            raise ModelNotFoundError(f"{name} is not on the Hub but here: {MODELS[name].elsewhere}.")
        name = repository
    elif path.is_file() or isinstance(name_or_path, os.PathLike) or not _HUB_ID.fullmatch(name):
        raise ModelNotFoundError(
            f"No model {name!r}; give a folder, a Hub repository 'owner/name', or one of: {', '.join(MODELS)}."
        )
    model = None if data_set else find_published(name)
    if model is not None and revision is None:
        revision = model.revision
    request = _Request(name, revision, tuple(patterns), "dataset" if data_set else "model")
    return _from_hub(request, {} if model is None else model.sha256, "" if model is None else model.commit)


def list_files(name_or_path: str | os.PathLike[str], *, revision: str | None = None) -> list[str]:
    """The paths of a model's files, in a folder or on the Hub; nothing is fetched.

    Raises:
        ModelNotFoundError: If nothing has that name. Where the Hub cannot be reached, what is kept here is listed.
    """
    path = Path(os.fspath(name_or_path)).expanduser()
    if not path.is_dir():
        name = os.fspath(name_or_path)
        repository = (MODELS[name].repository if name in MODELS else None) or name
        import huggingface_hub

        for each in (repository, *aliases_of(repository)):
            try:
                return sorted(huggingface_hub.HfApi().list_repo_files(each, revision=revision))
            except Exception:  # resolve says what is wrong
                continue
        path = resolve(name_or_path, revision=revision, patterns=["*.json"])
    found = (Path(root, name) for root, _, names in os.walk(path) for name in names)
    return sorted(file.relative_to(path).as_posix() for file in found)


def _from_hub(request: _Request, sha256: Mapping[str, str], commit: str) -> Path:
    import huggingface_hub  # here, since it takes a third of a second
    from huggingface_hub import errors

    names = [request.repository, *aliases_of(request.repository)]
    for name in names:
        asked = request._replace(repository=name)
        try:
            fetched = _announce(asked)
            folder = Path(
                huggingface_hub.snapshot_download(
                    name, repo_type=asked.kind, revision=asked.revision, allow_patterns=list(asked.patterns)
                )
            )
        except errors.GatedRepoError as error:
            raise ModelNotFoundError(f"{asked.at} is gated: accept its terms on the Hub, then set HF_TOKEN.") from error
        except errors.RepositoryNotFoundError as error:
            if name != names[-1]:
                continue
            raise ModelNotFoundError(
                f"No folder {request.repository!r} here and no such repository on the Hub (or it is private)."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise ModelNotFoundError(f"{name} has no revision {asked.revision!r} on the Hub.") from error
        except errors.HFValidationError as error:
            raise ModelNotFoundError(f"No folder {name!r} here, and it cannot be a Hub repository.") from error
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
            if name != names[-1]:
                continue  # it may be kept under its other name
            raise ModelNotFoundError(
                f"{request.at} is not kept on this machine, and the Hub cannot be reached (offline, or HF_HUB_OFFLINE "
                "is set)."
            ) from error
        except ModelNotFoundError:
            raise
        except Exception as error:  # the client lets the errors of its HTTP library through, which changes with it
            raise ModelNotFoundError(f"{asked.at} could not be fetched from the Hub: {_reason(error)}") from error
        if fetched:
            _check_sums(folder, sha256)
            if commit and asked.revision is None and not folder.name.startswith(commit):
                _logger.warning("%s has changed since it was looked at (%s, now %s).", name, commit, folder.name[:7])
        return folder
    raise AssertionError("the last name returns or raises")


def _announce(request: _Request) -> bool:
    """Say what is about to be fetched, and how much; whether anything is.

    Raises:
        ModelNotFoundError: If there is no room for it.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    try:
        info = huggingface_hub.HfApi().repo_info(
            request.repository, repo_type=request.kind, revision=request.revision, files_metadata=True
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise
    except Exception:  # the download itself falls back on what is kept, or says what is wrong
        return False
    siblings: list[Any] = getattr(info, "siblings", None) or []
    files = {sibling.rfilename: sibling.size or 0 for sibling in siblings}
    wanted = [name for name in files if any(fnmatch(name, pattern) for pattern in request.patterns)]
    missing = [
        name
        for name in wanted
        if not isinstance(
            huggingface_hub.try_to_load_from_cache(request.repository, name, revision=info.sha, repo_type=request.kind),
            str,
        )
    ]
    total = sum(files[name] for name in missing)
    if missing:
        _logger.warning(
            "Fetching %s: %d files, %.1f MB, into %s.", request.at, len(missing), total / 1e6, constants.HF_HUB_CACHE
        )
        free = shutil.disk_usage(_existing(Path(constants.HF_HUB_CACHE))).free
        if free < total:
            raise ModelNotFoundError(
                f"{request.at} takes {total / 1e6:.0f} MB, and {constants.HF_HUB_CACHE} has room for {free / 1e6:.0f}; "
                "make room, or set HF_HOME."
            )
    return bool(missing)


def _check_sums(folder: Path, sha256: Mapping[str, str]) -> None:
    for name, wanted in sha256.items():
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
            given = digest.hexdigest()
            if given != wanted:
                # So that the next try does not find it; what is named after its content must not stay under that name.
                Path(os.path.realpath(path)).unlink()
                raise CheckpointError(f"{path} is not the published file: its SHA-256 is {given}, not {wanted}.")


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _reason(error: Exception) -> str:
    """The first line of what huggingface_hub says; the rest is advice for people who call it themselves."""
    return str(error).strip().split("\n")[0] or type(error).__name__
