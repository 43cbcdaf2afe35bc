"""The published programs' cases: where they lie, how one is read, how its weights are made."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

DEFAULT_FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
FOLDER = Path(os.environ.get("COSPEECH_GOLDEN", DEFAULT_FOLDER))


@dataclass(frozen=True)
class Case:
    """One stored case: inputs, expected outputs, settings."""

    name: str

    @cached_property
    def _file(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        with safe_open(FOLDER / f"{self.name}.safetensors", framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            return tensors, dict(file.metadata() or {})

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under its stored name, prefix included."""
        return self._file[0]

    @property
    def settings(self) -> dict[str, str]:
        """The strings of the file's metadata."""
        return self._file[1]

    @property
    def salt(self) -> str:
        return self.settings.get("salt", "")

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors stored as ``prefix.*``, prefix removed, half-precision inputs (``*_f16``) raised to float32."""
        found = {}
        for key, value in self.tensors.items():
            head, _, name = key.partition(".")
            if head == prefix:
                found[name.removesuffix("_f16")] = value.float() if name.endswith("_f16") else value
        return found

    @property
    def inputs(self) -> dict[str, Tensor]:
        return self.group("in")

    @property
    def outputs(self) -> dict[str, Tensor]:
        return self.group("out")

    def layout(self, name: str | None = None) -> dict[str, Any]:
        """The layout file ``name`` (default: this case's own)."""
        return json.loads((FOLDER / f"{name or self.name}.layout.json").read_text())

    def published_state(self, layout: str | None = None, keep: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The state dict of the published module, filled as the case says.

        ``keep`` gives the tensors which the published constructor makes; a ``keep`` tensor that is not given is left
        out, so that a strict load tells which are missing.
        """
        given = self.group("param")
        state: dict[str, Tensor] = {}
        for key, shape, dtype, status in self.layout(layout)["keys"]:
            if status == "given":
                state[key] = given[key]
            elif status.startswith("fill"):
                factor = float(status.partition("*")[2] or 1.0)
                values = fill_module().fill(key, tuple(shape), self.salt)
                state[key] = (torch.from_numpy(np.asarray(values)) * factor).to(getattr(torch, dtype.split(".")[-1]))
            elif keep is not None and key in keep:
                state[key] = keep[key]
        return state

    def fill(self, name: str, shape: tuple[int, ...], salt: str | None = None) -> Tensor:
        """Values by name, for what is in no layout; with the case's salt unless told otherwise."""
        values = fill_module().fill(name, tuple(shape), self.salt if salt is None else salt)
        return torch.from_numpy(np.asarray(values))

    def __str__(self) -> str:
        return self.name


@lru_cache(maxsize=1)
def fill_module() -> ModuleType:
    """``fill.py`` of the case folder, where every weight comes from."""
    spec = importlib.util.spec_from_file_location("cospeech_golden_fill", FOLDER / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give ``@pytest.mark.case("name", ...)`` tests their ``case`` argument, with the name in the test id."""
    marker = metafunc.definition.get_closest_marker("case")
    if marker is None:
        return
    skip = pytest.mark.skip(reason=f"no parity cases in {FOLDER}; set COSPEECH_GOLDEN to their folder")
    marks = () if FOLDER.is_dir() else (skip,)
    metafunc.parametrize("case", [pytest.param(Case(name), id=name, marks=marks) for name in marker.args])
