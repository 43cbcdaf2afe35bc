"""The public names are a promise: a change of the list is a change that users see.

After a wanted change: ``python tests/test_public_names.py`` writes the list anew.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import get_origin

import cospeech

LIST = Path(__file__).with_name("public_names.txt")


def public_names() -> list[str]:
    """``package.name`` of everything that the packages list in ``__all__``."""
    modules = [f"cospeech.{module.name}" for module in pkgutil.iter_modules(cospeech.__path__)]
    packages = ["cospeech", *(name for name in modules if "._" not in name)]
    return sorted(
        f"{package}.{name}" for package in packages for name in getattr(importlib.import_module(package), "__all__", [])
    )


def test_public_names_are_as_listed() -> None:
    assert public_names() == LIST.read_text().split()


def test_every_public_name_exists_and_is_documented() -> None:
    for path in public_names():
        package, _, name = path.rpartition(".")
        value = getattr(importlib.import_module(package), name)
        if get_origin(value) is None and (inspect.isclass(value) or inspect.isroutine(value)):  # no alias of a type
            assert value.__doc__, f"{path} has no docstring"


if __name__ == "__main__":
    LIST.write_text("\n".join(public_names()) + "\n")
