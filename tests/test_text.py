"""Sentence embeddings: embedded once, kept on disk, clear errors without the model."""

import sys
from types import ModuleType

import pytest
import torch

from cospeech.errors import MissingExtraError, ModelNotFoundError
from cospeech.text import SentenceEmbedder


class Library(ModuleType):
    """Stands in for sentence-transformers; counts what it is asked."""

    def __init__(self, error=None):
        super().__init__("sentence_transformers")
        self.asked, self.error = [], error

    def SentenceTransformer(self, name, device):
        if self.error:
            raise self.error
        return self

    def encode(self, texts, convert_to_tensor):
        self.asked += texts
        return torch.stack([torch.full((768,), float(len(text))) for text in texts]).half()


def test_each_text_is_embedded_once(monkeypatch, tmp_path):
    library = Library()
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    embed = SentenceEmbedder("some/model", cache_folder=tmp_path)
    embeddings = embed(["walk", "", "walk"])
    assert embeddings.shape == (3, 768)
    assert embeddings.dtype == torch.float32
    assert embeddings[:, 0].tolist() == [4, 0, 4]
    assert library.asked == ["walk", ""]
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # another run, without the extra
    assert torch.equal(SentenceEmbedder("some/model", cache_folder=tmp_path)(["walk"]), embeddings[:1])
    with pytest.raises(MissingExtraError, match=r"Embedding new texts needs sentence_transformers.*\[text\]"):
        SentenceEmbedder("some/model", cache_folder=tmp_path)(["run"])
    with pytest.raises(MissingExtraError):  # another model's embeddings are others
        SentenceEmbedder("other/model", cache_folder=tmp_path)(["walk"])


def test_no_folder_is_written_unless_asked(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sentence_transformers", Library())
    monkeypatch.setenv("HOME", str(tmp_path))
    embed = SentenceEmbedder(cache_folder=None)
    embed(["walk"])
    assert list(tmp_path.iterdir()) == []


def test_absent_weights(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sentence_transformers", Library(OSError("no such model here\nlong story")))
    with pytest.raises(ModelNotFoundError, match="'some/model' is neither here nor to be fetched: no such model here"):
        SentenceEmbedder("some/model", cache_folder=tmp_path)(["walk"])
