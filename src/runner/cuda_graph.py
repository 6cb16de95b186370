"""A model's passes as CUDA graphs: recorded once, then each started by one call instead of one a kernel."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from runner.errors import ConfigError
from runner.experiment import Experiment


class _Whole(nn.Module):
    """The model under another name: torch replaces the forward of what it records, and the model keeps its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.model(inputs)
        return outputs


def record(exp: Experiment) -> Callable[[Tensor], Tensor]:
    """The model's forward in training, recorded together with its backward for full batches.

    A batch of another size, as the last of an epoch may be, goes through the model itself. Recording runs the model
    a few times; its weights and buffers are put back.

    Raises:
        ConfigError: the model does what cannot be recorded, such as to read a number from the device.
    """
    shape = torch.Size((exp.train.size, *exp.spec.in_shape))
    before = copy.deepcopy(exp.model.state_dict())
    exp.model.train()
    try:
        with exp.autocast(cache_enabled=False):
            sample = torch.zeros(shape, device=exp.device)
            recorded: Any = torch.cuda.make_graphed_callables(_Whole(exp.model), (sample,))
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"trainer.cuda_graph: model={exp.config.model.name} cannot be recorded: {error}") from error
    exp.model.load_state_dict(before)
    return lambda inputs: recorded(inputs) if inputs.shape == shape else exp.model(inputs)
