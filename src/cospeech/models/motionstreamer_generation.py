"""Drawing latents with MotionStreamer, one by one and for as long as wanted.

The state is a value: what text is being followed, the latents so far, the transformer's caches. ``step`` draws the next
latent; ``change_text`` goes on from the same motion under another text, reading it again once, as the published
streaming program does.

The published programs end at 78 positions. Here a full sequence slides: the last ``history_latents`` are read again as
the history of the same text, which is what the published streaming program does with the motion before a new text, so
the network only ever sees sequences such as it was trained on. At the default, 38 latents, this happens every 39
latents and costs about two of the transformer's steps each time, spread over 39.

Reference:
    Xiao et al., "MotionStreamer: Streaming Motion Generation via Diffusion-based Autoregressive Model in Causal Latent
    Space", ICCV 2025; ``sample_for_eval_CFG_inference`` and ``sample_for_eval_CFG_babel_inference_new`` of its program.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.models.motionstreamer import MotionStreamer
from cospeech.nn import KeyValueCache, optimize
from cospeech.nn.optimization import Precision
from cospeech.samplers import Predict, denoise, guide_batched
from cospeech.schedulers import NoiseSchedule, StepTable, cosine_betas, ddim_steps, ddpm_steps, linspace_spacing

__all__ = ["GeneratorState", "MotionStreamerGenerator", "motionstreamer_steps", "optimize_motionstreamer"]


class GeneratorState(NamedTuple):
    """Where a batch of streams has come to.

    Attributes:
        text: Embeddings being followed, and behind them, under guidance, as many of the empty text, ``(R, C')``.
        latents: The last latents, at most as many as are ever read again, ``(B, n, C)``.
        condition: Of the next latent, ``(R, C'')``.
        caches: Of the transformer, ``R`` rows; spent by a step.
    """

    text: Tensor
    latents: Tensor
    condition: Tensor
    caches: tuple[KeyValueCache, ...]


class MotionStreamerGenerator:
    """Next latents, drawn with classifier-free guidance.

    Args:
        model: In evaluation mode.
        steps: How the head samples; by default the published 50 ancestral steps. Any table will do whose clock and
            prediction the head was trained for, such as those of a flow.
        guidance_scale: 4 for text to motion and 4.5 for streams in the published programs; 1 is no guidance, at half
            the cost.
        history_latents: How many latents are read again when all positions are taken; by default half of them, 38.

    Raises:
        ValueError: If the history leaves no position free.

    Example:
        >>> from cospeech.models import MotionStreamerConfig
        >>> config = MotionStreamerConfig(
        ...     dim=16, num_layers=1, num_heads=2, feedforward_dim=32, head_dim=16, head_layers=1, max_positions=8
        ... )
        >>> generator = MotionStreamerGenerator(MotionStreamer(config).eval(), history_latents=3)
        >>> state = generator.init_state(torch.randn(1, 768), empty_text=torch.zeros(768))
        >>> for _ in range(20):  # longer than the positions there are
        ...     latent, state = generator.step(state, draw=lambda: torch.randn(1, 16))
        >>> latent.shape
        torch.Size([1, 16])
    """

    def __init__(
        self,
        model: MotionStreamer,
        *,
        steps: StepTable | None = None,
        guidance_scale: float = 4.0,
        history_latents: int | None = None,
    ):
        if history_latents is None:
            history_latents = (model.config.max_positions - 2) // 2
        if not 0 <= history_latents <= model.config.max_positions - 2:
            raise ValueError(
                f"`history_latents` must lie in 0..{model.config.max_positions - 2}; got {history_latents}."
            )
        self.model, self.guidance_scale, self.history_latents = model, guidance_scale, history_latents
        self.steps = steps or motionstreamer_steps(num_timesteps=model.config.num_timesteps)
        device = model.transformer.norm.weight.device
        with torch.no_grad():  # the same for every latent
            self._times = model.head.embed_times(torch.tensor(self.steps.clock, device=device))
        self._index_of = {time: index for index, time in enumerate(self.steps.clock)}

    @torch.no_grad()
    def init_state(
        self, text: Tensor, *, empty_text: Tensor | None = None, history: Tensor | None = None
    ) -> GeneratorState:
        """The state before the first latent.

        Args:
            text: Sentence embeddings, ``(B, C')``.
            empty_text: Embedding of the empty text, ``(C',)``; needed under guidance.
            history: Latents of the motion to go on from, ``(B, n, C)``; at most as many as there are positions.

        Raises:
            ValueError: If a shape does not fit, or guidance lacks its empty text.
        """
        config = self.model.config
        check_shape("text", text, f"B {config.text_dim}")
        if self.guidance_scale != 1:
            if empty_text is None:
                raise ValueError("Guidance needs `empty_text`, the embedding of the empty text.")
            check_shape("empty_text", empty_text, f"{config.text_dim}")
            text = torch.cat([text, empty_text.expand_as(text)])
        if history is None:
            history = text.new_zeros(len(text) // self._copies, 0, config.latent_dim)
        return self._begin(text, history)

    @torch.no_grad()
    def step(self, state: GeneratorState, draw: Callable[[], Tensor]) -> tuple[Tensor, GeneratorState]:
        """Draw the next latent ``(B, C)``; the state passed in is spent.

        Args:
            state: From ``init_state``, ``change_text`` or the step before.
            draw: Makes standard normal noise ``(B, C)``: once for the start, then for each step that takes some.
        """
        latent = self.sample(state.condition, draw)
        return latent, self.extend(state, latent)

    @torch.no_grad()
    def sample(self, condition: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        """A latent ``(B, C)`` under conditions ``(R, C'')``, those of the empty text behind the others."""
        conditioning = self.model.head.prepare(condition, self._times)

        def predict(noisy: Tensor, time: float) -> Tensor:
            return self.model.head.denoise(noisy, conditioning, self._index_of[time])

        guided: Predict = predict if self._copies == 1 else guide_batched(predict, self.guidance_scale)
        return denoise(guided, draw(), self.steps, draw=draw)

    @torch.no_grad()
    def extend(self, state: GeneratorState, latent: Tensor) -> GeneratorState:
        """The state after a latent ``(B, C)``; where all positions are taken, the last latents are read again."""
        latents = torch.cat([state.latents, latent[:, None]], dim=1)
        if state.caches[0].length == self.model.config.max_positions:
            return self._begin(state.text, latents[:, latents.shape[1] - self.history_latents :])
        condition, caches = self.model.transformer.step(latent.repeat(self._copies, 1), state.caches)
        return GeneratorState(state.text, latents, condition, caches)

    @torch.no_grad()
    def select(self, state: GeneratorState, streams: Sequence[int]) -> GeneratorState:
        """The state of some of the streams, in this order: what has ended need not be computed further."""
        kept = torch.tensor(streams, device=state.latents.device)
        rows = torch.cat([kept + i * len(state.latents) for i in range(self._copies)])
        caches = tuple(KeyValueCache(cache.key[rows], cache.value[rows], cache.length) for cache in state.caches)
        return GeneratorState(state.text[rows], state.latents[kept], state.condition[rows], caches)

    @torch.no_grad()
    def change_text(self, state: GeneratorState, text: Tensor) -> GeneratorState:
        """The same motion, going on under another text ``(B, C')``: its last latents are read again once."""
        num_texts = len(state.text) // self._copies
        check_shape("text", text, f"{num_texts} {self.model.config.text_dim}")
        kept = min(self.history_latents, state.latents.shape[1])
        return self._begin(torch.cat([text, state.text[num_texts:]]), state.latents[:, state.latents.shape[1] - kept :])

    @property
    def _copies(self) -> int:
        return 1 if self.guidance_scale == 1 else 2

    def _begin(self, text: Tensor, latents: Tensor) -> GeneratorState:
        condition, caches = self.model.transformer.begin(text, latents.repeat(self._copies, 1, 1))
        return GeneratorState(text, latents, condition, caches)


def motionstreamer_steps(
    num_steps: int | None = None, *, num_timesteps: int = 50, solver: str = "ddpm", temperature: float = 1.0
) -> StepTable:
    """How the published head may be sampled.

    Fewer steps than timesteps begin one timestep below the last. There the published schedule leaves a thousandth of
    the clean latent, which the first step divides by; a longer stride from there carries the error on instead of
    covering it with fresh noise. On the model of ``examples/train_motionstreamer.py`` 20 steps from the last timestep
    give latents thirty times too large, and five from the one below are as good as fifty.

    Args:
        num_steps: Steps; by default as many as there are timesteps, as published.
        num_timesteps: Of the process that the head was trained on.
        solver: "ddpm", ancestral as published, or "ddim", which takes no noise but the first.
        temperature: Factor on the noise of every ancestral step.

    Raises:
        ValueError: If the solver is unknown.

    Example:
        >>> motionstreamer_steps(5, solver="ddim").clock
        (48, 36, 24, 12, 0)
    """
    schedule = NoiseSchedule(cosine_betas(num_timesteps))
    if num_steps is not None and num_steps != num_timesteps:
        schedule = schedule.respace(linspace_spacing(num_timesteps - 1, num_steps))
    if solver == "ddpm":
        return ddpm_steps(schedule, temperature=temperature)
    if solver == "ddim":
        return ddim_steps(schedule)
    raise ValueError(f"Unknown solver {solver!r}; choose from ddpm, ddim.")


def optimize_motionstreamer(
    model: MotionStreamer, *, precision: Precision = "float32", streams: int = 1, num_steps: int = 50
) -> MotionStreamer:
    """A copy for inference whose linear layers run the fastest way found; see ``cospeech.nn.optimize``.

    Most layers see one row per stream and text, those that make the modulations of all steps as many times more.

    Args:
        model: Left as it is.
        precision: The least precision that is acceptable.
        streams: How many streams run side by side, with guidance.
        num_steps: Of the sampler.
    """
    fast = copy.deepcopy(model, memo={id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    rows = 2 * streams
    fast.transformer = optimize(model.transformer, precision=precision, rows=rows)
    head = model.head
    fast.head.feedforwards = optimize(head.feedforwards, precision=precision, rows=rows)
    fast.head.modulations = optimize(head.modulations, precision=precision, rows=rows * num_steps)
    fast.head.final_modulation = optimize(head.final_modulation, precision=precision, rows=rows * num_steps)
    return fast.eval()
