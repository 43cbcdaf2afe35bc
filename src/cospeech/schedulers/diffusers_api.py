"""Schedulers for a loop written for diffusers: ``set_timesteps``, ``timesteps``, ``step``, ``add_noise``, ``config``.

A thin coat over the tables of this package, for those who have such a loop; our own samplers need none of it. It keeps
one thing between calls, the table that ``set_timesteps`` made.

Where the number of steps divides the process, steps equal those of diffusers with ``clip_sample=False`` and
``set_alpha_to_one=True``. Elsewhere each step here ends at the timestep that comes next; diffusers rounds the stride
down and ends beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import Self

from cospeech.schedulers.betas import cosine_betas, linear_betas, scaled_linear_betas
from cospeech.schedulers.ddim import ddim_steps
from cospeech.schedulers.ddpm import ddpm_steps, learned_deviation
from cospeech.schedulers.noise_schedule import NoiseSchedule
from cospeech.schedulers.prediction import Prediction, Weights, weigh
from cospeech.schedulers.spacing import leading_spacing, linspace_spacing, trailing_spacing
from cospeech.schedulers.steps import StepTable

__all__ = ["DDIMScheduler", "DDPMScheduler", "SchedulerConfig", "SchedulerOutput"]

_BETAS = {"linear": linear_betas, "scaled_linear": scaled_linear_betas}
_PREDICTIONS: dict[str, Prediction] = {"epsilon": "noise", "sample": "clean", "v_prediction": "velocity"}
_SPACINGS = {"leading": leading_spacing, "trailing": trailing_spacing, "linspace": linspace_spacing}


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Settings under the names and with the defaults of diffusers."""

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    steps_offset: int = 0
    variance_type: Literal["fixed_small", "fixed_large", "learned_range"] = "fixed_small"

    def __post_init__(self) -> None:
        _choose("beta_schedule", self.beta_schedule, (*_BETAS, "squaredcos_cap_v2"))
        _choose("prediction_type", self.prediction_type, _PREDICTIONS)
        _choose("timestep_spacing", self.timestep_spacing, _SPACINGS)
        _choose("variance_type", self.variance_type, ("fixed_small", "fixed_large", "learned_range"))

    def __getitem__(self, name: str) -> Any:
        return asdict(self)[name]

    def schedule(self) -> NoiseSchedule:
        """The full process."""
        if self.beta_schedule == "squaredcos_cap_v2":
            return NoiseSchedule(cosine_betas(self.num_train_timesteps))
        betas = _BETAS[self.beta_schedule]
        return NoiseSchedule(betas(self.num_train_timesteps, start=self.beta_start, end=self.beta_end))


class SchedulerOutput:
    """What a step gives.

    Attributes:
        prev_sample: The next sample; also ``output[0]``.
    """

    __slots__ = ("_prediction", "_sample", "_weights", "prev_sample")

    def __init__(self, prev_sample: Tensor, prediction: Tensor, sample: Tensor, weights: Weights):
        self.prev_sample = prev_sample
        self._prediction, self._sample, self._weights = prediction, sample, weights

    @property
    def pred_original_sample(self) -> Tensor:
        """The clean sample that the prediction implies, worked out when asked for; also ``output[1]``.

        Ask before the sample or the prediction is changed in place.
        """
        return weigh(self._sample, self._prediction, self._weights)

    def __getitem__(self, index: int) -> Tensor:
        return self.pred_original_sample if range(2)[index] else self.prev_sample


class _Scheduler:
    order: ClassVar[int] = 1
    init_noise_sigma: ClassVar[float] = 1.0

    def __init__(self, **settings: Any):
        self.config = SchedulerConfig(**settings)
        self._full = self._schedule = self.config.schedule()
        self._tables: dict[float, StepTable] = {}
        self._clean_weights: dict[int, Weights] = {}
        self.num_inference_steps: int | None = None
        self.timesteps = torch.tensor(self._full.timesteps[::-1])

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | SchedulerConfig, **changes: Any) -> Self:
        """The scheduler of a configuration, ours or of diffusers; what only diffusers has is passed over."""
        given = asdict(config) if isinstance(config, SchedulerConfig) else config
        known = {field.name for field in fields(SchedulerConfig)}
        return cls(**{name: value for name, value in given.items() if name in known} | changes)

    def __len__(self) -> int:
        return self.config.num_train_timesteps

    @property
    def alphas_cumprod(self) -> Tensor:
        """Share of the clean sample's variance left at each timestep."""
        return torch.tensor(self._full.alphas_cumprod)

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        """Choose the timesteps; ``timesteps`` then lists them, noisiest first."""
        picked = _SPACINGS[self.config.timestep_spacing](len(self), num_inference_steps)
        offset = self.config.steps_offset if self.config.timestep_spacing == "leading" else 0
        self._schedule = self._full.respace([timestep + offset for timestep in picked])
        self._tables, self._clean_weights = {}, {}
        self.num_inference_steps = num_inference_steps
        self.timesteps = torch.tensor(self._schedule.timesteps[::-1], device=device)

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:
        """The sample itself: these processes need no scaling."""
        return sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy samples, each at its own timestep ``(B,)``."""
        return self._full.add_noise(original_samples, noise, timesteps)

    @property
    def _prediction(self) -> Prediction:
        return _PREDICTIONS[self.config.prediction_type]

    def _output(self, following: Tensor, prediction: Tensor, timestep: int, sample: Tensor) -> SchedulerOutput:
        if timestep not in self._clean_weights:
            self._clean_weights[timestep] = self._schedule.mixture(timestep).weights(self._prediction, "clean")
        return SchedulerOutput(following, prediction, sample, self._clean_weights[timestep])


class DDIMScheduler(_Scheduler):
    """Implicit sampling.

    Example:
        >>> scheduler = DDIMScheduler()
        >>> scheduler.set_timesteps(10)
        >>> sample = torch.randn(1, 64, 330)
        >>> for timestep in scheduler.timesteps:
        ...     sample = scheduler.step(0.1 * sample, timestep, sample).prev_sample
        >>> sample.shape
        torch.Size([1, 64, 330])
    """

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        *,
        generator: torch.Generator | None = None,
        variance_noise: Tensor | None = None,
    ) -> SchedulerOutput:
        """The next sample.

        Args:
            model_output: What the network made of ``sample``.
            timestep: One of ``timesteps``.
            sample: Where the step starts.
            eta: Share of fresh noise.
            generator: Where noise comes from.
            variance_noise: The noise itself, instead.

        Raises:
            ValueError: If ``timesteps`` does not list the timestep.
        """
        timestep = int(timestep)
        if eta not in self._tables:
            self._tables[eta] = ddim_steps(self._schedule, prediction=self._prediction, eta=eta)
        table = self._tables[eta]
        noise = _noise(sample, generator, variance_noise) if table.takes_noise(timestep) else None
        following = table.step(model_output, timestep, sample, noise)
        return self._output(following, model_output, timestep, sample)


class DDPMScheduler(_Scheduler):
    """Ancestral sampling, with fixed or learned variance; see ``DDIMScheduler``."""

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        *,
        generator: torch.Generator | None = None,
        variance_noise: Tensor | None = None,
    ) -> SchedulerOutput:
        """The next sample; a network that learned the variance gives it in a second half of axis 1.

        Args:
            model_output: What the network made of ``sample``.
            timestep: One of ``timesteps``.
            sample: Where the step starts.
            generator: Where noise comes from.
            variance_noise: The noise itself, instead.

        Raises:
            ValueError: If ``timesteps`` does not list the timestep.
        """
        timestep = int(timestep)
        learned = self.config.variance_type == "learned_range"
        if learned:
            model_output, fraction = model_output.chunk(2, dim=1)
        if 0.0 not in self._tables:
            self._tables[0.0] = ddpm_steps(
                self._schedule,
                prediction=self._prediction,
                temperature=0.0 if learned else 1.0,
                variance="large" if self.config.variance_type == "fixed_large" else "small",
            )
        table = self._tables[0.0]
        is_last = self._schedule.level(timestep) == 0
        noise = None if is_last else _noise(sample, generator, variance_noise)
        following = table.step(model_output, timestep, sample, noise)
        if learned and noise is not None:
            following = following + learned_deviation(self._schedule, timestep, fraction) * noise
        return self._output(following, model_output, timestep, sample)


def _noise(sample: Tensor, generator: torch.Generator | None, given: Tensor | None) -> Tensor:
    if given is not None:
        return given
    device = sample.device if generator is None else generator.device
    return torch.randn(sample.shape, generator=generator, device=device, dtype=sample.dtype).to(sample.device)


def _choose(name: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise ValueError(f"Unknown {name} {value!r}; choose from {', '.join(choices)}.")
