"""Folders of text to motion in 272 channels, as MotionStreamer and HumanML3D-272 have them: ``motionstreamer``.

Motions are ``NAME.npy`` of 272 numbers a frame, not normalised; captions ``NAME.txt``. What the published program draws
(which caption, where a long clip begins, whether it is a unit shorter, who shares a batch) is drawn from the seed.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cospeech._extras import require
from cospeech.data import parse_captions
from cospeech.errors import CospeechError, EvaluationError
from cospeech.evaluation.clips import ClipMeasures
from cospeech.evaluation.folders import ClipFiles, Problem, find_clips, named_files, weights_hash
from cospeech.evaluation.protocols import Protocol
from cospeech.evaluation.show_folders import load_feature_file
from cospeech.evaluation.statistics import named_statistics
from cospeech.metrics import matching_distances, retrieval_ranks, root_aligned_errors
from cospeech.models import MotionEvaluator, TextEvaluator
from cospeech.representations import streamer_joints

__all__ = ["TextMotionReader"]

_CHANNELS = 272
_MIN_FRAMES, _MAX_FRAMES, _UNIT = 60, 300, 4
_GROUP = 32
_TOP = 3


@dataclass(frozen=True, kw_only=True)
class TextMotionReader:
    """See ``evaluate_folders`` for the fields."""

    protocol: Protocol
    statistics: Mapping[str, Tensor]
    extractor: MotionEvaluator | None = None
    text_extractor: TextEvaluator | None = None
    texts: Path | None = None
    tokenizer: Any = None
    seed: int = 0

    def find(self, generated: Path, reference: Path) -> tuple[list[ClipFiles], list[Problem]]:
        """Pairs of ``.npy``; the recorded ones also in ``motion_data`` with a ``split/test.txt`` that lists them.

        Further motions for the same texts are ``repeats/NAME_1.npy`` and so on.
        """
        _ = self._normal, self._tokenize  # complain before any clip is read
        data = reference / "motion_data"
        pairs, problems = find_clips(generated, data if data.is_dir() else reference, suffixes=(".npy",))
        split = reference / "split" / "test.txt"
        if split.is_file():
            listed = set(split.read_text(encoding="utf-8").split())
            pairs = [pair for pair in pairs if pair.name in listed]
            problems = [problem for problem in problems if problem.name in listed]
        if self.texts is not None:
            captions = named_files(self.texts, (".txt",), "caption")
            lacking = [pair.name for pair in pairs if pair.name not in captions]
            problems += [Problem(name, "without caption", f"no file in {self.texts}") for name in lacking]
            pairs = [replace(pair, semantic=captions[pair.name]) for pair in pairs if pair.name in captions]
        if (generated / "repeats").is_dir():
            repeats = named_files(generated / "repeats", (".npy",), "motion")
            pairs = [replace(pair, repeats=_repeats_of(pair.name, repeats)) for pair in pairs]
        return pairs, sorted(problems, key=lambda problem: problem.name)

    @torch.inference_mode()
    def __call__(self, clip: ClipFiles) -> ClipMeasures | Problem:
        """Read, check and embed one clip."""
        generator = torch.Generator().manual_seed((self.seed << 32) + zlib.crc32(clip.name.encode()))
        try:
            ours, theirs = (load_feature_file(path, _CHANNELS) for path in (clip.generated, clip.reference))
            repeats = [load_feature_file(path, _CHANNELS) for path in clip.repeats]
            caption = None if clip.semantic is None else _caption(clip.semantic, generator)
        except (CospeechError, ValueError, OSError) as error:
            return Problem(clip.name, "NaN" if "NaN" in str(error) else "unreadable", str(error))
        if not _MIN_FRAMES <= len(theirs) < _MAX_FRAMES:
            kind = "too short" if len(theirs) < _MIN_FRAMES else "too long"
            return Problem(
                clip.name, kind, f"{len(theirs)} frames; the protocol takes {_MIN_FRAMES} to {_MAX_FRAMES - 1}"
            )
        if len(ours) < _UNIT:
            return Problem(clip.name, "too short", f"{clip.generated} has {len(ours)} frames, not {_UNIT}")
        found = ClipMeasures(clip.name, min(len(ours), len(theirs)))
        if len(ours) == len(theirs):  # a reconstruction
            errors = root_aligned_errors(*(streamer_joints(x.double()).float() for x in (ours, theirs)))
            found.values["mpjpe"] = (1000 * float(errors.mean()), float(len(ours)))
        if self.extractor is None:
            return found
        embedded = [self._embed(_cut(ours, generator=None)), self._embed(_cut(theirs, generator=generator))]
        found.features["fid"] = found.samples["diversity"] = (embedded[0], embedded[1])
        if repeats:
            every = torch.cat([embedded[0], *(self._embed(_cut(x, generator=None)) for x in repeats)])
            found.samples["multimodality"] = (every, every[:0])
        if caption is not None and self.text_extractor is not None and self._tokenize is not None:
            tokens = self._tokenize([caption], return_tensors="pt", padding=True)
            text = self.text_extractor(tokens["input_ids"], tokens["attention_mask"].bool()).mean
            found.samples["text"] = (text, text)
        return found

    def finish(self, clips: list[ClipMeasures], seed: int) -> list[ClipMeasures]:
        """Whole batches of 32 at random; the clips that are left over count nowhere, as published."""
        if self.extractor is None:
            return clips
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(clips), generator=generator).tolist()
        if len(clips) < _GROUP:
            clips[0].notes.append(f"{len(clips)} clips make no batch of {_GROUP}: no R-precision, no MM-Dist")
            return clips
        groups = [order[i : i + _GROUP] for i in range(0, len(clips) - _GROUP + 1, _GROUP)]
        for group in groups:
            _retrieve([clips[i] for i in group])
        kept = [clips[i] for group in groups for i in group]
        if len(kept) < len(clips):
            left = sorted(clips[i].name for i in order[len(kept) :])
            kept[0].notes.append(f"left over from batches of {_GROUP}, counted nowhere: {', '.join(left)}")
        return kept

    def reason(self, name: str) -> str:
        """Why a measure of the protocol is missing."""
        if name == "mpjpe":
            return "for reconstructions: no generated clip is as long as its recorded one"
        if name == "multimodality":
            return "needs other motions for the same texts, repeats/NAME_1.npy and so on, and the extractor"
        if self.extractor is None:
            return "needs the extractor Evaluator_272/epoch=99.ckpt"
        if self.texts is None or self.tokenizer is None:
            return "needs the captions and DistilBERT's tokenizer"
        return f"needs {_GROUP} clips at least"

    def notes(self) -> list[str]:
        """How this differs from a run of the published program."""
        return ["Captions of parts of clips are not used; batches, captions and cuts are drawn from the seed."]

    def extractor_hash(self) -> str | None:
        """Of both encoders."""
        networks = [x for x in (self.extractor, self.text_extractor) if x is not None]
        return weights_hash(networks) if networks else None

    @cached_property
    def _normal(self) -> tuple[Tensor, Tensor]:
        return named_statistics(self.statistics, "", _CHANNELS)

    @cached_property
    def _tokenize(self) -> Any:
        if not isinstance(self.tokenizer, (str, os.PathLike)):
            return self.tokenizer
        library = require("transformers", extra="text", purpose="Splitting captions into tokens")
        try:
            return library.AutoTokenizer.from_pretrained(os.fspath(self.tokenizer))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise EvaluationError(
                f"The tokenizer {self.tokenizer} is neither here nor to be fetched: {reason}"
            ) from error

    def _embed(self, motion: Tensor) -> Tensor:
        assert self.extractor is not None
        mean, std = self._normal
        normal = ((motion.double() - mean) / std).float()
        # The published program pads to 300 frames, which its mask then hides.
        result: Tensor = self.extractor(normal[None]).mean
        return result


def _cut(motion: Tensor, *, generator: torch.Generator | None) -> Tensor:
    """A generated clip up to 300 frames; of a recorded one whole units, in a third of cases one less, from anywhere."""
    if generator is None:
        return motion[:_MAX_FRAMES]
    length = len(motion) // _UNIT
    if float(torch.rand((), generator=generator)) < 1 / 3:
        length -= 1
    start = int(torch.randint(len(motion) - length * _UNIT + 1, (), generator=generator))
    return motion[start : start + length * _UNIT]


def _caption(path: Path, generator: torch.Generator) -> str:
    """One of the captions of the whole clip; a file of plain text is one caption."""
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not text:
        raise ValueError(f"{path} must hold a caption; it is empty.")
    if "#" not in text:
        return text.splitlines()[0]
    whole = [caption.text for caption in parse_captions(text) if not caption.start_seconds and not caption.end_seconds]
    if not whole:
        raise ValueError(f"{path} must hold a caption of the whole clip; it has captions of parts only.")
    return whole[int(torch.randint(len(whole), (), generator=generator))]


def _repeats_of(name: str, files: Mapping[str, Path]) -> tuple[Path, ...]:
    return tuple(path for key, path in sorted(files.items()) if key.rpartition("_")[0] == name)


def _retrieve(group: list[ClipMeasures]) -> None:
    """Ranks and distances within one batch; of recorded motions too."""
    if not all("text" in clip.samples for clip in group):
        return
    text = torch.cat([clip.samples["text"][0] for clip in group])
    for which in (0, 1):
        motion = torch.cat([clip.features["fid"][which] for clip in group])
        distances = matching_distances(text, motion)
        ranks, own = retrieval_ranks(distances).tolist(), distances.diagonal().double().tolist()
        for clip, rank, distance in zip(group, ranks, own, strict=True):
            values = clip.reference_values if which else clip.values
            values["mm_dist"] = (distance, 1.0)
            values.update({f"r_precision_{k}": (float(rank < k), 1.0) for k in range(1, _TOP + 1)})
