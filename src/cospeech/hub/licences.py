"""Who may use a checkpoint for what: the licence of its program, its weights and its data, as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass

from cospeech.errors import LicenceError

__all__ = ["Licence", "Terms", "check_commercial"]

_PERMISSIVE = {"Apache-2.0", "MIT", "BSD-3-Clause"}


@dataclass(frozen=True)
class Licence:
    """The terms of one thing.

    Attributes:
        name: An SPDX identifier, or a few words where there is none.
        commercial: Whether it allows commercial use; None where nobody says.
        source: Where this is said.
    """

    name: str
    commercial: bool | None
    source: str = ""

    @classmethod
    def spdx(cls, name: str, source: str = "") -> Licence:
        """A well-known licence; those of the Creative Commons with NC in their name are not commercial.

        Example:
            >>> Licence.spdx("MIT").commercial, Licence.spdx("CC-BY-NC-4.0").commercial, Licence.spdx("X").commercial
            (True, False, None)
        """
        commercial = True if name in _PERMISSIVE else False if "-NC" in name else None
        return cls(name, commercial, source)

    @classmethod
    def unstated(cls, source: str = "") -> Licence:
        """Nothing is said, so nothing is allowed."""
        return cls("not stated", None, source)


@dataclass(frozen=True)
class Terms:
    """The terms of a checkpoint.

    Attributes:
        code: Of the published program. It binds who runs that program, not who runs ours.
        weights: Of the numbers.
        data: Of what they were trained on.
    """

    code: Licence
    weights: Licence
    data: Licence

    def problems(self) -> list[str]:
        """What stands in the way of commercial use of weights and data."""
        found = []
        for what, licence in (("weights", self.weights), ("training data", self.data)):
            if not licence.commercial:
                verb = "do not allow it" if licence.commercial is False else "do not say that they allow it"
                source = f" [{licence.source}]" if licence.source else ""
                found.append(f"the terms of its {what} ({licence.name}){source} {verb}")
        return found


def check_commercial(name: str, terms: Terms | None) -> None:
    """Refuse what may not, or may not clearly, be used commercially.

    Raises:
        LicenceError: Saying which terms stand in the way; also where none are known.
    """
    if terms is None:
        raise LicenceError(f"{name} cannot be used commercially: it says nothing about its licences.")
    if problems := terms.problems():
        raise LicenceError(f"{name} cannot be used commercially: {'; '.join(problems)}.")
