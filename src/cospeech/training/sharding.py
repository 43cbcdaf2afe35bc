"""One network spread over several processes: each holds its share of weights, gradients, moments and average.

This is torch's fully sharded data parallelism (``fully_shard``, "FSDP2"), put on by the loop itself and not by
Accelerate, whose own does nothing on a CPU: so what a test on two CPU processes shows is what GPUs run. The network is
gathered as one piece for each pass, since networks here reach into their layers from outside (modulations that are
computed once, states of streams), where layers gathered one by one would not be whole.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cospeech.training.config import ConfigError
from cospeech.training.task import TrainingTask

__all__ = ["WholeModel", "gathered", "release", "shard", "share_buffers"]


def shard(module: nn.Module, device: torch.device) -> None:
    """Spread the parameters of a module over all processes; make its optimizer afterwards.

    Args:
        module: Changed in place: its parameters become ``DTensor``, whole only within its ``forward`` and until the
            backward pass, or ``release`` where there is none.
        device: Where it is.

    Raises:
        ConfigError: If this torch cannot.
    """
    from torch.distributed.device_mesh import init_device_mesh

    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise ConfigError(f"`run.shard` must be false with torch older than 2.6; got {torch.__version__}.") from error

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    fully_shard(module, mesh=mesh, reshard_after_forward=False)


def release(module: nn.Module) -> None:
    """Give up the whole weights that passes without a backward pass have left in a module that ``shard`` spread."""
    from torch.distributed.fsdp import FSDPModule

    assert isinstance(module, FSDPModule)
    module.reshard()


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a tensor that is spread over processes, all of which must call this; others as they are."""
    whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole.detach()


@torch.no_grad()
def share_buffers(module: nn.Module) -> None:
    """Give all processes the buffers of the first: codebooks, running means.

    ``DistributedDataParallel`` does so before the first pass of each step; so does the loop where it is not there.
    """
    kept = module.state_dict().keys()
    for name, buffer in module.named_buffers():
        if name in kept:
            torch.distributed.broadcast(buffer, 0)


class WholeModel:
    """A copy of a task's model that is never spread, for samples and for the finished model.

    Args:
        task: Before its model is spread or otherwise changed.
    """

    def __init__(self, task: TrainingTask):
        self._task, self.model = task, copy.deepcopy(task.model)

    @contextmanager
    def in_place(self, device: torch.device) -> Iterator[None]:
        """Within the block the task's model is the copy, with the weights of now; all processes must come here."""
        spread = self._task.model
        self._fill(spread)
        self._task.model = self.model.to(device).eval()
        try:
            yield
        finally:
            self._task.model = spread
            self.model.to("cpu")

    def finish(self) -> nn.Module:
        """The copy, with the weights of now, for good; all processes must come here."""
        self._fill(self._task.model)
        self._task.model = self.model
        return self.model

    @torch.no_grad()
    def _fill(self, spread: nn.Module) -> None:
        mine = self.model.state_dict()
        for name, tensor in spread.state_dict().items():
            mine[name].copy_(gathered(tensor))
