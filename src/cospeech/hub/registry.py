"""Names of models: those that come with the package, and those that others published.

Revisions: a published repository is read at the branch ``main`` unless a call names a revision; where the commit is
known from which our facts were taken, a download of another commit says so. SHA-256 sums were published for none of
these files where we could look, so the field is empty; sums that are entered there are held against what is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cospeech.hub.licences import Licence, Terms

__all__ = ["ALIASES", "BUNDLED", "MODELS", "Published", "aliases_of", "bundled_folder", "find_published", "terms_of"]

BUNDLED = ("cospeech-tiny",)
"""Models inside the package, usable without a network."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published checkpoint.

    Attributes:
        name: Ours, for ``load_pipeline`` and the command line.
        task: What it does.
        repository: On the Hugging Face Hub; None where it lies elsewhere.
        elsewhere: Where it lies, if not on the Hub, or what is missing there.
        revision: The full commit to fetch, where one is known.
        commit: The first digits of the commit that was looked at.
        megabytes: What is fetched, by the published sizes or the shapes; None where neither is known.
        terms: Licences.
        needs: What it takes besides.
        sha256: By file; empty where no sums are published.
    """

    name: str
    task: str
    repository: str | None
    terms: Terms
    elsewhere: str = ""
    revision: str | None = None
    commit: str = ""
    megabytes: int | None = None
    needs: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)


_OURS = Licence.spdx("Apache-2.0", "LICENSE")
_PROCEDURAL = Licence("our own procedural corpus, Apache-2.0", True, "cospeech.data.synthetic")
_PANTOMATRIX = Licence.spdx("CC-BY-NC-4.0", "LICENSE.md of PantoMatrix/PantoMatrix")
_BEAT = Licence("BEAT and BEAT2, non-commercial", False, "their author, PantoMatrix/PantoMatrix issues 5 and 122")
_SHOW = Licence("SHOW (TalkSHOW)", None, "no terms at hand")
_HUMANML = Licence("HumanML3D in 272 channels, academic use", False, "README of MotionStreamer, by AMASS's licence")
_TEXT_MODEL = "a text model: pip install 'cospeech[text]' (sentence-t5-xxl), or embeddings in its place"

MODELS = {
    model.name: model
    for model in (
        Published(
            name="cospeech-tiny",
            task="speech to motion",
            repository=None,
            elsewhere="inside the package",
            megabytes=6,
            terms=Terms(_OURS, _OURS, _PROCEDURAL),
        ),
        Published(
            name="emage",
            task="speech to motion, with hints",
            repository="H-Liu1997/emage_audio",
            commit="b04466b",
            megabytes=613,
            terms=Terms(_PANTOMATRIX, Licence.spdx("Apache-2.0", "card of H-Liu1997/emage_audio"), _BEAT),
        ),
        Published(
            name="camn",
            task="speech to upper-body motion",
            repository="H-Liu1997/camn_audio",
            megabytes=189,
            terms=Terms(_PANTOMATRIX, Licence.unstated(), _BEAT),
        ),
        Published(
            name="disco",
            task="speech to upper-body motion",
            repository="H-Liu1997/disco_audio",
            megabytes=100,
            terms=Terms(_PANTOMATRIX, Licence.unstated(), _BEAT),
        ),
        Published(
            name="globaldiff",
            task="speech to motion",
            repository="X-Zhang/GlobalDiff",
            elsewhere="no denoiser is published: train one (docs/globaldiff.md) and put its `epoch_N` into the folder",
            megabytes=53,
            needs=("a denoiser", "WavLM: pip install 'cospeech[speech]'"),
            terms=Terms(
                Licence.spdx("Apache-2.0", "its repository"), Licence.unstated("card of X-Zhang/GlobalDiff"), _BEAT
            ),
        ),
        Published(
            name="diffsheg-beat",
            task="speech to motion",
            repository=None,
            elsewhere="Google Drive 1JPoMOcGDrvkFt7QbN6sEyYAPOOWkVN0h (fgd_best.tar); give the folder",
            megabytes=1870,
            needs=("HuBERT: pip install 'cospeech[speech]'", "means and deviations beside the checkpoint"),
            terms=Terms(Licence.spdx("BSD-3-Clause", "LICENSE of JeremyCJM/DiffSHEG"), Licence.unstated(), _BEAT),
        ),
        Published(
            name="diffsheg-show",
            task="speech to motion",
            repository=None,
            elsewhere="Google Drive 1JPoMOcGDrvkFt7QbN6sEyYAPOOWkVN0h (ckpt_e2599.tar); give the folder",
            megabytes=1870,
            needs=("HuBERT: pip install 'cospeech[speech]'", "means and deviations beside the checkpoint"),
            terms=Terms(Licence.spdx("BSD-3-Clause", "LICENSE of JeremyCJM/DiffSHEG"), Licence.unstated(), _SHOW),
        ),
        Published(
            name="motionstreamer",
            task="text to motion",
            repository="lxxiao/MotionStreamer",
            needs=(_TEXT_MODEL,),
            terms=Terms(Licence.spdx("MIT", "zju3dv/MotionStreamer"), Licence.unstated(), _HUMANML),
        ),
        Published(
            name="fgd-beat2",
            task="score of SMPL-X gestures (FGD of BEAT2, VAESKConv)",
            repository="H-Liu1997/emage_evaltools",
            elsewhere="also in X-Zhang/GlobalDiff, Scripts/FM/EMAGE_VAE",
            terms=Terms(_PANTOMATRIX, Licence.unstated(), _BEAT),
        ),
        Published(
            name="motionstreamer-evaluator",
            task="score of texts and motions (Evaluator_272)",
            repository="lxxiao/MotionStreamer",
            terms=Terms(Licence.spdx("MIT", "zju3dv/MotionStreamer"), Licence.unstated(), _HUMANML),
        ),
        Published(
            name="diffsheg-fgd",
            task="score of gestures and faces (HalfEmbeddingNet of BEAT and SHOW)",
            repository=None,
            elsewhere="Google Drive 1Wm2WMlacwStFaciCh7UlhQeyA3E2yEnj (GesAxisAngle_Face_300.bin and others)",
            terms=Terms(Licence.spdx("BSD-3-Clause", "LICENSE of JeremyCJM/DiffSHEG"), Licence.unstated(), _BEAT),
        ),
    )
}
"""Every model that is known by name."""

ALIASES = {"H-Liu1997": "haiyangliu0"}
"""Accounts of the Hub that were renamed: the name in the papers, and where to ask if the Hub does not lead on."""


def find_published(name: str) -> Published | None:
    """The entry of a name of ours, or of a repository on the Hub, also under its account's other name.

    Example:
        >>> find_published("haiyangliu0/camn_audio").name
        'camn'
    """
    if name in MODELS:
        return MODELS[name]
    names = {name, *aliases_of(name)}
    return next((model for model in MODELS.values() if model.repository in names), None)


def aliases_of(repository: str) -> list[str]:
    """Other names of a repository, by accounts that moved.

    Example:
        >>> aliases_of("H-Liu1997/emage_audio")
        ['haiyangliu0/emage_audio']
    """
    account, slash, name = repository.partition("/")
    pairs = [*ALIASES.items(), *((new, old) for old, new in ALIASES.items())]
    return [other + slash + name for one, other in pairs if one == account]


def terms_of(name: str) -> Terms | None:
    """The licences of a model by name or repository; None where nothing is known."""
    model = find_published(name)
    return None if model is None else model.terms


def bundled_folder(name: str) -> Path:
    """Where the bundled model ``name`` lies.

    Raises:
        ValueError: If there is no bundled model of that name.

    Example:
        >>> bundled_folder("cospeech-tiny").name
        'cospeech-tiny'
    """
    if name not in BUNDLED:
        raise ValueError(f"Unknown bundled model {name!r}; choose from {', '.join(BUNDLED)}.")
    return Path(__file__).resolve().parents[1] / "assets" / name
