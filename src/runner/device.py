"""Which device a run computes on."""

import torch

from runner.errors import ConfigError
from runner.ranks import local_rank, local_size, world_size


def available() -> list[str]:
    """The names of the devices of this machine, fastest first."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve(name: str) -> torch.device:
    """The device that `device.name` means here. Of the processes that torchrun started each has a GPU of its own.

    Raises:
        ConfigError: this machine has no such device, or not one for each process: all of them find the same.
    """
    here = available()
    if world_size() > 1:
        if name not in ("auto", "cuda", "cpu"):
            raise ConfigError(f"device.name: found {name!r}; under torchrun: auto, cuda (one for each process), cpu")
        here = [each for each in here if each != "mps"]  # whose gradients no backend of torch adds up
        if name != "cpu" and 0 < len(here) - 1 < local_size():
            raise ConfigError(
                f"device.name: found {name!r}; torchrun started {local_size()} processes on this machine, which has "
                f"{len(here) - 1} GPUs; allowed: torchrun --nproc_per_node={len(here) - 1}, device.name=cpu"
            )
    if name == "auto":
        name = here[0].partition(":")[0]
    if name == "cuda":
        name = f"cuda:{local_rank()}"
    if name not in here:
        raise ConfigError(f"device.name: found {name!r}, which this machine does not have; it has: {', '.join(here)}")
    return torch.device(name)


def allow_tf32(device: torch.device, allowed: bool) -> None:
    """Whether an NVIDIA GPU may round the factors of matrix products and convolutions to 19 bits, for speed."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def describe(device: torch.device) -> str:
    """The device in words, such as `cuda:0 (NVIDIA H200)` or `cpu (2 threads)`."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)
