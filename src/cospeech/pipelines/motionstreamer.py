"""MotionStreamer end to end: prompts in, motion out, whole clips or streams that follow what is said as it is said.

A latent is four frames. It is drawn, decoded and handed out before the next one is begun, with all state carried, so
the wait is that of one latent and does not grow; when the text changes the last latents are read again once.

Reference:
    Xiao et al., "MotionStreamer: Streaming Motion Generation via Diffusion-based Autoregressive Model in Causal Latent
    Space", ICCV 2025.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from cospeech._checks import check_shape
from cospeech.errors import CheckpointError
from cospeech.hub import (
    config_from_dict,
    config_to_dict,
    load_model,
    load_published,
    load_tensors,
    resolve,
    save_model,
    save_tensors,
)
from cospeech.hub.convert.motionstreamer import causal_tae_from_published, motionstreamer_from_published
from cospeech.models import (
    CausalTAE,
    GeneratorState,
    MotionStreamer,
    MotionStreamerGenerator,
    motionstreamer_steps,
    optimize_motionstreamer,
)
from cospeech.motion import Motion
from cospeech.nn.optimization import Precision
from cospeech.pipelines.index import INDEX_FILE, read_index, write_index
from cospeech.pipelines.motionstreamer_published import (
    PUBLISHED_END_LATENT,
    is_published_motionstreamer,
    load_published_motionstreamer,
    load_published_tae,
)
from cospeech.pipelines.motionstreamer_settings import MotionStreamerSettings, TextPrompt
from cospeech.pipelines.pipeline import MotionPipeline
from cospeech.representations import FeatureStats, RootState, Streamer272
from cospeech.samplers import autoregress, draw_noise, is_end_latent

__all__ = ["MotionStreamerPipeline"]

TENSORS_FILE = "tensors.safetensors"
Embed = Callable[[Sequence[str]], Tensor]


class DecoderState(NamedTuple):
    """Where the decoded motion has come to: the autoencoder's convolutions, and heading and path."""

    convolutions: tuple[Any, ...]
    root: RootState


class MotionStreamerPipeline(MotionPipeline):
    """Text to motion.

    Args:
        model: Transformer and diffusion head.
        tae: The causal autoencoder.
        stats: Of the features, which the autoencoder was trained on.
        embed: Makes embeddings of texts, such as ``cospeech.text.SentenceEmbedder()``; None admits embeddings only.
        empty_text: Embedding of the empty text, ``(C,)``; by default ``embed`` is asked. Needed under guidance.
        end_latent: What says the end, ``(C,)``; None has prompts last as long as they are told, or ``max_seconds``.
        settings: How latents are drawn.

    Attributes:
        rate_hz: Frames per second of the motion.
    """

    rate_hz = 30.0

    def __init__(
        self,
        model: MotionStreamer,
        tae: CausalTAE,
        stats: FeatureStats,
        *,
        embed: Embed | None = None,
        empty_text: Tensor | None = None,
        end_latent: Tensor | None = None,
        settings: MotionStreamerSettings | None = None,
    ):
        if model.config.latent_dim != tae.config.latent_dim:
            raise ValueError(
                f"Model and autoencoder must agree on `latent_dim`; got {model.config.latent_dim} and "
                f"{tae.config.latent_dim}."
            )
        check_shape("stats.mean", stats.mean, f"{tae.config.motion_dim}")
        if end_latent is not None:
            check_shape("end_latent", end_latent, f"{model.config.latent_dim}")
        self.model, self.tae, self.stats, self.embed = model.eval(), tae.eval(), stats, embed
        self.settings = settings = settings or MotionStreamerSettings()
        self.empty_text, self.end_latent = empty_text, end_latent
        self.representation = Streamer272(rate_hz=self.rate_hz)
        steps = motionstreamer_steps(
            settings.num_steps,
            num_timesteps=model.config.num_timesteps,
            solver=settings.solver,
            temperature=settings.temperature,
        )
        self.generator = MotionStreamerGenerator(
            model, steps=steps, guidance_scale=settings.guidance_scale, history_latents=settings.history_latents
        )

    def __call__(self, prompt: str | Tensor, *, seconds: float | None = None, seed: int = 0) -> Motion:
        """The motion of one prompt.

        Args:
            prompt: A sentence, or its embedding ``(C,)``.
            seconds: How long; by default the model says, or ``max_seconds``.
            seed: The same seed gives the same motion.

        Raises:
            ValueError: If a text is given and there is nothing to embed it with, or the time is not positive.
        """
        return self.batch([prompt], seconds=[seconds], seeds=[seed])[0]

    @torch.no_grad()
    def batch(
        self,
        prompts: Sequence[str | Tensor],
        *,
        seconds: Sequence[float | None] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[Motion]:
        """The motions of several prompts, drawn side by side; one that is over is not computed further.

        Each depends on its own seed alone.

        Args:
            prompts: Sentences or embeddings.
            seconds: For each how long.
            seeds: One for each; 0 by default.
        """
        seconds = [None] * len(prompts) if seconds is None else seconds
        seeds = [0] * len(prompts) if seeds is None else seeds
        if not len(prompts) == len(seconds) == len(seeds):
            raise ValueError(
                f"`seconds` and `seeds` must be one for each of {len(prompts)} prompts; "
                f"got {len(seconds)} and {len(seeds)}."
            )
        most = [self._num_latents(limit) for limit in seconds]
        noise = [torch.Generator().manual_seed(seed) for seed in seeds]
        state = self._begin(torch.stack([self._embedding(prompt) for prompt in prompts]))
        latents: list[list[Tensor]] = [[] for _ in prompts]
        running = list(range(len(prompts)))  # which prompt each row of the state belongs to
        while running:
            latent = self.generator.sample(state.condition, self._draw([noise[i] for i in running]))
            ends, going = self._says_end(latent), []
            for row, i in enumerate(running):
                if seconds[i] is None and latents[i] and ends[row]:
                    continue
                latents[i].append(latent[row])
                if len(latents[i]) < most[i]:
                    going.append(row)
            if not going:
                break
            if len(going) < len(running):
                state, latent = self.generator.select(state, going), latent[going]
            running = [running[row] for row in going]
            state = self.generator.extend(state, latent)
        return [self._motion(torch.stack(drawn)[None]) for drawn in latents]

    def stream(self, prompts: Iterable[TextPrompt | str | Tensor], *, seed: int = 0) -> Iterator[Motion]:
        """The motion of one prompt after the other, four frames at a time, each as soon as it is known.

        Args:
            prompts: Read one by one, so they may be waited for; each goes on from the motion of the one before.
            seed: The same seed and prompts give the same motion.

        Yields:
            Consecutive pieces, without overlap.
        """
        state: GeneratorState | None = None
        decoder, draw = self._init_decoder(), self._draw([torch.Generator().manual_seed(seed)])
        for given in prompts:
            prompt = given if isinstance(given, TextPrompt) else TextPrompt(given)
            text = self._embedding(prompt.text)[None]
            state = self._begin(text) if state is None else self.generator.change_text(state, text)
            latents = self._follow(state, prompt, draw)
            while True:
                try:
                    latent = next(latents)
                except StopIteration as over:
                    state = over.value
                    break
                motion, decoder = self._decode(latent[:, None], decoder)
                yield motion

    def to(self, device: torch.device | str) -> Self:
        """This pipeline on another device."""
        # Copies, since a module's own `to` moves it: this pipeline stays where it is.
        model, tae = copy.deepcopy((self.model, self.tae))
        return self._with(model.to(device), tae.to(device))

    def optimize(self, *, precision: Precision = "float32") -> Self:
        """This pipeline with the fastest linear layers found on this machine; see ``cospeech.nn.optimize``."""
        fast = optimize_motionstreamer(self.model, precision=precision, num_steps=self.settings.num_steps)
        return self._with(fast, self.tae)

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write networks, statistics and settings to a folder that ``from_pretrained`` reads; the embedder is not kept.

        Args:
            folder: Where to; made if missing.
            dtype: To store weights in; they are float32 again when read.
        """
        folder = Path(folder)
        save_model(self.model, folder / "model", dtype=dtype)
        save_model(self.tae, folder / "tae", dtype=dtype)
        kept = {"mean": self.stats.mean, "std": self.stats.std, "end_latent": self.end_latent}
        kept["empty_text"] = self._empty() if self.generator.guidance_scale != 1 else self.empty_text
        save_tensors({name: tensor for name, tensor in kept.items() if tensor is not None}, folder / TENSORS_FILE)
        write_index(folder, type(self), config_to_dict(self.settings))

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        embed: Embed | None = None,
        revision: str | None = None,
        device: torch.device | str = "cpu",
    ) -> Self:
        """The pipeline that ``save_pretrained`` wrote, or the published one.

        Args:
            name_or_path: A folder or a Hub repository; also the published ``"lxxiao/MotionStreamer"``, or a folder laid
                out like it.
            embed: As for the constructor.
            revision: Branch, tag or commit of a Hub repository.
            device: Where the networks shall be.

        Raises:
            ModelNotFoundError: If nothing has that name.
            CheckpointError: If what is there is damaged, or no such pipeline.
        """
        if is_published_motionstreamer(name_or_path):
            model = load_published_motionstreamer(name_or_path, revision=revision)
            tae, stats, end = load_published_tae(name_or_path, revision=revision)
            end = None if end is None else end.to(device)
            return cls(model.to(device), tae.to(device), stats.to(device), embed=embed, end_latent=end)
        folder = resolve(name_or_path, revision=revision)
        settings = config_from_dict(MotionStreamerSettings, read_index(folder, cls), source=str(folder / INDEX_FILE))
        tensors = load_tensors(folder / TENSORS_FILE)
        if not {"mean", "std"} <= tensors.keys() <= {"mean", "std", "end_latent", "empty_text"}:
            raise CheckpointError(f"{folder / TENSORS_FILE} must hold `mean` and `std`; got {', '.join(tensors)}.")
        return cls(
            load_model(MotionStreamer, folder / "model").to(device),
            load_model(CausalTAE, folder / "tae").to(device),
            FeatureStats(tensors.pop("mean"), tensors.pop("std")).to(device),
            embed=embed,
            settings=settings,
            **{name: tensor.to(device) for name, tensor in tensors.items()},
        )

    @classmethod
    def from_published(
        cls,
        *,
        model_file: str | os.PathLike[str],
        tae_file: str | os.PathLike[str],
        stats: FeatureStats,
        end_latent: Tensor | None = None,
        embed: Embed | None = None,
        empty_text: Tensor | None = None,
        settings: MotionStreamerSettings | None = None,
    ) -> Self:
        """The pipeline of the files of ``lxxiao/MotionStreamer``, read without executing anything in them.

        Args:
            model_file: ``Experiments/t2m_model/latest.pth``.
            tae_file: ``Causal_TAE/net_last.pth``, or that of ``Causal_TAE_t2m_babel``.
            stats: ``Mean.npy`` and ``Std.npy`` of the data set, which lie in its repository.
            end_latent: ``reference_end_latent_t2m_272.npy``; by default the published numbers, which belong to
                ``Causal_TAE``. None are published for the other autoencoder.
            embed: As for the constructor.
            empty_text: As for the constructor.
            settings: As for the constructor.

        Raises:
            CheckpointError: If a file cannot be read, or its weights do not fit.
        """
        return cls(
            motionstreamer_from_published(load_published(model_file)),
            causal_tae_from_published(load_published(tae_file)),
            stats,
            embed=embed,
            empty_text=empty_text,
            end_latent=torch.tensor(PUBLISHED_END_LATENT) if end_latent is None else end_latent,
            settings=settings,
        )

    def _with(self, model: MotionStreamer, tae: CausalTAE) -> Self:
        device = tae.encoder.project.weight.device
        empty, end = (None if x is None else x.to(device) for x in (self.empty_text, self.end_latent))
        return type(self)(
            model,
            tae,
            self.stats.to(device),
            embed=self.embed,
            empty_text=empty,
            end_latent=end,
            settings=self.settings,
        )

    def _follow(
        self, state: GeneratorState, prompt: TextPrompt, draw: Callable[[], Tensor]
    ) -> Generator[Tensor, None, GeneratorState]:
        """Latents ``(1, C)`` of one prompt; the state after the last."""
        count = 0

        def is_over(latent: Tensor) -> bool:
            nonlocal count
            count += 1  # a prompt moves for one latent at least: the published program fails where it ends at once
            return prompt.seconds is None and count > 1 and bool(self._says_end(latent)[0])

        return autoregress(
            lambda state: self.generator.sample(state.condition, draw),
            self.generator.extend,
            state,
            max_pieces=self._num_latents(prompt.seconds),
            stop=is_over,
        )

    def _begin(self, text: Tensor) -> GeneratorState:
        return self.generator.init_state(text, empty_text=None if self.generator.guidance_scale == 1 else self._empty())

    def _empty(self) -> Tensor:
        if self.empty_text is None:
            self.empty_text = self._embedding("")
        return self.empty_text

    def _embedding(self, text: str | Tensor) -> Tensor:
        if isinstance(text, str):
            if self.embed is None:
                raise ValueError(
                    "Texts need an embedder: pass `embed=cospeech.text.SentenceEmbedder()`, "
                    "or embeddings in their place."
                )
            text = self.embed([text])[0]
        check_shape("text", text, f"{self.model.config.text_dim}")
        return text.to(self.model.transformer.norm.weight)

    def _num_latents(self, seconds: float | None) -> int:
        seconds = self.settings.max_seconds if seconds is None else seconds
        if not seconds > 0 or not math.isfinite(seconds):
            raise ValueError(f"`seconds` must be positive; got {seconds}.")
        return max(1, math.ceil(round(seconds * self.rate_hz, 6) / self.tae.config.stride))

    def _says_end(self, latent: Tensor) -> Tensor:
        if self.end_latent is None:
            return torch.zeros(len(latent), dtype=torch.bool)
        return is_end_latent(latent, self.end_latent.to(latent), threshold=self.settings.end_threshold)

    def _draw(self, generators: Sequence[torch.Generator]) -> Callable[[], Tensor]:
        """Noise of one row for each generator; they are the CPU's, so it is the same on every device."""
        weight = self.model.transformer.norm.weight
        shape = (len(generators), self.model.config.latent_dim)
        return lambda: draw_noise(shape, generators, dtype=weight.dtype, device=weight.device)

    def _init_decoder(self) -> DecoderState:
        # Heading and path add up in float64: a stream may last for hours.
        return DecoderState(self.tae.decoder.init_state(1), self.representation.init_state(self.stats.mean))

    @torch.no_grad()
    def _decode(self, latents: Tensor, state: DecoderState) -> tuple[Motion, DecoderState]:
        frames, convolutions = self.tae.decoder.step(latents, state.convolutions)
        motion, root = self.representation.step(self.stats.denormalize(frames[0]), state.root)
        return motion.to(dtype=torch.float32), DecoderState(convolutions, root)

    def _motion(self, latents: Tensor) -> Motion:
        return self._decode(latents, self._init_decoder())[0]
