"""Plugin with a model that dies at its twentieth batch, in a way that the config selects."""

import ctypes
import os
import resource
import signal
import sys
import time
from math import prod

import torch
from torch import Tensor, nn

from runner.registry import MODELS


@MODELS.register("deadly")
class Deadly(nn.Module):
    """One hidden layer."""

    def __init__(self, in_shape: tuple[int, ...], out_features: int, death: str = "none", marker: str = "") -> None:
        super().__init__()
        self.death, self.marker, self.batches = death, marker, 0
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(prod(in_shape), 8), nn.ReLU(), nn.Linear(8, out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        self.batches += inputs.device.type != "meta"
        return self.die(outputs) if self.batches == 20 else outputs

    def die(self, outputs: Tensor) -> Tensor:
        rank = os.environ.get("RANK", "0")
        match self.death:
            case "raise":
                raise ValueError("on purpose")
            case "once" if not os.path.exists(self.marker):  # noqa: PTH110
                open(self.marker, "x").close()  # noqa: PTH123
                raise ValueError("the first time")
            case "exit":
                sys.exit(7)
            case "quit":
                os._exit(0)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill rank 0" if rank == "0":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill rank 1 once" if rank == "1" and not os.path.exists(self.marker):  # noqa: PTH110
                open(self.marker, "x").close()  # noqa: PTH123
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise in rank 1" if rank == "1":
                raise ValueError("on purpose")
            case "hang in rank 1" if rank == "1":
                time.sleep(1000)
            case "segfault":
                ctypes.string_at(0)
            case "memory":
                resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
                torch.ones(1 << 33)
            case "hang":
                time.sleep(1000)
            case "stuck":  # in C without releasing the GIL, so no Python thread can run
                ctypes.PyDLL(None).sleep(1000)
            case "diverge":
                return outputs * float("nan")
        return outputs
