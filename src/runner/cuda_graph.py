"""A model's passes as CUDA graphs: recorded once, then each started by one call instead of one a kernel."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from runner.determinism import restore_rng_state, rng_state
from runner.errors import RunnerError
from runner.experiment import Experiment


class _Whole(nn.Module):
    """The model under another name: torch replaces the forward of what it records, and the model keeps its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.model(inputs)
        return outputs


def tensors_of(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def record(exp: Experiment) -> Callable[[Tensor], Tensor]:
    """The model's forward in training, recorded together with its backward for full batches.

    A batch of another size, as the last of an epoch may be, goes through the model itself. Recording runs the model
    a few times; its weights and buffers and the random numbers are put back. The gradients are the recording's own
    tensors, which the next batch overwrites: they must be used before it comes.

    Raises:
        RunnerError: the model does what cannot be recorded, such as to read a number from the device.
    """
    samples = len(exp.world.share(torch.arange(exp.train.size)))
    shape = torch.Size((samples, *exp.spec.in_shape))
    tensors = tensors_of(exp.model)
    before, random = [tensor.detach().clone() for tensor in tensors], rng_state(exp.device)
    exp.model.train()
    try:
        with exp.autocast(cache_enabled=False):
            sample = torch.zeros(shape, device=exp.device)
            recorded: Any = torch.cuda.make_graphed_callables(_Whole(exp.model), (sample,))
        if any(now is not then for now, then in zip(tensors_of(exp.model), tensors, strict=True)):
            raise RuntimeError("it replaces a buffer instead of changing it in place")
    except (RuntimeError, AssertionError) as error:
        raise RunnerError(f"trainer.cuda_graph: model={exp.config.model.name} cannot be recorded: {error}") from error
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
    restore_rng_state(random, exp.device)
    return lambda inputs: recorded(inputs) if inputs.shape == shape else exp.model(inputs)
