"""A section "Example:" of a docstring, which the tests run, is shown as code like one called "Examples:"."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class ExamplesSection(Extension):
    """Renames the section before docstrings are parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of whatever was found."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^([ \t]*)Example:[ \t]*$", r"\1Examples:", obj.docstring.value, flags=re.M)
