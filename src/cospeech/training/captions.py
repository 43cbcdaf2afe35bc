"""Captions for the training of a text encoder whose language model is frozen: what that makes of them, kept in a file.

Each text goes through the language model once. Where there is none to be had, words become numbers by their checksum,
and a small language model is drawn by chance, the same everywhere.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cospeech._extras import require
from cospeech.errors import ModelNotFoundError
from cospeech.hub import load_published, resolve
from cospeech.hub.convert.evaluators import distilbert_from_published
from cospeech.hub.published import published_weights
from cospeech.io import atomic_path
from cospeech.models import DistilBert, DistilBertConfig

__all__ = ["EmbeddedTexts", "HashedTokenizer", "drawn_language_model", "embed_texts", "load_language_model"]

_FORMAT = "cospeech-texts-1"
_BATCH = 64
_START = 1  # the number before each text; 0 is padding

Tokenizer = Callable[..., Any]


class HashedTokenizer:
    """Words as numbers by their checksum, called like a tokenizer of the transformers library.

    Args:
        vocabulary: How many numbers there are; words that share one are the same word.

    Example:
        >>> HashedTokenizer(100)(["a hand", "Hand!"])["attention_mask"]
        tensor([[1, 1, 1],
                [1, 1, 0]])
    """

    def __init__(self, vocabulary: int):
        if vocabulary < 3:
            raise ValueError(f"`vocabulary` must be 3 at least; got {vocabulary}.")
        self.vocabulary = vocabulary

    def __call__(self, texts: Sequence[str], *, return_tensors: str = "pt", padding: bool = True) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, ``(B, L)`` each, padded to the longest text.

        Raises:
            ValueError: If something else than padded tensors is asked for.
        """
        if return_tensors != "pt" or not padding:
            raise ValueError("`return_tensors` must be 'pt', and `padding` True.")
        numbers = [torch.tensor([_START, *map(self._number, re.findall(r"\w+", text.lower()))]) for text in texts]
        tokens = torch.nn.utils.rnn.pad_sequence(numbers, batch_first=True)
        return {"input_ids": tokens, "attention_mask": (tokens > 0).long()}

    def _number(self, word: str) -> int:
        return 2 + zlib.crc32(word.encode()) % (self.vocabulary - 2)


def drawn_language_model(dim: int) -> tuple[DistilBert, HashedTokenizer]:
    """A small language model with drawn weights, the same at each call, and its tokenizer.

    Args:
        dim: Width of its hidden states.
    """
    config = DistilBertConfig(vocabulary=4096, dim=dim, num_layers=1, num_heads=4, feedforward_dim=2 * dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DistilBert(config)
    return model.eval().requires_grad_(False), HashedTokenizer(config.vocabulary)


def load_language_model(name_or_path: str) -> tuple[DistilBert, Tokenizer]:
    """DistilBERT as published, and its tokenizer.

    Args:
        name_or_path: A folder, or a repository ``"owner/name"`` on the Hub, in the transformers library's layout.

    Raises:
        MissingExtraError: If the transformers library is not installed.
        ModelNotFoundError: If nothing has that name, or there is no tokenizer.
        CheckpointError: If the weights do not fit.
    """
    library = require("transformers", extra="text", purpose="Splitting captions into tokens")
    folder = resolve(name_or_path, patterns=["model.safetensors", "*.json", "vocab.txt"])
    heads = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("n_heads", 12)
    model = distilbert_from_published(load_published(published_weights(folder)), num_heads=heads)
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"{folder} holds no tokenizer: {str(error).splitlines()[0]}") from error
    return model.eval().requires_grad_(False), tokenizer


@torch.inference_mode()
def embed_texts(
    texts: Sequence[str], model: DistilBert, tokenizer: Tokenizer, sentences: Tensor, path: str | os.PathLike[str]
) -> None:
    """Write the hidden states of texts, in half precision, and their sentence vectors; read with ``EmbeddedTexts``.

    Args:
        texts: Each once.
        model: In evaluation mode.
        tokenizer: Its own.
        sentences: A vector for each text, ``(N, C)``: captions mean the same where the product of theirs is large.
        path: Of the file; its folder is made.
    """
    if len(sentences) != len(texts):
        raise ValueError(f"`sentences` must hold {len(texts)} rows, one for each text; got {len(sentences)}.")
    hidden, lengths = [], []
    for first in range(0, len(texts), _BATCH):
        tokens = tokenizer(list(texts[first : first + _BATCH]), return_tensors="pt", padding=True)
        mask = tokens["attention_mask"].bool()
        hidden.append(model(tokens["input_ids"], mask)[mask].half())
        lengths += mask.sum(1).tolist()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"hidden": torch.cat(hidden), "sentences": sentences.clone().contiguous()}
    with atomic_path(path) as unfinished:
        save_file(tensors, unfinished, metadata={_FORMAT: json.dumps([list(texts), lengths])})


class EmbeddedTexts:
    """What ``embed_texts`` wrote, by text. Safe to copy to worker processes: the file is opened where it is read."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._file: Any = None
        with safe_open(self.path, framework="pt") as file:
            texts, lengths = json.loads(file.metadata()[_FORMAT])
            self._sentences = file.get_tensor("sentences")
        self._rows = {text: row for row, text in enumerate(texts)}
        self._starts = torch.tensor([0, *lengths]).cumsum(0).tolist()

    def hidden(self, text: str) -> Tensor:
        """Hidden states of a text's tokens, ``(L, C)``."""
        if self._file is None:
            self._file = safe_open(self.path, framework="pt")
        row = self._rows[text]
        found: Tensor = self._file.get_slice("hidden")[self._starts[row] : self._starts[row + 1]]
        return found.float()

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Sentence vectors, ``(B, C)``."""
        found: Tensor = self._sentences[[self._rows[text] for text in texts]]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}
