"""From the name of a model to the folder that holds it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cospeech.errors import ModelNotFoundError
from cospeech.hub.registry import BUNDLED, bundled_folder

__all__ = ["resolve"]

PATTERNS = ("*.json", "*.safetensors", "README.md")
"""What a model of ours consists of; ``*`` reaches into folders. Pickles are never fetched."""

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def resolve(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    patterns: Sequence[str] = PATTERNS,
    data_set: bool = False,
) -> Path:
    """The folder of a model: bundled, local, or fetched from the Hugging Face Hub.

    Fetched files are kept in huggingface_hub's own cache, whose environment variables hold: ``HF_HOME``,
    ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``.

    Args:
        name_or_path: ``"cospeech-tiny"``, a folder, or ``"owner/name"`` on the Hub. What exists as a folder is taken
            as that; a bundled name goes before both (write ``./cospeech-tiny`` for a folder called so).
        revision: Branch, tag or commit on the Hub.
        patterns: Which files to fetch.
        data_set: Whether the Hub's repository is a data set's.

    Raises:
        ModelNotFoundError: If nothing has that name, or the Hub cannot be reached and nothing is kept from before.

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
    if path.is_file() or isinstance(name_or_path, os.PathLike) or not _HUB_ID.fullmatch(name):
        raise ModelNotFoundError(
            f"No model {name!r}; give a folder, a Hub repository 'owner/name', or one of: {', '.join(BUNDLED)}."
        )
    return _from_hub(name, revision, patterns, "dataset" if data_set else "model")


def _from_hub(name: str, revision: str | None, patterns: Sequence[str], repo_type: str) -> Path:
    import huggingface_hub  # here, since it takes a third of a second
    from huggingface_hub import errors

    at = name if revision is None else f"{name} at {revision}"
    try:
        folder = huggingface_hub.snapshot_download(
            name, repo_type=repo_type, revision=revision, allow_patterns=list(patterns)
        )
    except errors.GatedRepoError as error:
        raise ModelNotFoundError(f"{at} is gated: accept its terms on the Hub, then set HF_TOKEN.") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"No folder {name!r} here and no such repository on the Hub (or it is private)."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFoundError(f"{name} has no revision {revision!r} on the Hub.") from error
    except errors.HFValidationError as error:
        raise ModelNotFoundError(f"No folder {name!r} here, and it cannot be a Hub repository.") from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelNotFoundError(
            f"{at} is not kept on this machine, and the Hub cannot be reached (offline, or HF_HUB_OFFLINE is set)."
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelNotFoundError(f"{at} could not be fetched from the Hub: {error}") from error
    return Path(folder)
