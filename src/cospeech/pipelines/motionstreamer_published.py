"""MotionStreamer's published files: where they lie, and reading what a model repository and its data sets hold.

The networks lie in one repository, mean and deviation in those of the data sets, the end latent in the program's own;
a folder that holds them all is read without the Hub. Pickles are read without executing anything in them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech.errors import CheckpointError, ModelNotFoundError
from cospeech.hub import load_published, resolve
from cospeech.hub.arrays import load_array
from cospeech.hub.convert.motionstreamer import causal_tae_from_published, motionstreamer_from_published
from cospeech.models import CausalTAE, MotionStreamer
from cospeech.representations import FeatureStats

__all__ = [
    "MOTIONSTREAMER_REPOSITORY",
    "PUBLISHED_END_LATENT",
    "PublishedTAE",
    "is_published_motionstreamer",
    "load_published_motionstreamer",
    "load_published_tae",
]

MOTIONSTREAMER_REPOSITORY = "lxxiao/MotionStreamer"
"""Where the published weights lie on the Hugging Face Hub."""

PUBLISHED_END_LATENT = (
    -0.03545712,
    -0.11705846,
    -0.05517992,
    0.00844862,
    0.04809663,
    0.00272764,
    0.18799046,
    -0.02028011,
    0.01018141,
    0.03007844,
    -0.03314216,
    -0.03098543,
    0.02590478,
    0.00261714,
    0.01297793,
    -0.10481539,
)
"""What the published text-to-motion model was trained to say behind the end of a clip (HumanML3D)."""

_MODEL_FILE = "Experiments/t2m_model/latest.pth"
_END_LATENT_FILE = "reference_end_latent_t2m_272.npy"


class _TAEFiles(NamedTuple):
    weights: str
    data_set: str
    stats_folder: str


_HUMANML = _TAEFiles("Causal_TAE/net_last.pth", "lxxiao/272-dim-HumanML3D", "mean_std")
_BABEL = _TAEFiles("Causal_TAE_t2m_babel/net_last.pth", "lxxiao/272-dim-BABEL", "t2m_babel_mean_std")


class PublishedTAE(NamedTuple):
    """A published autoencoder and what belongs to it.

    Attributes:
        tae: In evaluation mode.
        stats: Of the features that it was trained on.
        end_latent: What stands for the end of a clip, ``(C,)``; None where none is published: draw one with
            ``tae.end_latent`` and keep it.
    """

    tae: CausalTAE
    stats: FeatureStats
    end_latent: Tensor | None


def is_published_motionstreamer(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether this is the published repository, or a folder that is laid out like it."""
    return os.fspath(name_or_path) == MOTIONSTREAMER_REPOSITORY or Path(name_or_path, _MODEL_FILE).is_file()


def load_published_motionstreamer(
    source: str | os.PathLike[str] = MOTIONSTREAMER_REPOSITORY, *, revision: str | None = None
) -> MotionStreamer:
    """The published text-to-motion transformer and head, in evaluation mode.

    Args:
        source: A folder laid out like the published repository, or a repository on the Hub.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelNotFoundError: If nothing has that name, or the weights are not in it.
        CheckpointError: If they cannot be read, or do not fit.
    """
    return motionstreamer_from_published(load_published(_file(source, _MODEL_FILE, revision)))


def load_published_tae(
    source: str | os.PathLike[str] = MOTIONSTREAMER_REPOSITORY,
    *,
    babel: bool = False,
    revision: str | None = None,
    stats: FeatureStats | None = None,
) -> PublishedTAE:
    """A published autoencoder with its statistics and, for HumanML3D alone, its end latent.

    Args:
        source: A folder laid out like the published repository, or a repository on the Hub.
        babel: That of HumanML3D and BABEL together, for streams, instead of that of HumanML3D.
        revision: Branch, tag or commit of ``source`` on the Hub.
        stats: Of the features; by default ``Mean.npy`` and ``Std.npy`` in the source or its folder ``mean_std``
            (``t2m_babel_mean_std``), or else from the data set's repository on the Hub.

    Raises:
        ModelNotFoundError: If nothing has that name, or a file is missing.
        CheckpointError: If one cannot be read, or does not fit.
    """
    files = _BABEL if babel else _HUMANML
    tae = causal_tae_from_published(load_published(_file(source, files.weights, revision)))
    stats = stats or _load_stats(Path(source), files)
    if babel:
        return PublishedTAE(tae, stats, None)
    kept = Path(source, _END_LATENT_FILE)
    end = load_array(kept).reshape(-1) if kept.is_file() else torch.tensor(PUBLISHED_END_LATENT)
    return PublishedTAE(tae, stats, end.float())


def _file(source: str | os.PathLike[str], name: str, revision: str | None) -> Path:
    path = resolve(source, revision=revision, patterns=[name]) / name
    if not path.is_file():
        raise ModelNotFoundError(f"{os.fspath(source)} holds no {name}.")
    return path


def _load_stats(folder: Path, files: _TAEFiles) -> FeatureStats:
    own = [folder / files.stats_folder, folder]
    here = next((place for place in own if (place / "Mean.npy").is_file()), None)
    if here is None:
        names = [f"{files.stats_folder}/{name}.npy" for name in ("Mean", "Std")]
        here = resolve(files.data_set, patterns=names, data_set=True) / files.stats_folder
    try:
        return FeatureStats(load_array(here / "Mean.npy"), load_array(here / "Std.npy"))
    except ValueError as error:
        raise CheckpointError(f"{here} holds no mean and deviation: {error}") from error
