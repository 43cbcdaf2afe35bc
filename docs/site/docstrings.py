"""What the reference shows of the docstrings: examples as code, and of classes only what a docstring tells of."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Module, Object, Parser


class AsWritten(Extension):
    """Adapts what griffe reads to how docstrings are written here."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Once the whole package is read."""
        if pkg.name == "cospeech":
            _adapt(pkg)


def _adapt(thing: Object) -> None:
    if thing.docstring is not None:  # a section "Example:", which the tests run, is code like one called "Examples:"
        thing.docstring.value = re.sub(r"^([ \t]*)Example:[ \t]*$", r"\1Examples:", thing.docstring.value, flags=re.M)
        if thing.is_class:
            thing.docstring.parser = Parser.google
            thing.docstring.parsed  # noqa: B018 (kept: it takes the types from the fields, which go below)
    for name, member in list(thing.members.items()):
        if member.is_alias:
            continue
        # Fields are described in their class's own docstring and need no headings; undescribed ones are nobody's.
        if thing.is_class and not member.has_docstring and name != "__init__":
            thing.del_member(name)
        else:
            _adapt(member)
