"""Forward and backward passes as CUDA graphs: captured once, then replayed with one launch each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from runner.errors import RunnerError
from runner.machine.seeds import restore_rng_state, rng_state
from runner.training.parts import Parts


class _Whole(nn.Module):
    """A wrapper around the model: torch replaces `forward` of the captured module, but the model must keep its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)


def tensors_of(model: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers."""
    return [*model.parameters(), *model.buffers()]


def record(parts: Parts) -> Callable[[Tensor], Tensor]:
    """Capture the model's forward and backward passes for full training batches.

    A batch of any other size, such as the last one of an epoch, goes through the model itself. The capture runs the
    model a few times; the weights, buffers and random number generators are restored afterwards. The gradients are in
    the graph's memory, where the next batch overwrites them.

    Args:
        parts: parts of a run on a CUDA device.

    Returns:
        A function from inputs to outputs, to be called instead of the model during training.

    Raises:
        RunnerError: the model cannot be captured, for example because it reads a value from the device.
    """
    samples = len(parts.world.share(torch.arange(parts.train.size)))
    shape = torch.Size((samples, *parts.spec.in_shape))
    tensors = tensors_of(parts.model)
    before, random = [tensor.detach().clone() for tensor in tensors], rng_state(parts.device)
    parts.model.train()
    try:
        with parts.autocast(cache_enabled=False):
            sample = torch.zeros(shape, device=parts.device)
            recorded: Any = torch.cuda.make_graphed_callables(_Whole(parts.model), (sample,))
        if any(now is not then for now, then in zip(tensors_of(parts.model), tensors, strict=True)):
            raise RuntimeError("a buffer is replaced instead of updated in place")
    except (RuntimeError, AssertionError) as error:
        raise RunnerError(
            f"trainer.cuda_graph: model={parts.config.model.name} cannot be captured: {error}; "
            "set trainer.cuda_graph=false"
        ) from error
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
    restore_rng_state(random, parts.device)
    return lambda inputs: recorded(inputs) if inputs.shape == shape else parts.model(inputs)
