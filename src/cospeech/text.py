"""Sentence embeddings, computed once and kept on disk.

MotionStreamer was trained on sentence-T5-XXL, about 5 billion weights, of which a prompt needs one pass: each
embedding is kept in a small file, so a prompt that was embedded once, anywhere, needs no model. Every place that takes
texts also takes their embeddings, ``(B, 768)``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cospeech._extras import require
from cospeech.errors import ModelNotFoundError

__all__ = ["SentenceEmbedder"]

_KEY = "embedding"


class SentenceEmbedder:
    """Texts to embeddings by a sentence-transformers model, which is loaded when first needed.

    Args:
        name_or_path: A model of the Hugging Face Hub or a folder.
        cache_folder: Where embeddings are kept; by default ``~/.cache/cospeech/text``. None keeps them in memory only.
        device: Where the model runs.

    Example:
        >>> embed = SentenceEmbedder("sentence-transformers/sentence-t5-xxl")
        >>> embed.name_or_path  # nothing is loaded yet
        'sentence-transformers/sentence-t5-xxl'
    """

    def __init__(
        self,
        name_or_path: str = "sentence-transformers/sentence-t5-xxl",
        *,
        cache_folder: str | os.PathLike[str] | None = "~/.cache/cospeech/text",
        device: torch.device | str = "cpu",
    ):
        self.name_or_path, self.device = str(name_or_path), torch.device(device)
        self.cache_folder = None if cache_folder is None else Path(cache_folder).expanduser()
        self._known: dict[str, Tensor] = {}
        self._model: Any = None

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embeddings ``(B, C)``, float32 on the CPU.

        Raises:
            MissingExtraError: If a text is not known yet and sentence-transformers is not installed.
            ModelNotFoundError: If its model is neither here nor to be fetched.
        """
        texts = list(texts)
        unknown = [text for text in dict.fromkeys(texts) if self._lookup(text) is None]
        if unknown:
            for text, embedding in zip(unknown, self._embed(unknown), strict=True):
                self._keep(text, embedding.clone())
        return torch.stack([self._known[text] for text in texts])

    def _lookup(self, text: str) -> Tensor | None:
        if text not in self._known and self.cache_folder is not None:
            path = self._path(text)
            if path.is_file():
                self._known[text] = load_file(path)[_KEY]
        return self._known.get(text)

    def _keep(self, text: str, embedding: Tensor) -> None:
        self._known[text] = embedding
        if self.cache_folder is not None:
            path = self._path(text)
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}.part")
            save_file({_KEY: embedding}, unfinished)
            unfinished.replace(path)

    def _path(self, text: str) -> Path:
        assert self.cache_folder is not None
        digest = hashlib.sha256(f"{self.name_or_path}\0{text}".encode()).hexdigest()
        return self.cache_folder / f"{digest}.safetensors"

    def _embed(self, texts: Sequence[str]) -> Tensor:
        if self._model is None:
            library: Any = require("sentence_transformers", extra="text", purpose="Embedding new texts")
            try:
                self._model = library.SentenceTransformer(self.name_or_path, device=str(self.device))
            except (OSError, ValueError) as error:
                raise ModelNotFoundError(
                    f"The text model {self.name_or_path!r} is neither here nor to be fetched: "
                    f"{str(error).splitlines()[0]} Embeddings (B, 768) are taken in place of texts too."
                ) from error
        embeddings: Tensor = self._model.encode(list(texts), convert_to_tensor=True)
        return embeddings.float().cpu()
