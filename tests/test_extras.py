"""Optional packages: a missing one is named with the extra that brings it."""

import pytest

from cospeech._extras import require
from cospeech.errors import CospeechError, MissingExtraError


def test_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"Singing needs no_such_package: pip install 'cospeech\[audio\]'\."):
        require("no_such_package.deep", extra="audio", purpose="Singing")


def test_missing_extra_is_an_import_error_too() -> None:
    assert issubclass(MissingExtraError, ImportError)
    assert issubclass(MissingExtraError, CospeechError)


def test_a_broken_dependency_of_an_installed_package_is_not_hidden(tmp_path, monkeypatch) -> None:
    (tmp_path / "half_installed.py").write_text("import its_missing_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="its_missing_dependency") as caught:
        require("half_installed", extra="audio", purpose="Singing")
    assert not isinstance(caught.value, MissingExtraError)
