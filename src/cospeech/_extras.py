"""Optional packages, imported where they are used."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from cospeech.errors import MissingExtraError

__all__ = ["require"]


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """The imported ``module``, or an error that names the extra which brings it.

    Args:
        module: Dotted module name, for example ``"soundfile"``.
        extra: The cospeech extra that installs it, for example ``"audio"``.
        purpose: What needs it, as the subject of a sentence, for example ``"Decoding MP3"``.

    Raises:
        MissingExtraError: If the module is not installed.

    Example:
        >>> require("math", extra="audio", purpose="Arithmetic").floor(1.5)
        1
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name is None or error.name.split(".")[0] != package:
            raise  # the package is there, something that it needs is not: its own message says more
        raise MissingExtraError(f"{purpose} needs {package}: pip install 'cospeech[{extra}]'.") from error
