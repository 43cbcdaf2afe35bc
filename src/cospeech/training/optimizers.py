"""Optimizers and learning rates by their configurations."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from cospeech.training.config import OptimizerConfig, ScheduleConfig

__all__ = ["make_optimizer", "rate_factor"]


def make_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig, *, fused: bool = True
) -> torch.optim.Optimizer:
    """The optimizer over the parameters that are trained.

    Args:
        parameters: Those that want no gradient are left out.
        config: The rule.
        fused: Whether a step is one fused pass. False with a scaler of gradients: a fused step hears of an overflow
            inside, after SGD has made its momentum of memory that nobody wrote (torch 2.13). Spread parameters have no
            fused SGD.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    rate, decay = config.learning_rate, config.weight_decay
    if config.name == "sgd":
        fused = fused and not any(hasattr(parameter, "full_tensor") for parameter in trained)
        return torch.optim.SGD(trained, lr=rate, weight_decay=decay, momentum=config.betas[0], fused=fused)
    rule = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return rule(trained, lr=rate, weight_decay=decay, betas=config.betas, fused=fused)


def rate_factor(step: int, total_steps: int, config: ScheduleConfig) -> float:
    """What the learning rate is multiplied by in optimizer step ``step``, from 0.

    Example:
        >>> cosine = ScheduleConfig(name="cosine", warmup_steps=4)
        >>> [round(rate_factor(step, 40, cosine), 2) for step in (0, 2, 4, 22, 40)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if step < config.warmup_steps:
        return config.warmup_start + (1 - config.warmup_start) * step / config.warmup_steps
    if config.name == "cosine":
        share = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
        return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    if config.name == "milestones":
        return config.factor ** sum(step >= milestone for milestone in config.milestones)
    return 1.0
